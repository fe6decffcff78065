//! What policy does with a packet, in a few lines for people; all of it is in `-o yaml`.

use std::fmt::Write;

use serde_json::Value;
use vrouter_control::params::Explain;

use crate::args::policy::service;

/// The lines: the packet, the verdict and why, then each tier and profile that was met.
pub(super) fn lines(asked: &Explain, walk: &Value) -> String {
    let mut out = String::new();
    let verdict = text(walk, "/verdict");
    let because = text(walk, "/because");
    let (source, destination) = (party(walk, "source", &asked.source), {
        party(walk, "destination", &asked.destination)
    });
    line(
        &mut out,
        "Packet",
        &format!("{source} -> {destination} {}", service(asked)),
    );
    line(&mut out, "Verdict", &verdict);
    if !because.is_empty() {
        line(&mut out, "Because", &because);
    }
    let sides = ["egress", "ingress"]
        .into_iter()
        .filter_map(|at| walk.get(at));
    let hosts = walk.get("hosts").and_then(Value::as_array);
    for side in sides.chain(hosts.into_iter().flatten()) {
        let direction = text(side, "/direction").to_lowercase();
        let endpoint = name(side.get("endpoint").unwrap_or(&Value::Null));
        let allowed = match side.get("allow").and_then(Value::as_bool) {
            Some(true) => "allowed",
            Some(false) => "denied",
            None => "not decided",
        };
        let preposition = if direction == "egress" { "of" } else { "to" };
        line(
            &mut out,
            &capital(&direction),
            &format!("{preposition} {endpoint}: {allowed}"),
        );
        for stage in side
            .get("stages")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            stage_lines(&mut out, stage);
        }
        for (field, what) in [("staged", "staged"), ("logged", "logged")] {
            for rule in side
                .get(field)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let _ = writeln!(out, "  {what}: {}", name(rule));
            }
        }
    }
    for note in walk
        .get("notes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        line(&mut out, "Note", note.as_str().unwrap_or_default());
    }
    out
}

fn stage_lines(out: &mut String, stage: &Value) {
    let _ = writeln!(
        out,
        "  {} {}: {}",
        text(stage, "/kind").to_lowercase(),
        text(stage, "/name"),
        text(stage, "/end")
    );
    for policy in stage
        .get("policies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let staged = match policy.get("staged").and_then(Value::as_bool) {
            Some(true) => " (staged)",
            Some(false) | None => "",
        };
        let called = name(policy.get("policy").unwrap_or(&Value::Null));
        let _ = writeln!(out, "    {called}{staged}: {}", text(policy, "/outcome"));
    }
}

fn line(out: &mut String, head: &str, text: &str) {
    // The longest head is as long as this, and a word of what follows stands below another.
    let head = format!("{head}:");
    let _ = writeln!(out, "{head:<9} {text}");
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

fn text(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// An end of the packet: its name and address, or what was asked for.
fn party(walk: &Value, end: &str, asked: &str) -> String {
    let address = text(walk, &format!("/{end}/address"));
    let endpoint = text(walk, &format!("/{end}/endpoint"));
    match (endpoint.is_empty(), address.is_empty()) {
        (true, true) => asked.to_owned(),
        (true, false) => address,
        (false, _) => format!("{endpoint} ({address})"),
    }
}

/// A key or a rule, as text or as fields.
fn name(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.contains_key("kind") && fields.contains_key("name") => {
            let namespace = text(value, "/namespace");
            let slash = if namespace.is_empty() { "" } else { "/" };
            let (kind, name) = (text(value, "/kind"), text(value, "/name"));
            format!("{kind}({namespace}{slash}{name})")
        }
        Value::Object(fields) => {
            let words = fields.values().filter_map(|value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Object(_) => Some(name(value)),
                Value::Null | Value::Bool(_) | Value::Array(_) => None,
            });
            words.collect::<Vec<_>>().join("/")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::args::policy::Destined;

    #[test]
    fn a_walk_is_a_few_lines() {
        let asked = "tcp/80".parse::<Destined>().unwrap().packet(
            "web".to_owned(),
            "10.0.0.2".to_owned(),
            None,
            None,
        );
        let walk = json!({
            "verdict": "Deny",
            "because": "rule 0 of NetworkPolicy(default/closed)",
            "source": {"address": "10.0.0.1", "endpoint": "default/web"},
            "destination": {"address": "10.0.0.2"},
            "egress": {
                "endpoint": "default/web", "direction": "Egress", "allow": false,
                "stages": [{"kind": "tier", "name": "default", "end": "denied", "policies": [
                    {"policy": "NetworkPolicy(default/closed)", "staged": false, "outcome": "Deny by rule 0"},
                ]}],
            },
            "notes": ["ingress is decided on n2"],
        });
        assert_eq!(
            lines(&asked, &walk),
            "Packet:   default/web (10.0.0.1) -> 10.0.0.2 tcp/80\n\
             Verdict:  Deny\n\
             Because:  rule 0 of NetworkPolicy(default/closed)\n\
             Egress:   of default/web: denied\n  \
               tier default: denied\n    \
                 NetworkPolicy(default/closed): Deny by rule 0\n\
             Note:     ingress is decided on n2\n"
        );
    }
}
