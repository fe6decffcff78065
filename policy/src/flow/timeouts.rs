//! The timeouts a table works by, which may be replaced while it does.

use super::config::Timeouts;
use super::sync::{AtomicU64, Ordering};

/// [`Timeouts`] word by word. A sweep that runs while they are replaced may take some old and some
/// new ones, each of which somebody asked for.
#[derive(Debug)]
pub(super) struct Current([AtomicU64; 8]);

impl Current {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        Self(words(timeouts).map(AtomicU64::new))
    }

    pub(super) fn set(&self, timeouts: &Timeouts) {
        for (word, value) in self.0.iter().zip(words(timeouts)) {
            // Relaxed: each stands for itself.
            word.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> Timeouts {
        // Relaxed: as in `set`.
        let [
            tcp_syn_sent_ms,
            tcp_established_ms,
            tcp_reset_ms,
            tcp_fins_seen_ms,
            udp_ms,
            icmp_ms,
            generic_ms,
            creation_grace_ms,
        ] = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        Timeouts {
            tcp_syn_sent_ms,
            tcp_established_ms,
            tcp_reset_ms,
            tcp_fins_seen_ms,
            udp_ms,
            icmp_ms,
            generic_ms,
            creation_grace_ms,
        }
    }
}

/// In the order in which `read` takes them.
fn words(timeouts: &Timeouts) -> [u64; 8] {
    [
        timeouts.tcp_syn_sent_ms,
        timeouts.tcp_established_ms,
        timeouts.tcp_reset_ms,
        timeouts.tcp_fins_seen_ms,
        timeouts.udp_ms,
        timeouts.icmp_ms,
        timeouts.generic_ms,
        timeouts.creation_grace_ms,
    ]
}
