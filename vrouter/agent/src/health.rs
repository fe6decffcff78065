//! Whether the process is live and ready, told by anybody's thread: the agent leaves signs of life, and
//! workers are asked.
//!
//! A datastore that is away makes no node unready that had read it: packets go on as it last said.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam::channel::{Receiver, TryRecvError};
use vrouter_api::Observability;
use vrouter_control::model::{Applies, ComponentHealth, HealthReport};

use crate::workers::Pulse;

/// How long the agent may be silent: Felix's `dataplaneWatchdogTimeout`.
const AGENT_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a worker may take for a turn.
const WORKER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long workers may take to use what was published.
const PUBLICATION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a question waits for the workers' answers.
const PATIENCE: Duration = Duration::from_millis(200);

/// The agent's signs of life. Relaxed throughout: each value stands for itself.
#[derive(Debug)]
pub struct Vitals {
    start: Instant,
    turned_ms: AtomicU64,
    in_sync: AtomicBool,
    stopping: AtomicBool,
    generation: AtomicU32,
    published_ms: AtomicU64,
    count: AtomicU64,
    failures: AtomicU64,
    microseconds: AtomicU64,
    resyncs: AtomicU64,
    slow: Mutex<Slow>,
}

/// What changes seldom.
#[derive(Debug, Default)]
struct Slow {
    away: Option<String>,
    problems: usize,
    last: Option<SystemTime>,
    settings: Observability,
}

impl Vitals {
    pub(crate) fn new(start: Instant, settings: Observability) -> Self {
        Self {
            start,
            turned_ms: AtomicU64::new(0),
            in_sync: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            published_ms: AtomicU64::new(0),
            count: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            microseconds: AtomicU64::new(0),
            resyncs: AtomicU64::new(0),
            slow: Mutex::new(Slow {
                settings,
                ..Slow::default()
            }),
        }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn slow(&self) -> std::sync::MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent's loop turned.
    pub(crate) fn turned(&self, in_sync: bool, generation: u32) {
        let now = self.now_ms();
        self.turned_ms.store(now, Ordering::Relaxed);
        if in_sync && !self.in_sync.swap(true, Ordering::Relaxed) {
            self.resyncs.fetch_add(1, Ordering::Relaxed);
        }
        if self.generation.swap(generation, Ordering::Relaxed) != generation {
            self.published_ms.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn applied(&self, took: Duration, problems: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let took = took.as_micros() as u64;
        self.microseconds.fetch_add(took, Ordering::Relaxed);
        let failed = u64::from(problems > 0);
        self.failures.fetch_add(failed, Ordering::Relaxed);
        let mut slow = self.slow();
        slow.problems = problems;
        slow.last = Some(SystemTime::now());
    }

    pub(crate) fn away(&self, reason: Option<String>) {
        let back = reason.is_none();
        let before = std::mem::replace(&mut self.slow().away, reason);
        if back && before.is_some() && self.in_sync.load(Ordering::Relaxed) {
            self.resyncs.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_settings(&self, settings: Observability) {
        self.slow().settings = settings;
    }

    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn applies(&self) -> Applies {
        Applies {
            count: self.count.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            microseconds: self.microseconds.load(Ordering::Relaxed),
            last: self.slow().last.map(Into::into),
            resyncs: self.resyncs.load(Ordering::Relaxed),
        }
    }
}

/// Everything that is asked for a report.
pub(crate) struct Health {
    vitals: Arc<Vitals>,
    workers: Mutex<Vec<Asked>>,
}

/// A worker, and the question it has not answered.
struct Asked {
    pulse: Pulse,
    waiting: Option<(Receiver<()>, Instant)>,
}

impl Asked {
    /// How long it has not answered, after a look that lasts until `deadline` at most.
    fn silence(&mut self, deadline: Instant) -> Duration {
        let Some((answer, since)) = &self.waiting else {
            return Duration::ZERO;
        };
        match answer.try_recv() {
            Ok(()) => self.waiting = None,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                // A worker that is gone ends the process by itself.
                if answer.recv_deadline(deadline).is_err() {
                    return since.elapsed();
                }
                self.waiting = None;
            }
        }
        Duration::ZERO
    }
}

impl Health {
    pub(crate) fn new(vitals: Arc<Vitals>, workers: impl Iterator<Item = Pulse>) -> Self {
        let asked = |pulse| Asked {
            pulse,
            waiting: None,
        };
        Self {
            vitals,
            workers: Mutex::new(workers.map(asked).collect()),
        }
    }

    pub(crate) fn report(&self) -> HealthReport {
        let settings = self.vitals.slow().settings.clone();
        let timeout = |name: &str, default: Duration| {
            let overrides = settings.health_timeout_overrides.iter().flatten();
            let mut named = overrides.filter(|one| one.name == name);
            named.next_back().map_or(default, |one| one.timeout)
        };
        let agent_timeout = settings.dataplane_watchdog_timeout.unwrap_or(AGENT_TIMEOUT);
        let mut components = vec![
            self.agent(timeout("agent", agent_timeout)),
            self.datastore(),
        ];
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in workers.iter_mut().filter(|worker| worker.waiting.is_none()) {
            worker.waiting = Some((worker.pulse.ping(), Instant::now()));
        }
        let deadline = Instant::now() + PATIENCE;
        let generation = self.vitals.generation.load(Ordering::Relaxed);
        let mut behind = 0;
        for (number, worker) in workers.iter_mut().enumerate() {
            let name = format!("worker-{number}");
            let limit = timeout(&name, WORKER_TIMEOUT);
            let silence = worker.silence(deadline);
            behind += usize::from(worker.pulse.generation() != generation);
            components.push(ComponentHealth {
                name,
                timeout_ms: Some(limit.as_millis() as u64),
                live: Some(silence <= limit),
                ready: None,
                detail: if silence.is_zero() {
                    String::new()
                } else {
                    format!("no turn for {} s", silence.as_secs())
                },
            });
        }
        let limit = timeout("publication", PUBLICATION_TIMEOUT);
        components.insert(2, self.publication(behind, limit));
        HealthReport {
            live: components.iter().all(|one| one.live != Some(false)),
            ready: components.iter().all(|one| one.ready != Some(false)),
            components,
            applies: self.vitals.applies(),
        }
    }

    fn agent(&self, limit: Duration) -> ComponentHealth {
        let vitals = &self.vitals;
        let turned = vitals.turned_ms.load(Ordering::Relaxed);
        let silence = Duration::from_millis(vitals.now_ms().saturating_sub(turned));
        let live = silence <= limit;
        let applied = vitals.count.load(Ordering::Relaxed) > 0;
        let stopping = vitals.stopping.load(Ordering::Relaxed);
        let problems = vitals.slow().problems;
        let detail = match (live, stopping, applied) {
            (false, _, _) => format!("no turn for {} s", silence.as_secs()),
            (true, true, _) => "stopping".to_owned(),
            (true, false, false) => "resources are not in force yet".to_owned(),
            (true, false, true) if problems > 0 => {
                format!("{problems} steps failed and are tried again")
            }
            (true, false, true) => String::new(),
        };
        ComponentHealth {
            name: "agent".into(),
            timeout_ms: Some(limit.as_millis() as u64),
            live: Some(live),
            ready: Some(live && applied && !stopping),
            detail,
        }
    }

    fn datastore(&self) -> ComponentHealth {
        let in_sync = self.vitals.in_sync.load(Ordering::Relaxed);
        let away = self.vitals.slow().away.clone();
        let detail = match (away, in_sync) {
            (Some(reason), _) => format!("away: {reason}"),
            (None, false) => "not read yet".to_owned(),
            (None, true) => String::new(),
        };
        ComponentHealth {
            name: "datastore".into(),
            timeout_ms: None,
            live: None,
            ready: Some(in_sync),
            detail,
        }
    }

    fn publication(&self, behind: usize, limit: Duration) -> ComponentHealth {
        let published = self.vitals.published_ms.load(Ordering::Relaxed);
        let age = Duration::from_millis(self.vitals.now_ms().saturating_sub(published));
        let generation = self.vitals.generation.load(Ordering::Relaxed);
        ComponentHealth {
            name: "publication".into(),
            timeout_ms: Some(limit.as_millis() as u64),
            live: None,
            ready: Some(behind == 0 || age <= limit),
            detail: match behind {
                0 => format!("generation {generation}"),
                behind => format!(
                    "{behind} workers do not use generation {generation}, {} s old",
                    age.as_secs()
                ),
            },
        }
    }
}
