//! Static routes: prefixes a client sends by way of other nodes, several of them sharing the flows
//! (ECMP). They live in the FIB alone, as long as the process, and are not written to the kernel.

use std::collections::BTreeMap;

use encap::{Family, Tunnel};
use ipnet::IpNet;
use vrouter_dataplane::adjacency::Adjacency;

use crate::desired::Desired;
use crate::forwarding::View;
use crate::learned::Hops;
use crate::rib::NextHops;

/// The nodes a static route goes by, in the order of their names.
pub type Nodes = Vec<String>;

/// What a way is made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Of a static route: the tunnels to these nodes.
    Nodes(Family, Nodes),
    /// Of a learned route.
    Hops(Hops),
}

/// The ways in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    ways: BTreeMap<By, NextHops>,
}

impl Ways {
    /// A way as it was last.
    pub fn find(&self, by: &By) -> Option<&NextHops> {
        self.ways.get(by)
    }

    /// Notes a way.
    pub fn insert(&mut self, by: By, way: NextHops) {
        self.ways.insert(by, way);
    }

    /// Forgets the ways that are in use no longer.
    pub fn retain(&mut self, used: impl Fn(&NextHops) -> bool) {
        self.ways.retain(|_, way| used(way));
    }

    /// The same ways with the nodes' addresses and tunnels of now.
    pub fn now(&self, view: &View<'_>) -> Ways {
        let now = |by: &By| match by {
            // A node that went is left out; its flows spread over the others.
            By::Nodes(family, nodes) => {
                let left = nodes.iter();
                let left = left.filter_map(|node| view.to_peer(node, *family).ok());
                NextHops::several(left.collect())
            }
            By::Hops(hops) => view.learned_way(hops),
        };
        let ways = self.ways.keys();
        Ways {
            ways: ways.map(|by| (by.clone(), now(by))).collect(),
        }
    }

    /// Ways that are others in `next`: the old and the new one.
    pub fn changes<'a>(
        &'a self,
        next: &'a Ways,
    ) -> impl Iterator<Item = (&'a By, &'a NextHops, &'a NextHops)> {
        let pairs = self.ways.iter();
        pairs.filter_map(|(by, old)| {
            let new = next.ways.get(by)?;
            (new != old).then_some((by, old, new))
        })
    }
}

impl View<'_> {
    /// The way by several nodes.
    ///
    /// # Errors
    /// Which node cannot be reached by a tunnel, and why.
    pub fn way(&self, nodes: &[String], family: Family) -> Result<NextHops, String> {
        let adjacencies = nodes.iter().map(|node| self.to_peer(node, family));
        let adjacencies: Result<Vec<_>, _> = adjacencies.collect();
        adjacencies.map(NextHops::several)
    }

    /// The tunnel to a node; packets as they are would need a route in every router underway.
    fn to_peer(&self, node: &str, family: Family) -> Result<Adjacency, String> {
        let desired = &self.wanted.desired;
        let peer = desired
            .peers
            .get(node)
            .ok_or_else(|| format!("there is no other node {node}"))?;
        let remote = peer.address(family);
        let remote = remote.ok_or_else(|| format!("node {node} has no {family} address"))?;
        let tunnel = tunnel(desired, family)
            .ok_or_else(|| format!("no {family} pool has a tunnel that could lead to {node}"))?;
        Ok(self.to_node(node, remote, Some(tunnel)))
    }
}

/// The tunnel static routes use: VXLAN where there is one.
fn tunnel(desired: &Desired, family: Family) -> Option<Tunnel> {
    [Some(Tunnel::Vxlan(family)), Tunnel::ipip(family)]
        .into_iter()
        .flatten()
        .find(|tunnel| desired.tunnels.contains(tunnel))
}

/// A prefix with the nodes it goes by, sorted.
pub fn normal(prefix: IpNet, mut nodes: Nodes) -> (IpNet, Nodes) {
    nodes.sort();
    nodes.dedup();
    (prefix.trunc(), nodes)
}
