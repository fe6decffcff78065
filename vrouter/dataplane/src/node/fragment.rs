//! Fragments: put together on arrival, because flows and policy need ports, and cut again where
//! the next link is too small. As in Linux' connection tracking, a packet that came in fragments
//! may leave in fragments, DF and IPv6 notwithstanding.

use encap::Family;
use encap::fragment::{Plan, PlanV6};
use encap::ip::clear_dont_fragment;
use encap::reassemble::{Counters as Reassembly, ReassemblyError};

use crate::adjacency::Adjacency;
use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::{Next, NodeId};
use crate::tables::Tables;
use crate::worker::{Core, Packet};

pub(super) fn reassemble(core: &mut Core, packet: &mut Packet) -> Next {
    let before = core.reassembler.counters();
    let scope = u32::from(packet.rx.0);
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
                Next::To(NodeId::IpInput)
            } else {
                Next::Drop(DropReason::FragmentMalformed)
            }
        }
    };
    settle(core, before);
    next
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
fn settle(core: &Core, before: Reassembly) {
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
            core.counters.dropped(reason).add(count);
        }
    }
}

pub(super) fn cut(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let mtu = match tables.adjacency(packet.adjacency) {
        Some(
            Adjacency::Host { mtu, .. }
            | Adjacency::Neighbor { mtu, .. }
            | Adjacency::Tunnel { mtu, .. },
        ) => usize::from(*mtu),
        Some(Adjacency::Drop(_) | Adjacency::Group(_)) | None => {
            return Next::Drop(DropReason::StaleAdjacency);
        }
    };
    let offload = packet.buffer.meta.offload;
    match encap::checksum::complete(packet.buffer.bytes_mut(), offload) {
        Ok(done) => packet.buffer.meta.offload = done,
        Err(_) => return Next::Drop(DropReason::OffloadMalformed),
    }
    match packet.headers.family {
        Family::V4 => cut_v4(core, packet, mtu),
        Family::V6 => cut_v6(core, packet, mtu),
    }
}

fn cut_v4(core: &mut Core, packet: &mut Packet, mtu: usize) -> Next {
    // It came in fragments although it says not to be cut: the flag goes, as in Linux.
    clear_dont_fragment(packet.buffer.bytes_mut());
    let Ok(plan) = Plan::new(packet.buffer.bytes(), 0, mtu) else {
        return Next::Drop(DropReason::TooBig);
    };
    for i in 0..plan.count() {
        let made = core.generate(packet.rx, GenerateReason::Fragment, |out| {
            plan.write(i, packet.buffer.bytes(), out).unwrap_or(0)
        });
        if let Some(mut made) = made {
            made.inherit(packet);
            core.spawn(made, NodeId::Forward);
        }
    }
    Next::Consume(ConsumeReason::Fragmented)
}

/// Cuts behind the IPv6 header and its hop-by-hop options, with a fragment header in each piece.
fn cut_v6(core: &mut Core, packet: &mut Packet, mtu: usize) -> Next {
    core.fragment_id = core.fragment_id.wrapping_add(1);
    let Ok(plan) = PlanV6::new(packet.buffer.bytes(), mtu, core.fragment_id) else {
        return Next::Drop(DropReason::TooBig);
    };
    for i in 0..plan.count() {
        let made = core.generate(packet.rx, GenerateReason::Fragment, |out| {
            plan.write(i, packet.buffer.bytes(), out).unwrap_or(0)
        });
        if let Some(mut made) = made {
            made.inherit(packet);
            core.spawn(made, NodeId::Forward);
        }
    }
    Next::Consume(ConsumeReason::Fragmented)
}
