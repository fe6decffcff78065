//! What rules of policies matched: counted where flows begin and end, never for each packet.
//!
//! A worker counts a flow when its first packet is judged. The packets of a flow that got a
//! session are counted by the session, and added here when that ends ([`Hits::ended`]): what a
//! rule has let through is the sum of both. The counters of numbers are made before the tables
//! that name them are published ([`Hits::reserve`]), in blocks that never move, so that the packet
//! path neither allocates nor waits.

use std::sync::OnceLock;

use policy::flow::Flow;

use crate::counters::Counter;

/// Numbers in the first block, as a power of two; each further block doubles the numbers.
const FIRST: u32 = 10;

/// Blocks for all numbers of 32 bits.
const BLOCKS: usize = (u32::BITS - FIRST) as usize + 1;

/// What one number counts.
#[derive(Debug, Default)]
pub struct Hit {
    /// Flows judged by it.
    pub flows: Counter,
    /// Packets of flows without session, and of sessions that ended.
    pub packets: Counter,
    /// Bytes of those, from the IP header on.
    pub bytes: Counter,
}

impl Hit {
    /// Adds packets.
    pub fn add(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
    }
}

/// Counters by dense numbers that only one thread writes; any thread may make more of them.
#[derive(Debug)]
pub struct Hits {
    blocks: [OnceLock<Box<[Hit]>>; BLOCKS],
}

impl Default for Hits {
    fn default() -> Self {
        Self {
            blocks: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

/// The block of a number, its length, and the place in it.
fn place(number: u32) -> (usize, usize, usize) {
    match number >> FIRST {
        0 => (0, 1 << FIRST, number as usize),
        high => {
            let bit = FIRST + high.ilog2();
            let (block, length) = ((bit - FIRST) as usize + 1, 1usize << bit);
            (block, length, number as usize - length)
        }
    }
}

impl Hits {
    /// Makes counters for all numbers below `count`. What is there stays as it is.
    pub fn reserve(&self, count: usize) {
        let Some(last) = count.checked_sub(1) else {
            return;
        };
        let (last, ..) = place(u32::try_from(last).unwrap_or(u32::MAX));
        for (block, cell) in self.blocks.iter().enumerate().take(last + 1) {
            let length = 1usize << (FIRST as usize + block.saturating_sub(1));
            cell.get_or_init(|| (0..length).map(|_| Hit::default()).collect());
        }
    }

    /// The counters of a number, if they were made.
    pub fn of(&self, number: u32) -> Option<&Hit> {
        let (block, _, at) = place(number);
        self.blocks[block].get()?.get(at)
    }

    /// Adds what a session carried to the rules that allowed it.
    pub fn ended(&self, flow: &Flow) {
        let (packets, bytes) = carried(flow);
        for rule in allowed_by(flow.rules) {
            if let Some(hit) = self.of(rule) {
                hit.add(packets, bytes);
            }
        }
    }

    /// Leaves what a session carried so far with the rules that allowed it then. What it carries
    /// in all will be added to those that allow it now, so that much is taken from them first:
    /// the sums wrap, as the counters do.
    pub(crate) fn moved(&self, flow: &Flow, rules: [u32; 2]) {
        if flow.rules == rules {
            return;
        }
        self.ended(flow);
        let (packets, bytes) = carried(flow);
        for rule in allowed_by(rules) {
            if let Some(hit) = self.of(rule) {
                hit.add(packets.wrapping_neg(), bytes.wrapping_neg());
            }
        }
    }
}

/// The rules among those of a session; number 0 stands for none, as it allows nothing.
pub fn allowed_by(rules: [u32; 2]) -> impl Iterator<Item = u32> {
    rules.into_iter().filter(|rule| *rule != 0)
}

/// Packets and bytes of a session, both directions.
pub fn carried(flow: &Flow) -> (u64, u64) {
    let packets = flow.packets.iter().map(|packets| u64::from(*packets));
    (packets.sum(), flow.bytes.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_places_of_their_own() {
        let mut next = [0; BLOCKS];
        for number in 0..1u32 << 16 {
            let (block, length, at) = place(number);
            assert_eq!(at, next[block], "{number}");
            assert!(at < length);
            next[block] += 1;
        }
        let (block, length, at) = place(u32::MAX);
        assert_eq!((block, at), (BLOCKS - 1, length - 1));
    }

    #[test]
    fn what_was_counted_stays_when_there_is_room_for_more() {
        let hits = Hits::default();
        hits.reserve(0);
        assert!(hits.of(0).is_none());
        hits.reserve(5);
        hits.of(4).unwrap().add(2, 100);
        assert!(hits.of(1024).is_none());
        hits.reserve(5000);
        assert_eq!(hits.of(4).unwrap().packets.value(), 2);
        assert_eq!(hits.of(4999).unwrap().bytes.value(), 0);
        assert!(hits.of(1 << 20).is_none());
    }
}
