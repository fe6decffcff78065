//! A packet is cut where the next link is too small for it. As in Linux' connection tracking, one
//! that came in fragments may leave in fragments, DF and IPv6 notwithstanding.

use encap::Family;
use encap::fragment::{Plan, PlanV6};
use encap::ip::clear_dont_fragment;

use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::node;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

node! {
    Fragment to [Forward]
    drops [StaleAdjacency OffloadMalformed TooBig NoBuffer]
    makes [Fragment]
    ends [Fragmented]
}

#[inline]
pub(super) fn cut(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let mtu = tables
        .adjacency(packet.adjacency)
        .and_then(|adjacency| packet.mtu(adjacency));
    let Some(mtu) = mtu.map(usize::from) else {
        return Next::Drop(DropReason::StaleAdjacency);
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
        let made = core.generate(packet.arrival, GenerateReason::Fragment, |out| {
            plan.write(i, packet.buffer.bytes(), out).unwrap_or(0)
        });
        if let Some(mut made) = made {
            made.inherit(packet);
            core.spawn(made, To::Forward);
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
        let made = core.generate(packet.arrival, GenerateReason::Fragment, |out| {
            plan.write(i, packet.buffer.bytes(), out).unwrap_or(0)
        });
        if let Some(mut made) = made {
            made.inherit(packet);
            core.spawn(made, To::Forward);
        }
    }
    Next::Consume(ConsumeReason::Fragmented)
}
