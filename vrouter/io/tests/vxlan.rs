//! The VXLAN underlay between two namespaces.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod namespace;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use namespace::Namespace;
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Device, Vector};
use vrouter_dataplane::id::InterfaceId;
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
    // Too long (twice), wrong family, no route, no remote.
    assert_eq!((done.sent, done.full, done.refused), (1, 0, 5));
    let got = datagrams(&drain(&mut pair.receivers[0]));
    assert!(got == [pattern(5, 100)]);
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
