//! When a worker without packets spins and when it sleeps. No clock inside: times are given.
//!
//! Waking a sleeper costs tens of microseconds, most of them the halted core's; spinning costs the
//! core. So a worker spins for as long as the next packet is likely to take: a short while by
//! itself, and up to the configured limit once its sleeps prove short. A spinner that was put
//! aside while it looked is in the way of those who have work, and sleeps like anybody else for
//! a while: they wake it by their packets.

use std::time::{Duration, Instant};

/// How long a worker spins before its sleeps have proved short.
const SHORT: Duration = Duration::from_micros(50);
/// Between two looks of a spinner that had the core for itself lie a few microseconds.
const PUT_ASIDE: Duration = Duration::from_micros(100);
/// How long a spinner that was put aside does not spin again.
const MODESTY: Duration = Duration::from_millis(10);

/// One worker's pace.
#[derive(Debug)]
pub struct Pace {
    limit: Duration,
    /// How long it spins now.
    budget: Duration,
    last_packet: Instant,
    last_look: Instant,
    modest_until: Instant,
}

impl Pace {
    /// Spins for `limit` at most after the last packet; zero never spins.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            budget: limit.min(SHORT),
            last_packet: now,
            last_look: now,
            modest_until: now,
        }
    }

    /// Packets were handled.
    pub fn packets(&mut self, now: Instant) {
        self.last_packet = now;
        self.last_look = now;
    }

    /// Nothing is ready: whether to sleep until something is, rather than to look again.
    pub fn rests(&mut self, now: Instant) -> bool {
        if now.duration_since(self.last_look) > PUT_ASIDE {
            self.modest_until = now + MODESTY;
        }
        self.last_look = now;
        let budget = if now < self.modest_until {
            self.limit.min(SHORT)
        } else {
            self.budget
        };
        now.duration_since(self.last_packet) >= budget
    }

    /// A sleep that began at the last look has ended.
    pub fn woke(&mut self, now: Instant) {
        let short = now.duration_since(self.last_packet) < self.limit;
        self.budget = if short {
            self.limit
        } else {
            self.limit.min(SHORT)
        };
        self.last_look = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(1_500);

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// Looks every 5 µs from `from` until it sleeps; returns when that is.
    fn spin(pace: &mut Pace, mut at: Instant) -> Instant {
        while !pace.rests(at) {
            at += us(5);
        }
        at
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
        pace.woke(next);
        pace.packets(next);
        assert_eq!(spin(&mut pace, next), next + LIMIT);
        // Then nothing came for long.
        let late = next + us(50_000);
        pace.woke(late);
        pace.packets(late);
        assert_eq!(spin(&mut pace, late), late + SHORT);
    }

    #[test]
    fn makes_room_when_it_was_put_aside() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT, start);
        spin(&mut pace, start);
        let mut now = start + us(200);
        pace.woke(now);
        pace.packets(now);
        assert!(!pace.rests(now + us(5)));
        // Somebody else had the core.
        assert!(pace.rests(now + us(400)));
        now += us(500);
        pace.woke(now);
        pace.packets(now);
        assert_eq!(spin(&mut pace, now), now + SHORT);
        now += MODESTY;
        pace.woke(now - us(5));
        pace.packets(now);
        assert_eq!(spin(&mut pace, now), now + SHORT, "this sleep was long");
        now += us(300);
        pace.woke(now);
        pace.packets(now);
        assert_eq!(spin(&mut pace, now), now + LIMIT);
    }

    #[test]
    fn never_spins_with_a_limit_of_zero() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, start);
        pace.packets(start);
        assert!(pace.rests(start));
        pace.woke(start + us(1));
        pace.packets(start + us(1));
        assert!(pace.rests(start + us(1)));
    }
}
