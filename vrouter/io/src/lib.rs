//! Devices and system calls: TAP, TUN, UDP, raw and packet sockets, netlink.
//!
//! The only crate of the packet path that calls the kernel. [`any::AnyDevice`] is what a worker
//! holds of each interface; [`poller`] puts it to sleep; [`netns`] and [`link`] prepare pods and
//! the node. Nothing here reads a clock. `unsafe` is in one file, `sys.rs`.

mod ancillary;
pub mod any;
mod batch;
pub mod cpu;
mod encapsulator;
pub mod error;
pub mod ipip;
pub mod learned;
pub mod link;
pub mod netns;
mod packet;
pub mod path_mtu;
pub mod pod;
pub mod poller;
pub mod queue;
pub mod resolver;
mod sys;
pub mod sysctl;
pub mod tap;
pub mod tun;
pub mod veth;
pub mod vxlan;
pub mod watch;

pub use error::{Error, Result};
