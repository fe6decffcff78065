//! A leaf: the rules that remain after the address or the port was looked up, in order.

use super::block::{Rules, Side};
use super::rule::{Address, Rule, Tuple};
use super::runs::Runs;
use crate::cpu::{LANES, Lanes};

/// The leaf's blocks in one word: lowest order << 32 | certain << 31 | count << 24 | first block.
///
/// *Certain* means that nothing remains to be checked: whoever gets here has matched the rule of
/// the lowest order. A count of 127 says that the last block is the first with a free lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf(u64);

const MANY: usize = 127;
const CERTAIN: u64 = 1 << 31;

impl Default for Leaf {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Leaf {
    /// No rule. Its order is lower than none.
    pub(super) const EMPTY: Self = Self(0xffff_ffff << 32);

    /// The leaf of one rule with nothing left to check.
    pub(super) fn certain(order: u32) -> Self {
        Self(u64::from(order) << 32 | CERTAIN)
    }

    /// Stores rules, lowest order first, as a leaf.
    pub(super) fn store<A: Address, B: Rules<A>>(
        blocks: &mut Runs<B>,
        rules: impl Iterator<Item = (u32, Rule<A>)>,
        other: Side,
    ) -> Self {
        let mut run: Vec<B> = Vec::new();
        let mut lowest = u32::MAX;
        for (i, (order, rule)) in rules.enumerate() {
            if i % LANES == 0 {
                run.push(B::default());
            }
            lowest = lowest.min(order);
            run.last_mut()
                .expect("one was pushed")
                .set(i % LANES, order, &rule, other);
        }
        if run.is_empty() {
            return Self::EMPTY;
        }
        if run.len() >= MANY && run.last().is_some_and(B::is_full) {
            run.push(B::default());
        }
        let first = blocks.store(&run);
        assert!(
            first < 1 << 24,
            "the table holds rules so few that their blocks are below 2^24"
        );
        Self(u64::from(lowest) << 32 | (run.len().min(MANY) as u64) << 24 | u64::from(first))
    }

    /// Takes the blocks back.
    pub(super) fn give_back<A: Address, B: Rules<A>>(self, blocks: &mut Runs<B>) {
        let count = self.count();
        if count == 0 {
            return;
        }
        let tail = (0..)
            .skip(count - 1)
            .find(|&i| count < MANY || !blocks.at(self.block() + i as u32).is_full());
        blocks.give_back(
            self.block(),
            tail.expect("a long leaf ends with a free lane") + 1,
        );
    }

    #[inline(always)]
    pub(super) fn lowest(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether [`lowest`](Self::lowest) is the answer.
    #[inline(always)]
    pub(super) fn is_certain(self) -> bool {
        self.0 & CERTAIN != 0
    }

    #[inline(always)]
    pub(super) fn block(self) -> u32 {
        self.0 as u32 & 0xff_ffff
    }

    #[inline(always)]
    fn count(self) -> usize {
        (self.0 >> 24) as usize & MANY
    }

    /// The lowest order below `best` among the rules that match, else `best`.
    #[inline(always)]
    pub(super) fn first<A: Address, B: Rules<A>>(
        self,
        lanes: impl Lanes,
        blocks: &Runs<B>,
        packet: &Tuple<A>,
        other: A,
        best: u32,
    ) -> u32 {
        let found = blocks.at(self.block()).first(lanes, packet, other);
        if found != u32::MAX || self.count() == 1 {
            // Orders grow along the leaf: the first block with a match has the lowest.
            return found.min(best);
        }
        self.first_beyond(lanes, blocks, packet, other, best)
    }

    #[inline(always)]
    fn first_beyond<A: Address, B: Rules<A>>(
        self,
        lanes: impl Lanes,
        blocks: &Runs<B>,
        packet: &Tuple<A>,
        other: A,
        best: u32,
    ) -> u32 {
        let count = self.count();
        let mut at = self.block();
        for i in 1.. {
            if (count < MANY && i == count) || !blocks.at(at).is_full() {
                break;
            }
            at += 1;
            let found = blocks.at(at).first(lanes, packet, other);
            if found != u32::MAX {
                return found.min(best);
            }
        }
        best
    }
}
