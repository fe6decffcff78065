//! Packets one after another in one buffer, merged by moving payloads towards its start.
//!
//! A super-packet grows over the headers of the packets it swallows, so no byte moves further
//! than it must and none is moved to another buffer. Only neighbours are merged: packets of
//! interleaved flows stay as they are (one tunnel datagram train carries one outer flow, and so
//! almost always one inner flow).

use std::ops::Range;

use super::open::{Open, Segment};
use super::{Rules, assessed};
use crate::ip::Layers;
use crate::offload::Offload;

/// An IP packet in a buffer, and what is still to be done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Bytes, from the IP header.
    pub range: Range<usize>,
    /// Counted from the IP header.
    pub offload: Offload,
}

/// Merges packets of one buffer, given in ascending order.
///
/// ```
/// use encap::coalesce::{InPlace, Rules, Span};
/// use encap::offload::Offload;
/// # let mut buffer = vec![0u8; 100];
/// # let spans = [0..50, 50..100];
/// let mut merge = InPlace::new(Rules::TCP);
/// let mut done = Vec::new();
/// for range in spans {
///     done.extend(merge.push(&mut buffer, Span { range, offload: Offload::None }));
/// }
/// done.extend(merge.finish(&mut buffer));
/// ```
#[derive(Debug)]
pub struct InPlace {
    rules: Rules,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    span: Span,
    open: Option<Open>,
}

impl InPlace {
    /// Starts with nothing.
    pub fn new(rules: Rules) -> Self {
        Self { rules, last: None }
    }

    /// Takes the next packet; returns one that is complete, when this one does not continue it.
    ///
    /// `buffer` is the same for every packet until [`finish`](Self::finish). A span that starts
    /// before the end of the one before it, or leaves the buffer, is passed on as it is.
    pub fn push(&mut self, buffer: &mut [u8], mut span: Span) -> Option<Span> {
        let segment = buffer.get(span.range.clone()).and_then(|packet| {
            let layers = Layers::parse(packet, 0).ok()?;
            let segment = Segment::new(packet, &layers, span.offload, self.rules);
            if segment.is_none() {
                span.offload = assessed(packet, &layers, span.offload);
            }
            segment
        });
        if let (Some(segment), Some(last)) = (&segment, &mut self.last)
            && last.append(buffer, &span, segment, self.rules)
        {
            return None;
        }
        let done = self.finish(buffer);
        self.last = Some(Last {
            span,
            open: segment.map(Open::new),
        });
        done
    }

    /// Completes and returns the last packet, if there is one.
    pub fn finish(&mut self, buffer: &mut [u8]) -> Option<Span> {
        let Last { mut span, open } = self.last.take()?;
        if let (Some(open), Some(packet)) = (open, buffer.get_mut(span.range.clone()))
            && packet.len() == open.bytes()
        {
            span.offload = open.finish(packet);
        }
        Some(span)
    }
}

impl Last {
    /// Moves the payload of `segment` to the end of this packet, if it continues it.
    fn append(&mut self, buffer: &mut [u8], span: &Span, segment: &Segment, rules: Rules) -> bool {
        let end = self.span.range.end;
        let Some(open) = &mut self.open else {
            return false;
        };
        if span.range.start < end {
            return false;
        }
        let Some(head) = buffer.get(self.span.range.clone()) else {
            return false;
        };
        // `segment` was made from these bytes, so they are there.
        if !open.accepts(head, segment, &buffer[span.range.clone()], rules) {
            return false;
        }
        let payload = span.range.start + segment.payload()..span.range.end;
        // In order and disjoint: the target ends at or before the source's end.
        self.span.range.end = end + payload.len();
        buffer.copy_within(payload, end);
        open.append(segment);
        true
    }
}
