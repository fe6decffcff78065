//! Routes, neighbors and tunnels: where packets go.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Encap, Mac, Traffic};

/// One route of the FIB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The destinations.
    pub prefix: IpNet,
    /// What happens to packets there.
    pub kind: RouteKind,
    /// The ways to go on; several share the flows among them. None for a drop.
    #[serde(default)]
    pub next_hops: Vec<NextHop>,
    /// The largest packet in bytes, from the inner IP header on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The resource it comes from (`BlockAffinity/node2-10-65-1-0-26`), or the name of the drop
    /// reason of a route that drops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// One way to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHop {
    /// The interface packets leave by.
    pub interface: String,
    /// The next router: the other node's underlay address. None if the destination is on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How packets are wrapped.
    pub encap: Encap,
    /// The VXLAN network identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni: Option<u32>,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// An address of this node: to the host's stack.
    Local,
    /// A workload of this node.
    Neighbor,
    /// Another node, through a tunnel.
    Tunnel,
    /// Through the host's stack, which routes on: outside, or other nodes without encapsulation.
    Host,
    /// Not forwarded.
    Drop,
}

impl RouteKind {
    /// As it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Neighbor => "neighbor",
            Self::Tunnel => "tunnel",
            Self::Host => "host",
            Self::Drop => "drop",
        }
    }
}

/// An address on the link of an interface. They are configured, not learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Neighbor {
    pub address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The interface it is on.
    pub interface: String,
    /// The workload that has it, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// The way to another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tunnel {
    /// The other node's name.
    pub node: String,
    pub remote: IpAddr,
    /// Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// How packets are wrapped.
    pub encap: Encap,
    /// The VXLAN network identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni: Option<u32>,
    /// The largest inner packet in bytes.
    pub mtu: u32,
    /// The largest outer packet on the path to the remote in bytes, where the kernel knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u32>,
    /// The inner destination MAC of VXLAN: the other VTEP's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_mac: Option<Mac>,
    /// The inner source MAC of VXLAN: ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_mac: Option<Mac>,
    /// Whether encapsulated packets from `remote` are accepted.
    pub known_source: bool,
    /// Routes that lead here.
    pub routes: u64,
    /// What was sent, where it is counted for each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx: Option<Traffic>,
    /// What was received, where it is counted for each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx: Option<Traffic>,
}
