//! The index: from the hash of a key to its slot.
//!
//! Buckets of one cache line, eight entries `tag << 32 | slot + 1`, zero for none. There are
//! twice as many entries as slots, so a bucket rarely fills; then an entry goes to a second
//! bucket, also given by the hash. The tag is 32 bits of the hash not used for the first bucket:
//! a lookup touches a record's line only where it will almost surely match.

use super::sync::{AtomicU64, LINE, Lines, Ordering};

/// Where a key's entry may stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) buckets: [u32; 2],
    pub(super) tag: u32,
}

/// The entries.
#[derive(Debug)]
pub(super) struct Index {
    lines: Lines,
    buckets: u32,
}

impl Index {
    /// An index for this many slots.
    pub(super) fn new(slots: u32) -> Self {
        let buckets = slots.div_ceil(LINE as u32 / 2).max(2);
        Self {
            lines: Lines::new(buckets as usize),
            buckets,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    pub(super) fn buckets(&self) -> u32 {
        self.buckets
    }

    #[inline(always)]
    pub(super) fn place(&self, hash: u64) -> Place {
        let scaled = |h: u32| ((u64::from(h) * u64::from(self.buckets)) >> 32) as u32;
        let second = hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
        Place {
            buckets: [scaled(hash as u32), scaled(second as u32)],
            tag: (hash >> 32) as u32,
        }
    }

    #[inline(always)]
    pub(super) fn bucket(&self, bucket: u32) -> &[AtomicU64; LINE] {
        self.lines.line(bucket as usize)
    }

    /// One bit for each entry of the bucket that has the tag.
    #[inline(always)]
    pub(super) fn tagged(&self, bucket: u32, tag: u32) -> u32 {
        let mut bits = 0;
        for (i, entry) in self.bucket(bucket).iter().enumerate() {
            // Relaxed: only a hint; `slot` loads again.
            let entry = entry.load(Ordering::Relaxed);
            bits |= u32::from((entry >> 32) as u32 == tag) << i;
        }
        bits
    }

    /// The slot of an entry, if it still has the tag.
    #[inline(always)]
    pub(super) fn slot(&self, bucket: u32, i: usize, tag: u32) -> Option<u32> {
        // Acquire: pairs with the Release in `publish`: the record behind the entry is written.
        let entry = self.bucket(bucket)[i % LINE].load(Ordering::Acquire);
        ((entry >> 32) as u32 == tag && entry as u32 != 0).then(|| entry as u32 - 1)
    }

    /// The slot of an entry of the bucket that has the tag. There is hardly ever more than one.
    #[inline(always)]
    pub(super) fn any(&self, bucket: u32, tag: u32) -> Option<u32> {
        let mut found = 0;
        for entry in self.bucket(bucket) {
            // Acquire: pairs with the Release in `publish`, as in `slot`.
            let entry = entry.load(Ordering::Acquire);
            // A conditional move each: a branch would be guessed wrong as often as not.
            found = if (entry >> 32) as u32 == tag {
                entry as u32
            } else {
                found
            };
        }
        found.checked_sub(1)
    }

    /// Calls `with` for each slot of the bucket whose entry has the tag, until it returns a value.
    #[inline(always)]
    pub(super) fn find<T>(
        &self,
        bucket: u32,
        tag: u32,
        mut with: impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        let mut bits = self.tagged(bucket, tag);
        while bits != 0 {
            let i = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if let Some(found) = self.slot(bucket, i, tag).and_then(&mut with) {
                return Some(found);
            }
        }
        None
    }

    /// Enters a slot whose record is written; `false` when both buckets are full.
    pub(super) fn publish(&self, place: &Place, slot: u32) -> bool {
        let entry = u64::from(place.tag) << 32 | u64::from(slot + 1);
        for bucket in place.buckets {
            for word in self.bucket(bucket) {
                // AcqRel: Release pairs with the Acquire in `slot`. Relaxed first look: the
                // swap decides.
                if word.load(Ordering::Relaxed) == 0
                    && word
                        .compare_exchange(0, entry, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
                {
                    return true;
                }
            }
        }
        false
    }

    /// Takes the entry of a slot out.
    pub(super) fn withdraw(&self, place: &Place, slot: u32) {
        let entry = u64::from(place.tag) << 32 | u64::from(slot + 1);
        for bucket in place.buckets {
            for word in self.bucket(bucket) {
                // Only the owner of the slot takes its one entry out, so a plain store would
                // do, were it not for two entries of one key while it is contended.
                // Release: who finds the entry gone and the slot reused finds the new life word.
                if word.load(Ordering::Relaxed) == entry
                    && word
                        .compare_exchange(entry, 0, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
                {
                    return;
                }
            }
        }
    }
}
