//! An axis: rules found by their source, or by their destination address.
//!
//! The first 16 bits of the address lead through a plain array to a chunk (see `chunk`), the
//! chunk to an interval between two prefix boundaries, the interval to a leaf: the rules of all
//! prefixes that cover it. Prefixes nest, so the rules of an interval are those of a chain. The
//! array's entries also hold, rounded down, the lowest order in the chunk: a packet for which
//! something lower was found already goes no further.

use std::collections::{BTreeMap, HashMap};

use rustc_hash::FxBuildHasher;

use super::block::{Block, Side};
use super::chunk::Chunks;
use super::leaf::Leaf;
use super::rule::{Address, Prefix, Rule};
use super::runs::Runs;

/// The rules of a table, by order.
pub(super) type Store<A> = HashMap<u32, Rule<A>, FxBuildHasher>;

/// Prefixes an axis takes are at least this long: a shorter one spans too many chunks.
pub(super) const SHORTEST: u8 = 8;

const CHUNK_BITS: u32 = 22;
const BOUNDS: u32 = 1 << (32 - CHUNK_BITS);

/// An entry of the first array: lowest order, scaled << 22 | chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(u32);

impl Entry {
    const EMPTY: Self = Self(u32::MAX << CHUNK_BITS);

    #[inline(always)]
    pub(super) fn chunk(self) -> u32 {
        self.0 & ((1 << CHUNK_BITS) - 1)
    }

    /// No rule of the chunk has a lower order.
    #[inline(always)]
    pub(super) fn bound(self, scale: u32) -> u32 {
        (self.0 >> CHUNK_BITS) << scale
    }
}

/// What a chunk owns, to be given back when it is built anew.
#[derive(Clone, Debug)]
struct Owned {
    lowest: u32,
    leaves: (u32, usize),
    blocks: Vec<Leaf>,
}

/// The axis.
#[derive(Clone, Debug)]
pub(super) struct Axis<A: Address> {
    /// The address its blocks compare: the other one.
    other: Side,
    first: Box<[Entry]>,
    pub(super) chunks: A::Chunks,
    pub(super) leaves: Runs<Leaf>,
    pub(super) blocks: Runs<Block<A>>,
    /// Orders of the rules of each prefix, ascending.
    prefixes: BTreeMap<Prefix<A>, Vec<u32>>,
    owned: HashMap<u16, Owned, FxBuildHasher>,
    rules: usize,
}

impl<A: Address> Axis<A> {
    pub(super) fn new(other: Side) -> Self {
        let mut leaves = Runs::new();
        leaves.store(&[Leaf::EMPTY]);
        Self {
            other,
            first: vec![Entry::EMPTY; 1 << 16].into(),
            chunks: A::Chunks::new(),
            leaves,
            blocks: Runs::new(),
            prefixes: BTreeMap::new(),
            owned: HashMap::default(),
            rules: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules == 0
    }

    #[inline(always)]
    pub(super) fn entry(&self, address: A) -> Entry {
        self.first[usize::from(address.top())]
    }

    pub(super) fn bytes(&self) -> usize {
        self.first.len() * 4 + self.chunks.bytes() + self.leaves.bytes() + self.blocks.bytes()
    }

    fn prefix(&self, rule: &Rule<A>) -> Prefix<A> {
        match self.other {
            Side::Dst => rule.src,
            Side::Src => rule.dst,
        }
    }

    /// Prefixes within this one, counted up to a limit: how often its rules will be copied.
    pub(super) fn nested(&self, prefix: Prefix<A>, limit: usize) -> usize {
        let inside = self
            .prefixes
            .range(prefix..)
            .map(|(inner, _)| inner.first());
        inside
            .take_while(|first| *first <= prefix.last())
            .take(limit)
            .count()
    }

    /// Files a rule without building.
    pub(super) fn file(&mut self, order: u32, rule: &Rule<A>) {
        let orders = self.prefixes.entry(self.prefix(rule)).or_default();
        let at = orders.partition_point(|&other| other < order);
        orders.insert(at, order);
        self.rules += 1;
    }

    /// Takes a rule out without building.
    pub(super) fn unfile(&mut self, order: u32, rule: &Rule<A>) {
        let prefix = self.prefix(rule);
        if let Some(orders) = self.prefixes.get_mut(&prefix) {
            orders.retain(|&other| other != order);
            if orders.is_empty() {
                self.prefixes.remove(&prefix);
            }
            self.rules -= 1;
        }
    }

    /// Builds the chunks a rule reaches.
    pub(super) fn rebuild(&mut self, rule: &Rule<A>, store: &Store<A>, scale: u32) {
        let prefix = self.prefix(rule);
        for top in prefix.first().top()..=prefix.last().top() {
            self.build(top, store, scale);
        }
    }

    /// Builds all chunks that have rules.
    pub(super) fn build_all(&mut self, store: &Store<A>, scale: u32) {
        let mut tops: Vec<u16> = Vec::new();
        for prefix in self.prefixes.keys() {
            tops.extend(prefix.first().top()..=prefix.last().top());
        }
        tops.sort_unstable();
        tops.dedup();
        tops.into_iter()
            .for_each(|top| self.build(top, store, scale));
    }

    /// Enters the lowest orders anew at another scale.
    pub(super) fn rescale(&mut self, scale: u32) {
        for (&top, owned) in &self.owned {
            let entry = &mut self.first[usize::from(top)];
            *entry = scaled(owned.lowest, scale, entry.chunk());
        }
    }

    fn build(&mut self, top: u16, store: &Store<A>, scale: u32) {
        let entry = &mut self.first[usize::from(top)];
        if let Some(owned) = self.owned.remove(&top) {
            self.chunks.drop_chunk(entry.chunk());
            self.leaves.give_back(owned.leaves.0, owned.leaves.1);
            owned
                .blocks
                .into_iter()
                .for_each(|leaf| leaf.give_back(&mut self.blocks));
        }
        *entry = Entry::EMPTY;
        let mut cut = Cut {
            ends: Vec::new(),
            leaves: Vec::new(),
            owned: Vec::new(),
        };
        let lowest = self.cut(top, store, &mut cut);
        if cut.owned.is_empty() {
            return;
        }
        let leaves = self.leaves.store(&cut.leaves);
        let chunk = self.chunks.build(&cut.ends, leaves);
        assert!(
            chunk < 1 << CHUNK_BITS,
            "a table has fewer rules than chunks it can number"
        );
        self.first[usize::from(top)] = scaled(lowest, scale, chunk);
        let owned = Owned {
            lowest,
            leaves: (leaves, cut.leaves.len()),
            blocks: cut.owned,
        };
        self.owned.insert(top, owned);
    }

    /// Cuts a chunk into intervals; the lowest order in it.
    fn cut(&mut self, top: u16, store: &Store<A>, cut: &mut Cut<A>) -> u32 {
        let first = A::from_top(top);
        let last = Prefix::new(first, 16)
            .expect("addresses have at least 16 bits")
            .last();
        // The chain of prefixes around the current address: their last address, their rules,
        // and the leaf of the chain down to them once it is made.
        let mut chain: Vec<Link<A>> = vec![Link {
            last,
            orders: &[],
            leaf: None,
        }];
        for length in SHORTEST..=16 {
            let around = Prefix::new(first, length).expect("addresses have at least 16 bits");
            if let Some(orders) = self.prefixes.get(&around) {
                chain.push(Link {
                    last,
                    orders,
                    leaf: None,
                });
            }
        }
        let lowest_of = |orders: &[u32]| orders.first().copied().unwrap_or(u32::MAX);
        let mut lowest = chain
            .iter()
            .map(|link| lowest_of(link.orders))
            .min()
            .unwrap_or(u32::MAX);
        let inside = Prefix::new(first, 17).expect("addresses have more than 16 bits");
        let mut from = first;
        let mut done = false;
        let blocks = &mut self.blocks;
        let other = self.other;
        for (prefix, orders) in self.prefixes.range(inside..) {
            if prefix.first() > last {
                break;
            }
            if prefix.length() <= 16 {
                continue;
            }
            lowest = lowest.min(lowest_of(orders));
            while chain.last().is_some_and(|link| link.last < prefix.first()) {
                let end = chain.last().expect("it was just there").last;
                if from <= end {
                    cut.interval(end, &mut chain, blocks, store, other);
                    from = end.next();
                }
                chain.pop();
            }
            if from < prefix.first() {
                cut.interval(prefix.first().before(), &mut chain, blocks, store, other);
                from = prefix.first();
            }
            chain.push(Link {
                last: prefix.last(),
                orders,
                leaf: None,
            });
        }
        while let Some(end) = chain.last().map(|link| link.last) {
            if !done && from <= end {
                cut.interval(end, &mut chain, blocks, store, other);
                done = end == last;
                from = end.next();
            }
            chain.pop();
        }
        lowest
    }
}

fn scaled(lowest: u32, scale: u32, chunk: u32) -> Entry {
    Entry((lowest >> scale).min(BOUNDS - 1) << CHUNK_BITS | chunk)
}

struct Link<'a, A> {
    last: A,
    orders: &'a [u32],
    leaf: Option<Leaf>,
}

/// A chunk in the making.
struct Cut<A> {
    ends: Vec<A>,
    leaves: Vec<Leaf>,
    /// Leaves made for it, each once though several intervals may share one.
    owned: Vec<Leaf>,
}

impl<A: Address> Cut<A> {
    fn interval(
        &mut self,
        end: A,
        chain: &mut [Link<'_, A>],
        blocks: &mut Runs<Block<A>>,
        store: &Store<A>,
        other: Side,
    ) {
        let made = chain.last().and_then(|link| link.leaf);
        let leaf = made.unwrap_or_else(|| {
            let mut orders: Vec<u32> = chain
                .iter()
                .flat_map(|link| link.orders.iter().copied())
                .collect();
            orders.sort_unstable();
            let rules = orders.iter().map(|order| (*order, store[order]));
            let leaf = Leaf::store(blocks, rules, other);
            if leaf != Leaf::EMPTY {
                self.owned.push(leaf);
            }
            leaf
        });
        if let Some(link) = chain.last_mut() {
            link.leaf = Some(leaf);
        }
        self.ends.push(end);
        self.leaves.push(leaf);
    }
}
