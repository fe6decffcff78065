//! The policy of `--rules N`: one description, rendered as Calico resources for the vRouter and as
//! iptables or nft rules for the kernel, so that both decide the same.
//!
//! In each direction the first N − 1 rules match nothing that a lab sends (their networks are the
//! benchmarking and documentation ranges, RFC 2544 and RFC 3849); the last allows everything
//! between the lab's own addresses. A policy holds at most 1,000 rules, so more rules make more
//! policies, evaluated in order.

use encap::Family;

use crate::addresses;
use crate::spec::Families;
use crate::topology::Lab;

/// Rules in one policy (Calico allows 1,024).
pub const RULES_PER_POLICY: usize = 1000;
/// The network set of the last rule.
pub const PEERS: &str = "lab-peers";
const FILLER_SETS: usize = 16;

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Let it pass.
    Allow,
    /// Drop it.
    Deny,
}

/// The transport protocols that rules name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its name in iptables, nft and (in capitals) resources.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The other side of the traffic: the source of ingress, the destination of egress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A network of one family.
    Net {
        family: Family,
        /// The network.
        net: String,
    },
    /// A network set, by name.
    Set(String),
}

/// One rule of either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub action: Action,
    /// The protocol it asks for.
    pub protocol: Option<Protocol>,
    /// The other side.
    pub peer: Peer,
    /// Destination ports, as inclusive ranges.
    pub ports: Vec<(u16, u16)>,
}

/// A network set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Name, also the value of its label `lab-set`.
    pub name: String,
    /// IPv4 networks.
    pub v4: Vec<String>,
    /// IPv6 networks.
    pub v6: Vec<String>,
}

impl Set {
    /// Networks of one family.
    pub fn members(&self, family: Family) -> &[String] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// The policies of a lab in order, each with its rules; the same for both directions.
pub fn policies(lab: &Lab) -> Vec<Vec<Rule>> {
    let count = lab.spec.rules;
    let mut rules: Vec<Rule> = (0..count.saturating_sub(1))
        .map(|index| filler(index, lab.spec.family))
        .collect();
    if count > 0 {
        rules.push(Rule {
            action: Action::Allow,
            protocol: None,
            peer: Peer::Set(PEERS.to_owned()),
            ports: Vec::new(),
        });
    }
    rules
        .chunks(RULES_PER_POLICY)
        .map(<[Rule]>::to_vec)
        .collect()
}

/// The network sets that the policies name.
pub fn sets(lab: &Lab) -> Vec<Set> {
    if lab.spec.rules == 0 {
        return Vec::new();
    }
    let mut peers = Set {
        name: PEERS.to_owned(),
        v4: Vec::new(),
        v6: Vec::new(),
    };
    peers.v4.push(addresses::POOL_V4.to_owned());
    peers.v6.push(addresses::POOL_V6.to_owned());
    for subnet in lab.subnets() {
        peers.v4.push(subnet.v4().to_string());
        peers.v6.push(subnet.v6().to_string());
    }
    let fillers = if lab.spec.rules > 1 { FILLER_SETS } else { 0 };
    let fillers = (0..fillers).map(|set| Set {
        name: filler_set(set),
        v4: (0..8)
            .map(|net| format!("198.19.{}.0/24", set * 8 + net))
            .collect(),
        v6: (0..8)
            .map(|net| format!("2001:db8:ffff:{:x}::/64", set * 8 + net))
            .collect(),
    });
    std::iter::once(peers).chain(fillers).collect()
}

fn filler_set(set: usize) -> String {
    format!("lab-filler-{set}")
}

/// A rule that matches nothing here, of the kinds that Calico users have: by turns all traffic of a
/// network set, a TCP port of a network, a list of TCP ports of a set, and denied UDP ports of a
/// network.
fn filler(index: usize, families: Families) -> Rule {
    let family = match families {
        Families::V4 => Family::V4,
        Families::V6 => Family::V6,
        Families::Dual => Family::ALL[index / 4 % 2],
    };
    let [_, _, high, low] = u32::try_from(index)
        .expect("at most 100000 rules")
        .to_be_bytes();
    let net = if family.is_v6() {
        format!("2001:db8:{index:x}::/48")
    } else {
        format!("198.18.{high}.{low}/32")
    };
    let net = Peer::Net { family, net };
    let set = Peer::Set(filler_set(index / 4 % FILLER_SETS));
    let port = 20_000 + u16::from(low);
    let (action, protocol, peer, ports) = match index % 4 {
        0 => (Action::Allow, None, set, vec![]),
        1 => (Action::Allow, Some(Protocol::Tcp), net, vec![(port, port)]),
        2 => (
            Action::Allow,
            Some(Protocol::Tcp),
            set,
            vec![(80, 80), (443, 443), (port, port)],
        ),
        _ => (
            Action::Deny,
            Some(Protocol::Udp),
            net,
            vec![(port, port + 100)],
        ),
    };
    Rule {
        action,
        protocol,
        peer,
        ports,
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
    fn the_last_rule_allows_the_lab() {
        let policies = policies(&plan("--rules 2500"));
        assert_eq!(
            policies.iter().map(Vec::len).collect::<Vec<_>>(),
            [1000, 1000, 500]
        );
        let last = policies.last().and_then(|rules| rules.last()).unwrap();
        assert_eq!(
            (last.action, &last.peer),
            (Action::Allow, &Peer::Set(PEERS.to_owned()))
        );
    }

    #[test]
    fn no_rules_means_no_policy() {
        let lab = plan("--rules 0");
        assert!(policies(&lab).is_empty() && sets(&lab).is_empty());
    }

    #[test]
    fn every_set_that_is_named_exists() {
        let lab = plan("--rules 200 --family dual");
        let names: Vec<String> = sets(&lab).into_iter().map(|set| set.name).collect();
        for rule in policies(&lab).concat() {
            if let Peer::Set(name) = rule.peer {
                assert!(names.contains(&name), "{name}");
            }
        }
    }
}
