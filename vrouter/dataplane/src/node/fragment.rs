//! Fragments: put together on arrival, because flows and policy need ports, and cut again where
//! the next link is too small. As in Linux' connection tracking, a packet that came in fragments
//! may leave in fragments, DF and IPv6 notwithstanding.

use encap::Family;
use encap::fragment::{IPV6_FRAGMENT_HEADER, Plan};
use encap::reassemble::{Counters as Reassembly, ReassemblyError};

use crate::adjacency::Adjacency;
use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::{Next, NodeId};
use crate::tables::Tables;
use crate::worker::{Core, Packet};

/// Length of an IPv6 header.
const IPV6: usize = 40;

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
    let bytes = packet.buffer.bytes_mut();
    // It came in fragments although it says not to be cut: the flag goes, as in Linux.
    if bytes[6] & 0x40 != 0 {
        let old = u16::from_be_bytes([bytes[6], bytes[7]]);
        bytes[6] &= !0x40;
        let new = u16::from_be_bytes([bytes[6], bytes[7]]);
        let sum = u16::from_be_bytes([bytes[10], bytes[11]]);
        let sum = encap::checksum::update_u16(sum, old, new);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
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

/// Cuts behind the IPv6 header and its hop-by-hop options, with a fragment header in each piece (RFC 8200 section 4.5).
fn cut_v6(core: &mut Core, packet: &mut Packet, mtu: usize) -> Next {
    // Hop-by-hop options stay in front (and are whole: the headers were parsed).
    let bytes = packet.buffer.bytes();
    let (head, next_at) = match (bytes.get(6), bytes.get(IPV6 + 1)) {
        (Some(0), Some(length)) => (IPV6 + (usize::from(*length) + 1) * 8, IPV6),
        (Some(_), _) | (None, _) => (IPV6, 6),
    };
    let front = head + IPV6_FRAGMENT_HEADER;
    let each = mtu.saturating_sub(front) & !7;
    if each == 0 || bytes.len() <= head {
        return Next::Drop(DropReason::TooBig);
    }
    core.fragment_id = core.fragment_id.wrapping_add(1);
    let id = core.fragment_id;
    let total = bytes.len() - head;
    for at in (0..total).step_by(each) {
        let length = each.min(total - at);
        let more = at + length < total;
        let made = core.generate(packet.rx, GenerateReason::Fragment, |out| {
            let (header, payload) = packet.buffer.bytes().split_at(head);
            out[..head].copy_from_slice(header);
            let next_header = std::mem::replace(&mut out[next_at], 44);
            let field = (at as u16) | u16::from(more);
            out[head..head + 2].copy_from_slice(&[next_header, 0]);
            out[head + 2..head + 4].copy_from_slice(&field.to_be_bytes());
            out[head + 4..front].copy_from_slice(&id.to_be_bytes());
            out[front..front + length].copy_from_slice(&payload[at..at + length]);
            let stated = (front - IPV6 + length) as u16;
            out[4..6].copy_from_slice(&stated.to_be_bytes());
            front + length
        });
        if let Some(mut made) = made {
            made.inherit(packet);
            core.spawn(made, NodeId::Forward);
        }
    }
    Next::Consume(ConsumeReason::Fragmented)
}
