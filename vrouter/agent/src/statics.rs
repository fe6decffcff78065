//! Static routes: prefixes a client sends by way of other nodes, several of them sharing the flows
//! (ECMP). They live in the FIB alone, as long as the process, and are not written to the kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use vrouter_dataplane::adjacency::Adjacency;

use crate::desired::{Desired, Transport};
use crate::rib::Way;
use crate::tables::View;

/// The nodes a static route goes by, in the order of their names.
pub type Nodes = Vec<String>;

/// The ways in use, by family (IPv6 or not) and nodes.
#[derive(Debug, Default)]
pub struct Statics {
    ways: BTreeMap<(bool, Nodes), Way>,
}

impl Statics {
    /// The way by these nodes, as it was last.
    pub fn way(&self, v6: bool, nodes: &Nodes) -> Option<&Way> {
        self.ways.get(&(v6, nodes.clone()))
    }

    /// Notes the way by these nodes.
    pub fn learn(&mut self, v6: bool, nodes: Nodes, way: Way) {
        self.ways.insert((v6, nodes), way);
    }

    /// Ways that changed with the nodes' addresses or tunnels: the old and the new one.
    pub fn refresh(&mut self, view: &View<'_>) -> Vec<(Way, Way)> {
        let mut changed = Vec::new();
        for ((v6, nodes), way) in &mut self.ways {
            // A node that went is left out; its flows spread over the others.
            let left = nodes.iter().filter_map(|node| view.to_peer(node, *v6).ok());
            let now = Way::several(left.collect());
            if now != *way {
                changed.push((std::mem::replace(way, now.clone()), now));
            }
        }
        changed
    }
}

impl View<'_> {
    /// The way by several nodes.
    ///
    /// # Errors
    /// Which node cannot be reached by a tunnel, and why.
    pub fn way(&self, nodes: &[String], v6: bool) -> Result<Way, String> {
        let adjacencies: Result<Vec<_>, _> =
            nodes.iter().map(|node| self.to_peer(node, v6)).collect();
        adjacencies.map(Way::several)
    }

    /// The tunnel to a node; packets as they are would need a route in every router underway.
    fn to_peer(&self, node: &str, v6: bool) -> Result<Adjacency, String> {
        let peer = self
            .desired
            .peers
            .get(node)
            .ok_or_else(|| format!("there is no other node {node}"))?;
        let remote = if v6 {
            peer.v6.map(IpAddr::V6)
        } else {
            peer.v4.map(IpAddr::V4)
        };
        let family = if v6 { "IPv6" } else { "IPv4" };
        let remote = remote.ok_or_else(|| format!("node {node} has no {family} address"))?;
        let transport = tunnel(self.desired, v6)
            .ok_or_else(|| format!("no {family} pool has a tunnel that could lead to {node}"))?;
        Ok(self.to_node(node, remote, transport))
    }
}

/// The tunnel static routes use: VXLAN where there is one.
fn tunnel(desired: &Desired, v6: bool) -> Option<Transport> {
    [Transport::Vxlan, Transport::Ipip]
        .into_iter()
        .find(|transport| desired.transports.contains(&(*transport, v6)))
}

/// A prefix with the nodes it goes by, sorted.
pub fn normal(prefix: IpNet, mut nodes: Nodes) -> (IpNet, Nodes) {
    nodes.sort();
    nodes.dedup();
    (prefix.trunc(), nodes)
}
