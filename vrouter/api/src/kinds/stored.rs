//! Kinds that are stored and not acted on: what can be wrong with their fields is found all the
//! same, field by field.
//!
//! A table says what each field must look like. A field that is in no table is kept and noticed:
//! a newer Calico may have it.

use std::net::IpAddr;

use crate::key::Kind;
use crate::kinds::bgp;
use crate::metadata::Metadata;
use crate::names::check_subdomain;
use crate::place::{Fields, Place};

/// What a field must look like.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Whatever: deeper than anybody looks here.
    Any,
    Text,
    Boolean,
    Integer(u64, u64),
    Choice(&'static [&'static str]),
    Cidr,
    Address,
    Name,
    /// `120s`, `1h30m`.
    Duration,
    List(&'static Shape),
    /// What the others cannot say.
    Check(fn(&Place<'_>)),
    Fields(&'static [(&'static str, Shape)]),
    /// Fields, and what they say about each other.
    Together(&'static [(&'static str, Shape)], fn(&Fields<'_>)),
}

use Shape::{Any, Boolean, Choice, Cidr, Duration, Integer, List, Name, Text};

const SWITCH: Shape = Choice(&["Enabled", "Disabled"]);

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
        Kind::BgpConfiguration => bgp::CONFIGURATION,
        Kind::BgpPeer => bgp::PEER,
        Kind::BgpFilter => bgp::FILTER,
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
    let fields = if spec.tree().is_null() {
        spec.no_fields()
    } else {
        let Some(fields) = spec.fields() else { return };
        fields
    };
    together(kind, metadata, &fields);
    check_fields(table, &fields);
}

/// What fields of a spec say about each other.
fn together(kind: Kind, metadata: &Metadata, fields: &Fields<'_>) {
    match kind {
        Kind::BgpConfiguration => bgp::check_configuration(metadata, fields),
        Kind::BgpPeer => bgp::check_peer(fields),
        _ => {}
    }
    if kind == Kind::CalicoNodeStatus {
        for name in ["node", "classes", "updatePeriodSeconds"] {
            if !fields.peek(name) {
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
        Shape::Name => known(place.checked(check_subdomain)),
        Shape::Duration => duration(place),
        Shape::List(of) => place.items().iter().for_each(|item| check_one(of, item)),
        Shape::Check(check) => check(place),
        Shape::Fields(table) => {
            if let Some(fields) = place.fields() {
                check_fields(table, &fields);
            }
        }
        Shape::Together(table, together) => {
            if let Some(fields) = place.fields() {
                together(&fields);
                check_fields(table, &fields);
            }
        }
    }
}

/// Go's durations: numbers with units, largest first or not.
fn duration(place: &Place<'_>) {
    if place
        .text()
        .is_some_and(|text| bgp::duration(text).is_none())
    {
        place.error("must be a duration such as 120s or 1h30m");
    }
}
