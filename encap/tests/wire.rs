//! Headers written here are read by others, and the other way round.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

use std::net::IpAddr;

use encap::checksum;
use encap::fragment::PlanV6;
use encap::icmp::{Error, ErrorRepr, reply_to_echo};
use encap::ip::{Ends, HeaderError, Headers, Part, Quoted, Repr, Transport};
use encap::reassemble::{Limits, Reassembler};
use encap::{Family, protocol, tcp, udp};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket};
use proptest::prelude::*;

fn any_ends() -> impl Strategy<Value = Ends> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>());
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>());
    prop_oneof![
        v4.prop_map(|(a, b)| Ends::V4(a.into(), b.into())),
        v6.prop_map(|(a, b)| Ends::V6(a.into(), b.into())),
    ]
}

fn udp_packet(ends: Ends, payload: &[u8]) -> Vec<u8> {
    let builder = match ends {
        Ends::V4(from, to) => PacketBuilder::ipv4(from.octets(), to.octets(), 9),
        Ends::V6(from, to) => PacketBuilder::ipv6(from.octets(), to.octets(), 9),
    };
    let mut bytes = Vec::new();
    builder.udp(1000, 53).write(&mut bytes, payload).unwrap();
    bytes
}

proptest! {
    #[test]
    fn a_header_made_here_is_read_by_etherparse(
        ends in any_ends(), tos: u8, ttl in 1u8.., identification: u16, dont_fragment: bool,
        payload in proptest::collection::vec(any::<u8>(), 8..60),
    ) {
        let header = Repr {
            tos,
            ttl,
            identification,
            dont_fragment,
            ..Repr::new(ends, protocol::SCTP, payload.len())
        };
        let mut bytes = vec![0xff; header.buffer_len()];
        header.emit(&mut bytes);
        bytes.extend(&payload);
        let sliced = SlicedPacket::from_ip(&bytes).unwrap();
        match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let read = ip.header();
                prop_assert_eq!(read.source_addr(), ends.addresses().0);
                prop_assert_eq!(read.destination_addr(), ends.addresses().1);
                prop_assert_eq!((read.ttl(), read.identification()), (ttl, identification));
                prop_assert_eq!(read.dcp().value() << 2 | read.ecn().value(), tos);
                prop_assert_eq!(read.dont_fragment(), dont_fragment);
                prop_assert_eq!(read.header_checksum(), read.to_header().calc_header_checksum());
            }
            NetSlice::Ipv6(ip) => {
                let read = ip.header();
                prop_assert_eq!(read.source_addr(), ends.addresses().0);
                prop_assert_eq!(read.destination_addr(), ends.addresses().1);
                prop_assert_eq!((read.hop_limit(), read.traffic_class()), (ttl, tos));
            }
            NetSlice::Arp(_) => prop_assert!(false),
        }
        let read = Headers::parse(&bytes).unwrap();
        prop_assert_eq!(read.ends(), Some(ends));
        prop_assert_eq!((read.tos, read.ttl, read.protocol), (tos, ttl, protocol::SCTP));
        prop_assert_eq!(read.length, bytes.len());
    }

    #[test]
    fn a_quote_says_its_flow(ends in any_ends(), keep in 0usize..80) {
        let bytes = udp_packet(ends, &[7; 30]);
        let quoted = Quoted::parse(&bytes[..keep.min(bytes.len())]);
        let needed = ends.family().header_len() + 8;
        prop_assert_eq!(quoted.is_some(), keep >= needed);
        if let Some(quoted) = quoted {
            prop_assert_eq!((quoted.source, quoted.destination), ends.addresses());
            prop_assert_eq!((quoted.source_port, quoted.destination_port), (1000, 53));
        }
    }

    #[test]
    fn an_error_is_summed_and_quotes(ends in any_ends(), length in 0usize..3000, mtu: u16) {
        let offending = udp_packet(ends, &vec![1; length]);
        let repr = ErrorRepr::new(ends, Error::TooBig { mtu }, &offending);
        let mut bytes = vec![0xaa; repr.buffer_len()];
        repr.emit(&mut bytes);
        prop_assert!(checksum::verify(&bytes, 0).is_ok());
        let headers = Headers::parse(&bytes).unwrap();
        let is_error = matches!(headers.transport, Transport::IcmpError { .. });
        prop_assert!(is_error);
        let quoted = Quoted::parse(&bytes[headers.transport_at + 8..]).unwrap();
        prop_assert_eq!(quoted.destination_port, 53);
    }

    #[test]
    fn ipv6_cut_and_joined_is_the_same(length in 1usize..4000, mtu in 120usize..1500) {
        let ends = Ends::V6([1; 16].into(), [2; 16].into());
        let packet = udp_packet(ends, &vec![5; length]);
        let plan = PlanV6::new(&packet, mtu, 77).unwrap();
        let mut reassembler = Reassembler::new(Limits::default());
        let mut joined = None;
        for i in 0..plan.count() {
            let mut out = vec![0; 2000];
            let bytes = plan.write(i, &packet, &mut out).unwrap();
            prop_assert!(bytes <= mtu);
            out.truncate(bytes);
            joined = reassembler.push(&out, 0, 0).unwrap().map(|whole| whole.to_vec());
        }
        prop_assert_eq!(joined, Some(packet));
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), first in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60])) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        let _ = Quoted::parse(&bytes);
        let _ = PlanV6::new(&bytes, 100, 1);
        encap::ip::clear_dont_fragment(&mut bytes);
        if let Ok(headers) = Headers::parse(&bytes) {
            prop_assert_eq!(headers.layers(), encap::ip::Layers::parse(&bytes, 0).unwrap());
            prop_assert!(headers.transport_at <= headers.payload_at);
            prop_assert!(headers.payload_at <= headers.length);
            let _ = headers.to_string();
            reply_to_echo(&headers, &mut bytes);
        }
    }
}

#[test]
fn hop_by_hop_options_stand_first_or_not_at_all() {
    let packet = udp_packet(Ends::V6([1; 16].into(), [2; 16].into()), &[0; 8]);
    let with = |chain: &[u8], first: u8| {
        let mut bytes = packet[..40].to_vec();
        bytes[6] = first;
        bytes.extend(chain);
        bytes.extend(&packet[40..]);
        let length = (bytes.len() - 40) as u16;
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        Headers::parse(&bytes).map(|headers| headers.destination_port)
    };
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    assert_eq!(with(&options(17), 0), Ok(53));
    let chain = [options(0), options(17)].concat();
    assert_eq!(with(&chain, 60), Err(HeaderError::Extension));
}

#[test]
fn df_is_taken_off_and_the_sum_stays_right() {
    let ends = Ends::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let mut packet = udp_packet(ends, b"x");
    packet[6] |= 0x40;
    let sum = checksum::ipv4_header(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    assert!(Headers::parse(&packet).unwrap().dont_fragment);
    encap::ip::clear_dont_fragment(&mut packet);
    assert!(!Headers::parse(&packet).unwrap().dont_fragment);
}

#[test]
fn headers_print_as_people_write_them() {
    let ends = Ends::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let headers = Headers::parse(&udp_packet(ends, b"abc")).unwrap();
    assert_eq!(
        headers.to_string(),
        "10.0.0.1:1000 > 10.0.0.2:53 udp ttl 9 length 31"
    );
    assert_eq!(tcp::Flags(tcp::SYN | tcp::ACK).to_string(), "SYN|ACK");
    assert_eq!(Family::from(IpAddr::from([0; 16])).to_string(), "IPv6");
    assert_eq!(headers.part, Part::Whole);
    let repr = udp::Repr {
        source: 1,
        destination: 2,
        payload_len: 3,
        checksum: 0,
    };
    assert_eq!(repr.to_string(), "udp 1 > 2 length 3");
}
