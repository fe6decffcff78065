//! Cases that are no fault of any single resource, and in which packets are lost in silence: each
//! in a sentence for an operator, with its cure. Pure: resources in, sentences out.

use std::collections::BTreeMap;

use ipnet::IpNet;
use policy::model::Direction;
use vrouter_api::{Key, Kind, WorkloadEndpoint};

use crate::policies::{DEFAULT_ALLOW, Policies, endpoint_key};
use crate::resources::Resources;

/// Names that a sentence lists before it says how many more there are.
const LISTED: usize = 5;

/// The silent cases of `node`. `policies` has compiled the same resources.
pub fn silent_cases(resources: &Resources, policies: &Policies, node: &str) -> Vec<String> {
    let locals: Vec<&WorkloadEndpoint> = resources
        .endpoints()
        .filter(|endpoint| endpoint.spec.node == node)
        .collect();
    let mut cases = Vec::new();
    cases.extend(no_node(resources, node));
    cases.extend(overlapping_pools(resources));
    cases.extend(unknown_profiles(resources, &locals, node));
    cases.extend(shared_devices(&locals));
    cases.extend(locals.iter().filter_map(|endpoint| no_namespace(endpoint)));
    cases.extend(
        locals
            .iter()
            .filter_map(|endpoint| nothing_applies(endpoint, policies)),
    );
    cases
}

/// No `Node` has our name: nothing is known of this node, and no endpoint is on it.
fn no_node(resources: &Resources, node: &str) -> Option<String> {
    if resources.node(node).is_some() {
        return None;
    }
    let names: Vec<&str> = resources
        .nodes()
        .map(|other| other.metadata.name.as_str())
        .collect();
    let others = if names.is_empty() {
        "there is no Node at all".to_owned()
    } else {
        format!("there is {}", list(&names))
    };
    Some(format!(
        "no Node resource {node} describes this node ({others}): create it, or set nodeName"
    ))
}

/// Pools whose addresses overlap. Stores refuse them; files written by hand are not asked.
fn overlapping_pools(resources: &Resources) -> Vec<String> {
    let mut pools: Vec<(IpNet, &str)> = resources
        .pools()
        .map(|pool| (pool.spec.cidr.trunc(), pool.metadata.name.as_str()))
        .collect();
    // A prefix is followed by what lies in it.
    pools.sort();
    let mut around: Vec<(IpNet, &str)> = Vec::new();
    let mut cases = Vec::new();
    for (cidr, name) in pools {
        around.retain(|(wider, _)| wider.contains(&cidr));
        if let Some((wider, other)) = around.last() {
            cases.push(format!(
                "IPPool({name}): spec.cidr {cidr} overlaps with {wider} of IPPool({other}): the longer \
                 one decides how its addresses are reached; change one of them"
            ));
        }
        around.push((cidr, name));
    }
    cases
}

/// Profiles that endpoints of this node name and nobody has defined: they allow nothing.
fn unknown_profiles(
    resources: &Resources,
    locals: &[&WorkloadEndpoint],
    node: &str,
) -> Vec<String> {
    let hosts = resources.host_endpoints();
    let hosts = hosts.filter(|endpoint| endpoint.spec.node == node);
    let hosts = hosts.map(|endpoint| (endpoint.key(), &endpoint.spec.profiles));
    let workloads = locals
        .iter()
        .map(|endpoint| (endpoint.key(), &endpoint.spec.profiles));
    let is_known = |name: &str| {
        name == DEFAULT_ALLOW || resources.find(&Key::global(Kind::Profile, name)).is_some()
    };
    let mut users: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, profiles) in workloads.chain(hosts) {
        for name in profiles.iter().filter(|name| !is_known(name)) {
            users.entry(name).or_default().push(key.to_string());
        }
    }
    let case = |(name, users): (&str, Vec<String>)| {
        format!(
            "no Profile {name} is defined, but {} {} it: it allows nothing; create it, or name \
             {DEFAULT_ALLOW}",
            list(&users),
            if users.len() == 1 { "names" } else { "name" }
        )
    };
    users.into_iter().map(case).collect()
}

/// Endpoints that want the same device of the same namespace: only one gets it.
fn shared_devices(locals: &[&WorkloadEndpoint]) -> Vec<String> {
    let mut users: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for endpoint in locals {
        if let Some(netns) = endpoint.metadata.netns() {
            let netns = netns.rsplit('/').next().unwrap_or(netns);
            let device = (netns, endpoint.spec.endpoint.as_str());
            users
                .entry(device)
                .or_default()
                .push(endpoint.key().to_string());
        }
    }
    let shared = users.into_iter().filter(|(_, users)| users.len() > 1);
    let case = |((netns, device), users): ((&str, &str), Vec<String>)| {
        format!(
            "{} want the same device {device} in the network namespace {netns}: only one of them gets \
             it; change spec.endpoint or the annotation vrouter.io/netns",
            list(&users)
        )
    };
    shared.map(case).collect()
}

/// An endpoint without a namespace: it has no device.
fn no_namespace(endpoint: &WorkloadEndpoint) -> Option<String> {
    endpoint.metadata.netns().is_none().then(|| {
        format!(
            "{}: no annotation vrouter.io/netns names its network namespace: it is not attached",
            endpoint.key()
        )
    })
}

/// An endpoint that nothing allows to speak, because neither a policy nor a profile is there.
fn nothing_applies(endpoint: &WorkloadEndpoint, policies: &Policies) -> Option<String> {
    if !endpoint.spec.profiles.is_empty() {
        return None;
    }
    let key = endpoint_key(&endpoint.key()).ok()?;
    let is_bare = |direction| {
        policies.applied(&key, direction).is_some_and(|applied| {
            let mut policies = applied.tiers.iter().flat_map(|tier| &tier.policies);
            policies.all(|applied| applied.policy.is_staged())
        })
    };
    let lost = match (is_bare(Direction::Ingress), is_bare(Direction::Egress)) {
        (true, true) => {
            "no policy selects it and spec.profiles is empty: all its packets are dropped"
        }
        (true, false) => {
            "no policy for Ingress selects it and spec.profiles is empty: all packets to it are dropped"
        }
        (false, true) => {
            "no policy for Egress selects it and spec.profiles is empty: all packets from it are dropped"
        }
        (false, false) => return None,
    };
    Some(format!(
        "{}: {lost}; name a profile ({DEFAULT_ALLOW} allows everything) or write a policy",
        endpoint.key()
    ))
}

/// The first names, and how many more there are.
fn list(names: &[impl AsRef<str>]) -> String {
    let first: Vec<&str> = names.iter().take(LISTED).map(AsRef::as_ref).collect();
    let more = names.len() - first.len();
    let first = first.join(", ");
    match more {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
";

    fn pod(name: &str, netns: &str, profiles: &str) -> String {
        format!(
            "
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: n1-k8s-{name}-eth0
  namespace: default
  labels: {{app: {name}, projectcalico.org/namespace: default, projectcalico.org/orchestrator: k8s}}
  annotations: {{{netns}}}
spec: {{node: n1, orchestrator: k8s, pod: {name}, endpoint: eth0, ipNetworks: [10.0.0.1/32], profiles: [{profiles}]}}
"
        )
    }

    fn pool(name: &str, cidr: &str) -> String {
        format!(
            "\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}}}\n"
        )
    }

    fn cases(documents: &[String]) -> Vec<String> {
        let parsed = vrouter_api::parse(documents.join("---").as_bytes(), "t.yaml");
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        let (mut resources, mut policies) = (Resources::default(), Policies::new("n1").unwrap());
        for resource in parsed.resources {
            policies.upsert(&resource.value);
            resources.upsert(resource.value);
        }
        policies.compile();
        silent_cases(&resources, &policies, "n1")
    }

    #[track_caller]
    fn only(cases: &[String], parts: &[&str]) {
        assert_eq!(cases.len(), 1, "{cases:?}");
        for part in parts {
            assert!(cases[0].contains(part), "{part:?} is not in {:?}", cases[0]);
        }
    }

    #[test]
    fn a_node_in_order_has_no_case() {
        let documents = [
            NODE.to_owned(),
            pool("a", "10.0.0.0/16"),
            pool("b", "10.1.0.0/16"),
            pool("c", "fd00::/64"),
            pod("a", "vrouter.io/netns: a", DEFAULT_ALLOW),
            pod("b", "vrouter.io/netns: b", DEFAULT_ALLOW),
        ];
        assert_eq!(cases(&documents), Vec::<String>::new());
    }

    #[test]
    fn no_node_of_this_name() {
        only(
            &cases(&[]),
            &["Node resource n1", "no Node at all", "nodeName"],
        );
        let other = NODE.replace("n1", "n2");
        only(&cases(&[other]), &["Node resource n1", "there is n2"]);
    }

    #[test]
    fn pools_that_overlap() {
        let documents = [
            NODE.to_owned(),
            pool("wide", "10.0.0.0/8"),
            pool("inside", "10.1.0.0/16"),
            pool("apart", "11.0.0.0/8"),
        ];
        only(
            &cases(&documents),
            &["IPPool(inside)", "10.0.0.0/8 of IPPool(wide)"],
        );
        let twice = [
            NODE.to_owned(),
            pool("a", "10.0.0.0/8"),
            pool("b", "10.0.0.0/8"),
        ];
        only(&cases(&twice), &["IPPool(b)", "IPPool(a)"]);
    }

    #[test]
    fn a_profile_that_is_not_defined() {
        let documents = [
            NODE.to_owned(),
            pod("a", "vrouter.io/netns: a", "kns.default"),
            pod("b", "vrouter.io/netns: b", "kns.default"),
        ];
        let found = cases(&documents);
        only(
            &found,
            &[
                "no Profile kns.default",
                "n1-k8s-a-eth0",
                "n1-k8s-b-eth0",
                "name it",
            ],
        );
        let profile =
            "\napiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {name: kns.default}\n";
        let mut documents = documents.to_vec();
        documents.push(profile.to_owned());
        assert!(cases(&documents).is_empty());
    }

    #[test]
    fn two_endpoints_of_one_device() {
        let documents = [
            NODE.to_owned(),
            pod("a", "vrouter.io/netns: /run/netns/x", DEFAULT_ALLOW),
            pod("b", "vrouter.io/netns: x", DEFAULT_ALLOW),
        ];
        only(
            &cases(&documents),
            &[
                "n1-k8s-a-eth0",
                "n1-k8s-b-eth0",
                "eth0 in the network namespace x",
            ],
        );
    }

    #[test]
    fn an_endpoint_without_a_namespace() {
        let documents = [NODE.to_owned(), pod("a", "x: y", DEFAULT_ALLOW)];
        only(&cases(&documents), &["n1-k8s-a-eth0", "vrouter.io/netns"]);
    }

    #[test]
    fn an_endpoint_that_nothing_allows() {
        let bare = pod("a", "vrouter.io/netns: a", "");
        let policy = |types: &str, staged: &str| {
            format!(
                "\napiVersion: projectcalico.org/v3\nkind: {staged}GlobalNetworkPolicy\nmetadata: {{name: p}}\nspec: {{selector: app == 'a', types: [{types}]}}\n"
            )
        };
        let with = |policy: String| cases(&[NODE.to_owned(), bare.clone(), policy]);
        only(
            &cases(&[NODE.to_owned(), bare.clone()]),
            &["no policy selects it", "all its packets"],
        );
        only(
            &with(policy("Ingress", "")),
            &["no policy for Egress", "packets from it"],
        );
        only(
            &with(policy("Egress", "")),
            &["no policy for Ingress", "packets to it"],
        );
        assert!(with(policy("Ingress, Egress", "")).is_empty());
        let elsewhere = policy("Ingress, Egress", "").replace("'a'", "'b'");
        only(&with(elsewhere), &["no policy selects it"]);
        only(
            &with(policy("Ingress, Egress", "Staged")),
            &["no policy selects it"],
        );
    }
}
