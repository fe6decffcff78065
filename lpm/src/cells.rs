//! The cells of the arrays as readers find them: links, words and lists.
//!
//! A link is what a slot of 16 (or 24) address bits holds: either a value, or where the next bits of
//! the address are looked up. A word is 32 slots of an address range in 8 bytes; a list is the runs of
//! a range in which few prefixes lie.
//!
//! Equal neighbours among the slots of a word form a run. Bit *i* of the low half (0 to 30) tells that a run
//! ends at slot *i*; the last always ends at slot 31, so bit 31 stays 0. The high half is the place of
//! the runs, the last run first: leaves (16 bits, values only), or links (32 bits) when *wide*, which
//! the highest bit tells: a reader of leaves has asked for it, and then need not mask it. So the run of slot *i* is found by counting the ends from *i* on, in three
//! instructions, and one atomic word says everything about 32 slots: no reader sees half a change.

use crate::tables::Tables;

/// A value (0: no route), a list or an array of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(pub(crate) u32);

/// What a [`Link`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The raw form of an `Option<Value>`.
    Value(u16),
    /// The list whose first leaf is this one.
    List(usize),
    /// The array of words that begins here; how many there are follows from the depth.
    Words(usize),
}

/// Set in links that are no value.
pub(crate) const POINTER: u32 = 1 << 31;
/// Set in links to words.
pub(crate) const WORDS: u32 = 1 << 30;
/// The bits of a pointer that tell where it points to.
pub(crate) const PLACE: u32 = WORDS - 1;

impl Link {
    #[inline]
    pub(crate) fn value(raw: u16) -> Self {
        Self(u32::from(raw))
    }

    pub(crate) fn list(at: usize) -> Self {
        Self(POINTER | place(at))
    }

    pub(crate) fn words(at: usize) -> Self {
        Self(POINTER | WORDS | place(at))
    }

    #[inline(always)]
    pub(crate) fn is_pointer(self) -> bool {
        self.0 & POINTER != 0
    }

    #[inline(always)]
    pub(crate) fn is_list(self) -> bool {
        self.0 >> 30 == POINTER >> 30
    }

    #[inline(always)]
    pub(crate) fn is_words(self) -> bool {
        self.0 >= POINTER | WORDS
    }

    /// Where a pointer points to.
    #[inline(always)]
    pub(crate) fn place(self) -> usize {
        (self.0 & PLACE) as usize
    }

    #[inline(always)]
    pub(crate) fn target(self) -> Target {
        if !self.is_pointer() {
            Target::Value(self.0 as u16)
        } else if self.is_list() {
            Target::List(self.place())
        } else {
            Target::Words(self.place())
        }
    }
}

fn place(at: usize) -> u32 {
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    assert!(at <= PLACE, "a table holds less than 2^30 leaves: 2 GiB");
    at
}

/// The slots of a word.
pub(crate) const SLOTS: usize = 32;
/// Address bits a word tells apart.
pub(crate) const SLOT_BITS: u8 = 5;

const WIDE: u64 = 1 << 63;

/// A word taken to pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    pub(crate) fn new(ends: u32, wide: bool, place: usize) -> Self {
        Self(u64::from(ends) | (place as u64) << 32 | if wide { WIDE } else { 0 })
    }

    #[inline(always)]
    pub(crate) fn is_wide(self) -> bool {
        self.0 & WIDE != 0
    }

    /// A bit for each run's last slot, but for slot 31.
    #[inline(always)]
    pub(crate) fn ends(self) -> u32 {
        self.0 as u32
    }

    /// The place of the first run.
    #[inline(always)]
    pub(crate) fn place(self) -> usize {
        ((self.0 & !WIDE) >> 32) as usize
    }

    /// The place of the first run of a word that is not wide.
    #[inline(always)]
    pub(crate) fn narrow_place(self) -> usize {
        debug_assert!(!self.is_wide());
        (self.0 >> 32) as usize
    }

    /// The place of the run that holds `slot`, which is taken modulo 32.
    #[inline(always)]
    pub(crate) fn place_of(self, slot: u32) -> usize {
        self.place() + (self.ends() >> (slot % 32)).count_ones() as usize
    }

    /// How many boundaries lie between the slots.
    pub(crate) fn boundaries(self) -> u32 {
        self.ends().count_ones()
    }

    /// What `slot` holds, which is taken modulo 32.
    pub(crate) fn slot(self, tables: &Tables, slot: u32) -> Link {
        let at = self.place_of(slot);
        if self.is_wide() {
            Link(tables.link(at))
        } else {
            Link::value(tables.leaf(at))
        }
    }

    /// What each slot holds.
    pub(crate) fn expand(self, tables: &Tables) -> [Link; SLOTS] {
        let mut slots = [Link(0); SLOTS];
        let mut at = self.place();
        let load = |at| {
            if self.is_wide() {
                Link(tables.link(at))
            } else {
                Link::value(tables.leaf(at))
            }
        };
        let mut link = load(at);
        for (slot, cell) in slots.iter_mut().enumerate().rev() {
            if slot < 31 && self.ends() & 1 << slot != 0 {
                at += 1;
                link = load(at);
            }
            *cell = link;
        }
        slots
    }
}

/// The boundaries a list can hold.
pub(crate) const GREATEST_LIST: usize = 31;
/// Set in the header of a list whose runs take two leaves each.
pub(crate) const WIDE_LIST: u16 = 1 << 15;

/// The run of a wide list whose low half is at `at`.
#[inline]
pub(crate) fn wide_run(tables: &Tables, at: usize) -> u32 {
    u32::from(tables.leaf(at)) | u32::from(tables.leaf(at + 1)) << 16
}

/// What the list at `at` holds for `slot`.
#[inline]
pub(crate) fn find_in_list(tables: &Tables, at: usize, slot: u32) -> Link {
    let header = tables.leaf(at);
    let boundaries = usize::from(header & !WIDE_LIST);
    // Always five steps, without a branch that depends on the key or the list.
    let mut low = 0;
    for step in [16, 8, 4, 2, 1] {
        let middle = low + step;
        let start = u32::from(tables.leaf(at + middle.min(boundaries)));
        low = if middle <= boundaries && start <= slot {
            middle
        } else {
            low
        };
    }
    let runs = at + 1 + boundaries;
    if header & WIDE_LIST == 0 {
        Link::value(tables.leaf(runs + low))
    } else {
        Link(wide_run(tables, runs + 2 * low))
    }
}
