//! The slots of one level of the FIB while ranges are painted into them: the root's links, the runs
//! of a list, or an array of words.

use std::collections::HashMap;

use crate::cells::{Link, SLOTS, Word};
use crate::layout::words_of;
use crate::list::Runs;
use crate::store::Store;
use crate::words::{self, Uniform};

/// The arrays that are painted into, and what is known of their words.
pub(crate) struct Canvas {
    pub(crate) store: Store,
    pub(crate) uniform: Uniform,
    /// Boundaries between slots of each window, by its first word: windows with few become lists.
    pub(crate) windows: HashMap<usize, u32>,
}

impl Canvas {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            uniform: Uniform::default(),
            windows: HashMap::new(),
        }
    }
}

/// Slots that can be asked and filled.
pub(crate) trait Slots {
    fn get(&mut self, canvas: &mut Canvas, slot: u32) -> Link;
    fn fill(&mut self, canvas: &mut Canvas, low: u32, high: u32, link: Link);

    fn set(&mut self, canvas: &mut Canvas, slot: u32, link: Link) {
        self.fill(canvas, slot, slot, link);
    }
}

/// A root of links: each slot is published by itself.
pub(crate) struct RootLinks;

impl Slots for RootLinks {
    fn get(&mut self, canvas: &mut Canvas, slot: u32) -> Link {
        Link(canvas.store.tables().link(slot as usize))
    }

    fn fill(&mut self, canvas: &mut Canvas, low: u32, high: u32, link: Link) {
        for slot in low..=high {
            canvas.store.tables().publish_link(slot as usize, link.0);
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

impl Slots for RunSlots<'_> {
    fn get(&mut self, _: &mut Canvas, slot: u32) -> Link {
        self.runs.slot(slot as u16)
    }

    fn fill(&mut self, _: &mut Canvas, low: u32, high: u32, link: Link) {
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
    fn open(&mut self, canvas: &mut Canvas, slot: u32) -> &mut [Link; SLOTS] {
        let at = self.first + slot as usize / SLOTS;
        if self.open.is_some_and(|(open, _)| open != at) {
            self.flush(canvas);
        }
        let tables = canvas.store.tables();
        let (_, slots) = self
            .open
            .get_or_insert_with(|| (at, Word(tables.word(at)).expand(tables)));
        slots
    }

    /// Publishes the open word, if it has changed.
    pub(crate) fn flush(&mut self, canvas: &mut Canvas) {
        if let Some((at, slots)) = self.open.take()
            && std::mem::take(&mut self.changed)
        {
            let before = self.boundaries(canvas, at);
            words::rewrite(
                &mut canvas.store,
                &mut canvas.uniform,
                at,
                &slots,
                self.wide,
            );
            let after = self.boundaries(canvas, at);
            if self.window
                && let Some(count) = canvas.windows.get_mut(&self.first)
            {
                *count = *count + after - before;
            }
        }
    }

    /// The boundaries of a window's word, with those at its ends.
    fn boundaries(&self, canvas: &Canvas, at: usize) -> u32 {
        if !self.window {
            return 0;
        }
        let tables = canvas.store.tables();
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

impl Slots for WordSlots {
    fn get(&mut self, canvas: &mut Canvas, slot: u32) -> Link {
        self.open(canvas, slot)[slot as usize % SLOTS]
    }

    fn fill(&mut self, canvas: &mut Canvas, low: u32, high: u32, link: Link) {
        let mut slot = low;
        while slot <= high {
            let last = high.min(slot | (SLOTS as u32 - 1));
            let (from, to) = (slot as usize % SLOTS, last as usize % SLOTS);
            if to - from == SLOTS - 1 && !self.window && !link.is_pointer() {
                self.flush(canvas);
                let at = self.first + slot as usize / SLOTS;
                words::fill(&mut canvas.store, &mut canvas.uniform, at, link, self.wide);
                slot = last + 1;
                continue;
            }
            let slots = &mut self.open(canvas, slot)[from..=to];
            if slots.iter().any(|old| *old != link) {
                slots.fill(link);
                self.changed = true;
            }
            slot = last + 1;
        }
    }
}
