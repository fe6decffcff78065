//! BGPConfiguration: settings of all nodes (`default`), and the few of one (`node.NAME`).

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::check;
use super::text::{
    Community, SecretReference, optional_as, optional_duration, optional_word, word, words,
};
use crate::kinds::stored::Shape::{self, Boolean, Check, Choice, Duration as Time, List};
use crate::metadata::Metadata;
use crate::names::check_subdomain;
use crate::place::{Fields, Place};

const RANGES: Shape = List(&Shape::Fields(&[("cidr", Check(check::some_net))]));

/// What each field must look like.
pub(in crate::kinds) const CONFIGURATION: &[(&str, Shape)] = &[
    ("logSeverityScreen", Check(severity)),
    ("nodeToNodeMeshEnabled", Boolean),
    ("asNumber", Check(check::as_number)),
    ("listenPort", Shape::Integer(0, 65_535)),
    ("serviceLoadBalancerIPs", RANGES),
    ("serviceExternalIPs", RANGES),
    ("serviceClusterIPs", RANGES),
    (
        "serviceLoadBalancerAggregation",
        Choice(&["Enabled", "Disabled"]),
    ),
    ("communities", Check(communities)),
    ("prefixAdvertisements", Check(advertisements)),
    ("nodeMeshPassword", Check(check::secret)),
    ("nodeMeshMaxRestartTime", Time),
    ("bindMode", Choice(&["None", "NodeIP"])),
    (
        "programClusterRoutes",
        Choice(&[
            "Enabled",
            "Disabled",
            "EnabledIPIPOnly",
            "EnabledNoEncapOnly",
        ]),
    ),
    ("ignoredInterfaces", List(&Check(check::ignored_interface))),
    ("localWorkloadPeeringIPV4", Check(check::ipv4)),
    ("localWorkloadPeeringIPV6", Check(check::ipv6)),
    ("ipv4NormalRoutePriority", Check(check::priority)),
    ("ipv6NormalRoutePriority", Check(check::priority)),
];

/// What only `default` may say, with the name Calico gives it in its refusal.
const OF_DEFAULT: &[(&str, &str)] = &[
    ("nodeToNodeMeshEnabled", "nodeToNodeMeshEnabled"),
    ("asNumber", "ASNumber"),
    ("serviceLoadBalancerIPs", "ServiceLoadBalancerIPs"),
    ("serviceExternalIPs", "ServiceExternalIPs"),
    ("serviceClusterIPs", "ServiceClusterIPs"),
    ("nodeMeshPassword", "nodeMeshPassword"),
    ("nodeMeshMaxRestartTime", "nodeMeshMaxRestartTime"),
];

/// What the fields say about each other and about the resource's name.
pub(in crate::kinds) fn check_configuration(metadata: &Metadata, fields: &Fields<'_>) {
    if metadata.name != "default" {
        for (name, called) in OF_DEFAULT {
            if fields.peek(name) {
                let reason = format!("Cannot set {called} on a non default BGP Configuration.");
                fields.error_at(name, reason);
            }
        }
    }
    let mesh = fields.unread("nodeToNodeMeshEnabled");
    if mesh.is_some_and(|place| crate::tree::boolean(place.written()) == Some(false)) {
        for name in ["nodeMeshPassword", "nodeMeshMaxRestartTime"] {
            if fields.peek(name) {
                let reason = format!("{name} cannot be set when nodeToNodeMeshEnabled is false");
                fields.error_at(name, reason);
            }
        }
    }
    let listed = |name: &str| {
        let place = fields.unread(name);
        place.filter(|place| matches!(place.tree().value, crate::tree::Value::Sequence(_)))
    };
    let defined = listed("communities").map_or_else(Vec::new, |place| place.items());
    let advertised = listed("prefixAdvertisements").map_or_else(Vec::new, |place| place.items());
    if !defined.is_empty() && advertised.is_empty() {
        let reason = "communities are defined but not used in prefixAdvertisements";
        fields.error_at("communities", reason);
    }
    let names: HashSet<&str> = defined
        .iter()
        .filter_map(|item| item.fields_if_map()?.unread("name"))
        .map(|name| name.written())
        .collect();
    for item in &advertised {
        let Some(place) = item
            .fields_if_map()
            .and_then(|fields| fields.unread("communities"))
        else {
            continue;
        };
        for used in place.items() {
            let text = used.written();
            if text.parse::<Community>().is_err() && !names.contains(text) {
                used.error("community used is invalid or not defined.");
            }
        }
    }
}

/// Logrus' words in any case.
fn severity(place: &Place<'_>) {
    const WORDS: [&str; 7] = ["", "trace", "debug", "info", "warning", "error", "fatal"];
    if let Some(text) = place.text()
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
    {
        place.error("must be one of Trace, Debug, Info, Warning, Error, Fatal");
    }
}

fn communities(place: &Place<'_>) {
    let items = place.items();
    if items.len() > 500 {
        place.error("must have at most 500 items");
    }
    for item in items {
        let Some(fields) = item.fields() else {
            continue;
        };
        if let Some(name) = fields.required("name") {
            let _ = name.checked(check_subdomain);
        }
        if let Some(value) = fields.required("value")
            && let Some(text) = value.text()
        {
            if text.len() > 40 {
                value.error("may not be more than 40 bytes");
            } else if let Err(reason) = text.parse::<Community>() {
                value.error(reason);
            }
        }
        check::rest(&fields);
    }
}

fn advertisements(place: &Place<'_>) {
    let items = place.items();
    if items.len() > 500 {
        place.error("must have at most 500 items");
    }
    for item in items {
        let Some(fields) = item.fields() else {
            continue;
        };
        if let Some(cidr) = fields.required("cidr") {
            check::some_net(&cidr);
        }
        if let Some(used) = fields.required("communities")
            && used.items().len() > 50
        {
            used.error("must have at most 50 items");
        }
        check::rest(&fields);
    }
}

/// What a BGPConfiguration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// How much BIRD logs.
    #[serde(deserialize_with = "optional_word")]
    pub log_severity_screen: Option<String>,
    /// Whether every node has a session to every other.
    pub node_to_node_mesh_enabled: Option<bool>,
    /// The AS of nodes that have none of their own.
    #[serde(deserialize_with = "optional_as")]
    pub as_number: Option<u32>,
    /// Where nodes listen; zero is 179.
    pub listen_port: Option<u16>,
    /// Ranges of addresses that load balancers give services.
    #[serde(rename = "serviceLoadBalancerIPs")]
    pub service_load_balancer_ips: Vec<Range>,
    /// Ranges of services' external addresses.
    #[serde(rename = "serviceExternalIPs")]
    pub service_external_ips: Vec<Range>,
    /// Ranges of services' own addresses.
    #[serde(rename = "serviceClusterIPs")]
    pub service_cluster_ips: Vec<Range>,
    /// Whether the ranges stand for single addresses.
    pub service_load_balancer_aggregation: Option<Switch>,
    /// Names of communities.
    pub communities: Vec<NamedCommunity>,
    /// Which prefixes carry which communities.
    pub prefix_advertisements: Vec<PrefixAdvertisement>,
    /// The password of the mesh.
    pub node_mesh_password: Option<SecretReference>,
    /// The graceful restart time of the mesh.
    #[serde(deserialize_with = "optional_duration")]
    pub node_mesh_max_restart_time: Option<Duration>,
    /// Which addresses are listened at.
    pub bind_mode: Option<BindMode>,
    /// Which learned routes become the host's.
    pub program_cluster_routes: Option<ClusterRoutes>,
    /// Interfaces whose own networks are none of BGP's.
    #[serde(deserialize_with = "words")]
    pub ignored_interfaces: Vec<String>,
    /// Our address for local workloads' sessions.
    #[serde(rename = "localWorkloadPeeringIPV4")]
    pub local_workload_peering_ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    #[serde(rename = "localWorkloadPeeringIPV6")]
    pub local_workload_peering_ipv6: Option<Ipv6Addr>,
    /// The metric of routes that nobody gave another.
    pub ipv4_normal_route_priority: Option<u32>,
    /// The same for IPv6.
    pub ipv6_normal_route_priority: Option<u32>,
}

/// A range of services' addresses; an empty entry has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Range {
    /// The range.
    pub cidr: Option<IpNet>,
}

/// A community's name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NamedCommunity {
    #[serde(deserialize_with = "word")]
    pub name: String,
    /// The community.
    pub value: Community,
}

/// Communities of a prefix and of everything inside.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PrefixAdvertisement {
    /// The prefix.
    pub cidr: IpNet,
    /// Communities, or names of some.
    #[serde(deserialize_with = "words", default)]
    pub communities: Vec<String>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Switch {
    /// On.
    Enabled,
    /// Off.
    Disabled,
}

/// Which addresses BIRD listens at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum BindMode {
    /// All.
    #[default]
    None,
    /// The node's.
    NodeIP,
}

/// For which pools learned routes become the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ClusterRoutes {
    /// IPIP pools, and those without encapsulation.
    Enabled,
    /// None.
    Disabled,
    /// IPIP pools.
    EnabledIPIPOnly,
    /// Pools without encapsulation.
    #[default]
    EnabledNoEncapOnly,
}

impl ClusterRoutes {
    /// Whether BIRD makes the host's routes of IPIP pools.
    #[must_use]
    pub fn makes_ipip(self) -> bool {
        match self {
            ClusterRoutes::Enabled | ClusterRoutes::EnabledIPIPOnly => true,
            ClusterRoutes::Disabled | ClusterRoutes::EnabledNoEncapOnly => false,
        }
    }

    /// Whether BIRD makes the host's routes of pools without encapsulation.
    #[must_use]
    pub fn makes_plain(self) -> bool {
        match self {
            ClusterRoutes::Enabled | ClusterRoutes::EnabledNoEncapOnly => true,
            ClusterRoutes::Disabled | ClusterRoutes::EnabledIPIPOnly => false,
        }
    }
}
