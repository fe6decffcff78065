//! First match without walking the list: each rule filed under what it shares with the fewest
//! others.
//!
//! A packet that can match a rule has one of the rule's keys: its protocol with an aligned
//! power-of-two block of ports (or an ICMP type), a prefix of an address by length and bits, a
//! set by number. Of these kinds of keys a rule is filed under the one with the fewest rules; a
//! list that is still long is an index itself. A packet reads the lists of all keys it has, each
//! no further than the first match found so far, and looks up the sets of its addresses only
//! when a rule filed under a set stands before that match. Keys only narrow: each candidate is
//! then matched in full, so a hash collision or a part without a key (negations) costs time,
//! never truth.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::rule::{CompiledRule, Packet, Side};
use crate::model::PortRange;

/// A rule that names more prefixes than this is not filed by them.
const MAX_PREFIXES: usize = 256;
/// A list longer than this becomes an index if that makes it much shorter.
const SHORT: usize = if cfg!(test) { 2 } else { 16 };
/// Indexes within indexes.
const MAX_DEPTH: usize = 4;

/// An index over some rules of a program.
#[derive(Debug)]
pub(super) struct Index {
    keys: Keys,
    /// The rules of all short lists, each list in order.
    candidates: Box<[Candidate]>,
    /// The list of rules without a key.
    open: Range<usize>,
    children: Box<[Index]>,
    /// Levels of the keys of source and destination ports.
    port_levels: [Box<[u8]>; 2],
    /// Lengths of the keys of source and destination prefixes.
    v4_lengths: [Box<[u8]>; 2],
    v6_lengths: [Box<[u8]>; 2],
    /// The first rule filed under a set of source and destination addresses.
    first_by_set: [u32; 2],
}

/// A rule with enough of it to refuse most packets at once.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    rule: u32,
    /// 0 for any.
    protocol: u8,
    /// Bounds of the destination port.
    ports: (u16, u16),
}

/// No rule.
const NONE: u32 = u32::MAX;

impl Index {
    /// An index over all rules of a program, in order.
    pub(super) fn new(rules: &[&CompiledRule]) -> Self {
        let filed = rules.iter().zip(0..).map(|(rule, number)| Rule {
            candidate: Candidate {
                rule: number,
                protocol: rule.protocol.unwrap_or(0),
                ports: rule.destination.bounds,
            },
            kinds: key_kinds(rule),
        });
        Self::build(&filed.collect::<Vec<_>>().iter().collect::<Vec<_>>(), 0)
    }

    fn build(rules: &[&Rule], depth: usize) -> Self {
        let mut counts: FxHashMap<u64, u32> = FxHashMap::default();
        for key in rules.iter().flat_map(|rule| rule.kinds.iter()).flatten() {
            *counts.entry(*key).or_default() += 1;
        }
        let mut lists: FxHashMap<u64, Vec<&Rule>> = FxHashMap::default();
        let mut open: Vec<&Rule> = Vec::new();
        let mut first_by_set = [NONE; 2];
        for &rule in rules {
            let kinds = rule.kinds.iter();
            let rarest = kinds.min_by_key(|keys| keys.iter().map(|key| counts[key]).max());
            let Some(keys) = rarest else {
                open.push(rule);
                continue;
            };
            for &key in keys {
                lists.entry(key).or_default().push(rule);
                for (side, first) in first_by_set.iter_mut().enumerate() {
                    if key & TAGS == TAG_SET[side] {
                        *first = (*first).min(rule.candidate.rule);
                    }
                }
            }
        }
        let mut keys = Keys::with_room_for(lists.len());
        let (mut candidates, mut children) = (Vec::new(), Vec::new());
        let mut list = |list: &[&Rule]| {
            let start = candidates.len();
            candidates.extend(list.iter().map(|rule| rule.candidate));
            start..candidates.len()
        };
        let mut seen = Seen::default();
        for (key, rules) in lists {
            seen.note(key);
            let child = (rules.len() > SHORT && depth < MAX_DEPTH)
                .then(|| Self::build(&rules, depth + 1))
                .filter(|child| child.longest() <= rules.len() / 4 * 3);
            match child {
                Some(child) => {
                    keys.insert(key, small(children.len()), CHILD);
                    children.push(child);
                }
                None => {
                    let Range { start, end } = list(&rules);
                    keys.insert(key, small(start), small(end));
                }
            }
        }
        let open = list(&open);
        Self {
            keys,
            open,
            candidates: candidates.into(),
            children: children.into(),
            port_levels: seen.port_levels.map(Into::into),
            v4_lengths: seen.v4_lengths.map(Into::into),
            v6_lengths: seen.v6_lengths.map(Into::into),
            first_by_set,
        }
    }

    /// The length of the longest list that a packet may have to read.
    fn longest(&self) -> usize {
        let lists = self.keys.slots.iter().filter(|slot| slot.0 != FREE);
        let lengths = lists
            .filter(|slot| slot.2 != CHILD)
            .map(|slot| slot.2 - slot.1);
        let children = self.children.iter().map(Self::longest);
        let own = lengths.max().unwrap_or(0) as usize;
        children.max().unwrap_or(0).max(own).max(self.open.len())
    }

    /// The first rule at or after `from` for which `matches` holds, of those that the packet may
    /// match.
    pub(super) fn first(
        &self,
        from: u32,
        packet: &Packet<'_>,
        mut matches: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut search = Search {
            from,
            best: NONE,
            packet,
            matches: &mut matches,
        };
        self.search(&mut search);
        (search.best != NONE).then_some(search.best)
    }

    fn search(&self, search: &mut Search<'_, '_, '_>) {
        search.scan(&self.candidates[self.open.clone()]);
        let tuple = search.packet.tuple;
        for (side, port) in [tuple.source_port, tuple.destination_port]
            .into_iter()
            .enumerate()
        {
            for &level in &*self.port_levels[side] {
                let value = match level {
                    ICMP_TYPE_AND_CODE => u16::from_be_bytes([tuple.icmp_type, tuple.icmp_code]),
                    ICMP_TYPE => u16::from(tuple.icmp_type),
                    // All ports, and the one block of all of them.
                    level => port.checked_shr(u32::from(level)).unwrap_or(0),
                };
                self.read(port_key(side, tuple.protocol, level, value), search);
            }
        }
        for (side, address) in [tuple.source, tuple.destination].into_iter().enumerate() {
            let lengths = match address {
                IpAddr::V4(_) => &self.v4_lengths[side],
                IpAddr::V6(_) => &self.v6_lengths[side],
            };
            for &len in &**lengths {
                self.read(prefix_key(side, address, len), search);
            }
        }
        if self.first_by_set[0] < search.best {
            let members = search.packet.source();
            members.each_set(|set| self.read(set_key(0, set), search));
        }
        if self.first_by_set[1] < search.best {
            let members = search.packet.destination();
            members.each_set(|set| self.read(set_key(1, set), search));
        }
    }

    /// Reads the list of a key, if it has one.
    #[inline]
    fn read(&self, key: u64, search: &mut Search<'_, '_, '_>) {
        match self.keys.find(key) {
            None => {}
            Some((start, end)) if end == CHILD => self.children[start].search(search),
            Some((start, end)) => search.scan(&self.candidates[start..end as usize]),
        }
    }
}

/// A search for the first match.
struct Search<'p, 'a, 'm> {
    from: u32,
    /// The first match so far.
    best: u32,
    packet: &'p Packet<'a>,
    matches: &'m mut dyn FnMut(u32) -> bool,
}

impl Search<'_, '_, '_> {
    #[inline]
    fn scan(&mut self, list: &[Candidate]) {
        let tuple = self.packet.tuple;
        for candidate in list {
            if candidate.rule >= self.best {
                return;
            }
            if candidate.rule >= self.from
                && (candidate.protocol == 0 || candidate.protocol == tuple.protocol)
                && candidate.ports.0 <= tuple.destination_port
                && tuple.destination_port <= candidate.ports.1
                && (self.matches)(candidate.rule)
            {
                self.best = candidate.rule;
                return;
            }
        }
    }
}

/// A rule being filed.
struct Rule {
    candidate: Candidate,
    /// Per kind of key that the rule has, the keys of which a packet must have one.
    kinds: Vec<Box<[u64]>>,
}

/// Levels and lengths of the keys in use.
#[derive(Default)]
struct Seen {
    port_levels: [Vec<u8>; 2],
    v4_lengths: [Vec<u8>; 2],
    v6_lengths: [Vec<u8>; 2],
}

impl Seen {
    fn note(&mut self, key: u64) {
        for side in [0, 1] {
            let (list, value) = match key & TAGS {
                tag if tag == TAG_PORT[side] => (&mut self.port_levels[side], key >> 16),
                tag if tag == TAG_V4[side] => (&mut self.v4_lengths[side], key >> 32),
                // Of IPv6 prefixes the bits are mixed; the length stands beside them.
                tag if tag == TAG_V6[side] => (&mut self.v6_lengths[side], key),
                _ => continue,
            };
            let value = value.to_le_bytes()[0];
            if !list.contains(&value) {
                list.push(value);
            }
        }
    }
}

/// The kinds of keys a rule has, those that need no address looked up first.
fn key_kinds(rule: &CompiledRule) -> Vec<Box<[u64]>> {
    let sides = [&rule.source, &rule.destination];
    let mut kinds: Vec<Box<[u64]>> = Vec::new();
    if let Some(protocol) = rule.protocol {
        match rule.icmp {
            Some(icmp) => {
                let (level, value) = match icmp.code() {
                    Some(code) => {
                        let value = u16::from_be_bytes([icmp.kind(), code]);
                        (ICMP_TYPE_AND_CODE, value)
                    }
                    None => (ICMP_TYPE, u16::from(icmp.kind())),
                };
                kinds.push([port_key(1, protocol, level, value)].into());
            }
            None => {
                let by_port = |side: usize| port_keys(side, protocol, sides[side].ranges()?);
                kinds.extend([1, 0].into_iter().filter_map(by_port));
                if kinds.is_empty() {
                    kinds.push([port_key(1, protocol, ALL_PORTS, 0)].into());
                }
            }
        }
    }
    for (side, entity) in sides.into_iter().enumerate() {
        kinds.extend(prefix_keys(side, entity));
    }
    for (side, entity) in sides.into_iter().enumerate() {
        kinds.extend(entity.any_set().map(|set| [set_key(side, set.0)].into()));
    }
    kinds
}

/// The keys of ranges of ports.
fn port_keys(side: usize, protocol: u8, ranges: Vec<PortRange>) -> Option<Box<[u64]>> {
    let mut keys = Vec::new();
    for range in ranges {
        blocks(range, |level, value| {
            keys.push(port_key(side, protocol, level, value));
        });
    }
    keys.sort_unstable();
    keys.dedup();
    Some(keys.into())
}

fn prefix_keys(side: usize, entity: &Side) -> Option<Box<[u64]>> {
    let prefixes = entity.prefixes();
    let key = |net: &IpNet| prefix_key(side, net.network(), net.prefix_len());
    (1..=MAX_PREFIXES)
        .contains(&prefixes.len())
        .then(|| prefixes.iter().map(key).collect())
}

/// The bits that tell kinds of keys apart, per side: source, destination.
const TAGS: u64 = 0xf << 60;
const TAG_PORT: [u64; 2] = [0, 1 << 60];
const TAG_V4: [u64; 2] = [2 << 60, 3 << 60];
const TAG_V6: [u64; 2] = [4 << 60, 5 << 60];
const TAG_SET: [u64; 2] = [6 << 60, 7 << 60];

fn set_key(side: usize, set: u32) -> u64 {
    TAG_SET[side] | u64::from(set)
}

/// The key of the prefix of this length that contains the address.
#[allow(clippy::cast_possible_truncation)]
fn prefix_key(side: usize, address: IpAddr, len: u8) -> u64 {
    match address {
        IpAddr::V4(address) => {
            let masked = u64::from(address.to_bits()) >> (32 - len) << (32 - len);
            TAG_V4[side] | u64::from(len) << 32 | masked
        }
        IpAddr::V6(address) => {
            let masked = match len {
                0 => 0,
                len => address.to_bits() >> (128 - len) << (128 - len),
            };
            let folded = (masked >> 64) as u64 ^ (masked as u64).rotate_left(29);
            let mixed = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 4;
            TAG_V6[side] | mixed & !0xff | u64::from(len)
        }
    }
}

/// Levels of port keys: 0 to 16 are blocks of 2^level ports.
const ICMP_TYPE_AND_CODE: u8 = 32;
const ICMP_TYPE: u8 = 33;
const ALL_PORTS: u8 = 34;

fn port_key(side: usize, protocol: u8, level: u8, value: u16) -> u64 {
    TAG_PORT[side] | u64::from(protocol) << 32 | u64::from(level) << 16 | u64::from(value)
}

/// The fewest aligned power-of-two blocks that make up a range.
fn blocks(range: PortRange, mut block: impl FnMut(u8, u16)) {
    let (mut first, end) = (u32::from(range.first()), u32::from(range.last()) + 1);
    while first < end {
        let aligned = if first == 0 {
            16
        } else {
            first.trailing_zeros().min(16)
        };
        let fits = (end - first).ilog2();
        let level = aligned.min(fits);
        let value = u16::try_from(first >> level).expect("a port shifted right is 16 bits");
        block(u8::try_from(level).expect("at most 16"), value);
        first += 1 << level;
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a program has fewer than 2^32 rules")
}

/// Key → list or child: open addressing, at most half full.
#[derive(Debug)]
struct Keys {
    slots: Box<[(u64, u32, u32)]>,
    shift: u32,
}

/// No key has all bits set: their tags end at seven.
const FREE: u64 = u64::MAX;
/// In place of the end of a list: the start is the number of a child.
const CHILD: u32 = u32::MAX;

impl Keys {
    fn with_room_for(keys: usize) -> Self {
        let bits = (keys * 2).next_power_of_two().trailing_zeros().max(1);
        Self {
            slots: vec![(FREE, 0, 0); 1 << bits].into(),
            shift: 64 - bits,
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    fn insert(&mut self, key: u64, start: u32, end: u32) {
        let mut at = self.home(key);
        while self.slots[at].0 != FREE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = (key, start, end);
    }

    #[inline]
    fn find(&self, key: u64) -> Option<(usize, u32)> {
        let mut at = self.home(key);
        loop {
            let (found, start, end) = self.slots[at];
            if found == key {
                return Some((start as usize, end));
            }
            if found == FREE {
                return None;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_made_of_few_aligned_blocks() {
        for (first, last) in [
            (0, 65535),
            (80, 80),
            (30000, 32767),
            (1, 65534),
            (1024, 65535),
        ] {
            let mut covered = vec![0u8; 65536];
            let mut count = 0;
            blocks(PortRange::new(first, last).unwrap(), |level, value| {
                count += 1;
                let start = usize::from(value) << level;
                covered[start..start + (1 << level)]
                    .iter_mut()
                    .for_each(|c| *c += 1);
            });
            assert!(count <= 30);
            for (port, times) in covered.iter().enumerate() {
                let inside = (usize::from(first)..=usize::from(last)).contains(&port);
                assert_eq!(*times, u8::from(inside), "{first}:{last} at {port}");
            }
        }
    }

    #[test]
    fn keys_of_different_kinds_differ() {
        let v4: IpAddr = "255.255.255.255".parse().unwrap();
        let v6: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        let mut keys: Vec<u64> = (0..2)
            .flat_map(|side| {
                let prefixes = (0..=32).map(move |len| prefix_key(side, v4, len));
                let longer = (0..=128).map(move |len| prefix_key(side, v6, len));
                let ports = (0..=34).map(move |level| port_key(side, 255, level, u16::MAX));
                prefixes
                    .chain(longer)
                    .chain(ports)
                    .chain([set_key(side, u32::MAX)])
            })
            .collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert!(!keys.contains(&FREE));
    }
}
