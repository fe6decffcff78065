//! The VXLAN underlay between two namespaces.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod namespace;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::os::fd::AsRawFd;
use std::time::Duration;

use encap::checksum;
use encap::ip::Layers;
use encap::offload::{Gso, GsoKind, Offload, Partial};
use namespace::Namespace;
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Device, Vector};
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::link::Link;
use vrouter_io::poller::Poller;
use vrouter_io::vxlan::{self, VxlanSocket};

const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

struct Pair {
    a: Namespace,
    b: Namespace,
    to: IpAddr,
    from: IpAddr,
    senders: Vec<VxlanSocket>,
    receivers: Vec<VxlanSocket>,
}

fn pair(addresses: [&str; 2], workers: usize) -> Pair {
    let [a, b] = ["va", "vb"].map(Namespace::new);
    let length = if addresses == V4 { 24 } else { 64 };
    let [here, there] = addresses.map(|address| format!("{address}/{length}"));
    a.connect(&b, "eth0", &here, &there);
    // Neighbors found, so that no test waits for that.
    a.exec(&format!("ping -c 3 -i 0.2 -W 3 {}", addresses[1]));
    let [from, to] = addresses.map(|address| address.parse().unwrap());
    let senders = vxlan::open(Some(&a.netns), from, vxlan::PORT, workers).unwrap();
    let receivers = vxlan::open(Some(&b.netns), to, vxlan::PORT, workers).unwrap();
    Pair {
        a,
        b,
        to,
        from,
        senders,
        receivers,
    }
}

/// Bytes that tell where they were.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (seed * 31 + at + at / 251) as u8)
        .collect()
}

fn packet(to: IpAddr, bytes: &[u8], segment: u16, flow_hash: u32) -> Buffer {
    let mut buffer = Buffer::from_slice(bytes);
    buffer.meta.remote = Some(to);
    buffer.meta.segment = segment;
    buffer.meta.flow_hash = flow_hash;
    buffer
}

/// All that arrives at `socket` within a moment.
fn drain(socket: &mut VxlanSocket) -> Vec<Buffer> {
    let (mut poller, _waker) = Poller::new().unwrap();
    poller.register(InterfaceId(0), socket.as_raw_fd()).unwrap();
    let (mut pool, mut vector) = (Pool::new(2048), Vector::new());
    while poller
        .wait(Some(Duration::from_millis(200)))
        .unwrap()
        .count()
        > 0
    {
        while !socket.receive(&mut pool, &mut vector).unwrap() {}
    }
    vector
}

/// The datagrams of all buffers, in order.
fn datagrams(buffers: &[Buffer]) -> Vec<Vec<u8>> {
    let whole = |buffer: &Buffer| match buffer.meta.segment {
        0 => buffer.len().max(1),
        segment => usize::from(segment),
    };
    buffers
        .iter()
        .flat_map(|buffer| buffer.bytes().chunks(whole(buffer)).map(<[u8]>::to_vec))
        .collect()
}

fn segments_cross(addresses: [&str; 2], prepare: impl Fn(&Namespace)) -> Vec<Buffer> {
    let mut pair = pair(addresses, 1);
    prepare(&pair.a);
    prepare(&pair.b);
    let long = pattern(1, 61_000);
    let small_segments = pattern(2, 20_000);
    let mut packets = [
        packet(pair.to, &long, 1400, 7),
        packet(pair.to, &small_segments, 100, 7),
        packet(pair.to, &pattern(3, 1000), 0, 7),
        packet(pair.to, &pattern(4, 65_600), 1450, 7),
    ];
    packets[0].meta.tos = 0xb8;
    let done = pair.senders[0].transmit(&mut packets);
    assert_eq!((done.sent, done.full, done.refused), (4, 0, 0));
    assert_eq!(done.bytes, 61_000 + 20_000 + 1000 + 65_600);

    let received = drain(&mut pair.receivers[0]);
    let expected: Vec<Vec<u8>> = packets
        .iter()
        .flat_map(|packet| match packet.meta.segment {
            0 => vec![packet.bytes().to_vec()],
            size => packet
                .bytes()
                .chunks(size.into())
                .map(<[u8]>::to_vec)
                .collect(),
        })
        .collect();
    assert!(
        received
            .iter()
            .all(|b| b.meta.remote == Some(pair.from) && !b.meta.malformed)
    );
    assert_eq!(received[0].meta.tos, 0xb8);
    assert_eq!(received.last().unwrap().meta.tos, 0);
    let got = datagrams(&received);
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "same datagrams in the same order");
    received
}

#[test]
#[ignore = "needs root"]
fn super_packets_stay_whole_over_ipv4() {
    let received = segments_cross(V4, |_| {});
    // 61,000 / (44 × 1400): one message; 20,000 / (64 × 100): four; one; 65,600: two.
    assert!(received.len() <= 9, "{}", received.len());
}

#[test]
#[ignore = "needs root"]
fn super_packets_stay_whole_over_ipv6() {
    let received = segments_cross(V6, |_| {});
    assert!(received.len() <= 9, "{}", received.len());
}

#[test]
#[ignore = "needs root"]
fn without_offloads_every_datagram_still_crosses() {
    for addresses in [V4, V6] {
        segments_cross(addresses, |node| {
            node.exec("ethtool -K eth0 tso off gso off gro off tx-udp-segmentation off tx off");
        });
    }
}

/// VXLAN and Ethernet headers.
const PREFIX: usize = 22;

/// An unfinished TCP packet of `len` bytes behind its VXLAN and Ethernet headers: the checksum field
/// holds the sum of the pseudo-header.
fn tcp(kind: GsoKind, len: usize) -> Vec<u8> {
    let v4 = kind == GsoKind::Tcp4;
    let ip = if v4 { 20 } else { 40 };
    let mut bytes = pattern(5, PREFIX + len);
    bytes[..8].copy_from_slice(&[8, 0, 0, 0, 0, 0x10, 0, 0]);
    bytes[8..20].copy_from_slice(&[0x66, 1, 1, 1, 1, 1, 0x66, 2, 2, 2, 2, 2]);
    let kind: u16 = if v4 { 0x0800 } else { 0x86dd };
    bytes[20..22].copy_from_slice(&kind.to_be_bytes());
    let packet = &mut bytes[PREFIX..];
    let transport = (len - ip) as u16;
    let sum = if v4 {
        packet[..20].copy_from_slice(&[
            0x45, 0, 0, 0, 0, 7, 0x40, 0, 61, 6, 0, 0, 10, 1, 0, 1, 10, 2, 0, 2,
        ]);
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let header = checksum::ipv4_header(&packet[..20]);
        packet[10..12].copy_from_slice(&header.to_be_bytes());
        let [from, to] = [[10, 1, 0, 1], [10, 2, 0, 2]].map(Ipv4Addr::from);
        checksum::pseudo_v4(from, to, 6, transport)
    } else {
        let [from, to] = [1, 2].map(|last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
        packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 6, 61]);
        packet[4..6].copy_from_slice(&transport.to_be_bytes());
        packet[8..24].copy_from_slice(&from.octets());
        packet[24..40].copy_from_slice(&to.octets());
        checksum::pseudo_v6(from, to, 6, transport.into())
    };
    // Header of 20 bytes, ACK.
    packet[ip + 12..ip + 14].copy_from_slice(&[0x50, 0x10]);
    packet[ip + 16..ip + 18].copy_from_slice(&sum.fold().to_be_bytes());
    bytes
}

fn super_packet(to: IpAddr, kind: GsoKind, bytes: &[u8]) -> Buffer {
    let transport = PREFIX + if kind == GsoKind::Tcp4 { 20 } else { 40 };
    let mut packet = packet(to, bytes, 0, 7);
    let partial = Partial {
        start: transport as u16,
        offset: 16,
    };
    let gso = Gso {
        kind,
        ecn: false,
        header_len: transport as u16 + 20,
        size: NonZeroU16::new(1380).unwrap(),
    };
    packet.meta.offload = Offload::Segmented(partial, gso);
    packet
}

fn segmented_in_kernel(pair: &mut Pair) {
    let link = Link::open_in(&pair.a.netns).unwrap();
    let underlay = link.expect_interface("eth0").unwrap().index;
    let netns = Some(&pair.a.netns);
    vxlan::segment_in_kernel(&mut pair.senders, netns, "vr-vxlan", underlay).unwrap();
    assert!(pair.senders[0].capabilities().tso && !pair.senders[0].capabilities().uso);
}

#[test]
#[ignore = "needs root"]
fn the_kernel_carries_super_packets_whole() {
    let mut pair = pair(V4, 1);
    segmented_in_kernel(&mut pair);
    let (v4, v6) = (tcp(GsoKind::Tcp4, 60_000), tcp(GsoKind::Tcp6, 50_000));
    let (first, last) = (pattern(3, 1000), pattern(4, 900));
    let mut packets = [
        packet(pair.to, &first, 0, 7),
        super_packet(pair.to, GsoKind::Tcp4, &v4),
        super_packet(pair.to, GsoKind::Tcp6, &v6),
        packet(pair.to, &last, 0, 7),
    ];
    packets[1].meta.tos = 0xb8;
    let done = pair.senders[0].transmit(&mut packets);
    assert_eq!((done.sent, done.full, done.refused), (4, 0, 0));
    let received = drain(&mut pair.receivers[0]);
    assert!(datagrams(&received) == [first, v4, v6, last]);
    assert_eq!(received[1].meta.tos, 0xb8);
    for whole in &received[1..3] {
        assert_eq!(whole.meta.remote, Some(pair.from));
        let inner = &whole.bytes()[PREFIX..];
        let layers = Layers::parse(inner, 0).unwrap();
        let known = checksum::assess(inner, &layers);
        assert!(matches!(known, Offload::Partial(_)), "{known:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_kernel_segments_where_the_link_does_not() {
    for (kind, ip) in [(GsoKind::Tcp4, 20), (GsoKind::Tcp6, 40)] {
        let mut pair = pair(V4, 1);
        pair.a.exec("ethtool -K eth0 tso off gso off tx off");
        segmented_in_kernel(&mut pair);
        let long = tcp(kind, 30_000);
        let mut packets = [super_packet(pair.to, kind, &long)];
        assert_eq!(pair.senders[0].transmit(&mut packets).sent, 1);
        let received = drain(&mut pair.receivers[0]);
        let segments = datagrams(&received);
        let headers = PREFIX + ip + 20;
        assert_eq!(segments.len(), (30_000 - ip - 20).div_ceil(1380));
        let payload: Vec<u8> = segments
            .iter()
            .flat_map(|segment| segment[headers..].to_vec())
            .collect();
        assert!(payload == long[headers..]);
        for segment in &segments {
            assert_eq!(segment[..PREFIX], long[..PREFIX]);
            let inner = &segment[PREFIX..];
            let layers = Layers::parse(inner, 0).unwrap();
            checksum::verify_header(inner, &layers).unwrap();
            checksum::verify_transport(inner, &layers).unwrap();
        }
    }
}

/// The receiving kernel drops what has an outer UDP checksum that is wrong.
#[test]
#[ignore = "needs root"]
fn unfinished_packets_are_summed_inside_and_outside() {
    for (kind, ip) in [(GsoKind::Tcp4, 20), (GsoKind::Tcp6, 40)] {
        let mut pair = pair(V4, 1);
        pair.a.exec("ethtool -K eth0 tso off gso off tx off");
        segmented_in_kernel(&mut pair);
        let sent = [ip + 20, 901, 1400].map(|len| tcp(kind, len));
        let mut packets = sent.each_ref().map(|bytes| {
            let mut packet = packet(pair.to, bytes, 0, 7);
            packet.meta.offload = Offload::Partial(Partial {
                start: (PREFIX + ip) as u16,
                offset: 16,
            });
            packet
        });
        assert_eq!(pair.senders[0].transmit(&mut packets).sent, 3);
        let received = datagrams(&drain(&mut pair.receivers[0]));
        assert_eq!(received.len(), 3);
        for (got, sent) in received.iter().zip(&sent) {
            let field = PREFIX + ip + 16;
            assert!(got[..field] == sent[..field] && got[field + 2..] == sent[field + 2..]);
            let inner = &got[PREFIX..];
            let layers = Layers::parse(inner, 0).unwrap();
            checksum::verify_transport(inner, &layers).unwrap();
        }
    }
}

/// Packets of a flow find the same worker, be they sent whole or by a socket.
#[test]
#[ignore = "needs root"]
fn both_ways_use_the_flows_port() {
    let mut pair = pair(V4, 4);
    segmented_in_kernel(&mut pair);
    for flow in 0..32_u32 {
        let hash = flow.wrapping_mul(0x9e37_79b9);
        let long = tcp(GsoKind::Tcp4, 9_000);
        let mut packets = [
            super_packet(pair.to, GsoKind::Tcp4, &long),
            packet(pair.to, &pattern(1, 100), 0, hash),
        ];
        packets[0].meta.flow_hash = hash;
        assert_eq!(pair.senders[0].transmit(&mut packets).sent, 2);
        let mut counts: Vec<usize> = Vec::new();
        for receiver in &mut pair.receivers {
            let (mut pool, mut vector) = (Pool::new(64), Vector::new());
            while !receiver.receive(&mut pool, &mut vector).unwrap() {}
            counts.push(vector.len());
        }
        counts.sort_unstable();
        assert_eq!(counts, [0, 0, 0, 2], "flow {flow}");
    }
}

#[test]
#[ignore = "needs root"]
fn flows_keep_their_port_and_worker() {
    let mut pair = pair(V4, 2);
    let flows = 200_u32;
    let rounds = 5;
    for round in 0..rounds {
        for hashes in (0..flows).collect::<Vec<_>>().chunks(50) {
            let mut packets: Vec<_> = hashes
                .iter()
                .map(|&flow| {
                    let mut bytes = vec![0; 64];
                    bytes[..4].copy_from_slice(&flow.to_be_bytes());
                    bytes[4] = round;
                    packet(pair.to, &bytes, 0, flow.wrapping_mul(0x9e37_79b9))
                })
                .collect();
            // Either worker's part sends: the ports are the same.
            let done = pair.senders[usize::from(round) % 2].transmit(&mut packets);
            assert_eq!(done.sent, packets.len());
        }
    }
    let mut seen = BTreeMap::<u32, Vec<(usize, u8)>>::new();
    let mut by_worker = [0; 2];
    for (worker, receiver) in pair.receivers.iter_mut().enumerate() {
        for bytes in datagrams(&drain(receiver)) {
            let flow = u32::from_be_bytes(*bytes.first_chunk().unwrap());
            seen.entry(flow).or_default().push((worker, bytes[4]));
            by_worker[worker] += 1;
        }
    }
    assert_eq!(seen.len(), flows as usize);
    for (flow, arrivals) in &seen {
        let worker = arrivals[0].0;
        let in_order: Vec<_> = (0..rounds).map(|round| (worker, round)).collect();
        assert_eq!(*arrivals, in_order, "flow {flow}");
    }
    assert!(by_worker.iter().all(|&count| count > 100), "{by_worker:?}");
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_sent_is_counted() {
    let mut pair = pair(V4, 1);
    let mut packets = [
        packet(pair.to, &pattern(1, 3000), 0, 1),
        packet(pair.to, &pattern(1, 30_000), 2000, 1),
        packet("2001:db8::9".parse().unwrap(), &pattern(1, 100), 0, 1),
        packet("203.0.113.1".parse().unwrap(), &pattern(1, 100), 0, 1),
        packet(pair.to, &pattern(5, 100), 0, 1),
        Buffer::from_slice(&[1; 100]),
    ];
    let done = pair.senders[0].transmit(&mut packets);
    // Wrong family, no route, no remote.
    assert_eq!((done.sent, done.full), (3, 0));
    assert_eq!((done.too_big, done.refused), (0, 3));
    // What is longer than the path is fragmented by the kernel, as by its own VXLAN device.
    let got = datagrams(&drain(&mut pair.receivers[0]));
    let whole: Vec<_> = got.iter().map(Vec::len).collect();
    let mut wanted = vec![3000];
    wanted.extend([2000; 15]);
    wanted.push(100);
    assert_eq!(whole, wanted);
    assert_eq!(got[0], pattern(1, 3000));
    assert_eq!(got[1..16].concat(), pattern(1, 30_000));
    assert_eq!(got[16], pattern(5, 100));
}

#[test]
#[ignore = "needs root"]
fn a_foreign_holder_of_the_port_is_a_clear_error() {
    let pair = pair(V4, 1);
    let error = vxlan::open(
        Some(&pair.a.netns),
        "198.51.100.1".parse().unwrap(),
        4789,
        1,
    );
    assert!(error.unwrap_err().to_string().contains("198.51.100.1"));
    let holder = pair
        .a
        .netns
        .run(|| std::net::UdpSocket::bind("192.0.2.1:4790"))
        .unwrap();
    let error = vxlan::open(Some(&pair.a.netns), pair.from, 4790, 1).unwrap_err();
    assert!(error.to_string().contains("192.0.2.1:4790"), "{error}");
    drop(holder);
}
