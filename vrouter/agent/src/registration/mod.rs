//! The node in the datastore: its Node resource, its tunnels' addresses, that it lives, and which
//! of its endpoints are up.
//!
//! A thread of its own, because a store may take its time: it makes the Node resource where there
//! is none, completes it where it lacks an address, and takes addresses for the tunnels that the
//! pools ask for. Everything is tried again until the store takes it. Pools are looked at again
//! with every report.

mod address;
mod detect;
mod statuses;
mod tunnels;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError, after, bounded, never, select};
use ipnet::IpNet;
use vrouter_api::{Key, Kind, Metadata, Node, NodeAddress, NodeBgp, NodeSpec, Resource};
use vrouter_datastore::ipam::Ipam;
use vrouter_datastore::{Connection, Datastore, EtcdStore, Lease, StoreError};

pub use self::address::Choice;
pub use self::detect::Method;
use self::statuses::Said;
pub(crate) use self::statuses::Statuses;

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

/// The running thread; it ends with the value.
pub struct Registrar {
    stop: Option<Sender<()>>,
    said: Said,
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
        connection: &Connection,
        how: &Registration,
        start: Instant,
    ) -> std::io::Result<Option<Registrar>> {
        if !how.register {
            return Ok(None);
        }
        let (stop, stopped) = bounded(0);
        let (wake, woken) = bounded(1);
        let said = Said::default();
        let heard = Arc::clone(&said);
        let (node, connection, how) = (node.to_owned(), connection.clone(), how.clone());
        let thread = std::thread::Builder::new()
            .name("registration".to_owned())
            .spawn(
                move || match Work::open(node, &connection, how, start, heard) {
                    Ok(work) => work.run(&stopped, &woken),
                    Err(error) => tracing::error!(%error, "this node is not registered"),
                },
            )?;
        Ok(Some(Registrar {
            stop: Some(stop),
            said,
            wake,
            thread: Some(thread),
        }))
    }

    /// Says which endpoints are up.
    pub(crate) fn say(&self, statuses: Statuses) {
        if **self.said.load() == statuses {
            return;
        }
        self.said.store(Arc::new(statuses));
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
    /// For what only an etcd keeps.
    etcd: Option<EtcdStore>,
    ipam: Ipam,
    lease: Option<Lease>,
    reported: bool,
    said: Said,
    /// Statuses that are in etcd under the lease, by path.
    written: BTreeMap<String, bool>,
    /// Whether what others left in their place is gone.
    swept: bool,
}

impl Work {
    fn open(
        node: String,
        connection: &Connection,
        how: Registration,
        start: Instant,
        said: Said,
    ) -> Result<Work, StoreError> {
        let etcd = match connection {
            Connection::Etcd(etcd) => Some(EtcdStore::new(etcd.clone(), None)?),
            Connection::Directory(_) => None,
        };
        let store: Arc<dyn Datastore> = match &etcd {
            Some(etcd) => Arc::new(etcd.clone()),
            None => connection.open()?,
        };
        Ok(Work {
            ipam: Ipam::new(Arc::clone(&store)),
            node,
            how,
            start,
            store,
            etcd,
            lease: None,
            reported: false,
            said,
            written: BTreeMap::new(),
            swept: false,
        })
    }

    fn run(mut self, stopped: &Receiver<()>, woken: &Receiver<()>) {
        let (mut registered, mut said) = (false, String::new());
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
                    let delay = self.said.load().delay.unwrap_or_default();
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
            if problem != said && !problem.is_empty() {
                tracing::warn!("registration of this node: {problem}");
            }
            said = problem;
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
            (self.how.ip, &self.how.v4, bgp.ipv4_address.map(IpNet::V4)),
            (self.how.ip6, &self.how.v6, bgp.ipv6_address.map(IpNet::V6)),
        ];
        let looks = |(choice, method, now): &(Choice, &Method, _)| choice.looks(method, *now);
        if !made && !families.iter().any(looks) {
            return Ok(());
        }
        let candidates = detect::candidates().map_err(|error| error.to_string())?;
        let mut changed = made;
        for (v6, (choice, method, now)) in [false, true].into_iter().zip(families) {
            let address = choice.settle(method, now, &candidates, v6)?;
            let Some(address) = address.filter(|it| Some(*it) != now) else {
                continue;
            };
            let bgp = node.spec.bgp.get_or_insert_with(NodeBgp::default);
            match address {
                IpNet::V4(address) => bgp.ipv4_address = Some(address),
                IpNet::V6(address) => bgp.ipv6_address = Some(address),
            }
            let kind = Some("CalicoNodeIP".to_owned());
            let addresses = &mut node.spec.addresses;
            addresses.retain(|it| it.kind != kind || Some(it.address) != now);
            addresses.push(NodeAddress { address, kind });
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

    /// Says that the node lives, where Felix does.
    fn report(&mut self) -> Result<(), StoreError> {
        let Some(etcd) = &self.etcd else {
            return Ok(());
        };
        let value = serde_json::json!({
            "time": vrouter_datastore::now(),
            "uptime": self.start.elapsed().as_secs_f64(),
            "first_update": !self.reported,
        });
        let value = value.to_string();
        let (status, last) = (self.path("status"), self.path("last_reported_status"));
        if etcd.renew(&mut self.lease, BELIEVED)? {
            // What was written under the lease before went with it.
            self.written.clear();
            self.swept = false;
        }
        if let Some(lease) = &self.lease {
            etcd.put_under(lease, &status, &value)?;
        }
        etcd.put_raw(&last, &value)?;
        self.reported = true;
        Ok(())
    }

    /// The path of something that Felix says of this node.
    fn path(&self, end: &str) -> String {
        format!("/calico/felix/v2/no-region/host/{}/{end}", self.node)
    }
}
