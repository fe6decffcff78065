//! The memory of a FIB: three arrays of atomic cells, their free space, and blocks that wait until
//! no reader can still look at them.
//!
//! A block is written while nothing refers to it and never changes afterwards, but for single
//! cells; then one store makes a word or a link refer to it. What it replaces is *retired*: it is
//! used again after every reader that was reading at that time has moved on (crossbeam's epochs).
//! When an array is full, all three are copied to larger ones, which are published by one pointer;
//! a reader that opened the old ones reads them, as they were, until it opens the table again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64 as Counter;

use crossbeam::epoch;

use crate::raw::{Publisher, Subscriber};
use crate::space::{Space, rounded};
use crate::sync::Ordering;
use crate::tables::Tables;

/// How many retired blocks share one turn of the epochs.
const BAG: usize = 1024;

/// The three arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Array {
    Words,
    Leaves,
    Links,
}

/// A block nothing refers to any more.
#[derive(Clone, Copy, Debug)]
struct Block {
    at: u32,
    size: u16,
    array: Array,
}

/// Whether readers know the arrays.
enum Home {
    /// They do not, so nothing replaced in them needs to wait.
    Private(Box<Tables>),
    Published(Publisher),
}

/// The writer's side of the arrays.
pub(crate) struct Store {
    home: Home,
    words: Space,
    leaves: Space,
    links: Space,
    retired: Vec<Block>,
    /// Bags of retired blocks, oldest first, each with its turn.
    bags: VecDeque<(u64, Vec<Block>)>,
    /// The next bag's turn.
    turn: u64,
    /// The last turn all readers have left behind.
    passed: Arc<Counter>,
}

impl Store {
    /// Arrays no reader knows, whose first cells (`words`, `links`) are taken for good; so is
    /// leaf 0, which stays 0.
    pub(crate) fn private(words: usize, links: usize) -> Self {
        Self {
            home: Home::Private(Box::new(Tables::new(words, 64, links))),
            words: Space::new(words, words),
            leaves: Space::new(64, 1),
            links: Space::new(links, links),
            retired: Vec::new(),
            bags: VecDeque::new(),
            turn: 1,
            passed: Arc::new(Counter::new(0)),
        }
    }

    /// Lets readers see the arrays.
    pub(crate) fn publish(self) -> (Self, Subscriber) {
        let publisher = match self.home {
            Home::Private(tables) => Publisher::new(tables),
            Home::Published(publisher) => publisher,
        };
        let subscriber = publisher.subscribe();
        (
            Self {
                home: Home::Published(publisher),
                ..self
            },
            subscriber,
        )
    }

    /// Makes readers see, at once, what was built in `other`, a private store, instead.
    pub(crate) fn replace(&mut self, mut other: Self) {
        other.fit();
        let Self {
            home,
            words,
            leaves,
            links,
            ..
        } = other;
        let Home::Private(tables) = home else { return };
        self.swap(tables);
        (self.words, self.leaves, self.links) = (words, leaves, links);
        // What was retired lies in the arrays just given up.
        self.retired = Vec::new();
        self.bags.clear();
    }

    #[inline]
    pub(crate) fn tables(&self) -> &Tables {
        match &self.home {
            Home::Private(tables) => tables,
            Home::Published(publisher) => publisher.current(),
        }
    }

    /// A block of `size` cells.
    pub(crate) fn take(&mut self, array: Array, size: usize) -> usize {
        loop {
            if let Some(at) = self.space(array).take(size) {
                return at as usize;
            }
            self.grow(array, size);
        }
    }

    /// Gives a block back, once readers have moved on. What referred to it may still do so until
    /// the next [`Store::settle`].
    pub(crate) fn retire(&mut self, array: Array, at: usize, size: usize) {
        if let Home::Private(_) = self.home {
            self.space(array).give(at as u32, size);
            return;
        }
        self.retired.push(Block {
            at: at as u32,
            size: size as u16,
            array,
        });
    }

    /// To be called after each change: nothing published refers to retired blocks now.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.retired.len() >= BAG {
            self.turn_epoch();
        }
    }

    /// Takes back all that readers have left.
    pub(crate) fn reclaim(&mut self) {
        // A bag is free two epochs after its own, and each turn moves one epoch at most.
        for _ in 0..4 {
            self.turn_epoch();
        }
    }

    /// Whether most of what was ever used is free and cut to pieces: time to build anew.
    pub(crate) fn is_sparse(&self) -> bool {
        let sparse = |space: &Space| space.freed() > 1 << 16 && space.freed() > space.end() / 2;
        sparse(&self.leaves) || sparse(&self.links) || sparse(&self.words)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.tables().bytes() + self.waiting()
    }

    /// Bytes of the writer's bookkeeping.
    pub(crate) fn writer_bytes(&self) -> usize {
        let blocks = self.retired.capacity()
            + self
                .bags
                .iter()
                .map(|(_, blocks)| blocks.capacity())
                .sum::<usize>();
        self.words.bytes() + self.leaves.bytes() + self.links.bytes() + blocks * size_of::<Block>()
    }

    pub(crate) fn free_bytes(&self) -> usize {
        self.words.unused() * 8 + self.leaves.unused() * 2 + self.links.unused() * 4
    }

    pub(crate) fn retired_bytes(&self) -> usize {
        let bytes = |blocks: &[Block]| {
            blocks
                .iter()
                .map(|block| {
                    rounded(block.size as usize)
                        * match block.array {
                            Array::Words => 8,
                            Array::Leaves => 2,
                            Array::Links => 4,
                        }
                })
                .sum::<usize>()
        };
        bytes(&self.retired)
            + self
                .bags
                .iter()
                .map(|(_, blocks)| bytes(blocks))
                .sum::<usize>()
            + self.waiting()
    }

    fn space(&mut self, array: Array) -> &mut Space {
        match array {
            Array::Words => &mut self.words,
            Array::Leaves => &mut self.leaves,
            Array::Links => &mut self.links,
        }
    }

    /// Sends the retired blocks on their way and takes back those that have arrived.
    fn turn_epoch(&mut self) {
        let guard = epoch::pin();
        if !self.retired.is_empty() {
            let (turn, passed) = (self.turn, Arc::clone(&self.passed));
            // Runs when every thread that is pinned now has unpinned. Release: pairs with the
            // Acquire below; what those readers read happened before the blocks are written again.
            guard.defer(move || passed.fetch_max(turn, Ordering::Release));
            self.bags
                .push_back((turn, std::mem::take(&mut self.retired)));
            self.turn += 1;
        }
        guard.flush();
        drop(guard);
        let passed = self.passed.load(Ordering::Acquire);
        while let Some((turn, _)) = self.bags.front()
            && *turn <= passed
        {
            let Some((_, mut blocks)) = self.bags.pop_front() else {
                break;
            };
            for block in blocks.drain(..) {
                self.space(block.array).give(block.at, block.size as usize);
            }
            if self.retired.capacity() == 0 {
                self.retired = blocks;
            }
        }
        if let Home::Published(publisher) = &mut self.home {
            publisher.sweep();
        }
    }

    fn waiting(&self) -> usize {
        match &self.home {
            Home::Private(_) => 0,
            Home::Published(publisher) => publisher.waiting(),
        }
    }

    fn swap(&mut self, new: Box<Tables>) {
        match &mut self.home {
            Home::Private(tables) => *tables = new,
            Home::Published(publisher) => publisher.swap(new),
        }
    }

    /// Copies all to arrays with room for `size` more cells in `array`.
    fn grow(&mut self, array: Array, size: usize) {
        let space = self.space(array);
        let wanted = space.capacity() + (space.in_blocks() / 8).max(size).max(256);
        space.grow(wanted);
        self.copy();
    }

    /// Copies all to arrays of the size in use and a little more.
    fn fit(&mut self) {
        for array in [Array::Words, Array::Leaves, Array::Links] {
            let space = self.space(array);
            space.grow(space.end() + (space.in_blocks() / 16).clamp(64, 1 << 16));
        }
        self.copy();
    }

    fn copy(&mut self) {
        let new = Tables::new(
            self.words.capacity(),
            self.leaves.capacity(),
            self.links.capacity(),
        );
        let old = self.tables();
        for (at, word) in new.words.iter().enumerate().take(self.words.end()) {
            word.store(old.word(at), Ordering::Relaxed);
        }
        for (at, leaf) in new.leaves.iter().enumerate().take(self.leaves.end()) {
            leaf.store(old.leaf(at), Ordering::Relaxed);
        }
        for (at, link) in new.links.iter().enumerate().take(self.links.end()) {
            link.store(old.link(at), Ordering::Relaxed);
        }
        self.swap(Box::new(new));
    }
}
