//! From an address within a chunk to its interval.
//!
//! A *chunk* is the addresses that share their first 16 bits. The prefixes in it cut it into
//! intervals; the leaves of a chunk's intervals stand side by side, so finding the interval is
//! finding the leaf. IPv4 uses a B-tree of cache lines, IPv6 a binary search.

use super::rule::Address;
use super::runs::Runs;
use crate::cpu::{Lanes, prefetch};

/// The index of an axis' chunks. Chunk 0 exists from the start and leads to leaf 0.
#[doc(hidden)]
pub trait Chunks<A>: Clone + std::fmt::Debug {
    /// An index without chunks but the empty one.
    fn new() -> Self;
    /// A chunk whose intervals end (inclusively) at these addresses; the leaf of the first.
    fn build(&mut self, ends: &[A], leaf: u32) -> u32;
    /// Takes a chunk back.
    fn drop_chunk(&mut self, chunk: u32);
    /// The leaf of an address.
    fn leaf(&self, lanes: impl Lanes, chunk: u32, address: A) -> u32;
    /// Brings the chunk near.
    fn prefetch(&self, chunk: u32);
    /// Bytes.
    fn bytes(&self) -> usize;
}

/// Intervals of a node.
const WAYS: usize = 31;
const INNER: u32 = 1 << 31;

/// Lanes of a node. The last two hold a number and take no part in comparisons.
const LANES: usize = 32;

/// One cache line: where the first 30 intervals end, then what the first of all leads to: a
/// leaf, or with [`INNER`] a node; the others follow it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Node([u16; LANES]);

impl Default for Node {
    fn default() -> Self {
        Self::new(&[u16::MAX], 0)
    }
}

impl Node {
    fn new(ends: &[u16], base: u32) -> Self {
        let mut lanes = [u16::MAX; LANES];
        let inner = &ends[..ends.len() - 1];
        lanes[..inner.len()].copy_from_slice(inner);
        lanes[LANES - 2] = base as u16;
        lanes[LANES - 1] = (base >> 16) as u16;
        Self(lanes)
    }

    #[inline(always)]
    fn base(&self) -> u32 {
        u32::from(self.0[LANES - 2]) | u32::from(self.0[LANES - 1]) << 16
    }

    /// How many intervals end before the address: an end not in use lies behind all.
    #[inline(always)]
    fn rank(&self, lanes: impl Lanes, low: u16) -> u32 {
        lanes.less_of_30(low, &self.0)
    }
}

/// B-trees of nodes: one level for up to 31 intervals, four for the most a chunk can have.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Runs<Node>,
}

impl Chunks<u32> for Tree {
    fn new() -> Self {
        let mut nodes = Runs::new();
        nodes.store(&[Node::default()]);
        Self { nodes }
    }

    fn build(&mut self, ends: &[u32], leaf: u32) -> u32 {
        let mut ends: Vec<u16> = ends.iter().map(|end| end.low()).collect();
        let (mut base, mut inner) = (leaf, 0);
        loop {
            let groups = ends.chunks(WAYS).enumerate();
            let level: Vec<Node> = groups
                .map(|(i, ends)| Node::new(ends, (base + (i * WAYS) as u32) | inner))
                .collect();
            base = self.nodes.store(&level);
            if level.len() == 1 {
                return base;
            }
            ends = ends
                .chunks(WAYS)
                .filter_map(|ends| ends.last().copied())
                .collect();
            inner = INNER;
        }
    }

    fn drop_chunk(&mut self, chunk: u32) {
        self.drop_below(chunk);
        self.nodes.give_back(chunk, 1);
    }

    #[inline(always)]
    fn leaf(&self, lanes: impl Lanes, chunk: u32, address: u32) -> u32 {
        let node = self.nodes.at(chunk);
        let mut at = node.base() + node.rank(lanes, address.low());
        while at & INNER != 0 {
            let node = self.nodes.at(at & !INNER);
            at = node.base() + node.rank(lanes, address.low());
        }
        at
    }

    #[inline(always)]
    fn prefetch(&self, chunk: u32) {
        prefetch(self.nodes.at(chunk));
    }

    fn bytes(&self) -> usize {
        self.nodes.bytes()
    }
}

impl Tree {
    /// Takes the children of a node back, and theirs.
    fn drop_below(&mut self, node: u32) {
        let node = *self.nodes.at(node);
        if node.base() & INNER == 0 {
            return;
        }
        // An end in use lies below the last address, so the unused ones tell themselves.
        let ends = &node.0[..WAYS - 1];
        let ways = ends.iter().filter(|&&end| end != u16::MAX).count() + 1;
        let first = node.base() & !INNER;
        for child in 0..ways as u32 {
            self.drop_below(first + child);
        }
        self.nodes.give_back(first, ways);
    }
}

/// Sorted interval ends, searched.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Search {
    chunks: Vec<(Box<[u128]>, u32)>,
    free: Vec<u32>,
}

impl Chunks<u128> for Search {
    fn new() -> Self {
        Self {
            chunks: vec![(Box::default(), 0)],
            free: Vec::new(),
        }
    }

    fn build(&mut self, ends: &[u128], leaf: u32) -> u32 {
        let chunk = (ends[..ends.len() - 1].into(), leaf);
        if let Some(at) = self.free.pop() {
            self.chunks[at as usize] = chunk;
            return at;
        }
        self.chunks.push(chunk);
        self.chunks.len() as u32 - 1
    }

    fn drop_chunk(&mut self, chunk: u32) {
        self.chunks[chunk as usize].0 = Box::default();
        self.free.push(chunk);
    }

    #[inline(always)]
    fn leaf(&self, _: impl Lanes, chunk: u32, address: u128) -> u32 {
        let (ends, base) = &self.chunks[chunk as usize];
        base + ends.partition_point(|&end| end < address) as u32
    }

    #[inline(always)]
    fn prefetch(&self, chunk: u32) {
        prefetch(&self.chunks[chunk as usize]);
    }

    fn bytes(&self) -> usize {
        let ends: usize = self
            .chunks
            .iter()
            .map(|(ends, _)| ends.len() * 16 + 24)
            .sum();
        ends + self.free.len() * 4
    }
}
