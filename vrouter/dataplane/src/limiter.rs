//! A token bucket without a clock: how often the router may speak up by itself.

/// Admits up to `burst` at once and `per_second` on average.
#[derive(Debug, Clone)]
pub(crate) struct Limiter {
    per_second: u64,
    burst: u64,
    /// In thousandths of a token, so that every millisecond counts.
    millitokens: u64,
    last_ms: u64,
}

impl Limiter {
    /// A full bucket.
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        Self {
            per_second,
            burst,
            millitokens: burst * 1000,
            last_ms: 0,
        }
    }

    /// Takes a token if there is one. `now_ms` never goes back.
    pub(crate) fn admit(&mut self, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.last_ms);
        self.last_ms = now_ms;
        let filled = self
            .millitokens
            .saturating_add(passed.saturating_mul(self.per_second));
        self.millitokens = filled.min(self.burst * 1000);
        let admitted = self.millitokens >= 1000;
        if admitted {
            self.millitokens -= 1000;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_then_paces() {
        let mut limiter = Limiter::new(100, 3);
        assert_eq!((0..10).filter(|_| limiter.admit(5)).count(), 3);
        assert!(!limiter.admit(14));
        assert!(limiter.admit(15));
        assert_eq!((15..1015).filter(|now| limiter.admit(*now)).count(), 99);
    }
}
