//! The kernel's side of pods on veths: programs at the workloads' host ends and at `vrouter0`, and the
//! maps they read.
//!
//! A workload's frame is handed to user space by `vrouter0` with the interface it came in by in its
//! destination MAC ([`interface_mac`]); a frame that user space writes there names the interface to
//! leave by in its source MAC. Nothing is decided here.
//!
//! Maps, programs and links are pinned in a directory of the node's, so that they outlive the process.
//! aya loads them: it is Rust alone, and needs no library where `vrouterd` runs.

mod error;
mod layout;
mod links;
mod offload;

pub use error::OffloadError;
pub use layout::{Outcome, interface_mac, interface_of};
pub use links::Attachment;
pub use offload::Offload;
