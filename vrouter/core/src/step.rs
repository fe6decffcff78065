//! What can be done to a node: the closed set of steps a plan is made of.

use std::fmt;
use std::net::IpAddr;

use encap::Tunnel;
use vrouter_api::Key;
use vrouter_dataplane::id::InterfaceId;

use crate::desired::Local;
use crate::forwarding::Forwarding;
use crate::kernel::KernelRoute;
use crate::observed::Socket;
use crate::pod_link::PodLink;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Close a tunnel's sockets.
    CloseTunnel(Tunnel),
    /// Open a tunnel's sockets and give them to the workers.
    OpenTunnel(Tunnel, Socket),
    /// Forget a workload whose resource went.
    Forget(Key),
    /// Give up a workload's TAP or veth; its number stays open until no tables name it.
    Detach(Key, &'static str),
    /// Bring a workload's open interface to a changed resource or MTU.
    Configure(Box<Local>, u16),
    /// Open a workload's TAP or veth under a number, and give it to the workers.
    Attach(Box<Local>, u16, InterfaceId, PodLink),
    /// Keep a workload waiting: every number is in use.
    Postpone(Box<Local>),
    /// Set the MTU of the host's TUN.
    SetMtu(u16),
    /// Remove an address from the TUN.
    RemoveAddress(IpAddr),
    /// Give the TUN an address.
    AddAddress(IpAddr),
    /// Remove a route of ours from the host's table.
    RemoveRoute(KernelRoute),
    /// Make or replace a route in the host's table.
    SetRoute(KernelRoute),
    /// Give what workers do not know yet a place in their tables.
    Prepare(Box<Forwarding>),
    /// Publish a generation in which new places are known, before a prefix points to them.
    Announce,
    /// Wait until every worker has seen the last generation.
    AwaitWorkers,
    /// Point prefixes to their new places.
    Commit,
    /// Publish a generation with everything.
    Publish,
    /// Free places that no prefix points to.
    Collect,
    /// Close an interface no tables name.
    CloseInterface(InterfaceId),
    /// Let the number of a closed interface be given again.
    RetireId(InterfaceId),
}

impl Step {
    /// Whether later steps of a plan are dangerous where this one failed.
    pub fn is_barrier(&self) -> bool {
        match self {
            Step::Prepare(_)
            | Step::Announce
            | Step::AwaitWorkers
            | Step::Commit
            | Step::Publish
            | Step::Collect => true,
            Step::CloseTunnel(_)
            | Step::OpenTunnel(..)
            | Step::Forget(_)
            | Step::Detach(..)
            | Step::Configure(..)
            | Step::Attach(..)
            | Step::Postpone(_)
            | Step::SetMtu(_)
            | Step::RemoveAddress(_)
            | Step::AddAddress(_)
            | Step::RemoveRoute(_)
            | Step::SetRoute(_)
            | Step::CloseInterface(_)
            | Step::RetireId(_) => false,
        }
    }
}

/// What is done, in words for a log.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::CloseTunnel(tunnel) => write!(f, "close {tunnel}"),
            Step::OpenTunnel(tunnel, socket) => {
                write!(f, "open {tunnel} from {}", socket.local)
            }
            Step::Forget(key) => write!(f, "forget {key}"),
            Step::Detach(key, reason) => write!(f, "detach {key}: {reason}"),
            Step::Configure(local, mtu) => write!(f, "configure {} with MTU {mtu}", local.key),
            Step::Attach(local, _, id, link) => {
                write!(f, "attach {} by {link} as interface {id}", local.key)
            }
            Step::Postpone(local) => write!(f, "postpone {}", local.key),
            Step::SetMtu(mtu) => write!(f, "set the MTU of the TUN to {mtu}"),
            Step::RemoveAddress(address) => write!(f, "remove address {address}"),
            Step::AddAddress(address) => write!(f, "add address {address}"),
            Step::RemoveRoute(route) => write!(f, "remove the route to {}", route.destination),
            Step::SetRoute(route) => write!(f, "set the route to {}", route.destination),
            Step::Prepare(_) => f.write_str("prepare tables"),
            Step::Announce => f.write_str("announce new adjacencies"),
            Step::AwaitWorkers => f.write_str("await the workers"),
            Step::Commit => f.write_str("point prefixes to their adjacencies"),
            Step::Publish => f.write_str("publish tables"),
            Step::Collect => f.write_str("free unused adjacencies"),
            Step::CloseInterface(id) => write!(f, "close interface {id}"),
            Step::RetireId(id) => write!(f, "retire interface {id}"),
        }
    }
}
