//! Coalescing against an oracle that decides from the fields the packets were made of, and against
//! segmentation, which must undo it.

mod support;

use encap::coalesce::{Fate, Growing, InPlace, Rules, Span, vector};
use encap::ip::Layers;
use encap::offload::Offload;
use encap::segment::Plan;
use proptest::prelude::*;
use support::{Tcp, checksums_right, payload};

/// A packet of a stream: its fields, and whether it is UDP or was damaged on the way.
#[derive(Clone, Debug)]
struct Sent {
    fields: Tcp,
    udp: bool,
    damaged: bool,
}

impl Sent {
    fn build(&self) -> Vec<u8> {
        let mut bytes = if self.udp {
            self.fields.build_udp()
        } else {
            self.fields.build()
        };
        if self.damaged {
            let last = bytes.len() - 1;
            bytes[last] ^= 0x40;
            // One checksum in 65,536 is by chance the sum of the pseudo-header, which stands there
            // before a checksum is filled in: damage elsewhere cannot be told from that.
            if let Offload::Partial(partial) = assess(&bytes) {
                bytes[usize::from(partial.start + partial.offset)] ^= 0x40;
            }
        }
        bytes
    }

    fn flow(&self) -> (bool, bool, u8, u16) {
        (self.udp, self.fields.v6, self.fields.host, self.fields.port)
    }
}

/// What is still to be done to a packet, as far as its checksum tells.
fn assess(packet: &[u8]) -> Offload {
    let layers = Layers::parse(packet, 0).expect("the tests build whole packets");
    encap::checksum::assess(packet, &layers)
}

/// How the next packet of a stream differs from plain continuation.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Shorter(usize),
    Flag(u8),
    Acknowledgment,
    Window,
    Ttl,
    Tos,
    Options,
    Gap,
    Identification(u16),
    FixedIdentification,
    DontFragment,
    OtherFlow(u8),
    Damage,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        30 => Just(Change::Nothing),
        2 => (0usize..1200).prop_map(Change::Shorter),
        3 => prop::sample::select(vec![1u8, 2, 4, 8, 32, 64, 128]).prop_map(Change::Flag),
        1 => Just(Change::Acknowledgment),
        1 => Just(Change::Window),
        1 => Just(Change::Ttl),
        1 => Just(Change::Tos),
        1 => Just(Change::Options),
        1 => Just(Change::Gap),
        1 => (0u16..5).prop_map(Change::Identification),
        4 => Just(Change::FixedIdentification),
        1 => Just(Change::DontFragment),
        6 => (0u8..3).prop_map(Change::OtherFlow),
        1 => Just(Change::Damage),
    ]
}

/// The stream a list of changes describes.
fn stream(changes: &[Change], v6: bool, udp: bool, size: usize, fixed: bool) -> Vec<Sent> {
    let mut flows: Vec<Tcp> = (0..3)
        .map(|host| Tcp {
            v6,
            host,
            sequence: u32::MAX - 3000,
            ..Tcp::default()
        })
        .collect();
    let mut current = 0;
    changes
        .iter()
        .enumerate()
        .map(|(i, change)| {
            if let Change::OtherFlow(flow) = change {
                current = usize::from(*flow);
            }
            let next = &mut flows[current];
            let mut length = size;
            let mut damaged = false;
            let mut flags = 0x10;
            match change {
                Change::Nothing | Change::OtherFlow(_) => {}
                Change::Shorter(length_) => length = *length_,
                Change::Flag(flag) => flags |= flag,
                Change::Acknowledgment => next.acknowledgment += 1,
                Change::Window => next.window += 1,
                Change::Ttl => next.ttl -= 1,
                Change::Tos => next.tos ^= 3,
                Change::Options => next.options[7] ^= 1,
                Change::Gap => next.sequence = next.sequence.wrapping_add(1),
                Change::Identification(by) => next.identification += by,
                Change::FixedIdentification if fixed => {}
                Change::FixedIdentification => next.identification -= 1,
                Change::DontFragment => next.dont_fragment ^= true,
                Change::Damage => damaged = true,
            }
            let mut fields = next.clone();
            fields.flags = flags;
            fields.payload = payload(length, i as u8);
            next.sequence = next.sequence.wrapping_add(length as u32);
            if !fixed {
                next.identification += 1;
            }
            let damaged = damaged && length > 0;
            Sent {
                fields,
                udp,
                damaged,
            }
        })
        .collect()
}

/// The slow reference: whether Linux would append `next` to `group`, from the packets' fields.
fn continues(group: &[Sent], next: &Sent) -> bool {
    let (first, last) = (&group[0], group.last().expect("a group has a first packet"));
    let (a, l, b) = (&first.fields, &last.fields, &next.fields);
    let total: usize = group.iter().map(|sent| sent.fields.payload.len()).sum();
    let headers = a.ip_len() + if first.udp { 8 } else { a.tcp_len() };
    let network = a.v6 == b.v6
        && a.ttl == b.ttl
        && a.tos == b.tos
        && (a.v6 || {
            let step = b.identification.wrapping_sub(l.identification);
            let fixed_so_far = group.len() > 1 && l.identification == a.identification;
            let fixed = step == 0 && a.dont_fragment && (group.len() == 1 || fixed_so_far);
            a.dont_fragment == b.dont_fragment && (fixed || step == 1 && !fixed_so_far)
        });
    let sizes = !a.payload.is_empty()
        && !b.payload.is_empty()
        && b.payload.len() <= a.payload.len()
        && l.payload.len() == a.payload.len()
        && headers + total + b.payload.len() <= 65535;
    let transport = if first.udp {
        group.len() < 64
    } else {
        l.flags & (1 | 2 | 4 | 8 | 32) == 0
            && b.flags & (2 | 4 | 32 | 128) == 0
            && (a.flags ^ b.flags) & !(1 | 8) == 0
            && a.acknowledgment == b.acknowledgment
            && a.window == b.window
            && a.options == b.options
            && b.sequence == a.sequence.wrapping_add(total as u32)
    };
    first.flow() == next.flow() && !first.damaged && !next.damaged && network && sizes && transport
}

/// Cuts what a merge returned.
fn cut(packet: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let plan = Plan::new(packet, 0, offload).expect("a merge returns what can be cut");
    (0..plan.count())
        .map(|i| {
            let mut out = vec![0; plan.segment_len(i)];
            plan.write(i, packet, &mut out).expect("there is room");
            out
        })
        .collect()
}

/// Without what RFC 6864 says carries no meaning: the identification under DF.
fn normal(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
        let checksum = encap::checksum::ipv4_header(&packet[..20]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

#[derive(Clone)]
struct Owned {
    bytes: Vec<u8>,
    room: usize,
}

impl Growing for Owned {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
    fn offload(&self) -> Offload {
        Offload::None
    }
    fn append(&mut self, payload: &[u8]) -> bool {
        let fits = self.bytes.len() + payload.len() <= self.room;
        if fits {
            self.bytes.extend_from_slice(payload);
        }
        fits
    }
}

fn lay_out(packets: &[Vec<u8>], gap: usize) -> (Vec<u8>, Vec<Span>) {
    let mut buffer = Vec::new();
    let mut spans = Vec::new();
    for packet in packets {
        buffer.resize(buffer.len() + gap, 0xee);
        let start = buffer.len();
        buffer.extend_from_slice(packet);
        spans.push(Span {
            range: start..buffer.len(),
            offload: Offload::None,
        });
    }
    (buffer, spans)
}

fn merge(buffer: &mut [u8], spans: Vec<Span>, rules: Rules) -> Vec<Span> {
    let mut merge = InPlace::new(rules);
    let mut done = Vec::new();
    for span in spans {
        done.extend(merge.push(buffer, span));
    }
    done.extend(merge.finish(buffer));
    assert_eq!(merge.finish(buffer), None);
    done
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn in_place_merges_what_the_oracle_merges_and_segments_back(
        changes in proptest::collection::vec(any_change(), 1..80),
        v6 in any::<bool>(),
        udp in any::<bool>(),
        fixed in any::<bool>(),
        size in 1usize..1500,
        gap in 0usize..30,
    ) {
        let sent = stream(&changes, v6, udp, size, fixed);
        let packets: Vec<Vec<u8>> = sent.iter().map(Sent::build).collect();
        let (mut buffer, spans) = lay_out(&packets, gap);
        let done = merge(&mut buffer, spans, Rules::TCP_AND_UDP);

        let mut groups: Vec<Vec<Sent>> = Vec::new();
        for next in &sent {
            match groups.last_mut() {
                Some(group) if continues(group, next) => group.push(next.clone()),
                _ => groups.push(vec![next.clone()]),
            }
        }
        let mut segments = Vec::new();
        let mut sizes = Vec::new();
        for span in &done {
            let cut = cut(&buffer[span.range.clone()], span.offload);
            sizes.push(cut.len());
            segments.extend(cut);
        }
        prop_assert_eq!(sizes, groups.iter().map(Vec::len).collect::<Vec<_>>());
        prop_assert_eq!(segments.len(), packets.len());
        let fixed = groups.iter().flat_map(|group| {
            let id = |sent: &Sent| sent.fields.identification;
            let fixed = group.len() > 1 && id(&group[0]) == id(&group[1]);
            std::iter::repeat_n(fixed, group.len())
        });
        for ((got, wanted), fixed) in segments.iter().zip(&packets).zip(fixed) {
            if fixed {
                prop_assert_eq!(normal(got), normal(wanted));
            } else {
                prop_assert_eq!(got, wanted);
            }
        }
        for (span, group) in done.iter().zip(&groups) {
            // Only what was found right is vouched for.
            prop_assert!(!group[0].damaged || span.offload == Offload::None);
        }
    }

    #[test]
    fn a_vector_keeps_each_flow_s_bytes_and_order(
        changes in proptest::collection::vec(any_change(), 1..80),
        v6 in any::<bool>(),
        udp in any::<bool>(),
        size in 1usize..1500,
        room in prop_oneof![Just(usize::MAX), 1000usize..10000],
    ) {
        let sent = stream(&changes, v6, udp, size, false);
        let packets: Vec<Vec<u8>> = sent.iter().map(Sent::build).collect();
        let mut owned: Vec<Owned> =
            packets.iter().map(|bytes| Owned { bytes: bytes.clone(), room }).collect();
        let mut fates = vec![Fate::Absorbed; owned.len()];
        vector(&mut owned, Rules::TCP_AND_UDP, &mut fates);
        let mut segments = Vec::new();
        for (packet, fate) in owned.iter().zip(&fates) {
            if let Fate::Kept(offload) = fate {
                segments.extend(cut(&packet.bytes, *offload));
            }
        }
        for host in 0..3 {
            let of = |packet: &&Vec<u8>| packet[if v6 { 23 } else { 15 }] == host;
            let got: Vec<_> = segments.iter().filter(of).map(|packet| normal(packet)).collect();
            let wanted: Vec<_> = packets.iter().filter(of).map(|packet| normal(packet)).collect();
            prop_assert_eq!(got, wanted);
            if room == usize::MAX {
                // Each flow alone merges as the oracle says.
                let mut groups: Vec<Vec<Sent>> = Vec::new();
                for next in sent.iter().filter(|sent| sent.fields.host == host) {
                    match groups.last_mut() {
                        Some(group) if continues(group, next) => group.push(next.clone()),
                        _ => groups.push(vec![next.clone()]),
                    }
                }
                let kept = owned.iter().zip(&fates).filter(|(packet, fate)| {
                    of(&&packet.bytes) && matches!(fate, Fate::Kept(_))
                });
                prop_assert_eq!(kept.count(), groups.len());
            }
        }
    }

    #[test]
    fn a_segmented_super_packet_comes_back_as_it_was(
        size in 1usize..1500,
        count in 2usize..40,
        short in 0usize..1500,
        v6 in any::<bool>(),
        udp in any::<bool>(),
        flags in prop::sample::select(vec![0x10u8, 0x11, 0x18, 0x19]),
        identification in any::<u16>(),
    ) {
        let length = size * (count - 1) + short % size + 1;
        let fields = Tcp {
            v6, flags, identification,
            payload: payload(length, 3),
            sequence: u32::MAX - 1000,
            ..Tcp::default()
        };
        // Twice: what a merge returned, cut and merged again, is the same bytes.
        let whole = Sent { fields, udp, damaged: false };
        let packets: Vec<Vec<u8>> = whole
            .fields
            .payload
            .chunks(size)
            .enumerate()
            .map(|(i, chunk)| {
                let last = (i + 1) * size >= length;
                let mut fields = whole.fields.clone();
                fields.payload = chunk.to_vec();
                fields.sequence = fields.sequence.wrapping_add((i * size) as u32);
                fields.identification = fields.identification.wrapping_add(i as u16);
                fields.flags = if last { flags } else { 0x10 };
                Sent { fields, ..whole.clone() }.build()
            })
            .collect();
        let (mut buffer, spans) = lay_out(&packets, 22);
        let done = merge(&mut buffer, spans, Rules::TCP_AND_UDP);
        prop_assert_eq!(done.len(), 1);
        let merged = buffer[done[0].range.clone()].to_vec();
        let again = cut(&merged, done[0].offload);
        prop_assert_eq!(&again, &packets);
        // Completed as one packet, it is the packet the sender would have made.
        let mut completed = merged.clone();
        let _ = encap::checksum::complete(&mut completed, done[0].offload);
        prop_assert_eq!(&completed, &whole.build());
        prop_assert!(checksums_right(&completed));
    }

    #[test]
    fn nothing_panics(
        buffer in proptest::collection::vec(any::<u8>(), 0..400),
        spans in proptest::collection::vec((0usize..450, 0usize..450), 0..8),
        changes in proptest::collection::vec(any_change(), 1..8),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        v6 in any::<bool>(),
        udp in any::<bool>(),
        verified in any::<bool>(),
    ) {
        let offload = if verified { Offload::Verified } else { Offload::None };
        let spans = spans.into_iter().map(|(a, b)| Span { range: a..b, offload }).collect();
        let mut buffer = buffer;
        merge(&mut buffer, spans, Rules::TCP_AND_UDP);

        let sent = stream(&changes, v6, udp, 40, false);
        let packets: Vec<Vec<u8>> = sent.iter().map(Sent::build).collect();
        let (mut buffer, mut spans) = lay_out(&packets, 3);
        for (at, value) in &damage {
            let at = at.index(buffer.len());
            buffer[at] = *value;
        }
        for span in &mut spans {
            span.offload = offload;
        }
        for span in merge(&mut buffer, spans.clone(), Rules::TCP_AND_UDP) {
            if span.offload.gso().is_some() {
                cut(&buffer[span.range.clone()], span.offload);
            }
        }
        let mut owned: Vec<Owned> = spans
            .iter()
            .map(|span| Owned { bytes: buffer[span.range.clone()].to_vec(), room: 300 })
            .collect();
        let mut fates = vec![Fate::Absorbed; owned.len()];
        vector(&mut owned, Rules::TCP_AND_UDP, &mut fates);
        vector(&mut owned[..0], Rules::TCP, &mut fates);
        vector(&mut owned, Rules::TCP, &mut fates[..0]);
    }
}

#[test]
fn udp_is_merged_only_when_asked() {
    let changes = vec![Change::Nothing; 10];
    let packets: Vec<_> = stream(&changes, false, true, 100, false)
        .iter()
        .map(Sent::build)
        .collect();
    let (mut buffer, spans) = lay_out(&packets, 0);
    let before = buffer.clone();
    let done = merge(&mut buffer, spans.clone(), Rules::TCP);
    assert_eq!(done.len(), spans.len());
    for (done, span) in done.iter().zip(&spans) {
        assert_eq!(
            (&done.range, done.offload),
            (&span.range, Offload::Verified)
        );
    }
    assert_eq!(buffer, before);
    assert_eq!(merge(&mut buffer, spans, Rules::TCP_AND_UDP).len(), 1);
}

#[test]
fn checksums_that_were_never_filled_in_stay_so_and_merge() {
    for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        let sent = stream(&vec![Change::Nothing; 5], v6, udp, 100, false);
        let wanted: Vec<Vec<u8>> = sent.iter().map(Sent::build).collect();
        let open: Vec<Vec<u8>> = wanted
            .iter()
            .map(|packet| {
                // What completing fills in is what the rest does not sum to.
                let mut packet = packet.clone();
                let l4 = if v6 { 40 } else { 20 };
                let field = l4 + if udp { 6 } else { 16 };
                let right = u16::from_be_bytes([packet[field], packet[field + 1]]);
                packet[field..field + 2].fill(0);
                let rest = encap::checksum::sum(&packet[l4..]).fold();
                let pseudo = encap::checksum::Sum::ZERO
                    .add_u16(!right)
                    .add_u16(!rest)
                    .fold();
                packet[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
                packet
            })
            .collect();
        let (mut buffer, spans) = lay_out(&open, 10);
        let done = merge(&mut buffer, spans.clone(), Rules::TCP_AND_UDP);
        assert_eq!(done.len(), 1);
        assert_eq!(cut(&buffer[done[0].range.clone()], done[0].offload), wanted);
        // Alone, or where UDP is not merged, it is marked as open.
        let (mut buffer, _) = lay_out(&open, 10);
        let done = merge(&mut buffer, spans[..1].to_vec(), Rules::TCP);
        assert!(matches!(done[0].offload, Offload::Partial(_)));
        assert_eq!(
            cut(&buffer[done[0].range.clone()], done[0].offload),
            wanted[..1]
        );
    }
}

#[test]
fn nothing_is_merged_across_a_fragment_of_the_same_addresses() {
    let sent = stream(&vec![Change::Nothing; 3], false, false, 100, false);
    let mut packets: Vec<Vec<u8>> = sent.iter().map(Sent::build).collect();
    let mut fragment = packets[0].clone();
    fragment[6] = 0x20;
    packets.insert(1, fragment);
    let mut owned: Vec<Owned> = packets
        .into_iter()
        .map(|bytes| Owned {
            bytes,
            room: usize::MAX,
        })
        .collect();
    let mut fates = vec![Fate::Absorbed; 4];
    vector(&mut owned, Rules::TCP, &mut fates);
    assert_eq!(fates[0], Fate::Kept(Offload::Verified));
    assert_eq!(fates[1], Fate::Kept(Offload::None));
    assert_eq!(fates[3], Fate::Absorbed);
    assert!(Layers::parse(&owned[2].bytes, 0).is_ok_and(|layers| layers.end == 20 + 32 + 200));
}

#[test]
fn more_flows_than_slots_lose_nothing() {
    let packets: Vec<Vec<u8>> = (0..200u32)
        .map(|i| {
            let fields = Tcp {
                port: 1000 + (i % 40) as u16,
                sequence: 1 + i / 40 * 50,
                identification: (i / 40) as u16,
                payload: payload(50, i as u8),
                ..Tcp::default()
            };
            fields.build()
        })
        .collect();
    let mut owned: Vec<Owned> = packets
        .iter()
        .map(|bytes| Owned {
            bytes: bytes.clone(),
            room: usize::MAX,
        })
        .collect();
    let mut fates = vec![Fate::Absorbed; owned.len()];
    vector(&mut owned, Rules::TCP, &mut fates);
    let segments: Vec<Vec<u8>> = owned
        .iter()
        .zip(&fates)
        .filter_map(|(packet, fate)| match fate {
            Fate::Kept(offload) => Some(cut(&packet.bytes, *offload)),
            Fate::Absorbed => None,
        })
        .flatten()
        .collect();
    for port in 1000u16..1040 {
        let of = |packet: &&Vec<u8>| packet[20..22] == port.to_be_bytes();
        let got: Vec<_> = segments.iter().filter(of).collect();
        let wanted: Vec<_> = packets.iter().filter(of).collect();
        assert_eq!(got, wanted);
    }
}
