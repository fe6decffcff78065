//! What a rule matches, in one line.

use std::fmt::{Display, Write};

use ::policy::model::{EntityRule, IpVersion, Rule};

/// The text: every part that must match, with commas between; empty matches everything.
pub(super) fn text(rule: &Rule) -> String {
    let mut line = Line::default();
    if let Some(version) = rule.ip_version() {
        line.part(match version {
            IpVersion::V4 => "IPv4",
            IpVersion::V6 => "IPv6",
        });
    }
    if let Some(protocol) = rule.protocol() {
        line.part(protocol.to_string().to_lowercase());
    }
    if let Some(protocol) = rule.not_protocol() {
        line.part(format_args!("not {}", protocol.to_string().to_lowercase()));
    }
    if let Some(icmp) = rule.icmp() {
        line.part(icmp);
    }
    if let Some(icmp) = rule.not_icmp() {
        line.part(format_args!("not {icmp}"));
    }
    entity(&mut line, "source", rule.source());
    entity(&mut line, "destination", rule.destination());
    if rule.matches_nothing() {
        line.part("matches nothing");
    }
    if let Some(unenforced) = rule.unenforced() {
        line.part(unenforced);
    }
    line.0
}

fn entity(line: &mut Line, side: &str, entity: &EntityRule) {
    if let Some(selector) = entity.selector() {
        line.part(format_args!("{side} {selector}"));
    }
    if let Some(selector) = entity.not_selector() {
        line.part(format_args!("{side} not {selector}"));
    }
    if let Some(service) = entity.service() {
        line.part(format_args!("{side} service {service}"));
    }
    list(line, side, "", entity.nets());
    list(line, side, "not ", entity.not_nets());
    list(line, side, "ports ", entity.ports());
    list(line, side, "not ports ", entity.not_ports());
}

fn list<T: Display>(line: &mut Line, side: &str, what: &str, items: &[T]) {
    if items.is_empty() {
        return;
    }
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    line.part(format_args!("{side} {what}{}", items.join(",")));
}

#[derive(Default)]
struct Line(String);

impl Line {
    fn part(&mut self, part: impl Display) {
        let between = if self.0.is_empty() { "" } else { ", " };
        write!(self.0, "{between}{part}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::policy::model::spec::RuleSpec;
    use ::policy::model::{Direction, RuleContext};

    fn written(spec: &str) -> String {
        let spec: RuleSpec = serde_json::from_str(spec).unwrap();
        let context = RuleContext {
            namespace: None,
            direction: Direction::Ingress,
        };
        text(&Rule::new(&spec, context).unwrap())
    }

    #[test]
    fn rules_in_a_line() {
        for (spec, line) in [
            (r#"{"action": "Allow"}"#, ""),
            (
                r#"{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, "443:445"]}}"#,
                "tcp, destination ports 80,443:445",
            ),
            (
                r#"{"action": "Deny", "ipVersion": 4, "notProtocol": "UDP",
                    "source": {"nets": ["10.0.0.0/8", "1.2.3.4"], "notNets": ["10.1.0.0/16"]}}"#,
                "IPv4, not udp, source 10.0.0.0/8,1.2.3.4/32, source not 10.1.0.0/16",
            ),
            (
                r#"{"action": "Deny", "protocol": "ICMP", "icmp": {"type": 8, "code": 0}}"#,
                "icmp, type 8 code 0",
            ),
        ] {
            assert_eq!(written(spec), line);
        }
        let text = written(
            r#"{"action": "Deny", "protocol": "UDP",
                "source": {"selector": "app == 'web'", "notPorts": ["dns"]}}"#,
        );
        assert!(text.starts_with("udp, source "), "{text}");
        assert!(text.contains("app"), "{text}");
        assert!(text.ends_with(", source not ports dns"), "{text}");
    }
}
