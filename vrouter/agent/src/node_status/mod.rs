//! `CalicoNodeStatus`: fills in the status of those that ask about this node, as often as each
//! asks for it.
//!
//! A thread of its own, because BIRD and the store may take their time. `report` says what is
//! written. Unlike Calico's reporter it writes also when nothing changed, so that `lastUpdated`
//! says when somebody last looked.

mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, at, never, select, unbounded};
use serde_json::Value;
use vrouter_api::{Key, Kind, Other, Resource};
use vrouter_datastore::{Datastore, StoreError};

use vrouter_bgp::bird::{SOCKETS, SOCKETS_V6};
use vrouter_core::resources::Resources;

/// Until what failed is tried again, unless its period is shorter.
const AGAIN: Duration = Duration::from_secs(5);
/// How often a change of ours is made anew when somebody else's came before it.
const TRIES: usize = 3;

/// What is asked for, by the name of the resource that asks.
pub type Requests = BTreeMap<String, Request>;

/// What one resource asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whether of BIRD itself, its sessions, its routes.
    classes: Classes,
    /// How often; `None`: once.
    period: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Classes {
    agent: bool,
    bgp: bool,
    routes: bool,
}

impl Request {
    /// What a resource asks of this node, if it does.
    fn of(other: &Other, node: &str) -> Option<Request> {
        let spec = other.content.get("spec")?;
        if other.kind != Kind::CalicoNodeStatus || spec.get("node")?.as_str() != Some(node) {
            return None;
        }
        let mut classes = Classes::default();
        for class in spec.get("classes")?.as_array()? {
            match class.as_str() {
                Some("Agent") => classes.agent = true,
                Some("BGP") => classes.bgp = true,
                Some("Routes") => classes.routes = true,
                // Refused by who parsed it.
                Some(_) | None => {}
            }
        }
        let seconds = spec.get("updatePeriodSeconds")?.as_u64()?;
        Some(Request {
            classes,
            period: (seconds > 0).then(|| Duration::from_secs(seconds)),
        })
    }
}

/// All that is asked of a node.
#[must_use]
pub fn requests(resources: &Resources, node: &str) -> Requests {
    let all = resources.iter().filter_map(|resource| match resource {
        Resource::Other(other) => {
            let request = Request::of(other, node)?;
            Some((other.metadata.name.clone(), request))
        }
        _ => None,
    });
    all.collect()
}

/// Where a node's BIRD is looked for: the first that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// One that speaks IPv4, or both.
    pub v4: Vec<PathBuf>,
    /// One that speaks IPv6 alone.
    pub v6: Vec<PathBuf>,
}

impl Default for Sockets {
    fn default() -> Sockets {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Sockets {
            v4: paths(SOCKETS),
            v6: paths(SOCKETS_V6),
        }
    }
}

/// The running thread; it ends with the value.
pub struct NodeStatuses {
    inbox: Option<Sender<Requests>>,
    sent: Requests,
    thread: Option<JoinHandle<()>>,
}

impl NodeStatuses {
    /// Starts it.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(node: &str, store: Arc<dyn Datastore>, sockets: Sockets) -> std::io::Result<Self> {
        let (inbox, wanted) = unbounded();
        let mut work = Work {
            node: node.to_owned(),
            store,
            sockets,
            due: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("node-status".to_owned())
            .spawn(move || work.run(&wanted))?;
        Ok(NodeStatuses {
            inbox: Some(inbox),
            sent: Requests::new(),
            thread: Some(thread),
        })
    }

    /// Replaces what is asked for.
    pub fn request(&mut self, requests: Requests) {
        if self.sent == requests {
            return;
        }
        self.sent.clone_from(&requests);
        if let Some(inbox) = &self.inbox
            && inbox.send(requests).is_err()
        {
            tracing::error!("nobody fills in CalicoNodeStatus any more");
        }
    }
}

impl Drop for NodeStatuses {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that fills in CalicoNodeStatus panicked");
        }
    }
}

/// A request and when it is next looked after.
struct Due {
    request: Request,
    next: Option<Instant>,
    /// What last went wrong, to say it once.
    problem: String,
}

struct Work {
    node: String,
    store: Arc<dyn Datastore>,
    sockets: Sockets,
    due: BTreeMap<String, Due>,
}

impl Work {
    fn run(&mut self, inbox: &Receiver<Requests>) {
        loop {
            let next = self.due.values().filter_map(|due| due.next).min();
            let timer = next.map_or_else(never, at);
            select! {
                recv(inbox) -> message => match message {
                    Ok(requests) => self.replace(requests),
                    Err(_) => return,
                },
                recv(timer) -> _ => self.fill_in_due(Instant::now()),
            }
        }
    }

    /// New and changed ones are looked after at once.
    fn replace(&mut self, mut requests: Requests) {
        self.due.retain(|name, due| {
            requests.remove_entry(name).is_some_and(|(name, request)| {
                let same = due.request == request;
                if !same {
                    requests.insert(name, request);
                }
                same
            })
        });
        let new = requests.into_iter().map(|(name, request)| {
            let due = Due {
                request,
                next: Some(Instant::now()),
                problem: String::new(),
            };
            (name, due)
        });
        self.due.extend(new);
    }

    fn fill_in_due(&mut self, now: Instant) {
        let ready = |due: &Due| due.next.is_some_and(|next| next <= now);
        let names: Vec<String> = self
            .due
            .iter()
            .filter(|(_, due)| ready(due))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let Some(request) = self.due.get(&name).map(|due| due.request.clone()) else {
                continue;
            };
            let outcome = self.fill_in(&name, &request);
            let Some(due) = self.due.get_mut(&name) else {
                continue;
            };
            let period = request.period;
            let wait = match &outcome {
                Ok(()) => period,
                Err(_) => Some(period.map_or(AGAIN, |period| period.min(AGAIN))),
            };
            due.next = wait.map(|wait| Instant::now() + wait);
            let problem = outcome.err().map(|error| error.to_string());
            let problem = problem.unwrap_or_default();
            if problem != due.problem && !problem.is_empty() {
                tracing::warn!("CalicoNodeStatus({name}): {problem}");
            }
            due.problem = problem;
        }
    }

    /// Writes the status of one, unless it changed its mind: that is going to be told.
    fn fill_in(&mut self, name: &str, request: &Request) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let key = Key::global(Kind::CalicoNodeStatus, name);
        let mut status: Option<Value> = None;
        let mut tries = 0;
        loop {
            let there = match store.get(&key) {
                Err(StoreError::NotFound { .. }) => return Ok(()),
                other => other?,
            };
            let Resource::Other(mut other) = there else {
                return Ok(());
            };
            if Request::of(&other, &self.node).as_ref() != Some(request) {
                return Ok(());
            }
            let status = status.get_or_insert_with(|| report::status(request, &self.sockets));
            other.content.insert("status".to_owned(), status.clone());
            tries += 1;
            // With the revision that was read: somebody else's change is not lost.
            match store.update(&Resource::Other(other)) {
                Err(StoreError::Conflict { .. }) if tries < TRIES => {}
                Err(StoreError::NotFound { .. }) => return Ok(()),
                outcome => return outcome.map(drop),
            }
        }
    }
}
