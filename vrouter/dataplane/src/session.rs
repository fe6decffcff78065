//! What the packet path writes into a session's opaque path words.

use crate::id::AdjacencyId;

/// One direction of a session: where its packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    /// The adjacency, valid for the generation of the session.
    pub(crate) adjacency: AdjacencyId,
}

impl Path {
    /// The word the flow table keeps.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.adjacency.0)
    }

    /// Reads the word back.
    pub(crate) fn unpack(word: u64) -> Self {
        Self {
            adjacency: AdjacencyId(word as u32),
        }
    }
}
