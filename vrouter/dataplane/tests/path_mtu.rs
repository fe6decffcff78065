//! Tunnels whose path carries less than their link: what is refused, cut and clamped, and what the
//! underlay has to fragment.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::sync::Arc;

use encap::Family;
use vrouter_dataplane::adjacency::{Adjacency, IPV6_MINIMUM_MTU};
use vrouter_dataplane::device::Capabilities;
use vrouter_dataplane::drop::{ConsumeReason, DropReason};
use world::packets::{self, ACK, SYN, datagrams, fragmentable, offloaded_frame, tcp, udp};
use world::{HOST, Mode, Node, Plan, VXLAN4, a4, a6, address, mac, mutate, one, pod};

/// Bytes of VXLAN's header and the inner Ethernet header.
const PREFIX: usize = 22;

/// A node whose path to the other one carries inner packets of `mtu` bytes.
fn narrow(mode: Mode, mtu: u16) -> Node {
    let mut node = Plan::new(1, mode).build();
    set_path(&mut node, mtu);
    node
}

fn set_path(node: &mut Node, path: u16) {
    node.publish(|tables| {
        for adjacency in Arc::make_mut(&mut tables.adjacencies) {
            if let Adjacency::Tunnel { mtu, by_path, .. } = adjacency {
                (*mtu, *by_path) = (path, true);
            }
        }
    });
}

#[test]
fn the_sender_hears_of_the_path_under_its_own_reason() {
    for (mode, family, path) in [
        (Mode::Vxlan4, Family::V4, 1350),
        (Mode::Vxlan6, Family::V6, 1330),
        (Mode::Ipip, Family::V4, 1380),
    ] {
        let mut node = narrow(mode, path);
        let (a, b) = (address(family, 1, 1), address(family, 2, 1));
        let headers = if family == Family::V4 { 28 } else { 48 };
        let fits = udp(a, b, (1, 2), &vec![7; usize::from(path) - headers]);
        one(node.pod_sends(1, &fits), mode.interface());
        let larger = udp(a, b, (1, 2), &vec![7; usize::from(path) - headers + 1]);
        let told = one(node.pod_sends(1, &larger), pod(1)).bytes;
        let (icmp, kind) = match family {
            Family::V4 => (&told[34..], [3, 4]),
            Family::V6 => (&told[54..], [2, 0]),
        };
        assert_eq!(icmp[..2], kind);
        let mtu = u32::from_be_bytes(icmp[4..8].try_into().unwrap());
        assert_eq!(mtu, path.into());
        assert_eq!(node.dropped(DropReason::PathTooBig), 1);
        assert_eq!(node.dropped(DropReason::TooBig), 0);
    }
}

#[test]
fn what_may_be_cut_is_cut_on_the_inside() {
    let mut node = narrow(Mode::Vxlan4, 1000);
    let packet = fragmentable(udp(a4(1, 1), a4(2, 1), (1, 2), &[7; 1400]));
    let out = node.pod_sends(1, &packet);
    assert_eq!(out.len(), 2);
    for (id, frame) in &out {
        assert_eq!(*id, VXLAN4);
        assert!(frame.bytes.len() <= 1000 + PREFIX);
    }
    let counters = node.counters();
    assert_eq!(counters.consumed(ConsumeReason::Fragmented).value(), 1);
}

#[test]
fn connections_follow_the_path() {
    let mut node = narrow(Mode::Vxlan4, 1350);
    let packet = packets::syn(a4(1, 1), a4(2, 1), (4000, 80), SYN, 1410);
    let out = one(node.pod_sends(1, &packet), VXLAN4);
    assert_eq!(packets::announced(&out.bytes[PREFIX..]), 1310);
    // A session is told when the path changes under it.
    let large = tcp(a4(1, 1), a4(2, 1), (4000, 80), 1, ACK, &[5; 1300]);
    one(node.pod_sends(1, &large), VXLAN4);
    set_path(&mut node, 1250);
    one(node.pod_sends(1, &large), pod(1));
    assert_eq!(node.dropped(DropReason::PathTooBig), 1);
}

#[test]
fn super_packets_have_segments_that_fit_or_are_refused() {
    let mut node = narrow(Mode::Vxlan4, 1350);
    let packet = tcp(a4(1, 1), a4(2, 1), (4000, 80), 1, ACK, &[5; 9000]);
    let frame = |size| offloaded_frame(mac(1, 1), packet.clone(), Some(size));
    let sent = one(node.pass(pod(1), frame(1310)), VXLAN4);
    assert!(
        datagrams(&sent)
            .iter()
            .all(|datagram| datagram.len() <= 1350 + PREFIX)
    );
    one(node.pass(pod(1), frame(1311)), pod(1));
    assert_eq!(node.dropped(DropReason::PathTooBig), 1);
}

#[test]
fn ipv6_has_its_minimum_on_any_path_and_leaves_one_by_one() {
    let mut plan = Plan::new(1, Mode::Vxlan6);
    plan.offloads = Capabilities::OFFLOADS;
    let mut node = plan.build();
    set_path(&mut node, 1230);
    let least = usize::from(IPV6_MINIMUM_MTU);
    let packet = udp(a6(1, 1), a6(2, 1), (1, 2), &vec![7; least - 48]);
    let sent = one(node.pod_sends(1, &packet), Mode::Vxlan6.interface());
    assert_eq!(sent.bytes.len(), least + PREFIX);
    // No offload cuts what the underlay fragments.
    let packet = tcp(a6(1, 1), a6(2, 1), (4000, 80), 1, ACK, &[5; 6000]);
    let out = node.pass(pod(1), offloaded_frame(mac(1, 1), packet, Some(1220)));
    assert_eq!(out.len(), 5);
    for (id, frame) in out {
        assert_eq!(id, Mode::Vxlan6.interface());
        assert_eq!(frame.meta.segment, 0);
        assert!(frame.bytes.len() <= least + PREFIX);
    }
    let larger = udp(a6(1, 1), a6(2, 1), (1, 2), &vec![7; least - 47]);
    one(node.pod_sends(1, &larger), pod(1));
    assert_eq!(node.dropped(DropReason::PathTooBig), 1);
}

#[test]
fn fragments_that_the_host_routes_on_keep_their_size() {
    for family in Family::ALL {
        let mut node = Plan::new(1, Mode::Routed).build();
        let packet = udp(
            address(family, 1, 1),
            address(family, 2, 1),
            (1, 2),
            &[9; 4000],
        );
        let mut out = Vec::new();
        for piece in mutate::fragments(&packet, 1152) {
            assert!(out.is_empty());
            out = node.pod_sends(1, &piece);
        }
        assert_eq!(out.len(), 4);
        for (id, frame) in out {
            assert_eq!(id, HOST);
            assert!(frame.bytes.len() <= 1200);
        }
    }
}
