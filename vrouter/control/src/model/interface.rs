//! Interfaces and what passed them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Mac;

/// One interface of the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Number, an index into counters; may be given again after it is gone.
    pub id: u32,
    /// Name in tables: `caliXXXX` of a workload, `tunl0`, `vxlan`, `ipip`.
    pub name: String,
    pub kind: InterfaceKind,
    /// Whether packets pass.
    pub state: InterfaceState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The workload, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The path of the network namespace the device is in, where it is not the daemon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The kernel's name of the device in that namespace, such as `eth0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What a workload hangs on: `tap` or `veth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Why that is not what the settings ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_reason: Option<String>,
    /// The link-layer address of the far side: the workload's, or of this VTEP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The largest packet in bytes, from the IP header on.
    pub mtu: u32,
    /// Addresses on the far side: the workload's, the tunnel's.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Queues; each worker has one.
    pub queues: u32,
    /// What the device takes as it is: `checksum`, `tso`, `uso`, `datagrams`.
    #[serde(default)]
    pub offloads: Vec<String>,
    /// Sums over all workers.
    pub counters: InterfaceCounters,
    /// The same of each worker, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<WorkerInterfaceCounters>,
}

/// What an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceKind {
    /// A pod's TAP.
    Workload,
    /// The TUN to the host's stack.
    Host,
    /// The UDP socket of the VXLAN tunnels.
    Vxlan,
    /// The sockets of the IPIP tunnels.
    Ipip,
}

impl InterfaceKind {
    /// As it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Host => "host",
            Self::Vxlan => "vxlan",
            Self::Ipip => "ipip",
        }
    }
}

/// Whether packets pass an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceState {
    Up,
    Starting,
    /// It could not be made or has broken; `reason` says why.
    Failed,
    /// It is being taken away.
    Stopping,
}

impl InterfaceState {
    /// As it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Starting => "starting",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
        }
    }
}

/// What passed an interface. "Received" is seen from the router: sent by the workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received, from the link header on.
    pub rx_bytes: u64,
    /// Packets received here and dropped later, for whatever reason.
    pub rx_dropped: u64,
    /// Packets transmitted.
    pub tx_packets: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
}

/// How far an endpoint is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointState {
    /// Whether its device is there and every worker decides its packets by its policy.
    pub live: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The name of its interface in tables, such as `caliXXXX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The workload's Ethernet address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The largest packet in bytes, from the IP header on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Where it may ask for names, if anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<IpAddr>,
    /// The generation of the tables in force.
    pub generation: u64,
}

/// What one worker saw of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerInterfaceCounters {
    /// The worker's number.
    pub worker: u32,
    #[serde(flatten)]
    pub counters: InterfaceCounters,
}
