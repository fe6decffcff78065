//! Fragments are put together on arrival, because flows and policy need ports.

use encap::reassemble::{Counters as Reassembly, ReassemblyError};

use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::node;
use crate::worker::{Core, Packet};

node! {
    Reassemble to [IpInput]
    drops [FragmentMalformed FragmentLimit FragmentTimeout]
    makes [Reassembled FragmentReleased]
    ends [FragmentHeld]
}

#[inline]
pub(super) fn reassemble(core: &mut Core, packet: &mut Packet) -> Next {
    let before = core.reassembler.counters();
    let scope = u32::from(packet.arrival.interface.0);
    let whole = core
        .reassembler
        .push(packet.buffer.bytes(), scope, core.now);
    let next = match whole {
        Err(
            ReassemblyError::Header(_)
            | ReassemblyError::NotFragment
            | ReassemblyError::Length
            | ReassemblyError::TooLong
            | ReassemblyError::Overlap
            | ReassemblyError::Ecn
            | ReassemblyError::Duplicate
            | ReassemblyError::GivenUp,
        ) => Next::Drop(DropReason::FragmentMalformed),
        Err(ReassemblyError::NoRoom) => Next::Drop(DropReason::FragmentLimit),
        Ok(None) => Next::Consume(ConsumeReason::FragmentHeld),
        // The last fragment's buffer takes the whole packet.
        Ok(Some(bytes)) => {
            if packet.buffer.set(bytes) {
                core.counters.consumed(ConsumeReason::FragmentHeld).add(1);
                core.counters.generated(GenerateReason::Reassembled).add(1);
                packet.refragment = true;
                let largest = core.reassembler.largest_fragment();
                packet.largest_fragment = u16::try_from(largest).unwrap_or(u16::MAX);
                Next::To(To::IpInput)
            } else {
                Next::Drop(DropReason::FragmentMalformed)
            }
        }
    };
    settle(core, before);
    next
}

/// When the fragments held longest are to be given up, in milliseconds; `None` while none are held.
pub(crate) fn next_expiry(core: &Core) -> Option<u64> {
    core.reassembler.next_expiry()
}

/// Gives up what waited too long. Called once a turn in which time passed.
pub(crate) fn expire(core: &mut Core) {
    if core.reassembler.held() == 0 {
        return;
    }
    let before = core.reassembler.counters();
    core.reassembler.expire(core.now, |_| {});
    settle(core, before);
}

/// Held fragments were counted as consumed; those given up since come back as drops.
fn settle(core: &mut Core, before: Reassembly) {
    let after = core.reassembler.counters();
    let released = [
        (
            DropReason::FragmentTimeout,
            after.timed_out - before.timed_out,
        ),
        (DropReason::FragmentLimit, after.evicted - before.evicted),
        (
            DropReason::FragmentMalformed,
            after.given_up - before.given_up,
        ),
    ];
    for (reason, count) in released {
        if count > 0 {
            core.counters
                .generated(GenerateReason::FragmentReleased)
                .add(count);
            core.lost_unseen(None, reason, count);
        }
    }
}
