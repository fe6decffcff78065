//! Static routes: prefixes a client sends by way of other nodes, several of them sharing the flows
//! (ECMP). They live in the FIB alone, as long as the process, and are not written to the kernel.

use std::collections::BTreeMap;

use encap::{Family, Tunnel};
use ipnet::IpNet;
use vrouter_dataplane::adjacency::Adjacency;

use crate::desired::Desired;
use crate::forwarding::View;
use crate::rib::Way;

/// The nodes a static route goes by, in the order of their names.
pub type Nodes = Vec<String>;

/// The ways in use, by family and nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    ways: BTreeMap<(Family, Nodes), Way>,
}

impl Ways {
    /// The way by these nodes, as it was last.
    pub fn find(&self, family: Family, nodes: &Nodes) -> Option<&Way> {
        self.ways.get(&(family, nodes.clone()))
    }

    /// Notes the way by these nodes.
    pub fn insert(&mut self, family: Family, nodes: Nodes, way: Way) {
        self.ways.insert((family, nodes), way);
    }

    /// The same ways with the nodes' addresses and tunnels of now.
    pub fn now(&self, view: &View<'_>) -> Ways {
        let ways = self.ways.keys().map(|(family, nodes)| {
            // A node that went is left out; its flows spread over the others.
            let left = nodes
                .iter()
                .filter_map(|node| view.to_peer(node, *family).ok());
            ((*family, nodes.clone()), Way::several(left.collect()))
        });
        Ways {
            ways: ways.collect(),
        }
    }

    /// Ways that are others in `next`: the old and the new one.
    pub fn changes<'a>(&'a self, next: &'a Ways) -> impl Iterator<Item = (&'a Way, &'a Way)> {
        let pairs = self.ways.iter();
        pairs.filter_map(|(by, old)| {
            let new = next.ways.get(by)?;
            (new != old).then_some((old, new))
        })
    }
}

impl View<'_> {
    /// The way by several nodes.
    ///
    /// # Errors
    /// Which node cannot be reached by a tunnel, and why.
    pub fn way(&self, nodes: &[String], family: Family) -> Result<Way, String> {
        let adjacencies = nodes.iter().map(|node| self.to_peer(node, family));
        let adjacencies: Result<Vec<_>, _> = adjacencies.collect();
        adjacencies.map(Way::several)
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
