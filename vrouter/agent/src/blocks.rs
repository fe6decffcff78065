//! What on the host blocks the router, asked for again from time to time: nothing tells when a packet
//! filter changes.

use std::time::{Duration, Instant};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(10);

/// What blocks, as of the last look.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    sentences: Vec<String>,
    looked: Option<Instant>,
}

impl Blocks {
    /// What blocks, in words for an operator.
    pub(crate) fn sentences(&self) -> &[String] {
        &self.sentences
    }

    /// Looks again if it is time; whether it was.
    pub(crate) fn refresh(&mut self, device: &str, now: Instant) -> bool {
        let is_fresh = |looked| now.saturating_duration_since(looked) < PERIOD;
        if self.looked.is_some_and(is_fresh) {
            return false;
        }
        self.looked = Some(now);
        self.sentences = vrouter_host::forwarding(device);
        true
    }
}
