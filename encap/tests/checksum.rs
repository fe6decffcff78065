//! Checksums against the definition in RFC 1071 and against smoltcp's and etherparse's.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr};

use encap::checksum::{
    ChecksumError, Delta, Sum, complete, copy_and_sum, ipv4_header, pseudo_v4, pseudo_v6, sum,
    update_u16, update_u32, verify,
};
use encap::ip::Layers;
use encap::offload::{Offload, Partial};
use encap::protocol::{TCP, UDP};
use proptest::prelude::*;
use smoltcp::wire::{IpAddress, IpProtocol, TcpPacket, UdpPacket};
use support::{any_tcp, checksums_right, payload};

/// RFC 1071 section 4.1, word by word: the slow reference.
fn reference(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn rfc_1071_example() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(sum(&bytes).fold(), 0xddf2);
}

#[test]
fn rfc_1624_example() {
    // Section 4: the case in which equation 2 gives -0.
    assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

#[test]
fn long_runs_of_ones_do_not_overflow() {
    let bytes = vec![0xff; 1 << 17];
    assert_eq!(sum(&bytes).fold(), 0xffff);
    let one = sum(&bytes);
    let many = (0..1000).fold(Sum::ZERO, |total, _| total + one + total);
    assert_eq!(many.fold(), 0xffff);
}

proptest! {
    #[test]
    fn fast_equals_slow(bytes in proptest::collection::vec(any::<u8>(), 0..3000), skip in 0usize..8) {
        let bytes = &bytes[skip.min(bytes.len())..];
        prop_assert_eq!(sum(bytes).fold(), reference(bytes));
    }

    #[test]
    fn copying_sums_what_it_copies(
        source in proptest::collection::vec(any::<u8>(), 0..3000),
        room in 0usize..3000,
    ) {
        let mut target = vec![0xa5; room];
        let total = copy_and_sum(&mut target, &source);
        let copied = room.min(source.len());
        prop_assert_eq!(&target[..copied], &source[..copied]);
        prop_assert!(target[copied..].iter().all(|byte| *byte == 0xa5));
        prop_assert_eq!(total.fold(), reference(&source[..copied]));
    }

    #[test]
    fn sums_of_parts_add(bytes in proptest::collection::vec(any::<u8>(), 0..500), cut in 0usize..500) {
        let (left, right) = bytes.split_at(cut.min(bytes.len()));
        let right = if left.len() % 2 == 0 { sum(right) } else { sum(right).at_odd_offset() };
        prop_assert_eq!((sum(left) + right).fold(), reference(&bytes));
    }

    #[test]
    fn words_add_as_bytes(a in any::<u16>(), b in any::<u32>()) {
        let mut bytes = a.to_be_bytes().to_vec();
        bytes.extend_from_slice(&b.to_be_bytes());
        prop_assert_eq!(Sum::ZERO.add_u16(a).add_u32(b).fold(), reference(&bytes));
    }

    #[test]
    fn an_update_equals_summing_again(
        mut bytes in proptest::collection::vec(any::<u8>(), 64..=64),
        word in 0usize..30,
        new in any::<u32>(),
    ) {
        bytes[63] = 1;
        let at = word * 2;
        let before = sum(&bytes).checksum();
        let old16 = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let old32 = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut changed = bytes.clone();
        changed[at..at + 2].copy_from_slice(&(new as u16).to_be_bytes());
        prop_assert_eq!(update_u16(before, old16, new as u16), sum(&changed).checksum());
        changed[at..at + 4].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(update_u32(before, old32, new), sum(&changed).checksum());
        let partial = sum(&bytes).fold();
        prop_assert_eq!(
            Delta::default().u32(old32, new).apply_partial(partial),
            sum(&changed).fold()
        );
    }

    #[test]
    fn addresses_update_a_packet(packet in any_tcp(100), new in any::<u128>(), udp in any::<bool>()) {
        let mut bytes = if udp { packet.build_udp() } else { packet.build() };
        let field = packet.ip_len() + if udp { 6 } else { 16 };
        let old = u16::from_be_bytes([bytes[field], bytes[field + 1]]);
        let delta = if packet.v6 {
            let from: [u8; 16] = bytes[8..24].try_into().unwrap();
            bytes[8..24].copy_from_slice(&new.to_be_bytes());
            Delta::default().ipv6(Ipv6Addr::from(from), Ipv6Addr::from(new))
        } else {
            let from: [u8; 4] = bytes[12..16].try_into().unwrap();
            let new = Ipv4Addr::from(new as u32);
            bytes[12..16].copy_from_slice(&new.octets());
            let delta = Delta::default().ipv4(Ipv4Addr::from(from), new);
            let header = u16::from_be_bytes([bytes[10], bytes[11]]);
            bytes[10..12].copy_from_slice(&delta.apply(header).to_be_bytes());
            delta
        };
        let checksum = if udp { delta.apply_udp(old) } else { delta.apply(old) };
        bytes[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        prop_assert!(checksums_right(&bytes));
    }

    #[test]
    fn verify_accepts_what_etherparse_made_and_no_flipped_bit(
        packet in any_tcp(200),
        udp in any::<bool>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut bytes = if udp { packet.build_udp() } else { packet.build() };
        prop_assert!(verify(&bytes, 0).is_ok());
        let l4 = packet.ip_len();
        // Not UDP's length and checksum: a zero checksum is "none".
        let start = if udp { l4 + 8 } else { l4 };
        if bytes.len() > start {
            let bit = bit.index((bytes.len() - start) * 8);
            bytes[start + bit / 8] ^= 1 << (bit % 8);
            // The data offset nibble moves nothing: the sum covers the whole segment.
            prop_assert_eq!(verify(&bytes, 0), Err(ChecksumError::Transport));
        }
    }

    #[test]
    fn smoltcp_agrees(packet in any_tcp(300), udp in any::<bool>()) {
        let mut bytes = if udp { packet.build_udp() } else { packet.build() };
        let (source, destination) = if packet.v6 {
            let at = |from: usize| IpAddress::Ipv6(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[from..from + 16]).unwrap()));
            (at(8), at(24))
        } else {
            let at = |from: usize| IpAddress::Ipv4(Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[from..from + 4]).unwrap()));
            (at(12), at(16))
        };
        let l4 = packet.ip_len();
        let (field, protocol) = if udp { (6, IpProtocol::Udp) } else { (16, IpProtocol::Tcp) };
        let length = bytes.len() - l4;
        let pseudo = match (source, destination) {
            (IpAddress::Ipv4(a), IpAddress::Ipv4(b)) => pseudo_v4(a, b, protocol.into(), length as u16),
            (IpAddress::Ipv6(a), IpAddress::Ipv6(b)) => pseudo_v6(a, b, protocol.into(), length as u32),
            _ => unreachable!("both are of the packet's version"),
        };
        bytes[l4 + field..l4 + field + 2].copy_from_slice(&pseudo.fold().to_be_bytes());
        let partial = Partial { start: l4 as u16, offset: field as u16 };
        prop_assert_eq!(complete(&mut bytes, Offload::Partial(partial)), Ok(Offload::Verified));
        let segment = &bytes[l4..];
        if udp {
            prop_assert!(UdpPacket::new_unchecked(segment).verify_checksum(&source, &destination));
            prop_assert!(segment[6..8] != [0, 0]);
        } else {
            prop_assert!(TcpPacket::new_unchecked(segment).verify_checksum(&source, &destination));
        }
        prop_assert!(verify(&bytes, 0).is_ok());
        prop_assert!(checksums_right(&bytes));
    }

    #[test]
    fn icmp_is_verified(length in 0usize..100, seed in any::<u8>(), v6 in any::<bool>()) {
        let body = payload(length, seed);
        let mut packet = Vec::new();
        if v6 {
            let (a, b) = ([1; 16], [2; 16]);
            etherparse::PacketBuilder::ipv6(a, b, 9).icmpv6_echo_request(1, 2).write(&mut packet, &body).unwrap();
        } else {
            etherparse::PacketBuilder::ipv4([1; 4], [2; 4], 9).icmpv4_echo_request(1, 2).write(&mut packet, &body).unwrap();
        }
        prop_assert!(verify(&packet, 0).is_ok());
        let last = packet.len() - 1;
        packet[last] ^= 1;
        prop_assert_eq!(verify(&packet, 0), Err(ChecksumError::Transport));
    }

    #[test]
    fn ipv4_header_equals_etherparse(packet in any_tcp(10)) {
        let mut packet = packet;
        packet.v6 = false;
        let mut bytes = packet.build();
        prop_assert_eq!(ipv4_header(&bytes[..20]).to_be_bytes(), [bytes[10], bytes[11]]);
        bytes[8] ^= 1;
        prop_assert_eq!(verify(&bytes, 0), Err(ChecksumError::Ipv4Header));
    }

    #[test]
    fn nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        l3 in 0usize..220,
        start in any::<u16>(),
        offset in any::<u16>(),
        small in any::<bool>(),
    ) {
        let (start, offset) = if small { (start % 64, offset % 20) } else { (start, offset) };
        let _ = verify(&bytes, l3);
        let _ = ipv4_header(&bytes);
        let mut bytes = bytes;
        let _ = complete(&mut bytes, Offload::Partial(Partial { start, offset }));
    }

    #[test]
    fn headers_with_arbitrary_bodies_do_not_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 20..200),
        v6 in any::<bool>(),
        protocol in prop::sample::select(vec![0u8, 1, 6, 17, 43, 44, 51, 58, 59, 60]),
    ) {
        bytes[0] = if v6 { 0x60 } else { 0x40 | bytes[0] & 0xf };
        let length = bytes.len();
        if v6 {
            let length = length.saturating_sub(40) as u16;
            bytes[4..6].copy_from_slice(&length.to_be_bytes());
            bytes[6] = protocol;
        } else {
            bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            bytes[9] = protocol;
        }
        let _ = verify(&bytes, 0);
        if let Ok(layers) = Layers::parse(&bytes, 0) {
            prop_assert!(layers.l3 < layers.l4 && layers.l4 <= layers.end && layers.end <= length);
            let _ = layers.tcp_header_len(&bytes);
            let _ = layers.flow_hash(&bytes);
            let _ = encap::checksum::verify_transport(&bytes[..length / 2], &layers);
        }
    }
}

#[test]
fn udp_without_checksum_passes_over_ipv4_only() {
    let mut packet = support::Tcp {
        payload: vec![1, 2, 3],
        ..support::Tcp::default()
    };
    let mut bytes = packet.build_udp();
    bytes[26..28].copy_from_slice(&[0, 0]);
    assert!(verify(&bytes, 0).is_ok());
    packet.v6 = true;
    let mut bytes = packet.build_udp();
    bytes[46..48].copy_from_slice(&[0, 0]);
    assert_eq!(verify(&bytes, 0), Err(ChecksumError::Transport));
    assert_eq!(Delta::default().u16(1, 2).apply_udp(0), 0);
    assert_eq!((TCP, UDP), (6, 17));
}
