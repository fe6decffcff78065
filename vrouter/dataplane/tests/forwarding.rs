//! From one link to another: what is forwarded, answered, refused and told.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::net::IpAddr;
use std::sync::Arc;

use encap::Family;
use smoltcp::wire;
use vrouter_dataplane::adjacency::{Adjacency, GATEWAY_MAC};
use vrouter_dataplane::drop::{DropReason, GenerateReason};
use vrouter_dataplane::id::{AdjacencyId, InterfaceId};
use vrouter_dataplane::memory::Frame;
use vrouter_dataplane::tables::{EndpointToHost, GATEWAY_V4, GATEWAY_V6, Interface, InterfaceKind};
use world::packets::{
    ACK, SYN, TTL, echo, error, ethernet, link, raw, sums_are_right, tcp, ttl, udp,
};
use world::{
    HOST, Mode, Node, Plan, a4, a6, address, endpoint, mac, mutate, one, packets, pod, router,
};

const BOTH: [Family; 2] = [Family::V4, Family::V6];

fn node() -> Node {
    Plan::new(1, Mode::Vxlan4).build()
}

/// The IP packet of a frame that went to workload `number` of node 1.
fn delivered(frame: &Frame, number: u8) -> &[u8] {
    let (header, packet) = frame.bytes.split_at(14);
    assert_eq!(header[..6], mac(1, number));
    assert_eq!(header[6..12], GATEWAY_MAC);
    let kind = if packet[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    assert_eq!(header[12..], kind);
    assert!(sums_are_right(packet));
    packet
}

/// What an ICMP error says: kind, code, the second word, and what it quotes.
fn told(packet: &[u8]) -> (u8, u8, u32, &[u8]) {
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let word = u32::from_be_bytes(packet[at + 4..at + 8].try_into().unwrap());
    (packet[at], packet[at + 1], word, &packet[at + 8..])
}

#[test]
fn workload_to_workload_and_back() {
    for family in BOTH {
        let mut node = node();
        let (a, b) = (address(family, 1, 1), address(family, 1, 2));
        let syn = tcp(a, b, (4000, 80), 1, SYN, &[]);
        let out = one(node.pod_sends(1, &syn), pod(2));
        let got = delivered(&out, 2);
        assert_eq!(ttl(got), TTL - 1);
        assert_eq!(packets::addresses(got), (a, b));
        let reply = tcp(b, a, (80, 4000), 1, SYN | ACK, &[]);
        let out = one(node.pod_sends(2, &reply), pod(1));
        assert_eq!(ttl(delivered(&out, 1)), TTL - 1);
        let data = tcp(a, b, (4000, 80), 2, ACK, b"hello");
        let out = one(node.pod_sends(1, &data), pod(2));
        assert!(delivered(&out, 2).ends_with(b"hello"));
    }
}

#[test]
fn the_host_is_one_router_with_us() {
    for family in BOTH {
        let mut node = node();
        let (a, host) = (address(family, 1, 1), address(family, 1, 0));
        let packet = udp(a, host, (1, 2), b"up");
        let out = one(node.pod_sends(1, &packet), HOST);
        // No hop is lost: the kernel takes it where it forwards.
        assert_eq!(out.bytes, packet);
        let packet = udp(host, a, (2, 1), b"down");
        let out = one(node.host_sends(&packet), pod(1));
        assert_eq!(delivered(&out, 1), packet);
        // What the host routes elsewhere.
        let outside: IpAddr = match family {
            Family::V4 => [198, 51, 100, 7].into(),
            Family::V6 => [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 7].into(),
        };
        let packet = udp(a, outside, (1, 2), b"out");
        assert_eq!(one(node.pod_sends(1, &packet), HOST).bytes, packet);
        // A packet the host forwarded to us does not go back to it.
        let packet = udp(router(family, 2), outside, (1, 2), b"round");
        assert!(node.host_sends(&packet).is_empty());
        assert_eq!(node.dropped(DropReason::Hairpin), 1);
    }
}

#[test]
fn the_host_must_accept_endpoints() {
    let mut node = node();
    node.host(|host| host.endpoint_to_host = EndpointToHost::Drop);
    let packet = udp(a4(1, 1), a4(1, 0), (1, 2), b"up");
    assert!(node.pod_sends(1, &packet).is_empty());
    assert_eq!(node.dropped(DropReason::EndpointToHost), 1);
    // The host still reaches its workloads, and they may answer.
    let ask = udp(a4(1, 0), a4(1, 1), (7, 8), b"ask");
    one(node.host_sends(&ask), pod(1));
    let answer = udp(a4(1, 1), a4(1, 0), (8, 7), b"answer");
    one(node.pod_sends(1, &answer), HOST);
}

#[test]
fn arp_and_discovery_are_answered_for_the_gateway() {
    let mut node = node();
    let out = one(node.pass(pod(1), Frame::new(mutate::arp())), pod(1));
    assert_eq!(out.bytes[..6], mac(1, 1));
    let reply = wire::ArpPacket::new_checked(&out.bytes[14..]).unwrap();
    assert_eq!(reply.source_hardware_addr(), GATEWAY_MAC);
    assert_eq!(reply.source_protocol_addr(), GATEWAY_V4.octets());
    assert_eq!(reply.target_protocol_addr(), [10, 65, 1, 1]);

    let out = one(
        node.pass(pod(1), Frame::new(mutate::solicitation())),
        pod(1),
    );
    let packet = delivered(&out, 1);
    assert_eq!(packets::addresses(packet), (GATEWAY_V6.into(), a6(1, 1)));
    assert_eq!(ttl(packet), 255);
    let advert = wire::Icmpv6Packet::new_checked(&packet[40..]).unwrap();
    assert_eq!(advert.msg_type(), wire::Icmpv6Message::NeighborAdvert);
    assert_eq!(advert.target_addr(), GATEWAY_V6);
    assert_eq!(node.generated(GenerateReason::ArpReply), 1);
    assert_eq!(node.generated(GenerateReason::NdAdvertisement), 1);

    // Somebody else's address is asked for, and somebody else's address asks.
    let mut other = mutate::arp();
    other[14 + 24..14 + 28].copy_from_slice(&[10, 65, 1, 2]);
    assert!(node.pass(pod(1), Frame::new(other)).is_empty());
    assert_eq!(node.dropped(DropReason::ArpUnanswered), 1);
    let mut spoofed = mutate::arp();
    spoofed[14 + 14..14 + 18].copy_from_slice(&[10, 65, 1, 2]);
    assert!(node.pass(pod(1), Frame::new(spoofed)).is_empty());
    assert_eq!(node.dropped(DropReason::SpoofedSource), 1);
    let far = packets::change(mutate::solicitation()[14..].to_vec(), |p| p[7] = 64);
    let far = link(
        mac(1, 1),
        [0x33, 0x33, 0xff, 0xee, 0xee, 0xee],
        0x86dd,
        &far,
    );
    assert!(node.pass(pod(1), Frame::new(far)).is_empty());
    assert_eq!(node.dropped(DropReason::NdMalformed), 1);
}

#[test]
fn the_gateway_answers_echoes() {
    let mut node = node();
    for (a, gateway) in [(a4(1, 1), GATEWAY_V4.into()), (a6(1, 1), GATEWAY_V6.into())] {
        let request = echo(a, gateway, 77, false, &[5; 100]);
        let out = one(node.pod_sends(1, &request), pod(1));
        let expected = packets::with_ttl(echo(gateway, a, 77, true, &[5; 100]), 64);
        assert_eq!(delivered(&out, 1), expected);
        // In fragments, too.
        let long = echo(a, gateway, 78, false, &[6; 2000]);
        let pieces = mutate::fragments(&long, 1200);
        assert!(node.pod_sends(1, &pieces[1]).is_empty());
        let out = one(node.pod_sends(1, &pieces[0]), pod(1));
        assert!(delivered(&out, 1).ends_with(&[6; 2000]));
        // It has no other service.
        assert!(
            node.pod_sends(1, &udp(a, gateway, (1, 53), b"?"))
                .is_empty()
        );
    }
    assert_eq!(node.generated(GenerateReason::EchoReply), 4);
    assert_eq!(node.dropped(DropReason::Martian), 2);
}

/// A node whose process answers DNS at the gateway.
fn with_resolver() -> Node {
    let mut node = node();
    let mut to = AdjacencyId(0);
    node.publish(|tables| {
        tables.interfaces[InterfaceId::RESOLVER.index()] = Some(Arc::new(Interface {
            id: InterfaceId::RESOLVER,
            name: "resolver".into(),
            kind: InterfaceKind::Host,
        }));
        let adjacencies = Arc::make_mut(&mut tables.adjacencies);
        to = AdjacencyId(adjacencies.len() as u32);
        adjacencies.push(Adjacency::Host {
            out: InterfaceId::RESOLVER,
            local: true,
            mtu: 1450,
        });
    });
    for gateway in [IpAddr::V4(GATEWAY_V4), IpAddr::V6(GATEWAY_V6)] {
        node.route(&ipnet::IpNet::from(gateway).to_string(), to);
    }
    node
}

#[test]
fn the_gateway_answers_dns_where_there_is_a_resolver() {
    let mut node = with_resolver();
    // What workloads may ask of the host itself does not matter.
    node.host(|host| host.endpoint_to_host = EndpointToHost::Drop);
    for (a, gateway) in [(a4(1, 1), GATEWAY_V4.into()), (a6(1, 1), GATEWAY_V6.into())] {
        let question = udp(a, gateway, (4000, 53), b"?");
        let out = one(node.pod_sends(1, &question), InterfaceId::RESOLVER);
        assert_eq!(packets::addresses(&out.bytes), (a, gateway));
        let answer = udp(gateway, a, (53, 4000), b"!");
        let out = one(
            node.pass(InterfaceId::RESOLVER, Frame::new(&answer[..])),
            pod(1),
        );
        assert_eq!(packets::addresses(delivered(&out, 1)), (gateway, a));
        let open = tcp(a, gateway, (4001, 53), 1, SYN, &[]);
        one(node.pod_sends(1, &open), InterfaceId::RESOLVER);
    }
    let dropped = node.dropped(DropReason::Martian);
    let (a, gateway) = (a4(1, 1), IpAddr::from(GATEWAY_V4));
    // Another port; the host and what only looks like the resolver.
    assert!(
        node.pod_sends(1, &udp(a, gateway, (1, 54), b"?"))
            .is_empty()
    );
    assert!(
        node.host_sends(&udp(a4(1, 0), gateway, (1, 53), b"?"))
            .is_empty()
    );
    assert!(
        node.host_sends(&udp(gateway, a, (53, 4000), b"!"))
            .is_empty()
    );
    let other = udp([169, 254, 1, 2].into(), a, (53, 4000), b"!");
    assert!(
        node.pass(InterfaceId::RESOLVER, Frame::new(&other[..]))
            .is_empty()
    );
    assert_eq!(node.dropped(DropReason::Martian), dropped + 4);
    // A workload's own policy is asked.
    node.policy(endpoint(1, 1, &[], &[]));
    assert!(
        node.pod_sends(1, &udp(a, gateway, (4002, 53), b"?"))
            .is_empty()
    );
    assert_eq!(node.dropped(DropReason::PolicyDefaultDeny), 1);
    node.check();
}

#[test]
fn time_runs_out() {
    for family in BOTH {
        let mut node = node();
        for to in [address(family, 1, 2), address(family, 2, 1)] {
            let a = address(family, 1, 1);
            let packet = packets::with_ttl(udp(a, to, (33000, 33434), &[9; 12]), 1);
            let out = one(node.pod_sends(1, &packet), pod(1));
            let got = delivered(&out, 1);
            assert_eq!(packets::addresses(got), (router(family, 1), a));
            let (kind, code, _, quote) = told(got);
            let expected = if family == Family::V4 { 11 } else { 3 };
            assert_eq!((kind, code), (expected, 0));
            assert_eq!(quote, packet);
        }
        assert_eq!(node.dropped(DropReason::TtlExceeded), 2);
        assert_eq!(node.generated(GenerateReason::IcmpError), 2);
    }
}

#[test]
fn without_a_route_the_sender_is_told() {
    for (a, nowhere) in [
        (a4(1, 1), IpAddr::from([203, 0, 113, 5])),
        (a6(1, 1), IpAddr::from([0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1])),
    ] {
        let mut node = node();
        let packet = tcp(a, nowhere, (1, 2), 1, SYN, &[]);
        let out = one(node.pod_sends(1, &packet), pod(1));
        let (kind, code, _, quote) = told(delivered(&out, 1));
        assert_eq!((kind, code), if a.is_ipv4() { (3, 0) } else { (1, 0) });
        assert_eq!(quote, packet);
        assert_eq!(node.dropped(DropReason::NoRoute), 1);
        // Of an error nobody is told.
        let lost = error(a, nowhere, if a.is_ipv4() { 3 } else { 1 }, 0, 0, &packet);
        assert!(node.pod_sends(1, &lost).is_empty());
        // An address of our own block that nobody has.
        let packet = udp(
            a,
            if a.is_ipv4() { a4(1, 99) } else { a6(1, 99) },
            (1, 2),
            b"",
        );
        assert!(node.pod_sends(1, &packet).is_empty());
        assert_eq!(node.dropped(DropReason::Blackhole), 1);
    }
}

#[test]
fn errors_are_limited_in_number() {
    let mut node = node();
    for port in 0..200 {
        let packet = udp(a4(1, 1), [203, 0, 113, 5].into(), (port, 2), b"");
        node.send(pod(1), Frame::new(ethernet(mac(1, 1), &packet)));
    }
    node.settle();
    assert_eq!(node.generated(GenerateReason::IcmpError), 50);
    assert_eq!(node.dropped(DropReason::NoRoute), 200);
}

#[test]
fn too_big_names_the_mtu_of_the_next_link() {
    for (mode, mtu) in [
        (Mode::Vxlan4, 1450),
        (Mode::Vxlan6, 1430),
        (Mode::Routed, 1500),
    ] {
        for family in BOTH {
            let mut node = Plan::new(1, mode).build();
            let (a, far) = (address(family, 1, 1), address(family, 2, 1));
            let overhead = if family == Family::V4 { 28 } else { 48 };
            let fits = udp(a, far, (1, 2), &vec![0; mtu - overhead]);
            one(node.pod_sends(1, &fits), mode.interface());
            let packet = udp(a, far, (1, 2), &vec![0; mtu - overhead + 1]);
            let out = one(node.pod_sends(1, &packet), pod(1));
            let got = delivered(&out, 1);
            let (kind, code, word, _) = told(got);
            let expected = if family == Family::V4 { (3, 4) } else { (2, 0) };
            assert_eq!((kind, code), expected);
            assert_eq!(word as usize, mtu);
            assert_eq!(got.len(), if family == Family::V4 { 576 } else { 1280 });
            assert_eq!(node.dropped(DropReason::TooBig), 1);
        }
    }
}

#[test]
fn what_is_not_the_workloads_own_is_dropped_by_name() {
    let mut node = node();
    let good = udp(a4(1, 1), a4(1, 2), (1, 2), b"x");
    let mut expect = |frame: Vec<u8>, reason: DropReason| {
        let before = node.dropped(reason);
        assert!(
            node.pass(pod(1), Frame::new(frame)).is_empty(),
            "{reason:?}"
        );
        assert_eq!(node.dropped(reason), before + 1, "{:?}", node.drops());
    };
    expect(ethernet(mac(1, 2), &good), DropReason::SpoofedMac);
    let stolen = udp(a4(1, 2), a4(1, 1), (1, 2), b"x");
    expect(ethernet(mac(1, 1), &stolen), DropReason::SpoofedSource);
    let elsewhere = link(mac(1, 1), mac(1, 2), 0x0800, &good);
    expect(elsewhere, DropReason::EthernetNotForUs);
    let tagged = link(mac(1, 1), GATEWAY_MAC, 0x8100, &good);
    expect(tagged, DropReason::EthernetUnknownType);
    let lying = link(mac(1, 1), GATEWAY_MAC, 0x86dd, &good);
    expect(lying, DropReason::IpBadVersion);
    expect(vec![0; 9], DropReason::EthernetTruncated);
    let group = link(mac(1, 1), [0xff; 6], 0x0800, &good);
    expect(group, DropReason::Multicast);
    for (to, reason) in [
        ([224, 0, 0, 5], DropReason::Multicast),
        ([255, 255, 255, 255], DropReason::Multicast),
        ([127, 0, 0, 1], DropReason::Martian),
        ([0, 0, 0, 0], DropReason::Martian),
        ([169, 254, 7, 7], DropReason::Martian),
        ([241, 0, 0, 1], DropReason::Martian),
    ] {
        let packet = udp(a4(1, 1), to.into(), (1, 2), b"x");
        expect(ethernet(mac(1, 1), &packet), reason);
    }
    for to in ["fe80::5", "::1", "::ffff:10.65.1.2", "::"] {
        let packet = udp(a6(1, 1), to.parse().unwrap(), (1, 2), b"x");
        expect(ethernet(mac(1, 1), &packet), DropReason::Martian);
    }
    let packet = udp(a6(1, 1), "ff02::fb".parse().unwrap(), (1, 2), b"x");
    expect(ethernet(mac(1, 1), &packet), DropReason::Multicast);
    let chatter = udp(
        "fe80::1".parse().unwrap(),
        "ff02::fb".parse().unwrap(),
        (1, 2),
        b"x",
    );
    expect(ethernet(mac(1, 1), &chatter), DropReason::Multicast);
    let vxlan = udp(a4(1, 1), a4(2, 1), (1, 4789), b"x");
    expect(ethernet(mac(1, 1), &vxlan), DropReason::TunnelFromWorkload);
    let ipip = raw(a4(1, 1), a4(2, 1), 4, &good);
    expect(ethernet(mac(1, 1), &ipip), DropReason::TunnelFromWorkload);
    let mut wrong = good.clone();
    wrong[10] ^= 1;
    expect(ethernet(mac(1, 1), &wrong), DropReason::IpBadChecksum);
    let rude = packets::change(good.clone(), |p| p[0] = 0x44);
    expect(ethernet(mac(1, 1), &rude), DropReason::IpBadHeader);
}

#[test]
fn our_own_addresses_do_not_come_in_from_outside() {
    let mut node = node();
    // Not as a new flow, and not as part of one that is known.
    let inside = tcp(a4(1, 1), a4(1, 2), (1, 2), 1, SYN, &[]);
    for _ in 0..2 {
        let datagram = mutate::vxlan(
            Family::V4,
            world::vtep(1, Family::V4),
            std::slice::from_ref(&inside),
            Some(router(Family::V4, 2)),
        );
        assert!(node.pass(world::VXLAN4, datagram).is_empty());
        assert!(node.host_sends(&inside).is_empty());
        one(node.pod_sends(1, &inside), pod(2));
    }
    assert_eq!(node.dropped(DropReason::Martian), 4);
    // Nor after the tables changed.
    node.publish(|_| {});
    assert!(node.host_sends(&inside).is_empty());
    assert_eq!(node.dropped(DropReason::Martian), 5);
    // The host's own addresses are the host's.
    let ask = udp(a4(1, 0), a4(1, 2), (5, 6), b"ask");
    one(node.host_sends(&ask), pod(2));
    let datagram = mutate::vxlan(
        Family::V4,
        world::vtep(1, Family::V4),
        &[ask],
        Some(router(Family::V4, 2)),
    );
    assert!(node.pass(world::VXLAN4, datagram).is_empty());
    assert_eq!(node.dropped(DropReason::Martian), 6);
}

#[test]
fn errors_pass_with_the_flow_they_are_about() {
    for family in BOTH {
        let mut node = node();
        let (a, b, third) = (
            address(family, 1, 1),
            address(family, 1, 2),
            address(family, 2, 9),
        );
        let (unreachable, port) = if family == Family::V4 { (3, 3) } else { (1, 4) };
        let packet = udp(a, b, (7, 8), b"hello");
        one(node.pod_sends(1, &packet), pod(2));
        let about = error(b, a, unreachable, port, 0, &packet);
        let out = one(node.pod_sends(2, &about), pod(1));
        assert!(delivered(&out, 1).ends_with(b"hello"));
        // About no flow.
        let stray = error(b, a, unreachable, port, 0, &udp(a, b, (7, 9), b""));
        assert!(node.pod_sends(2, &stray).is_empty());
        // About a flow, but to somebody who has no part in it.
        let astray = error(b, third, unreachable, port, 0, &packet);
        assert!(node.pod_sends(2, &astray).is_empty());
        let mut cut = about.clone();
        cut.truncate(about.len() - 30);
        let cut = packets::change(cut, |p| {
            let length = p.len() as u16;
            if family == Family::V4 {
                p[2..4].copy_from_slice(&length.to_be_bytes());
            } else {
                p[4..6].copy_from_slice(&(length - 40).to_be_bytes());
            }
        });
        assert!(node.pod_sends(2, &cut).is_empty());
        assert_eq!(node.dropped(DropReason::IcmpErrorUnrelated), 3);
    }
}

#[test]
fn a_reply_begins_no_flow() {
    let mut node = node();
    assert!(
        node.pod_sends(1, &echo(a4(1, 1), a4(1, 2), 5, true, &[]))
            .is_empty()
    );
    assert_eq!(node.dropped(DropReason::FlowInvalid), 1);
    one(
        node.pod_sends(1, &echo(a4(1, 1), a4(1, 2), 5, false, &[])),
        pod(2),
    );
    one(
        node.pod_sends(2, &echo(a4(1, 2), a4(1, 1), 5, true, &[])),
        pod(1),
    );
}

#[test]
fn what_has_no_device_or_no_room_is_counted() {
    let mut node = node();
    let packet = udp(a4(1, 1), a4(1, 2), (1, 2), b"x");
    one(node.pod_sends(1, &packet), pod(2));
    node.worker.remove_device(pod(2));
    assert!(node.pod_sends(1, &packet).is_empty());
    assert_eq!(node.dropped(DropReason::InterfaceDown), 1);
    // A device of an interface that is in no table.
    node.publish(|tables| tables.interfaces[pod(1).index()] = None);
    assert!(node.pod_sends(1, &packet).is_empty());
    assert_eq!(node.dropped(DropReason::InterfaceUnknown), 1);
}

#[test]
fn a_full_flow_table_refuses_the_new_and_keeps_the_old() {
    let mut plan = Plan::new(1, Mode::Vxlan4);
    plan.flows = 64;
    let mut node = plan.build();
    for port in 0..64 {
        let (ask, answer) = ((port, 9), (9, port));
        node.pod_sends(1, &udp(a4(1, 1), a4(1, 2), ask, b"x"));
        node.pod_sends(2, &udp(a4(1, 2), a4(1, 1), answer, b"x"));
    }
    assert!(
        node.pod_sends(1, &udp(a4(1, 1), a4(1, 2), (99, 9), b"x"))
            .is_empty()
    );
    assert_eq!(node.dropped(DropReason::FlowTableFull), 1);
    one(
        node.pod_sends(1, &udp(a4(1, 1), a4(1, 2), (5, 9), b"x")),
        pod(2),
    );
}
