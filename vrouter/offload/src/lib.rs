//! The kernel's side of pods on veths: programs at the workloads' host ends and at `vrouter0`, and the
//! maps they read.
//!
//! A workload's frame is handed to user space by `vrouter0` with the interface it came in by in its
//! destination MAC ([`interface_mac`](vrouter_dataplane::device::interface_mac)); a frame that user space writes there names the interface to
//! leave by in its source MAC. Nothing is decided here.
//!
//! Of a flow that user space has decided ([`Offload::insert`]) the kernel sends ordinary packets on by
//! itself, from workload to workload of the node, and by VXLAN and IPIP over IPv4 to and from other nodes;
//! whatever is unusual goes to user space as before. By a [`Grant`] it begins further connections of a pair
//! of addresses that user space has decided about, and reports each.
//!
//! Maps, programs and links are pinned in a directory of the node's, so that they outlive the process.
//! aya loads them: it is Rust alone, and needs no library where `vrouterd` runs.

mod error;
mod flow;
mod layout;
mod links;
mod numbers;
mod offload;
mod place;

pub use error::OffloadError;
pub use flow::{Counted, EarlierFlow, FlowEntry, FlowKey, Grant, Sender, Target};
pub use layout::{Outcome, Underlay, VxlanEnd};
pub use links::Attachment;
pub use offload::{Offload, since_boot};
pub use place::Place;
