//! Every verb of the table beside the naive reference, after every step of random scripts.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use lpm::{Family, Reference, Table, V4, V6, Value};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step<F: Family> {
    Insert(F::Net, Value),
    Remove(F::Net),
    Load(Vec<(F::Net, Value)>),
    Clear,
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![0_u32..4, 0_u32..=65_534].prop_map(|index| Value::new(index).expect("0..=65_534"))
}

/// Few distinct bits, so that prefixes nest, and lengths around every stride of the tables.
fn net4() -> impl Strategy<Value = Ipv4Net> {
    // Many in one /24, so that its slots outgrow a list.
    let dense = (0_u32..256, 25_u8..=32).prop_map(|(host, len)| (0xc633_6400 | host, len));
    let bits = prop_oneof![
        (0_u32..8, 0_u32..8, 0_u32..4, 0_u32..8).prop_map(|(a, b, c, d)| a << 29
            | b << 22
            | c << 11
            | c << 8
            | d << 3
            | d),
        any::<u32>(),
        Just(u32::MAX),
    ];
    prop_oneof![dense, (bits, 0_u8..=32)]
        .prop_map(|(bits, len)| Ipv4Net::new_assert(bits.into(), len).trunc())
}

fn net6() -> impl Strategy<Value = Ipv6Net> {
    // Many in one /16, one /32 and one /40, so that lists become words and lists again.
    let dense = prop_oneof![
        (0_u128..1 << 16, 17_u8..=32).prop_map(|(site, len)| (0x2001 << 112 | site << 96, len)),
        (0_u128..1 << 16, 33_u8..=50).prop_map(|(site, len)| (0x2001_0db8 << 96 | site << 80, len)),
        (0_u128..1 << 8, 41_u8..=48)
            .prop_map(|(site, len)| (0x0020_010d_b842 << 88 | site << 80, len)),
    ];
    let bits = prop_oneof![
        (0_u128..4, 0_u128..4, 0_u128..40, 0_u128..8, 0_u128..16).prop_map(|(a, b, c, d, e)| {
            1 << 125 | a << 112 | b << 95 | c << 80 | d << 62 | d << 40 | e << 16 | e
        }),
        any::<u128>(),
        Just(u128::MAX),
    ];
    let len = prop_oneof![0_u8..=128, 24_u8..=64, Just(48_u8), Just(128_u8)];
    prop_oneof![dense, (bits, len)]
        .prop_map(|(bits, len)| Ipv6Net::new_assert(bits.into(), len).trunc())
}

fn script<F: Family>(
    net: impl Strategy<Value = F::Net> + 'static,
) -> impl Strategy<Value = Vec<Step<F>>> {
    let net = net.boxed();
    let step = prop_oneof![
        60 => (net.clone(), value()).prop_map(|(net, value)| Step::Insert(net, value)),
        30 => net.clone().prop_map(Step::Remove),
        1 => vec((net, value()), 0..400).prop_map(Step::Load),
        1 => Just(Step::Clear),
    ]
    .boxed();
    // Often many changes first, then mostly withdrawals.
    (vec(step.clone(), 1..120), vec(step, 0..120)).prop_map(|(mut all, more)| {
        let inserted: Vec<_> = all
            .iter()
            .filter_map(|step| match step {
                Step::Insert(net, _) => Some(Step::Remove(*net)),
                Step::Remove(_) | Step::Load(_) | Step::Clear => None,
            })
            .collect();
        all.extend(more);
        all.extend(inserted);
        all
    })
}

struct Pair<F: Family> {
    table: Table<F>,
    reference: Reference<F>,
}

impl<F: Family> Pair<F> {
    fn new() -> Self {
        Self {
            table: Table::new(),
            reference: Reference::new(),
        }
    }

    fn step(&mut self, step: &Step<F>) {
        match step {
            Step::Insert(net, value) => {
                assert_eq!(
                    self.table.insert(*net, *value),
                    self.reference.insert(*net, *value)
                );
            }
            Step::Remove(net) => {
                assert_eq!(self.table.remove(*net), self.reference.remove(*net));
            }
            Step::Load(routes) => {
                self.table.load(routes.iter().copied());
                self.reference.clear();
                for (net, value) in routes {
                    self.reference.insert(*net, *value);
                }
            }
            Step::Clear => {
                self.table.clear();
                self.reference.clear();
            }
        }
    }

    fn compare(&self, nets: &[F::Net], addresses: &[F::Address]) {
        let (table, reference) = (&self.table, &self.reference);
        assert_eq!(table.len(), reference.len());
        assert_eq!(table.iter().collect::<Vec<_>>(), reference.routes());
        let reader = table.reader();
        let guard = reader.pin();
        let mut values = vec![None; addresses.len()];
        guard.lookup_batch(addresses, &mut values);
        for (address, value) in addresses.iter().zip(values) {
            let expected = reference.lookup(*address);
            assert_eq!(guard.lookup(*address), expected, "{address:?}");
            assert_eq!(value, expected, "{address:?} in a batch");
            assert_eq!(
                table.longest_match(*address),
                reference.longest_match(*address)
            );
        }
        for net in nets {
            assert_eq!(table.get(*net), reference.get(*net));
            assert_eq!(
                table.covering(*net).collect::<Vec<_>>(),
                reference.covering(*net)
            );
            assert_eq!(
                table.covered(*net).collect::<Vec<_>>(),
                reference.covered(*net)
            );
        }
    }
}

/// The first and last address of each prefix, and their neighbours outside.
fn edges4(nets: &[Ipv4Net]) -> Vec<Ipv4Addr> {
    nets.iter()
        .flat_map(|net| {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [
                first,
                last,
                first.wrapping_sub(1),
                last.wrapping_add(1),
                first ^ ((last - first) / 2),
            ]
        })
        .map(Ipv4Addr::from_bits)
        .collect()
}

fn edges6(nets: &[Ipv6Net]) -> Vec<Ipv6Addr> {
    nets.iter()
        .flat_map(|net| {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [
                first,
                last,
                first.wrapping_sub(1),
                last.wrapping_add(1),
                first ^ ((last - first) / 2),
            ]
        })
        .map(Ipv6Addr::from_bits)
        .collect()
}

fn nets<F: Family>(script: &[Step<F>]) -> Vec<F::Net> {
    script
        .iter()
        .flat_map(|step| match step {
            Step::Insert(net, _) | Step::Remove(net) => vec![*net],
            Step::Load(routes) => routes.iter().map(|(net, _)| *net).collect(),
            Step::Clear => vec![],
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_time: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn v4_matches_the_reference(script in script::<V4>(net4()), seeds in vec(any::<u32>(), 20)) {
        let nets = nets(&script);
        let mut addresses = edges4(&nets);
        addresses.extend(seeds.into_iter().map(Ipv4Addr::from_bits));
        let mut pair = Pair::<V4>::new();
        for (at, step) in script.iter().enumerate() {
            pair.step(step);
            if at % 32 == 0 {
                pair.compare(&nets[..nets.len().min(8)], &addresses);
            }
        }
        pair.compare(&nets, &addresses);
    }

    #[test]
    fn v6_matches_the_reference(script in script::<V6>(net6()), seeds in vec(any::<u128>(), 20)) {
        let nets = nets(&script);
        let mut addresses = edges6(&nets);
        addresses.extend(seeds.into_iter().map(Ipv6Addr::from_bits));
        let mut pair = Pair::<V6>::new();
        for (at, step) in script.iter().enumerate() {
            pair.step(step);
            if at % 32 == 0 {
                pair.compare(&nets[..nets.len().min(8)], &addresses);
            }
        }
        pair.compare(&nets, &addresses);
    }
}
