//! Which host endpoint a packet meets where it comes in and where it goes out.
//!
//! A packet crosses an interface of the node on either side: a workload's link, a tunnel's device,
//! or the interface behind the host's own routes. The agent has found the `HostEndpoint` of each,
//! by name, by address, or the one of all interfaces. What the host's stack sends and receives by
//! its own interfaces crosses none that is seen here.

use policy::compile::EndpointIndex;
use policy::model::Direction;

use crate::id::InterfaceId;

/// A host endpoint, as the packet path asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostEndpoint {
    /// Where its policy stands in [`Tables::policy`](crate::tables::Tables::policy).
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

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.all.is_some() || self.uplink.is_some() || !self.tunnels.is_empty()
    }

    /// That of a tunnel's device.
    pub fn of_tunnel(&self, id: InterfaceId) -> Option<&HostEndpoint> {
        let found = self.tunnels.iter().find(|(tunnel, _)| *tunnel == id);
        found.map(|(_, endpoint)| endpoint)
    }
}
