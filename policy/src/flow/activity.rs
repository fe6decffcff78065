//! The activity word: when a session began, when it was last used, what its packets showed.
//!
//! One word, so that the packet path changes it by one compare-and-swap, and only when the tick
//! or a TCP mark changed:
//!
//! | bits | field |
//! |---|---|
//! | 0–25 | last use, ticks of 256 ms, wrapping after 198 days |
//! | 26–47 | creation, units of four ticks, wrapping after 49 days |
//! | 48–57 | [`Marks`] |
//! | 58–63 | low bits of the slot's incarnation, so that a late swap misses a reused slot |

use super::config::Timeouts;
use super::tcp::Marks;

const SEEN_BITS: u32 = 26;
const CREATED_BITS: u32 = 22;
const SEEN: u64 = (1 << SEEN_BITS) - 1;
const CREATED: u64 = (1 << CREATED_BITS) - 1;

/// Milliseconds a tick, as a shift.
const TICK: u32 = 8;

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Activity(pub(super) u64);

impl Activity {
    pub(super) fn new(now_ms: u64, marks: Marks, incarnation: u32) -> Self {
        let tick = now_ms >> TICK;
        Self(
            tick & SEEN
                | (tick >> 2 & CREATED) << SEEN_BITS
                | u64::from(marks.0) << (SEEN_BITS + CREATED_BITS)
                | u64::from(incarnation & 63) << (SEEN_BITS + CREATED_BITS + Marks::BITS),
        )
    }

    /// The word after a packet.
    #[inline]
    pub(super) fn seen(self, now_ms: u64, marks: Marks) -> Self {
        let keep = self.0 & !(SEEN | ((1 << Marks::BITS) - 1) << (SEEN_BITS + CREATED_BITS));
        Self(keep | now_ms >> TICK & SEEN | u64::from(marks.0) << (SEEN_BITS + CREATED_BITS))
    }

    #[inline]
    pub(super) fn marks(self) -> Marks {
        Marks((self.0 >> (SEEN_BITS + CREATED_BITS)) as u16 & ((1 << Marks::BITS) - 1))
    }

    #[inline]
    pub(super) fn of_incarnation(self, incarnation: u32) -> bool {
        (self.0 >> (SEEN_BITS + CREATED_BITS + Marks::BITS)) as u32 == incarnation & 63
    }

    /// Milliseconds since the last use. A use later than `now` (another worker's clock was read
    /// later) counts as now.
    pub(super) fn idle_ms(self, now_ms: u64) -> u64 {
        since(now_ms >> TICK, self.0 & SEEN, SEEN_BITS) << TICK
    }

    /// Milliseconds since the creation.
    pub(super) fn age_ms(self, now_ms: u64) -> u64 {
        since(
            now_ms >> (TICK + 2),
            self.0 >> SEEN_BITS & CREATED,
            CREATED_BITS,
        ) << (TICK + 2)
    }

    /// Whether the session has been idle for longer than it may.
    pub(super) fn expired(self, now_ms: u64, protocol: u8, timeouts: &Timeouts) -> bool {
        self.idle_ms(now_ms) > self.marks().timeout_ms(protocol, timeouts)
            && self.age_ms(now_ms) > timeouts.creation_grace_ms
    }
}

/// `now - then` of wrapping counters; zero when `then` lies ahead by less than a sixteenth.
fn since(now: u64, then: u64, bits: u32) -> u64 {
    let mask = (1 << bits) - 1;
    let elapsed = now.wrapping_sub(then) & mask;
    if elapsed > mask - (mask >> 4) {
        0
    } else {
        elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_side_by_side() {
        let start = 40_000_000_123;
        let word = Activity::new(start, Marks(0x3ff), 0xffff_ffc5);
        assert_eq!((word.idle_ms(start), word.age_ms(start)), (0, 0));
        assert!(word.of_incarnation(5) && !word.of_incarnation(4));
        let later = start + 3_600_000;
        assert!(word.idle_ms(later).abs_diff(3_600_000) < 256);
        assert!(word.age_ms(later).abs_diff(3_600_000) < 1024);
        let touched = word.seen(later, Marks(1));
        assert_eq!((touched.idle_ms(later), touched.marks()), (0, Marks(1)));
        assert_eq!(touched.age_ms(later), word.age_ms(later));
        assert!(touched.of_incarnation(5));
        assert_eq!(
            touched.idle_ms(later - 1000),
            0,
            "seen after this clock was read"
        );
    }

    #[test]
    fn time_may_wrap() {
        let start = (SEEN << TICK) - 1000;
        let word = Activity::new(start, Marks(0), 0);
        assert!(word.idle_ms(start + 60_000).abs_diff(60_000) < 256);
        assert!(!word.expired(start + 60_000, 17, &Timeouts::default()));
        assert!(word.expired(start + 61_000, 17, &Timeouts::default()));
    }
}
