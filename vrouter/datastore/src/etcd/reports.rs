//! A node's reports, where Felix has them: that it lives, and which of its endpoints are up.
//!
//! `/calico/felix/v2/<region>/host/<node>/workload/<orchestrator>/<workload>/endpoint/<endpoint>`
//! says `{"status":"up"}` or `"down"`, and of a host endpoint `/calico/felix/v1/host/<node>/endpoint/<name>`,
//! which has never had a region. Each goes with its endpoint, and under a lease with the node.

use std::collections::BTreeMap;
use std::time::Duration;

use vrouter_api::WorkloadId;

use super::{EtcdStore, Lease};
use crate::error::StoreError;
use crate::report::{EndpointStatuses, NodeReports};
use crate::store::stamp;

/// One node's reports.
pub(super) struct Reports {
    store: EtcdStore,
    node: String,
    lease: Option<Lease>,
    /// Whether this process reported before.
    reported: bool,
    /// Statuses that are in etcd under the lease, by path.
    written: BTreeMap<String, bool>,
    /// Whether what others left in their place is gone.
    swept: bool,
}

impl Reports {
    pub(super) fn new(store: EtcdStore, node: &str) -> Reports {
        Reports {
            store,
            node: node.to_owned(),
            lease: None,
            reported: false,
            written: BTreeMap::new(),
            swept: false,
        }
    }

    /// The path of something that Felix says of this node.
    fn path(&self, end: &str) -> String {
        format!("/calico/felix/v2/no-region/host/{}/{end}", self.node)
    }
}

impl NodeReports for Reports {
    fn alive(&mut self, uptime: Duration, lasts: Duration) -> Result<(), StoreError> {
        let value = serde_json::json!({
            "time": stamp::now(),
            "uptime": uptime.as_secs_f64(),
            "first_update": !self.reported,
        });
        let value = value.to_string();
        let (status, last) = (self.path("status"), self.path("last_reported_status"));
        if self.store.renew(&mut self.lease, lasts)? {
            // What was written under the lease before went with it.
            self.written.clear();
            self.swept = false;
        }
        if let Some(lease) = &self.lease {
            self.store.put_under(lease, &status, &value)?;
        }
        self.store.put_raw(&last, &value)?;
        self.reported = true;
        Ok(())
    }

    fn endpoints(&mut self, statuses: Option<&EndpointStatuses>) -> Result<(), StoreError> {
        // Without a lease nobody has seen etcd yet.
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let wanted = statuses.map_or_else(BTreeMap::new, |it| paths(it, &self.node));
        if statuses.is_some() && !self.swept {
            // Felix has no lease: what it left here would stay for ever.
            for prefix in prefixes(&self.node) {
                for path in self.store.paths_below(&prefix)? {
                    if !wanted.contains_key(&path) {
                        self.store.delete_raw(&path)?;
                    }
                }
            }
            self.swept = true;
        }
        for (path, up) in changes(&self.written, &wanted) {
            match up {
                Some(up) => {
                    let status = if up { "up" } else { "down" };
                    let value = serde_json::json!({ "status": status }).to_string();
                    self.store.put_under(lease, &path, &value)?;
                    self.written.insert(path, up);
                }
                None => {
                    self.store.delete_raw(&path)?;
                    self.written.remove(&path);
                }
            }
        }
        Ok(())
    }
}

/// Below which paths a node's are: workloads' and host endpoints'.
fn prefixes(node: &str) -> [String; 2] {
    [
        format!("/calico/felix/v2/no-region/host/{node}/workload/"),
        format!("/calico/felix/v1/host/{node}/endpoint/"),
    ]
}

/// What is to be written, by path.
fn paths(statuses: &EndpointStatuses, node: &str) -> BTreeMap<String, bool> {
    let [workloads, hosts] = prefixes(node);
    let each = statuses.workloads.iter();
    let workloads = each.map(|(id, up)| (format!("{workloads}{}", below(id)), *up));
    let each = statuses.hosts.iter();
    let hosts = each.map(|(name, up)| (format!("{hosts}{name}"), *up));
    workloads.chain(hosts).collect()
}

/// Where a workload's status is, below its node's workloads.
fn below(id: &WorkloadId) -> String {
    let escaped = |text: &str| text.replace('%', "%25").replace('/', "%2f");
    format!(
        "{}/{}/endpoint/{}",
        escaped(&id.orchestrator),
        escaped(&id.workload),
        escaped(&id.endpoint)
    )
}

/// What has to be written for `wanted` where `written` is.
fn changes(
    written: &BTreeMap<String, bool>,
    wanted: &BTreeMap<String, bool>,
) -> Vec<(String, Option<bool>)> {
    let gone = written.keys().filter(|place| !wanted.contains_key(*place));
    let gone = gone.map(|place| (place.clone(), None));
    let other = wanted
        .iter()
        .filter(|(place, up)| written.get(*place) != Some(up));
    let other = other.map(|(place, up)| (place.clone(), Some(*up)));
    gone.chain(other).collect()
}

#[cfg(test)]
mod tests {
    use vrouter_api::{Resource, parse};

    use super::*;

    fn id(spec: &str) -> WorkloadId {
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\n\
             metadata: {{namespace: ns}}\nspec: {{node: n1, endpoint: eth0, {spec}}}\n"
        );
        let parsed = parse(text.as_bytes(), "test");
        assert_eq!(parsed.errors, []);
        match parsed.resources.into_iter().next().map(|it| it.value) {
            Some(Resource::WorkloadEndpoint(endpoint)) => WorkloadId::of(&endpoint),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_are_calicos() {
        for (spec, wanted) in [
            (
                "orchestrator: k8s, pod: web-1",
                "k8s/ns%2fweb-1/endpoint/eth0",
            ),
            (
                "orchestrator: cni, containerID: c0ffee",
                "cni/ns%2fc0ffee/endpoint/eth0",
            ),
            (
                "orchestrator: openstack, workload: vm",
                "openstack/ns%2fvm/endpoint/eth0",
            ),
        ] {
            assert_eq!(below(&id(spec)), wanted);
        }
    }

    #[test]
    fn only_what_changed_is_written() {
        let map = |pairs: &[(&str, bool)]| -> BTreeMap<String, bool> {
            let owned = pairs.iter().map(|(place, up)| ((*place).to_owned(), *up));
            owned.collect()
        };
        let written = map(&[("a", true), ("b", true), ("c", false)]);
        let wanted = map(&[("b", true), ("c", true), ("d", false)]);
        let change = |place: &str, up| (place.to_owned(), up);
        assert_eq!(
            changes(&written, &wanted),
            [
                change("a", None),
                change("c", Some(true)),
                change("d", Some(false))
            ]
        );
        assert_eq!(changes(&wanted, &wanted), []);
    }

    #[test]
    fn paths_are_calicos() {
        let statuses = EndpointStatuses {
            workloads: BTreeMap::from([(id("orchestrator: k8s, pod: web-1"), true)]),
            hosts: BTreeMap::from([("uplink".to_owned(), false)]),
        };
        let paths: Vec<(String, bool)> = paths(&statuses, "n1").into_iter().collect();
        let path = |path: &str, up| (path.to_owned(), up);
        assert_eq!(
            paths,
            [
                path("/calico/felix/v1/host/n1/endpoint/uplink", false),
                path(
                    "/calico/felix/v2/no-region/host/n1/workload/k8s/ns%2fweb-1/endpoint/eth0",
                    true
                ),
            ]
        );
    }
}
