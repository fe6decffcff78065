//! A persistent hash table from the prefixes of one length to memberships.
//!
//! Extendible hashing: a directory, indexed by the first bits of a key's hash, names pages; a page
//! that is full is split in two, and the directory doubles when a page is split beyond its bits.
//! Pages and groups of directory entries are shared between a table and its copies, so that a
//! change copies one page and one group, whatever the table holds, and every copy stays whole.

use std::hash::Hash;
use std::sync::Arc;

use super::membership::Membership;

/// An address as a number.
pub(super) trait Bits: Copy + Eq + Hash {
    fn masked(self, len: u8) -> Self;
    fn spread(self) -> u64;
}

impl Bits for u32 {
    fn masked(self, len: u8) -> Self {
        if len == 0 {
            0
        } else {
            self & (u32::MAX << (32 - len))
        }
    }
    fn spread(self) -> u64 {
        mix(u64::from(self))
    }
}

impl Bits for u128 {
    fn masked(self, len: u8) -> Self {
        if len == 0 {
            0
        } else {
            self & (u128::MAX << (128 - len))
        }
    }
    #[allow(clippy::cast_possible_truncation)]
    fn spread(self) -> u64 {
        mix((self >> 64) as u64 ^ mix(self as u64))
    }
}

/// Spreads every bit over the upper half of the word.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (word ^ (word >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// A slot of a page: a prefix's bits and its membership.
type Slot<K> = Option<(K, Membership)>;
type Group<K> = Arc<[Page<K>]>;

/// Slots of a page at least; their number is a power of two.
const SLOTS: usize = 64;
/// Directory entries in a group.
const GROUP: usize = 64;
/// Directory entries are at most one in so many keys, so that keys chosen to share the first
/// bits of their hashes make pages longer and not the directory.
const KEYS_AN_ENTRY: usize = 8;

#[derive(Clone)]
pub(super) struct Table<K> {
    directory: Arc<Vec<Group<K>>>,
    /// log2 of the number of directory entries.
    bits: u32,
    len: usize,
    /// The slots of no page.
    vacant: Arc<[Slot<K>]>,
}

/// A directory entry. Entries whose hashes share the page's first bits name the same page.
#[derive(Clone)]
struct Page<K> {
    slots: Arc<[Slot<K>]>,
    /// Bits that the hashes of all keys have in common.
    depth: u32,
    used: usize,
}

impl<K: Bits> Table<K> {
    pub(super) fn new() -> Self {
        let page = Page::new(SLOTS, 0, &[]);
        Self {
            directory: Arc::new(vec![[page].into()]),
            bits: 0,
            len: 0,
            vacant: Arc::new([]),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The directory entry of a hash.
    #[allow(clippy::cast_possible_truncation)]
    fn index(&self, spread: u64) -> usize {
        spread.checked_shr(64 - self.bits).unwrap_or(0) as usize
    }

    fn page(&self, index: usize) -> &Page<K> {
        &self.directory[index / GROUP][index % GROUP]
    }

    pub(super) fn find(&self, key: K) -> Option<&Membership> {
        let spread = key.spread();
        self.page(self.index(spread)).find(key, spread)
    }

    /// Sets the membership of a key. Whether that changed anything.
    pub(super) fn insert(&mut self, key: K, membership: Membership) -> bool {
        let known = self.find(key);
        if known.is_some_and(|known| known.is_same(&membership)) {
            return false;
        }
        let is_new = known.is_none();
        let index = self.index(key.spread());
        self.change(index, |page| page.put(key, membership));
        if is_new {
            self.len += 1;
            if self.page(index).is_full() {
                self.relieve(index);
            }
        }
        true
    }

    /// Takes a key out. Whether it was there.
    pub(super) fn remove(&mut self, key: K) -> bool {
        if self.find(key).is_none() {
            return false;
        }
        self.change(self.index(key.spread()), |page| page.remove(key));
        self.len -= 1;
        if self.bits > 0 && self.len << 2 < 1 << self.bits {
            self.rebuild();
        }
        true
    }

    /// Changes the page of a directory entry in all entries that name it.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut Page<K>)) {
        let span = 1 << (self.bits - self.page(index).depth);
        if span == 1 {
            let group = &mut Arc::make_mut(&mut self.directory)[index / GROUP];
            return change(&mut Arc::make_mut(group)[index % GROUP]);
        }
        let first = index & !(span - 1);
        let vacant = Page {
            slots: self.vacant.clone(),
            depth: 0,
            used: 0,
        };
        let mut page = self.replace(first, vacant.clone());
        for other in first + 1..first + span {
            self.replace(other, vacant.clone());
        }
        change(&mut page);
        for other in first + 1..first + span {
            self.replace(other, page.clone());
        }
        self.replace(first, page);
    }

    fn replace(&mut self, index: usize, page: Page<K>) -> Page<K> {
        let group = &mut Arc::make_mut(&mut self.directory)[index / GROUP];
        std::mem::replace(&mut Arc::make_mut(group)[index % GROUP], page)
    }

    /// Splits a full page or, where keys are too few for a longer directory, makes it longer.
    fn relieve(&mut self, index: usize) {
        let Page { depth, used, .. } = *self.page(index);
        let mut index = index;
        if depth == self.bits {
            if self.len < KEYS_AN_ENTRY << (self.bits + 1) {
                return self.change(index, |page| {
                    let keys: Vec<_> = page.keys().cloned().collect();
                    *page = Page::new(2 * page.slots.len(), depth, &keys);
                });
            }
            self.double();
            index *= 2;
        }
        let span = 1 << (self.bits - depth);
        let first = index & !(span - 1);
        let (mut halves, mut keys) = ([Vec::new(), Vec::new()], Vec::with_capacity(used));
        keys.extend(self.page(first).keys().cloned());
        for key in keys {
            let bit = key.0.spread() >> (63 - depth) & 1;
            halves[usize::from(bit == 1)].push(key);
        }
        for (half, first) in halves.into_iter().zip([first, first + span / 2]) {
            let slots = (half.len() * 4 / 3 + 2).next_power_of_two().max(SLOTS);
            let page = Page::new(slots, depth + 1, &half);
            for entry in first..first + span / 2 {
                self.replace(entry, page.clone());
            }
        }
    }

    fn double(&mut self) {
        let entries: Vec<Page<K>> = self
            .directory
            .iter()
            .flat_map(|group| group.iter())
            .flat_map(|page| [page.clone(), page.clone()])
            .collect();
        self.directory = Arc::new(entries.chunks(GROUP).map(Group::from).collect());
        self.bits += 1;
    }

    /// The same keys in a directory as long as they need.
    fn rebuild(&mut self) {
        let mut table = Self::new();
        let mut index = 0;
        while index < 1 << self.bits {
            let page = self.page(index);
            for (key, membership) in page.keys() {
                table.insert(*key, membership.clone());
            }
            index += 1 << (self.bits - page.depth);
        }
        *self = table;
    }
}

impl<K: Bits> Page<K> {
    fn new(slots: usize, depth: u32, keys: &[(K, Membership)]) -> Self {
        let mut free = vec![None; slots];
        for (key, membership) in keys {
            let slot = place(&free, *key, key.spread()).expect("a page has more slots than keys");
            free[slot] = Some((*key, membership.clone()));
        }
        Self {
            slots: free.into(),
            depth,
            used: keys.len(),
        }
    }

    fn is_full(&self) -> bool {
        self.used * 4 > self.slots.len() * 3
    }

    fn keys(&self) -> impl Iterator<Item = &(K, Membership)> {
        self.slots.iter().flatten()
    }

    fn find(&self, key: K, spread: u64) -> Option<&Membership> {
        let slot = place(&self.slots, key, spread)?;
        self.slots[slot].as_ref().map(|(_, membership)| membership)
    }

    fn put(&mut self, key: K, membership: Membership) {
        let slot = place(&self.slots, key, key.spread()).expect("no page is full");
        let slots = Arc::make_mut(&mut self.slots);
        self.used += usize::from(slots[slot].is_none());
        slots[slot] = Some((key, membership));
    }

    fn remove(&mut self, key: K) {
        let mut hole = place(&self.slots, key, key.spread()).expect("no page is full");
        let slots = Arc::make_mut(&mut self.slots);
        self.used -= usize::from(slots[hole].take().is_some());
        // Keys that were probed past the removed one move up, to be found again.
        let mask = slots.len() - 1;
        let mut at = (hole + 1) & mask;
        while let Some((other, _)) = &slots[at] {
            let probed = at.wrapping_sub(start(other.spread())) & mask;
            if probed >= at.wrapping_sub(hole) & mask {
                slots.swap(hole, at);
                hole = at;
            }
            at = (at + 1) & mask;
        }
    }
}

/// Where the probes for a hash start, in a page of any length.
#[allow(clippy::cast_possible_truncation)]
fn start(spread: u64) -> usize {
    (spread >> 20) as usize
}

/// The slot of a key, or the free one where it belongs.
fn place<K: Bits>(slots: &[Slot<K>], key: K, spread: u64) -> Option<usize> {
    let mask = slots.len() - 1;
    let start = start(spread);
    (0..slots.len())
        .map(|i| (start + i) & mask)
        .find(|&slot| slots[slot].as_ref().is_none_or(|(k, _)| *k == key))
}

#[cfg(test)]
mod tests {
    use super::super::membership::SetId;
    use super::*;

    fn member(set: u32) -> Membership {
        Membership::new(vec![SetId(set)], Vec::new())
    }

    /// Keys whose hashes begin with the same twenty bits.
    fn crowded(count: usize) -> Vec<u32> {
        let first = |key: &u32| key.spread() >> 44 == 0;
        (0..).filter(first).take(count).collect()
    }

    #[test]
    fn keys_of_one_hash_prefix_make_a_page_longer_and_not_the_directory() {
        let mut table = Table::new();
        let keys = crowded(300);
        for &key in &keys {
            table.insert(key, member(key));
        }
        assert!(table.bits <= 6, "{} bits", table.bits);
        for &key in &keys {
            assert_eq!(table.find(key), Some(&member(key)));
        }
        for &key in &keys {
            assert!(table.remove(key));
        }
        assert!(table.is_empty() && table.bits == 0);
    }

    #[test]
    fn one_more_key_copies_one_page() {
        let mut table = Table::new();
        for key in 0..200_000u32 {
            table.insert(key, member(1));
        }
        let before = table.clone();
        table.insert(200_000, member(2));
        let pages = 1usize << before.bits;
        let other = (0..pages)
            .filter(|&i| !Arc::ptr_eq(&before.page(i).slots, &table.page(i).slots))
            .count();
        assert!((1..=8).contains(&other), "{other} of {pages} pages differ");
        for key in 0..200_000u32 {
            assert!(table.remove(key));
        }
        assert_eq!(table.find(200_000), Some(&member(2)));
        assert!((0..200_000).all(|key| before.find(key) == Some(&member(1))));
        assert_eq!(before.find(200_000), None);
    }
}
