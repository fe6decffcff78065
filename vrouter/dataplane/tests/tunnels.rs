//! Between two nodes: encapsulation, what is refused at the other end, and datagram trains.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::net::IpAddr;
use std::sync::Arc;

use encap::Family;
use encap::offload::Offload;
use vrouter_dataplane::adjacency::{Adjacency, Member};
use vrouter_dataplane::buffer::Meta;
use vrouter_dataplane::drop::{ConsumeReason, DropReason};
use vrouter_dataplane::id::AdjacencyId;
use vrouter_dataplane::memory::Frame;
use world::mutate::vxlan;
use world::packets::{
    ACK, PSH, SYN, TTL, datagrams, offloaded, on_the_wire, sums_are_right, tcp, ttl, udp, with_tos,
};
use world::{
    IPIP, Mode, Node, Plan, VXLAN4, VXLAN6, a4, address, arriving, one, packets, pod, underlay,
    vtep,
};

const BOTH: [Family; 2] = [Family::V4, Family::V6];

fn node(number: u8, mode: Mode) -> Node {
    Plan::new(number, mode).build()
}

/// The underlay's version and the bytes before an inner packet.
fn shape(mode: Mode) -> (Family, usize) {
    match mode {
        Mode::Vxlan4 => (Family::V4, 22),
        Mode::Vxlan6 => (Family::V6, 22),
        Mode::Ipip => (Family::V4, 0),
        Mode::Routed => (Family::V4, 0),
    }
}

/// Datagrams of node 2 for node 1.
fn datagram(inner: &[Vec<u8>]) -> Frame {
    let remote = Some(underlay(Family::V4, 2));
    vxlan(Family::V4, vtep(1, Family::V4), inner, remote)
}

#[test]
fn from_node_to_node() {
    for mode in [Mode::Vxlan4, Mode::Vxlan6, Mode::Ipip] {
        let (outer, prefix) = shape(mode);
        for family in BOTH {
            if family == Family::V6 && !mode.carries_v6() {
                continue;
            }
            let (mut near, mut far) = (node(1, mode), node(2, mode));
            let (a, b) = (address(family, 1, 1), address(family, 2, 2));
            let packet = udp(a, b, (5, 6), b"over");
            let sent = one(near.pod_sends(1, &packet), mode.interface());
            assert_eq!(sent.meta.remote, Some(underlay(outer, 2)));
            assert_eq!(sent.meta.segment, 0);
            assert_eq!(sent.meta.offload, Offload::None);
            assert_ne!(sent.meta.flow_hash, 0);
            let inner = &sent.bytes[prefix..];
            assert_eq!(ttl(inner), TTL - 1);
            assert!(sums_are_right(inner));
            if prefix > 0 {
                assert_eq!(sent.bytes[..8], [8, 0, 0, 0, 0, 0x10, 0, 0]);
                assert_eq!(sent.bytes[8..14], vtep(2, outer));
                assert_eq!(sent.bytes[14..20], vtep(1, outer));
            }
            let got = far.pass(mode.interface(), arriving(&sent, underlay(outer, 1)));
            let got = one(got, pod(2));
            assert_eq!(ttl(&got.bytes[14..]), TTL - 2);
            assert!(sums_are_right(&got.bytes[14..]));
            // And back, which is the same flow at both ends.
            let back = udp(b, a, (6, 5), b"back");
            let sent = one(far.pod_sends(2, &back), mode.interface());
            let got = near.pass(mode.interface(), arriving(&sent, underlay(outer, 2)));
            assert!(one(got, pod(1)).bytes.ends_with(b"back"));
            assert_eq!(near.flows.statistics().inserts, 1);
        }
    }
}

#[test]
fn what_the_tunnel_refuses() {
    let mut node = node(1, Mode::Vxlan4);
    let inner = udp(a4(2, 1), a4(1, 1), (5, 6), b"x");
    let mut expect = |id, frame: Frame, reason: DropReason| {
        let before = node.dropped(reason);
        assert!(node.pass(id, frame).is_empty(), "{reason:?}");
        assert_eq!(node.dropped(reason), before + 1, "{:?}", node.drops());
    };
    let good = datagram(std::slice::from_ref(&inner));
    let mut from_stranger = good.clone();
    from_stranger.meta.remote = Some([192, 0, 2, 99].into());
    expect(VXLAN4, from_stranger, DropReason::TunnelUnknownSource);
    let mut from_nowhere = good.clone();
    from_nowhere.meta.remote = None;
    expect(VXLAN4, from_nowhere, DropReason::TunnelUnknownSource);
    let mut other_network = good.clone();
    other_network.bytes[5] = 0x11;
    expect(VXLAN4, other_network, DropReason::TunnelUnknownVni);
    let mut no_vni = good.clone();
    no_vni.bytes[0] = 0;
    expect(VXLAN4, no_vni, DropReason::TunnelMalformed);
    let mut short = good.clone();
    short.bytes.truncate(7);
    expect(VXLAN4, short, DropReason::TunnelMalformed);
    let mut empty = good.clone();
    empty.bytes.clear();
    expect(VXLAN4, empty, DropReason::TunnelMalformed);
    let mut unreadable = good.clone();
    unreadable.meta.malformed = true;
    expect(VXLAN4, unreadable, DropReason::TunnelMalformed);
    let mut other_vtep = good.clone();
    other_vtep.bytes[8] ^= 2;
    expect(VXLAN4, other_vtep, DropReason::TunnelInnerLink);
    let mut arp = good.clone();
    arp.bytes[20..22].copy_from_slice(&[8, 6]);
    expect(VXLAN4, arp, DropReason::TunnelInnerLink);
    let mut lying = good.clone();
    lying.bytes[20..22].copy_from_slice(&[0x86, 0xdd]);
    expect(VXLAN4, lying, DropReason::IpBadVersion);
    // Six in four is protocol 41, not 4.
    let six = Frame {
        bytes: udp(
            address(Family::V6, 2, 1),
            address(Family::V6, 1, 1),
            (5, 6),
            b"x",
        ),
        meta: good.meta,
    };
    expect(IPIP, six, DropReason::IpBadVersion);
    // From one tunnel into another.
    let through = datagram(&[udp(a4(2, 1), a4(2, 2), (5, 6), b"x")]);
    expect(VXLAN4, through, DropReason::Hairpin);
    one(node.pass(VXLAN4, good), pod(1));
}

#[test]
fn congestion_marks_cross_the_tunnel() {
    // Outer, inner, what arrives (RFC 6040 figure 4).
    for (outer, inner, expected) in [
        (0, 0, Some(0)),
        (0, 2, Some(2)),
        (3, 2, Some(3)),
        (3, 1, Some(3)),
        (1, 2, Some(1)),
        (2, 1, Some(1)),
        (3, 0, None),
    ] {
        for family in BOTH {
            let mut node = node(1, Mode::Vxlan4);
            let (a, b) = (address(family, 2, 1), address(family, 1, 1));
            let packet = with_tos(udp(a, b, (5, 6), b"x"), 0x48 | inner);
            let mut frame = datagram(&[packet]);
            frame.meta.tos = outer;
            let got = node.pass(VXLAN4, frame);
            match expected {
                None => {
                    assert!(got.is_empty());
                    assert_eq!(node.dropped(DropReason::TunnelEcn), 1);
                }
                Some(mark) => {
                    let got = one(got, pod(1));
                    assert_eq!(encap::ecn::tos(&got.bytes[14..]), Some(0x48 | mark));
                    assert!(sums_are_right(&got.bytes[14..]));
                }
            }
        }
    }
    // On the way out the mark is copied, the rest is not; CE goes in as ECT(0).
    for (inner, outer) in [(0x48, 0), (0x4a, 2), (0x49, 1), (0x4b, 2)] {
        let mut node = node(1, Mode::Vxlan4);
        let packet = with_tos(udp(a4(1, 1), a4(2, 1), (5, 6), b"x"), inner);
        let sent = one(node.pod_sends(1, &packet), VXLAN4);
        assert_eq!(sent.meta.tos, outer);
    }
}

/// Five segments of one TCP flow, the last one short.
fn stream(from: IpAddr, to: IpAddr) -> Vec<Vec<u8>> {
    let pieces = (0..5u32).map(|i| {
        let length = if i == 4 { 300 } else { 1000 };
        let flags = if i == 4 { ACK | PSH } else { ACK };
        let payload: Vec<u8> = (0..length).map(|n| (n * 7 + i) as u8).collect();
        let packet = tcp(from, to, (80, 4000), 1 + i * 1000, flags, &payload);
        packets::change(packet, |p| {
            if p[0] >> 4 == 4 {
                p[5] = i as u8;
            }
        })
    });
    pieces.collect()
}

#[test]
fn a_train_becomes_one_super_packet() {
    for family in BOTH {
        let (a, b) = (address(family, 2, 1), address(family, 1, 1));
        let segments = stream(a, b);
        let mut node = node(1, Mode::Vxlan4);
        let got = one(node.pass(VXLAN4, datagram(&segments)), pod(1));
        assert!(matches!(got.meta.offload, Offload::Segmented(..)));
        let wire = on_the_wire(&got, 14);
        let expected: Vec<_> = segments
            .iter()
            .map(|p| packets::with_ttl(p.clone(), TTL - 1))
            .collect();
        assert_eq!(wire.iter().map(|p| &p[14..]).collect::<Vec<_>>(), expected);
        let counters = node.counters();
        assert_eq!(counters.consumed(ConsumeReason::Coalesced).value(), 4);
    }
}

#[test]
fn single_datagrams_of_one_vector_are_merged() {
    for (mode, prefix) in [(Mode::Ipip, 0), (Mode::Vxlan4, 22)] {
        let segments = stream(a4(2, 1), a4(1, 1));
        let others = stream(a4(2, 2), a4(1, 2));
        let mut node = node(1, mode);
        for (a, b) in segments.iter().zip(&others) {
            for packet in [a, b] {
                let mut frame = datagram(std::slice::from_ref(packet));
                frame.bytes.drain(..22 - prefix);
                node.send(mode.interface(), frame);
            }
        }
        node.settle();
        let got = node.drain();
        assert_eq!(got.len(), 2, "{got:?}");
        for (number, expected) in [(1, &segments), (2, &others)] {
            let (_, frame) = got.iter().find(|(id, _)| *id == pod(number)).unwrap();
            let wire = on_the_wire(frame, 14);
            assert_eq!(wire.len(), 5);
            for (got, expected) in wire.iter().zip(expected) {
                assert_eq!(got[14..], packets::with_ttl(expected.clone(), TTL - 1));
            }
        }
    }
}

#[test]
fn the_good_of_a_train_passes_and_the_bad_is_dropped() {
    let mut node = node(1, Mode::Vxlan4);
    let inner: Vec<_> = (0..6u16)
        .map(|i| udp(a4(2, 1), a4(1, 1), (5, i), &[i as u8; 50]))
        .collect();
    let mut frame = datagram(&inner);
    let each = usize::from(frame.meta.segment);
    frame.bytes[0] = 0;
    frame.bytes[2 * each + 6] = 9;
    frame.bytes[5 * each + 8] = 9;
    assert_eq!(node.pass(VXLAN4, frame).len(), 3);
    assert_eq!(node.dropped(DropReason::TunnelMalformed), 1);
    assert_eq!(node.dropped(DropReason::TunnelUnknownVni), 1);
    assert_eq!(node.dropped(DropReason::TunnelInnerLink), 1);
}

#[test]
fn open_checksums_of_kernel_peers_are_closed() {
    for family in BOTH {
        for packet in [
            udp(address(family, 2, 1), address(family, 1, 1), (5, 6), b"odd"),
            tcp(
                address(family, 2, 1),
                address(family, 1, 1),
                (5, 6),
                1,
                SYN,
                &[],
            ),
        ] {
            let (open, _) = offloaded(packet.clone(), None, 0);
            assert!(!sums_are_right(&open));
            for offload in [true, false] {
                let mut plan = Plan::new(1, Mode::Vxlan4);
                plan.offloads.checksum = offload;
                let mut node = plan.build();
                let got = one(
                    node.pass(VXLAN4, datagram(std::slice::from_ref(&open))),
                    pod(1),
                );
                assert_eq!(got.meta.offload.partial().is_some(), offload);
                assert!(sums_are_right(&on_the_wire(&got, 14)[0][14..]));
            }
        }
        // A wrong checksum stays wrong: the receiver must see it.
        let mut wrong = udp(address(family, 2, 1), address(family, 1, 1), (5, 6), b"odd");
        let last = wrong.len() - 1;
        wrong[last] ^= 1;
        let mut node = node(1, Mode::Vxlan4);
        let got = one(node.pass(VXLAN4, datagram(&[wrong])), pod(1));
        assert_eq!(got.meta.offload, Offload::None);
        assert!(!sums_are_right(&got.bytes[14..]));
    }
}

#[test]
fn a_super_packet_that_the_underlay_names_reaches_the_pod_whole() {
    let (a, b) = (a4(2, 1), a4(1, 1));
    let payload: Vec<u8> = (0..9_500).map(|i| (i % 251) as u8).collect();
    for packet in [
        tcp(a, b, (80, 4000), 1, ACK, &payload),
        udp(a, b, (80, 4000), &payload),
    ] {
        let headers = packet.len() - payload.len();
        let (bytes, offload) = offloaded(packet, Some(1000), 0);
        let frame = Frame {
            bytes,
            meta: Meta {
                offload,
                remote: Some(underlay(Family::V4, 2)),
                ..Meta::default()
            },
        };
        let mut node = node(1, Mode::Ipip);
        let got = one(node.pass(IPIP, frame), pod(1));
        let wire = on_the_wire(&got, 14);
        assert_eq!(wire.len(), 10);
        let mut data: Vec<u8> = Vec::new();
        for segment in &wire {
            assert!(sums_are_right(&segment[14..]));
            data.extend(&segment[14 + headers..]);
        }
        assert_eq!(data, payload);
    }
}

#[test]
fn a_kernel_peers_nameless_super_packet_is_cut_to_the_next_link() {
    for family in BOTH {
        let (a, b) = (address(family, 2, 1), address(family, 1, 1));
        let payload: Vec<u8> = (0..20_000).map(|i| (i % 251) as u8).collect();
        let packet = tcp(a, b, (80, 4000), 1, ACK, &payload);
        let (open, _) = offloaded(packet, None, 0);
        for tso in [true, false] {
            let mut plan = Plan::new(1, Mode::Vxlan4);
            plan.offloads.tso = tso;
            let mut node = plan.build();
            let got = node.pass(VXLAN4, datagram(std::slice::from_ref(&open)));
            let wire: Vec<_> = got.iter().flat_map(|(_, f)| on_the_wire(f, 14)).collect();
            assert_eq!(got.len() == 1, tso);
            let headers = if family == Family::V4 { 40 } else { 60 };
            let mut data: Vec<u8> = Vec::new();
            for segment in &wire {
                assert!(segment.len() - 14 <= 1450);
                assert!(sums_are_right(&segment[14..]));
                data.extend(&segment[14 + headers..]);
            }
            assert_eq!(data, payload);
        }
    }
}

#[test]
fn super_packets_leave_as_trains() {
    for mode in [Mode::Vxlan4, Mode::Vxlan6, Mode::Ipip] {
        let (outer, prefix) = shape(mode);
        for family in BOTH {
            if family == Family::V6 && !mode.carries_v6() {
                continue;
            }
            let (mut near, mut far) = (node(1, mode), node(2, mode));
            let (a, b) = (address(family, 1, 1), address(family, 2, 1));
            let payload: Vec<u8> = (0..60_000u32).map(|i| (i % 253) as u8).collect();
            let size = mode.mtu() - if family == Family::V4 { 40 } else { 60 };
            let packet = tcp(a, b, (4000, 80), 9, ACK | PSH, &payload);
            let frame = packets::offloaded_frame(world::mac(1, 1), packet, Some(size));
            let sent = near.pass(pod(1), frame);
            let mut inner = Vec::new();
            for (id, frame) in &sent {
                assert_eq!(*id, mode.interface());
                assert!(frame.bytes.len() <= 65_507);
                assert_eq!(frame.meta.offload, Offload::None);
                for datagram in datagrams(frame) {
                    assert!(datagram.len() <= usize::from(mode.mtu()) + prefix);
                    assert!(sums_are_right(&datagram[prefix..]));
                    inner.push(datagram[prefix..].to_vec());
                }
                // What the other side makes of it.
                far.send(mode.interface(), arriving(frame, underlay(outer, 1)));
            }
            assert_eq!(inner.len(), payload.len().div_ceil(size.into()));
            far.settle();
            let headers = 14 + if family == Family::V4 { 40 } else { 60 };
            let mut data: Vec<u8> = Vec::new();
            for (id, frame) in far.drain() {
                assert_eq!(id, pod(1));
                for segment in on_the_wire(&frame, 14) {
                    assert!(sums_are_right(&segment[14..]));
                    data.extend(&segment[headers..]);
                }
            }
            assert_eq!(data, payload);
        }
    }
}

#[test]
fn a_pool_that_runs_dry_loses_packets_but_no_buffers() {
    let mut plan = Plan::new(1, Mode::Vxlan4);
    plan.buffers = 8;
    let mut node = plan.build();
    for round in 0..50 {
        for _ in 0..4 {
            let packet = tcp(a4(1, 1), a4(2, 1), (4000, 80), 9, ACK, &vec![1; 60_000]);
            // Small segments: many buffers a packet.
            let size = if round % 2 == 0 { 130 } else { 1400 };
            let frame = packets::offloaded_frame(world::mac(1, 1), packet, Some(size));
            node.send(pod(1), frame);
        }
        node.settle();
        node.drain();
    }
    assert!(node.dropped(DropReason::NoBuffer) > 0);
    let packet = udp(a4(1, 1), a4(1, 2), (1, 2), b"x");
    one(node.pod_sends(1, &packet), pod(2));
    // The tunnel's other end, too.
    let train: Vec<_> = (0..40)
        .map(|i| udp(a4(2, 1), a4(1, 1), (5, i), b"x"))
        .collect();
    node.pass(VXLAN4, datagram(&train));
    assert_eq!(
        node.pass(
            VXLAN6,
            Frame {
                bytes: vec![],
                meta: Meta::default()
            }
        )
        .len(),
        0
    );
}

#[test]
fn a_flow_keeps_to_one_of_several_equal_ways() {
    let mut node = node(1, Mode::Vxlan4);
    let group = AdjacencyId(node.shared.load().adjacencies.len() as u32);
    node.publish(|tables| {
        let members = [(11, world::BY_VXLAN4), (12, world::BY_IPIP)];
        let members = members.map(|(key, adjacency)| Member { key, adjacency });
        Arc::make_mut(&mut tables.adjacencies).push(Adjacency::Group(members.into()));
    });
    node.route("10.65.2.0/24", group);
    let mut ways = std::collections::HashMap::new();
    for round in 0..3 {
        for port in 0..100 {
            let packet = udp(a4(1, 1), a4(2, 1), (port, 53), b"x");
            let out = node.pod_sends(1, &packet);
            let [(way, _)] = out[..] else {
                panic!("one packet in, {} out", out.len());
            };
            assert_eq!(*ways.entry(port).or_insert(way), way);
        }
        if round == 1 {
            node.publish(|_| {});
        }
    }
    let by_ipip = ways.values().filter(|way| **way == IPIP).count();
    assert!((25..75).contains(&by_ipip), "{by_ipip} of 100");
    // Both ways bring the replies.
    for (id, prefix) in [(VXLAN4, 22), (IPIP, 0)] {
        let mut reply = datagram(&[udp(a4(2, 1), a4(1, 1), (53, 7), b"x")]);
        reply.bytes.drain(..22 - prefix);
        one(node.pass(id, reply), pod(1));
    }
}
