//! Endpoint status: which of this node's endpoints are up, where Felix says it, and when: while
//! `endpointReportingEnabled`.
//!
//! `/calico/felix/v2/<region>/host/<node>/workload/<orchestrator>/<workload>/endpoint/<endpoint>`
//! says `{"status":"up"}` or `"down"`, and of a host endpoint `/calico/felix/v1/host/<node>/endpoint/<name>`,
//! which has never had a region. Each goes with its endpoint, and under a lease with the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use vrouter_datastore::StoreError;

use super::Work;

/// Which endpoints are up. The agent replaces it, the registrar's thread reads it.
pub(super) type Said = Arc<ArcSwap<Statuses>>;

/// Which endpoints of a node are up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Statuses {
    /// How long a change waits for others; `None`: nothing is to be written.
    pub(crate) delay: Option<Duration>,
    /// Workloads, by place, as [`vrouter_core::status::place`] says it.
    pub(crate) workloads: BTreeMap<String, bool>,
    /// Host endpoints, by name.
    pub(crate) hosts: BTreeMap<String, bool>,
}

impl Statuses {
    /// What is to be written, by path.
    fn paths(&self, node: &str) -> BTreeMap<String, bool> {
        if self.delay.is_none() {
            return BTreeMap::new();
        }
        let [workloads, hosts] = prefixes(node);
        let under = |prefix: String, map: &BTreeMap<String, bool>| -> Vec<(String, bool)> {
            let each = map.iter();
            each.map(|(end, up)| (format!("{prefix}{end}"), *up))
                .collect()
        };
        let mut all = under(workloads, &self.workloads);
        all.extend(under(hosts, &self.hosts));
        all.into_iter().collect()
    }
}

/// Below which paths a node's are: workloads' and host endpoints'.
fn prefixes(node: &str) -> [String; 2] {
    [
        format!("/calico/felix/v2/no-region/host/{node}/workload/"),
        format!("/calico/felix/v1/host/{node}/endpoint/"),
    ]
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

impl Work {
    /// Brings the statuses in etcd to what the agent said last.
    pub(super) fn endpoints(&mut self) -> Result<(), StoreError> {
        let Some(etcd) = self.etcd.clone() else {
            return Ok(());
        };
        let said = self.said.load_full();
        let wanted = said.paths(&self.node);
        // A turn has made a lease before: without one, nobody has seen etcd yet.
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        if said.delay.is_some() && !self.swept {
            // Felix has no lease: what it left here would stay for ever.
            for prefix in prefixes(&self.node) {
                for path in etcd.paths_below(&prefix)? {
                    if !wanted.contains_key(&path) {
                        etcd.delete_raw(&path)?;
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
                    etcd.put_under(lease, &path, &value)?;
                    self.written.insert(path, up);
                }
                None => {
                    etcd.delete_raw(&path)?;
                    self.written.remove(&path);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn paths_are_calicos_and_nothing_unless_enabled() {
        let one = |name: &str, up| BTreeMap::from([(name.to_owned(), up)]);
        let mut statuses = Statuses {
            delay: Some(Duration::from_secs(1)),
            workloads: one("k8s/ns%2fweb-1/endpoint/eth0", true),
            hosts: one("uplink", false),
        };
        let paths: Vec<(String, bool)> = statuses.paths("n1").into_iter().collect();
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
        statuses.delay = None;
        assert_eq!(statuses.paths("n1"), BTreeMap::new());
    }
}
