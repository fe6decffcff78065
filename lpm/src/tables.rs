//! The arrays of atomic cells that readers look addresses up in.

use crate::sync::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// The arrays readers look at. What a cell means is told in [`crate::cells`] and
/// [`crate::cells`].
pub struct Tables {
    /// Words: a bitmap of 32 slots and the place of their values.
    pub(crate) words: Box<[AtomicU64]>,
    /// Values, and lists.
    pub(crate) leaves: Box<[AtomicU16]>,
    /// Links: a value, or where to go on.
    pub(crate) links: Box<[AtomicU32]>,
}

impl Tables {
    pub(crate) fn new(words: usize, leaves: usize, links: usize) -> Self {
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            // One more than is ever named: vectors load leaves in pairs.
            leaves: (0..=leaves).map(|_| AtomicU16::new(0)).collect(),
            links: (0..links).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * 8 + self.leaves.len() * 2 + self.links.len() * 4
    }

    /// Makes word `at` refer to a block, or to another one.
    #[inline]
    pub(crate) fn publish_word(&self, at: usize, word: u64) {
        // Release: pairs with the Acquire of `Tables::word`. A reader that sees the word sees the
        // block that was written before.
        self.words[at].store(word, Ordering::Release);
    }

    /// Makes link `at` refer to a block, or to another one.
    #[inline]
    pub(crate) fn publish_link(&self, at: usize, link: u32) {
        // Release: pairs with the Acquire of `Tables::link`, as above.
        self.links[at].store(link, Ordering::Release);
    }

    #[inline(always)]
    pub(crate) fn word(&self, at: usize) -> u64 {
        // Acquire: pairs with the Release of `publish_word`.
        self.words[at].load(Ordering::Acquire)
    }

    #[inline(always)]
    pub(crate) fn link(&self, at: usize) -> u32 {
        // Acquire: pairs with the Release of `publish_link`.
        self.links[at].load(Ordering::Acquire)
    }

    #[inline(always)]
    pub(crate) fn leaf(&self, at: usize) -> u16 {
        // Relaxed: the word or link that named this cell was loaded with Acquire.
        self.leaves[at].load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_leaf(&self, at: usize, leaf: u16) {
        // Relaxed: published by the Release of a word or link; or a value changed in place, which
        // publishes nothing but itself.
        self.leaves[at].store(leaf, Ordering::Relaxed);
    }
}
