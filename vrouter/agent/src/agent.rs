//! The agent: takes events in, works out what the node should have, and brings it there.
//!
//! One thread owns all of it. Everything that happens — resources, signals, clients, broken
//! devices, changed addresses — comes to it as an [`Input`], so nothing here needs a lock. What is
//! to be done is `vrouter-core`'s to say; [`LocalNode`] does it.

mod start;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam::channel::{Receiver, never, select, tick};
use encap::Family;
use ipnet::IpNet;
use policy::flow;
use vrouter_api::{Event, FlowTimeouts, Observability};
use vrouter_core::desired::desired;
use vrouter_core::execute::{self, HostStack, Outcome};
use vrouter_core::observed::Observed;
use vrouter_core::state::State;
use vrouter_core::statics::Nodes;
use vrouter_core::wanted::Wanted;
use vrouter_datastore::{Datastore, Watch};
use vrouter_io::learned::{LearnedWatch, RouteReport};
use vrouter_io::path_mtu::{Mtus, PathMtuWatch, Paths};

use crate::bgp::Bgp;
use crate::blocks::Blocks;
use crate::calico_files::CalicoFiles;
use crate::collector::DeviceFailed;
use crate::health::Vitals;
use crate::learned;
use crate::names::Names;
use crate::node::LocalNode;
use crate::reporting::Reporting;
use crate::settings::Settings;
use crate::workers::Died;

/// Between two looks at namespaces and the host's addresses.
const LOOK: Duration = Duration::from_millis(500);
/// Until steps that failed are tried again, unless something changes before.
const RETRY: Duration = Duration::from_secs(10);

/// Why the agent cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A device, route or namespace.
    #[error(transparent)]
    System(#[from] vrouter_io::Error),
    /// Another program has what we need.
    #[error("{action}: {reason}")]
    Taken {
        action: String,
        /// The holder, and the cure.
        reason: String,
    },
    /// The datastore.
    #[error(transparent)]
    Store(#[from] vrouter_datastore::StoreError),
    /// The node's name.
    #[error("nodeName: {0}")]
    NodeName(policy::model::Invalid),
    /// A thread.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A worker ended: the process may not go on half alive.
    #[error("worker {worker} died: {reason}")]
    WorkerDied { worker: usize, reason: String },
    /// The thread that watches resources ended.
    #[error("the datastore {0} is no longer watched")]
    StoreDied(String),
}

/// Something a client wants done by the agent's thread.
pub type Job = Box<dyn FnOnce(&mut Agent) + Send>;

/// Takes the settings of metrics and health in force.
pub type Observer = Box<dyn FnMut(&Observability) + Send>;

/// What the outside tells the agent.
pub enum Input {
    /// Work for the agent's thread.
    Job(Job),
    /// End in order.
    Stop,
}

/// The node's agent.
pub struct Agent {
    pub(crate) settings: Settings,
    pub(crate) state: State,
    /// What the node should have.
    pub(crate) wanted: Wanted,
    pub(crate) observed: Observed,
    /// What steps are done with.
    pub(crate) node: LocalNode,
    /// Why pods are on TAPs where veths were asked for.
    pub(crate) no_veths: Option<String>,
    pub(crate) store: Arc<dyn Datastore>,
    /// Signs of life.
    pub(crate) vitals: Arc<Vitals>,
    /// Takes the settings of metrics and health when they change.
    observer: Option<Observer>,
    reporting: Reporting,
    bgp: Bgp,
    names: Option<Names>,
    calico_files: CalicoFiles,
    blocks: Blocks,
    path_watch: PathMtuWatch,
    /// Ends with the agent.
    _learned_watch: Option<LearnedWatch>,
    inbox: Inbox,
    pub(crate) problems: Vec<String>,
    /// Those of BGP among them.
    bgp_problems: Vec<String>,
    /// When steps that failed are tried again.
    retry: Option<Instant>,
    pub(crate) changed: Option<SystemTime>,
    stopping: bool,
}

/// Where the agent is told of things by its own threads.
struct Inbox {
    watch: Watch,
    died: Receiver<Died>,
    failed: Receiver<DeviceFailed>,
    path_mtus: Receiver<Mtus>,
    learned: Receiver<RouteReport>,
}

impl Agent {
    /// Works until it is told to stop. `ready` is called once, when all resources are in force.
    ///
    /// # Errors
    /// A worker or the watch died. Everything is undone before this returns, in either case.
    pub fn run(mut self, inputs: &Receiver<Input>, ready: impl FnOnce()) -> Result<(), AgentError> {
        let outcome = self.serve(inputs, ready);
        self.close();
        outcome
    }

    fn serve(&mut self, inputs: &Receiver<Input>, ready: impl FnOnce()) -> Result<(), AgentError> {
        let look = tick(LOOK);
        let mut ready = Some(ready);
        let (events, bgp_problems, died, failed, path_mtus) = (
            self.inbox.watch.events().clone(),
            self.bgp.problems().clone(),
            self.inbox.died.clone(),
            self.inbox.failed.clone(),
            self.inbox.path_mtus.clone(),
        );
        let (learned, none) = (self.inbox.learned.clone(), never());
        while !self.stopping {
            self.vitals.turned(self.state.in_sync, self.generation());
            // They need the resources that say what a node is.
            let learned = if self.state.in_sync { &learned } else { &none };
            select! {
                recv(events) -> event => match event {
                    Ok(event) => self.apply(event),
                    Err(_) => return Err(AgentError::StoreDied(self.store.name())),
                },
                recv(inputs) -> input => match input {
                    Ok(Input::Job(job)) => job(self),
                    Ok(Input::Stop) | Err(_) => self.stopping = true,
                },
                recv(died) -> died => if let Ok(Died { worker, reason }) = died {
                    return Err(AgentError::WorkerDied { worker, reason });
                },
                recv(failed) -> failed => if let Ok(failed) = failed {
                    self.device_failed(failed);
                },
                recv(path_mtus) -> mtus => if let Ok(mtus) = mtus {
                    self.path_mtus_changed(mtus);
                },
                recv(bgp_problems) -> problems => if let Ok(problems) = problems {
                    self.bgp_problems_changed(problems);
                },
                recv(learned) -> told => if let Ok(told) = told {
                    self.learned(told);
                },
                recv(look) -> _ => self.observe_host(),
            }
            if self.state.in_sync
                && let Some(ready) = ready.take()
            {
                ready();
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.log(&event);
        self.bgp.apply(&self.settings.node, &event);
        if let Event::Away { reason, .. } = &event {
            self.vitals.away(Some(reason.clone()));
        } else if matches!(event, Event::Back) {
            self.vitals.away(None);
        }
        let Some(batch) = self.state.apply(event) else {
            return;
        };
        if batch.others {
            if let Some(names) = &self.names {
                names.update(&self.state.resources);
            }
            self.reconcile();
            if let Some(changes) = batch.changes() {
                tracing::info!(generation = self.generation(), "{changes}");
            }
        }
        if batch.statuses {
            self.reporting.request_node_statuses(&self.state);
        }
        self.changed = Some(SystemTime::now());
    }

    /// Brings the node to what the resources say.
    pub(crate) fn reconcile(&mut self) {
        let desired = desired(&self.state.resources, &self.settings.node);
        let named = self.settings.underlay_interface.as_deref();
        let underlay = self.node.host.underlay(named, &desired);
        let unknown = underlay.as_ref().err().map(ToString::to_string);
        self.observed.host.underlay = underlay.unwrap_or_default();
        let options = self.wanted.options.clone();
        self.wanted = Wanted::new(&mut self.state, desired, &self.observed.host, &options);
        self.path_watch.set_paths(self.paths());
        let timeouts = timeouts(&self.wanted.desired.felix.flow_timeouts);
        self.node.shared.flows.set_timeouts(&timeouts);
        self.calico_files.set_mtu(self.wanted.mtu);
        self.observe_with_settings();
        let began = Instant::now();
        let mut outcome = execute::converge(&mut self.observed, &self.wanted, &mut self.node);
        if let Some(offload) = &mut self.node.flow_offload
            && let Err(error) = offload.take_over()
        {
            outcome.problems.push(format!("flow offload: {error}"));
        }
        self.vitals.applied(began.elapsed(), outcome.problems.len());
        self.retry = (!outcome.problems.is_empty()).then(|| Instant::now() + RETRY);
        self.node.pods.remove_left(&self.wanted.locals);
        // Now that workers have them.
        self.report_endpoints();
        let mut problems = self.wanted.problems.clone();
        self.blocks
            .refresh(&self.settings.tunnel_interface, Instant::now());
        problems.extend_from_slice(self.blocks.sentences());
        problems.extend(unknown.into_iter().chain(outcome.problems));
        problems.extend_from_slice(&self.bgp_problems);
        self.note_problems(problems);
    }

    /// Has `observer` take the settings of metrics and health, now and whenever they change.
    pub fn observe_with(&mut self, mut observer: Observer) {
        observer(&self.settings.observability);
        self.observer = Some(observer);
    }

    fn observe_with_settings(&mut self) {
        let felix = &self.wanted.desired.felix.observability;
        let settings = self.settings.observability.over(felix);
        if let Some(observer) = &mut self.observer {
            observer(&settings);
        }
        self.vitals.set_settings(settings);
    }

    fn bgp_problems_changed(&mut self, problems: Vec<String>) {
        let before = std::mem::replace(&mut self.bgp_problems, problems);
        let mut all = self.problems.clone();
        all.retain(|problem| !before.contains(problem));
        all.extend_from_slice(&self.bgp_problems);
        self.note_problems(all);
    }

    /// Says which problems are new, and which are none any more.
    fn note_problems(&mut self, problems: Vec<String>) {
        for problem in &problems {
            if !self.problems.contains(problem) {
                tracing::warn!("{problem}");
            }
        }
        for problem in &self.problems {
            if !problems.contains(problem) {
                tracing::info!("no longer so: {problem}");
            }
        }
        self.problems = problems;
    }

    /// The paths to the other nodes.
    fn paths(&self) -> Paths {
        let desired = &self.wanted.desired;
        let remotes = desired.peers.values().flat_map(|peer| {
            let v4 = peer.v4.map(IpAddr::V4);
            v4.into_iter().chain(peer.v6.map(IpAddr::V6))
        });
        let with_local = |remote: IpAddr| {
            let local = desired.address(Family::from(remote))?;
            Some((remote, local.addr()))
        };
        Paths {
            remotes: remotes.filter_map(with_local).collect(),
            link_mtu: self.wanted.underlay_mtu,
        }
    }

    /// Brings tunnels to the MTUs of their paths.
    fn path_mtus_changed(&mut self, mtus: Mtus) {
        for (remote, mtu) in &mtus {
            let before = self.observed.host.path_mtus.get(remote);
            if before.is_some_and(|before| before != mtu) {
                tracing::info!(%remote, mtu, "the path's MTU changed");
            }
        }
        self.observed.host.path_mtus = mtus;
        if self.state.in_sync {
            self.publish();
        }
    }

    /// Routes of the host's routing daemon changed.
    fn learned(&mut self, told: RouteReport) {
        let tun = self.node.host.tun_index();
        let changes = learned::gather(told, &self.inbox.learned, tun);
        let (all, new, gone) = (changes.all, changes.set.len(), changes.gone.len());
        tracing::debug!(all, new, gone, "learned routes");
        let done = execute::learn(&mut self.observed, &self.wanted, &mut self.node, changes);
        if let Err(error) = done {
            tracing::error!("learned routes: {error}");
        }
    }

    fn report_endpoints(&self) {
        self.reporting
            .report_endpoints(&self.state, &self.wanted, &self.observed);
    }

    fn device_failed(&mut self, failed: DeviceFailed) {
        let error = std::io::Error::from_raw_os_error(failed.errno);
        let Some(endpoint) = self.observed.endpoints.behind(failed.interface) else {
            tracing::error!(interface = %failed.interface, %error, "a device failed");
            return;
        };
        let key = endpoint.local.key.clone();
        let why = format!("its TAP cannot be read: {error}");
        tracing::warn!(endpoint = %key, why, "workload detached");
        self.node.pods.detach(&key);
        self.observed.lose(&key, &why);
        self.publish();
    }

    /// Looks at what tells nobody when it changes: namespaces, and the host's addresses.
    fn observe_host(&mut self) {
        if !self.state.in_sync {
            return;
        }
        let mut changed = false;
        for key in self.node.pods.vanished() {
            let why = "its network namespace is gone";
            tracing::warn!(endpoint = %key, why, "workload detached");
            self.node.pods.detach(&key);
            changed |= self.observed.lose(&key, why);
        }
        let named = self.settings.underlay_interface.as_deref();
        let underlay = self.node.host.underlay(named, &self.wanted.desired);
        let underlay = underlay.ok().flatten();
        let due = self.retry.is_some_and(|retry| Instant::now() >= retry);
        // What the host blocks tells nobody when it changes.
        let blocked = self.blocks.sentences().to_vec();
        self.blocks
            .refresh(&self.settings.tunnel_interface, Instant::now());
        let blocks_changed = self.blocks.sentences() != blocked;
        if due || blocks_changed || underlay != self.observed.host.underlay {
            self.reconcile();
            return;
        }
        match self.node.addresses() {
            Ok(addresses) if addresses != self.observed.host.addresses => {
                self.observed.host.addresses = addresses;
                changed = true;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(error, "the host's addresses are not known"),
        }
        let attached = execute::attach_waiting(&mut self.observed, &self.wanted, &mut self.node);
        if changed || attached {
            self.publish();
        }
    }

    /// Publishes what workers do not know yet.
    fn publish(&mut self) {
        let mut outcome = Outcome::default();
        execute::publish(
            &mut self.observed,
            &self.wanted,
            &mut self.node,
            &mut outcome,
        );
        for problem in &outcome.problems {
            tracing::error!("{problem}");
        }
        self.report_endpoints();
    }

    /// Adds or replaces static routes, all or none.
    ///
    /// # Errors
    /// The first route that cannot be, in words.
    pub(crate) fn add_routes(&mut self, routes: &[(IpNet, Nodes)]) -> Result<(), String> {
        execute::add_routes(&mut self.observed, &self.wanted, &mut self.node, routes)
    }

    /// Removes static routes; how many of them there were.
    ///
    /// # Errors
    /// Workers could not be told.
    pub(crate) fn remove_routes(&mut self, prefixes: &[IpNet]) -> Result<usize, String> {
        execute::remove_routes(&mut self.observed, &mut self.node, prefixes)
    }

    /// Logs what an operator should see of an event, which is not applied yet.
    fn log(&self, event: &Event) {
        match event {
            Event::Fault { errors, .. } => {
                for error in errors {
                    tracing::error!("{error}");
                }
            }
            Event::Mended { object } if self.state.faults.contains_key(object) => {
                tracing::info!("{object}: in order again");
            }
            Event::Away { store, reason } => tracing::error!("{store}: {reason}"),
            Event::Back => {
                if let Some(away) = &self.state.away {
                    tracing::info!("{}: can be read again", away.store);
                }
            }
            Event::Notice(notice) => tracing::warn!("{notice}"),
            Event::Upsert(_) | Event::Delete(_) | Event::Mended { .. } | Event::InSync => {}
        }
    }

    /// Ends the loop after the work in hand.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// The generation workers use.
    pub(crate) fn generation(&self) -> u32 {
        self.observed.publication.generation()
    }

    /// Everything undone, in the order in which it stops being needed.
    fn close(self) {
        tracing::info!("stopping");
        self.vitals.stopping();
        drop(self.reporting);
        drop(self.bgp);
        drop(self.names);
        let LocalNode {
            host,
            mut workers,
            collector,
            ..
        } = self.node;
        host.close(&self.observed.kernel);
        workers.stop();
        drop(self.inbox);
        drop(collector);
    }
}

/// The settings' idle times in the flow table's own form.
fn timeouts(settings: &FlowTimeouts) -> flow::Timeouts {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    flow::Timeouts {
        tcp_syn_sent_ms: ms(settings.tcp_syn_sent),
        tcp_established_ms: ms(settings.tcp_established),
        tcp_reset_ms: ms(settings.tcp_reset_seen),
        tcp_fins_seen_ms: ms(settings.tcp_fins_seen),
        udp_ms: ms(settings.udp),
        icmp_ms: ms(settings.icmp),
        generic_ms: ms(settings.generic),
        creation_grace_ms: ms(settings.creation_grace_period),
    }
}
