//! Packets that change their size or their checksum on the way: fragments, super-packets, and
//! checksums left open.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use encap::Family;
use encap::offload::{Offload, Partial};
use encap::reassemble::{Limits, Reassembler};
use vrouter_dataplane::buffer::Meta;
use vrouter_dataplane::device::Capabilities;
use vrouter_dataplane::drop::{ConsumeReason, DropReason, GenerateReason};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::Frame;
use world::packets::{
    ACK, SYN, TTL, fragmentable, offloaded, offloaded_frame, on_the_wire, sums_are_right, tcp, ttl,
    udp,
};
use world::{Mode, Node, Plan, VXLAN4, a4, a6, address, mac, mutate, one, packets, pod, underlay};

const BOTH: [Family; 2] = [Family::V4, Family::V6];

/// A node whose workloads' links are narrower than its tunnel.
fn narrow(mtu: u16) -> Node {
    let mut plan = Plan::new(1, Mode::Vxlan4);
    plan.pod_mtu = Some(mtu);
    plan.build()
}

/// What a receiver makes of fragments that begin at `l3` of each frame.
fn reassembled(frames: &[(InterfaceId, Frame)], l3: usize, mtu: usize) -> Vec<u8> {
    let mut reassembler = Reassembler::new(Limits::default());
    let mut whole = None;
    for (_, frame) in frames {
        let packet = &frame.bytes[l3..];
        assert!(packet.len() <= mtu, "{} > {mtu}", packet.len());
        assert_eq!(frame.meta.offload.partial(), None);
        if packet[0] >> 4 == 4 {
            assert_eq!(
                encap::checksum::ipv4_header(&packet[..20]),
                u16::from_be_bytes([packet[10], packet[11]])
            );
        }
        assert!(whole.is_none(), "a packet after the last fragment");
        whole = reassembler
            .push(packet, 0, 0)
            .unwrap()
            .map(|bytes| bytes.to_vec());
    }
    whole.unwrap()
}

#[test]
fn an_ipv4_packet_is_cut_to_the_next_link() {
    for mtu in [576, 1000, 68] {
        let mut node = narrow(mtu);
        let packet = fragmentable(udp(a4(1, 1), a4(1, 2), (1, 2), &[7; 1400]));
        let out = node.pod_sends(1, &packet);
        assert!(out.len() >= 2 && out.iter().all(|(id, _)| *id == pod(2)));
        let whole = reassembled(&out, 14, mtu.into());
        assert_eq!(whole, packets::with_ttl(packet, TTL - 1));
        let counters = node.counters();
        assert_eq!(counters.consumed(ConsumeReason::Fragmented).value(), 1);
        assert_eq!(node.generated(GenerateReason::Fragment), out.len() as u64);
    }
    // With no room for eight bytes it ends there.
    let mut node = narrow(24);
    let packet = fragmentable(udp(a4(1, 1), a4(1, 2), (1, 2), &[7; 1400]));
    assert!(node.pod_sends(1, &packet).is_empty());
    assert_eq!(node.dropped(DropReason::TooBig), 1);
}

#[test]
fn a_cut_packet_has_its_open_checksum_filled_in() {
    let mut node = narrow(600);
    let packet = fragmentable(udp(a4(1, 1), a4(1, 2), (1, 2), &[7; 1400]));
    let frame = offloaded_frame(mac(1, 1), packet.clone(), None);
    let out = node.pass(pod(1), frame);
    let whole = reassembled(&out, 14, 600);
    assert_eq!(whole, packets::with_ttl(packet, TTL - 1));
    // A super-packet whose segments are too large, too: cut, and cut again.
    let packet = fragmentable(udp(a4(1, 1), a4(1, 2), (1, 2), &[8; 3000]));
    let frame = offloaded_frame(mac(1, 1), packet, Some(1000));
    let out = node.pass(pod(1), frame);
    assert_eq!(out.len(), 6);
    for pair in out.chunks(2) {
        let whole = reassembled(pair, 14, 600);
        assert_eq!(whole.len(), 1028);
        assert!(sums_are_right(&whole));
    }
}

#[test]
fn fragments_become_a_packet_and_fragments_again() {
    for family in BOTH {
        for to in [address(family, 1, 2), address(family, 2, 1)] {
            let mut node = Plan::new(1, Mode::Vxlan4).build();
            let packet = udp(address(family, 1, 1), to, (1, 2), &[9; 4000]);
            let mut pieces = mutate::fragments(&packet, 1200);
            // Out of order, and one of them twice.
            pieces.reverse();
            pieces.insert(1, pieces[0].clone());
            let mut out = Vec::new();
            for piece in &pieces {
                out.extend(node.pod_sends(1, piece));
            }
            let (l3, mtu) = if to == address(family, 1, 2) {
                (14, 1450)
            } else {
                (22, 1450)
            };
            assert_eq!(out.len(), 3);
            let whole = reassembled(&out, l3, mtu);
            assert_eq!(whole[..20].len() + whole.len(), packet.len() + 20);
            assert_eq!(ttl(&whole), TTL - 1);
            assert!(whole.ends_with(&[9; 4000]));
            assert!(sums_are_right(&whole));
            let counters = node.counters();
            assert_eq!(counters.consumed(ConsumeReason::FragmentHeld).value(), 4);
            assert_eq!(node.generated(GenerateReason::Reassembled), 1);
            assert_eq!(node.dropped(DropReason::FragmentMalformed), 1);
        }
    }
}

#[test]
fn fragments_that_never_complete_are_counted_in_the_end() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let packet = udp(a4(1, 1), a4(1, 2), (1, 2), &[9; 4000]);
    let pieces = mutate::fragments(&packet, 1200);
    for piece in &pieces[..2] {
        assert!(node.pod_sends(1, piece).is_empty());
    }
    node.now += 40_000;
    assert!(node.pod_sends(1, &pieces[2]).is_empty());
    assert_eq!(node.dropped(DropReason::FragmentTimeout), 2);
    // More datagrams than there are places for.
    for id in 0..200u8 {
        let piece = packets::change(pieces[0].clone(), |p| p[4] = id + 1);
        assert!(node.pod_sends(1, &piece).is_empty());
    }
    assert!(node.dropped(DropReason::FragmentLimit) > 100);
    // Overlap ends a datagram.
    let overlap = packets::change(pieces[1].clone(), |p| {
        p[4] = 200;
        p[7] -= 1;
    });
    assert!(node.pod_sends(1, &overlap).is_empty());
    assert!(node.dropped(DropReason::FragmentMalformed) >= 1);
}

#[test]
fn super_packets_cross_from_workload_to_workload_whole() {
    for family in BOTH {
        let (a, b) = (address(family, 1, 1), address(family, 1, 2));
        for packet in [
            tcp(a, b, (4000, 80), 1, ACK, &[5; 50_000]),
            udp(a, b, (4000, 80), &[5; 50_000]),
        ] {
            let mut node = Plan::new(1, Mode::Vxlan4).build();
            let frame = offloaded_frame(mac(1, 1), packet, Some(1300));
            let sent = frame.clone();
            let out = one(node.pass(pod(1), frame), pod(2));
            assert_eq!(out.meta.offload, sent.meta.offload);
            assert_eq!(out.bytes.len(), sent.bytes.len());
            for segment in on_the_wire(&out, 14) {
                assert!(sums_are_right(&segment[14..]));
            }
            assert_eq!(node.generated(GenerateReason::Segment), 0);
        }
    }
}

#[test]
fn what_a_device_cannot_do_is_done_for_it() {
    for family in BOTH {
        let (a, b) = (address(family, 1, 1), address(family, 1, 2));
        let mut plan = Plan::new(1, Mode::Vxlan4);
        plan.offloads = Capabilities::default();
        for (packet, size, count) in [
            (tcp(a, b, (4000, 80), 1, ACK, &[5; 5000]), Some(1300), 4),
            (udp(a, b, (4000, 80), &[5; 5000]), Some(1300), 4),
            (udp(a, b, (4000, 80), &[5; 501]), None, 1),
            (tcp(a, b, (4000, 80), 1, SYN, &[]), None, 1),
        ] {
            let mut node = plan.build();
            let whole = packets::with_ttl(packet.clone(), TTL - 1);
            let out = node.pass(pod(1), offloaded_frame(mac(1, 1), packet, size));
            assert_eq!(out.len(), count);
            for (id, frame) in &out {
                assert_eq!(*id, pod(2));
                assert!(matches!(
                    frame.meta.offload,
                    Offload::None | Offload::Verified
                ));
                assert!(sums_are_right(&frame.bytes[14..]));
                if size.is_none() {
                    assert_eq!(frame.bytes[14..], whole);
                }
            }
        }
    }
    // To a tunnel nothing goes with an open checksum either.
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let packet = udp(a4(1, 1), a4(2, 1), (4000, 80), &[5; 501]);
    let out = one(
        node.pass(pod(1), offloaded_frame(mac(1, 1), packet, None)),
        VXLAN4,
    );
    assert!(sums_are_right(&out.bytes[22..]));
    // A super-packet with segments too large for the tunnel, that may not be cut.
    let packet = tcp(a4(1, 1), a4(2, 1), (4000, 80), 1, ACK, &[5; 5000]);
    let out = node.pass(pod(1), offloaded_frame(mac(1, 1), packet, Some(1448)));
    assert_eq!(one(out, pod(1)).bytes[34], 3);
    assert_eq!(node.dropped(DropReason::TooBig), 1);
}

#[test]
fn a_connection_through_a_tunnel_uses_no_larger_segments_than_fit() {
    for (family, headers) in [(Family::V4, 40), (Family::V6, 60)] {
        let (a, b) = (address(family, 1, 1), address(family, 2, 1));
        let fits = Mode::Vxlan4.mtu() - headers;
        let vxlan = |packet: &[u8]| {
            let to = world::vtep(1, Family::V4);
            mutate::vxlan(
                family,
                to,
                &[packet.to_vec()],
                Some(underlay(Family::V4, 2)),
            )
        };
        for (mss, passes) in [(9000, fits), (fits + 1, fits), (fits, fits), (536, 536)] {
            let mut node = Plan::new(1, Mode::Vxlan4).build();
            let packet = packets::syn(a, b, (4000, 80), SYN, mss);
            // Once with its checksum, once with an open one.
            for frame in [
                Frame {
                    bytes: packets::ethernet(mac(1, 1), &packet),
                    meta: Meta::default(),
                },
                offloaded_frame(mac(1, 1), packet, None),
            ] {
                let out = one(node.pass(pod(1), frame), VXLAN4);
                assert_eq!(packets::announced(&out.bytes[22..]), passes);
                assert!(sums_are_right(&out.bytes[22..]));
            }
            // A peer that does not clamp: the answer comes by the way its data will take.
            let answer = packets::syn(b, a, (80, 4000), SYN | ACK, mss);
            let out = one(node.pass(VXLAN4, vxlan(&answer)), pod(1));
            assert_eq!(packets::announced(&out.bytes[14..]), passes);
            assert!(sums_are_right(&out.bytes[14..]));
        }
        // On the node itself all links are alike.
        let mut node = Plan::new(1, Mode::Vxlan4).build();
        let packet = packets::syn(a, address(family, 1, 2), (4000, 80), SYN, fits);
        let out = one(node.pod_sends(1, &packet), pod(2));
        assert_eq!(packets::announced(&out.bytes[14..]), fits);
    }
}

/// One packet of a workload must not take all buffers.
#[test]
fn segments_of_a_few_bytes_are_not_made() {
    for to in [a4(1, 2), a4(2, 1)] {
        for (size, passes) in [(1, false), (60, false), (128, true)] {
            let mut plan = Plan::new(1, Mode::Vxlan4);
            plan.offloads = Capabilities::default();
            let mut node = plan.build();
            let packet = tcp(a4(1, 1), to, (4000, 80), 1, ACK, &[5; 60_000]);
            let out = node.pass(pod(1), offloaded_frame(mac(1, 1), packet, Some(size)));
            assert_eq!(out.is_empty(), !passes, "{size}");
            let dropped = node.dropped(DropReason::SegmentTooSmall);
            assert_eq!(dropped, u64::from(!passes));
        }
    }
}

/// An open checksum could be placed to change addresses after policy has looked at them.
#[test]
fn a_checksum_is_filled_in_nowhere_but_in_the_transport() {
    let packet = udp(a4(1, 1), a4(1, 2), (4000, 80), &[0; 64]);
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    for at in 0..packet.len() as u16 - 2 {
        let (_, right) = offloaded(packet.clone(), None, 14);
        let offload = Offload::Partial(Partial {
            start: 14,
            offset: at,
        });
        assert_ne!(offload, right);
        let frame = Frame {
            bytes: packets::ethernet(mac(1, 1), &packet),
            meta: Meta {
                offload,
                ..Meta::default()
            },
        };
        for (id, frame) in node.pass(pod(1), frame) {
            // It was filled in before the packet was looked at, or not at all.
            assert_eq!(frame.meta.offload.partial(), None);
            let packet = &frame.bytes[14..];
            let header = encap::checksum::ipv4_header(&packet[..20]);
            assert_eq!(packet[10..12], header.to_be_bytes());
            let (from, to) = packets::addresses(packet);
            assert_eq!((from, to, id), (a4(1, 1), a4(1, 2), pod(2)));
        }
    }
}

#[test]
fn a_super_packet_is_what_its_header_says() {
    let tcp4 = tcp(a4(1, 1), a4(1, 2), (4000, 80), 1, ACK, &[5; 5000]);
    let tcp6 = tcp(a6(1, 1), a6(1, 2), (4000, 80), 1, ACK, &[5; 5000]);
    let udp4 = udp(a4(1, 1), a4(1, 2), (4000, 80), &[5; 5000]);
    let offload = |packet: &Vec<u8>| offloaded(packet.clone(), Some(1000), 14).1;
    let all = [&tcp4, &tcp6, &udp4];
    for (i, packet) in all.iter().enumerate() {
        for (j, says) in all.iter().enumerate() {
            let mut node = Plan::new(1, Mode::Vxlan4).build();
            let frame = Frame {
                bytes: packets::ethernet(mac(1, 1), packet),
                meta: Meta {
                    offload: offload(says),
                    ..Meta::default()
                },
            };
            assert_eq!(node.pass(pod(1), frame).len(), usize::from(i == j));
            let malformed = node.dropped(DropReason::OffloadMalformed);
            assert_eq!(malformed, u64::from(i != j));
        }
    }
}
