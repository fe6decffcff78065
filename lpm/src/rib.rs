//! The prefixes themselves: a trie of bitmaps in the manner of Eatherton's tree bitmap.
//!
//! A node stands for six lengths: one bit for each of the 63 prefixes that end in it, 64 possible
//! children below. Its values lie side by side in the order of those bits, its children behind one
//! bitmap; a node takes 16 bytes, a value 2. Lengths are counted from five imaginary bits in front
//! of the address, so that the full table's most frequent lengths, 24 and 48, end a node instead
//! of beginning one.
//!
//! Only the writer reads this. It answers what the FIB, whose routes are flattened, cannot: exact
//! prefixes, what covers them and what they cover.

use crate::prefix::{Bits, Prefix};
use crate::space::Space;
use crate::value::Value;

/// Bits a node consumes.
const STRIDE: u8 = 6;
/// The imaginary bits in front of the address.
const PAD: u8 = 5;

/// Position of the root node; nothing else lies at 0, which thus means "no children".
const ROOT: usize = 0;

/// For each child position: the prefixes of the node that cover it.
const COVERING: [u64; 64] = {
    let mut masks = [0; 64];
    let mut chunk = 0;
    while chunk < 64 {
        let mut level = 0;
        while level < 6 {
            masks[chunk] |= 1 << ((1 << level) | (chunk >> (6 - level)));
            level += 1;
        }
        chunk += 1;
    }
    masks
};

/// For each prefix of a node (1 to 63, in the order of a heap): it and those it covers.
const COVERED: [u64; 64] = {
    let mut masks = [0; 64];
    let mut heap = 63;
    while heap > 0 {
        masks[heap] = 1 << heap;
        if heap < 32 {
            masks[heap] |= masks[2 * heap] | masks[2 * heap + 1];
        }
        heap -= 1;
    }
    masks
};

/// The bits of `level` that six bits of an address begin with, as a place in the heap.
fn heap(chunk: u32, level: u8) -> u32 {
    1 << level | chunk >> (STRIDE - level)
}

/// The child positions under one prefix of a node.
fn children_under(heap: u32) -> u64 {
    let level = 31 - heap.leading_zeros();
    let span = 64 >> level;
    let first = (heap - (1 << level)) * span;
    (u64::MAX >> (64 - span)) << first
}

/// The bits of `mask` below `bit`: how many come before it.
fn rank(mask: u64, bit: u32) -> usize {
    (mask & ((1 << bit) - 1)).count_ones() as usize
}

/// The level of the node in which a prefix ends, and its level within the node.
fn levels(len: u8) -> (u8, u8) {
    ((len + PAD) / STRIDE, (len + PAD) % STRIDE)
}

/// The six bits of `bits` that a node of `level` tells apart.
#[inline]
fn chunk<B: Bits>(bits: B, level: u8) -> u32 {
    if level == 0 {
        bits.slice(0, 1)
    } else {
        bits.slice(level * STRIDE - PAD, STRIDE)
    }
}

/// Replaces the six bits of `bits` that a node of `level` tells apart.
fn with_chunk<B: Bits>(bits: B, level: u8, chunk: u32) -> B {
    if level == 0 {
        bits.with_slice(0, 1, chunk)
    } else {
        bits.with_slice(level * STRIDE - PAD, STRIDE, chunk)
    }
}

/// One node, as it lies in the arena.
#[derive(Clone, Copy)]
struct Node {
    /// Where it lies.
    at: usize,
    prefixes: u64,
    values: u32,
    /// The bitmap and the nodes of its children, or 0.
    children: u32,
}

/// Prefixes and their values.
#[derive(Debug)]
pub(crate) struct Rib<B> {
    nodes: Vec<u64>,
    node_space: Space,
    values: Vec<u16>,
    value_space: Space,
    len: usize,
    bits: std::marker::PhantomData<B>,
}

impl<B: Bits> Rib<B> {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![0; 2],
            node_space: Space::new(2, 2),
            values: Vec::new(),
            value_space: Space::new(0, 0),
            len: 0,
            bits: std::marker::PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.nodes.capacity() * 8
            + self.values.capacity() * 2
            + self.node_space.bytes()
            + self.value_space.bytes()
    }

    pub(crate) fn get(&self, prefix: Prefix<B>) -> Option<Value> {
        let (last, level) = levels(prefix.len);
        let node = self.descend(prefix.bits, last)?;
        let bit = heap(chunk(prefix.bits, last), level);
        self.value(node, bit)
    }

    /// The longest prefix of at most `greatest` bits that holds `bits`.
    pub(crate) fn longest_match(&self, bits: B, greatest: u8) -> Option<(Prefix<B>, Value)> {
        let (last, last_level) = levels(greatest);
        let mut best = None;
        let mut node = self.node(ROOT);
        for level in 0..=last {
            let chunk = chunk(bits, level);
            let mut covering = node.prefixes & COVERING[chunk as usize];
            if level == last {
                covering &= u64::MAX >> (63 - heap(chunk, last_level));
            }
            if covering != 0 {
                best = Some((level, 63 - covering.leading_zeros(), node));
            }
            match self.child(node, chunk) {
                Some(child) => node = child,
                None => break,
            }
        }
        let (level, bit, node) = best?;
        let len = level * STRIDE + (31 - bit.leading_zeros()) as u8 - PAD;
        let value = self.value(node, bit)?;
        Some((Prefix::new(bits, len), value))
    }

    /// `prefix` and what covers it, shortest first.
    pub(crate) fn covering(&self, prefix: Prefix<B>) -> Vec<(Prefix<B>, Value)> {
        let (last, last_level) = levels(prefix.len);
        let mut found = Vec::new();
        let mut node = self.node(ROOT);
        for level in 0..=last {
            let chunk = chunk(prefix.bits, level);
            let deepest = if level == last {
                last_level
            } else {
                STRIDE - 1
            };
            for inner in 0..=deepest {
                if let Some(value) = self.value(node, heap(chunk, inner)) {
                    let len = level * STRIDE + inner - PAD;
                    found.push((Prefix::new(prefix.bits, len), value));
                }
            }
            match self.child(node, chunk) {
                Some(child) => node = child,
                None => break,
            }
        }
        found
    }

    /// `prefix` and what it covers, by address, then shortest first.
    pub(crate) fn covered(&self, prefix: Prefix<B>) -> Covered<'_, B> {
        let (last, level) = levels(prefix.len);
        let mut covered = Covered {
            rib: self,
            stack: Vec::new(),
        };
        if let Some(node) = self.descend(prefix.bits, last) {
            let bit = heap(chunk(prefix.bits, last), level);
            covered.open(
                node,
                prefix.bits,
                last,
                COVERED[bit as usize],
                children_under(bit),
            );
        }
        covered
    }

    /// Whether nothing is more specific than `prefix`.
    pub(crate) fn is_leaf(&self, prefix: Prefix<B>) -> bool {
        let (last, level) = levels(prefix.len);
        let Some(node) = self.descend(prefix.bits, last) else {
            return true;
        };
        let bit = heap(chunk(prefix.bits, last), level);
        let inside = node.prefixes & COVERED[bit as usize] & !(1 << bit);
        inside == 0 && self.child_map(node) & children_under(bit) == 0
    }

    pub(crate) fn insert(&mut self, prefix: Prefix<B>, value: Value) -> Option<Value> {
        let (last, level) = levels(prefix.len);
        let mut node = self.node(ROOT);
        for level in 0..last {
            let chunk = chunk(prefix.bits, level);
            node = match self.child(node, chunk) {
                Some(child) => child,
                None => self.add_child(node, chunk),
            };
        }
        let bit = heap(chunk(prefix.bits, last), level);
        let at = rank(node.prefixes, bit);
        if node.prefixes & 1 << bit != 0 {
            let cell = &mut self.values[node.values as usize + at];
            return Value::from_raw(std::mem::replace(cell, value.raw()));
        }
        let count = node.prefixes.count_ones() as usize;
        let old = node.values as usize;
        let new = self.take_values(count + 1) as usize;
        self.values.copy_within(old..old + at, new);
        self.values[new + at] = value.raw();
        self.values.copy_within(old + at..old + count, new + at + 1);
        if count > 0 {
            self.value_space.give(node.values, count);
        }
        self.put(Node {
            prefixes: node.prefixes | 1 << bit,
            values: new as u32,
            ..node
        });
        self.len += 1;
        None
    }

    pub(crate) fn remove(&mut self, prefix: Prefix<B>) -> Option<Value> {
        let (last, level) = levels(prefix.len);
        let mut path = [ROOT; 24];
        let mut node = self.node(ROOT);
        for level in 0..last {
            path[level as usize] = node.at;
            node = self.child(node, chunk(prefix.bits, level))?;
        }
        let bit = heap(chunk(prefix.bits, last), level);
        let value = self.value(node, bit)?;
        let at = rank(node.prefixes, bit);
        let count = node.prefixes.count_ones() as usize;
        let old = node.values as usize;
        // The block shrinks by its last cell rather than moving.
        self.values.copy_within(old + at + 1..old + count, old + at);
        self.shrink_values(&mut node, count);
        node.prefixes &= !(1 << bit);
        self.put(node);
        self.len -= 1;
        for level in (0..last).rev() {
            if node.prefixes != 0 || node.children != 0 {
                break;
            }
            let parent = self.node(path[level as usize]);
            node = self.remove_child(parent, chunk(prefix.bits, level));
        }
        Some(value)
    }

    /// Moves `count - 1` values of a node to a block of that size.
    fn shrink_values(&mut self, node: &mut Node, count: usize) {
        let old = node.values;
        if count > 1 {
            let new = self.take_values(count - 1);
            let (from, to) = (old as usize, new as usize);
            self.values.copy_within(from..from + count - 1, to);
            node.values = new;
        } else {
            node.values = 0;
        }
        self.value_space.give(old, count);
    }

    #[inline]
    fn node(&self, at: usize) -> Node {
        let word = self.nodes[at + 1];
        Node {
            at,
            prefixes: self.nodes[at],
            values: word as u32,
            children: (word >> 32) as u32,
        }
    }

    fn put(&mut self, node: Node) {
        self.nodes[node.at] = node.prefixes;
        self.nodes[node.at + 1] = u64::from(node.values) | u64::from(node.children) << 32;
    }

    fn value(&self, node: Node, bit: u32) -> Option<Value> {
        if node.prefixes & 1 << bit == 0 {
            return None;
        }
        Value::from_raw(self.values[node.values as usize + rank(node.prefixes, bit)])
    }

    fn child_map(&self, node: Node) -> u64 {
        if node.children == 0 {
            0
        } else {
            self.nodes[node.children as usize]
        }
    }

    #[inline]
    fn child(&self, node: Node, chunk: u32) -> Option<Node> {
        let map = self.child_map(node);
        if map & 1 << chunk == 0 {
            return None;
        }
        Some(self.node(node.children as usize + 1 + 2 * rank(map, chunk)))
    }

    fn descend(&self, bits: B, last: u8) -> Option<Node> {
        let mut node = self.node(ROOT);
        for level in 0..last {
            node = self.child(node, chunk(bits, level))?;
        }
        Some(node)
    }

    fn add_child(&mut self, mut parent: Node, chunk: u32) -> Node {
        let map = self.child_map(parent);
        let (count, at) = (map.count_ones() as usize, rank(map, chunk));
        let old = parent.children as usize;
        let new = self.take_nodes(1 + 2 * (count + 1));
        self.nodes[new] = map | 1 << chunk;
        let (first, child) = (new + 1, new + 1 + 2 * at);
        if count > 0 {
            self.nodes.copy_within(old + 1..old + 1 + 2 * at, first);
            self.nodes
                .copy_within(old + 1 + 2 * at..old + 1 + 2 * count, child + 2);
            self.node_space.give(parent.children, 1 + 2 * count);
        }
        self.nodes[child] = 0;
        self.nodes[child + 1] = 0;
        parent.children = new as u32;
        self.put(parent);
        self.node(child)
    }

    fn remove_child(&mut self, mut parent: Node, chunk: u32) -> Node {
        let map = self.child_map(parent);
        let (count, at) = (map.count_ones() as usize, rank(map, chunk));
        let old = parent.children as usize;
        if count == 1 {
            parent.children = 0;
        } else {
            let new = self.take_nodes(1 + 2 * (count - 1));
            self.nodes[new] = map & !(1 << chunk);
            self.nodes.copy_within(old + 1..old + 1 + 2 * at, new + 1);
            self.nodes
                .copy_within(old + 3 + 2 * at..old + 1 + 2 * count, new + 1 + 2 * at);
            parent.children = new as u32;
        }
        self.node_space.give(old as u32, 1 + 2 * count);
        self.put(parent);
        parent
    }

    fn take_nodes(&mut self, size: usize) -> usize {
        take(&mut self.nodes, &mut self.node_space, size) as usize
    }

    fn take_values(&mut self, size: usize) -> u32 {
        take(&mut self.values, &mut self.value_space, size)
    }
}

/// A block of an arena that grows by an eighth.
fn take<T: Copy + Default>(cells: &mut Vec<T>, space: &mut Space, size: usize) -> u32 {
    loop {
        if let Some(at) = space.take(size) {
            return at;
        }
        let capacity = (cells.len() + cells.len() / 8).max(cells.len() + 256);
        cells.reserve_exact(capacity - cells.len());
        cells.resize(capacity, T::default());
        space.grow(capacity);
    }
}

/// Iterates over a part of the trie in the order of addresses.
#[derive(Debug)]
pub(crate) struct Covered<'a, B> {
    rib: &'a Rib<B>,
    stack: Vec<Open<B>>,
}

/// A node whose prefixes and children are being visited.
#[derive(Debug)]
struct Open<B> {
    level: u8,
    bits: B,
    prefixes: u64,
    children: u64,
    /// Child positions at which a wanted prefix or child begins and that were not visited.
    left: u64,
    /// Levels of prefixes still to be visited at the current position.
    inner: u8,
    values: u32,
    all_prefixes: u64,
    all_children: u64,
    child_block: u32,
}

/// Bit *i* moves to bit 2 *i*.
fn spread(mut x: u64) -> u64 {
    x &= 0xffff_ffff;
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

impl<B: Bits> Covered<'_, B> {
    fn open(&mut self, node: Node, bits: B, level: u8, prefixes: u64, children: u64) {
        let all_children = self.rib.child_map(node);
        let prefixes = node.prefixes & prefixes;
        let children = all_children & children;
        let mut left = prefixes >> 1 & 1;
        for level in 1..STRIDE {
            let span = 1_u64 << level;
            left = spread(left) | (prefixes >> span & (u64::MAX >> (64 - span)));
        }
        left = spread(left) | children;
        self.stack.push(Open {
            level,
            bits,
            prefixes,
            children,
            left,
            inner: 0,
            values: node.values,
            all_prefixes: node.prefixes,
            all_children,
            child_block: node.children,
        });
    }
}

impl<B: Bits> Iterator for Covered<'_, B> {
    type Item = (Prefix<B>, Value);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let open = self.stack.last_mut()?;
            if open.left == 0 {
                self.stack.pop();
                continue;
            }
            let position = open.left.trailing_zeros();
            while open.inner < STRIDE {
                let inner = open.inner;
                open.inner += 1;
                let bit = heap(position, inner);
                // Only the first position under a prefix is where it begins.
                let begins = position & ((1 << (STRIDE - inner)) - 1) == 0;
                if begins && open.prefixes & 1 << bit != 0 {
                    let len = open.level * STRIDE + inner - PAD;
                    let bits = with_chunk(open.bits, open.level, position);
                    let at = open.values as usize + rank(open.all_prefixes, bit);
                    let value = Value::from_raw(self.rib.values[at])?;
                    return Some((Prefix::new(bits, len), value));
                }
            }
            open.inner = 0;
            open.left &= open.left - 1;
            if open.children & 1 << position != 0 {
                let at = open.child_block as usize + 1 + 2 * rank(open.all_children, position);
                let (bits, level) = (with_chunk(open.bits, open.level, position), open.level);
                let child = self.rib.node(at);
                self.open(child, bits, level + 1, u64::MAX, u64::MAX);
            }
        }
    }
}
