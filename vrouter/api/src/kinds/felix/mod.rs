//! FelixConfiguration: settings of the node agent, for all nodes (`default`) or one
//! (`node.<name>`).

mod keys;
mod observability;
mod settings;
mod table;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::key::Kind;
use crate::metadata::Metadata;
use crate::object::{Object, Read, Spec};
use crate::place::{Fields, Place};

pub use observability::*;
pub use settings::*;
pub use values::*;

/// Settings for all nodes or one.
pub type FelixConfiguration = Object<FelixConfigurationSpec>;

/// What is set; absent means that `default`, then Calico's default, decides.
/// [`FelixSettings`] puts them together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FelixConfigurationSpec {
    /// What happens to packets from a workload to its own node after policy allowed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_endpoint_to_host_action: Option<EndpointToHostAction>,
    /// Whether workloads may use `allowSpoofedSourcePrefixes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_source_spoofing: Option<WorkloadSourceSpoofing>,
    /// Whether workloads may send VXLAN packets of their own.
    #[serde(
        rename = "allowVXLANPacketsFromWorkloads",
        skip_serializing_if = "Option::is_none"
    )]
    pub allow_vxlan_packets_from_workloads: Option<bool>,
    /// Whether workloads may send IPIP packets of their own.
    #[serde(
        rename = "allowIPIPPacketsFromWorkloads",
        skip_serializing_if = "Option::is_none"
    )]
    pub allow_ipip_packets_from_workloads: Option<bool>,
    /// Whether VXLAN is on; absent: when a pool needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vxlan_enabled: Option<bool>,
    /// UDP port of VXLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vxlan_port: Option<u16>,
    /// VXLAN network identifier, 1–16777215.
    #[serde(rename = "vxlanVNI", skip_serializing_if = "Option::is_none")]
    pub vxlan_vni: Option<u32>,
    /// MTU inside IPv4 VXLAN, bytes; 0: from the underlay.
    #[serde(rename = "vxlanMTU", skip_serializing_if = "Option::is_none")]
    pub vxlan_mtu: Option<u16>,
    /// MTU inside IPv6 VXLAN, bytes; 0: from the underlay.
    #[serde(rename = "vxlanMTUV6", skip_serializing_if = "Option::is_none")]
    pub vxlan_mtu_v6: Option<u16>,
    /// Whether IPIP is on; absent: when a pool needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipip_enabled: Option<bool>,
    /// MTU inside IPIP, bytes; 0: from the underlay.
    #[serde(rename = "ipipMTU", skip_serializing_if = "Option::is_none")]
    pub ipip_mtu: Option<u16>,
    /// Ports of hosts that stay reachable whatever policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failsafe_inbound_host_ports: Option<Vec<FailsafePort>>,
    /// Ports hosts may always reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failsafe_outbound_host_ports: Option<Vec<FailsafePort>>,
    /// The least severe messages that are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_severity_screen: Option<LogSeverity>,
    /// Whether IPv6 is routed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_support: Option<bool>,
    /// How long idle flows are remembered (the name is of Calico's eBPF mode).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpf_conntrack_timeouts: Option<ConntrackTimeouts>,
    /// Whether routes to pods that are not ours are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_external_routes: Option<bool>,
    /// The protocol number that marks our routes in the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_route_protocol: Option<u8>,
    /// Which routes to other nodes' blocks the agent programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program_cluster_routes: Option<ProgramClusterRoutes>,
    /// Whether it is written into the datastore which endpoints are up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_reporting_enabled: Option<bool>,
    /// How long a change of that waits for others before it is written.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "values::go_duration"
    )]
    pub endpoint_reporting_delay: Option<Duration>,
    /// Metrics and health.
    #[serde(flatten)]
    pub observability: Observability,
    /// Known keys without effect, verbatim.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Keys with a type and a place in [`FelixSettings`] that nothing acts on yet.
const NOT_YET: &[&str] = &[
    "logSeverityScreen",
    "ipv6Support",
    "removeExternalRoutes",
    "deviceRouteProtocol",
    "programClusterRoutes",
];

impl Spec for FelixConfigurationSpec {
    const KIND: Kind = Kind::FelixConfiguration;
}

impl Read for FelixConfigurationSpec {
    fn read(fields: &Fields<'_>, metadata: &mut Metadata) -> Option<FelixConfigurationSpec> {
        let name = metadata.name.as_str();
        let known = name.is_empty() || name == "default" || node_of(name).is_some();
        match fields.optional("nodeSelector") {
            Some(place) if known => place.error(
                "must not be set on the 'default' or per-node ('node.*') FelixConfiguration",
            ),
            Some(place) => {
                place.not_acted_on("configurations of other names than default and node.<name>");
            }
            None if !known => fields.not_acted_on(
                "only default and node.<name> are read: no node is named by this one",
            ),
            None => {}
        }
        let flag = |name| fields.optional(name).and_then(|place| place.boolean());
        let mtu = |name, least| fields.optional(name).and_then(|place| mtu(&place, least));
        let failsafe = |name| {
            let place = fields.optional(name)?;
            Some(place.list(FailsafePort::read))
        };
        let mut spec = FelixConfigurationSpec {
            default_endpoint_to_host_action: fields
                .optional("defaultEndpointToHostAction")
                .and_then(|place| EndpointToHostAction::read(&place)),
            workload_source_spoofing: fields
                .optional("workloadSourceSpoofing")
                .and_then(|place| WorkloadSourceSpoofing::read(&place)),
            allow_vxlan_packets_from_workloads: flag("allowVXLANPacketsFromWorkloads"),
            allow_ipip_packets_from_workloads: flag("allowIPIPPacketsFromWorkloads"),
            vxlan_enabled: flag("vxlanEnabled"),
            vxlan_port: fields
                .optional("vxlanPort")
                .and_then(|p| p.integer(1..=u16::MAX)),
            vxlan_vni: fields
                .optional("vxlanVNI")
                .and_then(|p| p.integer(1..=0xff_ffff)),
            vxlan_mtu: mtu("vxlanMTU", 68),
            vxlan_mtu_v6: mtu("vxlanMTUV6", 1280),
            ipip_enabled: flag("ipipEnabled"),
            ipip_mtu: mtu("ipipMTU", 68),
            failsafe_inbound_host_ports: failsafe("failsafeInboundHostPorts"),
            failsafe_outbound_host_ports: failsafe("failsafeOutboundHostPorts"),
            log_severity_screen: fields
                .optional("logSeverityScreen")
                .and_then(|place| LogSeverity::read(&place)),
            ipv6_support: flag("ipv6Support"),
            bpf_conntrack_timeouts: fields
                .optional("bpfConntrackTimeouts")
                .and_then(|place| ConntrackTimeouts::read(&place)),
            remove_external_routes: flag("removeExternalRoutes"),
            device_route_protocol: fields
                .optional("deviceRouteProtocol")
                .and_then(|place| place.integer(0..=u8::MAX)),
            program_cluster_routes: fields
                .optional("programClusterRoutes")
                .and_then(|place| ProgramClusterRoutes::read(&place)),
            endpoint_reporting_enabled: flag("endpointReportingEnabled"),
            endpoint_reporting_delay: fields
                .optional("endpointReportingDelay")
                .and_then(|place| values::duration(&place)),
            observability: Observability::read(fields),
            other: BTreeMap::new(),
        };
        for name in NOT_YET {
            if let Some(place) = fields.optional(name) {
                place.not_acted_on("nothing reads it yet");
            }
        }
        for name in keys::KEYS {
            if fields.peek(name)
                && !fields.was_read(name)
                && let Some(place) = fields.optional(name)
            {
                place.not_acted_on("the packet path does not use it");
                table::check(name, &place);
                let value = place.tree().to_json();
                spec.other.insert((*name).to_owned(), value);
            }
        }
        Some(spec)
    }
}

/// The node a configuration of that name is for.
#[must_use]
pub fn node_of(name: &str) -> Option<&str> {
    name.strip_prefix("node.").filter(|node| !node.is_empty())
}

/// An MTU in bytes, or 0 for automatic.
fn mtu(place: &Place<'_>, least: u16) -> Option<u16> {
    let mtu = place.integer(0..=u16::MAX)?;
    if mtu != 0 && mtu < least {
        place.error(format!("must be 0 (automatic) or at least {least}"));
        return None;
    }
    Some(mtu)
}
