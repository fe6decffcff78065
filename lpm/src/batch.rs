//! Lookups: one address, and batches of them.
//!
//! A batch has many loads under way together. Where the processor has AVX-512, 16 keys take a step
//! at once; elsewhere each takes its own, in loops without branches that depend on a key.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::cells::{Link, WIDE_LIST, Word};
use crate::layout::{Fib4, Fib6, follow};
use crate::raw::{Named, fetch, ones, rank_vector};
use crate::tables::Tables;
use crate::value::Value;

/// Looks up one IPv4 address.
#[inline(always)]
pub(crate) fn one4(tables: &Tables, key: Ipv4Addr, popcnt: bool) -> u16 {
    let key = key.to_bits();
    let word = Word(tables.named_word((key >> 13) as usize));
    let rank = ones(word.ends() >> (key >> 8 & 31), popcnt);
    if word.is_wide() {
        wide4(tables, word.place() + rank, key)
    } else {
        tables.named_leaf(word.narrow_place() + rank)
    }
}

/// Looks up one IPv6 address.
#[inline]
pub(crate) fn one6(tables: &Tables, key: Ipv6Addr) -> u16 {
    let key = key.to_bits();
    follow::<Fib6>(
        tables,
        Link(tables.named_link((key >> 112) as usize)),
        key,
        16,
    )
}

/// What a wide word's run at `at` holds: most are values all the same.
#[inline(always)]
fn wide4(tables: &Tables, at: usize, key: u32) -> u16 {
    let link = Link(tables.named_link(at));
    if link.is_pointer() {
        deeper4(tables, link, key)
    } else {
        link.0 as u16
    }
}

/// Goes on where the 24 bits of the root do not suffice.
#[inline(never)]
fn deeper4(tables: &Tables, link: Link, key: u32) -> u16 {
    follow::<Fib4>(tables, link, key, 24)
}

/// [`four`], compiled for newer processors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2")]
pub(crate) fn four_bits(tables: &Tables, keys: &[Ipv4Addr], values: &mut [Option<Value>]) {
    four(tables, keys, values);
}

/// How many keys ahead words are fetched into the cache.
const AHEAD: usize = 24;

#[inline(always)]
pub(crate) fn look_up(tables: &Tables, key: Ipv4Addr) -> Option<Value> {
    let key = key.to_bits();
    let word = Word(tables.named_word((key >> 13) as usize));
    Value::from_raw(if word.is_wide() {
        wide4(tables, word.place_of(key >> 8), key)
    } else {
        let rank = (word.ends() >> (key >> 8 & 31)).count_ones() as usize;
        tables.named_leaf(word.narrow_place() + rank)
    })
}

/// Two loads a key that depend on each other and on no branch: the processor keeps a score of keys
/// under way by itself. Words are asked for earlier still, so that it waits for leaves only.
#[inline(always)]
pub(crate) fn four(tables: &Tables, keys: &[Ipv4Addr], values: &mut [Option<Value>]) {
    let ahead = keys.get(AHEAD..).unwrap_or_default();
    let (first, last) = values.split_at_mut(ahead.len());
    for ((key, ahead), value) in keys.iter().zip(ahead).zip(first) {
        fetch(
            tables
                .words
                .as_ptr()
                .wrapping_add((ahead.to_bits() >> 13) as usize)
                .cast(),
        );
        *value = look_up(tables, *key);
    }
    for (key, value) in keys[ahead.len()..].iter().zip(last) {
        *value = look_up(tables, *key);
    }
}

/// Asks for what a link leads to: its key's next step is far enough away for it to arrive.
#[inline(always)]
pub(crate) fn fetch_target(tables: &Tables, link: Link) {
    let (words, leaves) = (tables.words.as_ptr(), tables.leaves.as_ptr());
    let list = leaves.wrapping_add(link.place()).cast::<u8>();
    let word = words.wrapping_add(link.place()).cast::<u8>();
    let place = if link.is_list() { list } else { word };
    fetch(place);
    // Lists and groups often end in the next cache line.
    fetch(place.wrapping_add(64));
}

/// [`six`], compiled for newer processors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2")]
pub(crate) fn six_bits(tables: &Tables, keys: &[Ipv6Addr], values: &mut [Option<Value>]) {
    six::<false>(tables, keys, values);
}

/// Keys that go through the stages together.
pub(crate) const STAGED: usize = 256;

/// Keys of one kind that wait for their next step.
pub(crate) type Waiting = [u8; STAGED];

/// Appends, or does not, without a branch; returns how many wait now.
///
/// The count is no part of `Waiting`, so that it stays in a register: it is what each key's turn
/// depends on the last one's by.
#[inline(always)]
#[must_use]
pub(crate) fn push(waiting: &mut Waiting, count: usize, key: usize, really: bool) -> usize {
    waiting[count % STAGED] = key as u8;
    count + usize::from(really)
}

/// Keys on their way through the stages.
pub(crate) struct Stages {
    pub(crate) links: [Link; STAGED],
    /// Octets of each key that were consumed; known of those that wait.
    pub(crate) depths: [u8; STAGED],
    pub(crate) words: Waiting,
    pub(crate) lists: Waiting,
    pub(crate) more: Waiting,
}

impl Stages {
    pub(crate) fn new() -> Self {
        Self {
            links: [Link(0); STAGED],
            depths: [0; STAGED],
            words: [0; STAGED],
            lists: [0; STAGED],
            more: [0; STAGED],
        }
    }

    /// All that wait take their steps, sorted by kind: so no branch depends on a key, and the loads
    /// of many keys are under way together.
    #[inline(always)]
    pub(crate) fn finish<const VECTOR: bool>(
        &mut self,
        tables: &Tables,
        keys: &[Ipv6Addr],
        mut words_count: usize,
        mut lists_count: usize,
    ) {
        let (links, depths) = (&mut self.links, &mut self.depths);
        let (mut words, mut lists, mut more) = (&mut self.words, &mut self.lists, &mut self.more);
        while words_count + lists_count > 0 {
            while words_count > 0 {
                let mut more_count = 0;
                for at in &words[..words_count] {
                    let at = usize::from(*at);
                    let slot = u32::from(keys[at].octets()[usize::from(depths[at]) % 16]);
                    let word = Word(tables.named_word(links[at].place() + (slot >> 5) as usize));
                    let link = Link(tables.named_link(word.place_of(slot)));
                    links[at] = link;
                    depths[at] += 1;
                    more_count = push(more, more_count, at, link.is_words());
                    lists_count = push(lists, lists_count, at, link.is_list());
                    fetch_target(tables, link);
                }
                std::mem::swap(&mut words, &mut more);
                words_count = more_count;
            }
            let mut more_count = 0;
            for at in &lists[..lists_count] {
                let at = usize::from(*at);
                let depth = usize::from(depths[at]) % 16;
                let octets = keys[at].octets();
                let pair = u16::from_be_bytes([octets[depth & 14], octets[depth | 1]]);
                // At an odd octet, a list tells only that octet apart.
                let slot = pair & (0xffff >> (8 * (depth & 1)));
                let link = find::<VECTOR>(tables, links[at].place(), slot);
                links[at] = link;
                depths[at] = (depth as u8 | 1) + 1;
                words_count = push(words, words_count, at, link.is_words());
                more_count = push(more, more_count, at, link.is_list());
            }
            std::mem::swap(&mut lists, &mut more);
            lists_count = more_count;
        }
    }
}

/// All keys take the steps that nearly all need, then those that need more the next.
#[inline(always)]
pub(crate) fn six<const VECTOR: bool>(
    tables: &Tables,
    keys: &[Ipv6Addr],
    values: &mut [Option<Value>],
) {
    let mut stages = Stages::new();
    for (keys, values) in keys.chunks(STAGED).zip(values.chunks_mut(STAGED)) {
        let (mut words_count, mut lists_count) = (0, 0);
        for (at, key) in keys.iter().enumerate() {
            if let Some(ahead) = keys.get(at + AHEAD) {
                let head = (ahead.to_bits() >> 96) as u32;
                let window = Link(tables.named_link((head >> 16) as usize)).place();
                let word = window + (head >> 5 & 0x7ff) as usize;
                fetch(tables.words.as_ptr().wrapping_add(word).cast());
            }
            let head = (key.to_bits() >> 96) as u32;
            let mut link = Link(tables.named_link((head >> 16) as usize));
            let mut depth = 2;
            if link.is_words() {
                let word = Word(tables.named_word(link.place() + (head >> 5 & 0x7ff) as usize));
                link = Link(tables.named_link(word.place_of(head)));
                depth = 4;
            }
            stages.links[at] = link;
            stages.depths[at] = depth;
            words_count = push(&mut stages.words, words_count, at, link.is_words());
            lists_count = push(&mut stages.lists, lists_count, at, link.is_list());
            fetch_target(tables, link);
        }
        stages.finish::<VECTOR>(tables, keys, words_count, lists_count);
        for (link, value) in stages.links.iter().zip(values) {
            *value = Value::from_raw(link.0 as u16);
        }
    }
}

/// What the list at `at` holds for `slot`.
#[inline(always)]
pub(crate) fn find<const VECTOR: bool>(tables: &Tables, at: usize, slot: u16) -> Link {
    let header = tables.named_leaf(at);
    let boundaries = usize::from(header & !WIDE_LIST);
    let rank = if VECTOR {
        rank_vector(tables, at, boundaries, slot)
    } else {
        rank(tables, at, boundaries, slot)
    };
    let runs = at + 1 + boundaries;
    if header & WIDE_LIST == 0 {
        Link::value(tables.named_leaf(runs + rank))
    } else {
        let low = u32::from(tables.named_leaf(runs + 2 * rank));
        Link(low | u32::from(tables.named_leaf(runs + 2 * rank + 1)) << 16)
    }
}

/// How many boundaries are not above `slot`: five halvings, whatever the list.
#[inline(always)]
fn rank(tables: &Tables, at: usize, boundaries: usize, slot: u16) -> usize {
    let mut rank = 0;
    for step in [16, 8, 4, 2, 1] {
        let middle = rank + step;
        let start = tables.named_leaf(at + middle.min(boundaries));
        rank = if (middle <= boundaries) & (start <= slot) {
            middle
        } else {
            rank
        };
    }
    rank
}

/// Which of them a processor takes is not for the tests to choose, so all that it has are tried.
#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::family::{V4, V6};
    use crate::prefix::Prefix;
    use crate::raw::{batch4_as, batch6_as};
    use crate::table::Table;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// All lengths, in few places so that lists, groups and windows fill; a batch of every
        /// size, so that vectors are whole, cut and mixed.
        #[test]
        fn every_kind_of_batch_finds_the_same(
            routes in proptest::collection::vec((any::<u128>(), 0_u8..=128, 0_u8..6, 0_u32..65_535), 0..400),
            keys in proptest::collection::vec((any::<u128>(), any::<prop::sample::Index>()), 0..700),
        ) {
            let place = |bits: u128, depth: u8| {
                let dense = 0x2001_0db8_4200_0017_u128 << 64;
                let free = u128::MAX >> (16 * depth);
                (dense & !free) | (bits & free)
            };
            let (mut four_table, mut six_table) = (Table::<V4>::new(), Table::<V6>::new());
            let routes: Vec<_> = routes
                .into_iter()
                .map(|(bits, len, depth, index)| {
                    let bits = place(bits, depth);
                    (bits, len, Value::new(index).unwrap())
                })
                .collect();
            four_table.load(routes.iter().map(|(bits, len, value)| {
                let net = (bits >> 96) as u32;
                (ipnet::Ipv4Net::new(net.into(), len % 33).unwrap(), *value)
            }));
            six_table.load(routes.iter().map(|(bits, len, value)| {
                (ipnet::Ipv6Net::new((*bits).into(), *len).unwrap(), *value)
            }));
            let keys: Vec<u128> = keys.iter().map(|(bits, near)| match near.index(routes.len() + 1) {
                0 => *bits,
                at => {
                    let (net, len, _) = routes[at - 1];
                    let inside = Prefix::new(0, len).last() & bits;
                    Prefix::new(net, len).bits | inside
                }
            }).collect();
            let four_keys: Vec<Ipv4Addr> = keys.iter().map(|key| ((key >> 96) as u32).into()).collect();
            let six_keys: Vec<Ipv6Addr> = keys.iter().map(|key| (*key).into()).collect();
            let (reader4, reader6) = (four_table.reader(), six_table.reader());
            let (guard4, guard6) = (reader4.pin(), reader6.pin());
            let expected4: Vec<_> = four_keys.iter().map(|key| guard4.lookup(*key)).collect();
            let expected6: Vec<_> = six_keys.iter().map(|key| guard6.lookup(*key)).collect();
            for kind in crate::raw::kinds() {
                let mut values = vec![None; keys.len()];
                batch4_as(kind, guard4.tables(), &four_keys, &mut values);
                prop_assert_eq!(&values, &expected4, "{:?}", kind);
                batch6_as(kind, guard6.tables(), &six_keys, &mut values);
                prop_assert_eq!(&values, &expected6, "{:?}", kind);
            }
        }
    }
}
