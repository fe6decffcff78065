//! Which of a datagram's 8-byte units have come: RFC 815's holes, as bits.

const WORDS: usize = 128;

/// A set of the units 0 to 8191, which is every unit an offset can name.
#[derive(Clone, Debug)]
pub(super) struct Units([u64; WORDS]);

impl Units {
    pub(super) const EMPTY: Self = Self([0; WORDS]);

    /// How many of the units from `from` up to and without `to` are in the set.
    pub(super) fn count(&self, from: usize, to: usize) -> usize {
        words(from, to)
            .map(|(word, mask)| (self.0[word] & mask).count_ones() as usize)
            .sum()
    }

    /// Puts them in the set.
    pub(super) fn insert(&mut self, from: usize, to: usize) {
        for (word, mask) in words(from, to) {
            self.0[word] |= mask;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::EMPTY;
    }
}

/// The words that hold the units, and which of their bits; units past the last are left out.
fn words(from: usize, to: usize) -> impl Iterator<Item = (usize, u64)> {
    let to = to.min(WORDS * 64);
    (from / 64..to.div_ceil(64)).map(move |word| {
        let first = from.saturating_sub(word * 64);
        let last = (to - word * 64).min(64);
        // A range that is empty in this word has `first >= last`.
        let below = |bit: usize| if bit >= 64 { u64::MAX } else { (1 << bit) - 1 };
        (word, below(last) & !below(first))
    })
}

#[cfg(test)]
mod tests {
    use super::{Units, WORDS};

    #[test]
    fn every_range_counts_itself() {
        for from in (0..300).chain(8000..=8192) {
            for to in [from, from + 1, from + 7, from + 64, from + 200] {
                let mut units = Units::EMPTY;
                units.insert(from, to);
                let inside = to.min(WORDS * 64).saturating_sub(from);
                assert_eq!(units.count(0, 9000), inside, "{from}..{to}");
                assert_eq!(units.count(from, to), inside);
                assert_eq!(units.count(0, from), 0);
                assert_eq!(units.count(to, 8192), 0);
                units.clear();
                assert_eq!(units.count(0, 8192), 0);
            }
        }
    }
}
