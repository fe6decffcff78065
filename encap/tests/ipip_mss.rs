//! IPIP headers and MSS clamping.

mod support;

use std::net::Ipv4Addr;

use encap::Family;
use encap::ip::Layers;
use encap::ipip::{self, IpipError};
use encap::offload::{Offload, Partial};
use encap::tcp_mss;
use proptest::prelude::*;
use support::{Tcp, any_tcp, checksums_right};

proptest! {
    #[test]
    fn ipip_round_trip(
        inner in any_tcp(200),
        source in any::<u32>(),
        destination in any::<u32>(),
        tos in any::<u8>(),
        ttl in any::<u8>(),
        identification in any::<u16>(),
        dont_fragment in any::<bool>(),
        padding in 0usize..10,
    ) {
        let v6 = inner.v6;
        let inner = inner.build();
        let repr = ipip::Repr {
            source: Ipv4Addr::from(source),
            destination: Ipv4Addr::from(destination),
            tos, ttl, identification, dont_fragment,
            payload_len: inner.len() as u16,
        };
        let mut outer = [0xff; 20];
        repr.emit(&mut outer);
        let header = etherparse::Ipv4Header::from_slice(&outer).unwrap().0;
        prop_assert_eq!(header.calc_header_checksum(), header.header_checksum);
        prop_assert_eq!(header.protocol, etherparse::IpNumber::IPV4);
        prop_assert_eq!(header.source, repr.source.octets());
        prop_assert_eq!(header.dont_fragment, dont_fragment);
        let mut bytes = outer.to_vec();
        bytes.extend_from_slice(&inner);
        bytes.resize(bytes.len() + padding, 0);
        match ipip::Packet::new_checked(&bytes) {
            Ok(packet) => {
                prop_assert!(!v6);
                prop_assert_eq!(packet.payload(), &inner[..]);
                prop_assert_eq!(ipip::Repr::parse(&packet), repr);
            }
            Err(error) => {
                prop_assert!(v6);
                prop_assert_eq!(error, IpipError::Inner);
            }
        }
        bytes[12] ^= 1;
        prop_assert_eq!(ipip::Packet::new_checked(&bytes).err(), Some(IpipError::Checksum));
    }

    #[test]
    fn an_mss_is_lowered_and_never_raised(
        packet in any_tcp(0),
        mss in any::<u16>(),
        to in any::<u16>(),
        nops in 0usize..4,
        syn in any::<bool>(),
    ) {
        let mut options = vec![1; nops];
        options.extend_from_slice(&[2, 4]);
        options.extend_from_slice(&mss.to_be_bytes());
        options.extend_from_slice(&[3, 3, 7]);
        options.resize(12, 0);
        let flags = packet.flags & !2 | u8::from(syn) << 1;
        let packet = Tcp { options, flags, ..packet };
        let mut bytes = packet.build();
        let before = bytes.clone();
        let layers = Layers::parse(&bytes, 0).unwrap();
        let changed = tcp_mss::clamp(&mut bytes, &layers, Offload::None, to);
        prop_assert_eq!(changed, (syn && mss > to).then_some(mss));
        prop_assert!(checksums_right(&bytes));
        if changed.is_none() {
            prop_assert_eq!(&bytes, &before);
        } else {
            let at = layers.l4 + 20 + nops + 2;
            prop_assert_eq!(&bytes[at..at + 2], &to.to_be_bytes());
        }
        // A partial checksum covers addresses and length only.
        let mut bytes = before.clone();
        let partial = Partial { start: layers.l4 as u16, offset: 16 };
        let _ = tcp_mss::clamp(&mut bytes, &layers, Offload::Partial(partial), to);
        let field = layers.l4 + 16;
        prop_assert_eq!(&bytes[field..field + 2], &before[field..field + 2]);
    }

    #[test]
    fn nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        packet in any_tcp(0),
        options in proptest::collection::vec(any::<u8>(), 0..=40),
        mss in any::<u16>(),
    ) {
        let _ = ipip::Packet::new_checked(&bytes);
        let mut packet = Tcp { options: vec![1; 40], flags: 2, ..packet }.build();
        let layers = Layers::parse(&packet, 0).unwrap();
        let at = layers.l4 + 20;
        packet[at..at + options.len()].copy_from_slice(&options);
        let _ = tcp_mss::clamp(&mut packet, &layers, Offload::None, mss);
        let mut bytes = bytes;
        let _ = tcp_mss::clamp(&mut bytes, &layers, Offload::None, mss);
        if let Ok(layers) = Layers::parse(&bytes, 0) {
            let _ = tcp_mss::clamp(&mut bytes, &layers, Offload::None, mss);
        }
    }
}

#[test]
fn segment_sizes_of_an_mtu() {
    assert_eq!(tcp_mss::for_mtu(1450, Family::V4), 1410);
    assert_eq!(tcp_mss::for_mtu(1450, Family::V6), 1390);
    assert_eq!(tcp_mss::for_mtu(10, Family::V6), 0);
}
