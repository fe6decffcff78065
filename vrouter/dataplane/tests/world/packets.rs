//! Packets made with etherparse, and held to smoltcp's idea of a right checksum.

use std::net::IpAddr;
use std::num::NonZeroU16;

use encap::offload::{Gso, GsoKind, Offload, Partial};
use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader, TcpOptionElement, ip_number};
use smoltcp::wire;
use vrouter_dataplane::adjacency::{GATEWAY_MAC, Mac};
use vrouter_dataplane::buffer::Meta;
use vrouter_dataplane::memory::Frame;

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const PSH: u8 = 0x08;
pub const FIN: u8 = 0x01;
pub const RST: u8 = 0x04;

/// Time to live of everything made here.
pub const TTL: u8 = 60;

fn ip(from: IpAddr, to: IpAddr) -> PacketBuilderStep<etherparse::IpHeaders> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = etherparse::Ipv4Header {
                time_to_live: TTL,
                source: from.octets(),
                destination: to.octets(),
                identification: 7,
                ..Default::default()
            };
            header.dont_fragment = true;
            PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), TTL),
        _ => panic!("one version for both addresses"),
    }
}

pub fn udp(from: IpAddr, to: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let step = ip(from, to).udp(ports.0, ports.1);
    step.write(&mut bytes, payload).unwrap();
    bytes
}

pub fn tcp(
    from: IpAddr,
    to: IpAddr,
    ports: (u16, u16),
    seq: u32,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, seq, 65_000);
    header.acknowledgment_number = 1;
    header.fin = flags & FIN != 0;
    header.syn = flags & SYN != 0;
    header.rst = flags & RST != 0;
    header.psh = flags & PSH != 0;
    header.ack = flags & ACK != 0;
    let mut bytes = Vec::new();
    let step = ip(from, to).tcp_header(header);
    step.write(&mut bytes, payload).unwrap();
    bytes
}

/// A SYN, or with `ACK` the answer to one, that announces a segment size.
pub fn syn(from: IpAddr, to: IpAddr, ports: (u16, u16), flags: u8, mss: u16) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, 1, 65_000);
    header.syn = true;
    header.ack = flags & ACK != 0;
    header
        .set_options(&[
            TcpOptionElement::Noop,
            TcpOptionElement::MaximumSegmentSize(mss),
        ])
        .unwrap();
    let mut bytes = Vec::new();
    ip(from, to)
        .tcp_header(header)
        .write(&mut bytes, &[])
        .unwrap();
    bytes
}

/// The segment size a SYN announces.
pub fn announced(packet: &[u8]) -> u16 {
    let (_, tcp) = packet.split_at(if packet[0] >> 4 == 4 { 20 } else { 40 });
    let tcp = wire::TcpPacket::new_checked(tcp).unwrap();
    let mut options = tcp.options();
    while !options.is_empty() {
        let (rest, option) = wire::TcpOption::parse(options).unwrap();
        if let wire::TcpOption::MaxSegmentSize(mss) = option {
            return mss;
        }
        options = rest;
    }
    panic!("no segment size")
}

/// An echo request, or the reply to it.
pub fn echo(from: IpAddr, to: IpAddr, id: u16, reply: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let step = ip(from, to);
    match (from.is_ipv4(), reply) {
        (true, false) => step.icmpv4_echo_request(id, 1).write(&mut bytes, payload),
        (true, true) => step.icmpv4_echo_reply(id, 1).write(&mut bytes, payload),
        (false, false) => step.icmpv6_echo_request(id, 1).write(&mut bytes, payload),
        (false, true) => step.icmpv6_echo_reply(id, 1).write(&mut bytes, payload),
    }
    .unwrap();
    bytes
}

/// A packet of another protocol.
pub fn raw(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ip(from, to)
        .write(&mut bytes, protocol.into(), payload)
        .unwrap();
    bytes
}

/// An ICMP error that quotes a packet.
pub fn error(from: IpAddr, to: IpAddr, kind: u8, code: u8, word: u32, quote: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(quote);
    let (protocol, sum) = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (ip_number::ICMP, encap::checksum::sum(&message)),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let pseudo = encap::checksum::pseudo_v6(from, to, 58, message.len() as u32);
            (
                ip_number::IPV6_ICMP,
                pseudo + encap::checksum::sum(&message),
            )
        }
        _ => panic!("one version for both addresses"),
    };
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    raw(from, to, protocol.into(), &message)
}

/// A workload's frame to its gateway.
pub fn ethernet(from: Mac, ip: &[u8]) -> Vec<u8> {
    let kind: u16 = if ip[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    link(from, GATEWAY_MAC, kind, ip)
}

pub fn link(from: Mac, to: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from[..], &kind.to_be_bytes()[..], payload].concat()
}

/// Changes a packet's header and sums it again (IPv4).
pub fn change(mut packet: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut packet);
    if packet[0] >> 4 == 4 {
        let length = usize::from(packet[0] & 0xf) * 4;
        let sum = encap::checksum::ipv4_header(&packet[..length]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

pub fn with_ttl(packet: Vec<u8>, ttl: u8) -> Vec<u8> {
    change(packet, |p| {
        if p[0] >> 4 == 4 {
            p[8] = ttl;
        } else {
            p[7] = ttl;
        }
    })
}

/// Takes DF off.
pub fn fragmentable(packet: Vec<u8>) -> Vec<u8> {
    change(packet, |p| p[6] &= !0x40)
}

pub fn with_tos(packet: Vec<u8>, tos: u8) -> Vec<u8> {
    change(packet, |p| {
        assert!(encap::ecn::set_tos(p, tos));
    })
}

/// Leaves the checksum open, as a kernel does; `size` makes it a super-packet. `link` bytes stand
/// before the IP header.
pub fn offloaded(mut packet: Vec<u8>, size: Option<u16>, link_len: u16) -> (Vec<u8>, Offload) {
    let layers = encap::ip::Layers::parse(&packet, 0).unwrap();
    let (offset, kind, header) = match (layers.protocol, packet[0] >> 4) {
        (6, 4) => (16, GsoKind::Tcp4, 20),
        (6, _) => (16, GsoKind::Tcp6, 20),
        _ => (6, GsoKind::UdpL4, 8),
    };
    let length = layers.end - layers.l4;
    let pseudo = match addresses(&packet) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            encap::checksum::pseudo_v4(from, to, layers.protocol, length as u16)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            encap::checksum::pseudo_v6(from, to, layers.protocol, length as u32)
        }
        _ => unreachable!("one packet has one version"),
    };
    let at = layers.l4 + offset;
    packet[at..at + 2].copy_from_slice(&pseudo.fold().to_be_bytes());
    let start = layers.l4 as u16 + link_len;
    let partial = Partial {
        start,
        offset: offset as u16,
    };
    let offload = match size.and_then(NonZeroU16::new) {
        None => Offload::Partial(partial),
        Some(size) => Offload::Segmented(
            partial,
            Gso {
                kind,
                ecn: false,
                header_len: start + header,
                size,
            },
        ),
    };
    (packet, offload)
}

/// A workload's frame with its checksum open.
pub fn offloaded_frame(from: Mac, ip: Vec<u8>, size: Option<u16>) -> Frame {
    let (ip, offload) = offloaded(ip, size, 14);
    Frame {
        bytes: ethernet(from, &ip),
        meta: Meta {
            offload,
            ..Meta::default()
        },
    }
}

pub fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    if packet[0] >> 4 == 4 {
        let header = wire::Ipv4Packet::new_checked(packet).unwrap();
        (header.src_addr().into(), header.dst_addr().into())
    } else {
        let header = wire::Ipv6Packet::new_checked(packet).unwrap();
        (header.src_addr().into(), header.dst_addr().into())
    }
}

pub fn ttl(packet: &[u8]) -> u8 {
    encap::ecn::ttl(packet).unwrap()
}

/// Whether every checksum of a whole packet is right, as smoltcp sees it.
pub fn sums_are_right(packet: &[u8]) -> bool {
    let (from, to) = addresses(packet);
    let (protocol, payload) = if packet[0] >> 4 == 4 {
        let header = wire::Ipv4Packet::new_checked(packet).unwrap();
        if !header.verify_checksum() {
            return false;
        }
        if header.more_frags() || header.frag_offset() != 0 {
            return true;
        }
        (header.next_header(), header.payload())
    } else {
        let header = wire::Ipv6Packet::new_checked(packet).unwrap();
        (header.next_header(), header.payload())
    };
    let (from, to) = (from.into(), to.into());
    match protocol {
        wire::IpProtocol::Tcp => wire::TcpPacket::new_checked(payload)
            .unwrap()
            .verify_checksum(&from, &to),
        wire::IpProtocol::Udp => wire::UdpPacket::new_checked(payload)
            .unwrap()
            .verify_checksum(&from, &to),
        wire::IpProtocol::Icmp => wire::Icmpv4Packet::new_checked(payload)
            .unwrap()
            .verify_checksum(),
        wire::IpProtocol::Icmpv6 => match (from, to) {
            (wire::IpAddress::Ipv6(from), wire::IpAddress::Ipv6(to)) => {
                wire::Icmpv6Packet::new_checked(payload)
                    .unwrap()
                    .verify_checksum(&from, &to)
            }
            _ => false,
        },
        _ => true,
    }
}

/// The frames of a frame: one, or each segment of a super-packet, sums filled in.
pub fn on_the_wire(frame: &Frame, l3: usize) -> Vec<Vec<u8>> {
    let plan = encap::segment::Plan::new(&frame.bytes, l3, frame.meta.offload).unwrap();
    (0..plan.count())
        .map(|i| {
            let mut out = vec![0; plan.segment_len(i)];
            plan.write(i, &frame.bytes, &mut out).unwrap();
            out
        })
        .collect()
}

/// The datagrams of a tunnel's buffer.
pub fn datagrams(frame: &Frame) -> Vec<Vec<u8>> {
    match frame.meta.segment {
        0 => vec![frame.bytes.clone()],
        size => frame
            .bytes
            .chunks(size.into())
            .map(<[u8]>::to_vec)
            .collect(),
    }
}
