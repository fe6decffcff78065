//! Packet filters that drop what the host forwards: base chains of nf_tables at the hook `forward`
//! with the policy `drop`, and the chain FORWARD of the older iptables.
//!
//! A chain whose table has a rule that names the router's device is taken to let it pass: the cure
//! that the sentence offers makes such a rule.

use std::fmt;
use std::fs;
use std::process::Command;

use nix::sys::socket::SockProtocol;

use crate::netlink::{dump, find, text};

/// `NFNL_SUBSYS_NFTABLES << 8`.
const NFTABLES: u16 = 10 << 8;
const GET_CHAIN: u16 = NFTABLES | 4;
const GET_RULE: u16 = NFTABLES | 7;
/// `struct nfgenmsg`; of the family first.
const GENERIC: usize = 4;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const RULE_TABLE: u16 = 1;
/// `NF_INET_FORWARD`.
const FORWARD: [u8; 4] = 2u32.to_be_bytes();
/// `NF_DROP`.
const DROP: [u8; 4] = 0u32.to_be_bytes();

/// A chain that drops what the host forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The router's device, which no rule of the chain's table names.
    pub device: String,
    /// The table with its family, as `nft` writes it: `ip filter`.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The command that lets the router's packets pass.
    pub cure: String,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            table,
            chain,
            cure,
        } = self;
        write!(
            f,
            "the host's packet filter drops what the host forwards (chain {chain} of table {table}, \
             policy drop), and no rule there names {device}: packets of pods that use no tunnel are \
             lost; let them pass: {cure}"
        )
    }
}

/// The chains that drop what the host forwards for `device`.
pub fn forward_drops(device: &str) -> Vec<Block> {
    let mut blocks = nftables(device);
    blocks.extend(legacy(device));
    blocks
}

fn family(number: u8) -> Option<&'static str> {
    // NFPROTO_* of linux/netfilter.h; the others have no hook for what is routed.
    Some(match number {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    })
}

fn nftables(device: &str) -> Vec<Block> {
    let filter = SockProtocol::NetlinkNetFilter;
    let Some(chains) = dump(filter, GET_CHAIN, &[0; GENERIC]) else {
        return Vec::new();
    };
    let dropping: Vec<(&'static str, String, String)> = chains
        .iter()
        .filter_map(|chain| dropping_chain(chain))
        .collect();
    if dropping.is_empty() {
        return Vec::new();
    }
    let rules = dump(filter, GET_RULE, &[0; GENERIC]).unwrap_or_default();
    let blocks = dropping.into_iter().filter(|(family, table, _)| {
        let names_device = |rule: &&Vec<u8>| names(rule, family, table, device);
        !rules.iter().any(|rule| names_device(&rule))
    });
    blocks.map(|(family, table, chain)| {
        let iptables = match family {
            "ip" if table == "filter" => Some("iptables"),
            "ip6" if table == "filter" => Some("ip6tables"),
            _ => None,
        };
        let cure = match iptables {
            Some(program) => accept(program, device),
            None => format!(
                "nft insert rule {family} {table} {chain} iifname {device} accept; nft insert rule {family} {table} {chain} oifname {device} accept"
            ),
        };
        Block { device: device.to_owned(), table: format!("{family} {table}"), chain, cure }
    }).collect()
}

/// Family, table and name of a base chain that drops what is forwarded.
fn dropping_chain(message: &[u8]) -> Option<(&'static str, String, String)> {
    let family = family(*message.first()?)?;
    let attributes = message.get(GENERIC..)?;
    let hook = find(find(attributes, CHAIN_HOOK)?, HOOK_NUMBER)?;
    let drops = hook == FORWARD && find(attributes, CHAIN_POLICY)? == DROP;
    drops.then(|| {
        let name = |kind| find(attributes, kind).map(text).unwrap_or_default();
        (family, name(CHAIN_TABLE), name(CHAIN_NAME))
    })
}

/// Whether a rule is of this table and compares something with the device's name.
fn names(rule: &[u8], of_family: &str, table: &str, device: &str) -> bool {
    let Some(attributes) = rule.get(GENERIC..) else {
        return false;
    };
    let is_of_table = rule.first().and_then(|&number| family(number)) == Some(of_family)
        && find(attributes, RULE_TABLE).is_some_and(|name| text(name) == table);
    // A name stands in an expression as its bytes and a NUL, which keeps `tunl0` from `tunl01`.
    let name = [device.as_bytes(), &[0]].concat();
    is_of_table && attributes.windows(name.len()).any(|part| part == name)
}

fn accept(program: &str, device: &str) -> String {
    format!(
        "{program} -I FORWARD -i {device} -j ACCEPT; {program} -I FORWARD -o {device} -j ACCEPT"
    )
}

/// The older iptables, whose tables nf_tables does not show. It has a table only where somebody made it.
fn legacy(device: &str) -> Vec<Block> {
    let families = [
        (
            "ip",
            "iptables-legacy",
            "/proc/thread-self/net/ip_tables_names",
        ),
        (
            "ip6",
            "ip6tables-legacy",
            "/proc/thread-self/net/ip6_tables_names",
        ),
    ];
    families
        .into_iter()
        .filter_map(|(family, program, tables)| {
            let tables = fs::read_to_string(tables).unwrap_or_default();
            if !tables.lines().any(|table| table == "filter") {
                return None;
            }
            let output = Command::new(format!("{program}-save"))
                .args(["-t", "filter"])
                .output()
                .ok()?;
            let saved = String::from_utf8_lossy(&output.stdout);
            saved_drops(&saved, device).then(|| Block {
                device: device.to_owned(),
                table: format!("{family} filter"),
                chain: "FORWARD".to_owned(),
                cure: accept(program, device),
            })
        })
        .collect()
}

/// Whether FORWARD drops and no rule names the device, in the words of `iptables-save`.
fn saved_drops(saved: &str, device: &str) -> bool {
    let names_device = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        words
            .windows(2)
            .any(|pair| matches!(pair[0], "-i" | "-o") && pair[1] == device)
    };
    saved.lines().any(|line| line.starts_with(":FORWARD DROP")) && !saved.lines().any(names_device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().div_ceil(4) * 4, 0);
        bytes
    }

    #[test]
    fn base_chains_that_drop_are_found() {
        let chain = |family: u8, hook: u32, policy: u32| {
            let hook = attribute(HOOK_NUMBER, &hook.to_be_bytes());
            [
                vec![family, 0, 0, 0],
                attribute(CHAIN_TABLE, b"filter\0"),
                attribute(CHAIN_NAME, b"FORWARD\0"),
                attribute(CHAIN_HOOK, &hook),
                attribute(CHAIN_POLICY, &policy.to_be_bytes()),
            ]
            .concat()
        };
        let found = Some(("ip", "filter".to_owned(), "FORWARD".to_owned()));
        assert_eq!(dropping_chain(&chain(2, 2, 0)), found);
        assert_eq!(dropping_chain(&chain(2, 1, 0)), None, "INPUT");
        assert_eq!(dropping_chain(&chain(2, 2, 1)), None, "policy accept");
        assert_eq!(dropping_chain(&chain(7, 2, 0)), None, "bridge");
        assert_eq!(dropping_chain(&[]), None);
    }

    #[test]
    fn a_rule_that_names_the_device_lets_it_pass() {
        let rule = [
            vec![2, 0, 0, 0],
            attribute(RULE_TABLE, b"filter\0"),
            attribute(4, b"....tunl0\0\0\0"),
        ]
        .concat();
        assert!(names(&rule, "ip", "filter", "tunl0"));
        assert!(!names(&rule, "ip", "filter", "tunl"), "another device");
        assert!(!names(&rule, "ip6", "filter", "tunl0"), "another family");
        assert!(!names(&rule, "ip", "nat", "tunl0"), "another table");
    }

    #[test]
    fn the_older_iptables_in_its_own_words() {
        let saved = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [3:252]\n-A FORWARD -i docker0 -j ACCEPT\nCOMMIT\n";
        assert!(saved_drops(saved, "tunl0"));
        assert!(!saved_drops(&saved.replace("docker0", "tunl0"), "tunl0"));
        assert!(!saved_drops(&saved.replace("DROP", "ACCEPT"), "tunl0"));
    }
}
