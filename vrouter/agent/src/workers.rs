//! The packet loops: threads with a clock and a place to sleep around the dataplane's workers.

use std::os::fd::AsRawFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use crossbeam::queue::ArrayQueue;
use mio::Waker;
use policy::flow::FlowTable;
use vrouter_dataplane::events::Event;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::tables::Tables;
use vrouter_dataplane::worker::{Config, Observer, Worker};
use vrouter_io::any::AnyDevice;
use vrouter_io::cpu;
use vrouter_io::poller::Poller;

use crate::pace::Pace;

/// What is shared by all workers.
#[derive(Clone)]
pub struct Shared {
    /// Published tables.
    pub tables: Arc<ArcSwap<Tables>>,
    /// Sessions.
    pub flows: Arc<FlowTable>,
    /// The way back to the agent.
    pub events: Arc<ArrayQueue<Event>>,
    /// When the process started: the clock of all workers counts from here.
    pub start: Instant,
}

impl Shared {
    /// The workers' time: milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

enum Command {
    Add(InterfaceId, AnyDevice),
    Share(InterfaceId),
    Remove(InterfaceId, Sender<()>),
    Ping(Sender<()>),
    Stop,
}

/// A worker that ended without being asked to.
#[derive(Debug)]
pub struct Died {
    pub worker: usize,
    pub reason: String,
}

struct Handle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    observer: Observer,
    cpu: Option<usize>,
    thread: Option<JoinHandle<()>>,
}

/// All packet loops of the process.
pub struct Workers {
    handles: Vec<Handle>,
    shared: Shared,
}

impl Workers {
    /// Starts `count` loops without devices.
    ///
    /// # Errors
    /// No epoll instance or thread can be made, or a core cannot be had.
    pub fn start(
        count: usize,
        pin: bool,
        busy: Duration,
        config: &Config,
        shared: &Shared,
        died: &Sender<Died>,
    ) -> vrouter_io::Result<Self> {
        let cores = if pin { cpu::allowed()? } else { Vec::new() };
        let mut workers = Self {
            handles: Vec::new(),
            shared: shared.clone(),
        };
        for id in 0..count {
            // The last cores first: the first one usually has the interrupts.
            let core = cores.iter().rev().cycle().nth(id).copied();
            let handle = start_one(id, core, busy, config, shared, died.clone())?;
            workers.handles.push(handle);
        }
        Ok(workers)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// What others may see of each worker, with the core it is pinned to.
    pub fn observers(&self) -> impl Iterator<Item = (&Observer, Option<usize>)> {
        self.handles
            .iter()
            .map(|handle| (&handle.observer, handle.cpu))
    }

    /// What asks each worker whether it still turns.
    pub fn pulses(&self) -> impl Iterator<Item = Pulse> {
        self.handles.iter().map(|handle| Pulse {
            commands: handle.commands.clone(),
            waker: Arc::clone(&handle.waker),
            generation: Arc::clone(&handle.observer.generation),
        })
    }

    /// Gives each worker its queue of an interface.
    pub fn add(&self, id: InterfaceId, queues: impl IntoIterator<Item = AnyDevice>) {
        for (handle, device) in self.handles.iter().zip(queues) {
            handle.send(Command::Add(id, device));
        }
    }

    /// Has the packets of an interface come and go by the device that workloads share.
    pub fn share(&self, id: InterfaceId) {
        for handle in &self.handles {
            handle.send(Command::Share(id));
        }
    }

    /// Takes an interface away from all workers and closes it; returns when that is done.
    pub fn remove(&self, id: InterfaceId) {
        let (done, all_done) = bounded(self.handles.len());
        for handle in &self.handles {
            handle.send(Command::Remove(id, done.clone()));
        }
        drop(done);
        while all_done.recv().is_ok() {}
    }

    /// Publishes tables and wakes everybody.
    pub fn publish(&self, tables: Arc<Tables>) {
        self.shared.tables.store(tables);
        for handle in &self.handles {
            handle.wake();
        }
    }

    /// Waits until all workers have seen a generation. A worker that died is not waited for.
    pub fn wait_for(&self, generation: u32) {
        for handle in &self.handles {
            // Acquire pairs with the worker's Release store of the generation it uses.
            while handle.observer.generation.load(Ordering::Acquire) != generation
                && handle
                    .thread
                    .as_ref()
                    .is_some_and(|thread| !thread.is_finished())
            {
                handle.wake();
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }

    /// Ends all loops and closes their devices.
    pub fn stop(&mut self) {
        for handle in &self.handles {
            handle.send(Command::Stop);
        }
        for handle in &mut self.handles {
            if let Some(thread) = handle.thread.take() {
                // A panic was reported through `Died` when it happened.
                let _ = thread.join();
            }
        }
    }
}

/// Asks one worker whether it still turns, from any thread.
pub struct Pulse {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    generation: Arc<AtomicU32>,
}

impl Pulse {
    /// Asks; the answer comes with the worker's next turn.
    pub fn ping(&self) -> Receiver<()> {
        let (answer, answered) = bounded(1);
        // A worker that is gone never answers.
        let _ = self.commands.send(Command::Ping(answer));
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a worker cannot be woken");
        }
        answered
    }

    /// The generation of the tables it used last.
    pub fn generation(&self) -> u32 {
        // Acquire pairs with the worker's Release store of the generation it uses.
        self.generation.load(Ordering::Acquire)
    }
}

impl Handle {
    fn send(&self, command: Command) {
        // A worker that is gone has reported so; what it is told is of no use any more.
        let _ = self.commands.send(command);
        self.wake();
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a worker cannot be woken");
        }
    }
}

fn start_one(
    id: usize,
    core: Option<usize>,
    busy: Duration,
    config: &Config,
    shared: &Shared,
    died: Sender<Died>,
) -> vrouter_io::Result<Handle> {
    let (poller, waker) = Poller::new()?;
    let (commands, inbox) = unbounded();
    let worker = Worker::new(
        config,
        Arc::clone(&shared.tables),
        Arc::clone(&shared.flows),
        Arc::clone(&shared.events),
    );
    let observer = worker.observer();
    let start = shared.start;
    let body = move || {
        if let Some(core) = core
            && let Err(error) = cpu::pin(core)
        {
            tracing::warn!(%error, worker = id, "runs unpinned");
        }
        let run = AssertUnwindSafe(|| {
            Loop {
                worker,
                poller,
                inbox,
                start,
                busy,
            }
            .run()
        });
        let reason = match std::panic::catch_unwind(run) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic without a text".to_owned()),
        };
        // The agent may be on its way out already.
        let _ = died.send(Died { worker: id, reason });
    };
    let thread = std::thread::Builder::new()
        .name(format!("worker-{id}"))
        .spawn(body)
        .map_err(|source| vrouter_io::Error::System {
            action: "start a worker".into(),
            source,
        })?;
    Ok(Handle {
        commands,
        waker: Arc::new(waker),
        observer,
        cpu: core,
        thread: Some(thread),
    })
}

/// Turns between two looks at devices that were quiet, while others are busy.
const TURNS_PER_LOOK: u32 = 4;

struct Loop {
    worker: Worker<AnyDevice>,
    poller: Poller,
    inbox: Receiver<Command>,
    start: Instant,
    busy: Duration,
}

impl Loop {
    fn run(mut self) -> vrouter_io::Result<()> {
        let wait_failed = |source| vrouter_io::Error::System {
            action: "wait for packets".into(),
            source,
        };
        let counters = self.worker.observer().counters;
        let mut pace = Pace::new(self.busy, Instant::now());
        let mut turns = 0u32;
        loop {
            while let Ok(command) = self.inbox.try_recv() {
                if !self.obey(command)? {
                    return Ok(());
                }
            }
            let now = Instant::now();
            turns = turns.wrapping_add(1);
            if !self.worker.has_ready() || turns.is_multiple_of(TURNS_PER_LOOK) {
                let rest = !self.worker.has_ready() && pace.rests(now);
                let timeout = if rest {
                    self.rest_until(now)
                } else {
                    Some(Duration::ZERO)
                };
                if rest {
                    counters.sleeps.add(1);
                }
                for id in self.poller.wait(timeout).map_err(wait_failed)? {
                    self.worker.mark_ready(id);
                }
                if rest {
                    pace.woke(Instant::now());
                }
            }
            if !self.worker.has_ready() {
                self.worker.observe();
                self.worker.tick(self.ms(Instant::now()));
                if pace.lends(now) {
                    std::thread::yield_now();
                }
                continue;
            }
            let now = Instant::now();
            if self
                .worker
                .turn(now.duration_since(self.start).as_millis() as u64)
                > 0
            {
                pace.packets(now);
            }
        }
    }

    /// The worker's time.
    fn ms(&self, now: Instant) -> u64 {
        now.duration_since(self.start).as_millis() as u64
    }

    /// How long the worker may sleep; `None` until a packet comes.
    fn rest_until(&self, now: Instant) -> Option<Duration> {
        let due = self.worker.next_timer()?;
        Some(Duration::from_millis(due.saturating_sub(self.ms(now)) + 1))
    }

    /// Does what the agent says; `false` at the end.
    fn obey(&mut self, command: Command) -> vrouter_io::Result<bool> {
        match command {
            Command::Add(id, device) => {
                self.poller.register(id, device.as_raw_fd())?;
                self.worker.add_device(id, device);
            }
            Command::Share(id) => self.worker.share_device(id),
            Command::Remove(id, done) => {
                if let Some(device) = self.worker.remove_device(id) {
                    self.poller.deregister(device.as_raw_fd())?;
                }
                // Nobody waits any more if the agent gave up.
                let _ = done.send(());
            }
            Command::Ping(answer) => {
                // The receiver may have given up.
                let _ = answer.send(());
            }
            Command::Stop => return Ok(false),
        }
        Ok(true)
    }
}
