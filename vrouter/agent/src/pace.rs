//! When a worker without packets spins, lends its core or sleeps. No clock inside: times are given.
//!
//! Waking a sleeper costs tens of microseconds, most of them the halted core's; spinning costs the
//! core. So a worker spins for as long as the next packet is likely to take: a short while by
//! itself, and up to the configured limit once its sleeps prove short. Between two fruitless looks
//! it lends the core to whoever waits for it: pods that answer, clients that ask again.
//!
//! Who uses up all the time the scheduler gives is no such neighbour. A worker that lent its core
//! to one of those neither spins long nor lends for a while, longer each time: what sleeps gets the
//! core back at its first packet, what lends gets it back last.

use std::time::{Duration, Instant};

/// How long a worker spins before its sleeps have proved short.
const SHORT: Duration = Duration::from_micros(50);
/// Between two looks of a spinner that had the core for itself lie a few microseconds; a neighbour
/// that answers a packet takes some hundred, one that computes takes milliseconds.
const PUT_ASIDE: Duration = Duration::from_micros(1_500);
/// How long a worker that was put aside keeps from spinning and lending, at first.
const SPIN_PAUSE: Duration = Duration::from_millis(10);
/// And at most, when it happens again and again.
const SPIN_PAUSE_LIMIT: Duration = Duration::from_millis(640);

/// One worker's pace.
#[derive(Debug)]
pub struct Pace {
    limit: Duration,
    /// How long it spins now.
    budget: Duration,
    last_packet: Instant,
    /// When it looked last, if nothing was done since.
    last_look: Option<Instant>,
    /// How long it is modest, or was the last time.
    pause: Duration,
    paused_until: Instant,
}

impl Pace {
    /// Spins for `limit` at most after the last packet; zero never spins.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            budget: limit.min(SHORT),
            last_packet: now,
            last_look: None,
            pause: Duration::ZERO,
            paused_until: now,
        }
    }

    /// Packets were handled.
    pub fn packets(&mut self, now: Instant) {
        self.last_packet = now;
        self.last_look = None;
    }

    /// Nothing is ready: whether to sleep until something is, rather than to look again.
    pub fn rests(&mut self, now: Instant) -> bool {
        let last = self.last_look.replace(now);
        if last.is_some_and(|last| now.duration_since(last) > PUT_ASIDE) {
            let again = now < self.paused_until + self.pause;
            self.pause = if again {
                SPIN_PAUSE_LIMIT.min(self.pause * 2)
            } else {
                SPIN_PAUSE
            };
            self.paused_until = now + self.pause;
        }
        let budget = if self.is_paused(now) {
            self.limit.min(SHORT)
        } else {
            self.budget
        };
        now.duration_since(self.last_packet) >= budget
    }

    /// Whether others may have the core before the next look.
    pub fn lends(&self, now: Instant) -> bool {
        !self.is_paused(now)
    }

    /// A sleep that began at the last look has ended.
    pub fn woke(&mut self, now: Instant) {
        let short = now.duration_since(self.last_packet) < self.limit;
        self.budget = if short {
            self.limit
        } else {
            self.limit.min(SHORT)
        };
        self.last_look = None;
    }

    fn is_paused(&self, now: Instant) -> bool {
        now < self.paused_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(1_500);

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Looks every 5 µs from `from` until it sleeps; returns when that is.
    fn spin(pace: &mut Pace, mut at: Instant) -> Instant {
        while !pace.rests(at) {
            at += us(5);
        }
        at
    }

    /// Its sleep ends at `now` with a packet.
    fn wake(pace: &mut Pace, now: Instant) {
        pace.woke(now);
        pace.packets(now);
    }

    /// Brings a pace to where it spins up to the limit; returns the time.
    fn hurried(pace: &mut Pace, start: Instant) -> Instant {
        pace.packets(start);
        spin(pace, start);
        wake(pace, start + us(200));
        start + us(200)
    }

    #[test]
    fn spins_shortly_then_sleeps() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT, start);
        pace.packets(start);
        assert_eq!(spin(&mut pace, start), start + SHORT);
    }

    #[test]
    fn spins_up_to_the_limit_while_packets_are_near() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT, start);
        spin(&mut pace, start);
        let next = start + us(1_000);
        wake(&mut pace, next);
        assert_eq!(spin(&mut pace, next), next + LIMIT);
        // Then nothing came for long.
        let late = next + us(50_000);
        wake(&mut pace, late);
        assert_eq!(spin(&mut pace, late), late + SHORT);
    }

    #[test]
    fn lends_to_those_who_answer() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT, start);
        let now = hurried(&mut pace, start);
        assert!(!pace.rests(now + us(5)));
        assert!(!pace.rests(now + us(1_000)), "it came back soon");
        assert!(pace.lends(now + us(1_000)));
    }

    #[test]
    fn is_modest_once_it_was_put_aside() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT, start);
        let mut now = hurried(&mut pace, start);
        assert!(!pace.rests(now + us(5)));
        // Somebody else had the core for a whole slice.
        now += us(4_000);
        assert!(pace.rests(now));
        assert!(!pace.lends(now));
        wake(&mut pace, now + us(500));
        now += us(500);
        assert_eq!(spin(&mut pace, now), now + SHORT);
        // It tries again in the end.
        now += SPIN_PAUSE;
        now = hurried(&mut pace, now);
        assert!(pace.lends(now));
        assert_eq!(spin(&mut pace, now), now + LIMIT);
    }

    #[test]
    fn is_modest_for_longer_each_time() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT, start);
        let mut now = start;
        for expected in [10, 20, 40, 80, 160, 320, 640, 640] {
            now = hurried(&mut pace, now);
            assert!(!pace.rests(now + us(5)));
            now += us(4_000);
            pace.rests(now);
            assert!(!pace.lends(now + ms(expected) - us(1)), "{expected}");
            now += ms(expected);
            assert!(pace.lends(now), "{expected}");
        }
        // Long after it begins anew.
        now = hurried(&mut pace, now + ms(2_000));
        assert!(!pace.rests(now + us(5)));
        now += us(4_000);
        pace.rests(now);
        assert!(pace.lends(now + SPIN_PAUSE));
    }

    #[test]
    fn a_long_turn_is_not_being_put_aside() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT, start);
        let now = hurried(&mut pace, start);
        pace.rests(now + us(5));
        pace.packets(now + us(10));
        pace.rests(now + us(5_000));
        assert!(pace.lends(now + us(5_000)));
    }

    #[test]
    fn never_spins_with_a_limit_of_zero() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, start);
        pace.packets(start);
        assert!(pace.rests(start));
        wake(&mut pace, start + us(1));
        assert!(pace.rests(start + us(1)));
    }
}
