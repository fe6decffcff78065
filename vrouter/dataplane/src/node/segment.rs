//! A super-packet is cut for a link that takes none; the segments go on as packets of their own.

use encap::segment::Plan;

use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::node;
use crate::worker::{Core, Packet};

node! {
    Segment to [Forward]
    drops [SegmentFailed SegmentTooSmall NoBuffer]
    makes [Segment]
    ends [Segmented]
}

/// Most packets one super-packet is cut into: half of the buffers a worker has by default. Segments
/// of 128 bytes are the smallest that a full one may ask for.
pub(super) const MOST_SEGMENTS: usize = 512;

/// Cuts a super-packet; the segments take the way on from here.
#[inline]
pub(super) fn cut(core: &mut Core, packet: &mut Packet) -> Next {
    let Ok(plan) = Plan::new(packet.buffer.bytes(), 0, packet.buffer.meta.offload) else {
        return Next::Drop(DropReason::SegmentFailed);
    };
    if plan.count() > MOST_SEGMENTS {
        return Next::Drop(DropReason::SegmentTooSmall);
    }
    for i in 0..plan.count() {
        let mut failed = false;
        let made = core.generate(packet.arrival, GenerateReason::Segment, |bytes| {
            plan.write(i, packet.buffer.bytes(), bytes)
                .unwrap_or_else(|_| {
                    failed = true;
                    0
                })
        });
        let Some(mut made) = made else { continue };
        if failed {
            core.drop_packet(made, DropReason::SegmentFailed);
            continue;
        }
        made.inherit(packet);
        core.spawn(made, To::Forward);
    }
    Next::Consume(ConsumeReason::Segmented)
}
