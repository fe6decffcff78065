//! Where a packet came from: decided once, where it comes in, and carried with it.

use std::net::IpAddr;

use encap::Tunnel;

use crate::host_endpoint::HostEndpoint;
use crate::id::InterfaceId;
use crate::tables::{InterfaceKind, Tables};

/// The side of the node a packet came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A workload of this node.
    Workload,
    /// The host's stack.
    Host,
    /// Another node, by a tunnel.
    Tunnel(Tunnel),
}

/// The interface a packet came in by, and what is behind it. It travels with the packet: a device
/// may carry packets of several interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The interface.
    pub interface: InterfaceId,
    pub side: Side,
}

impl Arrival {
    /// By an interface; `None` when it is not in the tables.
    pub(crate) fn by(tables: &Tables, interface: InterfaceId) -> Option<Self> {
        let side = match tables.interface(interface)?.kind {
            InterfaceKind::Workload(_) => Side::Workload,
            InterfaceKind::Host => Side::Host,
            InterfaceKind::Tunnel(tunnel) => Side::Tunnel(tunnel),
        };
        Some(Self { interface, side })
    }

    /// Whether a workload sent it.
    #[inline]
    pub(crate) fn is_workload(self) -> bool {
        match self.side {
            Side::Workload => true,
            Side::Host | Side::Tunnel(_) => false,
        }
    }
}

/// The sender of a flow, as far as policy is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A workload of this node.
    Workload(InterfaceId),
    /// The host's stack: a packet of its own.
    Host,
    /// The host's stack: a packet it only forwards.
    Forwarded,
    /// Another node, by a tunnel.
    Tunnel(InterfaceId),
}

impl Origin {
    /// Of a packet from `source`.
    pub(crate) fn new(tables: &Tables, arrival: Arrival, source: IpAddr) -> Self {
        match arrival.side {
            Side::Workload => Self::Workload(arrival.interface),
            Side::Host
                if arrival.interface == InterfaceId::RESOLVER
                    || tables.host.addresses.contains(&source) =>
            {
                Self::Host
            }
            Side::Host => Self::Forwarded,
            Side::Tunnel(_) => Self::Tunnel(arrival.interface),
        }
    }

    /// The host endpoint it crosses where it comes in.
    pub(crate) fn endpoint(self, tables: &Tables) -> Option<&HostEndpoint> {
        let endpoints = &tables.host.endpoints;
        match self {
            Self::Workload(_) => endpoints.all.as_ref(),
            Self::Host => None,
            Self::Forwarded => endpoints.uplink.as_ref(),
            Self::Tunnel(id) => endpoints.of_tunnel(id),
        }
    }

    /// Whether it came to us by the host's stack.
    pub(crate) fn is_by_host(self) -> bool {
        match self {
            Self::Host | Self::Forwarded => true,
            Self::Workload(_) | Self::Tunnel(_) => false,
        }
    }

    /// Whether a workload sent it.
    pub(crate) fn is_workload(self) -> bool {
        match self {
            Self::Workload(_) => true,
            Self::Host | Self::Forwarded | Self::Tunnel(_) => false,
        }
    }
}
