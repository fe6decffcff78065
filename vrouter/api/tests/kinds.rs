//! Whole files in, resources and sentences out.

use std::time::Duration;

use vrouter_api::{
    EncapsulationMode, EndpointToHostAction, FelixSettings, Kind, Parsed, Resource, parse, to_json,
    to_yaml,
};

fn errors(text: &str) -> Vec<String> {
    parse(text.as_bytes(), "f.yaml")
        .errors
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn notices(parsed: &Parsed) -> Vec<String> {
    parsed.notices.iter().map(ToString::to_string).collect()
}

fn good(text: &str) -> Parsed {
    let parsed = parse(text.as_bytes(), "f.yaml");
    assert!(parsed.errors.is_empty(), "{:#?}", parsed.errors);
    parsed
}

fn one(text: &str) -> Resource {
    let mut parsed = good(text);
    assert_eq!(parsed.resources.len(), 1);
    parsed.resources.remove(0).value
}

/// Printing gives back the same resource and then the same text, in both formats.
fn reprints(resource: &Resource) {
    for text in [to_yaml(resource), to_json(resource)] {
        let again = one(&text);
        assert_eq!(&again, resource, "{text}");
        assert_eq!(to_yaml(&again), to_yaml(resource));
    }
}

const POOL: &str = "\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: default
spec:
  cidr: 10.244.0.0/16
  vxlanMode: CrossSubnet
  natOutgoing: true
";

#[test]
fn pool_with_defaults() {
    let parsed = good(POOL);
    assert_eq!(
        notices(&parsed),
        [
            "f.yaml:8: IPPool(default).spec.natOutgoing: true: stored, not acted on: there is no \
             source NAT yet"
        ]
    );
    let Resource::IpPool(pool) = &parsed.resources[0].value else {
        panic!()
    };
    assert_eq!(pool.spec.block_size, 26);
    assert_eq!(pool.spec.vxlan_mode, EncapsulationMode::CrossSubnet);
    assert_eq!(pool.spec.node_selector.to_string(), "all()");
    assert!(pool.spec.nat_outgoing);
    reprints(&parsed.resources[0].value);
}

#[test]
fn what_a_pool_asks_of_ipam_has_an_effect() {
    let asked = "  disabled: true\n  nodeSelector: has(a)\n  assignmentMode: Manual\n";
    assert_eq!(good(&format!("{POOL}{asked}")).notices.len(), 1);
}

#[test]
fn every_problem_of_a_pool_at_once() {
    let text = "\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: default
  colour: red
spec:
  cidr: fd00::/64
  blockSize: 12
  ipipMode: Always
  vxlanMode: Always
  disabled: 'no'
  nodeSelecter: all()
";
    assert_eq!(
        errors(text),
        [
            "f.yaml:5: IPPool(default).metadata.colour: unknown field",
            "f.yaml:8: IPPool(default).spec.blockSize: 12: must be 116–128 for an IPv6 pool",
            "f.yaml:9: IPPool(default).spec.ipipMode: Always: must be Never for an IPv6 pool: \
             IPIP carries IPv4 only",
            "f.yaml:10: IPPool(default).spec.vxlanMode: Always: must be Never when ipipMode is \
             set: a pool has one",
            "f.yaml:11: IPPool(default).spec.disabled: no: must be true or false",
            "f.yaml:12: IPPool(default).spec.nodeSelecter: unknown field: did you mean \
             nodeSelector?",
        ]
    );
    let text = POOL.replace("10.244.0.0/16", "10.0.0.0/8") + "  blockSize: 12\n";
    assert_eq!(
        errors(&text),
        ["f.yaml:9: IPPool(default).spec.blockSize: 12: must be 20–32 for an IPv4 pool"]
    );
}

#[test]
fn node() {
    let resource = one("\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node-1, labels: {zone: a}}
spec:
  bgp: {ipv4Address: 172.16.0.1/24, ipv6Address: 'fd01::1/64', ipv4IPIPTunnelAddr: 10.244.0.1}
  ipv4VXLANTunnelAddr: 10.244.0.2
  ipv6VXLANTunnelAddr: fd00::2
  vxlanTunnelMACAddr: 66:00:00:00:00:01
  addresses:
  - {address: 172.16.0.1, type: InternalIP}
  orchRefs: [{orchestrator: k8s, nodeName: n1}]
");
    let Resource::Node(node) = &resource else {
        panic!()
    };
    let bgp = node.spec.bgp.as_ref().unwrap();
    assert_eq!(
        bgp.ipv4_address.as_ref().unwrap().to_string(),
        "172.16.0.1/24"
    );
    assert_eq!(
        node.spec.ipv4_vxlan_tunnel_addr.unwrap().to_string(),
        "10.244.0.2"
    );
    reprints(&resource);
    assert_eq!(
        errors(
            "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: N, namespace: a}, \
                spec: {bgp: {ipv4Address: 'fd00::1', asNumber: -1}}}"
        ),
        [
            "f.yaml:1: Node(N).metadata.name: N: must be a lower case RFC 1123 subdomain: a-z, \
             0-9, '-' and '.', each part starting and ending with a letter or digit, at most 253 \
             characters",
            "f.yaml:1: Node(N).metadata.namespace: a: must not be set: Node has no namespace",
            "f.yaml:1: Node(N).spec.bgp.ipv4Address: fd00::1: must be an IPv4 address",
            "f.yaml:1: Node(N).spec.bgp.asNumber: -1: must be an AS number in 0–4294967295, or \
             dotted such as 1.10",
        ]
    );
}

const ENDPOINT: &str = "\
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: node--1-k8s-web-eth0
  namespace: default
  labels: {app: web}
  annotations:
    vrouter.io/netns: /run/netns/web
spec:
  orchestrator: k8s
  node: node-1
  pod: web
  ipNetworks: [10.244.0.5/32, 'fd00::5']
  profiles: [kns.default]
  interfaceName: cali12345678901
  mac: EE:ee:ee:ee:ee:01
  ports:
  - {name: http, protocol: TCP, port: 80, hostPort: 8080}
";

#[test]
fn workload_endpoint() {
    let parsed = good(ENDPOINT);
    assert_eq!(
        notices(&parsed),
        [
            "f.yaml:18: WorkloadEndpoint(default/node--1-k8s-web-eth0).spec.ports[0].hostPort: \
             8080: stored, not acted on: there is no port mapping yet"
        ]
    );
    let Resource::WorkloadEndpoint(wep) = &parsed.resources[0].value else {
        panic!()
    };
    assert_eq!(wep.metadata.netns(), Some("/run/netns/web"));
    assert_eq!(wep.spec.endpoint, "eth0");
    assert_eq!((*wep.spec.ip_networks[1]).to_string(), "fd00::5/128");
    assert_eq!(wep.spec.mac.unwrap().to_string(), "ee:ee:ee:ee:ee:01");
    reprints(&parsed.resources[0].value);

    // The name may be left out.
    let unnamed = ENDPOINT.replace("  name: node--1-k8s-web-eth0\n", "");
    assert_eq!(one(&unnamed), parsed.resources[0].value);

    let bad = ENDPOINT
        .replace("k8s-web", "k8s-other")
        .replace("10.244.0.5/32", "10.244.0.0/24")
        .replace("EE:", "ZZ:");
    let place = "WorkloadEndpoint(default/node--1-k8s-other-eth0).spec";
    assert_eq!(
        errors(&bad),
        [
            format!(
                "f.yaml:9: {place}: node, orchestrator, pod and endpoint make the name \
                 node--1-k8s-web-eth0, but metadata.name is node--1-k8s-other-eth0"
            ),
            format!(
                "f.yaml:13: {place}.ipNetworks[0]: 10.244.0.0/24: must be one address: a /32 or \
                 /128"
            ),
            format!(
                "f.yaml:16: {place}.mac: ZZ:ee:ee:ee:ee:01: must be a MAC such as \
                 ee:ee:ee:ee:ee:ee"
            ),
        ]
    );
}

#[test]
fn felix_layers() {
    let text = "\
apiVersion: projectcalico.org/v3
kind: FelixConfigurationList
items:
- apiVersion: projectcalico.org/v3
  kind: FelixConfiguration
  metadata: {name: default}
  spec:
    defaultEndpointToHostAction: ACCEPT
    vxlanPort: 4790
    vxlanMTU: 0
    bpfConntrackTimeouts: {udpTimeout: 90s, tcpFinsSeen: Auto}
    ipv6Support: false
    prometheusGoMetricsEnabled: true
    prometheusMetricsPort: 9091
    healthTimeoutOverrides: [{name: worker-0, timeout: 30s}]
- apiVersion: projectcalico.org/v3
  kind: FelixConfiguration
  metadata: {name: node.node-1}
  spec: {vxlanPort: 4791, vxlanVNI: 5, endpointReportingEnabled: true, endpointReportingDelay: 250ms, prometheusMetricsEnabled: true}
";
    let parsed = good(text);
    assert_eq!(
        notices(&parsed),
        [
            "f.yaml:12: FelixConfiguration(default).spec.ipv6Support: false: stored, not acted on: \
             nothing reads it yet",
            "f.yaml:13: FelixConfiguration(default).spec.prometheusGoMetricsEnabled: true: stored, not acted on: \
             the packet path does not use it"
        ]
    );
    let [
        Resource::FelixConfiguration(default),
        Resource::FelixConfiguration(node),
    ] = [&parsed.resources[0].value, &parsed.resources[1].value]
    else {
        panic!()
    };
    let settings = FelixSettings::of(Some(&default.spec), Some(&node.spec));
    let observability = &settings.observability;
    assert_eq!(observability.prometheus_metrics_enabled, Some(true));
    assert_eq!(observability.prometheus_metrics_port, Some(9091));
    let timeouts = observability.health_timeout_overrides.as_deref().unwrap();
    assert_eq!(timeouts[0].name, "worker-0");
    assert_eq!(timeouts[0].timeout, Duration::from_secs(30));
    assert!(settings.endpoint_reporting_enabled);
    let delay = settings.endpoint_reporting_delay;
    assert_eq!(delay, Duration::from_millis(250));
    let defaults = FelixSettings::default();
    assert!(!defaults.endpoint_reporting_enabled);
    assert_eq!(defaults.endpoint_reporting_delay, Duration::from_secs(1));
    assert_eq!(
        settings.default_endpoint_to_host_action,
        EndpointToHostAction::Accept
    );
    assert_eq!(
        (settings.vxlan_port, settings.vxlan_vni, settings.vxlan_mtu),
        (4791, 5, None)
    );
    assert_eq!(settings.flow_timeouts.udp, Duration::from_secs(90));
    assert_eq!(
        settings.flow_timeouts.tcp_fins_seen,
        Duration::from_secs(30)
    );
    assert_eq!(settings.failsafe_inbound_host_ports.len(), 9);
    assert_eq!(FelixSettings::default().vxlan_port, 4789);
    reprints(&parsed.resources[0].value);
    assert_eq!(
        errors(
            "{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: x}, \
                spec: {vxlanVNI: 16777216, vxlanMTUV6: 1000, removeExternalRoutes: 1, nope: 1}}"
        ),
        [
            "f.yaml:1: FelixConfiguration(x).spec.vxlanVNI: 16777216: must be an integer in \
             1–16777215",
            "f.yaml:1: FelixConfiguration(x).spec.vxlanMTUV6: 1000: must be 0 (automatic) or at \
             least 1280",
            "f.yaml:1: FelixConfiguration(x).spec.removeExternalRoutes: 1: must be true or false",
            "f.yaml:1: FelixConfiguration(x).spec.nope: unknown field",
        ]
    );
}

#[test]
fn kinds_that_are_only_stored() {
    for &kind in Kind::ALL {
        let acted = !matches!(
            kind,
            Kind::BgpConfiguration
                | Kind::BgpPeer
                | Kind::BgpFilter
                | Kind::IpamConfiguration
                | Kind::IpReservation
                | Kind::IpamBlock
                | Kind::IpamHandle
                | Kind::ClusterInformation
                | Kind::KubeControllersConfiguration
                | Kind::CalicoNodeStatus
        );
        if acted {
            continue;
        }
        let name = match kind {
            Kind::IpamConfiguration
            | Kind::ClusterInformation
            | Kind::KubeControllersConfiguration => "default",
            _ => "x",
        };
        let needed = match kind {
            Kind::BgpPeer => "  peerIP: 192.0.2.1\n",
            Kind::CalicoNodeStatus => "  node: n\n  classes: [BGP]\n  updatePeriodSeconds: 10\n",
            _ => "",
        };
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  a: \
             [1, 2.5, null, yes, 'true', true]\n{needed}"
        );
        let parsed = good(&text);
        let nobody =
            format!("f.yaml:4: {kind}({name}): stored, not acted on: nothing reads a {kind} yet");
        let unknown =
            format!("f.yaml:5: {kind}({name}).spec.a: stored, not acted on: unknown field");
        let expected: Vec<String> = match kind {
            Kind::IpamBlock | Kind::IpamHandle => Vec::new(),
            Kind::IpamConfiguration
            | Kind::IpReservation
            | Kind::CalicoNodeStatus
            | Kind::BgpConfiguration
            | Kind::BgpPeer
            | Kind::BgpFilter => {
                vec![unknown]
            }
            _ => vec![nobody, unknown],
        };
        assert_eq!(notices(&parsed), expected);
        reprints(&parsed.resources[0].value);
    }
}

#[test]
fn small_kinds() {
    for text in [
        "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}, spec: {order: 1.5}}",
        "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: default}}",
        "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: s, labels: \
         {a: ''}}, spec: {nets: [10.0.0.0/8, 'fd00::/8', 1.2.3.4]}}",
        "{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: s, namespace: n}}",
        "{apiVersion: crd.projectcalico.org/v1, kind: BlockAffinity, metadata: {name: b}, spec: \
         {state: confirmed, node: n, cidr: 10.0.0.0/26, deleted: 'false'}}",
        "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: h}, spec: \
         {node: n, interfaceName: '*', profiles: [p]}}",
        "{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: kns.x}, spec: \
         {ingress: [{action: Allow}], egress: [{action: Allow}], labelsToApply: {pcns.a: b}}}",
    ] {
        reprints(&one(text));
    }
}

#[test]
fn wrong_heads() {
    for (text, expected) in [
        ("a: 1", "f.yaml:1: apiVersion: must be set"),
        ("[1]", "f.yaml:1: must be a map of fields"),
        (
            "{apiVersion: v1, kind: Pod}",
            "f.yaml:1: Pod.kind: Pod: unknown kind",
        ),
        (
            "{apiVersion: v1, kind: Tier}",
            "f.yaml:1: Tier.apiVersion: v1: must be projectcalico.org/v3 for Tier",
        ),
        (
            "{apiVersion: projectcalico.org/v3, kind: Tier}",
            "f.yaml:1: Tier.metadata: must be set",
        ),
        (
            "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {}}",
            "f.yaml:1: Tier.metadata.name: must be set",
        ),
        (
            "{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: a}}",
            "f.yaml:1: NetworkSet(a).metadata.namespace: must be set: NetworkSet is namespaced",
        ),
        (
            "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}, spec: {order: 1, \
             order: 2}}",
            "f.yaml:1: Tier(t).spec.order: the field is there twice",
        ),
        (
            "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}, extra: 1}",
            "f.yaml:1: Tier(t).extra: unknown field",
        ),
    ] {
        let errors = errors(text);
        assert_eq!(errors.first().map(String::as_str), Some(expected), "{text}");
    }
}

#[test]
fn a_namespace_may_be_given_from_outside() {
    let text = "
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: a}
---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: b, namespace: own}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: c}
";
    let parsed = vrouter_api::parse_in(text.as_bytes(), "f", "given");
    assert_eq!(parsed.errors, []);
    let keys: Vec<String> = parsed
        .resources
        .iter()
        .map(|located| located.value.key().to_string())
        .collect();
    assert_eq!(
        keys,
        [
            "NetworkSet(given/a)",
            "NetworkSet(own/b)",
            "GlobalNetworkSet(c)"
        ]
    );
    assert_eq!(vrouter_api::parse(text.as_bytes(), "f").errors.len(), 1);
}

#[test]
fn kinds_that_are_only_stored_are_checked_field_by_field() {
    let faults = |text: &str| {
        let text = format!("apiVersion: projectcalico.org/v3\n{text}");
        let parsed = vrouter_api::parse(text.as_bytes(), "f.yaml");
        let fields = parsed.errors.iter().map(|error| error.field.clone());
        fields.collect::<Vec<_>>()
    };
    let peer = "kind: BGPPeer\nmetadata: {name: p}\nspec:\n";
    assert!(
        faults(&format!(
            "{peer}  peerIP: '192.0.2.1:179'\n  asNumber: 64512\n"
        ))
        .is_empty()
    );
    assert_eq!(
        faults(&format!(
            "{peer}  peerIP: nowhere\n  asNumber: -1\n  nextHopMode: Me\n  maxRestartTime: soon\n  node: n\n  nodeSelector: all(\n  filters: [a, B]\n"
        )),
        [
            "spec.peerIP",
            "spec.asNumber",
            "spec.nextHopMode",
            "spec.maxRestartTime",
            "spec.nodeSelector",
            "spec.nodeSelector",
            "spec.filters[1]"
        ]
    );
    // Calico takes a peer that names no neighbor.
    assert!(faults(&format!("{peer}  asNumber: 64512\n")).is_empty());
    let filter = "kind: BGPFilter\nmetadata: {name: f}\nspec:\n  exportV4:\n  - action: Drop\n    cidr: 10.0.0.0/8\n";
    assert_eq!(
        faults(filter),
        ["spec.exportV4[0]", "spec.exportV4[0].action"]
    );
    let reservation =
        "kind: IPReservation\nmetadata: {name: r}\nspec: {reservedCIDRs: [10.0.0.1, x]}\n";
    assert_eq!(faults(reservation), ["spec.reservedCIDRs[1]"]);
    let ipam = "kind: IPAMConfiguration\nmetadata: {name: other}\nspec: {strictAffinity: maybe, ipCooldownSeconds: 1201}\n";
    assert_eq!(
        faults(ipam),
        [
            "metadata.name",
            "spec.strictAffinity",
            "spec.ipCooldownSeconds"
        ]
    );
    let bgp = "kind: BGPConfiguration\nmetadata: {name: default}\nspec: {listenPort: 65536, serviceClusterIPs: [{cidr: y}], nodeMeshMaxRestartTime: 1h30m, newerField: 1}\n";
    assert_eq!(
        faults(bgp),
        ["spec.listenPort", "spec.serviceClusterIPs[0].cidr"]
    );
    let status = "kind: CalicoNodeStatus\nmetadata: {name: s}\nspec: {classes: [Agent, Mood]}\n";
    assert_eq!(
        faults(status),
        ["spec.node", "spec.updatePeriodSeconds", "spec.classes[1]"]
    );
}
