//! The slots of one level of the FIB while ranges are painted into them: the root's links, the runs
//! of a list, or an array of words.

use crate::fib::{Fib, Painter, words_of};
use crate::link::Link;
use crate::list::Runs;
use crate::words::{self, SLOTS, Word};

/// Slots that can be asked and filled.
pub(crate) trait Slots<F: Fib> {
    fn get(&mut self, painter: &mut Painter<F>, slot: u32) -> Link;
    fn fill(&mut self, painter: &mut Painter<F>, low: u32, high: u32, link: Link);

    fn set(&mut self, painter: &mut Painter<F>, slot: u32, link: Link) {
        self.fill(painter, slot, slot, link);
    }
}

/// A root of links: each slot is published by itself.
pub(crate) struct RootLinks;

impl<F: Fib> Slots<F> for RootLinks {
    fn get(&mut self, painter: &mut Painter<F>, slot: u32) -> Link {
        Link(painter.store.tables().link(slot as usize))
    }

    fn fill(&mut self, painter: &mut Painter<F>, low: u32, high: u32, link: Link) {
        for slot in low..=high {
            painter.store.tables().publish_link(slot as usize, link.0);
        }
    }
}

/// A list's runs, and the last slot of its range.
pub(crate) struct RunSlots<'a> {
    runs: &'a mut Runs,
    last: u16,
}

impl<'a> RunSlots<'a> {
    /// The runs of a list that tells `width` bits apart: 8 or 16.
    pub(crate) fn new(runs: &'a mut Runs, width: u8) -> Self {
        Self {
            runs,
            last: u16::MAX >> (16 - width),
        }
    }
}

impl<F: Fib> Slots<F> for RunSlots<'_> {
    fn get(&mut self, _: &mut Painter<F>, slot: u32) -> Link {
        self.runs.slot(slot as u16)
    }

    fn fill(&mut self, _: &mut Painter<F>, low: u32, high: u32, link: Link) {
        self.runs.paint(low as u16, high as u16, self.last, link);
    }
}

/// An array of words, one of which is open.
pub(crate) struct WordSlots {
    first: usize,
    /// Whether values take a link each.
    wide: bool,
    /// Whether boundaries are counted.
    window: bool,
    /// The open word and its slots.
    open: Option<(usize, [Link; SLOTS])>,
    changed: bool,
}

impl WordSlots {
    pub(crate) fn new(first: usize, wide: bool, window: bool) -> Self {
        Self {
            first,
            wide,
            window,
            open: None,
            changed: false,
        }
    }

    /// The slots of the word that holds `slot`.
    fn open<F: Fib>(&mut self, painter: &mut Painter<F>, slot: u32) -> &mut [Link; SLOTS] {
        let at = self.first + slot as usize / SLOTS;
        if self.open.is_some_and(|(open, _)| open != at) {
            self.flush(painter);
        }
        let tables = painter.store.tables();
        let (_, slots) = self
            .open
            .get_or_insert_with(|| (at, Word(tables.word(at)).expand(tables)));
        slots
    }

    /// Publishes the open word, if it has changed.
    pub(crate) fn flush<F: Fib>(&mut self, painter: &mut Painter<F>) {
        if let Some((at, slots)) = self.open.take()
            && std::mem::take(&mut self.changed)
        {
            let before = self.boundaries(painter, at);
            words::rewrite(
                &mut painter.store,
                &mut painter.uniform,
                at,
                &slots,
                self.wide,
            );
            let after = self.boundaries(painter, at);
            if self.window
                && let Some(count) = painter.windows.get_mut(&self.first)
            {
                *count = *count + after - before;
            }
        }
    }

    /// The boundaries of a window's word, with those at its ends.
    fn boundaries<F: Fib>(&self, painter: &Painter<F>, at: usize) -> u32 {
        if !self.window {
            return 0;
        }
        let tables = painter.store.tables();
        let word = Word(tables.word(at));
        let mut count = word.boundaries();
        if at > self.first {
            let neighbour = Word(tables.word(at - 1)).slot(tables, 31);
            count += u32::from(neighbour != word.slot(tables, 0));
        }
        if at + 1 < self.first + words_of(16) {
            let neighbour = Word(tables.word(at + 1)).slot(tables, 0);
            count += u32::from(neighbour != word.slot(tables, 31));
        }
        count
    }
}

impl<F: Fib> Slots<F> for WordSlots {
    fn get(&mut self, painter: &mut Painter<F>, slot: u32) -> Link {
        self.open(painter, slot)[slot as usize % SLOTS]
    }

    fn fill(&mut self, painter: &mut Painter<F>, low: u32, high: u32, link: Link) {
        let mut slot = low;
        while slot <= high {
            let last = high.min(slot | (SLOTS as u32 - 1));
            let (from, to) = (slot as usize % SLOTS, last as usize % SLOTS);
            if to - from == SLOTS - 1 && !self.window && !link.is_pointer() {
                self.flush(painter);
                let at = self.first + slot as usize / SLOTS;
                words::fill(
                    &mut painter.store,
                    &mut painter.uniform,
                    at,
                    link,
                    self.wide,
                );
                slot = last + 1;
                continue;
            }
            let slots = &mut self.open(painter, slot)[from..=to];
            if slots.iter().any(|old| *old != link) {
                slots.fill(link);
                self.changed = true;
            }
            slot = last + 1;
        }
    }
}
