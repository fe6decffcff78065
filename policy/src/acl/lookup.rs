//! The lookup: 64 packets at a time, one stage after the other for all of them.
//!
//! No stage waits for its own loads: each asks for what the next will read. And hardly a branch
//! depends on a packet: what is left to do goes into a list whose length grows by zero or one.
//! Stages: ports (which often gives a rule that bounds the rest), chunks, leaves, blocks.

use super::axis::Axis;
use super::chunk::Chunks;
use super::leaf::Leaf;
use super::rule::{Address, Tuple};
use super::table::Acl;
use crate::cpu::{Kernel, Lanes, prefetch, widest};

/// Packets a stage handles in a row.
const STRIDE: usize = 64;

impl<A: Address> Acl<A> {
    /// The order of the first rule that matches the packet.
    pub fn lookup(&self, packet: &Tuple<A>) -> Option<u32> {
        let mut best = u32::MAX;
        widest(One {
            table: self,
            packet,
            best: &mut best,
        });
        (best != u32::MAX).then_some(best)
    }

    /// The first match of `packets[i]` into `orders[i]`, as far as the shorter of the two goes.
    pub fn lookup_batch(&self, packets: &[Tuple<A>], orders: &mut [Option<u32>]) {
        widest(Batch {
            table: self,
            packets,
            orders,
        });
    }
}

struct One<'a, A: Address> {
    table: &'a Acl<A>,
    packet: &'a Tuple<A>,
    best: &'a mut u32,
}

impl<A: Address> Kernel for One<'_, A> {
    #[inline(always)]
    fn run(self, lanes: impl Lanes) {
        let Self {
            table,
            packet,
            best,
        } = self;
        let leaf = table.ports.leaf(packet);
        let along = |axis: &Axis<A>, address: A, other: A, best: u32| {
            let entry = axis.entry(address);
            if entry.chunk() == 0 || entry.bound(table.scale) >= best {
                return best;
            }
            let leaf = *axis
                .leaves
                .at(axis.chunks.leaf(lanes, entry.chunk(), address));
            if leaf.lowest() >= best {
                return best;
            }
            leaf.first(lanes, &axis.blocks, packet, other, best)
        };
        if leaf.is_certain() {
            *best = leaf.lowest();
        } else if leaf != Leaf::EMPTY {
            *best = leaf.first(lanes, &table.ports.blocks, packet, A::default(), *best);
        }
        *best = along(&table.src, packet.src, packet.dst, *best);
        *best = along(&table.dst, packet.dst, packet.src, *best);
        rest(table, packet, best);
    }
}

struct Batch<'a, A: Address> {
    table: &'a Acl<A>,
    packets: &'a [Tuple<A>],
    orders: &'a mut [Option<u32>],
}

impl<A: Address> Kernel for Batch<'_, A> {
    #[inline(always)]
    fn run(self, lanes: impl Lanes) {
        for (packets, orders) in self
            .packets
            .chunks(STRIDE)
            .zip(self.orders.chunks_mut(STRIDE))
        {
            let packets = &packets[..packets.len().min(orders.len())];
            let mut best = [u32::MAX; STRIDE];
            stride(lanes, self.table, packets, &mut best);
            for (order, best) in orders.iter_mut().zip(best) {
                *order = (best != u32::MAX).then_some(best);
            }
        }
    }
}

/// Work left for packets: which, and where it goes on.
struct Left<T> {
    items: [(u8, T); STRIDE],
    count: usize,
}

impl<T: Copy> Left<T> {
    #[inline(always)]
    fn new(nothing: T) -> Self {
        Self {
            items: [(0, nothing); STRIDE],
            count: 0,
        }
    }

    /// Enters an item, for good if it `counts`.
    #[inline(always)]
    fn push(&mut self, packet: usize, item: T, counts: bool) {
        self.items[self.count % STRIDE] = (packet as u8, item);
        self.count += usize::from(counts);
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = (usize, T)> {
        self.items[..self.count]
            .iter()
            .map(|&(packet, item)| (usize::from(packet) % STRIDE, item))
    }
}

#[inline(always)]
fn stride<A: Address>(
    lanes: impl Lanes,
    table: &Acl<A>,
    packets: &[Tuple<A>],
    best: &mut [u32; STRIDE],
) {
    let mut wide = Left::new(Leaf::EMPTY);
    for (i, packet) in packets.iter().enumerate().take(STRIDE) {
        let leaf = table.ports.leaf(packet);
        best[i] = if leaf.is_certain() {
            leaf.lowest()
        } else {
            u32::MAX
        };
        wide.push(i, leaf, !leaf.is_certain() & (leaf != Leaf::EMPTY));
    }
    for (i, leaf) in wide.iter() {
        best[i] = leaf.first(
            lanes,
            &table.ports.blocks,
            &packets[i],
            A::default(),
            best[i],
        );
    }
    let src = chunks(&table.src, table.scale, packets, best, |packet| packet.src);
    let dst = chunks(&table.dst, table.scale, packets, best, |packet| packet.dst);
    let src = leaves(lanes, &table.src, &src, packets, |packet| packet.src);
    let dst = leaves(lanes, &table.dst, &dst, packets, |packet| packet.dst);
    let src = blocks(&table.src, &src, best);
    let dst = blocks(&table.dst, &dst, best);
    matches(lanes, &table.src, &src, packets, best, |packet| packet.dst);
    matches(lanes, &table.dst, &dst, packets, best, |packet| packet.src);
    for (packet, best) in packets.iter().zip(best) {
        rest(table, packet, best);
    }
}

/// The rules too wide for an axis.
#[inline(always)]
fn rest<A: Address>(table: &Acl<A>, packet: &Tuple<A>, best: &mut u32) {
    let lower = table.rest.iter().take_while(|(order, _)| order < best);
    if let Some((order, _)) = lower.into_iter().find(|(_, rule)| rule.matches(packet)) {
        *best = *order;
    }
}

/// The chunks worth looking into.
#[inline(always)]
fn chunks<A: Address>(
    axis: &Axis<A>,
    scale: u32,
    packets: &[Tuple<A>],
    best: &[u32; STRIDE],
    address: impl Fn(&Tuple<A>) -> A,
) -> Left<u32> {
    let mut left = Left::new(0);
    if axis.is_empty() {
        return left;
    }
    for (i, packet) in packets.iter().enumerate().take(STRIDE) {
        let entry = axis.entry(address(packet));
        left.push(
            i,
            entry.chunk(),
            (entry.bound(scale) < best[i]) & (entry.chunk() != 0),
        );
    }
    for (_, chunk) in left.iter() {
        axis.chunks.prefetch(chunk);
    }
    left
}

/// Their leaves' places.
#[inline(always)]
fn leaves<A: Address>(
    lanes: impl Lanes,
    axis: &Axis<A>,
    chunks: &Left<u32>,
    packets: &[Tuple<A>],
    address: impl Fn(&Tuple<A>) -> A,
) -> Left<u32> {
    let mut left = Left::new(0);
    for (i, chunk) in chunks.iter() {
        let leaf = axis.chunks.leaf(lanes, chunk, address(&packets[i]));
        prefetch(axis.leaves.at(leaf));
        left.push(i, leaf, true);
    }
    left
}

/// The leaves worth looking into.
#[inline(always)]
fn blocks<A: Address>(axis: &Axis<A>, leaves: &Left<u32>, best: &[u32; STRIDE]) -> Left<Leaf> {
    let mut left = Left::new(Leaf::EMPTY);
    for (i, leaf) in leaves.iter() {
        let leaf = *axis.leaves.at(leaf);
        left.push(i, leaf, leaf.lowest() < best[i]);
    }
    for (_, leaf) in left.iter() {
        axis.blocks.at(leaf.block()).prefetch();
    }
    left
}

/// Compares the rules of the leaves.
#[inline(always)]
fn matches<A: Address>(
    lanes: impl Lanes,
    axis: &Axis<A>,
    leaves: &Left<Leaf>,
    packets: &[Tuple<A>],
    best: &mut [u32; STRIDE],
    other: impl Fn(&Tuple<A>) -> A,
) {
    for (i, leaf) in leaves.iter() {
        if leaf.lowest() < best[i] {
            let packet = &packets[i];
            best[i] = leaf.first(lanes, &axis.blocks, packet, other(packet), best[i]);
        }
    }
}
