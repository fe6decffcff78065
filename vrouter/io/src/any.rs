//! Every device a worker can hold, as one type: a `match` instead of a virtual call.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Shared, Transmitted, Vector};

use crate::ipip::IpipSocket;
use crate::tap::Tap;
use crate::tun::Tun;
use crate::vxlan::VxlanSocket;

/// One worker's queue of any interface.
#[derive(Debug)]
pub enum AnyDevice {
    /// A pod's interface.
    Tap(Tap),
    /// Those of all pods on veths.
    Router(Shared<Tap>),
    /// The node's own interface.
    Tun(Tun),
    /// The underlay of VXLAN; boxed because it holds the room for its batches.
    Vxlan(Box<VxlanSocket>),
    /// The underlay of IPIP.
    Ipip(Box<IpipSocket>),
}

impl Device for AnyDevice {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        match self {
            Self::Tap(queue) | Self::Tun(queue) => queue.receive(pool, into),
            Self::Router(shared) => shared.receive(pool, into),
            Self::Vxlan(socket) => socket.receive(pool, into),
            Self::Ipip(socket) => socket.receive(pool, into),
        }
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        match self {
            Self::Tap(queue) | Self::Tun(queue) => queue.transmit(packets),
            Self::Router(shared) => shared.transmit(packets),
            Self::Vxlan(socket) => socket.transmit(packets),
            Self::Ipip(socket) => socket.transmit(packets),
        }
    }

    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Tap(queue) | Self::Tun(queue) => queue.capabilities(),
            Self::Router(shared) => shared.capabilities(),
            Self::Vxlan(socket) => socket.capabilities(),
            Self::Ipip(socket) => socket.capabilities(),
        }
    }
}

impl AsRawFd for AnyDevice {
    /// What to give to [`crate::poller::Poller::register`].
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tap(queue) | Self::Tun(queue) => queue.as_raw_fd(),
            Self::Router(Shared(queue)) => queue.as_raw_fd(),
            Self::Vxlan(socket) => socket.as_raw_fd(),
            Self::Ipip(socket) => socket.as_raw_fd(),
        }
    }
}
