//! Offload words, VXLAN and Ethernet headers, TOS and TTL through a tunnel.

mod support;

use std::num::NonZeroU16;

use encap::ecn::{self, Congested, Dscp, Ecn, Ttl};
use encap::ethernet::{self, EtherType};
use encap::ip::Layers;
use encap::offload::{Gso, GsoKind, Offload, OffloadError, Partial};
use encap::vxlan::{self, PortRange, Vni, VxlanError, source_port};
use proptest::prelude::*;
use support::{any_tcp, checksums_right};

fn any_offload() -> impl Strategy<Value = Offload> {
    let partial = (0u16..200, 0u16..20).prop_map(|(start, offset)| Partial { start, offset });
    let kind = prop::sample::select(vec![GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::UdpL4]);
    let gso = (kind, any::<bool>(), 0u16..200, 1u16..).prop_map(|(kind, ecn, header_len, size)| {
        let ecn = ecn && kind != GsoKind::UdpL4;
        Gso {
            kind,
            ecn,
            header_len,
            size: NonZeroU16::new(size).expect("from 1"),
        }
    });
    prop_oneof![
        Just(Offload::None),
        Just(Offload::Verified),
        partial.clone().prop_map(Offload::Partial),
        (partial, gso).prop_map(|(partial, gso)| Offload::Segmented(partial, gso)),
    ]
}

proptest! {
    #[test]
    fn an_offload_survives_the_wire(offload in any_offload()) {
        prop_assert_eq!(Offload::parse(&offload.emit(), 300), Ok(offload));
    }

    #[test]
    fn a_parsed_offload_emits_what_it_was(bytes in any::<[u8; 10]>(), frame in 0usize..70000) {
        if let Ok(offload) = Offload::parse(&bytes, frame) {
            prop_assert_eq!(Offload::parse(&offload.emit(), frame), Ok(offload));
            if let Some(partial) = offload.partial() {
                prop_assert!(partial.end() <= frame);
            }
            prop_assert!(offload.gso().is_none() || offload.partial().is_some());
        }
    }

    #[test]
    fn shifting_there_and_back_is_nothing(offload in any_offload(), by in 0isize..5000) {
        let shifted = offload.shift(by).unwrap();
        prop_assert_eq!(shifted.shift(-by), Ok(offload));
    }

    #[test]
    fn shifting_never_panics(offload in any_offload(), by in any::<isize>()) {
        let _ = offload.shift(by);
    }

    #[test]
    fn short_headers_are_errors(bytes in proptest::collection::vec(any::<u8>(), 0..10)) {
        prop_assert_eq!(Offload::parse(&bytes, 100), Err(OffloadError::Truncated));
    }

    #[test]
    fn vxlan_round_trip(number in 0u32..1 << 24, payload in proptest::collection::vec(any::<u8>(), 0..50)) {
        let vni = Vni::new(number).unwrap();
        let mut bytes = [0xff; 8];
        vxlan::Repr { vni }.emit(&mut bytes);
        let mut packet = bytes.to_vec();
        packet.extend_from_slice(&payload);
        let packet = vxlan::Packet::new_checked(&packet).unwrap();
        prop_assert_eq!(packet.payload(), &payload[..]);
        prop_assert_eq!(vxlan::Repr::parse(&packet), vxlan::Repr { vni });
        prop_assert_eq!(packet.vni().number(), number);
    }

    #[test]
    fn vxlan_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
        if let Ok(packet) = vxlan::Packet::new_checked(&bytes) {
            prop_assert_eq!(packet.payload().len() + 8, bytes.len());
            prop_assert!(packet.vni().number() < 1 << 24);
        }
        if let Some(repr) = ethernet::Repr::parse(&bytes) {
            let mut out = [0; 14];
            repr.emit(&mut out);
            prop_assert_eq!(&out[..], &bytes[..14]);
        }
    }

    #[test]
    fn source_ports_stay_in_range(hash in any::<u32>(), low in any::<u16>(), high in any::<u16>()) {
        if let Some(range) = PortRange::new(low, high) {
            let port = source_port(hash, range);
            prop_assert!((low..high).contains(&port));
        }
    }

    #[test]
    fn tos_and_ttl_keep_checksums_right(packet in any_tcp(40), new in any::<u8>(), outer in any::<u8>()) {
        let mut bytes = packet.build();
        prop_assert_eq!(ecn::tos(&bytes), Some(packet.tos));
        prop_assert!(ecn::set_tos(&mut bytes, new));
        prop_assert_eq!(ecn::tos(&bytes), Some(new));
        prop_assert!(checksums_right(&bytes));
        prop_assert_eq!(ecn::ttl(&bytes), Some(packet.ttl));
        let left = ecn::decrement_ttl(&mut bytes);
        prop_assert_eq!(left, (packet.ttl > 1).then(|| packet.ttl - 1));
        prop_assert!(checksums_right(&bytes));
        match ecn::decapsulate(outer, new) {
            Ok(tos) => {
                prop_assert_eq!(ecn::decapsulate_into(outer, &mut bytes), Ok(()));
                prop_assert_eq!(ecn::tos(&bytes), Some(tos));
                prop_assert_eq!(tos & 0xfc, new & 0xfc);
            }
            Err(Congested) => prop_assert_eq!(ecn::decapsulate_into(outer, &mut bytes), Err(Congested)),
        }
        prop_assert!(checksums_right(&bytes));
    }

    #[test]
    fn ecn_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), outer in any::<u8>()) {
        let mut bytes = bytes;
        let _ = ecn::tos(&bytes);
        let _ = ecn::ttl(&bytes);
        let _ = ecn::set_tos(&mut bytes, outer);
        let _ = ecn::decapsulate_into(outer, &mut bytes);
        let _ = ecn::decrement_ttl(&mut bytes);
        let _ = Layers::parse(&bytes, usize::from(outer));
    }

    #[test]
    fn one_flow_hashes_to_one_number(a in any_tcp(40), b in any_tcp(40)) {
        let mut b = b;
        b.v6 = a.v6;
        let (a, b) = (a.build(), b.build());
        let hash = |packet: &[u8]| Layers::parse(packet, 0).unwrap().flow_hash(packet);
        prop_assert_eq!(hash(&a), hash(&b));
    }
}

#[test]
fn offload_contradictions_are_errors() {
    use OffloadError as E;
    let parse = |flags, kind, header_len: u16, size: u16, start: u16, offset: u16| {
        let mut bytes = [flags, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, value) in [(2, header_len), (4, size), (6, start), (8, offset)] {
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        Offload::parse(&bytes, 100)
    };
    assert_eq!(parse(4, 0, 0, 0, 0, 0), Err(E::Flags(4)));
    assert_eq!(parse(0, 1, 0, 10, 0, 0), Err(E::GsoWithoutChecksum));
    assert_eq!(parse(1, 3, 0, 10, 0, 0), Err(E::GsoType(3)));
    assert_eq!(parse(1, 0x85, 0, 10, 0, 0), Err(E::GsoType(0x85)));
    assert_eq!(parse(1, 0x80, 0, 10, 0, 0), Err(E::GsoType(0x80)));
    assert_eq!(parse(1, 1, 0, 0, 34, 16), Err(E::GsoSize));
    assert_eq!(parse(1, 1, 101, 10, 34, 16), Err(E::HeaderLen));
    assert_eq!(parse(1, 0, 0, 0, 84, 15), Err(E::ChecksumOutside));
    assert_eq!(parse(1, 0, 0, 0, 0xffff, 0xffff), Err(E::ChecksumOutside));
    assert_eq!(parse(2, 0, 0, 0, 0, 0), Ok(Offload::Verified));
    let partial = Partial {
        start: 34,
        offset: 16,
    };
    assert_eq!(parse(3, 0, 0, 0, 34, 16), Ok(Offload::Partial(partial)));
    assert_eq!(
        Offload::Partial(partial).shift(-35),
        Err(E::ChecksumOutside)
    );
}

#[test]
fn vxlan_flags_as_linux_takes_them() {
    let check = |bytes: [u8; 8]| vxlan::Packet::new_checked(bytes).err();
    assert_eq!(check([8, 0, 0, 0, 0, 0x10, 0, 0]), None);
    assert_eq!(check([0, 0, 0, 0, 0, 0x10, 0, 0]), Some(VxlanError::NoVni));
    assert_eq!(
        check([0x88, 0, 0, 0, 0, 0x10, 0, 0]),
        Some(VxlanError::Reserved)
    );
    assert_eq!(
        check([8, 0, 0, 1, 0, 0x10, 0, 0]),
        Some(VxlanError::Reserved)
    );
    assert_eq!(
        check([8, 0, 0, 0, 0, 0x10, 0, 1]),
        Some(VxlanError::Reserved)
    );
    assert_eq!(
        vxlan::Packet::new_checked([8; 7]).err(),
        Some(VxlanError::Truncated)
    );
    assert_eq!(Vni::new(1 << 24), None);
    assert_eq!(
        vxlan::Packet::new_checked([8, 0, 0, 0, 0, 0x10, 0, 0])
            .unwrap()
            .vni(),
        Vni::CALICO
    );
}

#[test]
fn source_ports_spread() {
    let mut seen = std::collections::HashSet::new();
    for port in 0..1000u16 {
        let packet = support::Tcp {
            port,
            ..support::Tcp::default()
        }
        .build();
        let hash = Layers::parse(&packet, 0).unwrap().flow_hash(&packet);
        seen.insert(source_port(hash, PortRange::LINUX));
    }
    // 1000 flows on 28231 ports: a uniform hash loses about 18 to collisions.
    assert!(seen.len() > 950, "{} distinct ports", seen.len());
}

#[test]
fn ecn_table_of_linux() {
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    for (inner, outer) in [(NotEct, NotEct), (Ect0, Ect0), (Ect1, Ect1), (Ce, Ect0)] {
        assert_eq!(
            Ecn::of(ecn::encapsulate(Dscp::Fixed(0), inner.on(0xb8))),
            outer
        );
        assert_eq!(ecn::encapsulate(Dscp::Fixed(0), inner.on(0xb8)) & 0xfc, 0);
        assert_eq!(ecn::encapsulate(Dscp::Inherit, inner.on(0xb8)) & 0xfc, 0xb8);
    }
    // Rows: inner; columns: outer Not-ECT, ECT(0), ECT(1), CE. RFC 6040 figure 4.
    let table = [
        (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
        (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
        (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
        (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
    ];
    for (inner, row) in table {
        for (outer, expected) in [NotEct, Ect0, Ect1, Ce].into_iter().zip(row) {
            let got = ecn::decapsulate(outer.on(0xff), inner.on(0x48)).ok();
            assert_eq!(
                got,
                expected.map(|ecn| ecn.on(0x48)),
                "{outer:?} over {inner:?}"
            );
        }
    }
    assert_eq!(Ttl::VXLAN.outer(3), 64);
    assert_eq!(Ttl::IPIP.outer(3), 3);
}

#[test]
fn ether_types_keep_their_numbers() {
    for number in [0x0800, 0x0806, 0x86dd, 0x8100] {
        assert_eq!(u16::from(EtherType::from(number)), number);
    }
}
