//! The order of measurements: tests shuffled in each round, subjects in turns, from a seed.

/// Random numbers for shuffling (SplitMix64).
#[derive(Debug, Clone)]
pub struct Shuffler(u64);

impl Shuffler {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Puts items into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let limit = at as u64 + 1;
            let other = usize::try_from(self.next() % limit).unwrap_or(0);
            items.swap(at, other);
        }
    }
}

/// Subjects in turns: A B C, then B C A, so that none is always measured first.
pub fn turn<T>(items: &mut [T], round: usize) {
    if !items.is_empty() {
        let by = round % items.len();
        items.rotate_left(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_order_and_loses_nothing() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..50).collect();
            Shuffler::new(seed).shuffle(&mut items);
            items
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<u32>>());
    }

    #[test]
    fn everybody_is_first_in_turn() {
        let firsts: Vec<char> = (0..3)
            .map(|round| {
                let mut items = ['a', 'b', 'c'];
                turn(&mut items, round);
                items[0]
            })
            .collect();
        assert_eq!(firsts, ['a', 'b', 'c']);
    }
}
