//! What the agent compiles and workers read: immutable, with a generation, published whole.
//!
//! Only the FIB may also change in place (see [`Fib`]); each such change is followed by a new
//! generation, so that sessions resolve their route again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use encap::Tunnel;
use encap::vxlan::Vni;
use ipnet::IpNet;
use rustc_hash::FxHashSet;

use crate::adjacency::{Adjacency, Mac, choose};
use crate::host_endpoint::HostEndpoints;
use crate::id::{AdjacencyId, InterfaceId};

/// The address every pod has its default route by (Calico's link-local gateway).
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6: the EUI-64 address of [`crate::adjacency::GATEWAY_MAC`].
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);

/// Whether an address is the pods' gateway.
pub fn is_gateway(address: IpAddr) -> bool {
    address == IpAddr::V4(GATEWAY_V4) || address == IpAddr::V6(GATEWAY_V6)
}

/// An interface of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub id: InterfaceId,
    /// The name tables show: `caliXXXX`, `tunl0`, `vxlan.calico`.
    pub name: String,
    /// What is on the other side.
    pub kind: InterfaceKind,
}

/// What is on the other side of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A workload, behind a TAP or a veth.
    Workload(Workload),
    /// The host's stack, behind a TUN; or the process's own resolver, behind another.
    Host,
    /// Other nodes, by this tunnel.
    Tunnel(Tunnel),
}

/// What the packet path must know of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub mac: Mac,
    /// The sources it may send from.
    pub sources: Vec<IpNet>,
    /// Where its policy stands in [`Tables::policy`].
    pub policy: policy::compile::EndpointIndex,
}

impl Workload {
    /// Whether it may send from `source`.
    pub fn owns(&self, source: IpAddr) -> bool {
        self.sources.iter().any(|net| net.contains(&source))
    }
}

/// `defaultEndpointToHostAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointToHost {
    Drop,
    Accept,
    /// The host endpoint of all interfaces decides; delivered if there is none.
    Return,
}

/// What the node itself is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Addresses of the host's own interfaces, tunnel addresses included.
    pub addresses: FxHashSet<IpAddr>,
    /// What becomes of packets of its workloads to itself, after their policy allowed them.
    pub endpoint_to_host: EndpointToHost,
    /// Host endpoints.
    pub endpoints: HostEndpoints,
    /// Whether both ends of a TCP connection that policy cuts get a reset.
    pub reset_cut: bool,
    /// Source of ICMP errors for IPv4.
    pub router_v4: Ipv4Addr,
    /// Source of ICMP errors for IPv6.
    pub router_v6: Ipv6Addr,
    /// The VXLAN network.
    pub vni: Vni,
    /// UDP port of VXLAN, to recognise workloads that send it.
    pub vxlan_port: u16,
    /// Our VTEP's inner MAC for IPv4 underlays.
    pub vtep_v4: Mac,
    /// Our VTEP's inner MAC for IPv6 underlays.
    pub vtep_v6: Mac,
    /// Whether workloads may send VXLAN (`allowVXLANPacketsFromWorkloads`).
    pub workload_vxlan: bool,
    /// Whether workloads may send IPIP (`allowIPIPPacketsFromWorkloads`).
    pub workload_ipip: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            addresses: FxHashSet::default(),
            endpoint_to_host: EndpointToHost::Drop,
            endpoints: HostEndpoints::default(),
            reset_cut: false,
            router_v4: GATEWAY_V4,
            router_v6: GATEWAY_V6,
            vni: Vni::CALICO,
            vxlan_port: encap::vxlan::PORT,
            vtep_v4: [0x66, 0, 0, 0, 0, 0],
            vtep_v6: [0x66, 0, 0, 0, 0, 0],
            workload_vxlan: false,
            workload_ipip: false,
        }
    }
}

/// Everything a worker needs to decide on a packet.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Rises with every publication. A session made under another one is decided again.
    pub generation: u32,
    /// By [`InterfaceId`].
    pub interfaces: Vec<Option<Arc<Interface>>>,
    /// By [`AdjacencyId`].
    pub adjacencies: Arc<Vec<Adjacency>>,
    /// Prefix to [`AdjacencyId`].
    pub fib: Fib,
    /// Compiled policy.
    pub policy: Arc<policy::compile::Compiled>,
    /// Underlay addresses tunnels accept packets from.
    pub nodes: Arc<FxHashSet<IpAddr>>,
    /// The node itself.
    pub host: Arc<Host>,
}

impl Tables {
    /// The interface, if it exists.
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(id.index())?.as_deref()
    }

    /// The workload behind an interface, if it is one.
    pub fn workload(&self, id: InterfaceId) -> Option<&Workload> {
        match &self.interface(id)?.kind {
            InterfaceKind::Workload(workload) => Some(workload),
            InterfaceKind::Host | InterfaceKind::Tunnel(_) => None,
        }
    }

    /// The way a flow's packets to `address` go, of several equal ones the flow's own; never a
    /// group. `flow_hash` is the same for all packets of a flow.
    pub fn route(&self, address: IpAddr, flow_hash: u64) -> Option<AdjacencyId> {
        let id = self.fib.lookup(address)?;
        match self.adjacency(id) {
            Some(Adjacency::Group(members)) => choose(members, flow_hash),
            Some(
                Adjacency::Drop(_)
                | Adjacency::Host { .. }
                | Adjacency::Neighbor { .. }
                | Adjacency::Tunnel { .. },
            )
            | None => Some(id),
        }
    }

    /// The adjacency, if it exists.
    pub fn adjacency(&self, id: AdjacencyId) -> Option<&Adjacency> {
        self.adjacencies.get(id.index())
    }
}

/// The forwarding table: the readers' side of two `lpm` tables whose writer is the agent.
///
/// The agent publishes an adjacency before the first prefix that points to it, and gives an
/// adjacency's index to another only after all workers have seen tables without it.
#[derive(Debug, Clone)]
pub struct Fib {
    v4: lpm::Reader4,
    v6: lpm::Reader6,
}

impl Fib {
    /// The readers of the agent's two tables.
    pub fn new(v4: lpm::Reader4, v6: lpm::Reader6) -> Self {
        Self { v4, v6 }
    }

    /// Longest match.
    pub fn lookup(&self, address: IpAddr) -> Option<AdjacencyId> {
        let value = match address {
            IpAddr::V4(address) => self.v4.pin().lookup(address),
            IpAddr::V6(address) => self.v6.pin().lookup(address),
        };
        value.map(|value| AdjacencyId(value.into()))
    }
}
