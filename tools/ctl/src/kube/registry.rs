//! Where Kubernetes' API server keeps what: `/registry/<resource>/<namespace>/<name>`.

/// A resource that has a name of its own here.
struct Place {
    /// Plural, singular and kubectl's short name.
    names: &'static [&'static str],
    /// Where it is under the prefix.
    path: &'static str,
    namespaced: bool,
}

/// For historical reasons not every path is the resource's name.
const PLACES: &[Place] = &[
    place(&["namespaces", "namespace", "ns"], "namespaces", false),
    place(&["pods", "pod", "po"], "pods", true),
    place(&["nodes", "node", "no"], "minions", false),
    place(&["services", "service", "svc"], "services/specs", true),
    place(&["endpoints", "endpoint", "ep"], "services/endpoints", true),
    place(&["endpointslices", "endpointslice"], "endpointslices", true),
    place(
        &["networkpolicies", "networkpolicy", "netpol"],
        "networkpolicies",
        true,
    ),
    place(
        &["serviceaccounts", "serviceaccount", "sa"],
        "serviceaccounts",
        true,
    ),
];

const fn place(names: &'static [&'static str], path: &'static str, namespaced: bool) -> Place {
    Place {
        names,
        path,
        namespaced,
    }
}

fn find(resource: &str) -> Option<&'static Place> {
    let resource = resource.to_ascii_lowercase();
    PLACES
        .iter()
        .find(|place| place.names.contains(&resource.as_str()))
}

/// The prefix of the keys of a resource, ending in a slash. A resource that is not known by name
/// is `<plural>` of Kubernetes' own, or `<plural>.<group>` of a custom one.
pub(crate) fn prefix(root: &str, resource: &str, namespace: Option<&str>) -> String {
    let root = root.trim_end_matches('/');
    let (path, namespaced) = match find(resource) {
        Some(place) => (place.path.to_owned(), place.namespaced),
        None => match resource.split_once('.') {
            Some((plural, group)) => (format!("{group}/{plural}"), true),
            None => (resource.to_owned(), true),
        },
    };
    match namespace.filter(|_| namespaced) {
        Some(namespace) => format!("{root}/{path}/{namespace}/"),
        None => format!("{root}/{path}/"),
    }
}

/// The keys one object may have: of a custom resource it is not known whether it is namespaced.
pub(crate) fn keys(root: &str, resource: &str, namespace: &str, name: &str) -> Vec<String> {
    let namespaced = format!("{}{name}", prefix(root, resource, Some(namespace)));
    let cluster = format!("{}{name}", prefix(root, resource, None));
    match find(resource) {
        Some(_) => vec![namespaced],
        None => vec![namespaced, cluster],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_server() {
        let all = |resource| prefix("/registry", resource, None);
        assert_eq!(all("nodes"), "/registry/minions/");
        assert_eq!(all("svc"), "/registry/services/specs/");
        assert_eq!(
            prefix("/registry/", "Pod", Some("kube-system")),
            "/registry/pods/kube-system/"
        );
        assert_eq!(
            prefix("/registry", "no", Some("default")),
            "/registry/minions/"
        );
        assert_eq!(
            all("ippools.crd.projectcalico.org"),
            "/registry/crd.projectcalico.org/ippools/"
        );
        assert_eq!(
            keys("/registry", "configmaps", "default", "a"),
            ["/registry/configmaps/default/a", "/registry/configmaps/a"]
        );
    }
}
