//! Hostile traffic: good frames of every kind, broken at random, the same for the same seed.

use std::net::IpAddr;
use std::num::NonZeroU16;

use encap::Family;
use encap::offload::{Gso, GsoKind, Offload, Partial};
use vrouter_dataplane::adjacency::GATEWAY_MAC;
use vrouter_dataplane::buffer::{FRAME_MAX, Meta};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::Frame;
use vrouter_dataplane::tables::{GATEWAY_V4, GATEWAY_V6};

use super::packets::{self, ACK, FIN, RST, SYN};
use super::random::Random;
use super::{HOST, IPIP, Node, VXLAN4, VXLAN6, address, mac, pod, underlay, vtep};

/// Bytes in which parsers like to go wrong.
const INTERESTING: [u8; 16] = [
    0, 1, 4, 5, 6, 8, 0x11, 0x2c, 0x3a, 0x3c, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff,
];

/// Makes frames for every entry of node 1.
#[derive(Debug)]
pub struct Mutator {
    random: Random,
    corpus: Vec<(InterfaceId, Frame)>,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            corpus: corpus(),
        }
    }

    /// The next frame and where it comes in.
    pub fn next(&mut self) -> (InterfaceId, Frame) {
        let random = &mut self.random;
        let (id, mut frame) = random.pick(&self.corpus).clone();
        let start = ip_at(id);
        for _ in 0..random.below(4) {
            mutate(random, &mut frame.bytes, start);
        }
        if random.once_in(2) {
            repair(&mut frame.bytes, start);
        }
        if random.once_in(8) {
            frame.meta.offload = offload(random, frame.bytes.len());
        }
        if frame.meta.remote.is_some() {
            if random.once_in(16) {
                frame.meta.segment = random.next() as u16;
            }
            if random.once_in(8) {
                frame.meta.tos = random.next() as u8;
            }
            if random.once_in(32) {
                frame.meta.remote = Some(IpAddr::from([192, 0, 2, 77]));
            }
        }
        frame.meta.malformed |= random.once_in(256);
        (id, frame)
    }

    /// Sends frames through a node, with time, new tables and policies in between.
    pub fn run(&mut self, node: &mut Node, frames: u64) {
        let mut sent = 0;
        while sent < frames {
            let batch = 1 + self.random.below(96);
            for _ in 0..batch {
                let (id, frame) = self.next();
                node.send(id, frame);
            }
            sent += batch as u64;
            while node.worker.has_ready() {
                node.worker.turn(node.now);
            }
            for wire in &node.wires {
                wire.discard();
            }
            node.now += self.random.below(3) as u64;
            if self.random.once_in(64) {
                node.now += self.random.below(40_000) as u64;
                node.flows.sweep(node.now, usize::MAX, |_| {});
            }
            if self.random.once_in(32) {
                node.publish(|_| {});
            }
            node.check();
        }
    }
}

fn ip_at(id: InterfaceId) -> usize {
    match id {
        HOST | IPIP => 0,
        VXLAN4 | VXLAN6 => 22,
        _ => 14,
    }
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, ip: usize) {
    if bytes.is_empty() {
        return;
    }
    // Most damage where headers are.
    let near = if random.once_in(4) {
        bytes.len()
    } else {
        bytes.len().min(ip + 64)
    };
    let at = random.below(near);
    match random.below(10) {
        0..3 => bytes[at] ^= 1 << random.below(8),
        3..5 => bytes[at] = *random.pick(&INTERESTING),
        5 => bytes[at] = random.next() as u8,
        6 => bytes.truncate(at),
        7 => {
            let more = random.below(64);
            let extra = random.bytes(more);
            bytes.splice(at..at, extra);
        }
        8 => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        9 => {
            let from = random.below(bytes.len());
            let length = (1 + random.below(16))
                .min(bytes.len() - at)
                .min(bytes.len() - from);
            bytes.copy_within(from..from + length, at);
        }
        _ => unreachable!("a number below ten"),
    }
    bytes.truncate(FRAME_MAX);
}

/// Makes lengths and the header's checksum right again, so that damage goes deeper.
fn repair(bytes: &mut [u8], at: usize) {
    let Some(ip) = bytes.get_mut(at..) else {
        return;
    };
    let length = ip.len();
    match ip.first().map(|byte| byte >> 4) {
        Some(4) if length >= 20 => {
            ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            let header = (usize::from(ip[0] & 0xf) * 4).clamp(20, length);
            let sum = encap::checksum::ipv4_header(&ip[..header]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Some(6) if length >= 40 => {
            ip[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
        }
        _ => {}
    }
}

fn offload(random: &mut Random, length: usize) -> Offload {
    let small = |random: &mut Random| {
        if random.once_in(4) {
            random.next() as u16
        } else {
            random.below(length + 2) as u16
        }
    };
    let partial = Partial {
        start: *random.pick(&[0, 14, 20, 34, 40, 54, 60, 74]),
        offset: *random.pick(&[0, 2, 6, 10, 16]),
    };
    let partial = if random.once_in(2) {
        Partial {
            start: small(random),
            offset: small(random),
        }
    } else {
        partial
    };
    match random.below(4) {
        0 => Offload::None,
        1 => Offload::Verified,
        2 => Offload::Partial(partial),
        _ => Offload::Segmented(
            partial,
            Gso {
                kind: *random.pick(&[GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::UdpL4]),
                ecn: random.once_in(4),
                header_len: small(random),
                size: NonZeroU16::new(small(random)).unwrap_or(NonZeroU16::MIN),
            },
        ),
    }
}

/// Good frames of every kind and for every entry.
pub fn corpus() -> Vec<(InterfaceId, Frame)> {
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        let here = |number| address(family, 1, number);
        let there = address(family, 2, 1);
        let gateway: IpAddr = match family {
            Family::V4 => GATEWAY_V4.into(),
            Family::V6 => GATEWAY_V6.into(),
        };
        let nowhere: IpAddr = match family {
            Family::V4 => [203, 0, 113, 9].into(),
            Family::V6 => [0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1].into(),
        };
        for to in [here(2), here(0), here(9), there, gateway, nowhere] {
            for packet in kinds(here(1), to) {
                let frame = packets::ethernet(mac(1, 1), &packet);
                all.push((pod(1), Frame::new(frame)));
            }
            for (packet, size) in supers(here(1), to) {
                all.push((pod(1), packets::offloaded_frame(mac(1, 1), packet, size)));
            }
        }
        for from in [here(0), there, nowhere] {
            for packet in kinds(from, here(2)) {
                all.push((HOST, Frame::new(packet)));
            }
        }
        let remote = Some(underlay(family, 2));
        let (tunnel, to_us) = match family {
            Family::V4 => (VXLAN4, vtep(1, Family::V4)),
            Family::V6 => (VXLAN6, vtep(1, Family::V6)),
        };
        for packet in kinds(there, here(1))
            .into_iter()
            .chain(kinds(nowhere, here(2)))
        {
            all.push((
                tunnel,
                vxlan(family, to_us, std::slice::from_ref(&packet), remote),
            ));
            if family == Family::V4 {
                let meta = Meta {
                    remote,
                    ..Meta::default()
                };
                all.push((
                    IPIP,
                    Frame {
                        bytes: packet,
                        meta,
                    },
                ));
            }
        }
        let train: Vec<_> = (0..5)
            .map(|i| packets::tcp(there, here(1), (80, 4000), i * 100, ACK, &[7; 100]))
            .collect();
        all.push((tunnel, vxlan(family, to_us, &train, remote)));
    }
    all.push((pod(1), Frame::new(arp())));
    all.push((pod(1), Frame::new(solicitation())));
    all
}

fn kinds(from: IpAddr, to: IpAddr) -> Vec<Vec<u8>> {
    let ask = packets::udp(to, from, (53, 4000), &[1; 30]);
    let (unreachable, too_big) = if from.is_ipv4() {
        ((3, 1), (3, 4))
    } else {
        ((1, 0), (2, 0))
    };
    let mut all = vec![
        packets::udp(from, to, (4000, 53), &[1; 30]),
        packets::udp(from, to, (4000, 53), &[1; 1600]),
        packets::tcp(from, to, (4000, 80), 1, SYN, &[]),
        packets::tcp(from, to, (4000, 80), 2, ACK, &[2; 600]),
        packets::tcp(from, to, (4000, 80), 602, FIN | ACK, &[]),
        packets::tcp(from, to, (4000, 80), 1, RST, &[]),
        packets::echo(from, to, 9, false, &[3; 56]),
        packets::echo(from, to, 9, true, &[3; 56]),
        packets::error(from, to, unreachable.0, unreachable.1, 0, &ask),
        packets::error(from, to, too_big.0, too_big.1, 1400, &ask),
        packets::raw(from, to, 47, &[0; 40]),
        packets::raw(from, to, 132, &[0; 40]),
        packets::raw(from, to, 4, &ask),
        packets::with_ttl(packets::udp(from, to, (4000, 54), &[1; 30]), 1),
        packets::with_tos(packets::udp(from, to, (4000, 55), &[1; 30]), 3),
    ];
    all.extend(fragments(
        &packets::udp(from, to, (4000, 56), &[5; 3000]),
        1200,
    ));
    if from.is_ipv6() {
        // Hop-by-hop, destination options and a routing header before UDP.
        let inner = packets::udp(from, to, (4000, 57), &[1; 30]);
        let mut long = inner[..40].to_vec();
        long[6] = 0;
        long.extend([60, 0, 1, 4, 0, 0, 0, 0]);
        long.extend([43, 0, 1, 4, 0, 0, 0, 0]);
        long.extend([17, 0, 4, 0, 0, 0, 0, 0]);
        long.extend(&inner[40..]);
        let length = (long.len() - 40) as u16;
        long[4..6].copy_from_slice(&length.to_be_bytes());
        all.push(long);
    }
    all
}

fn supers(from: IpAddr, to: IpAddr) -> Vec<(Vec<u8>, Option<u16>)> {
    vec![
        (packets::udp(from, to, (4000, 60), &[1; 300]), None),
        (packets::tcp(from, to, (4000, 61), 1, ACK, &[1; 300]), None),
        (
            packets::tcp(from, to, (4000, 61), 301, ACK, &[1; 9000]),
            Some(1300),
        ),
        (
            packets::tcp(from, to, (4000, 61), 9301, ACK, &[1; 9000]),
            Some(1448),
        ),
        (packets::udp(from, to, (4000, 62), &[1; 4000]), Some(1000)),
        (packets::udp(from, to, (4000, 62), &[1; 4000]), Some(1600)),
    ]
}

/// Fragments of a packet, made by hand; `each` is the payload of one.
pub fn fragments(packet: &[u8], each: usize) -> Vec<Vec<u8>> {
    let head = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let each = each & !7;
    let data = &packet[head..];
    let pieces = data.chunks(each).enumerate();
    pieces
        .map(|(i, piece)| {
            let more = (i + 1) * each < data.len();
            let mut out = packet[..head].to_vec();
            if head == 20 {
                let length = (20 + piece.len()) as u16;
                out[2..4].copy_from_slice(&length.to_be_bytes());
                let field = (i * each / 8) as u16 | if more { 0x2000 } else { 0 };
                out[6..8].copy_from_slice(&field.to_be_bytes());
                out = packets::change(out, |_| {});
            } else {
                let length = (8 + piece.len()) as u16;
                out[4..6].copy_from_slice(&length.to_be_bytes());
                let next = std::mem::replace(&mut out[6], 44);
                let field = (i * each) as u16 | u16::from(more);
                out.extend([next, 0]);
                out.extend(field.to_be_bytes());
                out.extend([0, 0, 0, 5]);
            }
            out.extend(piece);
            out
        })
        .collect()
}

/// A VXLAN datagram, or several of equal size (the last may be shorter).
pub fn vxlan(family: Family, to: [u8; 6], inner: &[Vec<u8>], remote: Option<IpAddr>) -> Frame {
    let mut bytes = Vec::new();
    for packet in inner {
        bytes.extend([8, 0, 0, 0, 0, 0x10, 0, 0]);
        let kind: u16 = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
        bytes.extend(packets::link(vtep(2, family), to, kind, packet));
    }
    let each = inner.first().map_or(0, |packet| packet.len() + 22);
    Frame {
        bytes,
        meta: Meta {
            remote,
            segment: if inner.len() > 1 { each as u16 } else { 0 },
            ..Meta::default()
        },
    }
}

/// Workload 1 asks for its gateway's MAC.
pub fn arp() -> Vec<u8> {
    let mut bytes = packets::link(mac(1, 1), [0xff; 6], 0x0806, &[]);
    bytes.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend(mac(1, 1));
    bytes.extend([10, 65, 1, 1]);
    bytes.extend([0; 6]);
    bytes.extend(GATEWAY_V4.octets());
    bytes
}

/// The same by neighbor discovery.
pub fn solicitation() -> Vec<u8> {
    let IpAddr::V6(from) = address(Family::V6, 1, 1) else {
        unreachable!("asked for IPv6")
    };
    let tail = GATEWAY_V6.octets();
    let group = [
        0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, tail[13], tail[14], tail[15],
    ];
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(tail);
    message.extend([1, 1]);
    message.extend(mac(1, 1));
    let pseudo = encap::checksum::pseudo_v6(from, group.into(), 58, message.len() as u32);
    let sum = (pseudo + encap::checksum::sum(&message)).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let packet = packets::raw(from.into(), IpAddr::from(group), 58, &message);
    let to = [0x33, 0x33, group[12], group[13], group[14], group[15]];
    packets::link(mac(1, 1), to, 0x86dd, &packets::with_ttl(packet, 255))
}

/// What is never sent to another workload's link.
pub fn is_to_gateway(frame: &[u8]) -> bool {
    frame.get(..6) == Some(&GATEWAY_MAC[..])
}
