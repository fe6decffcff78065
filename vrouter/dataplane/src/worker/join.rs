//! Where packets wait for their vector to meet, in front of `merge` and `flow`.
//!
//! A packet may come here while a vector is on its way from here: out of a tunnel behind `forward`,
//! or translated. It waits for the next one. Nobody but this file holds the two vectors, so that
//! none can be put in the place of another that has packets.

use super::Packet;

/// See the module.
#[derive(Debug)]
pub(crate) struct Join {
    waiting: Vec<Packet>,
    /// An empty vector with its memory, for those that come while `waiting` is on its way.
    spare: Vec<Packet>,
}

impl Join {
    /// With memory for `capacity` packets.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            waiting: Vec::with_capacity(capacity),
            spare: Vec::with_capacity(capacity),
        }
    }

    /// Lets a packet wait.
    #[inline]
    pub(crate) fn push(&mut self, packet: Packet) {
        self.waiting.push(packet);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Those that wait.
    pub(crate) fn waiting_mut(&mut self) -> &mut Vec<Packet> {
        &mut self.waiting
    }

    /// All that wait; `None` when none do.
    pub(super) fn depart(&mut self) -> Option<Vec<Packet>> {
        if self.waiting.is_empty() {
            return None;
        }
        let spare = std::mem::take(&mut self.spare);
        Some(std::mem::replace(&mut self.waiting, spare))
    }

    /// Keeps the memory of a vector whose packets have all gone on.
    pub(super) fn reuse(&mut self, gone: Vec<Packet>) {
        debug_assert!(gone.is_empty(), "packets of a vector went nowhere");
        self.spare = gone;
    }
}
