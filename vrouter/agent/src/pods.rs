//! Workloads' TAPs in the namespaces of their pods.

use std::collections::BTreeMap;

use vrouter_api::Key;
use vrouter_core::desired::Local;
use vrouter_dataplane::adjacency::Mac;
use vrouter_io::netns::Netns;
use vrouter_io::pod::{self, Pod};
use vrouter_io::tap::{self, Tap};

/// The namespaces of attached workloads.
#[derive(Debug, Default)]
pub struct Pods {
    attached: BTreeMap<Key, Netns>,
    /// Why workloads are not attached, to log each reason once.
    problems: BTreeMap<Key, String>,
}

impl Pods {
    /// Opens a workload's TAP, a queue for each worker.
    ///
    /// # Errors
    /// Why it is not open, in words for an operator.
    pub fn attach(
        &mut self,
        local: &Local,
        mtu: u16,
        queues: usize,
    ) -> Result<(Mac, Vec<Tap>), String> {
        match open(local, mtu, queues) {
            Ok((netns, mac, taps)) => {
                tracing::info!(endpoint = %local.key, interface = %local.interface, %netns, "workload attached");
                self.attached.insert(local.key.clone(), netns);
                self.problems.remove(&local.key);
                Ok((mac, taps))
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

    /// Brings an open TAP to a changed resource or MTU; its MAC.
    ///
    /// # Errors
    /// The namespace or the TAP is gone, or the kernel refuses a step.
    pub fn configure(&mut self, local: &Local, mtu: u16) -> Result<Mac, String> {
        let netns = self.attached.get(&local.key);
        let netns = netns.ok_or_else(|| "its network namespace is gone".to_owned())?;
        pod::configure(netns, &wanted(local, mtu)).map_err(|error| error.to_string())
    }

    /// Lets go of a workload's namespace.
    pub fn detach(&mut self, key: &Key) {
        if self.attached.remove(key).is_some() {
            tracing::info!(endpoint = %key, "workload detached");
        }
        self.problems.remove(key);
    }

    /// The workloads whose namespace is gone.
    pub fn vanished(&self) -> Vec<Key> {
        let gone = self.attached.iter().filter(|(_, netns)| !netns.exists());
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

fn open(local: &Local, mtu: u16, queues: usize) -> Result<(Netns, Mac, Vec<Tap>), String> {
    let Some(netns) = &local.netns else {
        return Err("its resource has no annotation vrouter.io/netns".to_owned());
    };
    let text = |error: vrouter_io::Error| error.to_string();
    let netns = Netns::open(netns).map_err(text)?;
    let taps = tap::open(&netns, &local.device, queues, u32::from(mtu), local.mac).map_err(text)?;
    let mac = pod::configure(&netns, &wanted(local, mtu)).map_err(text)?;
    Ok((netns, mac, taps))
}
