//! The atomics of the flow table: the standard ones, or loom's when a model is checked.

#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// `n` zero words. The system hands out the pages at their first touch, so what is never
/// used costs no memory.
#[cfg(not(loom))]
pub(super) fn zeroed(n: usize) -> Box<[AtomicU64]> {
    let words = bytemuck::zeroed_slice_box(n);
    crate::cpu::prefer_large_pages(&words);
    words
}

#[cfg(loom)]
pub(super) fn zeroed(n: usize) -> Box<[AtomicU64]> {
    (0..n).map(|_| AtomicU64::new(0)).collect()
}

/// Words of one cache line.
pub(super) const LINE: usize = 8;

/// An array of whole cache lines, each beginning at a multiple of 64 bytes.
#[derive(Debug)]
pub(super) struct Lines {
    words: Box<[AtomicU64]>,
    skip: usize,
    count: usize,
}

impl Lines {
    pub(super) fn new(count: usize) -> Self {
        let words = zeroed(count * LINE + (LINE - 1));
        let bytes = words.as_ptr().addr() % (LINE * 8);
        let skip = (LINE - bytes / 8) % LINE;
        Self { words, skip, count }
    }

    /// Line `i`, which must be below the count given at the start.
    #[inline(always)]
    pub(super) fn line(&self, i: usize) -> &[AtomicU64; LINE] {
        let from = self.skip + i * LINE;
        self.words[from..from + LINE]
            .first_chunk()
            .expect("a slice of LINE words has LINE words")
    }

    pub(super) fn bytes(&self) -> usize {
        self.count * LINE * 8
    }
}

/// Lets the thread run on that is waited for.
#[inline]
pub(super) fn relax() {
    #[cfg(not(loom))]
    std::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
