//! The same policy in nftables, in the shape of Calico's nft dataplane: one table per family,
//! verdict maps for the dispatch, sets for the network sets, the same chains and marks.

use std::fmt::Write as _;

use encap::Family;

use crate::error::Result;
use crate::netns;
use crate::rules::{self, Action, Peer, Rule};
use crate::topology::{Lab, Node};
use encap::Tunnel;

/// Loads the tables of a node, for the families it has.
pub(super) fn install(lab: &Lab, node: &Node) -> Result<()> {
    for family in Family::ALL {
        if node.address(family).is_some() {
            netns::run(
                &node.namespace,
                &["nft", "-f", "-"],
                &table(lab, node, family),
            )?;
        }
    }
    Ok(())
}

/// The family's name in nft.
fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn table(lab: &Lab, node: &Node, family: Family) -> String {
    let mut text = format!("table {} calico {{\n", keyword(family));
    for set in rules::sets(lab) {
        let members = set.members(family);
        block(
            &mut text,
            &format!("set {}", set_name(&set.name)),
            &[
                format!("type ipv{}_addr", family.number()),
                "flags interval".to_owned(),
                format!("elements = {{ {} }}", members.join(", ")),
            ],
        );
    }
    dispatch_maps(node, &mut text);
    let policies = rules::policies(lab);
    for (side, ours, profile) in [
        ("daddr", ("fw", "po"), "pro"),
        ("saddr", ("tw", "pi"), "pri"),
    ] {
        let (endpoint, policy) = ours;
        block(
            &mut text,
            &format!("chain cali-{profile}-kns.default"),
            &[
                "meta mark set meta mark | 0x10000".to_owned(),
                "return".to_owned(),
            ],
        );
        for (index, rules) in policies.iter().enumerate() {
            let lines: Vec<String> = rules
                .iter()
                .filter_map(|rule| policy_rule(rule, family, side))
                .collect();
            block(
                &mut text,
                &format!("chain cali-{policy}-lab-{index}"),
                &lines,
            );
        }
        for pod in &node.pods {
            let lines = endpoint_rules(policy, profile, policies.len());
            let name = format!("chain cali-{endpoint}-{}", pod.host_interface);
            block(&mut text, &name, &lines);
        }
    }
    hooks(lab, family, &mut text);
    text.push_str("}\n");
    text
}

/// Maps and chains that lead from an interface to its endpoint's chain.
fn dispatch_maps(node: &Node, text: &mut String) {
    for (chain, endpoint, key) in [("from", "fw", "iifname"), ("to", "tw", "oifname")] {
        let elements: Vec<String> = node
            .pods
            .iter()
            .map(|pod| {
                let name = &pod.host_interface;
                format!("\"{name}\" : goto cali-{endpoint}-{name}")
            })
            .collect();
        block(
            text,
            &format!("map cali-{endpoint}-dispatch"),
            &[
                "type ifname : verdict".to_owned(),
                format!("elements = {{ {} }}", elements.join(", ")),
            ],
        );
        block(
            text,
            &format!("chain cali-{chain}-wl-dispatch"),
            &[
                format!("{key} vmap @cali-{endpoint}-dispatch"),
                "drop".to_owned(),
            ],
        );
    }
}

fn endpoint_rules(policy: &str, profile: &str, policies: usize) -> Vec<String> {
    let accepted = "meta mark & 0x10000 == 0x10000 return";
    let mut lines = vec![
        "ct state established,related accept".to_owned(),
        "ct state invalid drop".to_owned(),
        "meta mark set meta mark & 0xfffeffff".to_owned(),
    ];
    if policy == "po" {
        lines.push("meta l4proto udp th dport 4789 drop".to_owned());
        lines.push("meta l4proto 4 drop".to_owned());
    }
    if policies > 0 {
        lines.push("meta mark set meta mark & 0xfffdffff".to_owned());
        for index in 0..policies {
            lines.push(format!(
                "meta mark & 0x20000 == 0 jump cali-{policy}-lab-{index}"
            ));
            lines.push(accepted.to_owned());
        }
        lines.push("meta mark & 0x20000 == 0 drop".to_owned());
    }
    lines.push(format!("jump cali-{profile}-kns.default"));
    lines.push(accepted.to_owned());
    lines.push("drop".to_owned());
    lines
}

fn policy_rule(rule: &Rule, family: Family, side: &str) -> Option<String> {
    let mut line = format!("{} {side} ", keyword(family));
    match &rule.peer {
        Peer::Net { family: other, .. } if *other != family => return None,
        Peer::Net { net, .. } => {
            let _ = write!(line, "{net} ");
        }
        Peer::Set(name) => {
            let _ = write!(line, "@{} ", set_name(name));
        }
    }
    if let Some(protocol) = rule.protocol {
        let ports: Vec<String> = rule
            .ports
            .iter()
            .map(|(low, high)| {
                if low == high {
                    low.to_string()
                } else {
                    format!("{low}-{high}")
                }
            })
            .collect();
        let _ = write!(
            line,
            "{} dport {{ {} }} ",
            protocol.name(),
            ports.join(", ")
        );
    }
    line.push_str(match rule.action {
        Action::Allow => "meta mark set meta mark | 0x10000 return",
        Action::Deny => "drop",
    });
    Some(line)
}

fn hooks(lab: &Lab, family: Family, text: &mut String) {
    let mut host = Vec::new();
    if family.is_v6() {
        host.push("icmpv6 type { 130, 131, 132, 133, 135, 136 } accept".to_owned());
    }
    host.push("jump cali-from-wl-dispatch".to_owned());
    host.push("accept".to_owned());
    block(text, "chain cali-wl-to-host", &host);

    let mut input = vec!["type filter hook input priority filter; policy accept;".to_owned()];
    if matches!(lab.spec.encap.tunnel(family), Some(Tunnel::Vxlan(_))) {
        let nodes: Vec<String> = lab
            .nodes
            .iter()
            .filter_map(|node| node.address(family))
            .map(|ip| ip.to_string())
            .collect();
        input.push(format!(
            "udp dport 4789 {} saddr {{ {} }} accept",
            keyword(family),
            nodes.join(", ")
        ));
        input.push("udp dport 4789 fib daddr type local drop".to_owned());
    }
    input.push("iifname \"cali*\" goto cali-wl-to-host".to_owned());
    block(text, "chain filter-INPUT", &input);
    block(
        text,
        "chain filter-FORWARD",
        &[
            "type filter hook forward priority filter; policy accept;".to_owned(),
            "meta mark set meta mark & 0xfff1ffff".to_owned(),
            "iifname \"cali*\" jump cali-from-wl-dispatch".to_owned(),
            "oifname \"cali*\" jump cali-to-wl-dispatch".to_owned(),
            "meta mark & 0x10000 == 0x10000 accept".to_owned(),
        ],
    );
    block(
        text,
        "chain filter-OUTPUT",
        &[
            "type filter hook output priority filter; policy accept;".to_owned(),
            "oifname \"cali*\" return".to_owned(),
        ],
    );
    block(
        text,
        "chain raw-PREROUTING",
        &[
            "type filter hook prerouting priority raw; policy accept;".to_owned(),
            "meta mark set meta mark & 0xfff0ffff".to_owned(),
            "iifname \"cali*\" meta mark set meta mark | 0x40000".to_owned(),
            "meta mark & 0x40000 == 0x40000 fib saddr . mark . iif oif 0 drop".to_owned(),
        ],
    );
}

fn set_name(set: &str) -> String {
    format!("cali40s-{set}")
}

fn block(text: &mut String, head: &str, lines: &[String]) {
    let _ = writeln!(text, "    {head} {{");
    for line in lines {
        let _ = writeln!(text, "        {line}");
    }
    text.push_str("    }\n");
}
