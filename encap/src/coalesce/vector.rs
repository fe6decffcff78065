//! Packets in buffers of their own, several flows interleaved, merged by appending payloads.

use super::open::{Open, Segment, same_flow};
use super::{Rules, assessed};
use crate::ip::{Layers, Part};
use crate::offload::Offload;
use crate::protocol::{TCP, UDP};

/// Flows that can grow at a time; with more, the one that started first is completed.
const FLOWS: usize = 16;

/// A packet in a buffer that may have room behind it.
pub trait Growing {
    /// The packet, from its IP header.
    fn bytes(&self) -> &[u8];
    /// The same, to write its headers.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// What is still to be done to it, counted from the IP header.
    fn offload(&self) -> Offload;
    /// Where its headers are; `None` when it is no IP packet.
    fn layers(&self) -> Option<Layers> {
        Layers::parse(self.bytes(), 0).ok()
    }
    /// Puts `payload` behind the packet; `false`, and no change, when there is no room.
    fn append(&mut self, payload: &[u8]) -> bool;
    /// Whether it is known to be the only one of its flow: it is then passed over, and not summed.
    fn is_alone(&self) -> bool {
        false
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is still there, perhaps longer, with this offload from now on.
    Kept(Offload),
    /// Payload is part of an earlier packet; it is to be let go, uncounted as a drop.
    Absorbed,
}

#[derive(Clone, Copy)]
struct Flow {
    /// The first packet's index.
    head: usize,
    hash: u32,
    layers: Layers,
    open: Open,
}

/// Merges what can be merged among `packets`, and says for each in `fates` what became of it.
///
/// A merged packet stands where its first segment stood; packets of one flow keep their order.
/// Looks at as many packets as the shorter slice has.
pub fn vector<P: Growing>(packets: &mut [P], rules: Rules, fates: &mut [Fate]) {
    let mut flows = [None; FLOWS];
    let mut oldest = 0;
    for at in 0..packets.len().min(fates.len()) {
        let (before, rest) = packets.split_at_mut(at);
        let packet = &rest[0];
        let offload = packet.offload();
        fates[at] = Fate::Kept(offload);
        let bytes = packet.bytes();
        let Some(layers) = packet.layers() else {
            continue;
        };
        match (layers.protocol, layers.part) {
            (TCP | UDP, Part::Whole) => {}
            // It may be of any flow: none may be merged across it.
            (TCP | UDP, Part::First | Part::Later) => {
                for flow in flows.iter_mut().filter_map(Option::take) {
                    complete(before, &flow, fates);
                }
                continue;
            }
            // No flow of ours.
            (_, _) => continue,
        }
        if packet.is_alone() {
            continue;
        }
        let segment = Segment::new(bytes, &layers, offload, rules);
        if segment.is_none() {
            fates[at] = Fate::Kept(assessed(bytes, &layers, offload));
        }
        let hash = layers.flow_hash(bytes);
        let slot = flows.iter_mut().find(|flow| {
            flow.is_some_and(|flow: Flow| {
                flow.hash == hash
                    && same_flow(before[flow.head].bytes(), &flow.layers, bytes, &layers)
            })
        });
        let slot = match slot {
            Some(slot) => {
                if let (Some(segment), Some(flow)) = (&segment, slot.as_mut())
                    && flow
                        .open
                        .accepts(before[flow.head].bytes(), segment, bytes, rules)
                    && before[flow.head].append(&bytes[segment.payload()..])
                {
                    flow.open.append(segment);
                    fates[at] = Fate::Absorbed;
                    continue;
                }
                // Of this flow, but no continuation: what came before it is complete.
                slot
            }
            None if segment.is_none() => continue,
            None => {
                oldest = (oldest + 1) % FLOWS;
                &mut flows[oldest]
            }
        };
        if let Some(flow) = slot.take() {
            complete(before, &flow, fates);
        }
        *slot = segment.map(|segment| Flow {
            head: at,
            hash,
            layers,
            open: Open::new(segment),
        });
    }
    for flow in flows.iter().flatten() {
        complete(packets, flow, fates);
    }
}

fn complete<P: Growing>(packets: &mut [P], flow: &Flow, fates: &mut [Fate]) {
    let bytes = packets[flow.head].bytes_mut();
    // A `Growing` that breaks its word keeps its packet as it is.
    if bytes.len() == flow.open.bytes() {
        fates[flow.head] = Fate::Kept(flow.open.finish(bytes));
    }
}
