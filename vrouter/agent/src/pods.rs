//! Workloads' interfaces in the namespaces of their pods.

use std::collections::BTreeMap;

use vrouter_api::Key;
use vrouter_core::desired::Local;
use vrouter_core::pod_link::PodLink;
use vrouter_dataplane::adjacency::Mac;
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::netns::Netns;
use vrouter_io::pod::{self, Pod};
use vrouter_io::tap::{self, Tap};

use crate::veths::Veths;

/// The interfaces of attached workloads.
pub struct Pods {
    attached: BTreeMap<Key, Place>,
    /// Why workloads are not attached, to log each reason once.
    problems: BTreeMap<Key, String>,
    veths: Option<Veths>,
}

/// Where a workload's interface is.
struct Place {
    netns: Netns,
    /// The number of its veth's end on the node.
    end: Option<u32>,
}

/// How a workload's packets reach the workers.
pub enum Queues {
    /// By a queue for each.
    Own(Vec<Tap>),
    /// By `vrouter0`.
    Shared,
}

impl Pods {
    /// None yet; `veths` is the node's side of those on veths, where it has one.
    pub fn new(veths: Option<Veths>) -> Self {
        Self {
            attached: BTreeMap::new(),
            problems: BTreeMap::new(),
            veths,
        }
    }

    /// Opens a workload's interface.
    ///
    /// # Errors
    /// Why it is not open, in words for an operator.
    pub fn attach(
        &mut self,
        local: &Local,
        mtu: u16,
        id: InterfaceId,
        link: PodLink,
        queues: usize,
    ) -> Result<(Mac, Queues), String> {
        match self.open(local, mtu, id, link, queues) {
            Ok((place, mac, queues)) => {
                let netns = &place.netns;
                tracing::info!(endpoint = %local.key, interface = %local.interface, %netns, "workload attached");
                self.attached.insert(local.key.clone(), place);
                self.problems.remove(&local.key);
                Ok((mac, queues))
            }
            Err(problem) => {
                if self.problems.get(&local.key) != Some(&problem) {
                    tracing::warn!(endpoint = %local.key, problem, "workload not attached");
                    self.problems.insert(local.key.clone(), problem.clone());
                }
                Err(problem)
            }
        }
    }

    fn open(
        &mut self,
        local: &Local,
        mtu: u16,
        id: InterfaceId,
        link: PodLink,
        queues: usize,
    ) -> Result<(Place, Mac, Queues), String> {
        let Some(netns) = &local.netns else {
            return Err("its resource has no annotation vrouter.io/netns".to_owned());
        };
        let netns = Netns::open(netns).map_err(text)?;
        let pod = wanted(local, mtu);
        match link {
            PodLink::Tap => {
                let taps = tap::open(&netns, &pod.name, queues, pod.mtu, pod.mac).map_err(text)?;
                let mac = pod::configure(&netns, &pod).map_err(text)?;
                Ok((Place { netns, end: None }, mac, Queues::Own(taps)))
            }
            PodLink::Veth => {
                let veths = self.veths.as_mut();
                let veths = veths.ok_or_else(|| "the node has no veths".to_owned())?;
                let (mac, end) = veths.attach(id, local, &netns, &pod)?;
                let end = Some(end);
                Ok((Place { netns, end }, mac, Queues::Shared))
            }
        }
    }

    /// Brings an open interface to a changed resource or MTU; its MAC.
    ///
    /// # Errors
    /// The namespace or the interface is gone, or the kernel refuses a step.
    pub fn configure(&self, local: &Local, mtu: u16) -> Result<Mac, String> {
        let place = self.attached.get(&local.key);
        let place = place.ok_or_else(|| "its network namespace is gone".to_owned())?;
        pod::configure(&place.netns, &wanted(local, mtu)).map_err(text)
    }

    /// Lets go of a workload's namespace, and removes its veth.
    pub fn detach(&mut self, key: &Key) {
        if let Some(place) = self.attached.remove(key) {
            if let (Some(end), Some(veths)) = (place.end, &mut self.veths) {
                veths.remove(end);
            }
            tracing::info!(endpoint = %key, "workload detached");
        }
        self.problems.remove(key);
    }

    /// What is left of a workload's interface that no tables name any more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn close(&mut self, id: InterfaceId) -> Result<(), String> {
        match &mut self.veths {
            Some(veths) => veths.close(id),
            None => Ok(()),
        }
    }

    /// Removes what an earlier process left of workloads that are none any more.
    pub fn remove_left(&mut self, locals: &BTreeMap<Key, Local>) {
        if let Some(veths) = &mut self.veths {
            veths.remove_left(|name| locals.values().any(|local| local.interface == name));
        }
    }

    /// The workloads whose namespace is gone.
    pub fn vanished(&self) -> Vec<Key> {
        let gone = self.attached.iter();
        let gone = gone.filter(|(_, place)| !place.netns.exists());
        gone.map(|(key, _)| key.clone()).collect()
    }
}

fn wanted(local: &Local, mtu: u16) -> Pod {
    Pod {
        name: local.device.clone(),
        mac: local.mac,
        mtu: u32::from(mtu),
        addresses: local.addresses.clone(),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
