//! The table beside the rules read one after the other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Addresses that meet often: few bits vary.
fn address() -> impl Strategy<Value = u32> {
    prop_oneof![
        (0u32..4, 0u32..4, 0u32..3, 0u32..8)
            .prop_map(|(a, b, c, d)| { 0x0a00_0000 | a << 22 | b << 16 | c << 12 | d }),
        any::<u32>(),
    ]
}

fn prefix() -> impl Strategy<Value = (u32, u8)> {
    let lengths = prop_oneof![4 => 0u8..=32, 2 => Just(32u8), 2 => 15u8..=18, 1 => Just(0u8)];
    (address(), lengths)
}

fn ports() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        3 => Just(PortRange::ANY),
        3 => (78u16..84).prop_map(|port| PortRange::new(port, port).unwrap()),
        2 => (any::<u16>(), any::<u16>())
            .prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap()),
        1 => Just(PortRange::new(1024, 65535).unwrap()),
    ]
}

fn rule<A: Address>(widen: fn(u32, u8) -> (A, u8)) -> impl Strategy<Value = Rule<A>> {
    let protocol = prop_oneof![Just(None), (1u8..20).prop_map(Some)];
    (prefix(), prefix(), protocol, ports(), ports()).prop_map(
        move |(src, dst, protocol, src_ports, dst_ports)| {
            let prefix = |(address, length)| {
                let (address, length) = widen(address, length);
                Prefix::new(address, length).unwrap()
            };
            Rule {
                src: prefix(src),
                dst: prefix(dst),
                protocol,
                src_ports,
                dst_ports,
            }
        },
    )
}

fn packet<A: Address>(widen: fn(u32, u8) -> (A, u8)) -> impl Strategy<Value = Tuple<A>> {
    let port = || prop_oneof![78u16..84, any::<u16>()];
    (address(), address(), port(), port(), 0u8..20).prop_map(
        move |(src, dst, src_port, dst_port, protocol)| Tuple {
            src: widen(src, 32).0,
            dst: widen(dst, 32).0,
            src_port,
            dst_port,
            protocol,
        },
    )
}

fn narrow(address: u32, length: u8) -> (u32, u8) {
    (address, length)
}

/// The 32 bits stand at the beginning, in the middle of the address, or around it.
fn wide(address: u32, length: u8) -> (u128, u8) {
    if address & 1 == 0 {
        (
            u128::from(address) << 96,
            if length == 32 { 128 } else { length },
        )
    } else {
        (
            0xfd00_u128 << 112 | u128::from(address) << 40,
            if length == 0 { 0 } else { 56 + length },
        )
    }
}

fn compare<A: Address>(table: &Acl<A>, rules: &BTreeMap<u32, Rule<A>>, packets: &[Tuple<A>]) {
    let expected: Vec<_> = packets
        .iter()
        .map(|packet| {
            rules
                .iter()
                .find(|(_, rule)| rule.matches(packet))
                .map(|(order, _)| *order)
        })
        .collect();
    let mut found = vec![None; packets.len()];
    table.lookup_batch(packets, &mut found);
    assert_eq!(found, expected);
    let single: Vec<_> = packets.iter().map(|packet| table.lookup(packet)).collect();
    assert_eq!(single, expected);
}

/// Packets that touch the rules' edges.
fn edges<A: Address>(rules: &[Rule<A>]) -> Vec<Tuple<A>> {
    let edge = |rule: &Rule<A>, src, dst| Tuple {
        src,
        dst,
        src_port: rule.src_ports.high(),
        dst_port: rule.dst_ports.low(),
        protocol: rule.protocol.unwrap_or(6),
    };
    let of = |rule: &Rule<A>| {
        [
            edge(rule, rule.src.first(), rule.dst.last()),
            edge(rule, rule.src.last(), rule.dst.first()),
            edge(rule, rule.src.last().next(), rule.dst.first().before()),
        ]
    };
    rules.iter().flat_map(of).collect()
}

fn run<A: Address>(rules: &[Rule<A>], changes: &[(u32, Rule<A>)], packets: &[Tuple<A>]) {
    let mut packets = packets.to_vec();
    packets.extend(edges(rules));
    let mut table = Acl::build(rules).unwrap();
    let mut current: BTreeMap<u32, Rule<A>> = (0..).zip(rules.iter().copied()).collect();
    for packet in &packets {
        assert_eq!(table.lookup(packet), first_match(rules, packet));
    }
    compare(&table, &current, &packets);
    for (order, rule) in changes {
        match current.remove(order) {
            Some(rule) => assert_eq!(table.remove(*order), Some(rule)),
            None => {
                assert_eq!(table.remove(*order), None);
                table.insert(*order, *rule).unwrap();
                assert_eq!(
                    table.insert(*order, *rule),
                    Err(InsertError::Occupied(*order))
                );
                current.insert(*order, *rule);
            }
        }
        compare(&table, &current, &packets);
    }
    for order in current.keys() {
        assert!(table.remove(*order).is_some());
    }
    compare(&table, &BTreeMap::new(), &packets);
    assert!(table.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn ipv4_finds_the_first_match(
        rules in prop::collection::vec(rule(narrow), 0..60),
        changes in prop::collection::vec((0u32..100_000, rule(narrow)), 0..12),
        again in prop::collection::vec((0u32..60, rule(narrow)), 0..12),
        packets in prop::collection::vec(packet(narrow), 1..100),
    ) {
        run(&rules, &[changes, again].concat(), &packets);
    }

    #[test]
    fn ipv6_finds_the_first_match(
        rules in prop::collection::vec(rule(wide), 0..60),
        changes in prop::collection::vec((0u32..60, rule(wide)), 0..12),
        packets in prop::collection::vec(packet(wide), 1..100),
    ) {
        run(&rules, &changes, &packets);
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Many rules on few prefixes, so that leaves, chunks and classes grow large.
fn crowded(count: usize) -> Vec<Rule<u32>> {
    let mut state = 5;
    (0..count)
        .map(|i| {
            let r = splitmix(&mut state);
            let src = [
                (0x0a00_0000, 16),
                (0x0a00_0000 | (r as u32 & 0xffff), 32),
                (0, 0),
            ];
            let (src, length) = src[(r >> 20) as usize % 3];
            let dst = if r >> 30 & 1 == 0 {
                (0x0b00_0001, 32)
            } else {
                (0x0b00_0000, 8)
            };
            let port = (r >> 32) as u16;
            let high = if r >> 48 & 3 == 0 {
                port.saturating_add(2000)
            } else {
                port
            };
            Rule {
                src: Prefix::new(src, length).unwrap(),
                dst: Prefix::new(dst.0, dst.1).unwrap(),
                protocol: [None, Some(6), Some(17)][i % 3],
                src_ports: PortRange::ANY,
                dst_ports: PortRange::new(port, high).unwrap(),
            }
        })
        .collect()
}

#[test]
fn crowds_are_searched_right() {
    let rules = crowded(3000);
    let mut table = Acl::build(&rules).unwrap();
    let mut current: BTreeMap<u32, Rule<u32>> = (0..).zip(rules.iter().copied()).collect();
    let packets: Vec<_> = edges(&rules).into_iter().step_by(7).collect();
    compare(&table, &current, &packets);
    for order in (0..3000).step_by(61) {
        let rule = table.remove(order).unwrap();
        table.insert(order + 10_000, rule).unwrap();
        current.remove(&order);
        current.insert(order + 10_000, rule);
    }
    compare(&table, &current, &packets);
}

#[test]
fn a_table_knows_its_limits() {
    let mut table = Acl::<u32>::default();
    assert_eq!(
        table.insert(u32::MAX, Rule::any()),
        Err(InsertError::Reserved)
    );
    assert_eq!(table.insert(u32::MAX - 1, Rule::any()), Ok(()));
    assert_eq!(table.lookup(&Tuple::default()), Some(u32::MAX - 1));
    assert_eq!(table.rule(u32::MAX - 1), Some(&Rule::any()));
    assert_eq!((table.len(), table.remove(5)), (1, None));
}
