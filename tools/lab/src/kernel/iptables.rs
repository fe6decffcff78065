//! Calico's filter and raw chains for a kernel node, loaded with iptables-restore, with its ipsets.
//!
//! The shape is what Felix renders: a dispatch by interface through a prefix tree, per endpoint a
//! chain for each direction (conntrack first, then the policies of the tier, then the profile), the
//! accept bit 0x10000, the pass bit 0x20000 and the from-workload bit 0x40000 of the mark.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use encap::Family;

use crate::error::Result;
use crate::netns;
use crate::rules::{self, Action, Peer, Rule};
use crate::topology::{Lab, Node};
use encap::Tunnel;

const ACCEPT: &str = "0x10000/0x10000";

/// The two directions of an endpoint's traffic.
#[derive(Clone, Copy)]
enum Direction {
    /// From the endpoint: egress policy.
    From,
    /// To the endpoint: ingress policy.
    To,
}

impl Direction {
    fn dispatch(self) -> &'static str {
        match self {
            Self::From => "cali-from-wl-dispatch",
            Self::To => "cali-to-wl-dispatch",
        }
    }

    fn interface_flag(self) -> &'static str {
        match self {
            Self::From => "-i",
            Self::To => "-o",
        }
    }

    fn endpoint(self, interface: &str) -> String {
        match self {
            Self::From => format!("cali-fw-{interface}"),
            Self::To => format!("cali-tw-{interface}"),
        }
    }

    fn policy(self, policy: usize) -> String {
        match self {
            Self::From => format!("cali-po-lab-{policy}"),
            Self::To => format!("cali-pi-lab-{policy}"),
        }
    }

    fn profile(self) -> &'static str {
        match self {
            Self::From => "cali-pro-kns.default",
            Self::To => "cali-pri-kns.default",
        }
    }

    fn set_side(self) -> &'static str {
        match self {
            Self::From => "dst",
            Self::To => "src",
        }
    }

    fn net_flag(self) -> &'static str {
        match self {
            Self::From => "-d",
            Self::To => "-s",
        }
    }
}

/// Loads the ipsets and chains of a node, for the families it has.
pub(super) fn install(lab: &Lab, node: &Node) -> Result<()> {
    netns::run(&node.namespace, &["ipset", "restore"], &ipsets(lab))?;
    for (family, legacy, default) in [
        (Family::V4, "iptables-legacy-restore", "iptables-restore"),
        (Family::V6, "ip6tables-legacy-restore", "ip6tables-restore"),
    ] {
        if node.address(family).is_some() {
            let text = tables(lab, node, family);
            // The legacy variant is the faster one: the kernel is compared with at its best.
            let legacy_exists = ["/usr/sbin", "/sbin", "/usr/bin"]
                .iter()
                .any(|directory| std::path::Path::new(directory).join(legacy).exists());
            let tool = if legacy_exists { legacy } else { default };
            netns::run(&node.namespace, &[tool, "--noflush"], &text)?;
        }
    }
    Ok(())
}

fn set_name(set: &str, family: Family) -> String {
    format!("cali{}0s:{set}", family.number())
}

fn vxlan_sources(family: Family) -> String {
    format!("cali{}0all-vxlan-net", family.number())
}

fn ipsets(lab: &Lab) -> String {
    let mut text = String::new();
    let mut add = |name: &str, family: Family, members: &[String]| {
        let family = if family.is_v6() { "inet6" } else { "inet" };
        let _ = writeln!(
            text,
            "create {name} hash:net family {family} maxelem 1048576"
        );
        for member in members {
            let _ = writeln!(text, "add {name} {member}");
        }
    };
    for set in rules::sets(lab) {
        for family in Family::ALL {
            add(&set_name(&set.name, family), family, set.members(family));
        }
    }
    for family in Family::ALL {
        let nodes: Vec<String> = lab
            .nodes
            .iter()
            .filter_map(|node| node.address(family))
            .map(|ip| ip.to_string())
            .collect();
        add(&vxlan_sources(family), family, &nodes);
    }
    text
}

/// The whole input of iptables-restore for one family.
fn tables(lab: &Lab, node: &Node, family: Family) -> String {
    let mut chains = Chains::default();
    for (hook, ours) in [
        ("INPUT", "cali-INPUT"),
        ("FORWARD", "cali-FORWARD"),
        ("OUTPUT", "cali-OUTPUT"),
    ] {
        chains.add(hook, &format!("-j {ours}"));
    }
    let explicitly = format!("-m mark --mark {ACCEPT} -j ACCEPT");
    chains.add("FORWARD", &explicitly);
    chains.add("FORWARD", &format!("-j MARK --set-xmark {ACCEPT}"));
    input(lab, family, &mut chains);
    chains.add("cali-OUTPUT", &explicitly);
    chains.add("cali-OUTPUT", "-o cali+ -j RETURN");
    chains.add("cali-FORWARD", "-j MARK --set-xmark 0x0/0xe0000");
    chains.add("cali-FORWARD", "-i cali+ -j cali-from-wl-dispatch");
    chains.add("cali-FORWARD", "-o cali+ -j cali-to-wl-dispatch");
    chains.add("cali-FORWARD", "-j cali-cidr-block");
    chains.touch("cali-cidr-block");

    let policies = rules::policies(lab);
    for direction in [Direction::From, Direction::To] {
        let interfaces: Vec<&str> = node
            .pods
            .iter()
            .map(|pod| pod.host_interface.as_str())
            .collect();
        dispatch(
            direction,
            direction.dispatch(),
            "",
            &interfaces,
            &mut chains,
        );
        for interface in interfaces {
            endpoint(direction, interface, policies.len(), &mut chains);
        }
        for (index, policy) in policies.iter().enumerate() {
            let chain = direction.policy(index);
            chains.touch(&chain);
            for rule in policy {
                policy_rule(direction, rule, family, &chain, &mut chains);
            }
        }
        chains.add(
            direction.profile(),
            &format!("-j MARK --set-xmark {ACCEPT}"),
        );
        chains.add(
            direction.profile(),
            &format!("-m mark --mark {ACCEPT} -j RETURN"),
        );
    }
    let mut text = chains.table("filter");

    let mut raw = Chains::default();
    raw.add("PREROUTING", "-j cali-PREROUTING");
    raw.add("cali-PREROUTING", "-j MARK --set-xmark 0x0/0xf0000");
    raw.add(
        "cali-PREROUTING",
        "-i cali+ -j MARK --set-xmark 0x40000/0x40000",
    );
    raw.add(
        "cali-PREROUTING",
        "-m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP",
    );
    text.push_str(&raw.table("raw"));
    text
}

fn input(lab: &Lab, family: Family, chains: &mut Chains) {
    if matches!(lab.spec.encap.tunnel(family), Some(Tunnel::Vxlan(_))) {
        let allowed = vxlan_sources(family);
        chains.add(
            "cali-INPUT",
            &format!(
                "-p udp -m multiport --dports 4789 -m set --match-set {allowed} src \
                 -m addrtype --dst-type LOCAL -j ACCEPT"
            ),
        );
        chains.add(
            "cali-INPUT",
            "-p udp -m multiport --dports 4789 -m addrtype --dst-type LOCAL -j DROP",
        );
    }
    chains.add("cali-INPUT", "-i cali+ -g cali-wl-to-host");
    chains.add("cali-INPUT", &format!("-m mark --mark {ACCEPT} -j ACCEPT"));
    if family.is_v6() {
        // Neighbour discovery and the like, as Felix lets it through to the host.
        for kind in [130, 131, 132, 133, 135, 136] {
            chains.add(
                "cali-wl-to-host",
                &format!("-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"),
            );
        }
    }
    chains.add("cali-wl-to-host", "-j cali-from-wl-dispatch");
    chains.add("cali-wl-to-host", "-j ACCEPT");
}

/// One level of the prefix tree over interface names, and those below it.
fn dispatch(
    direction: Direction,
    chain: &str,
    prefix: &str,
    interfaces: &[&str],
    chains: &mut Chains,
) {
    let flag = direction.interface_flag();
    let mut prefix = prefix.to_owned();
    while let Some(next) = interfaces
        .first()
        .and_then(|name| name.get(prefix.len()..prefix.len() + 1))
        .filter(|_| interfaces.len() > 1)
        .map(|next| format!("{prefix}{next}"))
        .filter(|longer| {
            interfaces
                .iter()
                .all(|name| name.starts_with(longer.as_str()))
        })
    {
        prefix = next;
    }
    let mut branches: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in interfaces {
        let branch = name.get(..=prefix.len()).unwrap_or(name);
        branches.entry(branch).or_default().push(name);
    }
    for (branch, names) in branches {
        // A name that ends where others go on is matched whole, before their branch.
        let whole = names
            .iter()
            .find(|name| **name == branch || names.len() == 1);
        if let Some(name) = whole {
            let endpoint = direction.endpoint(name);
            chains.add(chain, &format!("{flag} {name} -g {endpoint}"));
        }
        if names.len() > 1 {
            let rest: Vec<&str> = names.into_iter().filter(|name| *name != branch).collect();
            let below = format!("{}-{}", direction.dispatch(), suffix(branch));
            chains.add(chain, &format!("{flag} {branch}+ -g {below}"));
            dispatch(direction, &below, branch, &rest, chains);
        }
    }
    chains.add(chain, "-j DROP");
}

/// What tells a branch from the others: the digits after the node's.
fn suffix(branch: &str) -> &str {
    branch.rsplit('-').next().unwrap_or(branch)
}

fn endpoint(direction: Direction, interface: &str, policies: usize, chains: &mut Chains) {
    let chain = direction.endpoint(interface);
    let accepted = format!("-m mark --mark {ACCEPT} -j RETURN");
    chains.add(
        &chain,
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    );
    chains.add(&chain, "-m conntrack --ctstate INVALID -j DROP");
    chains.add(&chain, "-j MARK --set-xmark 0x0/0x10000");
    if matches!(direction, Direction::From) {
        chains.add(&chain, "-p udp -m multiport --dports 4789 -j DROP");
        chains.add(&chain, "-p ipencap -j DROP");
    }
    if policies > 0 {
        chains.add(&chain, "-j MARK --set-xmark 0x0/0x20000");
        for policy in 0..policies {
            let target = direction.policy(policy);
            chains.add(&chain, &format!("-m mark --mark 0x0/0x20000 -j {target}"));
            chains.add(&chain, &accepted);
        }
        chains.add(&chain, "-m mark --mark 0x0/0x20000 -j DROP");
    }
    chains.add(&chain, &format!("-j {}", direction.profile()));
    chains.add(&chain, &accepted);
    chains.add(&chain, "-j DROP");
}

fn policy_rule(
    direction: Direction,
    rule: &Rule,
    family: Family,
    chain: &str,
    chains: &mut Chains,
) {
    let mut matches = String::new();
    if let Some(protocol) = rule.protocol {
        let _ = write!(matches, "-p {} ", protocol.name());
    }
    match &rule.peer {
        Peer::Net { family: other, .. } if *other != family => return,
        Peer::Net { net, .. } => {
            let _ = write!(matches, "{} {net} ", direction.net_flag());
        }
        Peer::Set(name) => {
            let (set, side) = (set_name(name, family), direction.set_side());
            let _ = write!(matches, "-m set --match-set {set} {side} ");
        }
    }
    if !rule.ports.is_empty() {
        let ports: Vec<String> = rule
            .ports
            .iter()
            .map(|(low, high)| {
                if low == high {
                    low.to_string()
                } else {
                    format!("{low}:{high}")
                }
            })
            .collect();
        let _ = write!(
            matches,
            "-m multiport --destination-ports {} ",
            ports.join(",")
        );
    }
    match rule.action {
        Action::Allow => {
            chains.add(chain, &format!("{matches}-j MARK --set-xmark {ACCEPT}"));
            chains.add(chain, &format!("-m mark --mark {ACCEPT} -j RETURN"));
        }
        Action::Deny => {
            chains.add(chain, &format!("{matches}-j DROP"));
        }
    }
}

/// The chains of a table, in the order in which they are first named.
#[derive(Default)]
struct Chains {
    order: Vec<String>,
    rules: BTreeMap<String, Vec<String>>,
}

impl Chains {
    fn touch(&mut self, chain: &str) -> &mut Vec<String> {
        if !self.rules.contains_key(chain) {
            self.order.push(chain.to_owned());
        }
        self.rules.entry(chain.to_owned()).or_default()
    }

    fn add(&mut self, chain: &str, rule: &str) {
        let line = format!("-A {chain} {rule}");
        self.touch(chain).push(line);
    }

    fn table(&self, name: &str) -> String {
        let mut text = format!("*{name}\n");
        for chain in &self.order {
            let policy = if chain.starts_with("cali") {
                "-"
            } else {
                "ACCEPT"
            };
            let _ = writeln!(text, ":{chain} {policy} [0:0]");
        }
        for line in self
            .order
            .iter()
            .filter_map(|chain| self.rules.get(chain))
            .flatten()
        {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("COMMIT\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;

    fn plan(flags: &str) -> Lab {
        Lab::plan(&"t".parse().unwrap(), &spec(flags)).unwrap()
    }

    #[test]
    fn every_chain_that_is_jumped_to_exists_and_names_fit() {
        let lab = plan("--backend kernel --pods 130 --rules 1200 --family dual");
        for family in Family::ALL {
            let text = tables(&lab, &lab.nodes[0], family);
            let declared: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix(':'))
                .filter_map(|line| line.split(' ').next())
                .collect();
            for line in text.lines().filter(|line| line.starts_with("-A")) {
                let mut words = line.split(' ');
                let target = words
                    .by_ref()
                    .skip_while(|word| *word != "-j" && *word != "-g")
                    .nth(1);
                let target = target.unwrap();
                let built_in = target.bytes().all(|b| b.is_ascii_uppercase());
                assert!(built_in || declared.contains(&target), "{line}");
                assert!(target.len() <= 28, "{target} is too long for iptables");
            }
        }
    }

    #[test]
    fn each_interface_is_dispatched_once() {
        let lab = plan("--backend kernel --pods 130 --nodes 1");
        let text = tables(&lab, &lab.nodes[0], Family::V4);
        for pod in lab.pods() {
            let rule = format!(
                "-i {} -g cali-fw-{}",
                pod.host_interface, pod.host_interface
            );
            let count = text.lines().filter(|line| line.ends_with(&rule)).count();
            assert_eq!(count, 1, "{rule}");
        }
    }
}
