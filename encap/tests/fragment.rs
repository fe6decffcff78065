//! Fragmentation and reassembly: each undoes the other, and a byte-by-byte model agrees.

mod support;

use encap::fragment::{Fragment, FragmentError, Plan};
use encap::reassemble::{Limits, Reassembler, ReassemblyError};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FragmentHeader};
use proptest::prelude::*;
use support::{Tcp, any_tcp, checksums_right, payload};

fn cut(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let plan = Plan::new(packet, 0, mtu).expect("the packet is well formed");
    (0..plan.count())
        .map(|i| {
            let mut out = vec![0; plan.fragment_len(i)];
            assert_eq!(plan.write(i, packet, &mut out), Ok(out.len()));
            out
        })
        .collect()
}

/// An IPv6 packet's fragments with at most `size` bytes of data each, by etherparse.
fn cut_v6(packet: &[u8], size: usize, identification: u32) -> Vec<Vec<u8>> {
    let data = &packet[40..];
    let size = (size & !7).max(8);
    let last = data.len().div_ceil(size) - 1;
    data.chunks(size)
        .enumerate()
        .map(|(i, chunk)| {
            let offset = IpFragOffset::try_new((i * size / 8) as u16).expect("below 8192");
            let header =
                Ipv6FragmentHeader::new(IpNumber(packet[6]), offset, i != last, identification);
            let mut bytes = packet[..40].to_vec();
            bytes[6] = 44;
            bytes[4..6].copy_from_slice(&((8 + chunk.len()) as u16).to_be_bytes());
            bytes.extend_from_slice(&header.to_bytes());
            bytes.extend_from_slice(chunk);
            bytes
        })
        .collect()
}

fn accounts_balance(reassembler: &Reassembler) -> bool {
    let counters = reassembler.counters();
    counters.taken
        == counters.joined
            + counters.timed_out
            + counters.evicted
            + counters.given_up
            + reassembler.held()
}

#[derive(Clone, Debug)]
struct Piece {
    datagram: u8,
    offset: usize,
    length: usize,
    more: bool,
    seed: u8,
}

fn any_piece() -> impl Strategy<Value = Piece> {
    (
        0u8..2,
        0usize..8,
        1usize..40,
        prop::bool::weighted(0.8),
        0u8..2,
    )
        .prop_map(|(datagram, offset, length, more, seed)| {
            let length = if more { length.div_ceil(8) * 8 } else { length };
            Piece {
                datagram,
                offset: offset * 8,
                length,
                more,
                seed,
            }
        })
}

impl Piece {
    /// Bytes that depend on their place in the datagram, and on the seed where it is not 0.
    fn data(&self) -> Vec<u8> {
        (self.offset..self.offset + self.length)
            .map(|at| at as u8 ^ (self.seed << 7))
            .collect()
    }

    fn build(&self) -> Vec<u8> {
        let mut header =
            Ipv4Header::new(self.length as u16, 64, IpNumber::UDP, [1; 4], [2; 4]).expect("short");
        header.identification = u16::from(self.datagram);
        header.more_fragments = self.more;
        header.fragment_offset =
            IpFragOffset::try_new((self.offset / 8) as u16).expect("below 8192");
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&self.data());
        bytes
    }
}

/// The slow reference: a datagram as a map from place to byte.
#[derive(Default)]
struct Model {
    bytes: Vec<Option<u8>>,
    end: Option<usize>,
    dead: bool,
}

impl Model {
    fn push(&mut self, piece: &Piece) -> Result<Option<Vec<u8>>, ReassemblyError> {
        if self.dead {
            return Err(ReassemblyError::GivenUp);
        }
        let to = piece.offset + piece.length;
        if self.bytes.len() < to {
            self.bytes.resize(to, None);
        }
        let data: Vec<Option<u8>> = piece.data().into_iter().map(Some).collect();
        let there = &mut self.bytes[piece.offset..to];
        let known = there.iter().filter(|byte| byte.is_some()).count();
        let ends_differ = match self.end {
            Some(end) => to > end || !piece.more && to != end,
            None => false,
        };
        if known == data.len() && *there == data[..] && (piece.more || self.end == Some(to)) {
            return Err(ReassemblyError::Duplicate);
        }
        let beyond = !piece.more && self.bytes[to..].iter().any(Option::is_some);
        if known > 0 || ends_differ || beyond {
            self.dead = true;
            return Err(ReassemblyError::Overlap);
        }
        self.bytes[piece.offset..to].copy_from_slice(&data);
        if !piece.more {
            self.end = Some(to);
        }
        let whole = self
            .end
            .is_some_and(|end| self.bytes[..end].iter().all(Option::is_some));
        Ok(whole.then(|| std::mem::take(self).bytes.into_iter().flatten().collect()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn ipv4_comes_back_in_any_order(
        packet in any_tcp(6000),
        options in 0usize..=10,
        mtu in 68usize..1600,
        again in prop::option::of(68usize..600),
        order in any::<prop::sample::Index>(),
        twice in any::<bool>(),
    ) {
        let packet = Tcp { v6: false, ..packet };
        let bare = packet.build();
        let mut header = Ipv4Header::from_slice(&bare).unwrap().0;
        header.options = Ipv4Options::try_from(&vec![1u8; options * 4][..]).unwrap();
        header.total_len += (options * 4) as u16;
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&bare[20..]);

        let mut fragments = cut(&bytes, mtu);
        if let Some(again) = again {
            fragments = fragments.iter().flat_map(|fragment| cut(fragment, again)).collect();
        }
        for fragment in &fragments {
            prop_assert!(fragment.len() <= again.unwrap_or(mtu).max(mtu));
            let header = Ipv4Header::from_slice(fragment).unwrap().0;
            prop_assert_eq!(header.calc_header_checksum(), header.header_checksum);
            prop_assert_eq!(usize::from(header.total_len), fragment.len());
        }
        if fragments.len() > 1 {
            let shift = order.index(fragments.len());
            fragments.rotate_left(shift);
            let swap = order.index(fragments.len() / 2 + 1);
            fragments[swap..].reverse();
            if twice {
                // Not after the end, where it would start the datagram anew.
                let first = fragments[0].clone();
                fragments.insert(1, first);
            }
            let mut reassembler = Reassembler::new(Limits::default());
            let mut whole = None;
            for (i, fragment) in fragments.iter().enumerate() {
                let wanted = i + 1 == fragments.len();
                match reassembler.push(fragment, 7, i as u64) {
                    Ok(Some(packet)) => {
                        prop_assert!(wanted);
                        whole = Some(packet.to_vec());
                    }
                    Ok(None) => prop_assert!(!wanted),
                    Err(ReassemblyError::Duplicate) => prop_assert!(twice && i == 1),
                    Err(error) => prop_assert!(false, "{error}"),
                }
            }
            prop_assert_eq!(whole.as_ref(), Some(&bytes));
            prop_assert_eq!(reassembler.held(), 0);
            prop_assert!(accounts_balance(&reassembler));
        } else {
            prop_assert_eq!(&fragments[0], &bytes);
        }
    }

    #[test]
    fn ipv6_comes_back_in_any_order(
        packet in any_tcp(6000),
        udp in any::<bool>(),
        size in 8usize..1400,
        order in any::<prop::sample::Index>(),
        id in any::<u32>(),
    ) {
        let packet = Tcp { v6: true, ..packet };
        let bytes = if udp { packet.build_udp() } else { packet.build() };
        // A first fragment must hold the whole transport header for etherparse to read it, not
        // for us.
        let mut fragments = cut_v6(&bytes, size, id);
        let shift = order.index(fragments.len());
        fragments.rotate_left(shift);
        let mut reassembler = Reassembler::new(Limits { datagrams: 1, ..Limits::default() });
        let last = fragments.len() - 1;
        for (i, fragment) in fragments.iter().enumerate() {
            let info = Fragment::parse(fragment).unwrap().unwrap();
            prop_assert_eq!(info.identification, id);
            let whole = reassembler.push(fragment, 0, 0).unwrap();
            if i == last {
                let whole = whole.unwrap();
                prop_assert_eq!(&whole[..], &bytes[..]);
                prop_assert!(checksums_right(whole));
            } else {
                prop_assert!(whole.is_none());
            }
        }
        prop_assert!(accounts_balance(&reassembler));
    }

    #[test]
    fn the_model_agrees(pieces in proptest::collection::vec(any_piece(), 1..60)) {
        let mut reassembler = Reassembler::new(Limits::default());
        let mut models = [Model::default(), Model::default()];
        for piece in &pieces {
            let bytes = piece.build();
            if piece.offset == 0 && !piece.more {
                prop_assert_eq!(
                    reassembler.push(&bytes, 0, 0).err(),
                    Some(ReassemblyError::NotFragment)
                );
                continue;
            }
            let wanted = models[usize::from(piece.datagram)].push(piece);
            let got = reassembler.push(&bytes, 0, 0);
            prop_assert_eq!(got.map(|whole| whole.map(|whole| whole[20..].to_vec())), wanted);
            prop_assert!(accounts_balance(&reassembler));
        }
    }

    #[test]
    fn nothing_panics(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..6),
        packet in any_tcp(400),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        mtu in 0usize..500,
        l3 in 0usize..40,
        i in 0usize..30,
        room in 0usize..500,
        size in 8usize..64,
    ) {
        let mut reassembler = Reassembler::new(Limits { datagrams: 2, timeout_ms: 10 });
        let mut real = packet.build();
        let mut fragments = if packet.v6 { cut_v6(&real, size, 1) } else { cut(&real, size + 20) };
        for (at, value) in &damage {
            let fragment = at.index(fragments.len());
            let at = at.index(fragments[fragment].len().min(64));
            fragments[fragment][at] = *value;
            real[at.min(39)] = *value;
        }
        for (now, bytes) in packets.iter().chain(&fragments).chain([&real]).enumerate() {
            let _ = Fragment::parse(bytes);
            let _ = reassembler.push(bytes, 0, now as u64);
            prop_assert!(accounts_balance(&reassembler));
            if let Ok(plan) = Plan::new(bytes, l3 % 3, mtu) {
                let mut out = vec![0; room];
                let _ = plan.write(i % (plan.count() + 1), bytes, &mut out);
                let _ = plan.write(0, &bytes[..bytes.len() / 2], &mut out);
                let _ = plan.fragment_len(i);
            }
        }
        reassembler.expire(1000, |_| ());
        prop_assert_eq!(reassembler.held(), 0);
        prop_assert!(accounts_balance(&reassembler));
    }
}

fn two(id: u8) -> Vec<Vec<u8>> {
    [(0, true), (8, false)]
        .map(|(offset, more)| {
            Piece {
                datagram: id,
                offset,
                length: 8,
                more,
                seed: 0,
            }
            .build()
        })
        .to_vec()
}

#[test]
fn time_runs_out() {
    let mut reassembler = Reassembler::new(Limits::default());
    let fragments = two(1);
    assert!(matches!(reassembler.push(&fragments[0], 0, 1000), Ok(None)));
    let mut seen = Vec::new();
    reassembler.expire(30_999, |first| seen.push(first.map(<[u8]>::to_vec)));
    assert!(seen.is_empty());
    reassembler.expire(31_000, |first| seen.push(first.map(<[u8]>::to_vec)));
    assert_eq!(seen, vec![Some(fragments[0].clone())]);
    // Also without `expire`: what comes too late starts anew.
    assert!(matches!(
        reassembler.push(&fragments[0], 0, 40_000),
        Ok(None)
    ));
    assert!(matches!(
        reassembler.push(&fragments[1], 0, 70_000),
        Ok(None)
    ));
    assert_eq!(reassembler.counters().timed_out, 2);
    assert!(matches!(
        reassembler.push(&fragments[0], 0, 71_000),
        Ok(Some(_))
    ));
}

#[test]
fn the_oldest_gives_way_and_scopes_are_apart() {
    let mut reassembler = Reassembler::new(Limits {
        datagrams: 2,
        ..Limits::default()
    });
    for (now, id) in [1, 2, 3].into_iter().enumerate() {
        assert!(matches!(
            reassembler.push(&two(id)[0], 0, now as u64),
            Ok(None)
        ));
    }
    assert_eq!(reassembler.counters().evicted, 1);
    assert!(matches!(reassembler.push(&two(3)[1], 9, 5), Ok(None)));
    assert!(matches!(reassembler.push(&two(3)[1], 0, 5), Ok(Some(_))));
    let mut none = Reassembler::new(Limits {
        datagrams: 0,
        ..Limits::default()
    });
    assert_eq!(
        none.push(&two(1)[0], 0, 0).err(),
        Some(ReassemblyError::NoRoom)
    );
}

#[test]
fn an_atomic_ipv6_fragment_stands_alone() {
    let bytes = Tcp {
        v6: true,
        payload: payload(50, 1),
        ..Tcp::default()
    }
    .build();
    let parts = cut_v6(&bytes, 40, 5);
    let atomic = cut_v6(&bytes, 4000, 5);
    let mut reassembler = Reassembler::new(Limits::default());
    assert!(matches!(reassembler.push(&parts[0], 0, 0), Ok(None)));
    assert_eq!(
        reassembler.push(&atomic[0], 0, 0),
        Ok(Some(&mut bytes.clone()[..]))
    );
    assert!(matches!(reassembler.push(&parts[1], 0, 0), Ok(None)));
    assert_eq!(
        reassembler.push(&parts[2], 0, 0),
        Ok(Some(&mut bytes.clone()[..]))
    );
}

#[test]
fn ecn_marks_join_as_in_linux() {
    let mark = |mut fragment: Vec<u8>, tos: u8| {
        assert!(encap::ecn::set_tos(&mut fragment, tos));
        fragment
    };
    for (first, second, wanted) in [(2, 3, Ok(3)), (1, 2, Ok(1)), (0, 0, Ok(0)), (0, 3, Err(()))] {
        let mut reassembler = Reassembler::new(Limits::default());
        let fragments = two(1);
        assert!(matches!(
            reassembler.push(&mark(fragments[0].clone(), first), 0, 0),
            Ok(None)
        ));
        match (
            reassembler.push(&mark(fragments[1].clone(), second), 0, 0),
            wanted,
        ) {
            (Ok(Some(whole)), Ok(tos)) => {
                assert_eq!(whole[1], tos);
                let header = Ipv4Header::from_slice(whole).unwrap().0;
                assert_eq!(header.header_checksum, header.calc_header_checksum());
            }
            (Err(error), Err(())) => assert_eq!(error, ReassemblyError::Ecn),
            (got, wanted) => panic!("{first} with {second}: {got:?}, not {wanted:?}"),
        }
        assert!(accounts_balance(&reassembler));
    }
}

#[test]
fn a_datagram_beyond_65535_bytes_is_given_up() {
    let mut reassembler = Reassembler::new(Limits::default());
    let piece = Piece {
        datagram: 1,
        offset: 65528,
        length: 8,
        more: false,
        seed: 0,
    };
    assert_eq!(
        reassembler.push(&piece.build(), 0, 0).err(),
        Some(ReassemblyError::TooLong)
    );
    assert_eq!(
        reassembler.push(&two(1)[0], 0, 0).err(),
        Some(ReassemblyError::GivenUp)
    );
}

#[test]
fn only_copied_options_reach_later_fragments() {
    let bare = Tcp {
        payload: payload(100, 1),
        ..Tcp::default()
    }
    .build();
    let mut header = Ipv4Header::from_slice(&bare).unwrap().0;
    // Record route (not copied), router alert (copied), no-operation.
    let options = [7u8, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 1];
    header.options = Ipv4Options::try_from(&options[..]).unwrap();
    header.total_len += 12;
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(&bare[20..]);
    let fragments = cut(&bytes, 100);
    assert_eq!(&fragments[0][20..32], &options);
    assert_eq!(
        &fragments[1][20..32],
        &[1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 1]
    );
    let v6 = Tcp {
        v6: true,
        ..Tcp::default()
    }
    .build();
    assert_eq!(Plan::new(&v6, 0, 50).err(), Some(FragmentError::Ipv6));
    assert_eq!(Plan::new(&bare, 0, 27).err(), Some(FragmentError::Mtu));
}
