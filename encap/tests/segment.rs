//! Segmentation against a slow reference that builds every segment with etherparse.

mod support;

use std::num::NonZeroU16;

use encap::offload::{Gso, GsoKind, Offload, Partial};
use encap::segment::{Plan, SegmentError};
use proptest::prelude::*;
use support::{Tcp, any_tcp, checksums_right, payload};

/// The offload of `packet` as a TAP states it, for a frame with `link` bytes before the packet.
fn offload(packet: &Tcp, udp: bool, link: usize, size: u16) -> Offload {
    let kind = match (udp, packet.v6) {
        (true, _) => GsoKind::UdpL4,
        (false, true) => GsoKind::Tcp6,
        (false, false) => GsoKind::Tcp4,
    };
    let offset = if udp { 6 } else { 16 };
    Offload::Segmented(
        Partial {
            start: (link + packet.ip_len()) as u16,
            offset,
        },
        Gso {
            kind,
            ecn: false,
            header_len: 0,
            size: NonZeroU16::new(size).expect("from 1"),
        },
    )
}

/// Each segment built from its fields: the slow reference.
fn reference(packet: &Tcp, udp: bool, size: usize) -> Vec<Vec<u8>> {
    let chunks: Vec<&[u8]> = match packet.payload.is_empty() {
        true => vec![&[]],
        false => packet.payload.chunks(size).collect(),
    };
    let last = chunks.len() - 1;
    chunks
        .iter()
        .enumerate()
        .map(|(i, chunk)| {
            let mut segment = packet.clone();
            segment.payload = chunk.to_vec();
            segment.sequence = packet.sequence.wrapping_add((i * size) as u32);
            segment.identification = packet.identification.wrapping_add(i as u16);
            if i != last {
                segment.flags &= !0x09;
            }
            if i != 0 {
                segment.flags &= !0x80;
            }
            if udp {
                segment.build_udp()
            } else {
                segment.build()
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn segments_equal_the_reference(
        packet in any_tcp(9000),
        udp in any::<bool>(),
        link in 0usize..32,
        size in 1u16..3000,
        prefix in 0usize..60,
        garbage in any::<u16>(),
    ) {
        let size = size.max((packet.payload.len() / 200) as u16 + 1);
        let mut frame = payload(link, 7);
        frame.extend(if udp { packet.build_udp() } else { packet.build() });
        // What the checksum field holds does not matter: it is made anew.
        let field = link + packet.ip_len() + if udp { 6 } else { 16 };
        frame[field..field + 2].copy_from_slice(&garbage.to_be_bytes());
        let plan = Plan::new(&frame, link, offload(&packet, udp, link, size)).unwrap();
        let expected = reference(&packet, udp, usize::from(size));
        prop_assert_eq!(plan.count(), expected.len());
        let prefix = payload(prefix, 9);
        let mut wanted = Vec::new();
        for (i, segment) in expected.iter().enumerate() {
            let mut out = vec![0; plan.segment_len(i)];
            prop_assert_eq!(plan.write(i, &frame, &mut out), Ok(link + segment.len()));
            prop_assert_eq!(&out[..link], &frame[..link]);
            prop_assert_eq!(&out[link..], &segment[..]);
            prop_assert!(checksums_right(&out[link..]));
            let mut headers = vec![0; plan.header_len()];
            let (bytes, body) = plan.write_headers(i, &frame, &mut headers).unwrap();
            prop_assert_eq!(&headers[..bytes], &out[..bytes]);
            prop_assert_eq!(&frame[body], &out[bytes..]);
            wanted.extend_from_slice(&prefix);
            wanted.extend_from_slice(&out);
        }
        let mut out = vec![0; wanted.len()];
        let written = plan.write_all(0..plan.count(), &frame, &prefix, &mut out).unwrap();
        prop_assert_eq!(written.bytes, wanted.len());
        prop_assert_eq!(written.segment_size, prefix.len() + plan.segment_len(0));
        prop_assert_eq!(&out, &wanted);
        out.pop();
        prop_assert_eq!(
            plan.write_all(0..plan.count(), &frame, &prefix, &mut out),
            Err(SegmentError::NoRoom)
        );
    }

    #[test]
    fn batches_cover_everything_once(
        length in 0usize..20000,
        size in 1u16..2000,
        segments in 0usize..70,
        bytes in 0usize..70000,
    ) {
        let packet = Tcp { payload: payload(length, 1), ..Tcp::default() };
        let frame = packet.build();
        let plan = Plan::new(&frame, 0, offload(&packet, false, 0, size)).unwrap();
        let mut next = 0;
        while next < plan.count() {
            let batch = plan.batch(next, 50, segments, bytes);
            prop_assert_eq!(batch.start, next);
            prop_assert!(!batch.is_empty());
            let total: usize = batch.clone().map(|i| 50 + plan.segment_len(i)).sum();
            prop_assert!(batch.len() == 1 || (batch.len() <= segments && total <= bytes));
            next = batch.end;
        }
        prop_assert!(plan.batch(next, 50, segments, bytes).is_empty());
    }

    #[test]
    fn a_partial_packet_is_one_completed_segment(packet in any_tcp(1400), udp in any::<bool>()) {
        let mut frame = if udp { packet.build_udp() } else { packet.build() };
        let wanted = frame.clone();
        let Some(partial) = offload(&packet, udp, 0, 1).partial() else { unreachable!("it is GSO") };
        let layers = encap::ip::Layers::parse(&frame, 0).unwrap();
        let pseudo = {
            // The pseudo-header sum is what is missing from the segment's sum to 0xffff.
            let mut segment = frame[layers.l4..].to_vec();
            let at = usize::from(partial.offset);
            let checksum = u16::from_be_bytes([segment[at], segment[at + 1]]);
            segment[at..at + 2].copy_from_slice(&[0, 0]);
            let body = encap::checksum::sum(&segment).fold();
            encap::checksum::Sum::ZERO.add_u16(!checksum).add_u16(!body).fold()
        };
        frame[partial.field()..partial.end()].copy_from_slice(&pseudo.to_be_bytes());
        let plan = Plan::new(&frame, 0, Offload::Partial(partial)).unwrap();
        prop_assert_eq!(plan.count(), 1);
        let mut out = vec![0; frame.len()];
        prop_assert_eq!(plan.write(0, &frame, &mut out), Ok(frame.len()));
        prop_assert_eq!(out, wanted);
    }

    #[test]
    fn nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        packet in any_tcp(300),
        real in any::<bool>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        udp in any::<bool>(),
        size in 1u16..,
        l3 in 0usize..4,
        start in 0u16..80,
        i in 0usize..400,
        room in 0usize..500,
    ) {
        let mut frame = if real { packet.build() } else { bytes };
        for (at, value) in damage {
            if !frame.is_empty() {
                let at = at.index(frame.len().min(60));
                frame[at] = value;
            }
        }
        let l3 = if real { 0 } else { l3 };
        let mut word = offload(&packet, udp, 0, size);
        if let (false, Offload::Segmented(partial, _)) = (real, &mut word) {
            partial.start = start;
        }
        for word in [word, Offload::None, Offload::Partial(Partial { start, offset: 16 })] {
            if let Ok(plan) = Plan::new(&frame, l3, word) {
                let mut out = vec![0; room];
                prop_assert!(plan.count() >= 1);
                let _ = plan.write(i % (plan.count() + 1), &frame, &mut out);
                let _ = plan.write_headers(i % (plan.count() + 1), &frame, &mut out);
                let _ = plan.write(0, &frame[..frame.len() / 2], &mut out);
                let _ = plan.write_all(0..i, &frame, &[1, 2, 3], &mut out);
            }
        }
    }
}

#[test]
fn a_contradicting_offload_is_refused() {
    let packet = Tcp {
        payload: payload(3000, 1),
        ..Tcp::default()
    };
    let frame = packet.build();
    let gso = |word: Offload, kind| match word {
        Offload::Segmented(partial, gso) => Offload::Segmented(partial, Gso { kind, ..gso }),
        other => other,
    };
    let word = offload(&packet, false, 0, 1000);
    let error = |word| Plan::new(&frame, 0, word).err();
    assert_eq!(error(word), None);
    assert_eq!(error(gso(word, GsoKind::Tcp6)), Some(SegmentError::Kind));
    assert_eq!(error(gso(word, GsoKind::UdpL4)), Some(SegmentError::Kind));
    assert_eq!(error(word.shift(1).unwrap()), Some(SegmentError::Checksum));
    let mut fragment = frame.clone();
    fragment[6] |= 0x20;
    assert_eq!(
        Plan::new(&fragment, 0, word).err(),
        Some(SegmentError::Fragment)
    );
    let mut short = frame.clone();
    short[32] = 0xf0;
    short.truncate(60);
    short[2..4].copy_from_slice(&60u16.to_be_bytes());
    assert_eq!(
        Plan::new(&short, 0, word).err(),
        Some(SegmentError::TransportHeader)
    );
    let plan = Plan::new(&frame, 0, word).unwrap();
    assert_eq!(
        plan.write(3, &frame, &mut [0; 2000]),
        Err(SegmentError::Index)
    );
    assert_eq!(
        plan.write(0, &frame[..100], &mut [0; 2000]),
        Err(SegmentError::OtherPacket)
    );
}
