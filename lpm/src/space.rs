//! Where blocks lie in an array: the bookkeeping of an arena, without the array itself.
//!
//! Blocks have a size of their own, most of them a handful of cells. A freed block waits in the
//! list of its size and is cut when only a larger one is free; neighbours are not joined again:
//! tables that are rewritten for long are built anew instead (see `Store::is_sparse`).

/// Sizes up to this have a list each; above, sizes are rounded up to multiples of [`STEP`].
const EXACT: usize = 64;
const STEP: usize = 32;
/// Blocks above this many cells are not kept apart by size.
const GREATEST: usize = 4096;
const LISTS: usize = EXACT + (GREATEST - EXACT) / STEP + 1;

/// Free and used cells of one array.
#[derive(Debug)]
pub(crate) struct Space {
    /// Cells that exist.
    capacity: u32,
    /// Cells from here on were never used.
    end: u32,
    /// Cells before this are no blocks.
    reserved: u32,
    /// Cells in `lists`.
    free: u32,
    lists: Vec<Vec<u32>>,
    /// One bit per list that is not empty.
    occupied: [u64; LISTS.div_ceil(64)],
}

/// The cells a block of `size` takes.
pub(crate) const fn rounded(size: usize) -> usize {
    if size <= EXACT {
        size
    } else {
        size.next_multiple_of(STEP)
    }
}

const fn list_of(rounded: usize) -> usize {
    if rounded <= EXACT {
        rounded
    } else {
        EXACT + (rounded - EXACT) / STEP
    }
}

const fn size_of_list(list: usize) -> usize {
    if list <= EXACT {
        list
    } else {
        EXACT + (list - EXACT) * STEP
    }
}

impl Space {
    /// An array of `capacity` cells whose first `reserved` are taken for good.
    pub(crate) fn new(capacity: usize, reserved: usize) -> Self {
        Self {
            capacity: cell(capacity),
            end: cell(reserved),
            reserved: cell(reserved),
            free: 0,
            lists: vec![Vec::new(); LISTS],
            occupied: [0; LISTS.div_ceil(64)],
        }
    }

    /// A block of `size` cells (1 to 4096), or `None` when the array must grow.
    pub(crate) fn take(&mut self, size: usize) -> Option<u32> {
        let size = rounded(size);
        let wanted = list_of(size);
        if let Some(at) = self.pop(wanted) {
            return Some(at);
        }
        if let Some(list) = self.first_occupied(wanted + 1) {
            let at = self.pop(list)?;
            self.give_cells(at as usize + size, size_of_list(list) - size);
            return Some(at);
        }
        if self.capacity - self.end >= size as u32 {
            let at = self.end;
            self.end += size as u32;
            return Some(at);
        }
        None
    }

    /// Takes back a block of `size` cells.
    pub(crate) fn give(&mut self, at: u32, size: usize) {
        self.push(at, list_of(rounded(size)));
    }

    /// Tells that the array has grown.
    pub(crate) fn grow(&mut self, capacity: usize) {
        self.capacity = cell(capacity);
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The cells ever used: what must be kept when the array is copied.
    pub(crate) fn end(&self) -> usize {
        self.end as usize
    }

    /// The cells ever used by blocks.
    pub(crate) fn in_blocks(&self) -> usize {
        (self.end - self.reserved) as usize
    }

    /// Cells that hold nothing now.
    pub(crate) fn unused(&self) -> usize {
        (self.free + self.capacity - self.end) as usize
    }

    /// Cells in freed blocks.
    pub(crate) fn freed(&self) -> usize {
        self.free as usize
    }

    /// The bytes of this bookkeeping.
    pub(crate) fn bytes(&self) -> usize {
        self.lists
            .iter()
            .map(|list| size_of::<Vec<u32>>() + list.capacity() * 4)
            .sum()
    }

    /// Frees any number of cells, cut to the sizes that have lists.
    fn give_cells(&mut self, mut at: usize, mut count: usize) {
        while count > 0 {
            let piece = if count <= EXACT {
                count
            } else {
                (count & !(STEP - 1)).min(GREATEST)
            };
            self.push(cell(at), list_of(piece));
            at += piece;
            count -= piece;
        }
    }

    fn push(&mut self, at: u32, list: usize) {
        self.lists[list].push(at);
        self.occupied[list / 64] |= 1 << (list % 64);
        self.free += size_of_list(list) as u32;
    }

    fn pop(&mut self, list: usize) -> Option<u32> {
        let at = self.lists[list].pop()?;
        if self.lists[list].is_empty() {
            self.occupied[list / 64] &= !(1 << (list % 64));
        }
        self.free -= size_of_list(list) as u32;
        Some(at)
    }

    fn first_occupied(&self, from: usize) -> Option<usize> {
        if from >= LISTS {
            return None;
        }
        let mut word = from / 64;
        let mut bits = self.occupied[word] & (u64::MAX << (from % 64));
        loop {
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            word += 1;
            bits = *self.occupied.get(word)?;
        }
    }
}

fn cell(at: usize) -> u32 {
    u32::try_from(at).expect("an arena stays below 2^32 cells: links have fewer bits than that")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_blocks_are_used_again_and_cut() {
        let mut space = Space::new(100, 10);
        let a = space.take(40).unwrap();
        let b = space.take(50).unwrap();
        assert_eq!((a, b), (10, 50));
        assert_eq!(space.take(1), None);
        space.give(a, 40);
        assert_eq!(space.unused(), 40);
        assert_eq!(space.take(3), Some(10));
        assert_eq!(space.take(37), Some(13));
        assert_eq!(space.unused(), 0);
        space.grow(200);
        assert_eq!(space.take(65), Some(100));
        assert_eq!(space.end(), 196);
    }

    #[test]
    fn every_size_finds_its_own_list() {
        let mut space = Space::new(20_000_000, 0);
        for size in 1..=GREATEST {
            let at = space.take(size).unwrap();
            space.give(at, size);
            assert_eq!(space.take(size), Some(at), "{size}");
        }
        for size in (1..=GREATEST).rev() {
            assert!(rounded(size) >= size && list_of(rounded(size)) < LISTS);
            assert_eq!(size_of_list(list_of(rounded(size))), rounded(size));
        }
    }
}
