//! Flow offload: sessions that user space has decided are repeated by the kernel.
//!
//! A thread of its own looks at the flow table, see [`Repeated`]. What a session is and whether it may
//! pass stays in the flow table and the tables; the kernel's flows are believed as long as their
//! generation is the tables'.

mod grants;
mod repeated;
mod ways;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use policy::flow::{self, Flow};
use vrouter_dataplane::hits::Hits;
use vrouter_dataplane::repeat::{self, End};
use vrouter_dataplane::tables::Tables;
use vrouter_offload::{Counted, EarlierFlow, FlowKey, Offload, Underlay, since_boot};

pub use repeated::{KernelFlows, Moment, Repeated};
pub use ways::Ways;

use crate::settings::Settings;
use crate::workers::Shared;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(10);
/// Until a kernel that refused is tried again.
const REFUSED: Duration = Duration::from_secs(1);

/// The kernel's flows of this node, as long as it has pods on veths.
pub struct FlowOffload {
    kernel: Arc<Mutex<Offload>>,
    repeated: Arc<Mutex<Repeated>>,
    /// Counters of rules, for the flows that grants admitted.
    admitted: Arc<Hits>,
    ways: Arc<Mutex<Ways>>,
    /// The underlay as the kernel was told.
    underlay: Option<(Option<u32>, Underlay)>,
    shared: Shared,
    /// Flows are repeated once the first tables are in force.
    enabled: bool,
    state: State,
    thread: Option<Thread>,
}

/// The fate of an earlier process's flows.
#[derive(Debug, PartialEq)]
enum State {
    /// Flows go on; the flow table does not know their sessions.
    Left,
    /// The flow table has their sessions.
    Adopted(Vec<EarlierFlow>),
    /// Flows were decided again, as any other.
    TakenOver,
}

struct Thread {
    stop: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

impl FlowOffload {
    /// Leaves flows as an earlier process left them until [`Self::take_over`].
    pub fn new(
        kernel: Arc<Mutex<Offload>>,
        shared: &Shared,
        tun: u32,
        settings: &Settings,
    ) -> Self {
        // Limits see each new session.
        let with_grants = settings.flows_per_endpoint.is_none() && settings.new_flows.is_none();
        Self {
            kernel,
            repeated: Arc::new(Mutex::new(Repeated::new(with_grants))),
            admitted: Arc::default(),
            ways: Arc::new(Mutex::new(Ways::new(tun))),
            underlay: None,
            shared: shared.clone(),
            enabled: settings.flow_offload,
            state: State::Left,
            thread: None,
        }
    }

    /// The end of a session that the kernel repeats which is no workload of this node, or one of two that
    /// are.
    pub fn repeats(&self, flow: &Flow) -> Option<End> {
        lock(&self.repeated).repeats(flow)
    }

    /// Counters of rules, for the flows that the kernel began.
    pub fn admitted(&self) -> &Hits {
        &self.admitted
    }

    /// The ways by which flows may leave this node.
    pub fn ways(&self) -> MutexGuard<'_, Ways> {
        lock(&self.ways)
    }

    /// Enters an earlier process's sessions in the flow table: before workers get the first tables, when
    /// every workload that is there is attached.
    ///
    /// # Errors
    /// The kernel refuses, in words.
    pub fn adopt(&mut self) -> Result<(), String> {
        if self.state != State::Left {
            return Ok(());
        }
        let earlier = lock(&self.kernel).adopt().map_err(text)?;
        let now = self.shared.now_ms();
        let mut count = 0;
        for flow in earlier.iter().filter(|flow| flow.original) {
            let (from, generation) = (flow.key.interface, flow.generation);
            let adopted = session_key(&flow.key)
                .map(|key| repeat::adopt(&self.shared.flows, key, from, flow.to, generation, now));
            match adopted {
                Some(Ok(())) => count += 1,
                Some(Err(error)) => {
                    tracing::warn!(flow = ?flow.key, %error, "a session of an earlier process ends");
                }
                None => {}
            }
        }
        if count > 0 {
            tracing::info!(count, "sessions of an earlier process go on");
        }
        self.state = State::Adopted(earlier);
        Ok(())
    }

    /// Has the kernel believe the flows of these tables alone, which workers have by now.
    ///
    /// # Errors
    /// The kernel refuses, in words.
    pub fn believe(&mut self, tables: &Tables) -> Result<(), String> {
        match self.state {
            // Tables that are not whole yet decide nothing about an earlier process's flows.
            State::Left | State::Adopted(_) => return Ok(()),
            State::TakenOver => {}
        }
        let mut kernel = lock(&self.kernel);
        kernel.set_generation(tables.generation).map_err(text)?;
        let ways = lock(&self.ways).clone();
        let (ifindex, ours) = ways.underlay(tables);
        if self.enabled && self.underlay != Some((ifindex, ours)) {
            kernel.attach_host(ways.tun()).map_err(text)?;
            kernel.attach_underlay(ifindex, &ours).map_err(text)?;
            self.underlay = Some((ifindex, ours));
        }
        Ok(())
    }

    /// Has an earlier process's flows decided again at their next packet, and begins to repeat: when the
    /// first tables are whole.
    ///
    /// # Errors
    /// The kernel refuses, or no thread can be made, in words.
    pub fn take_over(&mut self) -> Result<(), String> {
        let earlier = match &mut self.state {
            State::TakenOver => return Ok(()),
            State::Left => Vec::new(),
            State::Adopted(earlier) => std::mem::take(earlier),
        };
        self.state = State::TakenOver;
        let tables = self.shared.tables.load_full();
        self.believe(&tables)?;
        let mut kernel = lock(&self.kernel);
        let now = self.now();
        for flow in &earlier {
            let counted = kernel.remove(&flow.key).map_err(text)?;
            let hit = session_key(&flow.key).and_then(|key| self.shared.flows.lookup(&key));
            if let (Some(counted), Some(hit)) = (counted, hit) {
                repeated::add(&self.shared.flows, hit, &Counted::default(), &counted, now);
            }
        }
        drop(kernel);
        if self.enabled {
            self.thread = Some(self.start().map_err(text)?);
        }
        Ok(())
    }

    fn start(&self) -> std::io::Result<Thread> {
        let stop = Arc::<AtomicBool>::default();
        let until = Arc::clone(&stop);
        let (kernel, repeated, ways, admitted, shared) = (
            Arc::clone(&self.kernel),
            Arc::clone(&self.repeated),
            Arc::clone(&self.ways),
            Arc::clone(&self.admitted),
            self.shared.clone(),
        );
        let body = move || {
            let mut refused = None;
            // Relaxed: the flag says nothing but itself.
            while !until.load(Ordering::Relaxed) {
                let looked = {
                    let mut repeated = lock(&repeated);
                    let tables = shared.tables.load();
                    let now = now(&shared);
                    let ways = lock(&ways).clone();
                    let mut kernel = lock(&kernel);
                    repeated.look(
                        &mut *kernel,
                        &tables,
                        &shared.flows,
                        (&ways, &admitted),
                        now,
                    )
                };
                let pause = match looked {
                    Ok(()) => PERIOD,
                    Err(error) => {
                        let error = error.to_string();
                        if refused.as_ref() != Some(&error) {
                            tracing::error!(error, "flows stay in user space");
                            refused = Some(error);
                        }
                        REFUSED
                    }
                };
                std::thread::park_timeout(pause);
            }
        };
        let handle = std::thread::Builder::new()
            .name("flow-offload".into())
            .spawn(body)?;
        Ok(Thread { stop, handle })
    }

    fn now(&self) -> Moment {
        now(&self.shared)
    }
}

impl Drop for FlowOffload {
    fn drop(&mut self) {
        if let Some(Thread { stop, handle }) = self.thread.take() {
            stop.store(true, Ordering::Relaxed);
            handle.thread().unpark();
            if handle.join().is_err() {
                tracing::error!("the flow offload panicked");
            }
        }
    }
}

fn now(shared: &Shared) -> Moment {
    Moment {
        ms: shared.now_ms(),
        since_boot: since_boot(),
    }
}

/// A flow as the flow table knows it.
fn session_key(key: &FlowKey) -> Option<flow::FlowKey> {
    flow::FlowKey::new(
        key.source,
        key.destination,
        key.protocol,
        key.source_port,
        key.destination_port,
    )
}

/// A panic leaves no worse state than a refusal of the kernel.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
