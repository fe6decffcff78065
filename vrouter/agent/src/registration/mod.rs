//! The node in the datastore: its Node resource, its tunnels' addresses, that it lives, and which
//! of its endpoints are up.
//!
//! A thread of its own, because a store may take its time: it makes the Node resource where there
//! is none, completes it where it lacks an address, and takes addresses for the tunnels that the
//! pools ask for. Everything is tried again until the store takes it. Pools are looked at again
//! with every report.

mod address;
mod detect;
mod tunnels;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, Sender, TrySendError, after, bounded, never, select};
use encap::Family;
use ipnet::IpNet;
use vrouter_api::{Key, Kind, Metadata, Node, NodeAddress, NodeBgp, NodeSpec, Resource};
use vrouter_datastore::ipam::Ipam;
use vrouter_datastore::{Datastore, EndpointStatuses, NodeReports, Scope, StoreError};

pub use self::address::Choice;
pub use self::detect::Method;

/// Between two reports, and how long one is believed: Felix's.
const REPORT: Duration = Duration::from_secs(30);
const BELIEVED: Duration = Duration::from_secs(90);
/// Between two tries that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// What a node does about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whether it is in the store by its own doing.
    pub register: bool,
    /// Where its IPv4 address is from.
    pub ip: Choice,
    /// The same of IPv6.
    pub ip6: Choice,
    /// How its IPv4 address is found.
    pub v4: Method,
    /// The same of IPv6.
    pub v6: Method,
}

/// What is to be reported of endpoints. The agent replaces it, the registrar's thread reads it.
type SharedStatuses = Arc<ArcSwap<Statuses>>;

/// What is to be reported of endpoints.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Statuses {
    /// How long a change waits for others.
    pub(crate) delay: Duration,
    /// Which endpoints are up; `None`: nothing is reported.
    pub(crate) endpoints: Option<EndpointStatuses>,
}

/// The running thread; it ends with the value.
pub struct Registrar {
    stop: Option<Sender<()>>,
    statuses: SharedStatuses,
    /// Holds one message: whoever takes it sees all that was said before.
    wake: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Registrar {
    /// Starts it, if the node is to register.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        node: &str,
        store: Arc<dyn Datastore>,
        how: &Registration,
        start: Instant,
    ) -> std::io::Result<Option<Registrar>> {
        if !how.register {
            return Ok(None);
        }
        let (stop, stopped) = bounded(0);
        let (wake, woken) = bounded(1);
        let statuses = SharedStatuses::default();
        let work = Work {
            ipam: Ipam::new(Arc::clone(&store)),
            reports: store.reports(node),
            node: node.to_owned(),
            how: how.clone(),
            start,
            store,
            statuses: Arc::clone(&statuses),
        };
        let thread = std::thread::Builder::new()
            .name("registration".to_owned())
            .spawn(move || work.run(&stopped, &woken))?;
        Ok(Some(Registrar {
            stop: Some(stop),
            statuses,
            wake,
            thread: Some(thread),
        }))
    }

    /// Has the statuses of endpoints reported.
    pub(crate) fn report(&self, statuses: Statuses) {
        if **self.statuses.load() == statuses {
            return;
        }
        self.statuses.store(Arc::new(statuses));
        match self.wake.try_send(()) {
            // It is going to look, or its end is told elsewhere.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that registers the node panicked");
        }
    }
}

struct Work {
    node: String,
    how: Registration,
    start: Instant,
    store: Arc<dyn Datastore>,
    ipam: Ipam,
    reports: Box<dyn NodeReports>,
    statuses: SharedStatuses,
}

impl Work {
    fn run(mut self, stopped: &Receiver<()>, woken: &Receiver<()>) {
        let (mut registered, mut last_problem) = (false, String::new());
        let mut due = after(Duration::ZERO);
        // When endpoints' statuses are written: some time after the first that changed.
        let mut late = None;
        loop {
            let changed = late.clone().unwrap_or_else(never);
            let outcome = select! {
                recv(stopped) -> _ => return,
                recv(due) -> _ => {
                    let outcome = self.turn(&mut registered);
                    due = after(if outcome.is_ok() { REPORT } else { AGAIN });
                    outcome
                }
                recv(woken) -> _ => {
                    let delay = self.statuses.load().delay;
                    late.get_or_insert_with(|| after(delay));
                    continue;
                }
                recv(changed) -> _ => {
                    late = None;
                    let outcome = self.endpoints().map_err(|error| error.to_string());
                    if outcome.is_err() {
                        due = after(AGAIN);
                    }
                    outcome
                }
            };
            let problem = outcome.err().unwrap_or_default();
            if problem != last_problem && !problem.is_empty() {
                tracing::warn!("registration of this node: {problem}");
            }
            last_problem = problem;
        }
    }

    fn turn(&mut self, registered: &mut bool) -> Result<(), String> {
        if !*registered {
            self.register()?;
            *registered = true;
        }
        self.tunnels()?;
        let reported = self.report().and_then(|()| self.endpoints());
        reported.map_err(|error| error.to_string())
    }

    /// The node's resource; `None` when somebody removed it.
    fn own(&self) -> Result<Option<Node>, String> {
        match self.store.get(&Key::global(Kind::Node, &self.node)) {
            Ok(Resource::Node(node)) => Ok(Some(node)),
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sees to it that there is a resource with addresses.
    fn register(&self) -> Result<(), String> {
        let before = self.own()?;
        let made = before.is_none();
        let mut node = before.unwrap_or_else(|| Node {
            metadata: Metadata::named(&self.node),
            spec: NodeSpec::default(),
        });
        let bgp = node.spec.bgp.clone().unwrap_or_default();
        let families = [
            (self.how.ip, &self.how.v4, bgp.ipv4_address.map(IpNet::from)),
            (
                self.how.ip6,
                &self.how.v6,
                bgp.ipv6_address.map(IpNet::from),
            ),
        ];
        let looks = |(choice, method, now): &(Choice, &Method, _)| choice.looks(method, *now);
        if !made && !families.iter().any(looks) {
            return Ok(());
        }
        let candidates = detect::candidates().map_err(|error| error.to_string())?;
        let mut changed = made;
        for (family, (choice, method, now)) in Family::ALL.into_iter().zip(families) {
            let address = choice.settle(method, now, &candidates, family)?;
            let Some(address) = address.filter(|it| Some(*it) != now) else {
                continue;
            };
            self.alone_with(address)?;
            let bgp = node.spec.bgp.get_or_insert_with(NodeBgp::default);
            match address {
                IpNet::V4(address) => bgp.ipv4_address = Some(address.into()),
                IpNet::V6(address) => bgp.ipv6_address = Some(address.into()),
            }
            let kind = Some("CalicoNodeIP".to_owned());
            let addresses = &mut node.spec.addresses;
            addresses.retain(|it| it.kind != kind || Some(*it.address) != now);
            addresses.push(NodeAddress {
                address: address.into(),
                kind,
            });
            changed = true;
            tracing::info!(%address, "this node's address");
        }
        if !changed {
            return Ok(());
        }
        let resource = node.into();
        let written = if made {
            self.store.create(&resource)
        } else {
            self.store.update(&resource)
        };
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Refuses an address that another node has: packets for both would reach one of them.
    fn alone_with(&self, address: IpNet) -> Result<(), String> {
        let nodes = self.store.list(Kind::Node, Scope::All);
        let nodes = nodes.map_err(|error| error.to_string())?.resources;
        match address::holder(&nodes, &self.node, address.addr()) {
            Some(other) => Err(format!(
                "node {other} already has the address {}: give one of the two nodes another, or \
                 delete the node that is gone",
                address.addr()
            )),
            None => Ok(()),
        }
    }

    /// Reports that the node lives.
    fn report(&mut self) -> Result<(), StoreError> {
        self.reports.alive(self.start.elapsed(), BELIEVED)
    }

    /// Reports which endpoints are up.
    fn endpoints(&mut self) -> Result<(), StoreError> {
        let statuses = self.statuses.load_full();
        self.reports.endpoints(statuses.endpoints.as_ref())
    }
}
