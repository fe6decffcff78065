//! First match without walking the list: bit sets per dimension.
//!
//! Each rule stands as one bit in four dimensions: protocol, destination port (or ICMP type),
//! source and destination address. In a dimension a rule either does not care, and its bit is in
//! `wild`, or it is filed under keys, and a packet that can match the rule has one of these keys:
//! the protocol number; the aligned power-of-two blocks a port range falls into; a prefix by
//! length and bits; a set by number. A packet's candidates are the intersection over dimensions of
//! (wild ∪ the bits under its keys), in order, eight words at a time, with a summary bit per word so
//! that words without candidates are never touched. Keys only narrow: each candidate is then matched in full, so a
//! hash collision or a dimension left out (negations, source ports) costs time, never truth.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::addresses::Members;
use super::rule::{CompiledRule, Packet, Side};
use crate::model::PortRange;

/// Words of a segment; a program with more rules has several segments.
const WORDS: usize = 256;
/// Rules of a segment.
pub(super) const SEGMENT: usize = WORDS * 64;
/// Summary words.
const SUMMARY: usize = WORDS / 64;
/// A rule that names more prefixes than this is not filed by them.
const MAX_PREFIXES: usize = 256;

/// Words that are intersected at once; all bitmaps are a multiple of it long.
const BLOCK: usize = 8;

/// Working memory of a classification, kept per thread so that it need not be cleared.
pub(super) struct Scratch {
    /// Protocol, port, source, destination.
    dimensions: [View; 4],
    /// Words that may have candidates.
    candidates: [u64; SUMMARY],
    /// Whether the addresses were looked at.
    narrowed: bool,
}

/// The rules of a dimension that a packet may match.
struct View {
    base: Base,
    /// Blocks that differ from the base, and are in `words`.
    touched: u32,
    summary: [u64; SUMMARY],
    words: [u64; WORDS],
}

/// What a view begins with.
#[derive(Clone, Copy)]
enum Base {
    /// The rules that do not care.
    Wild,
    /// A ready bitmap of the dimension, which begins here.
    Bitmap(usize),
}

impl Scratch {
    pub(super) const fn new() -> Self {
        const VIEW: View = View {
            base: Base::Wild,
            touched: 0,
            summary: [0; SUMMARY],
            words: [0; WORDS],
        };
        Self {
            dimensions: [VIEW; 4],
            candidates: [0; SUMMARY],
            narrowed: false,
        }
    }
}

/// The classifier of up to [`SEGMENT`] rules.
#[derive(Debug)]
pub(super) struct Classifier {
    protocol: Dimension,
    port: Dimension,
    port_levels: Vec<u8>,
    source: AddressDimension,
    destination: AddressDimension,
}

#[derive(Debug)]
struct AddressDimension {
    dimension: Dimension,
    v4_lengths: Vec<u8>,
    v6_lengths: Vec<u8>,
    has_sets: bool,
}

impl Classifier {
    pub(super) fn new(rules: &[&CompiledRule]) -> Self {
        let mut protocol = Builder::new(rules.len());
        let mut port = Builder::new(rules.len());
        let mut port_levels = Vec::new();
        for (i, rule) in rules.iter().enumerate() {
            protocol.add(i, rule.protocol.map(|p| vec![u64::from(p)]));
            let keys = port_keys(rule);
            for level in keys.iter().flatten().map(|key| (key >> 16) as u8) {
                if !port_levels.contains(&level) {
                    port_levels.push(level);
                }
            }
            port.add(i, keys);
        }
        Self {
            protocol: protocol.finish(),
            port: port.finish(),
            port_levels,
            source: AddressDimension::new(rules.iter().map(|r| &r.source)),
            destination: AddressDimension::new(rules.iter().map(|r| &r.destination)),
        }
    }

    /// Finds the packet's candidates by protocol and port; [`Self::next`] then walks them.
    pub(super) fn by_headers(&self, packet: &Packet<'_>, scratch: &mut Scratch) {
        let [protocol, port, ..] = &mut scratch.dimensions;
        self.protocol.reset(protocol);
        self.protocol
            .add(u64::from(packet.tuple.protocol), protocol);
        self.port.reset(port);
        for &level in &self.port_levels {
            self.port.add(packet_port_key(packet, level), port);
        }
        scratch.narrowed = false;
        for (i, word) in scratch.candidates.iter_mut().enumerate() {
            *word = protocol.summary[i] & port.summary[i];
        }
    }

    /// Narrows the candidates by both addresses.
    pub(super) fn by_addresses(&self, packet: &Packet<'_>, scratch: &mut Scratch) {
        let [_, _, source, destination] = &mut scratch.dimensions;
        self.source
            .view(packet.tuple.source, || packet.source(), source);
        self.destination.view(
            packet.tuple.destination,
            || packet.destination(),
            destination,
        );
        scratch.narrowed = true;
        for (i, word) in scratch.candidates.iter_mut().enumerate() {
            *word &= source.summary[i] & destination.summary[i];
        }
    }

    /// The first candidate at or after `from`.
    pub(super) fn next(&self, from: usize, scratch: &Scratch) -> Option<usize> {
        let words = self.protocol.wild.len();
        let (first, mut mask) = (from / 64, u64::MAX << (from % 64));
        let mut at = first - first % BLOCK;
        while at < words {
            let waiting = scratch.candidates[at / 64] >> (at % 64);
            if waiting & 0xff == 0 {
                // None in this block, and perhaps none in the rest of this summary word.
                at += if waiting == 0 { 64 - at % 64 } else { BLOCK };
                continue;
            }
            let bits = self.block(at, scratch);
            if bits == [0; BLOCK] {
                at += BLOCK;
                continue;
            }
            for (i, mut word) in bits.into_iter().enumerate() {
                if at + i < first {
                    continue;
                }
                if at + i == first {
                    word &= mask;
                    mask = u64::MAX;
                }
                if word != 0 {
                    return Some((at + i) * 64 + word.trailing_zeros() as usize);
                }
            }
            at += BLOCK;
        }
        None
    }

    /// The candidates among the block of words that begins at word `at`.
    #[inline]
    fn block(&self, at: usize, scratch: &Scratch) -> [u64; BLOCK] {
        let [protocol, port, source, destination] = &scratch.dimensions;
        let mut bits = *self.protocol.block(at, protocol);
        self.port.narrow(at, port, &mut bits);
        if scratch.narrowed {
            self.source.dimension.narrow(at, source, &mut bits);
            let destinations = &self.destination.dimension;
            destinations.narrow(at, destination, &mut bits);
        }
        bits
    }
}

impl AddressDimension {
    fn new<'a>(sides: impl ExactSizeIterator<Item = &'a Side>) -> Self {
        let mut builder = Builder::new(sides.len());
        let (mut v4_lengths, mut v6_lengths, mut has_sets) = (Vec::new(), Vec::new(), false);
        for (i, side) in sides.enumerate() {
            let by_prefix = (1..=MAX_PREFIXES).contains(&side.prefixes().len());
            let keys = if by_prefix {
                let mut keys = Vec::with_capacity(side.prefixes().len());
                for net in side.prefixes() {
                    let lengths = if matches!(net, IpNet::V4(_)) {
                        &mut v4_lengths
                    } else {
                        &mut v6_lengths
                    };
                    if !lengths.contains(&net.prefix_len()) {
                        lengths.push(net.prefix_len());
                    }
                    keys.push(prefix_key(net.network(), net.prefix_len()));
                }
                Some(keys)
            } else {
                side.any_set().map(|set| {
                    has_sets = true;
                    vec![set_key(set.0)]
                })
            };
            builder.add(i, keys);
        }
        Self {
            dimension: builder.finish(),
            v4_lengths,
            v6_lengths,
            has_sets,
        }
    }

    fn view<'a, 'b: 'a>(
        &self,
        address: IpAddr,
        members: impl Fn() -> &'a Members<'b>,
        view: &mut View,
    ) {
        self.dimension.reset(view);
        let lengths = match address {
            IpAddr::V4(_) => &self.v4_lengths,
            IpAddr::V6(_) => &self.v6_lengths,
        };
        for &len in lengths {
            self.dimension.add(prefix_key(address, len), view);
        }
        if self.has_sets {
            members().each_set(|set| self.dimension.add(set_key(set), view));
        }
    }
}

const TAG_SET: u64 = 1 << 62;
const TAG_V4: u64 = 2 << 62;
const TAG_V6: u64 = 0;

fn set_key(set: u32) -> u64 {
    TAG_SET | u64::from(set)
}

/// The key of the prefix of this length that contains the address.
#[allow(clippy::cast_possible_truncation)]
fn prefix_key(address: IpAddr, len: u8) -> u64 {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            let masked = if len == 0 {
                0
            } else {
                bits & (u32::MAX << (32 - len))
            };
            TAG_V4 | u64::from(len) << 32 | u64::from(masked)
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let masked = if len == 0 {
                0
            } else {
                bits & (u128::MAX << (128 - len))
            };
            let folded = (masked >> 64) as u64 ^ (masked as u64).rotate_left(29) ^ u64::from(len);
            TAG_V6 | folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 2
        }
    }
}

/// Levels of port keys: 0 to 16 are blocks of 2^level ports.
const ICMP_TYPE_AND_CODE: u8 = 32;
const ICMP_TYPE: u8 = 33;

fn port_key(level: u8, value: u16) -> u64 {
    u64::from(level) << 16 | u64::from(value)
}

fn packet_port_key(packet: &Packet<'_>, level: u8) -> u64 {
    let tuple = packet.tuple;
    let value = match level {
        ICMP_TYPE_AND_CODE => u16::from_be_bytes([tuple.icmp_type, tuple.icmp_code]),
        ICMP_TYPE => u16::from(tuple.icmp_type),
        // Level 16 is the one block of all ports.
        level => tuple
            .destination_port
            .checked_shr(u32::from(level))
            .unwrap_or(0),
    };
    port_key(level, value)
}

/// The keys a rule's destination ports or ICMP type file it under, none when it does not care or
/// names ports by name.
fn port_keys(rule: &CompiledRule) -> Option<Vec<u64>> {
    if let Some(icmp) = rule.icmp {
        return Some(vec![match icmp.code() {
            Some(code) => port_key(ICMP_TYPE_AND_CODE, u16::from_be_bytes([icmp.kind(), code])),
            None => port_key(ICMP_TYPE, u16::from(icmp.kind())),
        }]);
    }
    let ranges = rule.destination.ranges()?;
    let mut keys = Vec::new();
    for range in ranges {
        blocks(range, |level, value| keys.push(port_key(level, value)));
    }
    keys.sort_unstable();
    keys.dedup();
    Some(keys)
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

/// The bits of one dimension.
#[derive(Debug)]
struct Dimension {
    /// Whether no rule cares.
    indifferent: bool,
    wild: Box<[u64]>,
    wild_summary: [u64; SUMMARY],
    /// Runs of (word, bits), found through `table`.
    runs: Box<[(u32, u64)]>,
    /// The bits of keys with many rules and of those that do not care, as whole bitmaps, each
    /// behind its summary.
    bitmaps: Box<[u64]>,
    table: Keys,
}

impl Dimension {
    fn reset(&self, view: &mut View) {
        view.base = Base::Wild;
        view.touched = 0;
        view.summary = self.wild_summary;
    }

    /// Adds the rules filed under `key` to the view.
    fn add(&self, key: u64, view: &mut View) {
        match self.table.find(key) {
            None => {}
            Some(Filed::Runs(range)) => {
                for &(word, bits) in &self.runs[range] {
                    let word = word as usize;
                    self.touch(word / BLOCK, view);
                    view.words[word] |= bits;
                    view.summary[word / 64] |= 1 << (word % 64);
                }
            }
            Some(Filed::Bitmap(start)) => {
                let (summary, words) = self.bitmaps[start..].split_at(SUMMARY);
                for (all, more) in view.summary.iter_mut().zip(summary) {
                    *all |= more;
                }
                match (view.base, view.touched) {
                    (Base::Wild, 0) => view.base = Base::Bitmap(start),
                    (Base::Wild | Base::Bitmap(_), _) => {
                        for block in 0..self.wild.len() / BLOCK {
                            self.touch(block, view);
                        }
                        for (all, more) in view.words[..self.wild.len()].iter_mut().zip(words) {
                            *all |= more;
                        }
                    }
                }
            }
        }
    }

    /// Copies a block of the view's base to where more can be added, once.
    fn touch(&self, block: usize, view: &mut View) {
        if view.touched >> block & 1 == 0 {
            let at = block * BLOCK;
            let base = *self.block(at, view);
            view.words[at..at + BLOCK].copy_from_slice(&base);
            view.touched |= 1 << block;
        }
    }

    /// Leaves of `bits`, the block of words that begins at word `at`, those of the view.
    #[inline]
    fn narrow(&self, at: usize, view: &View, bits: &mut [u64; BLOCK]) {
        if self.indifferent {
            return;
        }
        for (word, more) in bits.iter_mut().zip(self.block(at, view)) {
            *word &= more;
        }
    }

    /// The block of words that begins at word `at`.
    #[inline]
    fn block<'a>(&'a self, at: usize, view: &'a View) -> &'a [u64; BLOCK] {
        let words = if view.touched >> (at / BLOCK) & 1 == 1 {
            &view.words[at..]
        } else {
            match view.base {
                Base::Wild => &self.wild[at..],
                Base::Bitmap(start) => &self.bitmaps[start + SUMMARY + at..],
            }
        };
        words.first_chunk().expect("bitmaps are whole blocks long")
    }
}

struct Builder {
    indifferent: bool,
    wild: Vec<u64>,
    filed: FxHashMap<u64, Vec<(u32, u64)>>,
}

impl Builder {
    fn new(rules: usize) -> Self {
        debug_assert!(rules <= SEGMENT);
        Self {
            indifferent: true,
            wild: vec![0; rules.div_ceil(64).next_multiple_of(BLOCK)],
            filed: FxHashMap::default(),
        }
    }

    /// Files rule `i` under its keys, or as not caring.
    fn add(&mut self, i: usize, keys: Option<Vec<u64>>) {
        let (word, bit) = (i / 64, 1u64 << (i % 64));
        let Some(keys) = keys else {
            self.wild[word] |= bit;
            return;
        };
        self.indifferent = false;
        let word = u32::try_from(word).expect("a segment has 256 words");
        for key in keys {
            let runs = self.filed.entry(key).or_default();
            match runs.last_mut() {
                Some((last, bits)) if *last == word => *bits |= bit,
                Some(_) | None => runs.push((word, bit)),
            }
        }
    }

    fn finish(self) -> Dimension {
        let words = self.wild.len();
        let mut wild_summary = [0; SUMMARY];
        for (word, _) in self.wild.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            wild_summary[word / 64] |= 1 << (word % 64);
        }
        let (mut runs, mut bitmaps) = (Vec::new(), Vec::new());
        let mut table = Keys::with_room_for(self.filed.len());
        for (key, list) in self.filed {
            if list.len() > MANY_RUNS.max(words / 4) {
                let start = bitmaps.len();
                table.insert(key, start, BITMAP);
                bitmaps.extend(wild_summary);
                bitmaps.extend(&self.wild);
                for (word, bits) in list {
                    bitmaps[start + word as usize / 64] |= 1 << (word % 64);
                    bitmaps[start + SUMMARY + word as usize] |= bits;
                }
            } else {
                let start = runs.len();
                runs.extend(list);
                table.insert(key, start, small(runs.len()));
            }
        }
        Dimension {
            indifferent: self.indifferent,
            wild: self.wild.into(),
            wild_summary,
            runs: runs.into(),
            bitmaps: bitmaps.into(),
            table,
        }
    }
}

/// Keys with more runs than this, and than a quarter of the words, get a whole bitmap.
const MANY_RUNS: usize = 8;

/// What a key leads to.
enum Filed {
    Runs(std::ops::Range<usize>),
    /// Where the bitmap's summary begins.
    Bitmap(usize),
}

/// In place of the end of runs: the start is that of a bitmap.
const BITMAP: u32 = u32::MAX;

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a segment has fewer than 2^32 runs")
}

/// Key → range of runs: open addressing, at most half full.
#[derive(Debug)]
struct Keys {
    slots: Box<[(u64, u32, u32)]>,
    shift: u32,
}

/// No key has all bits set: that would be an IPv4 prefix longer than any.
const FREE: u64 = u64::MAX;

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

    fn insert(&mut self, key: u64, start: usize, end: u32) {
        let mut at = self.home(key);
        while self.slots[at].0 != FREE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = (key, small(start), end);
    }

    fn find(&self, key: u64) -> Option<Filed> {
        let mut at = self.home(key);
        loop {
            let (found, start, end) = self.slots[at];
            if found == key {
                return Some(if end == BITMAP {
                    Filed::Bitmap(start as usize)
                } else {
                    Filed::Runs(start as usize..end as usize)
                });
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
}
