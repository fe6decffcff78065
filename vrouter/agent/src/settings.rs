//! What the daemon decides for the agent: the process's own settings, already validated.

use std::path::PathBuf;

pub use policy::flow::Admission;
pub use policy::model::TieBreak;
pub use vrouter_core::pod_link::PodLink;

use vrouter_api::Observability;

use crate::bgp;
use crate::node_status::Sockets;
use crate::registration::Registration;

/// Settings of one node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which `Node` resource is ours.
    pub node: String,
    /// What the node does about itself in the store.
    pub registration: Registration,
    /// Whose BIRD does what the resources say.
    pub bgp: bgp::Settings,
    /// Where the node's BIRD is asked what a `CalicoNodeStatus` wants to know.
    pub bird: Sockets,
    /// Packet loops.
    pub workers: usize,
    /// Whether each worker gets a core of its own.
    pub pin_workers: bool,
    /// Microseconds a worker looks for packets before it sleeps.
    pub busy_poll_us: u64,
    /// What pods hang on.
    pub pod_link: PodLink,
    /// Where programs and maps for pods on veths are pinned, on a bpffs.
    pub bpf_directory: PathBuf,
    /// Whether the kernel repeats flows of pods on veths.
    pub flow_offload: bool,
    /// The host's TUN.
    pub tunnel_interface: String,
    /// The file that keeps what the host's sysctls were, for the next process if this one is killed.
    pub sysctl_record: PathBuf,
    /// The interface to the other nodes; `None`: the one that holds the node's address.
    pub underlay_interface: Option<String>,
    /// The text that orders policies of one tier and order.
    pub policy_tie_break: TieBreak,
    /// Sessions the flow table holds at most.
    pub flow_table_size: usize,
    /// Sessions one workload may own, as either end; `None`: no limit.
    pub flows_per_endpoint: Option<u32>,
    /// How fast new sessions are admitted; `None`: no limit.
    pub new_flows: Option<Admission>,
    /// Where CNI plugins look for the node's name and MTU.
    pub calico_state_directory: PathBuf,
    /// Whether containers' names are answered at their gateway, and the file that names the resolvers of
    /// other names.
    pub names: Option<PathBuf>,
    /// Whether both ends of a TCP connection that policy cuts get a reset.
    pub reset_cut_connections: bool,
    /// The process's own settings of metrics and health; resources decide what is absent.
    pub observability: Observability,
    /// Buffers a worker may own, each of 64 KiB.
    pub buffers: usize,
}
