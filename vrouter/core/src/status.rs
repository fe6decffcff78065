//! Where Felix says whether a workload is up.

use vrouter_api::WorkloadEndpoint;

/// Where a workload's status is, below its node's workloads.
pub fn place(endpoint: &WorkloadEndpoint) -> String {
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
        "{}/{}/endpoint/{}",
        escaped(&spec.orchestrator),
        escaped(&workload),
        escaped(&spec.endpoint)
    )
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
            assert_eq!(place(&endpoint(spec)), wanted);
        }
    }
}
