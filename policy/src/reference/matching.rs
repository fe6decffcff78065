//! Whether a rule matches a packet, and in words why.

use std::fmt::Display;
use std::net::IpAddr;

use super::Resources;
use crate::model::{EntityRule, IpVersion, NamedPort, PacketTuple, PortMatch, Protocol, Rule};
use crate::selector::{Inherited, Selector};

/// An endpoint or network set that has an address of the packet.
pub(super) struct Known<'a> {
    pub(super) name: String,
    pub(super) labels: Inherited<'a>,
    pub(super) ports: &'a [NamedPort],
}

/// A packet and what is known of its two ends.
pub(super) struct Parties<'a> {
    pub(super) resources: &'a Resources,
    pub(super) tuple: &'a PacketTuple,
    pub(super) source: Vec<Known<'a>>,
    pub(super) destination: Vec<Known<'a>>,
}

/// One end of the packet.
struct End<'a> {
    side: &'static str,
    address: IpAddr,
    port: u16,
    known: &'a [Known<'a>],
    named_port_protocol: Protocol,
}

/// Reasons collected while a rule matches; an error is why it does not.
type Reasons = Result<(), String>;

impl Parties<'_> {
    /// Ok with what matched, or an error with the first thing that did not.
    pub(super) fn try_rule(&self, rule: &Rule) -> Result<String, String> {
        let mut reasons = Vec::new();
        if rule.matches_nothing()
            && let Some(unenforced) = rule.unenforced()
        {
            return Err(format!("the rule matches nothing: {unenforced}"));
        }
        self.headers(rule, &mut reasons)?;
        let source = End {
            side: "source",
            address: self.tuple.source,
            port: self.tuple.source_port,
            known: &self.source,
            named_port_protocol: rule.named_port_protocol(),
        };
        let destination = End {
            side: "destination",
            address: self.tuple.destination,
            port: self.tuple.destination_port,
            known: &self.destination,
            named_port_protocol: rule.named_port_protocol(),
        };
        self.entity(rule.source(), &source, &mut reasons)?;
        self.entity(rule.destination(), &destination, &mut reasons)?;
        if let Some(key) = rule.source().service() {
            let service = self.resources.services.get(key);
            let member =
                service.is_some_and(|s| s.endpoints.iter().any(|(a, ..)| *a == self.tuple.source));
            check(
                member,
                "source",
                self.tuple.source,
                &format!("in service {key}"),
                &mut reasons,
            )?;
        }
        if let Some(key) = rule.destination().service() {
            let service = self.resources.services.get(key);
            let member = service.is_some_and(|s| {
                s.endpoints.iter().any(|(address, protocol, port)| {
                    *address == self.tuple.destination
                        && protocol.number() == self.tuple.protocol
                        && *port == self.tuple.destination_port
                })
            });
            let what = format!("in service {key}");
            check(
                member,
                "destination",
                self.tuple.destination,
                &what,
                &mut reasons,
            )?;
        }
        if reasons.is_empty() {
            reasons.push("the rule matches everything".into());
        }
        if let Some(unenforced) = rule.unenforced() {
            reasons.push(format!("{unenforced}, so it denies all of that"));
        }
        Ok(reasons.join("; "))
    }

    fn headers(&self, rule: &Rule, reasons: &mut Vec<String>) -> Reasons {
        let tuple = self.tuple;
        if let Some(wanted) = rule.ip_version() {
            let (is, name) = match tuple.source {
                IpAddr::V4(_) => (IpVersion::V4, "4"),
                IpAddr::V6(_) => (IpVersion::V6, "6"),
            };
            check(is == wanted, "IP version", name, "the rule's", reasons)?;
        }
        let protocol = Protocol::try_from(tuple.protocol)
            .map_or_else(|_| tuple.protocol.to_string(), |p| p.to_string());
        if let Some(wanted) = rule.protocol() {
            let is = wanted.number() == tuple.protocol;
            check(is, "protocol", &protocol, &wanted.to_string(), reasons)?;
        }
        if let Some(refused) = rule.not_protocol() {
            let is_not = refused.number() != tuple.protocol;
            check(
                is_not,
                "protocol",
                &protocol,
                &format!("other than {refused}"),
                reasons,
            )?;
        }
        let icmp = format!("type {} code {}", tuple.icmp_type, tuple.icmp_code);
        let equal = |m: crate::model::IcmpMatch| {
            m.kind() == tuple.icmp_type && m.code().is_none_or(|c| c == tuple.icmp_code)
        };
        if let Some(wanted) = rule.icmp() {
            check(equal(wanted), "ICMP", &icmp, &wanted.to_string(), reasons)?;
        }
        if let Some(refused) = rule.not_icmp() {
            check(
                !(tuple.is_icmp() && equal(refused)),
                "ICMP",
                &icmp,
                &format!("other than {refused}"),
                reasons,
            )?;
        }
        Ok(())
    }

    fn entity(&self, entity: &EntityRule, end: &End<'_>, reasons: &mut Vec<String>) -> Reasons {
        let End { side, address, .. } = end;
        if !entity.nets().is_empty() {
            let net = entity.nets().iter().find(|net| net.contains(address));
            let what = match net {
                Some(net) => format!("in {net}"),
                None => format!("in {}", list(entity.nets())),
            };
            check(net.is_some(), side, address, &what, reasons)?;
        }
        if let Some(net) = entity.not_nets().iter().find(|net| net.contains(address)) {
            return Err(format!(
                "{side} {address} is in {net}, which notNets excludes"
            ));
        }
        if let Some(selector) = entity.selector() {
            reasons.push(self.selected(selector, end)?);
        }
        if let Some(selector) = entity.not_selector()
            && let Ok(reason) = self.selected(selector, end)
        {
            return Err(format!("{reason}, which notSelector excludes"));
        }
        if !entity.ports().is_empty() {
            let named_by = entity.selector();
            let any = entity
                .ports()
                .iter()
                .any(|port| self.has_port(port, named_by, end));
            let what = format!("in {}", list(entity.ports()));
            check(any, &format!("{side} port"), end.port, &what, reasons)?;
        }
        if let Some(port) = entity
            .not_ports()
            .iter()
            .find(|port| self.has_port(port, None, end))
        {
            return Err(format!(
                "{side} port {} is {port}, which notPorts excludes",
                end.port
            ));
        }
        Ok(())
    }

    /// Which of the known things at this end the selector matches.
    fn selected(&self, selector: &Selector, end: &End<'_>) -> Result<String, String> {
        let End {
            side,
            address,
            known,
            ..
        } = end;
        if let Some(known) = known.iter().find(|known| selector.matches(&known.labels)) {
            return Ok(format!(
                "{side} {address} is {}, selected by {selector}",
                known.name
            ));
        }
        Err(if known.is_empty() {
            format!(
                "{side} {address} is no known endpoint or network set, so {selector} cannot match"
            )
        } else {
            let names: Vec<&str> = known.iter().map(|k| k.name.as_str()).collect();
            format!(
                "{side} {address} is {}, not selected by {selector}",
                names.join(", ")
            )
        })
    }

    /// Whether the packet's port at this end is meant. A named port is one that an endpoint with
    /// the address gives that name and the packet's protocol, if `named_by` selects it.
    fn has_port(&self, port: &PortMatch, named_by: Option<&Selector>, end: &End<'_>) -> bool {
        match port {
            PortMatch::Range(range) => range.first() <= end.port && end.port <= range.last(),
            PortMatch::Named(name) => end.known.iter().any(|known| {
                named_by.is_none_or(|selector| selector.matches(&known.labels))
                    && known.ports.iter().any(|p| {
                        p.name == *name
                            && p.port == end.port
                            && p.protocol == end.named_port_protocol
                            && p.protocol.number() == self.tuple.protocol
                    })
            }),
        }
    }
}

fn check(
    holds: bool,
    what: &str,
    is: impl Display,
    wanted: &str,
    reasons: &mut Vec<String>,
) -> Reasons {
    if holds {
        reasons.push(format!("{what} {is} is {wanted}"));
        Ok(())
    } else {
        Err(format!("{what} {is} is not {wanted}"))
    }
}

fn list<T: Display>(items: &[T]) -> String {
    const SHOWN: usize = 8;
    let mut texts: Vec<String> = items.iter().take(SHOWN).map(ToString::to_string).collect();
    if items.len() > SHOWN {
        texts.push(format!("… {} in all", items.len()));
    }
    texts.join(", ")
}
