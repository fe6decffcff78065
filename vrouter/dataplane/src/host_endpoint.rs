//! Which host endpoint a packet meets where it comes in and where it goes out.
//!
//! A packet crosses an interface of the node on either side: a workload's link, a tunnel's device,
//! or the interface behind the host's own routes. The agent has found the `HostEndpoint` of each,
//! by name, by address, or the one of all interfaces. What the host's stack sends and receives by
//! its own interfaces crosses none that is seen here.

use policy::compile::EndpointIndex;
use policy::model::Direction;

use crate::id::InterfaceId;
use crate::tables::{InterfaceKind, Tables};

/// A host endpoint, as the packet path asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostEndpoint {
    /// Where its policy stands in [`Tables::policy`].
    pub policy: EndpointIndex,
    /// Whether `doNotTrack` policies apply: to packets coming in, going out.
    pub untracked: [bool; 2],
    /// Whether `preDNAT` policies apply.
    pub pre_dnat: bool,
}

impl HostEndpoint {
    /// Whether `doNotTrack` policies apply in a direction.
    pub fn has_untracked(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.untracked[0],
            Direction::Egress => self.untracked[1],
        }
    }
}

/// The host endpoints of this node, by what packets cross.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostEndpoints {
    /// That of all interfaces: workloads' links have no other.
    pub all: Option<HostEndpoint>,
    /// That of the interface behind the host's routes.
    pub uplink: Option<HostEndpoint>,
    /// Those of tunnels' devices, by [`InterfaceId`].
    pub tunnels: Vec<(InterfaceId, HostEndpoint)>,
    /// Whether any of them has `doNotTrack` policies.
    pub untracked: bool,
}

impl HostEndpoints {
    /// Of the host endpoints of all crossings.
    pub fn new(
        all: Option<HostEndpoint>,
        uplink: Option<HostEndpoint>,
        tunnels: Vec<(InterfaceId, HostEndpoint)>,
    ) -> Self {
        let each = tunnels.iter().map(|(_, endpoint)| endpoint);
        let untracked = each
            .chain(&all)
            .chain(&uplink)
            .any(|endpoint| endpoint.untracked != [false; 2]);
        Self {
            all,
            uplink,
            tunnels,
            untracked,
        }
    }

    /// That of a tunnel's device.
    pub fn of_tunnel(&self, id: InterfaceId) -> Option<&HostEndpoint> {
        let found = self.tunnels.iter().find(|(tunnel, _)| *tunnel == id);
        found.map(|(_, endpoint)| endpoint)
    }
}

/// Who sends a flow, as far as policy is concerned.
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
    /// Of a packet from `source` that came in there; none when the interface is gone.
    pub(crate) fn of(
        tables: &Tables,
        arrival: InterfaceId,
        source: std::net::IpAddr,
    ) -> Option<Self> {
        Some(match tables.interface(arrival)?.kind {
            InterfaceKind::Workload(_) => Self::Workload(arrival),
            InterfaceKind::Host if tables.host.addresses.contains(&source) => Self::Host,
            InterfaceKind::Host => Self::Forwarded,
            InterfaceKind::Tunnel(_) => Self::Tunnel(arrival),
        })
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
