//! Numbers of interfaces, as the maps have them.

use rustc_hash::FxHashMap;
use vrouter_dataplane::id::InterfaceId;

use crate::error::OffloadError;
use crate::flow::FIXED_INTERFACE;

/// Numbers of the router's interfaces and the kernel's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    pub(crate) by_index: FxHashMap<u32, InterfaceId>,
    /// Index, and whether there is a peer.
    pub(crate) interfaces: FxHashMap<InterfaceId, (u32, bool)>,
}

impl Numbers {
    /// Index of an attached interface, and whether it has a peer.
    pub(crate) fn of(&self, id: InterfaceId) -> Result<(u32, bool), OffloadError> {
        let found = self.interfaces.get(&id).copied();
        found.ok_or(OffloadError::NotAttached(id.0))
    }

    /// The part of a key that says where packets come in.
    pub(crate) fn arrival(&self, id: InterfaceId) -> Result<u32, OffloadError> {
        if id < InterfaceId::FIRST_WORKLOAD {
            return Ok(FIXED_INTERFACE | u32::from(id.0));
        }
        self.of(id).map(|(ifindex, _)| ifindex)
    }

    /// The router's number of the part of a key that says where packets come in.
    pub(crate) fn at(&self, ifindex: u32) -> Option<InterfaceId> {
        match ifindex.checked_sub(FIXED_INTERFACE) {
            Some(fixed) => u16::try_from(fixed).ok().map(InterfaceId),
            None => self.by_index.get(&ifindex).copied(),
        }
    }
}
