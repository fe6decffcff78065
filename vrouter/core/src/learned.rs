//! Routes that a routing daemon of the host learned, as the FIB takes them.
//!
//! A route to the same prefix that resources or a client ask for comes before a learned one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use encap::{Family, Tunnel};
use ipnet::IpNet;
use rustc_hash::FxHashMap;
use vrouter_dataplane::adjacency::Adjacency;

use crate::forwarding::View;
use crate::rib::NextHops;

/// The weights of a group add up to this at most.
const SHARES: u32 = 64;

/// Where a hop of a learned route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// To the host, whose kernel has the route too.
    Host,
    /// By IPIP to the node with this address.
    Node(IpAddr),
}

/// The hops of a learned route with their shares of the flows: in order, each once, no larger than
/// they must be.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hops(Vec<(Exit, u8)>);

impl Hops {
    /// These hops with their weights.
    pub fn new(hops: impl IntoIterator<Item = (Exit, u16)>) -> Hops {
        let mut weights: BTreeMap<Exit, u32> = BTreeMap::new();
        for (exit, weight) in hops {
            *weights.entry(exit).or_default() += u32::from(weight);
        }
        let divisor = weights.values().copied().fold(0, greatest_common_divisor);
        let sum = weights.values().sum::<u32>() / divisor.max(1);
        let share = |weight: u32| {
            let exact = weight / divisor.max(1);
            let fitting = if sum > SHARES {
                exact * SHARES / sum
            } else {
                exact
            };
            u8::try_from(fitting.max(1)).unwrap_or(u8::MAX)
        };
        let one = weights.len() == 1;
        let all = weights.into_iter();
        Hops(
            all.map(|(exit, weight)| (exit, if one { 1 } else { share(weight) }))
                .collect(),
        )
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// What became of learned routes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whether every learned route is among them: others are gone.
    pub all: bool,
    /// New or different ones: metric and hops.
    pub set: FxHashMap<IpNet, (u32, Hops)>,
    /// Those that are gone, with their metric.
    pub gone: FxHashMap<IpNet, u32>,
}

impl Changes {
    /// Adds the next change of a route; without hops it is gone.
    pub fn push(&mut self, prefix: IpNet, metric: u32, hops: Option<Hops>) {
        match hops {
            Some(hops) => {
                self.gone.remove(&prefix);
                self.set.insert(prefix, (metric, hops));
            }
            // The kernel keeps routes of several metrics to a prefix; the last that came counts.
            None if self
                .set
                .get(&prefix)
                .is_some_and(|(last, _)| *last != metric) => {}
            None => {
                self.set.remove(&prefix);
                self.gone.insert(prefix, metric);
            }
        }
    }
}

impl View<'_> {
    /// The way by a learned route's hops.
    pub(crate) fn learned_way(&self, hops: &Hops) -> NextHops {
        let adjacency = |exit: Exit| match exit {
            Exit::Host => self.to_node("", IpAddr::from([0; 4]), None),
            Exit::Node(remote) => {
                let tunnel = Tunnel::ipip(Family::from(remote));
                self.to_node("", remote, tunnel)
            }
        };
        let all = hops.0.iter();
        NextHops::weighted(
            all.map(|(exit, share)| (adjacency(*exit), *share))
                .collect::<Vec<(Adjacency, u8)>>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_small_and_in_proportion() {
        let node = |last: u8| Exit::Node([10, 0, 0, last].into());
        let hops = |weights: &[(Exit, u16)]| Hops::new(weights.iter().copied()).0;
        assert_eq!(hops(&[(node(1), 7)]), [(node(1), 1)]);
        assert_eq!(
            hops(&[(node(2), 4), (node(1), 2)]),
            [(node(1), 1), (node(2), 2)]
        );
        // Two interfaces of the host are one way of ours.
        assert_eq!(
            hops(&[(Exit::Host, 1), (Exit::Host, 1), (node(1), 2)]),
            [(Exit::Host, 1), (node(1), 1)]
        );
        assert_eq!(
            hops(&[(node(1), 255), (node(2), 1)]),
            [(node(1), 63), (node(2), 1)]
        );
        assert_eq!(hops(&[]), []);
    }

    #[test]
    fn a_route_that_changes_its_metric_is_not_gone() {
        let prefix: IpNet = "10.0.0.0/24".parse().unwrap();
        let hops = Hops::new([(Exit::Host, 1)]);
        let mut changes = Changes::default();
        changes.push(prefix, 7, Some(hops.clone()));
        changes.push(prefix, 8, None);
        assert_eq!(changes.set[&prefix], (7, hops.clone()));
        changes.push(prefix, 7, None);
        assert_eq!((changes.set.len(), changes.gone[&prefix]), (0, 7));
        changes.push(prefix, 9, Some(hops));
        assert_eq!((changes.set[&prefix].0, changes.gone.len()), (9, 0));
    }
}
