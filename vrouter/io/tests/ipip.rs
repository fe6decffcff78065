//! The IPIP underlay between two namespaces.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod namespace;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::AsRawFd;
use std::time::Duration;

use encap::offload::{Gso, GsoKind, Offload, Partial};
use namespace::Namespace;
use socket2::{Domain, Protocol, Socket, Type};
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Device, Vector};
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::ipip::{self, IpipSocket};
use vrouter_io::link::Link;
use vrouter_io::poller::Poller;

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

struct Pair {
    a: Namespace,
    b: Namespace,
    senders: Vec<IpipSocket>,
    receivers: Vec<IpipSocket>,
}

fn pair(workers: usize) -> Pair {
    let [a, b] = ["ia", "ib"].map(Namespace::new);
    a.connect(&b, "eth0", "192.0.2.1/24", "192.0.2.2/24");
    a.exec("ping -c 2 -i 0.2 -W 3 192.0.2.2");
    let senders = ipip::open(Some(&a.netns), A, 1500, 1).unwrap();
    let receivers = ipip::open(Some(&b.netns), B, 1500, workers).unwrap();
    Pair {
        a,
        b,
        senders,
        receivers,
    }
}

/// A UDP packet (without a sum) of `len` bytes from port `port`, numbered.
fn udp(port: u16, number: u16, len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len)
        .map(|at| (at + usize::from(number)) as u8)
        .collect();
    packet[..20].copy_from_slice(&[
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 61, 17, 0, 0, 10, 1, 0, 1, 10, 2, 0, 2,
    ]);
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&53_u16.to_be_bytes());
    packet[24..28].copy_from_slice(&[0; 4]);
    packet[28..30].copy_from_slice(&number.to_be_bytes());
    packet
}

fn buffer(bytes: &[u8], segment: u16) -> Buffer {
    let mut buffer = Buffer::from_slice(bytes);
    buffer.meta.remote = Some(B.into());
    buffer.meta.segment = segment;
    buffer
}

/// All that arrives at `socket` within a moment.
fn drain(socket: &mut IpipSocket) -> Vec<Buffer> {
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
    assert_eq!(pool.available() + vector.len(), 2048);
    vector
}

fn packets(buffers: &[Buffer]) -> Vec<Vec<u8>> {
    let size = |buffer: &Buffer| match buffer.meta.segment {
        0 => buffer.len().max(1),
        segment => usize::from(segment),
    };
    buffers
        .iter()
        .flat_map(|buffer| buffer.bytes().chunks(size(buffer)).map(<[u8]>::to_vec))
        .collect()
}

#[test]
#[ignore = "needs root"]
fn segments_cross_in_order() {
    let mut pair = pair(1);
    let mut expected: Vec<_> = (0..43).map(|number| udp(7, number, 1480)).collect();
    expected.push(udp(7, 43, 500));
    let mut batch = [buffer(&expected.concat(), 1480), buffer(&udp(8, 0, 100), 0)];
    batch[0].meta.tos = 0xb9;
    expected.push(udp(8, 0, 100));
    let done = pair.senders[0].transmit(&mut batch);
    assert_eq!((done.sent, done.full, done.refused), (2, 0, 0));

    let received = drain(&mut pair.receivers[0]);
    assert!(packets(&received) == expected);
    for buffer in &received {
        assert_eq!(buffer.meta.remote, Some(IpAddr::V4(A)));
        assert!(!buffer.meta.malformed);
        assert_eq!(
            (buffer.meta.offload, buffer.meta.segment),
            (Offload::None, 0)
        );
    }
    assert_eq!(
        (received[0].meta.tos, received.last().unwrap().meta.tos),
        (0xb9, 0)
    );
}

#[test]
#[ignore = "needs root"]
fn the_outer_header_is_as_tunl0_writes_it() {
    let mut pair = pair(1);
    let dump = pair.a.netns.clone();
    let name = pair.a.name.clone();
    let capture = std::thread::spawn(move || {
        drop(dump);
        std::process::Command::new("timeout")
            .args(["10", "ip", "netns", "exec", &name])
            .args([
                "tcpdump",
                "-nnvi",
                "eth0",
                "-c",
                "2",
                "--immediate-mode",
                "ip proto 4",
            ])
            .output()
            .unwrap()
    });
    std::thread::sleep(Duration::from_secs(1));
    let mut may_fragment = udp(7, 2, 100);
    may_fragment[6] = 0;
    may_fragment[8] = 5;
    let mut batch = [buffer(&udp(7, 1, 100), 0), buffer(&may_fragment, 0)];
    assert_eq!(pair.senders[0].transmit(&mut batch).sent, 2);
    let text = String::from_utf8(capture.join().unwrap().stdout).unwrap();
    let outer: Vec<_> = text.lines().filter(|line| line.contains("IPIP")).collect();
    assert!(
        outer[0].contains("ttl 61") && outer[0].contains("[DF]"),
        "{text}"
    );
    assert!(
        outer[1].contains("ttl 5,") && outer[1].contains("[none]"),
        "{text}"
    );
    assert!(
        outer.iter().all(|line| line.contains("length 120)")),
        "{text}"
    );
    assert!(
        !outer.iter().any(|line| line.contains("bad cksum")),
        "{text}"
    );
}

#[test]
#[ignore = "needs root"]
fn each_packet_reaches_exactly_one_worker() {
    let mut pair = pair(3);
    let flows = 150;
    let rounds = 4;
    for round in 0..rounds {
        let mut batch: Vec<_> = (0..flows)
            .map(|port| buffer(&udp(port, round, 200), 0))
            .collect();
        assert_eq!(
            pair.senders[0].transmit(&mut batch).sent,
            usize::from(flows)
        );
    }
    let mut arrivals = vec![Vec::new(); usize::from(flows)];
    let mut by_worker = [0; 3];
    for (worker, receiver) in pair.receivers.iter_mut().enumerate() {
        for packet in packets(&drain(receiver)) {
            let field = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
            arrivals[usize::from(field(20))].push((worker, field(28)));
            by_worker[worker] += 1;
        }
    }
    for (flow, seen) in arrivals.iter().enumerate() {
        let worker = seen[0].0;
        let in_order: Vec<_> = (0..rounds).map(|round| (worker, round)).collect();
        assert_eq!(*seen, in_order, "flow {flow}");
    }
    assert!(by_worker.iter().all(|&count| count > 60), "{by_worker:?}");
}

/// An unfinished TCP packet: the checksum field holds the sum of the pseudo-header.
fn tcp(len: usize) -> Vec<u8> {
    let mut packet = udp(7, 1, len);
    packet[9] = 6;
    packet[32..34].copy_from_slice(&[0x50, 0x10]);
    let [source, destination] = [[10, 1, 0, 1], [10, 2, 0, 2]].map(Ipv4Addr::from);
    let sum = encap::checksum::pseudo_v4(source, destination, 6, (len - 20) as u16).fold();
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

const TCP_FIELD: Partial = Partial {
    start: 20,
    offset: 16,
};
const UDP_FIELD: Partial = Partial {
    start: 20,
    offset: 6,
};

fn super_packet(bytes: &[u8], kind: GsoKind, size: u16) -> Buffer {
    let mut packet = buffer(bytes, 0);
    let (partial, header_len) = match kind {
        GsoKind::UdpL4 => (UDP_FIELD, 28),
        GsoKind::Tcp4 | GsoKind::Tcp6 => (TCP_FIELD, 40),
    };
    let gso = Gso {
        kind,
        ecn: false,
        header_len,
        size: NonZeroU16::new(size).unwrap(),
    };
    packet.meta.offload = Offload::Segmented(partial, gso);
    packet
}

/// Datagrams of one flow as one packet, with the sum of the pseudo-header for all of it.
fn datagrams(len: usize) -> Vec<u8> {
    let mut packet = udp(7, 1, len);
    let transport = (len - 20) as u16;
    packet[24..26].copy_from_slice(&transport.to_be_bytes());
    let [source, destination] = [[10, 1, 0, 1], [10, 2, 0, 2]].map(Ipv4Addr::from);
    let sum = encap::checksum::pseudo_v4(source, destination, 17, transport).fold();
    packet[26..28].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn segmented_in_kernel(pair: &mut Pair) {
    let link = Link::open_in(&pair.a.netns).unwrap();
    let underlay = link.expect_interface("eth0").unwrap().index;
    let netns = Some(&pair.a.netns);
    ipip::segment_in_kernel(&mut pair.senders, netns, "vr-ipip", underlay).unwrap();
    assert!(pair.senders[0].capabilities().tso && pair.senders[0].capabilities().uso);
}

#[test]
#[ignore = "needs root"]
fn the_kernel_carries_super_packets_whole() {
    let mut pair = pair(1);
    segmented_in_kernel(&mut pair);
    let long = tcp(60_000);
    let mut unfinished = buffer(&tcp(1000), 0);
    unfinished.meta.offload = Offload::Partial(TCP_FIELD);
    let many = datagrams(28 + 63 * 64 + 10);
    let back_to_back = [udp(8, 1, 1400), udp(8, 2, 1400)].concat();
    let mut batch = [
        super_packet(&long, GsoKind::Tcp4, 1440),
        unfinished,
        super_packet(&many, GsoKind::UdpL4, 64),
        buffer(&back_to_back, 1400),
        buffer(&udp(9, 1, 100), 0),
        buffer(&udp(9, 1, 1481), 0),
    ];
    batch[0].meta.tos = 0xb8;
    let done = pair.senders[0].transmit(&mut batch);
    assert_eq!((done.sent, done.full), (5, 0));
    // The last is longer than the path.
    assert_eq!((done.too_big, done.refused), (1, 0));
    assert_eq!(done.bytes, 60_000 + 1000 + many.len() + 2800 + 100);

    let received = drain(&mut pair.receivers[0]);
    let expected = [
        long,
        tcp(1000),
        many,
        udp(8, 1, 1400),
        udp(8, 2, 1400),
        udp(9, 1, 100),
    ];
    assert!(packets(&received) == expected);
    assert_eq!(
        (received[0].meta.remote, received[0].meta.tos),
        (Some(A.into()), 0xb8)
    );
    let told: Vec<_> = received
        .iter()
        .map(|packet| {
            let gso = packet.meta.offload.gso();
            let gso = gso.map(|gso| (gso.kind, gso.size.get()));
            (packet.meta.offload.partial(), gso)
        })
        .collect();
    let expected = [
        (Some(TCP_FIELD), Some((GsoKind::Tcp4, 1440))),
        (Some(TCP_FIELD), None),
        (Some(UDP_FIELD), Some((GsoKind::UdpL4, 64))),
        (None, None),
        (None, None),
        (None, None),
    ];
    assert_eq!(told, expected);
}

#[test]
#[ignore = "needs root"]
fn the_kernel_segments_where_the_link_does_not() {
    let mut pair = pair(1);
    pair.a.exec("ethtool -K eth0 tso off gso off tx off");
    segmented_in_kernel(&mut pair);
    let (long, many) = (tcp(30_000), datagrams(28 + 9 * 1000 + 10));
    let mut batch = [
        super_packet(&long, GsoKind::Tcp4, 1440),
        super_packet(&many, GsoKind::UdpL4, 1000),
    ];
    assert_eq!(pair.senders[0].transmit(&mut batch).sent, 2);
    let received = packets(&drain(&mut pair.receivers[0]));
    let tcp_segments = (30_000_usize - 40).div_ceil(1440);
    assert_eq!(received.len(), tcp_segments + 10);
    let (segments, datagrams) = received.split_at(tcp_segments);
    let payloads = |packets: &[Vec<u8>], header: usize| -> Vec<u8> {
        let payload = |packet: &Vec<u8>| packet[header..].to_vec();
        packets.iter().flat_map(payload).collect()
    };
    assert!(payloads(segments, 40) == long[40..]);
    assert!(payloads(datagrams, 28) == many[28..]);
    for packet in &received {
        let layers = encap::ip::Layers::parse(packet, 0).unwrap();
        encap::checksum::verify_header(packet, &layers).unwrap();
        encap::checksum::verify_transport(packet, &layers).unwrap();
    }
}

/// How often the namespace's kernel told somebody that a destination cannot be reached.
fn unreachables(namespace: &Namespace) -> u64 {
    let snmp = namespace
        .netns
        .run(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))
        .unwrap()
        .unwrap();
    let mut icmp = snmp.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
    let at = names
        .split_whitespace()
        .position(|name| name == "OutDestUnreachs")
        .unwrap();
    values.split_whitespace().nth(at).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root"]
fn outer_fragments_are_put_together_and_strangers_are_left_alone() {
    let mut pair = pair(3);
    let longest = udp(7, 1, 4000);
    let send = |protocol: i32, to: Ipv4Addr, bytes: &[u8]| {
        let send_here = || {
            let protocol = Some(Protocol::from(protocol));
            let socket = Socket::new(Domain::IPV4, Type::RAW, protocol).unwrap();
            socket
                .send_to(bytes, &SocketAddr::new(to.into(), 0).into())
                .unwrap();
        };
        pair.a.netns.run(send_here).unwrap();
    };
    send(libc::IPPROTO_IPIP, B, &longest);
    send(libc::IPPROTO_IPIP, B, &udp(7, 2, 100));
    send(libc::IPPROTO_GRE, B, &udp(7, 3, 100));
    let other = Ipv4Addr::new(192, 0, 2, 3);
    pair.b.exec("ip address add 192.0.2.3/24 dev eth0");
    send(libc::IPPROTO_IPIP, other, &udp(7, 4, 100));
    let received: Vec<_> = pair.receivers.iter_mut().flat_map(drain).collect();
    assert!(received.iter().all(|packet| !packet.meta.malformed));
    assert!(packets(&received) == [longest, udp(7, 2, 100)]);
    // Of the two that are not for us their sender is told, as ever, and of ours nobody.
    assert_eq!(unreachables(&pair.b), 2);
}

#[test]
#[ignore = "needs root"]
fn an_address_of_another_node_is_refused() {
    let pair = pair(1);
    let error = ipip::open(Some(&pair.b.netns), A, 1500, 1).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("open the IPIP sockets at 192.0.2.1"),
        "{text}"
    );
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_sent_is_counted() {
    let mut pair = pair(1);
    let mut batch = [
        buffer(&udp(1, 1, 1481), 0),
        buffer(&[0x60; 100], 0),
        buffer(&[0x45; 10], 0),
        buffer(&udp(1, 2, 100), 0),
        Buffer::from_slice(&udp(1, 1, 100)),
        buffer(&udp(1, 3, 1480), 0),
    ];
    batch[3].meta.remote = Some("2001:db8::1".parse().unwrap());
    let done = pair.senders[0].transmit(&mut batch);
    // Longer than the path; not IPv4 (twice), wrong family, no remote.
    assert_eq!((done.sent, done.full), (1, 0));
    assert_eq!((done.too_big, done.refused), (1, 4));
    assert!(packets(&drain(&mut pair.receivers[0])) == [udp(1, 3, 1480)]);
}
