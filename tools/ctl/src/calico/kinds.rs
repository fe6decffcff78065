//! The kinds as users of calicoctl call them.

use vrouter_api::{Kind, similar};

use crate::failure::Failure;

/// Every name of every kind, in lower case; the first is what `label` prints.
const NAMES: &[(Kind, &[&str])] = &[
    (
        Kind::BgpConfiguration,
        &[
            "bgpconfiguration",
            "bgpconfigurations",
            "bgpconfig",
            "bgpconfigs",
        ],
    ),
    (
        Kind::BgpFilter,
        &["bgpfilter", "bgpfilters", "bgpf", "bgpfs", "bf", "bfs"],
    ),
    (
        Kind::BgpPeer,
        &["bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"],
    ),
    (
        Kind::BlockAffinity,
        &["blockaffinity", "blockaffinities", "affinity", "affinities"],
    ),
    (
        Kind::ClusterInformation,
        &[
            "clusterinformation",
            "clusterinformations",
            "clusterinfo",
            "clusterinfos",
        ],
    ),
    (
        Kind::FelixConfiguration,
        &[
            "felixconfiguration",
            "felixconfigurations",
            "felixconfig",
            "felixconfigs",
        ],
    ),
    (
        Kind::GlobalNetworkPolicy,
        &[
            "globalnetworkpolicy",
            "globalnetworkpolicies",
            "gnp",
            "gnps",
        ],
    ),
    (
        Kind::GlobalNetworkSet,
        &["globalnetworkset", "globalnetworksets", "gnetsets"],
    ),
    (
        Kind::HostEndpoint,
        &["hostendpoint", "hostendpoints", "hep", "heps"],
    ),
    (Kind::IpamBlock, &["ipamblock", "ipamblocks"]),
    (Kind::IpamHandle, &["ipamhandle", "ipamhandles"]),
    (
        Kind::IpamConfiguration,
        &[
            "ipamconfiguration",
            "ipamconfigurations",
            "ipamconfig",
            "ipamconfigs",
        ],
    ),
    (
        Kind::IpPool,
        &["ippool", "ippools", "ipp", "ipps", "pool", "pools"],
    ),
    (
        Kind::IpReservation,
        &[
            "ipreservation",
            "ipreservations",
            "reservation",
            "reservations",
        ],
    ),
    (
        Kind::KubeControllersConfiguration,
        &[
            "kubecontrollersconfiguration",
            "kubecontrollersconfigurations",
            "kubecontrollersconfig",
            "kubecontrollersconfigs",
        ],
    ),
    (
        Kind::KubernetesNetworkPolicy,
        &[
            "kubernetesnetworkpolicy",
            "kubernetesnetworkpolicies",
            "knp",
            "knps",
        ],
    ),
    (
        Kind::NetworkPolicy,
        &[
            "networkpolicy",
            "networkpolicies",
            "policy",
            "np",
            "policies",
            "pol",
            "pols",
        ],
    ),
    (Kind::NetworkSet, &["networkset", "networksets", "netsets"]),
    (Kind::Node, &["node", "nodes", "no", "nos"]),
    (
        Kind::CalicoNodeStatus,
        &[
            "caliconodestatus",
            "caliconodestatuses",
            "nodestatus",
            "nodestatuses",
        ],
    ),
    (Kind::Profile, &["profile", "profiles", "pro", "pros"]),
    (
        Kind::StagedGlobalNetworkPolicy,
        &[
            "stagedglobalnetworkpolicy",
            "stagedglobalnetworkpolicies",
            "sgnp",
            "sgnps",
        ],
    ),
    (
        Kind::StagedKubernetesNetworkPolicy,
        &[
            "stagedkubernetesnetworkpolicy",
            "stagedkubernetesnetworkpolicies",
            "stagedkubernetespolicy",
            "sknp",
            "stagedkubernetespolicies",
            "skpol",
            "skpols",
        ],
    ),
    (
        Kind::StagedNetworkPolicy,
        &[
            "stagednetworkpolicy",
            "stagednetworkpolicies",
            "stagedpolicy",
            "snp",
            "stagedpolicies",
            "spol",
            "spols",
        ],
    ),
    (Kind::Secret, &["secret", "secrets"]),
    (Kind::Service, &["service", "services", "svc"]),
    (Kind::EndpointSlice, &["endpointslice", "endpointslices"]),
    (Kind::Tier, &["tier", "tiers"]),
    (
        Kind::WorkloadEndpoint,
        &["workloadendpoint", "workloadendpoints", "wep", "weps"],
    ),
];

/// The names that shells offer: the plurals, of each kind one.
pub(crate) fn offered() -> impl Iterator<Item = &'static str> {
    NAMES.iter().filter_map(|(_, names)| names.get(1).copied())
}

/// The kind of that name.
pub(crate) fn find(name: &str) -> Result<Kind, Failure> {
    let lower = name.to_ascii_lowercase();
    let found = NAMES
        .iter()
        .find(|(_, names)| names.contains(&lower.as_str()));
    match found {
        Some((kind, _)) => Ok(*kind),
        None => {
            let all = NAMES.iter().flat_map(|(_, names)| names.iter().copied());
            let meant = similar(&lower, all).map(|meant| format!("; did you mean '{meant}'?"));
            Err(Failure::Calico(format!(
                "resource type '{name}' is not supported{}",
                meant.unwrap_or_default()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_names_and_no_two_share_one() {
        let mut seen = std::collections::HashSet::new();
        for (kind, names) in NAMES {
            for name in *names {
                assert!(seen.insert(*name), "{name}");
                assert_eq!(find(&name.to_uppercase()).unwrap(), *kind);
            }
        }
        for kind in Kind::ALL {
            assert!(NAMES.iter().any(|(of, _)| of == kind), "{kind}");
        }
        assert!(find("pod").is_err());
    }
}
