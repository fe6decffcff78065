//! The settings in force on one node: its own, then `default`'s, then Calico's defaults.

use policy::model::Protocol;
use std::time::Duration;

use crate::kinds::felix::{
    ConntrackTimeouts, EndpointToHostAction, FailsafePort, FelixConfigurationSpec, LogSeverity,
    Observability, ProgramClusterRoutes, WorkloadSourceSpoofing,
};

/// The route protocol we mark our kernel routes with. Calico's documented default is 3 (boot),
/// which it shares with every boot script; 80 is the number its own newer routes carry.
pub const DEFAULT_ROUTE_PROTOCOL: u8 = 80;

/// Every setting that has an effect, with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct FelixSettings {
    /// What happens to packets from a workload to its own node. Default: Drop.
    pub default_endpoint_to_host_action: EndpointToHostAction,
    /// Whether workloads may use `allowSpoofedSourcePrefixes`. Default: Disabled.
    pub workload_source_spoofing: WorkloadSourceSpoofing,
    /// Whether workloads may send VXLAN packets of their own. Default: no.
    pub allow_vxlan_packets_from_workloads: bool,
    /// Whether workloads may send IPIP packets of their own. Default: no.
    pub allow_ipip_packets_from_workloads: bool,
    /// Whether VXLAN is on; `None`: when a pool needs it.
    pub vxlan_enabled: Option<bool>,
    /// UDP port of VXLAN. Default: 4789.
    pub vxlan_port: u16,
    /// VXLAN network identifier. Default: 4096.
    pub vxlan_vni: u32,
    /// MTU inside IPv4 VXLAN, bytes; `None`: the underlay's less 50.
    pub vxlan_mtu: Option<u16>,
    /// MTU inside IPv6 VXLAN, bytes; `None`: the underlay's less 70.
    pub vxlan_mtu_v6: Option<u16>,
    /// Whether IPIP is on; `None`: when a pool needs it.
    pub ipip_enabled: Option<bool>,
    /// MTU inside IPIP, bytes; `None`: the underlay's less 20.
    pub ipip_mtu: Option<u16>,
    /// Ports of hosts that stay reachable.
    pub failsafe_inbound_host_ports: Vec<FailsafePort>,
    /// Ports hosts may always reach.
    pub failsafe_outbound_host_ports: Vec<FailsafePort>,
    /// The least severe messages logged; `None`: the process's own setting.
    pub log_severity_screen: Option<LogSeverity>,
    /// Whether IPv6 is routed. Default: yes.
    pub ipv6_support: bool,
    /// How long idle flows are remembered.
    pub flow_timeouts: FlowTimeouts,
    /// Whether foreign routes to pods are removed. Default: yes.
    pub remove_external_routes: bool,
    /// Marks our routes in the kernel. Default: [`DEFAULT_ROUTE_PROTOCOL`].
    pub device_route_protocol: u8,
    /// Which routes to other nodes' blocks the agent programs; `None`: all that pools need.
    pub program_cluster_routes: Option<ProgramClusterRoutes>,
    /// Whether it is written into the datastore which endpoints are up. Default: no.
    pub endpoint_reporting_enabled: bool,
    /// How long a change of that waits for others. Default: 1 s.
    pub endpoint_reporting_delay: Duration,
    /// Metrics and health.
    pub observability: Observability,
}

/// How long flows are remembered after their last packet; Calico's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTimeouts {
    /// A new flow is kept at least that long, 10 s.
    pub creation_grace_period: Duration,
    /// TCP with one SYN seen, 20 s.
    pub tcp_syn_sent: Duration,
    /// TCP established, 1 h.
    pub tcp_established: Duration,
    /// TCP with both FINs seen, 30 s.
    pub tcp_fins_seen: Duration,
    /// TCP with a reset seen, 40 s.
    pub tcp_reset_seen: Duration,
    /// UDP, 60 s.
    pub udp: Duration,
    /// Every other protocol, 10 min.
    pub generic: Duration,
    /// ICMP, 5 s.
    pub icmp: Duration,
}

impl Default for FlowTimeouts {
    fn default() -> FlowTimeouts {
        FlowTimeouts {
            creation_grace_period: Duration::from_secs(10),
            tcp_syn_sent: Duration::from_secs(20),
            tcp_established: Duration::from_secs(3600),
            tcp_fins_seen: Duration::from_secs(30),
            tcp_reset_seen: Duration::from_secs(40),
            udp: Duration::from_secs(60),
            generic: Duration::from_secs(600),
            icmp: Duration::from_secs(5),
        }
    }
}

impl FlowTimeouts {
    fn with(set: &ConntrackTimeouts) -> FlowTimeouts {
        let otherwise = FlowTimeouts::default();
        FlowTimeouts {
            creation_grace_period: set
                .creation_grace_period
                .unwrap_or(otherwise.creation_grace_period),
            tcp_syn_sent: set.tcp_syn_sent.unwrap_or(otherwise.tcp_syn_sent),
            tcp_established: set.tcp_established.unwrap_or(otherwise.tcp_established),
            tcp_fins_seen: set.tcp_fins_seen.unwrap_or(otherwise.tcp_fins_seen),
            tcp_reset_seen: set.tcp_reset_seen.unwrap_or(otherwise.tcp_reset_seen),
            udp: set.udp_timeout.unwrap_or(otherwise.udp),
            generic: set.generic_timeout.unwrap_or(otherwise.generic),
            icmp: set.icmp_timeout.unwrap_or(otherwise.icmp),
        }
    }
}

impl Default for FelixSettings {
    fn default() -> FelixSettings {
        FelixSettings::of(None, None)
    }
}

impl FelixSettings {
    /// The settings of a node, given the configuration named `default` and the one named
    /// `node.<name>`; a key set in the second hides the first's whole value.
    #[must_use]
    pub fn of(
        default: Option<&FelixConfigurationSpec>,
        node: Option<&FelixConfigurationSpec>,
    ) -> FelixSettings {
        let empty = FelixConfigurationSpec::default();
        let (low, high) = (default.unwrap_or(&empty), node.unwrap_or(&empty));
        macro_rules! set {
            ($field:ident) => {
                high.$field.clone().or_else(|| low.$field.clone())
            };
        }
        let given = |mtu: &u16| *mtu != 0;
        FelixSettings {
            default_endpoint_to_host_action: set!(default_endpoint_to_host_action)
                .unwrap_or_default(),
            workload_source_spoofing: set!(workload_source_spoofing).unwrap_or_default(),
            allow_vxlan_packets_from_workloads: set!(allow_vxlan_packets_from_workloads)
                .unwrap_or(false),
            allow_ipip_packets_from_workloads: set!(allow_ipip_packets_from_workloads)
                .unwrap_or(false),
            vxlan_enabled: set!(vxlan_enabled),
            vxlan_port: set!(vxlan_port).unwrap_or(4789),
            vxlan_vni: set!(vxlan_vni).unwrap_or(4096),
            vxlan_mtu: set!(vxlan_mtu).filter(given),
            vxlan_mtu_v6: set!(vxlan_mtu_v6).filter(given),
            ipip_enabled: set!(ipip_enabled),
            ipip_mtu: set!(ipip_mtu).filter(given),
            failsafe_inbound_host_ports: set!(failsafe_inbound_host_ports)
                .unwrap_or_else(|| failsafe(&[22, 179, 2379, 2380, 5473, 6443, 6666, 6667], &[68])),
            failsafe_outbound_host_ports: set!(failsafe_outbound_host_ports)
                .unwrap_or_else(|| failsafe(&[179, 2379, 2380, 5473, 6443, 6666, 6667], &[53, 67])),
            log_severity_screen: set!(log_severity_screen),
            ipv6_support: set!(ipv6_support).unwrap_or(true),
            flow_timeouts: FlowTimeouts::with(&set!(bpf_conntrack_timeouts).unwrap_or_default()),
            remove_external_routes: set!(remove_external_routes).unwrap_or(true),
            device_route_protocol: set!(device_route_protocol).unwrap_or(DEFAULT_ROUTE_PROTOCOL),
            program_cluster_routes: set!(program_cluster_routes),
            endpoint_reporting_enabled: set!(endpoint_reporting_enabled).unwrap_or(false),
            endpoint_reporting_delay: set!(endpoint_reporting_delay)
                .unwrap_or(Duration::from_secs(1)),
            observability: high.observability.over(&low.observability),
        }
    }
}

fn failsafe(tcp: &[u16], udp: &[u16]) -> Vec<FailsafePort> {
    let ports = |protocol, ports: &[u16]| -> Vec<FailsafePort> {
        ports
            .iter()
            .map(|port| FailsafePort {
                protocol,
                port: *port,
                net: None,
            })
            .collect()
    };
    [ports(Protocol::TCP, tcp), ports(Protocol::UDP, udp)].concat()
}
