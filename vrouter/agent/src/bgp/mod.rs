//! BGP: a BIRD that does what the resources say, started here or by somebody else.
//!
//! A thread of its own, because BIRD may take its time. `supervisor` says what is due, `daemon`
//! does it.

mod daemon;
mod supervisor;

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, at, never, select, unbounded};
use vrouter_api::{Event, Key, Resource};
use vrouter_bgp::{Cluster, KINDS, Plan, render};

use self::daemon::Daemon;
use self::supervisor::{Action, Supervisor};

/// What is done about BGP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose BIRD.
    pub mode: Mode,
    /// What the renderer reads beside the resources.
    pub node: vrouter_bgp::Settings,
}

/// Whose BIRD does what the resources say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Nobody's.
    Off,
    /// A child of this process.
    Managed {
        /// Where its configuration and its control socket are.
        directory: PathBuf,
    },
    /// One that somebody else runs.
    External {
        /// Where its configuration is written.
        directory: PathBuf,
        /// Control socket, one of these.
        sockets: Vec<PathBuf>,
    },
}

/// The running thread; when it is dropped, a BIRD of ours ends in a way that its routes stay.
pub struct Bgp {
    inbox: Option<Sender<Message>>,
    problems: Receiver<Vec<String>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told.
enum Message {
    /// A resource is new or different.
    Upsert(Box<Resource>),
    /// A resource is gone.
    Delete(Key),
    /// All that changed was told.
    InSync,
}

impl Bgp {
    /// Starts it, if anything is to be done.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(settings: &Settings) -> std::io::Result<Bgp> {
        if settings.mode == Mode::Off {
            return Ok(Bgp {
                inbox: None,
                problems: never(),
                thread: None,
            });
        }
        let (inbox, messages) = unbounded();
        let (report, problems) = unbounded();
        let (ended, ends) = unbounded();
        let work = Work {
            settings: settings.node.clone(),
            cluster: Cluster::default(),
            supervisor: Supervisor::new(
                matches!(settings.mode, Mode::Managed { .. }),
                Instant::now(),
            ),
            daemon: Daemon::new(&settings.mode, ended),
            report,
            reported: Vec::new(),
            changed: true,
        };
        let thread = std::thread::Builder::new()
            .name("bgp".to_owned())
            .spawn(move || work.run(&messages, &ends))?;
        Ok(Bgp {
            inbox: Some(inbox),
            problems,
            thread: Some(thread),
        })
    }

    /// What is wrong, each time that it changed.
    pub fn problems(&self) -> &Receiver<Vec<String>> {
        &self.problems
    }

    /// Takes an event of the datastore.
    pub fn apply(&self, node: &str, event: &Event) {
        let Some(inbox) = &self.inbox else {
            return;
        };
        let message = match event {
            Event::Upsert(resource) if KINDS.contains(&resource.kind()) => match resource {
                // Workloads of other nodes are theirs to tell.
                Resource::WorkloadEndpoint(endpoint) if endpoint.spec.node != node => {
                    Message::Delete(resource.key())
                }
                _ => Message::Upsert(Box::new(resource.clone())),
            },
            Event::Delete(key) if KINDS.contains(&key.kind) => Message::Delete(key.clone()),
            Event::InSync => Message::InSync,
            Event::Upsert(_)
            | Event::Delete(_)
            | Event::Fault { .. }
            | Event::Mended { .. }
            | Event::Notice(_)
            | Event::Away { .. }
            | Event::Back => return,
        };
        if inbox.send(message).is_err() {
            tracing::error!("BIRD is told nothing any more");
        }
    }
}

impl Drop for Bgp {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that runs BIRD panicked");
        }
    }
}

/// The thread's own.
struct Work {
    settings: vrouter_bgp::Settings,
    cluster: Cluster,
    supervisor: Supervisor,
    daemon: Daemon,
    report: Sender<Vec<String>>,
    reported: Vec<String>,
    /// Whether the cluster changed since all was told.
    changed: bool,
}

impl Work {
    fn run(mut self, messages: &Receiver<Message>, ends: &Receiver<u64>) {
        loop {
            while let Some(action) = self.supervisor.next(Instant::now()) {
                let event = self.perform(action);
                self.supervisor.notify(Instant::now(), event);
            }
            self.report();
            let timer = self.supervisor.deadline().map_or_else(never, at);
            select! {
                recv(messages) -> message => match message {
                    Ok(message) => {
                        self.handle(message);
                        messages.try_iter().for_each(|message| self.handle(message));
                    }
                    Err(_) => break,
                },
                recv(ends) -> number => if let Some(reason) =
                    number.ok().and_then(|number| self.daemon.ended(number))
                {
                    tracing::warn!("{reason}");
                    self.supervisor.notify(Instant::now(), supervisor::Event::Ended(reason));
                },
                recv(timer) -> _ => {}
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Upsert(resource) => {
                self.cluster.upsert(*resource);
                self.changed = true;
            }
            Message::Delete(key) => {
                self.cluster.delete(&key);
                self.changed = true;
            }
            Message::InSync => {
                if std::mem::take(&mut self.changed) {
                    let event = supervisor::Event::Changed;
                    self.supervisor.notify(Instant::now(), event);
                }
            }
        }
    }

    fn perform(&mut self, action: Action) -> supervisor::Event {
        use supervisor::Event;
        match action {
            Action::Render => Event::Rendered(
                render(&self.cluster, &self.settings)
                    .map(Box::new)
                    .map_err(|reason| reason.to_string()),
            ),
            Action::Start(config) => Event::Started(self.daemon.start(&config)),
            Action::Apply(config) => {
                log(&Plan::new(self.supervisor.in_force(), &config));
                Event::Applied(self.daemon.apply(&config))
            }
            Action::Probe => Event::Probed(self.daemon.probe()),
            Action::Kill => Event::Ended(self.daemon.kill()),
        }
    }

    fn report(&mut self) {
        let problems = self.supervisor.problems();
        if problems != self.reported {
            self.reported.clone_from(&problems);
            // The agent is gone when it ends.
            let _ = self.report.send(problems);
        }
    }
}

/// What a change does to sessions, before it is done.
fn log(plan: &Plan) {
    let Plan {
        added,
        removed,
        restarted,
        reloaded,
        routes_added,
        routes_removed,
        kernel: _,
    } = plan;
    for (session, why) in restarted {
        tracing::warn!(session, "BGP session restarts: {}", why.join(", "));
    }
    for session in removed {
        tracing::info!(session, "BGP session ends");
    }
    for session in added {
        tracing::info!(session, "BGP session begins");
    }
    let (more, fewer) = (routes_added.len(), routes_removed.len());
    if reloaded.len() + more + fewer > 0 {
        let reloaded = reloaded.len();
        tracing::info!(
            reloaded,
            more,
            fewer,
            "BGP sessions and own prefixes change"
        );
    }
}
