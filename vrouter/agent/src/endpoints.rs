//! Local workloads and their TAPs: attached when their namespace is there, detached when it goes.

use std::collections::BTreeMap;

use vrouter_api::{Key, WorkloadId};
use vrouter_dataplane::adjacency::Mac;
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::any::AnyDevice;
use vrouter_io::netns::Netns;
use vrouter_io::pod::{self, Pod};
use vrouter_io::tap;

use crate::workers::Workers;
use vrouter_core::desired::Local;
use vrouter_core::interfaces::InterfaceIds;

/// A workload whose TAP is open.
#[derive(Debug)]
pub struct Attached {
    /// Its interface.
    pub id: InterfaceId,
    /// Its MAC.
    pub mac: Mac,
    /// MTU set in the pod.
    pub mtu: u16,
    /// Its namespace.
    pub netns: Netns,
}

/// What is known of a workload of this node.
#[derive(Debug)]
pub struct Endpoint {
    /// What it should be.
    pub local: Local,
    /// Its TAP, when it is open.
    pub attached: Option<Attached>,
    /// Why it is not, in words for an operator.
    pub problem: Option<String>,
}

/// All workloads of this node.
#[derive(Debug, Default)]
pub struct Endpoints {
    by_key: BTreeMap<Key, Endpoint>,
}

impl Endpoints {
    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_key.values()
    }

    /// One of them.
    pub fn find(&self, key: &Key) -> Option<&Endpoint> {
        self.by_key.get(key)
    }

    /// The workload behind an interface.
    pub fn at(&self, id: InterfaceId) -> Option<&Endpoint> {
        self.by_key
            .values()
            .find(|e| e.attached.as_ref().is_some_and(|a| a.id == id))
    }

    /// The workload behind each open interface.
    pub fn attached(&self) -> impl Iterator<Item = (InterfaceId, &Key)> {
        self.by_key
            .iter()
            .filter_map(|(key, e)| e.attached.as_ref().map(|a| (a.id, key)))
    }

    /// Which of them are up.
    pub fn statuses(&self) -> BTreeMap<WorkloadId, bool> {
        let status = |e: &Endpoint| (e.local.id.clone(), e.attached.is_some());
        self.by_key.values().map(status).collect()
    }

    /// Takes what should be there: detaches what went or must be made anew, attaches what came.
    /// Returns the interfaces to close once no tables name them any more.
    pub fn update(
        &mut self,
        wanted: &[Local],
        mtu: u16,
        ids: &mut InterfaceIds,
        workers: &Workers,
    ) -> Vec<InterfaceId> {
        let mut closing = Vec::new();
        self.by_key.retain(|key, endpoint| {
            let stays = wanted.iter().any(|local| local.key == *key);
            if !stays {
                closing.extend(endpoint.attached.take().map(|attached| attached.id));
                tracing::info!(endpoint = %key, "workload removed");
            }
            stays
        });
        for local in wanted {
            let endpoint = self
                .by_key
                .entry(local.key.clone())
                .or_insert_with(|| Endpoint {
                    local: local.clone(),
                    attached: None,
                    problem: None,
                });
            closing.extend(endpoint.become_like(local, mtu));
        }
        self.attach(mtu, ids, workers);
        closing
    }

    /// Attaches what is not attached yet; whether something was.
    pub fn attach(&mut self, mtu: u16, ids: &mut InterfaceIds, workers: &Workers) -> bool {
        let mut any = false;
        for endpoint in self.by_key.values_mut().filter(|e| e.attached.is_none()) {
            any |= endpoint.attach(mtu, ids, workers);
        }
        any
    }

    /// Detaches workloads whose namespace is gone; the interfaces to close.
    pub fn notice_vanished(&mut self) -> Vec<InterfaceId> {
        let mut closing = Vec::new();
        for endpoint in self.by_key.values_mut() {
            if endpoint
                .attached
                .as_ref()
                .is_some_and(|attached| !attached.netns.exists())
            {
                closing.extend(endpoint.detach("its network namespace is gone"));
            }
        }
        closing
    }

    /// Detaches the workload of a device that broke; the interface to close.
    pub fn notice_broken(&mut self, id: InterfaceId, errno: i32) -> Option<InterfaceId> {
        let endpoint = self.by_key.values_mut().find(|e| {
            e.attached
                .as_ref()
                .is_some_and(|attached| attached.id == id)
        })?;
        let error = std::io::Error::from_raw_os_error(errno);
        endpoint.detach(&format!("its TAP cannot be read: {error}"))
    }
}

impl Endpoint {
    /// Takes over a changed resource. What can change in place does; for the rest the TAP is
    /// given up, to be made anew: its interface is returned.
    fn become_like(&mut self, local: &Local, mtu: u16) -> Option<InterfaceId> {
        if self.local == *local && self.attached.as_ref().is_none_or(|a| a.mtu == mtu) {
            return None;
        }
        let remake = self.local.netns != local.netns
            || self.local.device != local.device
            || (local.mac.is_some() && self.attached.as_ref().map(|a| a.mac) != local.mac);
        self.local = local.clone();
        if remake {
            return self.detach("it is being made anew");
        }
        let attached = self.attached.as_mut()?;
        match pod::configure(&attached.netns, &pod_of(&self.local, mtu)) {
            Ok(mac) => {
                attached.mac = mac;
                attached.mtu = mtu;
                self.problem = None;
                None
            }
            Err(error) => self.detach(&error.to_string()),
        }
    }

    fn detach(&mut self, why: &str) -> Option<InterfaceId> {
        let attached = self.attached.take()?;
        tracing::warn!(endpoint = %self.local.key, why, "workload detached");
        self.problem = Some(why.to_owned());
        Some(attached.id)
    }

    fn attach(&mut self, mtu: u16, ids: &mut InterfaceIds, workers: &Workers) -> bool {
        let opened = open(&self.local, mtu, workers.len());
        let (netns, mac, queues) = match opened {
            Ok(opened) => opened,
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(endpoint = %self.local.key, problem, "workload not attached");
                    self.problem = Some(problem);
                }
                return false;
            }
        };
        let Some(id) = ids.take() else {
            self.problem = Some(format!("more than {} interfaces", InterfaceId::LIMIT));
            return false;
        };
        workers.add(id, queues.into_iter().map(AnyDevice::Tap));
        tracing::info!(endpoint = %self.local.key, interface = %self.local.interface, %netns, "workload attached");
        self.attached = Some(Attached {
            id,
            mac,
            mtu,
            netns,
        });
        self.problem = None;
        true
    }
}

fn pod_of(local: &Local, mtu: u16) -> Pod {
    Pod {
        name: local.device.clone(),
        mac: local.mac,
        mtu: u32::from(mtu),
        addresses: local.addresses.clone(),
    }
}

fn open(local: &Local, mtu: u16, queues: usize) -> Result<(Netns, Mac, Vec<tap::Tap>), String> {
    let Some(netns) = &local.netns else {
        return Err("its resource has no annotation vrouter.io/netns".to_owned());
    };
    let netns = Netns::open(netns).map_err(|error| error.to_string())?;
    let taps = tap::open(&netns, &local.device, queues, u32::from(mtu), local.mac)
        .map_err(|error| error.to_string())?;
    let mac = pod::configure(&netns, &pod_of(local, mtu)).map_err(|error| error.to_string())?;
    Ok((netns, mac, taps))
}
