//! The agent: takes events in, works out what the node should look like, and makes it so.
//!
//! One thread owns all of it. Everything that happens — resources, signals, clients, broken
//! devices, changed addresses — comes to it as an [`Input`], so nothing here needs a lock.

mod publication;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, select, tick, unbounded};
use crossbeam::queue::ArrayQueue;
use policy::flow::{self, FlowTable};
use vrouter_api::{FlowTimeouts, Kind, Notice, ParseError};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::tables::Tables;
use vrouter_dataplane::worker;
use vrouter_datastore::{Datastore, Event, Watch};
use vrouter_io::any::AnyDevice;
use vrouter_io::tun;

use crate::blocks::Blocks;
use crate::collector::{Collector, DeviceFailed};
use crate::endpoints::Endpoints;
use crate::hits::{Before, Sources};
use crate::host::Host;
use crate::node_status::{self, NodeStatuses};
use crate::registration::Registrar;
use crate::settings::Settings;
use crate::statics::Statics;
use crate::tunnels::Tunnels;
use crate::workers::{Died, Shared, Workers};
use publication::Published;
use vrouter_core::desired::{Desired, desired};
use vrouter_core::host_endpoints::{self, HostEndpoints};
use vrouter_core::interfaces::InterfaceIds;
use vrouter_core::notices;
use vrouter_core::policies::{Policies, failsafes};
use vrouter_core::resources::Resources;
use vrouter_core::rib::Rib;
use vrouter_core::underlay::Underlay;

/// Between two looks at namespaces and the host's addresses.
const LOOK: Duration = Duration::from_millis(500);
/// Events from the packet path that may wait for the collector.
const EVENTS: usize = 4096;
/// The MTU of interfaces before the underlay is known: Ethernet's.
const ETHERNET_MTU: u32 = 1500;

/// Why the agent cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A device, route or namespace.
    #[error(transparent)]
    System(#[from] vrouter_io::Error),
    /// Another program has what we need.
    #[error("{action}: {reason}")]
    Taken {
        /// What was tried.
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
    WorkerDied {
        /// Which.
        worker: usize,
        /// Its last words.
        reason: String,
    },
    /// The thread that watches resources ended.
    #[error("the datastore {0} is no longer watched")]
    StoreDied(String),
}

/// Something a client wants done by the agent's thread.
pub type Job = Box<dyn FnOnce(&mut Agent) + Send>;

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
    pub(crate) resources: Resources,
    pub(crate) policies: Policies,
    pub(crate) compiled: Arc<policy::compile::Compiled>,
    pub(crate) desired: Desired,
    pub(crate) rib: Rib,
    statics: Statics,
    pub(crate) endpoints: Endpoints,
    pub(crate) tunnels: Tunnels,
    pub(crate) workers: Workers,
    pub(crate) shared: Shared,
    pub(crate) collector: Collector,
    pub(crate) away: Option<Away>,
    pub(crate) broken: BTreeMap<String, Vec<ParseError>>,
    pub(crate) notices: BTreeMap<String, Vec<Notice>>,
    pub(crate) problems: Vec<String>,
    pub(crate) underlay: Option<Underlay>,
    host_endpoints: HostEndpoints,
    pub(crate) mtu: u16,
    pub(crate) in_sync: bool,
    pub(crate) changed: Option<SystemTime>,
    host: Host,
    blocks: Blocks,
    host_addresses: Vec<IpAddr>,
    ids: InterfaceIds,
    published: Published,
    pub(crate) store: Arc<dyn Datastore>,
    watch: Watch,
    registrar: Option<Registrar>,
    node_statuses: NodeStatuses,
    batch: Batch,
    pub(crate) hits: Before,
    died: Receiver<Died>,
    failed: Receiver<DeviceFailed>,
    stopping: bool,
}

impl Agent {
    /// Makes the host's TUN, starts the workers and begins to read resources. Nothing is
    /// forwarded before [`Agent::run`].
    ///
    /// # Errors
    /// See [`AgentError`]. What was made until then is undone.
    pub fn start(
        settings: Settings,
        store: Arc<dyn Datastore>,
        start: Instant,
    ) -> Result<Self, AgentError> {
        let mut policies = Policies::new(&settings.node).map_err(AgentError::NodeName)?;
        let rib = Rib::new();
        let resources = Resources::default();
        let compiled = policies.compile();
        let shared = Shared {
            tables: Arc::new(ArcSwap::from_pointee(Tables {
                generation: 0,
                interfaces: Vec::new(),
                adjacencies: rib.adjacencies(),
                fib: rib.fib(),
                policy: Arc::clone(&compiled),
                nodes: Arc::default(),
                host: Arc::default(),
            })),
            flows: Arc::new(FlowTable::new(flow::Config {
                capacity: settings.flow_table_size,
                endpoints: InterfaceId::LIMIT,
                endpoint_limit: settings.flows_per_endpoint,
                admission: settings.new_flows,
                seed: seed(),
                ..flow::Config::default()
            })),
            events: Arc::new(ArrayQueue::new(EVENTS)),
            start,
        };
        // The limit is a workload's; what comes by the host or a tunnel is of many.
        for id in InterfaceId::fixed() {
            shared
                .flows
                .set_endpoint_limit(u32::from(id.0), Some(u32::MAX - 1));
        }
        let queues = tun::open(
            None,
            &settings.tunnel_interface,
            settings.workers,
            ETHERNET_MTU,
        )
        .map_err(
            |error| match vrouter_host::tun_taken(&settings.tunnel_interface) {
                Some(reason) => AgentError::Taken {
                    action: format!("open the TUN {}", settings.tunnel_interface),
                    reason,
                },
                None => error.into(),
            },
        )?;
        let host = Host::open(&settings.tunnel_interface, &settings.sysctl_record)?;
        let (death, died) = unbounded();
        let (failure, failed) = unbounded();
        let collector = Collector::start(shared.clone(), failure)?;
        let workers = Workers::start(
            settings.workers,
            settings.pin_workers,
            Duration::from_micros(settings.busy_poll_us),
            &worker::Config {
                buffers: settings.buffers,
                ..worker::Config::default()
            },
            &shared,
            &death,
        )?;
        workers.add(InterfaceId::HOST, queues.into_iter().map(AnyDevice::Tun));
        let watch = store.watch(&watched())?;
        let registrar = Registrar::start(
            &settings.node,
            Arc::clone(&store),
            &settings.registration,
            start,
        )?;
        let node_statuses =
            NodeStatuses::start(&settings.node, Arc::clone(&store), settings.bird.clone())?;
        Ok(Self {
            desired: desired(&resources, &settings.node),
            settings,
            resources,
            policies,
            compiled,
            rib,
            statics: Statics::default(),
            endpoints: Endpoints::default(),
            tunnels: Tunnels::default(),
            workers,
            shared,
            collector,
            away: None,
            broken: BTreeMap::new(),
            notices: BTreeMap::new(),
            problems: Vec::new(),
            underlay: None,
            host_endpoints: HostEndpoints::default(),
            mtu: 0,
            in_sync: false,
            changed: None,
            host,
            blocks: Blocks::default(),
            host_addresses: Vec::new(),
            ids: InterfaceIds::default(),
            published: Published::default(),
            hits: Before::default(),
            store,
            watch,
            registrar,
            node_statuses,
            batch: Batch::default(),
            died,
            failed,
            stopping: false,
        })
    }

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
        let (events, died, failed) = (
            self.watch.events().clone(),
            self.died.clone(),
            self.failed.clone(),
        );
        while !self.stopping {
            select! {
                recv(events) -> event => match event {
                    Ok(event) => self.take(event),
                    Err(_) => {
                        return Err(AgentError::StoreDied(self.store.name()));
                    }
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
                recv(look) -> _ => self.look(),
            }
            if self.in_sync
                && let Some(ready) = ready.take()
            {
                ready();
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Upsert(resource) => {
                self.batch.changed(resource.kind());
                self.policies.upsert(&resource);
                self.resources.upsert(resource);
            }
            Event::Delete(key) => {
                self.batch.removed(key.kind);
                self.policies.delete(&key);
                self.resources.delete(&key);
            }
            Event::Fault { object, errors } => {
                self.batch.others = true;
                // What was noticed before holds no more; what still does follows.
                self.notices.remove(&object);
                for error in &errors {
                    tracing::error!("{error}");
                }
                self.broken.insert(object, errors);
            }
            Event::Mended { object } => {
                self.batch.others = true;
                self.notices.remove(&object);
                if self.broken.remove(&object).is_some() {
                    tracing::info!("{object}: in order again");
                }
            }
            Event::Away { store, reason } => {
                self.batch.others = true;
                tracing::error!("{store}: {reason}");
                self.away = Some(Away { store, reason });
            }
            Event::Back => {
                self.batch.others = true;
                if let Some(away) = self.away.take() {
                    tracing::info!("{}: can be read again", away.store);
                }
            }
            Event::Notice(notice) => {
                tracing::warn!("{notice}");
                let of_file = self.notices.entry(notice.file.clone()).or_default();
                if !of_file.contains(&notice) {
                    of_file.push(notice);
                }
            }
            Event::InSync => {
                let batch = std::mem::take(&mut self.batch);
                // Statuses are written often, by all nodes, and are nothing to the packet path.
                if !self.in_sync || batch.others || !batch.statuses {
                    self.reconcile();
                    if let Some(changes) = batch.changes() {
                        tracing::info!(generation = self.generation(), "{changes}");
                    }
                }
                if !self.in_sync || batch.statuses {
                    let requests = node_status::requests(&self.resources, &self.settings.node);
                    self.node_statuses.request(requests);
                }
                self.in_sync = true;
                self.changed = Some(SystemTime::now());
            }
        }
    }

    /// Brings the node to what the resources say.
    pub(crate) fn reconcile(&mut self) {
        let mut wanted = desired(&self.resources, &self.settings.node);
        let mut problems = std::mem::take(&mut wanted.problems);
        let named = self.settings.underlay_interface.as_deref();
        self.underlay = self.host.underlay(named, &wanted).unwrap_or_else(|error| {
            problems.push(error.to_string());
            None
        });
        let underlay_mtu = self
            .underlay
            .as_ref()
            .map_or(ETHERNET_MTU, |underlay| underlay.mtu);
        self.mtu = wanted.mtu(underlay_mtu);
        problems.extend(self.tunnels.update(
            &wanted,
            self.underlay.as_ref(),
            underlay_mtu,
            &self.workers,
        ));
        let closing = self
            .endpoints
            .update(&wanted.locals, self.mtu, &mut self.ids, &self.workers);
        self.shared
            .flows
            .set_timeouts(&timeouts(&wanted.felix.flow_timeouts));
        let kinds = self.tunnels.iter().map(|(kind, _)| kind);
        let (chosen, remarks) = host_endpoints::choose(
            &self.resources,
            &self.settings.node,
            self.underlay.as_ref(),
            kinds,
        );
        self.host_endpoints = chosen;
        problems.extend(remarks);
        self.policies.set_failsafes(failsafes(&wanted.felix));
        self.compiled = self.policies.compile();
        problems.extend(self.policies.problems());
        problems.extend(notices::silent_cases(
            &self.resources,
            &self.policies,
            &self.settings.node,
        ));
        self.blocks
            .refresh(&self.settings.tunnel_interface, Instant::now());
        problems.extend_from_slice(self.blocks.sentences());
        problems.extend(self.host.update(&wanted, self.underlay.as_ref(), self.mtu));
        self.read_host_addresses(&mut problems);
        self.desired = wanted;
        problems.extend(self.publish());
        self.close_interfaces(closing);
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

    fn read_host_addresses(&mut self, problems: &mut Vec<String>) {
        match self.host.addresses() {
            Ok(addresses) => self.host_addresses = addresses.into_iter().collect(),
            Err(error) => problems.push(error.to_string()),
        }
    }

    /// Closes interfaces no published tables name any more.
    fn close_interfaces(&mut self, closing: Vec<InterfaceId>) {
        for id in closing {
            self.workers.remove(id);
            self.ids.give(id);
        }
    }

    fn device_failed(&mut self, failed: DeviceFailed) {
        let closing = self.endpoints.notice_broken(failed.interface, failed.errno);
        if closing.is_none() {
            let error = std::io::Error::from_raw_os_error(failed.errno);
            tracing::error!(interface = %failed.interface, %error, "a device failed");
        }
        self.let_go(closing.into_iter().collect());
    }

    /// The regular look at what tells nobody when it changes.
    fn look(&mut self) {
        if !self.in_sync {
            return;
        }
        let gone = self.endpoints.notice_vanished();
        self.let_go(gone);
        let came = self
            .endpoints
            .attach(self.mtu, &mut self.ids, &self.workers);
        let mut problems = Vec::new();
        let before = std::mem::take(&mut self.host_addresses);
        self.read_host_addresses(&mut problems);
        let named = self.settings.underlay_interface.as_deref();
        let underlay = self.host.underlay(named, &self.desired).ok().flatten();
        // What the host blocks tells nobody when it changes, nor does a port that becomes free.
        let tunnel = &self.settings.tunnel_interface;
        let blocked = self.blocks.sentences().to_vec();
        let is_time = self.blocks.refresh(tunnel, Instant::now());
        if underlay != self.underlay
            || self.blocks.sentences() != blocked
            || is_time && self.tunnels.has_failed()
        {
            self.reconcile();
        } else if (came || before != self.host_addresses)
            && let Some(problem) = self.publish()
        {
            tracing::error!("{problem}");
        }
    }

    fn let_go(&mut self, closing: Vec<InterfaceId>) {
        if closing.is_empty() {
            return;
        }
        if let Some(problem) = self.publish() {
            tracing::error!("{problem}");
        }
        self.close_interfaces(closing);
    }

    /// Ends the loop after the work in hand.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Addresses of the host's own interfaces.
    pub(crate) fn host_addresses(&self) -> &[IpAddr] {
        &self.host_addresses
    }

    /// Who counts what rules match.
    pub(crate) fn hit_sources(&self) -> Sources<'_> {
        let workers = self.workers.observers();
        Sources {
            workers: workers.map(|(observer, _)| &*observer.counters).collect(),
            expired: &self.collector.expired,
        }
    }

    /// The generation workers use.
    pub(crate) fn generation(&self) -> u32 {
        self.published.generation
    }

    /// Everything undone, in the order in which it stops being needed.
    fn close(mut self) {
        tracing::info!("stopping");
        drop(self.registrar.take());
        drop(self.node_statuses);
        self.host.close();
        self.workers.stop();
        drop(self.watch);
        drop(self.collector);
    }
}

/// Why the store cannot be read.
pub(crate) struct Away {
    pub(crate) store: String,
    pub(crate) reason: String,
}

/// What changed since the last time that all was in force.
#[derive(Default)]
struct Batch {
    /// `CalicoNodeStatus`.
    statuses: bool,
    /// Anything else.
    others: bool,
    /// How many resources of each kind are new or different, and how many are gone.
    counts: BTreeMap<&'static str, (usize, usize)>,
}

impl Batch {
    fn changed(&mut self, kind: Kind) {
        self.note(kind);
        self.counts.entry(kind.name()).or_default().0 += 1;
    }

    fn removed(&mut self, kind: Kind) {
        self.note(kind);
        self.counts.entry(kind.name()).or_default().1 += 1;
    }

    fn note(&mut self, kind: Kind) {
        if kind == Kind::CalicoNodeStatus {
            self.statuses = true;
        } else {
            self.others = true;
        }
    }

    /// What changed, in words: `in force: 2 NetworkPolicy, 1 Node removed`.
    fn changes(&self) -> Option<String> {
        let parts: Vec<String> = self
            .counts
            .iter()
            .flat_map(|(kind, &(changed, removed))| {
                let changed = (changed > 0).then(|| format!("{changed} {kind}"));
                let removed = (removed > 0).then(|| format!("{removed} {kind} removed"));
                changed.into_iter().chain(removed)
            })
            .collect();
        (!parts.is_empty()).then(|| format!("in force: {}", parts.join(", ")))
    }
}

/// Every kind but what IPAM keeps for itself: large, often changed, and nothing to a node.
fn watched() -> Vec<Kind> {
    let all = Kind::ALL.iter().copied();
    all.filter(|kind| !matches!(kind, Kind::IpamBlock | Kind::IpamHandle))
        .collect()
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

/// A secret for the flow table's hash.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hasher has the system's randomness in its keys.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// Where the router speaks from, per family.
pub(crate) fn router_addresses(wanted: &Desired) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let v4 = wanted.v4.and_then(|net| match net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let v6 = wanted.v6.and_then(|net| match net.addr() {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    (v4, v6)
}
