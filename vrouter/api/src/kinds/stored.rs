//! Kinds that are stored and not acted on: what can be wrong with their fields is found all the
//! same, field by field.
//!
//! A table says what each field must look like. A field that is in no table is kept and noticed:
//! a newer Calico may have it.

use std::net::IpAddr;

use crate::key::Kind;
use crate::kinds::node::as_number_of;
use crate::kinds::rule::selector;
use crate::metadata::Metadata;
use crate::names::check_subdomain;
use crate::place::{Fields, Place};

/// What a field must look like.
enum Shape {
    /// Whatever: deeper than anybody looks here.
    Any,
    Text,
    Boolean,
    Integer(u64, u64),
    Choice(&'static [&'static str]),
    Cidr,
    Address,
    /// An address, perhaps with a port.
    Peer,
    AsNumber,
    Selector,
    Name,
    /// `120s`, `1h30m`.
    Duration,
    List(&'static Shape),
    Fields(&'static [(&'static str, Shape)]),
}

use Shape::{
    Address, Any, AsNumber, Boolean, Choice, Cidr, Duration, Integer, List, Name, Peer, Selector,
    Text,
};

const SEVERITY: Shape = Choice(&[
    "Trace", "Debug", "Info", "Warning", "Error", "Fatal", "None",
]);
const SWITCH: Shape = Choice(&["Enabled", "Disabled"]);
const PORT: Shape = Integer(1, 65_535);
const CIDRS_OF_SERVICES: Shape = List(&Shape::Fields(&[("cidr", Cidr)]));

const BGP_CONFIGURATION: &[(&str, Shape)] = &[
    ("logSeverityScreen", SEVERITY),
    ("nodeToNodeMeshEnabled", Boolean),
    ("asNumber", AsNumber),
    ("listenPort", PORT),
    ("serviceLoadBalancerIPs", CIDRS_OF_SERVICES),
    ("serviceExternalIPs", CIDRS_OF_SERVICES),
    ("serviceClusterIPs", CIDRS_OF_SERVICES),
    ("serviceLoadBalancerAggregation", SWITCH),
    (
        "communities",
        List(&Shape::Fields(&[("name", Text), ("value", Text)])),
    ),
    (
        "prefixAdvertisements",
        List(&Shape::Fields(&[
            ("cidr", Cidr),
            ("communities", List(&Text)),
        ])),
    ),
    ("nodeMeshPassword", Any),
    ("nodeMeshMaxRestartTime", Duration),
    ("bindMode", Choice(&["None", "NodeIP"])),
    ("ignoredInterfaces", List(&Text)),
    ("localWorkloadPeeringIPV4", Address),
    ("localWorkloadPeeringIPV6", Address),
];

const BGP_PEER: &[(&str, Shape)] = &[
    ("node", Name),
    ("nodeSelector", Selector),
    ("peerIP", Peer),
    ("asNumber", AsNumber),
    ("localASNumber", AsNumber),
    ("peerSelector", Selector),
    ("localWorkloadSelector", Selector),
    ("keepOriginalNextHop", Boolean),
    ("nextHopMode", Choice(&["Auto", "Self", "Keep"])),
    ("password", Any),
    ("sourceAddress", Choice(&["UseNodeIP", "None"])),
    ("maxRestartTime", Duration),
    ("keepaliveTime", Duration),
    ("numAllowedLocalASNumbers", Integer(0, 255)),
    ("ttlSecurity", Integer(0, 255)),
    ("reachableBy", Address),
    ("filters", List(&Name)),
];

const FILTER_RULES: Shape = List(&Shape::Fields(&[
    ("action", Choice(&["Accept", "Reject"])),
    ("cidr", Cidr),
    (
        "matchOperator",
        Choice(&["Equal", "NotEqual", "In", "NotIn"]),
    ),
    (
        "prefixLength",
        Shape::Fields(&[("min", Integer(0, 128)), ("max", Integer(0, 128))]),
    ),
    ("source", Choice(&["RemotePeers"])),
    ("interface", Text),
    ("peerType", Text),
    ("communities", Any),
    ("asPathPrefix", List(&AsNumber)),
    ("priority", Any),
    ("operations", Any),
]));

const BGP_FILTER: &[(&str, Shape)] = &[
    ("importV4", FILTER_RULES),
    ("importV6", FILTER_RULES),
    ("exportV4", FILTER_RULES),
    ("exportV6", FILTER_RULES),
];

const IPAM_CONFIGURATION: &[(&str, Shape)] = &[
    ("strictAffinity", Boolean),
    ("autoAllocateBlocks", Boolean),
    ("maxBlocksPerHost", Integer(0, 1_000_000)),
    ("ipCooldownSeconds", Integer(0, 1200)),
    ("kubeVirtVMAddressPersistence", SWITCH),
];

const CLUSTER_INFORMATION: &[(&str, Shape)] = &[
    ("clusterGUID", Text),
    ("clusterType", Text),
    ("calicoVersion", Text),
    ("variant", Text),
    ("datastoreReady", Boolean),
];

const KUBE_CONTROLLERS: &[(&str, Shape)] = &[
    (
        "logSeverityScreen",
        Choice(&[
            "None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic",
        ]),
    ),
    ("healthChecks", SWITCH),
    ("etcdV3CompactionPeriod", Duration),
    ("prometheusMetricsPort", Integer(0, 65_535)),
    ("debugProfilePort", Integer(0, 65_535)),
    ("controllers", CONTROLLERS),
];

const CONTROLLERS: Shape = Shape::Fields(&[
    (
        "node",
        Shape::Fields(&[
            ("reconcilerPeriod", Duration),
            ("syncLabels", SWITCH),
            ("leakGracePeriod", Duration),
            (
                "hostEndpoint",
                Shape::Fields(&[
                    ("autoCreate", SWITCH),
                    ("createDefaultHostEndpoint", SWITCH),
                    ("templates", Any),
                ]),
            ),
        ]),
    ),
    ("policy", RECONCILED),
    ("workloadEndpoint", RECONCILED),
    ("serviceAccount", RECONCILED),
    ("namespace", RECONCILED),
    (
        "loadBalancer",
        Shape::Fields(&[(
            "assignIPs",
            Choice(&["AllServices", "RequestedServicesOnly"]),
        )]),
    ),
    (
        "migration",
        Shape::Fields(&[("policyNameMigrator", SWITCH)]),
    ),
]);
const RECONCILED: Shape = Shape::Fields(&[("reconcilerPeriod", Duration)]);

const NODE_STATUS: &[(&str, Shape)] = &[
    ("node", Name),
    ("classes", List(&Choice(&["Agent", "BGP", "Routes"]))),
    ("updatePeriodSeconds", Integer(0, 86_400)),
];

/// Reports what is wrong with the spec of a kind that is kept as it is.
pub(crate) fn check(kind: Kind, metadata: &Metadata, top: &Fields<'_>, spec: &Place<'_>) {
    let table = match kind {
        Kind::BgpConfiguration => BGP_CONFIGURATION,
        Kind::BgpPeer => BGP_PEER,
        Kind::BgpFilter => BGP_FILTER,
        Kind::IpamConfiguration => IPAM_CONFIGURATION,
        Kind::IpReservation => &[("reservedCIDRs", List(&Cidr))],
        Kind::ClusterInformation => CLUSTER_INFORMATION,
        Kind::KubeControllersConfiguration => KUBE_CONTROLLERS,
        Kind::CalicoNodeStatus => NODE_STATUS,
        // Written by programs, in shapes of their own.
        _ => return,
    };
    let one = matches!(
        kind,
        Kind::IpamConfiguration | Kind::ClusterInformation | Kind::KubeControllersConfiguration
    );
    if one && !metadata.name.is_empty() && metadata.name != "default" {
        top.error_at("metadata.name", "must be default: there is only one");
    }
    let Some(fields) = spec.fields() else { return };
    together(kind, &fields);
    check_fields(table, &fields);
}

/// What fields say about each other.
fn together(kind: Kind, fields: &Fields<'_>) {
    let set = |name: &str| fields.peek(name);
    if kind == Kind::BgpPeer {
        if set("node") && set("nodeSelector") {
            fields.error_at("nodeSelector", "must not be set beside node");
        }
        for name in ["peerIP", "asNumber"] {
            if set("peerSelector") && set(name) {
                fields.error_at(name, "must not be set beside peerSelector");
            }
        }
        if !set("peerSelector") && !set("peerIP") && !set("localWorkloadSelector") {
            fields.error("peerIP, peerSelector or localWorkloadSelector must be set");
        }
    }
    if kind == Kind::CalicoNodeStatus {
        for name in ["node", "classes", "updatePeriodSeconds"] {
            if !set(name) {
                fields.error_at(name, "must be set");
            }
        }
    }
}

fn check_fields(table: &[(&str, Shape)], fields: &Fields<'_>) {
    for (name, place) in fields.rest() {
        match table.iter().find(|(known, _)| *known == name) {
            Some(_) if place.tree().is_null() => {}
            Some((_, shape)) => check_one(shape, &place),
            None => place.not_acted_on("unknown field"),
        }
    }
}

/// A reader has reported by itself what it did not like; what it read is not needed.
fn known<T>(_: Option<T>) {}

fn check_one(shape: &Shape, place: &Place<'_>) {
    match shape {
        Shape::Any => {}
        Shape::Text => known(place.text()),
        Shape::Boolean => known(place.boolean()),
        Shape::Integer(low, high) => known(place.integer(*low..=*high)),
        Shape::Choice(words) => {
            let choices: Vec<(&str, ())> = words.iter().map(|word| (*word, ())).collect();
            known(place.choice(&choices));
        }
        Shape::Cidr => known(place.prefix()),
        Shape::Address => known(place.parse::<IpAddr>("an IP address")),
        Shape::Peer => peer(place),
        Shape::AsNumber => known(as_number_of(place)),
        Shape::Selector => known(selector(place)),
        Shape::Name => known(place.checked(check_subdomain)),
        Shape::Duration => duration(place),
        Shape::List(of) => place.items().iter().for_each(|item| check_one(of, item)),
        Shape::Fields(table) => {
            if let Some(fields) = place.fields() {
                if fields.peek("cidr") != fields.peek("matchOperator")
                    && table.iter().any(|(name, _)| *name == "matchOperator")
                {
                    fields.error("cidr and matchOperator must be set together");
                }
                check_fields(table, &fields);
            }
        }
    }
}

fn peer(place: &Place<'_>) {
    let Some(text) = place.text() else { return };
    let socket = text.parse::<std::net::SocketAddr>().is_ok();
    if !socket && text.parse::<IpAddr>().is_err() {
        place.error("must be an IP address, with a port as in 192.0.2.1:179 or [2001:db8::1]:179");
    }
}

/// Go's durations: numbers with units, largest first or not.
fn duration(place: &Place<'_>) {
    let Some(text) = place.text() else { return };
    let mut rest = text;
    let mut good = !rest.is_empty();
    while good && !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let unit = rest[number..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| number + at);
        good = rest[..number].parse::<f64>().is_ok()
            && ["ns", "us", "µs", "ms", "s", "m", "h"].contains(&&rest[number..unit]);
        rest = &rest[unit..];
    }
    if !good && text != "0" {
        place.error("must be a duration such as 120s or 1h30m");
    }
}
