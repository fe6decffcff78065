//! Outer headers on the underlay, made and read with etherparse.

use encap::Tunnel;
use etherparse::{IpNumber, Ipv4Header, Ipv4HeaderSlice, UdpHeader, UdpHeaderSlice};

use super::session::PORTS;
use crate::world::packets;
use crate::world::random::Random;

/// A packet that another node sent, as the underlay's interface sees it.
pub(super) struct FromNode {
    /// Ethernet frame.
    pub(super) frame: Vec<u8>,
    /// Outer source and TOS, for the worker.
    pub(super) source: [u8; 4],
    pub(super) tos: u8,
    /// What is behind the outer IP and UDP headers.
    pub(super) payload: Vec<u8>,
}

impl FromNode {
    /// The payload in an outer packet that may be odd.
    pub(super) fn new(tunnel: Tunnel, mut payload: Vec<u8>, random: &mut Random) -> Self {
        let tos = if random.once_in(8) {
            random.next() as u8
        } else {
            0
        };
        let source = [192, 0, 2, if random.once_in(32) { 9 } else { 2 }];
        let is_vxlan = tunnel != Tunnel::Ipip;
        if is_vxlan && random.once_in(16) {
            let at = random.below(payload.len().min(22));
            payload[at] ^= 1 << random.below(8);
        }
        let mut behind = Vec::new();
        if is_vxlan {
            let mut udp =
                UdpHeader::without_ipv4_checksum(PORTS.0, PORTS.1, payload.len()).unwrap();
            // A sender may sum what it sends.
            udp.checksum = if random.once_in(3) { 0x1234 } else { 0 };
            if random.once_in(32) {
                udp.length = udp.length.wrapping_add(1);
            }
            behind.extend(udp.to_bytes());
        }
        behind.extend(&payload);
        let mut ip = Ipv4Header {
            time_to_live: 1 + random.below(64) as u8,
            protocol: if is_vxlan {
                IpNumber::UDP
            } else {
                IpNumber::IPV4
            },
            source,
            destination: [192, 0, 2, 1],
            total_len: (20 + behind.len()) as u16,
            dont_fragment: !random.once_in(8),
            more_fragments: random.once_in(32),
            ..Default::default()
        };
        ip.dscp = (tos >> 2).try_into().unwrap();
        ip.ecn = (tos & 3).try_into().unwrap();
        if random.once_in(32) {
            ip.destination[3] = 7;
        }
        ip.header_checksum = ip.calc_header_checksum();
        let mut packet = ip.to_bytes().to_vec();
        packet.extend(behind);
        if random.once_in(32) {
            packet.extend([0; 3]);
        }
        Self {
            frame: packets::link([2, 0, 0, 0, 9, 2], [2, 0, 0, 0, 9, 1], 0x0800, &packet),
            source,
            tos,
            payload,
        }
    }
}

/// What stands behind the outer IP and UDP headers of a packet to the other node, whose fields are as they
/// have to be; `inner` says how long the inner packet is, its TOS and its hops.
pub(super) fn read(tunnel: Tunnel, packet: &[u8], inner: (usize, u8, u8)) -> &[u8] {
    let (len, tos, hops) = inner;
    let ip = Ipv4HeaderSlice::from_slice(packet).unwrap();
    let header = ip.to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(
        (ip.source(), ip.destination()),
        ([192, 0, 2, 1], [192, 0, 2, 2])
    );
    assert!(ip.dont_fragment() && !ip.more_fragments());
    assert_eq!(usize::from(ip.total_len()), packet.len());
    let ecn = if tos & 3 == 3 { 2 } else { tos & 3 };
    assert_eq!((ip.dcp().value(), ip.ecn().value()), (0, ecn));
    let behind = &packet[ip.slice().len()..];
    if tunnel == Tunnel::Ipip {
        assert_eq!((ip.protocol(), ip.ttl()), (IpNumber::IPV4, hops));
        assert_eq!(behind.len(), len);
        return behind;
    }
    assert_eq!((ip.protocol(), ip.ttl()), (IpNumber::UDP, 64));
    let udp = UdpHeaderSlice::from_slice(behind).unwrap();
    assert_eq!((udp.source_port(), udp.destination_port()), PORTS);
    assert_eq!(
        (usize::from(udp.length()), udp.checksum()),
        (behind.len(), 0)
    );
    assert_eq!(behind.len(), 8 + 8 + 14 + len);
    &behind[8..]
}
