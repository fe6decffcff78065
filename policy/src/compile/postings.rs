//! Label → the items and profiles that carry it themselves, to find the members of a new set
//! without looking at every item.
//!
//! Lists are appended to and never searched for removal: an entry whose item has lost the label
//! stays until half of its list is such, and whoever reads the list asks the item anyway.

use rustc_hash::FxHashMap;

use super::matching::Need;
use super::symbols::{Pair, Symbol};

#[derive(Default)]
pub(super) struct Postings {
    lists: FxHashMap<Pair, Posting>,
    values: FxHashMap<Symbol, Vec<Symbol>>,
}

#[derive(Default)]
struct Posting {
    slots: Vec<u32>,
    live: usize,
}

/// Stale entries a list may have besides as many as live ones.
const SLACK: usize = 32;

impl Postings {
    /// Moves a slot from its labels `before` to those it has now. `carries` says whether a slot
    /// now has a label; both lists of labels are sorted.
    pub(super) fn relabel(
        &mut self,
        slot: u32,
        before: &[Pair],
        after: &[Pair],
        carries: impl Fn(u32, Pair) -> bool,
    ) {
        for &pair in after
            .iter()
            .filter(|pair| before.binary_search(pair).is_err())
        {
            let posting = self.lists.entry(pair).or_insert_with(|| {
                self.values.entry(pair.0).or_default().push(pair.1);
                Posting::default()
            });
            posting.slots.push(slot);
            posting.live += 1;
        }
        for &pair in before
            .iter()
            .filter(|pair| after.binary_search(pair).is_err())
        {
            let Some(posting) = self.lists.get_mut(&pair) else {
                continue;
            };
            posting.live -= 1;
            if posting.live == 0 {
                self.lists.remove(&pair);
                if let Some(values) = self.values.get_mut(&pair.0) {
                    values.retain(|value| *value != pair.1);
                    if values.is_empty() {
                        self.values.remove(&pair.0);
                    }
                }
            } else if posting.slots.len() > 2 * posting.live + SLACK {
                posting.slots.sort_unstable();
                posting.slots.dedup();
                posting.slots.retain(|&slot| carries(slot, pair));
            }
        }
    }

    /// How many entries the lists of these labels have.
    pub(super) fn cost(&self, needs: &[Need]) -> usize {
        needs
            .iter()
            .flat_map(|need| self.of(*need))
            .map(|posting| posting.slots.len())
            .sum()
    }

    /// The slots in the lists of a label; stale ones and doubles among them.
    pub(super) fn slots(&self, need: Need) -> impl Iterator<Item = u32> + '_ {
        self.of(need)
            .flat_map(|posting| posting.slots.iter().copied())
    }

    fn of(&self, need: Need) -> impl Iterator<Item = &Posting> + '_ {
        let (pair, key) = match need {
            Need::Pair(pair) => (Some(pair), None),
            Need::Key(key) => (None, Some(key)),
        };
        let values = key.and_then(|key| self.values.get(&key).map(|values| (key, values)));
        let of_key = values
            .into_iter()
            .flat_map(|(key, values)| values.iter().map(move |v| (key, *v)));
        pair.into_iter()
            .chain(of_key)
            .filter_map(|pair| self.lists.get(&pair))
    }
}
