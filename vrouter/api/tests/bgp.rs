//! BGPConfiguration, BGPPeer and BGPFilter row by row: what is taken, what is refused and in which
//! words; what the typed specs say.

use std::time::Duration;

use vrouter_api::bgp::{
    Action, ClusterRoutes, Community, Configuration, Filter, NextHopMode, Operator, Peer, Service,
    SourceAddress, read, read_whole,
};
use vrouter_api::{Other, Parsed, Resource, parse, to_json, to_yaml};

fn parsed(kind: &str, name: &str, spec: &str) -> Parsed {
    let text = format!(
        "apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    );
    parse(text.as_bytes(), "f.yaml")
}

/// Each row: the spec, and the fields and reasons of its refusals.
fn rows(kind: &str, name: &str, rows: &[(&str, &[(&str, &str)])]) {
    for (spec, expected) in rows {
        let parsed = parsed(kind, name, spec);
        let seen: Vec<(&str, &str)> = parsed
            .errors
            .iter()
            .map(|error| (&*error.field, &*error.reason))
            .collect();
        let same = seen.len() == expected.len()
            && seen
                .iter()
                .zip(*expected)
                .all(|(seen, row)| seen.0 == row.0 && seen.1.contains(row.1));
        assert!(same, "{kind}({name}) {spec}:\n{seen:#?}\n{expected:#?}");
        if expected.is_empty() {
            let unknown: Vec<_> = parsed
                .notices
                .iter()
                .filter(|it| !it.field.is_empty())
                .collect();
            assert!(unknown.is_empty(), "{spec}: {unknown:?}");
        }
    }
}

const GOOD: &[(&str, &str)] = &[];

#[test]
fn rows_of_a_configuration() {
    let large = format!(
        "{{communities: [{}], prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: []}}]}}",
        ["{name: a, value: '1:1'}"; 501].join(", ")
    );
    let many = format!(
        "{{prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: [{}]}}]}}",
        ["'1:1'"; 51].join(", ")
    );
    rows(
        "BGPConfiguration",
        "default",
        &[
            ("", GOOD),
            ("~", GOOD),
            ("{}", GOOD),
            ("{logSeverityScreen: info}", GOOD),
            ("{logSeverityScreen: FATAL}", GOOD),
            ("{logSeverityScreen: ''}", GOOD),
            (
                "{logSeverityScreen: None}",
                &[("spec.logSeverityScreen", "must be one of Trace")],
            ),
            ("{serviceLoadBalancerAggregation: Disabled}", GOOD),
            (
                "{serviceLoadBalancerAggregation: disabled}",
                &[(
                    "spec.serviceLoadBalancerAggregation",
                    "must be one of Enabled",
                )],
            ),
            ("{nodeToNodeMeshEnabled: false, asNumber: 64512}", GOOD),
            (
                "{nodeToNodeMeshEnabled: 'false'}",
                &[("spec.nodeToNodeMeshEnabled", "must be true or false")],
            ),
            ("{asNumber: '1.10'}", GOOD),
            ("{asNumber: 1.10}", &[("spec.asNumber", "must be quoted")]),
            (
                "{asNumber: 4294967296}",
                &[("spec.asNumber", "must be an AS number")],
            ),
            (
                "{serviceClusterIPs: [{cidr: 10.96.0.0/12}, {}], serviceExternalIPs: [{cidr: 'fd00::/112'}]}",
                GOOD,
            ),
            (
                "{serviceLoadBalancerIPs: [{cidr: 10.96.0.1}]}",
                &[(
                    "spec.serviceLoadBalancerIPs[0].cidr",
                    "must be a CIDR with a mask",
                )],
            ),
            ("{listenPort: 0}", GOOD),
            ("{listenPort: 65535}", GOOD),
            ("{listenPort: 65536}", &[("spec.listenPort", "0–65535")]),
            (
                "{communities: [{name: c, value: '65000:100'}], prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [c, '1:2:3']}]}",
                GOOD,
            ),
            (
                "{communities: [{name: c, value: '65000:65536'}], prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [c]}]}",
                &[(
                    "spec.communities[0].value",
                    "invalid community value, expected 16 bit value",
                )],
            ),
            (
                "{communities: [{name: c, value: '1:2:4294967296'}], prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [c]}]}",
                &[(
                    "spec.communities[0].value",
                    "invalid community value, expected 32 bit value",
                )],
            ),
            (
                "{communities: [{name: c, value: '1'}], prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [c]}]}",
                &[(
                    "spec.communities[0].value",
                    "invalid community value or format used.",
                )],
            ),
            (
                "{communities: [{value: '1:1'}, {name: C, value: '1:1'}, {name: c}], prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: []}]}",
                &[
                    ("spec.communities[0].name", "must be set"),
                    ("spec.communities[1].name", "subdomain"),
                    ("spec.communities[2].value", "must be set"),
                ],
            ),
            (
                "{communities: [{name: c, value: '1:1'}]}",
                &[(
                    "spec.communities",
                    "communities are defined but not used in prefixAdvertisements",
                )],
            ),
            (&large, &[("spec.communities", "at most 500")]),
            (
                &many,
                &[("spec.prefixAdvertisements[0].communities", "at most 50")],
            ),
            (
                "{prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [other]}]}",
                &[(
                    "spec.prefixAdvertisements[0].communities[0]",
                    "community used is invalid or not defined.",
                )],
            ),
            (
                "{prefixAdvertisements: [{cidr: 10.0.0.0, communities: []}, {communities: []}, {cidr: 10.0.0.0/8}]}",
                &[
                    (
                        "spec.prefixAdvertisements[0].cidr",
                        "must be a CIDR with a mask",
                    ),
                    ("spec.prefixAdvertisements[1].cidr", "must be set"),
                    ("spec.prefixAdvertisements[2].communities", "must be set"),
                ],
            ),
            (
                "{nodeMeshPassword: {secretKeyRef: {name: s, key: k, optional: true}}, nodeMeshMaxRestartTime: 1h30m}",
                GOOD,
            ),
            (
                "{nodeMeshPassword: {secretKeyRef: {name: s}}}",
                &[("spec.nodeMeshPassword.secretKeyRef.key", "must be set")],
            ),
            (
                "{nodeMeshMaxRestartTime: soon}",
                &[("spec.nodeMeshMaxRestartTime", "must be a duration")],
            ),
            (
                "{nodeToNodeMeshEnabled: false, nodeMeshPassword: {secretKeyRef: {name: s, key: k}}, nodeMeshMaxRestartTime: 2s}",
                &[
                    (
                        "spec.nodeMeshPassword",
                        "nodeMeshPassword cannot be set when nodeToNodeMeshEnabled is false",
                    ),
                    (
                        "spec.nodeMeshMaxRestartTime",
                        "nodeMeshMaxRestartTime cannot be set when nodeToNodeMeshEnabled is false",
                    ),
                ],
            ),
            (
                "{bindMode: NodeIP, programClusterRoutes: EnabledIPIPOnly}",
                GOOD,
            ),
            (
                "{bindMode: All}",
                &[("spec.bindMode", "must be one of None, NodeIP")],
            ),
            (
                "{programClusterRoutes: Yes}",
                &[(
                    "spec.programClusterRoutes",
                    "must be one of Enabled, Disabled",
                )],
            ),
            ("{ignoredInterfaces: [eth*, a.b-c_d]}", GOOD),
            (
                "{ignoredInterfaces: ['*', 'a/b', aaaaaaaaaaaaaaaa]}",
                &[
                    ("spec.ignoredInterfaces[0]", "must name some"),
                    ("spec.ignoredInterfaces[1]", "1–15"),
                    ("spec.ignoredInterfaces[2]", "1–15"),
                ],
            ),
            (
                "{localWorkloadPeeringIPV4: 169.254.0.1, localWorkloadPeeringIPV6: 'fe80::1'}",
                GOOD,
            ),
            (
                "{localWorkloadPeeringIPV4: 'fe80::1'}",
                &[("spec.localWorkloadPeeringIPV4", "must be an IPv4 address")],
            ),
            (
                "{localWorkloadPeeringIPV6: 10.0.0.1}",
                &[("spec.localWorkloadPeeringIPV6", "must be an IPv6 address")],
            ),
            (
                "{ipv4NormalRoutePriority: 1, ipv6NormalRoutePriority: 2147483646}",
                GOOD,
            ),
            (
                "{ipv4NormalRoutePriority: 0, ipv6NormalRoutePriority: 2147483647}",
                &[
                    ("spec.ipv4NormalRoutePriority", "1–2147483646"),
                    ("spec.ipv6NormalRoutePriority", "1–2147483646"),
                ],
            ),
        ],
    );
}

#[test]
fn rows_of_a_nodes_configuration() {
    let only = |called: &str| format!("Cannot set {called} on a non default BGP Configuration.");
    for (field, called, value) in [
        ("nodeToNodeMeshEnabled", "nodeToNodeMeshEnabled", "true"),
        ("asNumber", "ASNumber", "64512"),
        (
            "serviceLoadBalancerIPs",
            "ServiceLoadBalancerIPs",
            "[{cidr: 10.0.0.0/8}]",
        ),
        (
            "serviceExternalIPs",
            "ServiceExternalIPs",
            "[{cidr: 10.0.0.0/8}]",
        ),
        (
            "serviceClusterIPs",
            "ServiceClusterIPs",
            "[{cidr: 10.0.0.0/8}]",
        ),
        (
            "nodeMeshPassword",
            "nodeMeshPassword",
            "{secretKeyRef: {name: s, key: k}}",
        ),
        ("nodeMeshMaxRestartTime", "nodeMeshMaxRestartTime", "2s"),
    ] {
        let spec = format!("{{{field}: {value}}}");
        let at = format!("spec.{field}");
        rows(
            "BGPConfiguration",
            "node.a",
            &[(&spec, &[(&at, &only(called))])],
        );
        rows("BGPConfiguration", "default", &[(&spec, GOOD)]);
    }
    rows(
        "BGPConfiguration",
        "node.a",
        &[("{listenPort: 1790, logSeverityScreen: Debug}", GOOD)],
    );
}

#[test]
fn rows_of_a_peer() {
    let long = format!(
        "{{peerIP: 192.0.2.1, nodeSelector: \"a == '{}'\"}}",
        "x".repeat(1024)
    );
    rows(
        "BGPPeer",
        "p",
        &[
            ("", GOOD),
            ("{asNumber: 64512}", GOOD),
            ("{peerIP: 192.0.2.1, asNumber: 64512, node: n}", GOOD),
            ("{peerIP: '192.0.2.1:179', nodeSelector: has(rack)}", GOOD),
            ("{peerIP: '[2001:db8::1]:1790'}", GOOD),
            ("{peerIP: '2001:db8::1'}", GOOD),
            ("{peerIP: ''}", GOOD),
            (
                "{peerIP: '192.0.2.1:0'}",
                &[("spec.peerIP", "must be an IP address")],
            ),
            (
                "{peerIP: '192.0.2.1:65536'}",
                &[("spec.peerIP", "must be an IP address")],
            ),
            (
                "{peerIP: nowhere}",
                &[("spec.peerIP", "must be an IP address")],
            ),
            (
                "{peerIP: 192.0.2.1, node: n, nodeSelector: all()}",
                &[(
                    "spec.nodeSelector",
                    "node and nodeSelector cannot both be set",
                )],
            ),
            (
                "{peerIP: 192.0.2.1, nodeSelector: 'all('}",
                &[("spec.nodeSelector", "is not a selector")],
            ),
            (&long, &[("spec.nodeSelector", "1024")]),
            ("{peerSelector: has(rr), node: n}", GOOD),
            ("{peerSelector: has(rr), asNumber: 0}", GOOD),
            (
                "{peerSelector: has(rr), peerIP: 192.0.2.1}",
                &[("spec.peerIP", "peerIP and peerSelector cannot both be set")],
            ),
            (
                "{peerSelector: has(rr), asNumber: 64512}",
                &[(
                    "spec.asNumber",
                    "asNumber must be empty when peerSelector is set",
                )],
            ),
            ("{localWorkloadSelector: has(a), asNumber: 64512}", GOOD),
            (
                "{localWorkloadSelector: has(a), asNumber: 64512, peerIP: 192.0.2.1}",
                &[(
                    "spec.peerIP",
                    "peerIP must be empty when localWorkloadSelector is set",
                )],
            ),
            (
                "{localWorkloadSelector: has(a), peerSelector: all()}",
                &[
                    (
                        "spec.peerSelector",
                        "peerSelector must be empty when localWorkloadSelector is set",
                    ),
                    (
                        "spec.asNumber",
                        "asNumber is required when localWorkloadSelector is set",
                    ),
                ],
            ),
            ("{peerIP: 192.0.2.1, reachableBy: 10.0.0.1}", GOOD),
            (
                "{reachableBy: 10.0.0.1}",
                &[(
                    "spec.reachableBy",
                    "reachableBy must be empty when peerIP is empty",
                )],
            ),
            (
                "{peerIP: 192.0.2.1, reachableBy: 'fd00::1'}",
                &[(
                    "spec.reachableBy",
                    "ReachableBy and PeerIP address family mismatched",
                )],
            ),
            (
                "{peerIP: 192.0.2.1, reachableBy: x}",
                &[("spec.reachableBy", "must be an IP address")],
            ),
            ("{peerIP: 192.0.2.1, keepOriginalNextHop: true}", GOOD),
            (
                "{peerIP: 192.0.2.1, keepOriginalNextHop: false, nextHopMode: Self}",
                GOOD,
            ),
            (
                "{peerIP: 192.0.2.1, keepOriginalNextHop: true, nextHopMode: Keep}",
                &[(
                    "spec.keepOriginalNextHop",
                    "keepOriginalNextHop and nextHopMode cannot both be set",
                )],
            ),
            (
                "{peerIP: 192.0.2.1, nextHopMode: Me}",
                &[("spec.nextHopMode", "Auto, Self, Keep")],
            ),
            (
                "{peerIP: 192.0.2.1, sourceAddress: None, reversePeering: Manual}",
                GOOD,
            ),
            (
                "{peerIP: 192.0.2.1, sourceAddress: Node}",
                &[("spec.sourceAddress", "UseNodeIP, None")],
            ),
            (
                "{peerIP: 192.0.2.1, reversePeering: Never}",
                &[("spec.reversePeering", "Auto, Manual")],
            ),
            (
                "{peerIP: 192.0.2.1, localASNumber: 64513, numAllowedLocalASNumbers: 1000, ttlSecurity: 255}",
                GOOD,
            ),
            (
                "{peerIP: 192.0.2.1, localASNumber: x, numAllowedLocalASNumbers: 3000000000, ttlSecurity: 256}",
                &[
                    ("spec.localASNumber", "must be an AS number"),
                    ("spec.numAllowedLocalASNumbers", "integer"),
                    ("spec.ttlSecurity", "0–255"),
                ],
            ),
            (
                "{peerIP: 192.0.2.1, maxRestartTime: 120s, keepaliveTime: 1m}",
                GOOD,
            ),
            (
                "{peerIP: 192.0.2.1, maxRestartTime: 120, keepaliveTime: 1x}",
                &[
                    ("spec.maxRestartTime", "duration"),
                    ("spec.keepaliveTime", "duration"),
                ],
            ),
            (
                "{peerIP: 192.0.2.1, password: {secretKeyRef: {name: s, key: k}}}",
                GOOD,
            ),
            (
                "{peerIP: 192.0.2.1, password: secret}",
                &[("spec.password", "must be a map")],
            ),
            ("{peerIP: 192.0.2.1, filters: [a, b.c]}", GOOD),
            (
                "{peerIP: 192.0.2.1, filters: [B]}",
                &[("spec.filters[0]", "subdomain")],
            ),
        ],
    );
}

#[test]
fn rows_of_a_filter() {
    let rule = |rule: &str| format!("{{exportV4: [{{{rule}}}]}}");
    let at = |field: &str| format!("spec.exportV4[0]{field}");
    let eleven = format!(
        "action: Accept, operations: [{}]",
        ["{setPriority: {value: 1}}"; 11].join(", ")
    );
    let both = "cidr and matchOperator must both be set or both be empty";
    for (text, expected) in [
        ("action: Accept", &[][..]),
        (
            "action: Reject, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 24, max: 8}",
            &[],
        ),
        (
            "cidr: 10.0.0.0/8, matchOperator: In",
            &[(".action", "must be set")],
        ),
        ("action: Drop", &[(".action", "Accept, Reject")]),
        ("action: Reject, cidr: 10.0.0.0/8", &[("", both)]),
        ("action: Reject, matchOperator: In", &[("", both)]),
        (
            "action: Reject, cidr: 10.0.0.0, matchOperator: In",
            &[(".cidr", "CIDR with a mask")],
        ),
        (
            "action: Reject, cidr: 'fd00::/8', matchOperator: In",
            &[(".cidr", "IPv4 CIDR")],
        ),
        (
            "action: Reject, cidr: 10.0.0.0/8, matchOperator: Is",
            &[(".matchOperator", "Equal, NotEqual, In, NotIn")],
        ),
        (
            "action: Reject, prefixLength: {min: 1}",
            &[(".prefixLength", "cidr is required when prefixLength is set")],
        ),
        (
            "action: Reject, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {max: 33}",
            &[(".prefixLength.max", "0–32")],
        ),
        (
            "action: Reject, source: RemotePeers, peerType: eBGP, interface: '*'",
            &[],
        ),
        (
            "action: Reject, source: Local",
            &[(".source", "RemotePeers")],
        ),
        (
            "action: Reject, peerType: ebgp",
            &[(".peerType", "eBGP, iBGP")],
        ),
        (
            "action: Reject, interface: a-name-that-is-too-long",
            &[(".interface", "1–15")],
        ),
        ("action: Reject, communities: {values: ['65000:1']}", &[]),
        ("action: Reject, communities: {values: ['1:2:3']}", &[]),
        (
            "action: Reject, communities: {values: []}",
            &[(".communities.values", "exactly one")],
        ),
        (
            "action: Reject, communities: {values: ['1:1', '1:2']}",
            &[(".communities.values", "exactly one")],
        ),
        (
            "action: Reject, communities: {values: ['01:1']}",
            &[(".communities.values[0]", "leading zeros")],
        ),
        (
            "action: Reject, communities: {values: ['65536:1']}",
            &[(".communities.values[0]", "16 bit")],
        ),
        ("action: Reject, asPathPrefix: [65000, '1.10']", &[]),
        (
            "action: Reject, asPathPrefix: [x]",
            &[(".asPathPrefix[0]", "AS number")],
        ),
        ("action: Reject, priority: 512", &[]),
        (
            "action: Reject, priority: 0",
            &[(".priority", "1–2147483646")],
        ),
        (
            "action: Accept, operations: [{addCommunity: {value: '1:1'}}, {prependASPath: {prefix: [1, 2]}}, {setPriority: {value: 512}}]",
            &[],
        ),
        ("action: Accept, operations: [{}]", &[]),
        ("action: Accept, operations: []", &[(".operations", "1–10")]),
        (&eleven, &[(".operations", "1–10")]),
        (
            "action: Reject, operations: [{setPriority: {value: 1}}]",
            &[(
                ".operations",
                "operations may only be used with action Accept",
            )],
        ),
        (
            "action: Accept, operations: [{setPriority: {value: 1}, addCommunity: {value: '1:1'}}]",
            &[(".operations[0]", "one operation")],
        ),
        (
            "action: Accept, operations: [{setPriority: {value: 0}}]",
            &[(".operations[0].setPriority.value", "1–2147483646")],
        ),
        (
            "action: Accept, operations: [{addCommunity: {value: x}}]",
            &[(".operations[0].addCommunity.value", "invalid community")],
        ),
        (
            "action: Accept, operations: [{prependASPath: {prefix: []}}]",
            &[(".operations[0].prependASPath.prefix", "1–10")],
        ),
        (
            "action: Accept, operations: [{prependASPath: {}}]",
            &[(".operations[0].prependASPath.prefix", "must be set")],
        ),
    ] {
        let expected: Vec<(String, &str)> = expected
            .iter()
            .map(|(field, why)| (at(field), *why))
            .collect();
        let expected: Vec<(&str, &str)> = expected
            .iter()
            .map(|(field, why)| (field.as_str(), *why))
            .collect();
        rows("BGPFilter", "f", &[(&rule(text), &expected)]);
    }
    rows(
        "BGPFilter",
        "f",
        &[
            (
                "{importV6: [{action: Accept, cidr: 'fd00::/8', matchOperator: NotIn, prefixLength: {max: 128}}]}",
                GOOD,
            ),
            (
                "{importV6: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In}]}",
                &[("spec.importV6[0].cidr", "IPv6 CIDR")],
            ),
            (
                "{exportV6: [{action: Accept, cidr: 'fd00::/8', matchOperator: In, prefixLength: {max: 129}}]}",
                &[("spec.exportV6[0].prefixLength.max", "0–128")],
            ),
            ("{importV4: [{action: Accept}], exportV4: ~}", GOOD),
        ],
    );
}

fn other(kind: &str, spec: &str) -> Other {
    let mut parsed = parsed(kind, "default", spec);
    assert_eq!(parsed.errors, [], "{spec}");
    match parsed.resources.remove(0).value {
        Resource::Other(other) => other,
        typed => panic!("{typed:?}"),
    }
}

#[test]
fn specs_are_read() {
    let empty: Configuration = read(&other("BGPConfiguration", "~")).unwrap();
    assert_eq!(empty, Configuration::default());
    assert_eq!(
        empty.program_cluster_routes.unwrap_or_default(),
        ClusterRoutes::EnabledNoEncapOnly
    );
    let full: Configuration = read(&other(
        "BGPConfiguration",
        "{asNumber: '1.10', listenPort: 1790, serviceClusterIPs: [{}, {cidr: 10.96.0.0/12}], nodeMeshMaxRestartTime: 1m30s, communities: [{name: 1, value: '1:2'}], prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [1, '1:2:3']}], ignoredInterfaces: ~}",
    ))
    .unwrap();
    assert_eq!(full.as_number, Some(65_546));
    assert_eq!(full.listen_port, Some(1790));
    assert_eq!(full.service_cluster_ips.len(), 2);
    assert_eq!(
        full.node_mesh_max_restart_time,
        Some(Duration::from_secs(90))
    );
    assert_eq!(full.communities[0].value, Community::Standard(1, 2));
    assert_eq!(full.prefix_advertisements[0].communities, ["1", "1:2:3"]);
    let peer: Peer = read(&other(
        "BGPPeer",
        "{peerIP: '[fd00::1]:1790', asNumber: 0, sourceAddress: None, nextHopMode: Self, filters: [a, b]}",
    ))
    .unwrap();
    assert_eq!(peer.as_number, None);
    assert_eq!(peer.source_address, SourceAddress::None);
    assert_eq!(peer.next_hop_mode, Some(NextHopMode::Myself));
    assert_eq!(
        peer.peer_address(),
        Some(("fd00::1".parse().unwrap(), Some(1790)))
    );
    let filter: Filter = read(&other(
        "BGPFilter",
        "{exportV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: NotEqual, operations: [{prependASPath: {prefix: [1, '0.2']}}]}]}",
    ))
    .unwrap();
    let rule = &filter.export_v4[0];
    assert_eq!(
        (rule.action, rule.match_operator),
        (Action::Accept, Some(Operator::NotEqual))
    );
    assert_eq!(
        rule.operations[0].prepend_as_path.as_ref().unwrap().prefix,
        [1, 2]
    );
}

#[test]
fn services_are_kept_and_read() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: prod}\nspec: {clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{port: 80}]}\nstatus: {loadBalancer: {ingress: [{hostname: x}, {ip: 203.0.113.1}]}}\n";
    let parsed = parse(text.as_bytes(), "f.yaml");
    assert_eq!(parsed.errors, []);
    let Resource::Other(other) = &parsed.resources[0].value else {
        panic!()
    };
    let service: Service = read_whole(other).unwrap();
    assert_eq!(service.spec.cluster_ip, "10.96.0.1");
    assert_eq!(service.status.load_balancer.ingress.len(), 2);
    for printed in [
        to_yaml(&parsed.resources[0].value),
        to_json(&parsed.resources[0].value),
    ] {
        assert_eq!(
            parse(printed.as_bytes(), "again").resources[0].value,
            parsed.resources[0].value
        );
    }
}

#[test]
fn labels_without_quotes_are_yaml_1_1() {
    let text = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata:\n  name: n\n  labels: {a: yes, b: on, c: true, d: No, e: 'yes', f: Off, g: y, h: yes-man}\n";
    let node = |text: &str| parse(text.as_bytes(), "f").resources.remove(0).value;
    let first = node(text);
    let values: Vec<&str> = first
        .metadata()
        .labels
        .values()
        .map(String::as_str)
        .collect();
    assert_eq!(
        values,
        [
            "true", "true", "true", "false", "yes", "false", "true", "yes-man"
        ]
    );
    // What is printed is read as the same: the words stay in quotes.
    for printed in [to_yaml(&first), to_json(&first)] {
        assert_eq!(node(&printed), first, "{printed}");
    }
}
