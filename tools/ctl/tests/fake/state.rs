//! The invented state: two pods on this node, two other nodes.

use std::net::IpAddr;

use vrouter_control::model::*;

use super::MANY;

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn mac(last: u8) -> Mac {
    Mac([0x02, 0x42, 0x0a, 0x41, 0, last])
}

pub(super) fn traffic(packets: u64, bytes: u64) -> Traffic {
    Traffic { packets, bytes }
}

pub(super) fn counters(n: u64) -> InterfaceCounters {
    InterfaceCounters {
        rx_packets: 1200 * n,
        rx_bytes: 1_800_000 * n,
        rx_dropped: n,
        tx_packets: 900 * n,
        tx_bytes: 60_000 * n,
    }
}

pub(super) fn interface(id: u32, name: &str, kind: InterfaceKind) -> Interface {
    Interface {
        id,
        name: name.into(),
        kind,
        state: InterfaceState::Up,
        reason: None,
        endpoint: None,
        netns: None,
        device: None,
        link: None,
        link_reason: None,
        mac: None,
        mtu: 1450,
        addresses: Vec::new(),
        queues: 2,
        offloads: vec!["checksum".into(), "tso".into(), "uso".into()],
        counters: counters(id.into()),
        workers: Vec::new(),
    }
}

pub(super) fn workload(id: u32, name: &str, pod: &str, addresses: &[&str]) -> Interface {
    Interface {
        endpoint: Some(format!("default/{pod}")),
        netns: Some(format!("/run/netns/{pod}")),
        device: Some("eth0".into()),
        link: Some("veth".into()),
        mac: Some(mac(u8::try_from(id).unwrap())),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ..interface(id, name, InterfaceKind::Workload)
    }
}

pub(super) fn interfaces() -> Vec<Interface> {
    vec![
        workload(
            3,
            "cali2b40a8b95f4",
            "pod1-1",
            &["10.65.0.2/32", "fd00:65::2/128"],
        ),
        Interface {
            state: InterfaceState::Failed,
            reason: Some("the namespace is gone".into()),
            ..workload(4, "calib7d31f0c1aa", "pod1-2", &["10.65.0.3/32"])
        },
        Interface {
            device: Some("tunl0".into()),
            addresses: vec!["10.65.0.1/32".parse().unwrap()],
            ..interface(1, "tunl0", InterfaceKind::Host)
        },
        Interface {
            offloads: vec!["datagrams".into()],
            mac: Some(mac(0x10)),
            ..interface(2, "vxlan", InterfaceKind::Vxlan)
        },
    ]
}

pub(super) fn hop(interface: &str, address: Option<&str>, encap: Encap) -> NextHop {
    let vni = (encap == Encap::Vxlan).then_some(4096);
    NextHop {
        interface: interface.into(),
        address: address.map(ip),
        encap,
        vni,
    }
}

pub(super) fn route(prefix: &str, kind: RouteKind, hops: Vec<NextHop>, source: &str) -> Route {
    let mtu = (kind != RouteKind::Drop).then_some(1450);
    let prefix = prefix.parse().unwrap();
    Route {
        prefix,
        kind,
        next_hops: hops,
        mtu,
        source: Some(source.into()),
    }
}

pub(super) fn routes() -> Vec<Route> {
    let pod = |name| vec![hop(name, None, Encap::None)];
    let vxlan = |node| hop("vxlan", Some(node), Encap::Vxlan);
    let mut list = vec![
        route("0.0.0.0/0", RouteKind::Host, pod("tunl0"), "default"),
        route("10.65.0.0/26", RouteKind::Drop, Vec::new(), "blackhole"),
        route("10.65.0.1/32", RouteKind::Local, pod("tunl0"), "Node/node1"),
        route(
            "10.65.0.2/32",
            RouteKind::Neighbor,
            pod("cali2b40a8b95f4"),
            "WorkloadEndpoint/default/node1-k8s-pod1--1-eth0",
        ),
        route(
            "10.65.1.0/26",
            RouteKind::Tunnel,
            vec![vxlan("172.16.0.2")],
            "BlockAffinity/node2-10-65-1-0-26",
        ),
        route(
            "10.66.0.0/16",
            RouteKind::Tunnel,
            vec![vxlan("172.16.0.2"), vxlan("172.16.0.3")],
            "BlockAffinity/many",
        ),
    ];
    list.extend((0..MANY).map(|n| {
        let prefix = ipnet::Ipv4Net::new((0x6440_0000 + n * 256).into(), 24).unwrap();
        route(
            &prefix.to_string(),
            RouteKind::Tunnel,
            vec![vxlan("172.16.0.3")],
            "bulk",
        )
    }));
    list.push(route(
        "fd00:65::2/128",
        RouteKind::Neighbor,
        pod("cali2b40a8b95f4"),
        "WorkloadEndpoint/default/node1-k8s-pod1--1-eth0",
    ));
    list
}

pub(super) fn rule(
    direction: &str,
    tier: Option<&str>,
    policy: &str,
    rule: u32,
    action: &str,
) -> RuleReference {
    RuleReference {
        direction: direction.into(),
        host_endpoint: None,
        tier: tier.map(Into::into),
        policy: Some(policy.into()),
        rule: Some(rule),
        action: action.into(),
    }
}

pub(super) fn tuple(
    source: &str,
    sport: Option<u16>,
    destination: &str,
    dport: Option<u16>,
) -> Tuple {
    Tuple {
        source: ip(source),
        source_port: sport,
        destination: ip(destination),
        destination_port: dport,
    }
}

pub(super) fn flow(protocol: Protocol, original: Tuple, state: &str) -> Flow {
    Flow {
        protocol,
        original,
        reply: Tuple {
            source: original.destination,
            source_port: original.destination_port,
            destination: original.source,
            destination_port: original.source_port,
        },
        state: state.into(),
        age_ms: 200_000,
        idle_ms: 1_250,
        timeout_ms: 3_600_000,
        original_traffic: traffic(10, 840),
        reply_traffic: traffic(9, 5_000_000),
        generation: 7,
        offload: None,
        source_endpoint: Some("default/pod1-1".into()),
        destination_endpoint: None,
        rules: vec![rule("egress", None, "kns.default", 0, "Allow")],
    }
}

pub(super) fn flows() -> Vec<Flow> {
    let dnat = flow(
        Protocol::TCP,
        tuple("10.65.0.2", Some(43210), "10.96.0.10", Some(80)),
        "established",
    );
    vec![
        Flow {
            reply: tuple("10.65.1.2", Some(8080), "10.65.0.2", Some(43210)),
            ..dnat
        },
        flow(
            Protocol::UDP,
            tuple("fd00:65::2", Some(5353), "fd00:65::53", Some(53)),
            "unreplied",
        ),
        Flow {
            offload: Some("pod".into()),
            ..flow(
                Protocol::ICMP,
                tuple("10.65.0.2", Some(77), "10.65.1.2", Some(77)),
                "established",
            )
        },
        flow(
            Protocol(47),
            tuple("10.65.0.2", None, "10.65.1.2", None),
            "unreplied",
        ),
    ]
}

pub(super) fn policy_rule(index: u32, action: &str, matches: &str, packets: u64) -> PolicyRule {
    let hits = Hits {
        packets,
        bytes: packets * 100,
        flows: packets.div_ceil(10),
    };
    PolicyRule {
        index,
        action: action.into(),
        matches: matches.into(),
        hits,
    }
}

pub(super) fn policies() -> Vec<EndpointPolicy> {
    let policy = |kind: &str, name: &str, order, staged, rules| PolicyPolicy {
        kind: kind.into(),
        name: name.into(),
        order,
        staged,
        rules,
    };
    let tier = |name: &str, order, action: &str, policies| PolicyTier {
        name: name.into(),
        order,
        default_action: action.into(),
        default_hits: Hits {
            packets: 5,
            bytes: 300,
            flows: 5,
        },
        policies,
    };
    let profile = |rules| {
        vec![PolicyProfile {
            name: "kns.default".into(),
            rules,
        }]
    };
    let security = policy(
        "GlobalNetworkPolicy",
        "security.no-telnet",
        Some(10.0),
        false,
        vec![
            policy_rule(0, "Deny", "tcp, destination ports 23", 2),
            policy_rule(1, "Pass", "", 120),
        ],
    );
    let web = policy(
        "NetworkPolicy",
        "default/allow-web",
        Some(100.5),
        false,
        vec![policy_rule(
            0,
            "Allow",
            "tcp, source selector role == 'client', destination ports 80,443",
            90,
        )],
    );
    let staged = policy(
        "StagedNetworkPolicy",
        "default/try-it",
        None,
        true,
        vec![policy_rule(0, "Deny", "", 7)],
    );
    vec![
        EndpointPolicy {
            endpoint: "default/pod1-1".into(),
            interface: Some("cali2b40a8b95f4".into()),
            ingress: PolicyDirection {
                tiers: vec![
                    tier("security", Some(100.0), "Pass", vec![security]),
                    tier("default", Some(1_000_000.0), "Deny", vec![web, staged]),
                ],
                profiles: Vec::new(),
                no_match: Hits::default(),
            },
            egress: PolicyDirection {
                profiles: profile(vec![policy_rule(0, "Allow", "", 4000)]),
                ..PolicyDirection::default()
            },
        },
        EndpointPolicy {
            endpoint: "default/pod1-2".into(),
            interface: None,
            ingress: PolicyDirection {
                profiles: profile(Vec::new()),
                ..PolicyDirection::default()
            },
            egress: PolicyDirection::default(),
        },
    ]
}

pub(super) fn named(reason: &str, sentence: &str, packets: u64) -> NamedCount {
    NamedCount {
        reason: reason.into(),
        sentence: sentence.into(),
        packets,
    }
}

pub(super) fn dropped() -> Vec<NamedCount> {
    vec![
        named(
            "spoofed-source",
            "A workload sent from an address that is not its own.",
            0,
        ),
        named("no-route", "No route to the destination.", 4),
        named(
            "policy-denied",
            "A rule of a policy or profile denies the packet.",
            2,
        ),
    ]
}
