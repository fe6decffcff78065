//! A packet on its way, and what is known of it so far.

use encap::coalesce::Growing;
use encap::ip::Layers;
use encap::offload::Offload;
use policy::flow::{FlowKey, Hit};

use crate::buffer::Buffer;
use crate::drop::DropReason;
use crate::id::{AdjacencyId, InterfaceId};
use crate::origin::Arrival;
use crate::packet::Headers;
use crate::trace::Mark;

/// A packet on its way through the graph.
#[derive(Debug)]
pub struct Packet {
    /// Bytes; after the link's input node they start with the IP header.
    pub buffer: Buffer,
    /// Where it came in, and what is behind that.
    pub arrival: Arrival,
    /// Where it goes out, once known.
    pub out: InterfaceId,
    /// Headers, once parsed.
    pub headers: Headers,
    /// Flow, if it has one.
    pub key: Option<FlowKey>,
    /// Whether no other packet of its vector is of its flow, as far as looked.
    pub(crate) alone: bool,
    /// Session, if it has one.
    pub hit: Option<Hit>,
    /// Route, once known.
    pub adjacency: AdjacencyId,
    /// Whether it came in fragments and may therefore be cut again.
    pub refragment: bool,
    /// Bytes of its largest fragment then.
    pub largest_fragment: u16,
    /// Whether a `doNotTrack` policy let it in: it has no session.
    pub untracked: bool,
    /// Whether the router made it, or has charged it a hop already.
    pub generated: bool,
    /// Whether the agent was told why it is lost.
    pub(crate) reported: bool,
    /// Mark, if it is traced.
    pub(crate) mark: Option<Mark>,
}

impl Packet {
    /// A packet that just came in.
    pub fn new(buffer: Buffer, arrival: Arrival) -> Self {
        Self {
            buffer,
            arrival,
            out: arrival.interface,
            headers: Headers::NONE,
            key: None,
            alone: false,
            hit: None,
            adjacency: AdjacencyId(0),
            refragment: false,
            largest_fragment: u16::MAX,
            untracked: false,
            generated: false,
            reported: false,
            mark: None,
        }
    }

    /// Brings `headers` up to date after it grew by merging, and took over flags of its last segment.
    pub(crate) fn parse_again(&mut self) -> Result<(), DropReason> {
        if self.buffer.len() != self.headers.length {
            self.headers = Headers::parse(self.buffer.bytes())?;
        }
        Ok(())
    }

    /// Hash of its flow, the same in both directions; 0 for what has none.
    pub(crate) fn flow_hash(&self) -> u64 {
        self.key.map_or(0, |key| key.hash(0))
    }

    /// Removes a link header; offsets in the metadata move along. `false` when the metadata
    /// points into the header.
    #[must_use]
    pub(crate) fn strip(&mut self, n: usize) -> bool {
        let Ok(offload) = self.buffer.meta.offload.shift(-(n as isize)) else {
            return false;
        };
        self.buffer.meta.offload = offload;
        self.buffer.strip(n)
    }

    /// Makes room for a link header; offsets in the metadata move along.
    pub(crate) fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.buffer.meta.offload = self.buffer.meta.offload.shift(n as isize).ok()?;
        self.buffer.prepend(n)
    }

    /// Takes over what was decided for the packet this one was cut from.
    pub(crate) fn inherit(&mut self, parent: &Self) {
        self.headers = parent.headers;
        self.key = parent.key;
        self.hit = parent.hit;
        self.adjacency = parent.adjacency;
        self.generated = true;
    }
}

impl Growing for Packet {
    fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }

    fn offload(&self) -> Offload {
        self.buffer.meta.offload
    }

    fn append(&mut self, payload: &[u8]) -> bool {
        self.buffer.append(payload)
    }

    fn layers(&self) -> Option<Layers> {
        Some(self.headers.layers())
    }

    fn is_alone(&self) -> bool {
        self.alone
    }
}
