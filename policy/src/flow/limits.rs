//! Who may open a session: the rate over all, and the count of each endpoint.

use super::config::{Admission, Config};
use super::sync::{AtomicU32, AtomicU64, Ordering};

/// Stands for "no local endpoint on this side".
pub const NO_ENDPOINT: u32 = u32::MAX;

const DEFAULT: u32 = u32::MAX;

#[derive(Debug)]
struct Endpoint {
    sessions: AtomicU32,
    /// Limit, or [`DEFAULT`].
    limit: AtomicU32,
}

/// The two limits.
#[derive(Debug)]
pub(super) struct Limits {
    endpoints: Box<[Endpoint]>,
    default_limit: u32,
    /// Nanoseconds between sessions and the lead a burst may have; none: no limit.
    rate: Option<(u64, u64)>,
    /// Time at which the last session admitted would have come at an even rate (GCRA).
    due: AtomicU64,
}

impl Limits {
    pub(super) fn new(config: &Config) -> Self {
        let endpoint = || Endpoint {
            sessions: AtomicU32::new(0),
            limit: AtomicU32::new(DEFAULT),
        };
        let rate = |admission: Admission| {
            let interval = 1_000_000_000 / u64::from(admission.per_second.max(1));
            (interval, interval * u64::from(admission.burst.max(1)))
        };
        Self {
            endpoints: (0..config.endpoints).map(|_| endpoint()).collect(),
            default_limit: config.endpoint_limit.unwrap_or(u32::MAX),
            rate: config.admission.map(rate),
            due: AtomicU64::new(0),
        }
    }

    /// Whether the rate allows one more session now.
    pub(super) fn admit(&self, now_ms: u64) -> bool {
        let Some((interval, lead)) = self.rate else {
            return true;
        };
        let now = now_ms * 1_000_000;
        // Relaxed throughout: the word stands for itself.
        self.due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                let next = due.max(now) + interval;
                (next - now <= lead).then_some(next)
            })
            .is_ok()
    }

    /// Counts a session for both endpoints; the endpoint that has enough, if one does.
    pub(super) fn claim(&self, owners: [u32; 2]) -> Result<(), u32> {
        self.claim_one(owners[0])?;
        self.claim_one(owners[1])
            .inspect_err(|_| self.release_one(owners[0]))
    }

    /// Gives back what `claim` took.
    pub(super) fn release(&self, owners: [u32; 2]) {
        owners.iter().for_each(|&owner| self.release_one(owner));
    }

    /// Sets an endpoint's own limit, or the table's again; `false` for an id without a counter.
    pub(super) fn set(&self, endpoint: u32, limit: Option<u32>) -> bool {
        let found = self.endpoints.get(endpoint as usize);
        // Relaxed: a limit counts from some moment on, which one does not matter.
        found
            .inspect(|e| e.limit.store(limit.unwrap_or(DEFAULT), Ordering::Relaxed))
            .is_some()
    }

    /// Sessions of an endpoint.
    pub(super) fn sessions(&self, endpoint: u32) -> Option<u32> {
        Some(
            self.endpoints
                .get(endpoint as usize)?
                .sessions
                .load(Ordering::Relaxed),
        )
    }

    fn claim_one(&self, owner: u32) -> Result<(), u32> {
        let Some(endpoint) = self.endpoints.get(owner as usize) else {
            return Ok(());
        };
        let own = endpoint.limit.load(Ordering::Relaxed);
        let limit = if own == DEFAULT {
            self.default_limit
        } else {
            own
        };
        // Relaxed: only the count matters. Between add and subtract another worker may be
        // refused a place that is about to be free again, never given one too many.
        if endpoint.sessions.fetch_add(1, Ordering::Relaxed) >= limit {
            endpoint.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(owner);
        }
        Ok(())
    }

    fn release_one(&self, owner: u32) {
        if let Some(endpoint) = self.endpoints.get(owner as usize) {
            endpoint.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
