//! The columns calicoctl shows of each kind.

use serde_json::Value;
use vrouter_api::Kind;

use super::go;

/// Where a column's text comes from in a resource's JSON.
enum From {
    /// A field.
    Field(&'static str),
    /// A field, or this where it is missing.
    Or(&'static str, &'static str),
    /// The items of a list, joined.
    List(&'static str),
    /// The same, cut to 80 characters.
    Shortened(&'static str),
    /// A number that Go has as a float, `<nil>` where it is missing.
    Order(&'static str),
    /// How many items a list has.
    Count(&'static str),
    /// The pairs of a map, joined.
    Map(&'static str),
    /// What needs more than one look.
    Made(fn(&Value, &Cluster) -> String),
}

/// What columns need to know of the cluster.
#[derive(Default)]
pub(super) struct Cluster {
    /// The AS number of nodes that have none of their own.
    pub(super) as_number: Option<String>,
}

type Column = (&'static str, From);

const NAME: Column = ("NAME", From::Field("/metadata/name"));

/// All columns of a kind, and how many of which are shown: names by `ps`, names by `wide`.
struct Shown {
    columns: &'static [Column],
    ps: &'static [&'static str],
    wide: &'static [&'static str],
}

const POLICY: Shown = Shown {
    columns: &[
        NAME,
        ("TIER", From::Or("/spec/tier", "default")),
        ("ORDER", From::Order("/spec/order")),
        ("SELECTOR", From::Field("/spec/selector")),
    ],
    ps: &["NAME", "TIER"],
    wide: &["NAME", "TIER", "ORDER", "SELECTOR"],
};

const NETS: Shown = Shown {
    columns: &[NAME, ("NETS", From::Shortened("/spec/nets"))],
    ps: &["NAME"],
    wide: &["NAME", "NETS"],
};

const NAMES: Shown = Shown {
    columns: &[NAME],
    ps: &["NAME"],
    wide: &["NAME"],
};

fn shown(kind: Kind) -> &'static Shown {
    match kind {
        Kind::NetworkPolicy
        | Kind::GlobalNetworkPolicy
        | Kind::StagedNetworkPolicy
        | Kind::StagedGlobalNetworkPolicy => &POLICY,
        Kind::NetworkSet | Kind::GlobalNetworkSet => &NETS,
        Kind::FelixConfiguration
        | Kind::KubeControllersConfiguration
        | Kind::IpamBlock
        | Kind::IpamHandle => &NAMES,
        Kind::BgpConfiguration => &Shown {
            columns: &[
                NAME,
                ("LOGSEVERITY", From::Or("/spec/logSeverityScreen", "-")),
                ("MESHENABLED", From::Or("/spec/nodeToNodeMeshEnabled", "-")),
                ("ASNUMBER", From::Or("/spec/asNumber", "-")),
            ],
            ps: &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"],
            wide: &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"],
        },
        Kind::BgpFilter => &Shown {
            columns: &[
                NAME,
                ("NUMEXPORTV4", From::Count("/spec/exportV4")),
                ("NUMIMPORTV4", From::Count("/spec/importV4")),
                ("NUMEXPORTV6", From::Count("/spec/exportV6")),
                ("NUMIMPORTV6", From::Count("/spec/importV6")),
            ],
            ps: &[
                "NAME",
                "NUMEXPORTV4",
                "NUMIMPORTV4",
                "NUMEXPORTV6",
                "NUMIMPORTV6",
            ],
            wide: &[
                "NAME",
                "NUMEXPORTV4",
                "NUMIMPORTV4",
                "NUMEXPORTV6",
                "NUMIMPORTV6",
            ],
        },
        Kind::BgpPeer => &Shown {
            columns: &[
                NAME,
                ("PEERIP", From::Field("/spec/peerIP")),
                ("NODE", From::Made(peer_node)),
                ("ASN", From::Or("/spec/asNumber", "0")),
            ],
            ps: &["NAME", "PEERIP", "NODE", "ASN"],
            wide: &["NAME", "PEERIP", "NODE", "ASN"],
        },
        Kind::BlockAffinity => &Shown {
            columns: &[
                NAME,
                ("CIDR", From::Field("/spec/cidr")),
                ("NODE", From::Field("/spec/node")),
                ("STATE", From::Field("/spec/state")),
            ],
            ps: &["NAME", "CIDR", "NODE"],
            wide: &["NAME", "CIDR", "NODE", "STATE"],
        },
        Kind::ClusterInformation => &Shown {
            columns: &[
                NAME,
                ("CLUSTERGUID", From::Field("/spec/clusterGUID")),
                ("CLUSTERTYPE", From::Field("/spec/clusterType")),
                ("CALICOVERSION", From::Field("/spec/calicoVersion")),
                ("DATASTOREREADY", From::Field("/spec/datastoreReady")),
            ],
            ps: &[
                "NAME",
                "CLUSTERGUID",
                "CLUSTERTYPE",
                "CALICOVERSION",
                "DATASTOREREADY",
            ],
            wide: &[
                "NAME",
                "CLUSTERGUID",
                "CLUSTERTYPE",
                "CALICOVERSION",
                "DATASTOREREADY",
            ],
        },
        Kind::HostEndpoint => &Shown {
            columns: &[
                NAME,
                ("NODE", From::Field("/spec/node")),
                ("INTERFACE", From::Field("/spec/interfaceName")),
                ("IPS", From::List("/spec/expectedIPs")),
                ("PROFILES", From::List("/spec/profiles")),
            ],
            ps: &["NAME", "NODE"],
            wide: &["NAME", "NODE", "INTERFACE", "IPS", "PROFILES"],
        },
        Kind::IpamConfiguration => &Shown {
            columns: &[
                NAME,
                ("STRICTAFFINITY", From::Or("/spec/strictAffinity", "false")),
                (
                    "AUTOALLOCATEBLOCKS",
                    From::Or("/spec/autoAllocateBlocks", "true"),
                ),
                ("MAXBLOCKSPERHOST", From::Or("/spec/maxBlocksPerHost", "0")),
            ],
            ps: &["NAME", "STRICTAFFINITY", "AUTOALLOCATEBLOCKS"],
            wide: &[
                "NAME",
                "STRICTAFFINITY",
                "AUTOALLOCATEBLOCKS",
                "MAXBLOCKSPERHOST",
            ],
        },
        Kind::IpPool => &Shown {
            columns: &[
                NAME,
                ("CIDR", From::Field("/spec/cidr")),
                ("NAT", From::Or("/spec/natOutgoing", "false")),
                ("IPIPMODE", From::Field("/spec/ipipMode")),
                ("VXLANMODE", From::Field("/spec/vxlanMode")),
                ("DISABLED", From::Or("/spec/disabled", "false")),
                (
                    "DISABLEBGPEXPORT",
                    From::Or("/spec/disableBGPExport", "false"),
                ),
                ("SELECTOR", From::Field("/spec/nodeSelector")),
                ("ASSIGNMENTMODE", From::Field("/spec/assignmentMode")),
            ],
            ps: &["NAME", "CIDR", "SELECTOR"],
            wide: &[
                "NAME",
                "CIDR",
                "NAT",
                "IPIPMODE",
                "VXLANMODE",
                "DISABLED",
                "DISABLEBGPEXPORT",
                "SELECTOR",
                "ASSIGNMENTMODE",
            ],
        },
        Kind::IpReservation => &Shown {
            columns: &[NAME, ("CIDRS", From::Shortened("/spec/reservedCIDRs"))],
            ps: &["NAME"],
            wide: &["NAME", "CIDRS"],
        },
        Kind::Node => &Shown {
            columns: &[
                NAME,
                ("ASN", From::Made(node_as)),
                ("IPV4", From::Field("/spec/bgp/ipv4Address")),
                ("IPV6", From::Field("/spec/bgp/ipv6Address")),
            ],
            ps: &["NAME"],
            wide: &["NAME", "ASN", "IPV4", "IPV6"],
        },
        Kind::CalicoNodeStatus => &Shown {
            columns: &[
                NAME,
                ("NODE", From::Field("/spec/node")),
                ("CLASSES", From::List("/spec/classes")),
            ],
            ps: &["NAME", "NODE"],
            wide: &["NAME", "NODE", "CLASSES"],
        },
        Kind::Profile => &Shown {
            columns: &[NAME, ("LABELS", From::Map("/spec/labelsToApply"))],
            ps: &["NAME"],
            wide: &["NAME", "LABELS"],
        },
        Kind::StagedKubernetesNetworkPolicy | Kind::KubernetesNetworkPolicy => &Shown {
            columns: &[
                NAME,
                ("PODSELECTOR", From::Map("/spec/podSelector/matchLabels")),
            ],
            ps: &["NAME"],
            wide: &["NAME", "PODSELECTOR"],
        },
        Kind::Service => &Shown {
            columns: &[
                NAME,
                ("TYPE", From::Field("/spec/type")),
                ("CLUSTERIPS", From::List("/spec/clusterIPs")),
                ("EXTERNALIPS", From::List("/spec/externalIPs")),
            ],
            ps: &["NAME"],
            wide: &["NAME", "TYPE", "CLUSTERIPS", "EXTERNALIPS"],
        },
        Kind::EndpointSlice => &Shown {
            columns: &[NAME, ("ADDRESSTYPE", From::Field("/addressType"))],
            ps: &["NAME"],
            wide: &["NAME", "ADDRESSTYPE"],
        },
        // Its values are shown to nobody who did not ask for them.
        Kind::Secret => &Shown {
            columns: &[NAME],
            ps: &["NAME"],
            wide: &["NAME"],
        },
        Kind::Tier => &Shown {
            columns: &[NAME, ("ORDER", From::Order("/spec/order"))],
            ps: &["NAME", "ORDER"],
            wide: &["NAME", "ORDER"],
        },
        Kind::WorkloadEndpoint => &Shown {
            columns: &[
                NAME,
                ("WORKLOAD", From::Made(workload)),
                ("NODE", From::Field("/spec/node")),
                ("NETWORKS", From::List("/spec/ipNetworks")),
                ("INTERFACE", From::Field("/spec/interfaceName")),
                ("PROFILES", From::List("/spec/profiles")),
                ("NATS", From::Made(nats)),
            ],
            ps: &["WORKLOAD", "NODE", "NETWORKS", "INTERFACE"],
            wide: &[
                "NAME",
                "WORKLOAD",
                "NODE",
                "NETWORKS",
                "INTERFACE",
                "PROFILES",
                "NATS",
            ],
        },
    }
}

/// The columns of `ps` or `wide`.
pub(super) fn names(kind: Kind, wide: bool) -> Vec<String> {
    let shown = shown(kind);
    let names = if wide { shown.wide } else { shown.ps };
    names.iter().map(ToString::to_string).collect()
}

/// The text of one column; `None` when the kind has no such column.
pub(super) fn cell(
    kind: Kind,
    column: &str,
    resource: &Value,
    cluster: &Cluster,
) -> Option<String> {
    if column == "NAMESPACE" && kind.namespaced() {
        return Some(field(resource, "/metadata/namespace").unwrap_or_default());
    }
    let (_, from) = shown(kind)
        .columns
        .iter()
        .find(|(name, _)| *name == column)?;
    let list = |path: &str| resource.pointer(path).and_then(Value::as_array);
    let joined = |path: &str| {
        let texts = list(path).map(|items| items.iter().map(go::text).collect::<Vec<_>>());
        texts.unwrap_or_default().join(",")
    };
    Some(match from {
        From::Field(path) => field(resource, path).unwrap_or_default(),
        From::Or(path, other) => field(resource, path).unwrap_or_else(|| (*other).to_owned()),
        From::List(path) => joined(path),
        From::Order(path) => match resource.pointer(path).and_then(Value::as_f64) {
            Some(order) => go::float(order),
            None => "<nil>".to_owned(),
        },
        From::Shortened(path) => go::shortened(joined(path)),
        From::Count(path) => list(path).map_or(0, Vec::len).to_string(),
        From::Map(path) => {
            let pairs = resource.pointer(path).and_then(Value::as_object);
            let pairs = pairs.into_iter().flatten();
            let pairs: Vec<String> = pairs
                .map(|(name, value)| format!("{name}={}", go::text(value)))
                .collect();
            pairs.join(",")
        }
        From::Made(made) => made(resource, cluster),
    })
}

fn field(resource: &Value, path: &str) -> Option<String> {
    resource
        .pointer(path)
        .filter(|it| !it.is_null())
        .map(go::text)
}

fn peer_node(resource: &Value, _: &Cluster) -> String {
    let named = ["/spec/node", "/spec/nodeSelector"];
    let named = named.iter().find_map(|path| field(resource, path));
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "(global)".to_owned())
}

/// A number in parentheses is the cluster's.
fn node_as(resource: &Value, cluster: &Cluster) -> String {
    if resource.pointer("/spec/bgp").is_none() {
        return String::new();
    }
    field(resource, "/spec/bgp/asNumber")
        .unwrap_or_else(|| format!("({})", cluster.as_number.as_deref().unwrap_or("64512")))
}

fn workload(resource: &Value, _: &Cluster) -> String {
    let path = match field(resource, "/spec/orchestrator").as_deref() {
        Some("k8s") => "/spec/pod",
        _ => "/spec/workload",
    };
    field(resource, path).unwrap_or_default()
}

fn nats(resource: &Value, _: &Cluster) -> String {
    let nats = resource.pointer("/spec/ipNATs").and_then(Value::as_array);
    let addresses = nats.into_iter().flatten();
    let addresses: Vec<String> = addresses
        .filter_map(|nat| field(nat, "/externalIP"))
        .collect();
    addresses.join(",")
}
