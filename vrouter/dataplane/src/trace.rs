//! Marked packets, traced node by node: what a packet was at each node, and where it went.

use std::fmt;
use std::num::NonZeroU32;

use crate::graph::{Next, NodeId};
use crate::id::InterfaceId;
use crate::packet::Headers;

/// The number of a marked packet, and of the packets made from it.
pub type Mark = NonZeroU32;

/// One node on a marked packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The packet.
    pub mark: Mark,
    /// In the worker's milliseconds.
    pub at_ms: u64,
    /// The interface it came in by.
    pub arrival: InterfaceId,
    /// The node it was at.
    pub node: NodeId,
    /// Bytes it had behind the node.
    pub length: usize,
    /// Headers, once parsed.
    pub headers: Option<Headers>,
    /// Where it went.
    pub next: Next<NodeId>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} ", self.mark, self.node.name())?;
        match &self.headers {
            Some(headers) => write!(f, "({headers})")?,
            None => write!(f, "({} bytes by interface {})", self.length, self.arrival)?,
        }
        match self.next {
            Next::To(node) => write!(f, " ─▶ {}", node.name()),
            Next::Tx(out) => write!(f, " ─▶ interface {out}"),
            Next::Drop(reason) => write!(f, " dropped: {}", reason.name()),
            Next::Reject(reason, error) => write!(f, " dropped: {}, {error}", reason.name()),
            Next::Consume(reason) => write!(f, " ended: {}", reason.name()),
        }
    }
}

/// The packets that are to be marked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marker {
    interface: Option<InterfaceId>,
    left: u32,
    given: u32,
}

impl Marker {
    /// Marks the next `packets` packets, of one interface or of any.
    pub(crate) fn arm(&mut self, interface: Option<InterfaceId>, packets: u32) {
        self.interface = interface;
        self.left = packets;
    }

    /// The mark of a packet that comes in by an interface.
    #[inline]
    pub(crate) fn mark(&mut self, interface: InterfaceId) -> Option<Mark> {
        if self.left == 0 {
            return None;
        }
        self.mark_some(interface)
    }

    #[cold]
    fn mark_some(&mut self, interface: InterfaceId) -> Option<Mark> {
        if self.interface.is_some_and(|wanted| wanted != interface) {
            return None;
        }
        self.left -= 1;
        self.given = self.given.wrapping_add(1);
        Mark::new(self.given)
    }
}
