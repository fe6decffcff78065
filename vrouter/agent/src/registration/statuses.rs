//! Endpoint status: which of this node's workloads are up, where Felix says it.
//!
//! `/calico/felix/v2/<region>/host/<node>/workload/<orchestrator>/<workload>/endpoint/<endpoint>`
//! says `{"status":"up"}` or `"down"`; it goes with the endpoint, and under a lease with the node.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use vrouter_api::WorkloadEndpoint;
use vrouter_datastore::StoreError;

use super::Work;

/// Which endpoints are up: by place, as [`place`] says it. The agent replaces it, the registrar's
/// thread reads it.
pub(super) type Statuses = Arc<ArcSwap<BTreeMap<String, bool>>>;

/// Where an endpoint's status is, below its node's.
pub(crate) fn place(endpoint: &WorkloadEndpoint) -> String {
    let spec = &endpoint.spec;
    let of_orchestrator = match spec.orchestrator.as_str() {
        "k8s" => &spec.pod,
        "cni" => &spec.container_id,
        "libnetwork" => &spec.orchestrator,
        _ => &spec.workload,
    };
    let workload = format!("{}/{of_orchestrator}", endpoint.metadata.namespace);
    let escaped = |text: &str| text.replace('%', "%25").replace('/', "%2f");
    format!(
        "workload/{}/{}/endpoint/{}",
        escaped(&spec.orchestrator),
        escaped(&workload),
        escaped(&spec.endpoint)
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

impl Work {
    /// Brings the statuses in etcd to what the agent said last.
    pub(super) fn endpoints(&mut self) -> Result<(), StoreError> {
        let Some(etcd) = self.etcd.clone() else {
            return Ok(());
        };
        let wanted = self.statuses.load_full();
        // A turn has made a lease before: without one, nobody has seen etcd yet.
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        for (place, up) in changes(&self.written, &wanted) {
            let path = self.path(&place);
            match up {
                Some(up) => {
                    let status = if up { "up" } else { "down" };
                    let value = serde_json::json!({ "status": status }).to_string();
                    etcd.put_under(lease, &path, &value)?;
                    self.written.insert(place, up);
                }
                None => {
                    etcd.delete_raw(&path)?;
                    self.written.remove(&place);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vrouter_api::{Resource, parse};

    use super::*;

    fn endpoint(spec: &str) -> WorkloadEndpoint {
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\n\
             metadata: {{namespace: ns}}\nspec: {{node: n1, endpoint: eth0, {spec}}}\n"
        );
        let parsed = parse(text.as_bytes(), "test");
        assert_eq!(parsed.errors, []);
        match parsed.resources.into_iter().next().map(|it| it.value) {
            Some(Resource::WorkloadEndpoint(endpoint)) => endpoint,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_are_calicos() {
        for (spec, wanted) in [
            (
                "orchestrator: k8s, pod: web-1",
                "workload/k8s/ns%2fweb-1/endpoint/eth0",
            ),
            (
                "orchestrator: cni, containerID: c0ffee",
                "workload/cni/ns%2fc0ffee/endpoint/eth0",
            ),
            (
                "orchestrator: openstack, workload: vm",
                "workload/openstack/ns%2fvm/endpoint/eth0",
            ),
        ] {
            assert_eq!(place(&endpoint(spec)), wanted);
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
}
