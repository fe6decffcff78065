//! What the packet path tells: refused flows and broken devices; and the flow table's ageing.
//!
//! A thread of its own, so that neither the agent's work nor a client's question delays it.
//! Clients read the denials while it writes them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam::channel::Sender;
use dashmap::DashMap;
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::events::{Denial, Event};
use vrouter_dataplane::hits::Hits;
use vrouter_dataplane::id::InterfaceId;

use crate::workers::Shared;

/// Between two looks at the ring.
const PERIOD: Duration = Duration::from_millis(100);
/// Looks in which the whole flow table is aged once.
const LOOKS_PER_SWEEP: usize = 100;
/// Denials kept one by one.
const RECENT: usize = 256;
/// Different denied pairs listed; further ones are counted under their reason alone.
const PAIRS: usize = 4096;

/// Connections cut since the last look that are logged one by one.
const CUTS_TOLD: usize = 16;

/// A denied pair of hosts, whatever their ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeniedPair {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Destination port, 0 for protocols without.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    pub reason: DropReason,
}

/// A device that broke.
#[derive(Debug, Clone, Copy)]
pub struct DeviceFailed {
    /// Whose.
    pub interface: InterfaceId,
    /// The system's error number.
    pub errno: i32,
}

/// What was refused.
#[derive(Debug, Default)]
pub struct Denials {
    pairs: DashMap<DeniedPair, u64>,
    recent: Mutex<VecDeque<(SystemTime, Denial)>>,
}

impl Denials {
    /// Denied pairs with how often, most first.
    pub fn pairs(&self) -> Vec<(DeniedPair, u64)> {
        let mut pairs: Vec<_> = self
            .pairs
            .iter()
            .map(|entry| (*entry.key(), *entry.value()))
            .collect();
        pairs.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        pairs
    }

    /// The latest denials, latest first.
    pub fn recent(&self) -> Vec<(SystemTime, Denial)> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().copied().collect()
    }

    fn note(&self, denial: Denial) {
        if let Some(tuple) = &denial.tuple {
            self.count(DeniedPair {
                source: tuple.source,
                destination: tuple.destination,
                port: tuple.destination_port,
                protocol: tuple.protocol,
                reason: denial.reason,
            });
        }
        self.keep(denial);
    }

    fn count(&self, pair: DeniedPair) {
        if self.pairs.contains_key(&pair) || self.pairs.len() < PAIRS {
            *self.pairs.entry(pair).or_default() += 1;
        }
    }

    /// Keeps a sample of a lost packet.
    fn keep(&self, denial: Denial) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            // The oldest of the most frequent reason, so that a flood leaves the rare ones.
            let mut counts = [0; DropReason::ALL.len()];
            recent
                .iter()
                .for_each(|(_, one)| counts[one.reason as usize] += 1);
            let most = DropReason::ALL.iter().copied();
            let most = most.max_by_key(|reason| counts[*reason as usize]);
            let oldest = recent.iter().position(|(_, one)| Some(one.reason) == most);
            recent.remove(oldest.unwrap_or(0));
        }
        recent.push_back((SystemTime::now(), denial));
    }
}

/// Logs the `n`th connection that policy cut since the last look.
fn log_cut(denial: &Denial, shared: &Shared, n: usize) {
    if n > CUTS_TOLD {
        return;
    }
    let tables = shared.tables.load();
    let by = match denial.rule.and_then(|(.., rule)| tables.policy.rule(rule)) {
        Some(rule) => rule.to_string(),
        None => denial.reason.name().to_owned(),
    };
    match &denial.tuple {
        Some(tuple) => tracing::warn!("policy cut {tuple}: {by}"),
        None => tracing::warn!("policy cut a connection: {by}"),
    }
}

/// The running thread; ends when dropped.
pub struct Collector {
    pub denials: Arc<Denials>,
    /// What rules allowed of the sessions that aged out.
    pub expired: Arc<Hits>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts it.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(shared: Shared, failed: Sender<DeviceFailed>) -> std::io::Result<Self> {
        let denials = Arc::<Denials>::default();
        let stop = Arc::<AtomicBool>::default();
        let expired = Arc::<Hits>::default();
        let (to, until, hits) = (
            Arc::clone(&denials),
            Arc::clone(&stop),
            Arc::clone(&expired),
        );
        let body = move || {
            // Relaxed: the flag says nothing but itself.
            while !until.load(Ordering::Relaxed) {
                let mut cut = 0;
                while let Some(event) = shared.events.pop() {
                    match event {
                        Event::Denied(denial) => {
                            if denial.cut {
                                cut += 1;
                                log_cut(&denial, &shared, cut);
                            }
                            to.note(denial);
                        }
                        Event::Dropped(sample) => to.keep(sample),
                        Event::Traced(step) => tracing::debug!("{step}"),
                        Event::DeviceFailed { interface, errno } => {
                            // The agent ends before this thread only on the way out.
                            let _ = failed.send(DeviceFailed { interface, errno });
                        }
                    }
                }
                if let Some(more) = cut.checked_sub(CUTS_TOLD).filter(|more| *more > 0) {
                    tracing::warn!("policy cut {more} more connections");
                }
                let budget = shared.flows.statistics().capacity as usize / LOOKS_PER_SWEEP;
                let now = shared.now_ms();
                shared
                    .flows
                    .sweep(now, budget.max(1), |flow| hits.ended(flow));
                std::thread::park_timeout(PERIOD);
            }
        };
        let thread = std::thread::Builder::new()
            .name("collector".into())
            .spawn(body)?;
        Ok(Self {
            denials,
            expired,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the collector panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::model::PacketTuple;

    fn denial(port: u16) -> Denial {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        Denial {
            at_ms: 0,
            arrival: Some(InterfaceId(4)),
            tuple: Some(PacketTuple::new(source, destination, 6).with_ports(40_000, port)),
            identifier: None,
            length: 60,
            reason: DropReason::PolicyDenied,
            rule: None,
            cut: false,
        }
    }

    #[test]
    fn pairs_are_counted_and_bounded_and_samples_are_the_latest() {
        let denials = Denials::default();
        denials.note(denial(80));
        denials.note(denial(23));
        denials.note(denial(23));
        let counts: Vec<_> = denials.pairs().iter().map(|(p, n)| (p.port, *n)).collect();
        assert_eq!(counts, [(23, 2), (80, 1)]);
        assert_eq!(denials.recent()[0].1.tuple.unwrap().destination_port, 23);
        (0..=u16::MAX).for_each(|port| denials.note(denial(port / 2)));
        denials.keep(Denial {
            reason: DropReason::NoRoute,
            ..denial(0)
        });
        (0..2 * RECENT).for_each(|_| denials.keep(denial(1)));
        let recent = denials.recent();
        let rare = recent
            .iter()
            .filter(|(_, it)| it.reason == DropReason::NoRoute);
        assert_eq!(rare.count(), 1);
        assert_eq!(denials.pairs().len(), PAIRS);
        assert_eq!(denials.recent().len(), RECENT);
    }
}
