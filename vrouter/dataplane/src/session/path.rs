//! What the packet path writes into a session's opaque path words.

use crate::id::{AdjacencyId, InterfaceId};
use crate::origin::Arrival;

/// One direction of a session: where its packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    /// The adjacency, valid for the generation of the session.
    pub(crate) adjacency: AdjacencyId,
    /// Where its packets must come from, when their source is an address of this node or its
    /// workloads.
    pub(crate) home: Option<InterfaceId>,
}

impl Path {
    /// The word the flow table keeps.
    pub(crate) fn pack(self) -> u64 {
        let home = self.home.map_or(0, |id| u64::from(id.0) + 1);
        home << 32 | u64::from(self.adjacency.0)
    }

    /// Reads the word back.
    pub(crate) fn unpack(word: u64) -> Self {
        Self {
            adjacency: AdjacencyId(word as u32),
            home: ((word >> 32) as u32)
                .checked_sub(1)
                .map(|id| InterfaceId(id as u16)),
        }
    }

    /// Whether a packet of this direction may come in there. A session must not let in from
    /// outside what its first packet would not have been (RFC 1812 section 5.3.8). What a
    /// workload may send from was checked on arrival.
    pub(crate) fn admits(self, arrival: Arrival) -> bool {
        self.home.is_none_or(|home| home == arrival.interface) || arrival.is_workload()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_word() {
        for home in [None, Some(0), Some(4095), Some(u16::MAX)] {
            let path = Path {
                adjacency: AdjacencyId(65_534),
                home: home.map(InterfaceId),
            };
            assert_eq!(Path::unpack(path.pack()), path);
        }
    }
}
