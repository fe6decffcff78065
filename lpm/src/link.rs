//! Links: what a slot of 16 (or 24) address bits holds. Either a value, or where the next bits of
//! the address are looked up.

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
