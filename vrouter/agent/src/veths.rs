//! Workloads on veths: `vrouter0`, the kernel's programs, and each workload's end on the node.
//!
//! Nothing here ends with the process: the next one takes veths and programs over, and
//! [`remove_all`] removes them. `vrouter0` alone goes with the process; until it is back a
//! workload's frames are dropped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vrouter_core::desired::Local;
use vrouter_core::pod_link::PodLink;
use vrouter_dataplane::adjacency::Mac;
use vrouter_dataplane::device::Shared;
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::any::AnyDevice;
use vrouter_io::link::Link;
use vrouter_io::netns::Netns;
use vrouter_io::pod::{self, Pod};
use vrouter_io::tap::{self, Tap};
use vrouter_io::veth;
use vrouter_offload::{Attachment, Offload};

use crate::settings::Settings;

/// The TAP that workloads on veths share.
pub const ROUTER: &str = "vrouter0";
/// The largest packet of any pod passes.
const ROUTER_MTU: u32 = 65_521;

/// Veths as the settings ask for them, as far as the kernel has what they take.
pub struct OpenVeths {
    pub veths: Option<Veths>,
    /// Each worker's queue of `vrouter0`.
    pub router: Vec<AnyDevice>,
    /// Of the tables by which the kernel's flows were decided, an earlier process's.
    pub generation: Option<u32>,
    /// Why pods are on TAPs though veths were asked for.
    pub why_not: Option<String>,
}

impl OpenVeths {
    /// Opens them; where pods are to be on TAPs, what an earlier process left is removed.
    pub fn open(settings: &Settings) -> Self {
        let why_not = match settings.pod_link {
            PodLink::Tap => None,
            PodLink::Veth => match Veths::start(&settings.bpf_directory, settings.workers) {
                Ok((veths, router, generation)) => {
                    return Self {
                        veths: Some(veths),
                        generation: Some(generation),
                        router: router
                            .into_iter()
                            .map(|tap| AnyDevice::Router(Shared(tap)))
                            .collect(),
                        why_not: None,
                    };
                }
                Err(why) => {
                    tracing::warn!("pods are on TAPs, not on veths: {why}");
                    Some(why)
                }
            },
        };
        match remove_all(&settings.bpf_directory) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "veths of an earlier process are removed"),
            Err(error) => tracing::warn!(error, "veths of an earlier process stay"),
        }
        Self {
            veths: None,
            router: Vec::new(),
            generation: None,
            why_not,
        }
    }

    /// What pods hang on.
    pub fn link(&self) -> PodLink {
        if self.veths.is_some() {
            PodLink::Veth
        } else {
            PodLink::Tap
        }
    }
}

/// The node's side of workloads on veths.
pub struct Veths {
    link: Link,
    offload: Arc<Mutex<Offload>>,
    /// The number of each workload's end, by its interface.
    ends: BTreeMap<InterfaceId, u32>,
    /// The names of those that workloads have.
    held: BTreeMap<u32, String>,
    /// Ends of an earlier process that nobody took over yet, with their names.
    left: BTreeMap<u32, String>,
}

impl Veths {
    /// Makes `vrouter0` with a queue for each worker, and loads the programs, whose pins are below
    /// `directory`; also the generation of the flows that are there.
    ///
    /// # Errors
    /// In one line, what the kernel does not have or does not let us do.
    pub fn start(directory: &Path, queues: usize) -> Result<(Self, Vec<Tap>, u32), String> {
        let mut offload = open(directory)?;
        let generation = offload.generation().map_err(text)?;
        let taps = tap::open_here(ROUTER, queues, ROUTER_MTU, None).map_err(text)?;
        veth::quieten(ROUTER).map_err(text)?;
        let link = Link::open().map_err(text)?;
        let router = link.expect_interface(ROUTER).map_err(text)?.index;
        link.set_up(router).map_err(text)?;
        offload.attach_router(router).map_err(text)?;
        let mut left = BTreeMap::new();
        for index in Offload::attached(directory) {
            match link.interface_at(index).map_err(text)? {
                Some(end) if end.peer.is_some() => {
                    left.insert(index, end.name);
                }
                Some(_) => {}
                // It went while nobody looked: its pod is gone, or it was an earlier vrouter0.
                None => offload.detach_workload(index).map_err(text)?,
            }
        }
        let veths = Self {
            link,
            offload: Arc::new(Mutex::new(offload)),
            ends: BTreeMap::new(),
            held: BTreeMap::new(),
            left,
        };
        Ok((veths, taps, generation))
    }

    /// The programs and their maps.
    pub fn kernel(&self) -> Arc<Mutex<Offload>> {
        Arc::clone(&self.offload)
    }

    fn offload(&self) -> MutexGuard<'_, Offload> {
        self.offload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes or takes over a workload's veth; its MAC, and the number of its end on the node.
    ///
    /// # Errors
    /// Why it has none, in words for an operator.
    pub fn attach(
        &mut self,
        id: InterfaceId,
        local: &Local,
        netns: &Netns,
        pod: &Pod,
    ) -> Result<(Mac, u32), String> {
        let name = &local.interface;
        if self.held.values().any(|held| held == name) {
            return Err(format!(
                "the interface {name} is another workload's: change spec.interfaceName"
            ));
        }
        let end = veth::open(&self.link, &local.interface, netns, pod).map_err(text)?;
        self.left.remove(&end);
        // Nothing passes before the program is there.
        let attached = self.offload().attach_workload(end, id, true);
        let attached = attached
            .map_err(text)
            .and_then(|()| self.link.set_up(end).map_err(text))
            .and_then(|()| pod::configure(netns, pod).map_err(text));
        match attached {
            Ok(mac) => {
                self.ends.insert(id, end);
                self.held.insert(end, name.clone());
                Ok((mac, end))
            }
            Err(why) => {
                self.remove(end);
                Err(why)
            }
        }
    }

    /// Removes a workload's veth; that its pod took it along is no fault.
    pub fn remove(&mut self, end: u32) {
        self.held.remove(&end);
        if let Err(error) = self.link.remove_interface(end) {
            tracing::warn!(%error, "a veth stays behind");
        }
    }

    /// Has the programs forget an interface that no tables name any more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn close(&mut self, id: InterfaceId) -> Result<(), String> {
        if let Some(end) = self.ends.get(&id) {
            self.offload().detach_workload(*end).map_err(text)?;
            self.ends.remove(&id);
        }
        Ok(())
    }

    /// Removes what an earlier process left of workloads that are none any more; `is_known` says
    /// which names are a workload's.
    pub fn remove_left(&mut self, is_known: impl Fn(&str) -> bool) {
        let left = std::mem::take(&mut self.left);
        for (end, name) in left {
            if is_known(&name) {
                self.left.insert(end, name);
                continue;
            }
            tracing::info!(name, "removing the veth of a workload that is gone");
            self.remove(end);
            if let Err(error) = self.offload().detach_workload(end) {
                tracing::warn!(%error, "a program's pin stays behind");
            }
        }
    }
}

/// Whether this kernel has what pods on veths take; nothing stays of the attempt.
///
/// # Errors
/// In one line, what it does not have.
pub fn probe(directory: &Path) -> Result<(), String> {
    let mut beside = directory.as_os_str().to_owned();
    beside.push(format!("-check-{}", std::process::id()));
    let beside = Path::new(&beside);
    let opened = open(beside).map(drop);
    let removed = Offload::detach_all(beside).map_err(text);
    opened.and(removed)
}

/// Removes every veth and program of ours; how many veths there were.
///
/// # Errors
/// The kernel refuses.
pub fn remove_all(directory: &Path) -> Result<usize, String> {
    let mut count = 0;
    let all = Offload::attached(directory);
    if !all.is_empty() {
        let link = Link::open().map_err(text)?;
        for index in all {
            let end = link.interface_at(index).map_err(text)?;
            if end.is_some_and(|end| end.peer.is_some()) {
                link.remove_interface(index).map_err(text)?;
                count += 1;
            }
        }
    }
    Offload::detach_all(directory).map_err(text)?;
    Ok(count)
}

/// The programs, or why there are none; what was made on the way is removed.
fn open(directory: &Path) -> Result<Offload, String> {
    let existed = directory.exists();
    Offload::open(directory, Attachment::Any).map_err(|error| {
        if !existed {
            let _ = std::fs::remove_dir_all(directory);
        }
        error.to_string()
    })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
