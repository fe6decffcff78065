//! What a node has: what the host says of itself, and what executed steps made of it.
//!
//! Only [`crate::execute`] writes what steps made; a step that failed leaves no trace, so that the
//! next plan has it again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use encap::Tunnel;
use vrouter_api::Key;
use vrouter_dataplane::adjacency::Mac;
use vrouter_dataplane::id::InterfaceId;

use crate::desired::Local;
use crate::kernel::Kernel;
use crate::pod_link::PodLink;
use crate::publication::Publication;
use crate::underlay::Underlay;

/// Where a tunnel's sockets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Socket {
    /// Our underlay address.
    pub local: IpAddr,
    /// UDP port, of VXLAN.
    pub port: u16,
    /// MTU of the underlay's interface.
    pub mtu: u32,
    /// The number of that interface, where it is known.
    pub underlay: Option<u32>,
}

/// What the host says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The interface to the other nodes, where there is one.
    pub underlay: Option<Underlay>,
    /// Addresses of the host's own interfaces.
    pub addresses: BTreeSet<IpAddr>,
    /// MTU of the path to each other node, where the kernel knows one.
    pub path_mtus: BTreeMap<IpAddr, u32>,
}

/// A workload's open interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    pub id: InterfaceId,
    pub mac: Mac,
    /// MTU set in the pod.
    pub mtu: u16,
    /// What it hangs on.
    pub link: PodLink,
}

/// A workload of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What its resource said when it was last brought there.
    pub local: Local,
    /// Its interface, when it is open.
    pub attached: Option<Attached>,
    /// Why it is not, in words for an operator.
    pub problem: Option<String>,
}

/// The workloads of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub(crate) by_key: BTreeMap<Key, Endpoint>,
}

impl Endpoints {
    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_key.values()
    }

    /// One of them.
    pub fn find(&self, key: &Key) -> Option<&Endpoint> {
        self.by_key.get(key)
    }

    /// The workload behind an interface.
    pub fn behind(&self, id: InterfaceId) -> Option<&Endpoint> {
        self.iter()
            .find(|e| e.attached.is_some_and(|attached| attached.id == id))
    }

    /// The workload behind each open interface.
    pub fn attached(&self) -> impl Iterator<Item = (InterfaceId, &Key)> {
        self.iter()
            .filter_map(|e| e.attached.map(|attached| (attached.id, &e.local.key)))
    }
}

/// What a node has.
#[derive(Debug, Default)]
pub struct Observed {
    /// What the host says of itself.
    pub host: HostFacts,
    /// Open tunnels.
    pub tunnels: BTreeMap<Tunnel, Socket>,
    /// Workloads.
    pub endpoints: Endpoints,
    /// Interfaces of workloads that went, which workers still have open.
    pub closing: BTreeSet<InterfaceId>,
    /// Interfaces that workers closed, whose number nobody may have before it is retired.
    pub closed: BTreeSet<InterfaceId>,
    /// The host's own side.
    pub kernel: Kernel,
    pub publication: Publication,
}

impl Observed {
    /// A workload's interface is of no use any more: it is closed once no tables name it.
    /// Whether there was one.
    pub fn lose(&mut self, endpoint: &Key, reason: &str) -> bool {
        let Some(endpoint) = self.endpoints.by_key.get_mut(endpoint) else {
            return false;
        };
        let Some(attached) = endpoint.attached.take() else {
            return false;
        };
        endpoint.problem = Some(reason.to_owned());
        self.closing.insert(attached.id);
        true
    }
}
