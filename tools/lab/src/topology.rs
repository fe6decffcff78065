//! A lab laid out: every node and pod with its names and addresses. This is what `lab.json` holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use encap::{Family, Tunnel};
use serde::{Deserialize, Serialize};

use crate::addresses::{self, Mac, Prefix, Subnet};
use crate::error::{LabError, Result};
use crate::names::{LabName, Netns};
use crate::process::Process;
use crate::spec::{Backend, Spec, Store};
use crate::state;

/// A lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lab {
    pub name: LabName,
    pub spec: Spec,
    /// Where its files are.
    pub state_directory: PathBuf,
    /// The resources that the nodes' vRouters watch.
    pub resource_directory: PathBuf,
    /// The namespace of the underlay.
    pub underlay: Netns,
    /// The namespace of its etcd, if it has one.
    #[serde(default)]
    pub etcd: Option<Netns>,
    /// The MTU of pods.
    pub pod_mtu: usize,
    /// The nodes, in order.
    pub nodes: Vec<Node>,
    /// What was started, in order.
    pub processes: Vec<Process>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Number, from one.
    pub index: usize,
    /// Name in resources: `node1`.
    pub name: String,
    pub namespace: Netns,
    pub backend: Backend,
    /// The subnet of the underlay that it is in.
    pub subnet: Subnet,
    /// Ethernet address on the underlay.
    pub mac: Mac,
    /// Underlay address with the subnet's length, IPv4.
    pub ipv4: Option<Prefix>,
    /// Underlay address with the subnet's length, IPv6.
    pub ipv6: Option<Prefix>,
    /// Tunnel's address, where its IPv4 pool uses a tunnel.
    pub tunnel_ipv4: Option<Ipv4Addr>,
    /// Tunnel's address, where its IPv6 pool uses a tunnel.
    pub tunnel_ipv6: Option<Ipv6Addr>,
    /// The blocks of pod addresses that are its own.
    pub blocks: Vec<Prefix>,
    /// The socket of its vRouter.
    pub control_socket: Option<PathBuf>,
    /// Where its vRouter logs.
    pub log: Option<PathBuf>,
    /// Pods, in order.
    pub pods: Vec<Pod>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Number on its node, from one.
    pub index: usize,
    /// Name: `pod1-2` is the second of node 1.
    pub name: String,
    pub namespace: Netns,
    /// The node's side of it, in tables and rules: `calipod1-2`.
    pub host_interface: String,
    pub mac: Mac,
    /// IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

impl Lab {
    /// Lays out a lab.
    ///
    /// # Errors
    /// What [`Spec::check`] finds.
    pub fn plan(name: &LabName, spec: &Spec) -> Result<Self> {
        spec.check()?;
        let state_directory = state::directory(name);
        let nodes = (1..=spec.nodes)
            .map(|index| Node::plan(name, spec, index))
            .collect();
        Ok(Self {
            name: name.clone(),
            resource_directory: state_directory.join("resources"),
            state_directory,
            underlay: name.underlay(),
            etcd: (spec.datastore == Store::Etcd).then(|| name.etcd()),
            pod_mtu: spec.pod_mtu(),
            spec: spec.clone(),
            nodes,
            processes: Vec::new(),
        })
    }

    /// All pods.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.nodes.iter().flat_map(|node| &node.pods)
    }

    /// All namespaces, the underlay's first.
    pub fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        std::iter::once(&self.underlay)
            .chain(&self.etcd)
            .chain(self.nodes.iter().map(|node| &node.namespace))
            .chain(self.pods().map(|pod| &pod.namespace))
    }

    /// The subnets that hold nodes, in order.
    pub fn subnets(&self) -> Vec<Subnet> {
        let mut subnets: Vec<Subnet> = self.nodes.iter().map(|node| node.subnet).collect();
        subnets.sort_unstable();
        subnets.dedup();
        subnets
    }

    /// The namespace meant by `pod1-1`, `node1`, `net` or the namespace's full name.
    ///
    /// # Errors
    /// [`LabError::Invalid`] with the names that there are.
    pub fn namespace(&self, member: &str) -> Result<&Netns> {
        let full = format!("{}-{member}", self.name);
        self.namespaces()
            .find(|netns| netns.as_str() == member || netns.as_str() == full)
            .ok_or_else(|| {
                LabError::Invalid(format!(
                    "lab {} has no {member}; there are net, node1 to node{} and pod1-1 to pod{}-{}",
                    self.name, self.spec.nodes, self.spec.nodes, self.spec.pods
                ))
            })
    }

    /// The tunnel from one node to another for one family, if they use one.
    pub fn tunnel_between(&self, from: &Node, to: &Node, family: Family) -> Option<Tunnel> {
        let encap = self.spec.encap;
        if encap.crosses_subnets() && from.subnet == to.subnet {
            None
        } else {
            encap.tunnel(family)
        }
    }
}

impl Node {
    fn plan(name: &LabName, spec: &Spec, index: usize) -> Self {
        let (has_v4, has_v6) = (spec.family.has_v4(), spec.family.has_v6());
        let crosses = spec.crosses_subnets();
        let subnet = Subnet(if crosses && index.is_multiple_of(2) {
            2
        } else {
            1
        });
        let namespace = name.node(index);
        let backend = spec.backend_of(index);
        let of_node = |at: usize, family: Family| addresses::of_node(index, spec.pods, at, family);
        let per_node = addresses::blocks_per_node(spec.pods);
        let mut blocks = Vec::new();
        for (wanted, family) in [(has_v4, Family::V4), (has_v6, Family::V6)] {
            let own = (index - 1) * per_node..index * per_node;
            blocks.extend(
                own.filter(|_| wanted)
                    .map(|block| addresses::block(block, family)),
            );
        }
        let files = state::directory(name).join(format!("node{index}"));
        let runs_vrouter = backend == Backend::Vrouter;
        Self {
            index,
            name: format!("node{index}"),
            namespace,
            backend,
            subnet,
            mac: addresses::node_mac(index),
            ipv4: has_v4.then(|| addresses::node_v4(subnet, index)),
            ipv6: has_v6.then(|| addresses::node_v6(subnet, index)),
            tunnel_ipv4: spec
                .encap
                .tunnel(Family::V4)
                .filter(|_| has_v4)
                .and_then(|_| as_v4(of_node(0, Family::V4))),
            tunnel_ipv6: spec
                .encap
                .tunnel(Family::V6)
                .filter(|_| has_v6)
                .and_then(|_| as_v6(of_node(0, Family::V6))),
            blocks,
            control_socket: runs_vrouter.then(|| files.join("vrouterd.sock")),
            log: runs_vrouter.then(|| files.join("vrouterd.log")),
            pods: (1..=spec.pods)
                .map(|pod| Pod {
                    index: pod,
                    name: format!("pod{index}-{pod}"),
                    namespace: name.pod(index, pod),
                    host_interface: format!("calipod{index}-{pod}"),
                    mac: addresses::pod_mac(index, pod),
                    ipv4: has_v4.then(|| of_node(pod, Family::V4)).and_then(as_v4),
                    ipv6: has_v6.then(|| of_node(pod, Family::V6)).and_then(as_v6),
                })
                .collect(),
        }
    }

    /// The underlay address of one family, without its length.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        if family.is_v6() { self.ipv6 } else { self.ipv4 }.map(|prefix| prefix.address)
    }

    /// The tunnel address of one family.
    pub fn tunnel_address(&self, family: Family) -> Option<IpAddr> {
        if family.is_v6() {
            self.tunnel_ipv6.map(IpAddr::from)
        } else {
            self.tunnel_ipv4.map(IpAddr::from)
        }
    }

    /// The blocks of one family.
    pub fn blocks(&self, family: Family) -> impl Iterator<Item = &Prefix> {
        self.blocks
            .iter()
            .filter(move |block| family.contains(&block.address))
    }
}

impl Pod {
    /// The address of one family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        if family.is_v6() {
            self.ipv6.map(IpAddr::from)
        } else {
            self.ipv4.map(IpAddr::from)
        }
    }
}

fn as_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn as_v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
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
    fn a_plan_reads_back_from_json() {
        let lab = plan("--nodes 3 --pods 2 --family dual --encap cross-subnet");
        let text = serde_json::to_string(&lab).unwrap();
        assert_eq!(serde_json::from_str::<Lab>(&text).unwrap(), lab);
    }

    #[test]
    fn cross_subnet_puts_odd_and_even_nodes_apart() {
        let lab = plan("--nodes 3 --encap cross-subnet");
        let [one, two, three] = &lab.nodes[..] else {
            panic!("three nodes")
        };
        assert_eq!(
            lab.tunnel_between(one, two, Family::V4),
            Some(Tunnel::Vxlan(Family::V4))
        );
        assert_eq!(lab.tunnel_between(one, three, Family::V4), None);
        assert_eq!(lab.subnets().len(), 2);
        assert_eq!(two.ipv4.unwrap().to_string(), "172.16.2.12/24");
    }

    #[test]
    fn tunnel_addresses_exist_where_there_is_a_tunnel() {
        let lab = plan("--encap ipip --family dual");
        assert_eq!(lab.nodes[1].tunnel_ipv4.unwrap().to_string(), "10.65.0.64");
        assert_eq!(lab.nodes[1].tunnel_ipv6, None);
        assert_eq!(plan("--encap none").nodes[0].tunnel_ipv4, None);
    }

    #[test]
    fn members_are_found_by_short_and_full_name() {
        let lab = plan("");
        assert_eq!(lab.namespace("pod1-2").unwrap().as_str(), "t-pod1-2");
        assert_eq!(lab.namespace("t-node2").unwrap().as_str(), "t-node2");
        assert_eq!(lab.namespace("net").unwrap().as_str(), "t-net");
        assert!(lab.namespace("pod3-1").is_err());
    }
}
