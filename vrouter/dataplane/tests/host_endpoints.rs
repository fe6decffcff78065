//! Host endpoints in the packet path: every packet meets the policies that the slow evaluator,
//! `policy::reference`, says it meets; failsafe ports stay open; untracked packets get no session.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::net::IpAddr;

use encap::Family;
use policy::compile::{Failsafes, Update};
use policy::model::spec::PolicySpec;
use policy::model::{
    Endpoint, EndpointKey, EndpointSpec, PacketTuple, Policy, PolicyKey, PolicyKind,
};
use policy::reference::{Passage, Resources, Side, ToHost};
use policy::selector::Labels;
use vrouter_dataplane::buffer::Meta;
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::events::{Event, Whose};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::Frame;
use vrouter_dataplane::tables::EndpointToHost;
use world::packets::{ACK, SYN, tcp};
use world::random::Random;
use world::{Chosen, HOST, IPIP, Mode, Node, Plan, a4, endpoint, one, pod, underlay};

const OUTSIDE: [u8; 4] = [198, 51, 100, 9];

/// A node whose other node is reached by IPIP, whose arriving packets are plain ones.
fn node(chosen: Chosen) -> Node {
    let mut node = Plan::new(1, Mode::Ipip).build();
    for name in ["all", "uplink", "tunnel"] {
        node.graph.apply(host_endpoint(name).into());
    }
    node.host_endpoints = chosen;
    let none = Failsafes {
        inbound: Vec::new(),
        outbound: Vec::new(),
    };
    node.policy(Update::Failsafes(none));
    node
}

fn host_endpoint(name: &str) -> Endpoint {
    let spec = EndpointSpec {
        node: "node1".into(),
        labels: Labels::from_pairs([("host", name)]).unwrap(),
        interface: Some("*".into()),
        ..EndpointSpec::default()
    };
    Endpoint::new(EndpointKey::host(name).unwrap(), &spec).unwrap()
}

fn policy(name: &str, spec: &str) -> Policy {
    let spec: PolicySpec = serde_json::from_str(spec).unwrap();
    let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, name).unwrap();
    Policy::new(key, &spec).unwrap()
}

/// Everything in one: `*` for workloads' links, one each for the other two.
fn each() -> Chosen {
    Chosen {
        all: Some("all"),
        uplink: Some("uplink"),
        tunnel: Some((IPIP, "tunnel")),
    }
}

fn tunnel_sends(node: &mut Node, ip: Vec<u8>) -> Vec<(InterfaceId, Frame)> {
    let meta = Meta {
        remote: Some(underlay(Family::V4, 2)),
        ..Meta::default()
    };
    node.pass(IPIP, Frame { bytes: ip, meta })
}

/// Who sends or receives, beside the node and its pods.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Pod(u8),
    Host,
    Outside,
    OtherNode,
}

impl End {
    const ALL: [Self; 5] = [
        Self::Pod(1),
        Self::Pod(2),
        Self::Host,
        Self::Outside,
        Self::OtherNode,
    ];

    fn address(self) -> IpAddr {
        match self {
            Self::Pod(number) => a4(1, number),
            Self::Host => a4(1, 0),
            Self::Outside => OUTSIDE.into(),
            Self::OtherNode => a4(2, 1),
        }
    }

    fn sends(self, node: &mut Node, ip: Vec<u8>) -> Vec<(InterfaceId, Frame)> {
        match self {
            Self::Pod(number) => node.pod_sends(number, &ip),
            Self::Host | Self::Outside => node.host_sends(&ip),
            Self::OtherNode => tunnel_sends(node, ip),
        }
    }
}

fn key(name: &str) -> EndpointKey {
    EndpointKey::host(name).unwrap()
}

fn workload(number: u8) -> EndpointKey {
    EndpointKey::workload("ns", &format!("pod1-{number}")).unwrap()
}

/// A random policy for hosts or workloads, and its text for a failure.
fn random_policy(random: &mut Random) -> (String, String) {
    let name = format!("p{}", random.below(6));
    let selector = *random.pick(&[
        "has(host)",
        "host == 'all'",
        "host == 'uplink'",
        "host == 'tunnel'",
        "all()",
        "name == 'pod1-1'",
    ]);
    let (flags, both) = *random.pick(&[
        ("", true),
        (r#""applyOnForward":true,"#, true),
        (r#""applyOnForward":true,"doNotTrack":true,"#, true),
        (r#""applyOnForward":true,"preDNAT":true,"#, false),
    ]);
    let mut rules = || {
        let count = random.below(3);
        let rules: Vec<String> = (0..count)
            .map(|_| {
                let action = *random.pick(&["Allow", "Deny", "Pass", "Allow"]);
                let ports = *random.pick(&["22", "80", "\"22:80\"", "179,22"]);
                match random.below(4) {
                    0 => format!(r#"{{"action":"{action}"}}"#),
                    1 => format!(r#"{{"action":"{action}","source":{{"nets":["10.65.2.0/24"]}}}}"#),
                    _ => format!(
                        r#"{{"action":"{action}","protocol":"TCP","destination":{{"ports":[{ports}]}}}}"#
                    ),
                }
            })
            .collect();
        rules.join(",")
    };
    let (ingress, egress) = (rules(), rules());
    let egress = if both {
        format!(r#","egress":[{egress}]"#)
    } else {
        String::new()
    };
    let types = if both {
        r#""Ingress","Egress""#
    } else {
        r#""Ingress""#
    };
    let order = random.below(3);
    let spec = format!(
        r#"{{"order":{order},"selector":"{selector}",{flags}"types":[{types}],"ingress":[{ingress}]{egress}}}"#
    );
    (name, spec)
}

#[test]
fn packets_meet_what_the_slow_evaluator_says() {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let named = |random: &mut Random, name| (!random.once_in(3)).then_some(name);
        let chosen = Chosen {
            all: named(&mut random, "all"),
            uplink: named(&mut random, "uplink"),
            tunnel: named(&mut random, "tunnel").map(|name| (IPIP, name)),
        };
        let mut node = node(chosen.clone());
        let mut slow = Resources::new();
        let mut both = |node: &mut Node, update: Update| {
            slow.apply(update.clone());
            node.policy(update);
        };
        let open = policy::model::Profile::allowing("open", Labels::new()).unwrap();
        both(&mut node, open.into());
        for number in [1, 2] {
            let name = format!("pod1-{number}");
            both(
                &mut node,
                endpoint(1, number, &[("name", &name)], &["open"]).into(),
            );
        }
        for name in ["all", "uplink", "tunnel"] {
            both(&mut node, host_endpoint(name).into());
        }
        let failsafes = if random.once_in(2) {
            Failsafes::default()
        } else {
            Failsafes {
                inbound: Vec::new(),
                outbound: Vec::new(),
            }
        };
        both(&mut node, Update::Failsafes(failsafes));
        let mut texts = Vec::new();
        for _ in 0..random.below(5) {
            let (name, spec) = random_policy(&mut random);
            both(&mut node, policy(&name, &spec).into());
            texts.push((name, spec));
        }
        let (fast, to_host) = *random.pick(&[
            (EndpointToHost::Drop, ToHost::Drop),
            (EndpointToHost::Accept, ToHost::Accept),
            (EndpointToHost::Return, ToHost::Return),
        ]);
        node.host(|host| host.endpoint_to_host = fast);
        let mut port = 1000;
        for from in End::ALL {
            for to in End::ALL {
                let by_host = |end| matches!(end, End::Host | End::Outside);
                if from == to || (by_host(from) && by_host(to)) {
                    continue;
                }
                for number in [22, 80, 179, 443] {
                    port += 1;
                    let keys = [1, 2].map(workload);
                    let uplink = chosen.uplink.or(chosen.all).map(key);
                    let (tunnel, all) = (chosen.tunnel.map(|(_, n)| key(n)), chosen.all.map(key));
                    let side = |end| match end {
                        End::Pod(number) => Side::Workload(&keys[usize::from(number) - 1]),
                        End::Host => Side::Host,
                        End::Outside => Side::Interface(uplink.as_ref()),
                        End::OtherNode => Side::Interface(tunnel.as_ref()),
                    };
                    let passage = Passage {
                        from: side(from),
                        to: side(to),
                        all: all.as_ref(),
                        to_host,
                    };
                    let (source, destination) = (from.address(), to.address());
                    let tuple = PacketTuple::new(source, destination, 6).with_ports(port, number);
                    let expected = slow.pass(&passage, &tuple);
                    let before = node.flows.statistics().inserts;
                    let syn = tcp(source, destination, (port, number), 1, SYN, &[]);
                    let out = from.sends(&mut node, syn);
                    let context = || {
                        format!(
                            "seed {seed}: {from:?} to {to:?}:{number}, {texts:?}, {chosen:?}, {expected:?}"
                        )
                    };
                    assert_eq!(out.len() == 1, expected.allow, "{}", context());
                    let inserted = node.flows.statistics().inserts - before;
                    let tracked = expected.allow && !expected.untracked;
                    assert_eq!(inserted == 1, tracked, "{}", context());
                }
            }
        }
    }
}

const DENY_ALL: &str = r#"{"selector":"has(host)","applyOnForward":true,"types":["Ingress","Egress"],
    "ingress":[{"action":"Deny"}],"egress":[{"action":"Deny"}]}"#;

#[test]
fn failsafe_ports_stay_open_to_the_host_and_not_to_pods() {
    let mut node = node(each());
    node.policy(policy("deny", DENY_ALL));
    node.policy(Update::Failsafes(Failsafes::default()));
    let (far, host) = (a4(2, 1), a4(1, 0));
    let syn = |to, port| tcp(far, to, (4000, port), 1, SYN, &[]);
    one(tunnel_sends(&mut node, syn(host, 22)), HOST);
    // And its answers are of the same connection.
    let answer = tcp(host, far, (22, 4000), 1, SYN | ACK, &[]);
    one(node.host_sends(&answer), IPIP);
    assert!(tunnel_sends(&mut node, syn(host, 80)).is_empty());
    assert!(tunnel_sends(&mut node, syn(a4(1, 1), 22)).is_empty());
    assert_eq!(node.dropped(DropReason::PolicyDenied), 2);
    // Outbound.
    let out = |port| tcp(host, far, (4001, port), 1, SYN, &[]);
    one(node.host_sends(&out(179)), IPIP);
    assert!(node.host_sends(&out(80)).is_empty());
    // The host always reaches its own pods.
    one(
        node.host_sends(&tcp(host, a4(1, 1), (4002, 80), 1, SYN, &[])),
        pod(1),
    );
}

#[test]
fn a_denial_names_the_host_endpoint() {
    let mut node = node(each());
    node.policy(policy("deny", DENY_ALL));
    let packet = tcp(a4(1, 1), OUTSIDE.into(), (4000, 80), 1, SYN, &[]);
    assert!(node.pod_sends(1, &packet).is_empty());
    let compiled = node.graph.snapshot();
    let Some(Event::Denied(denial)) = node.events.pop() else {
        panic!("a denial is reported");
    };
    let (whose, _, rule) = denial.rule.unwrap();
    assert_eq!(whose, Whose::Host(compiled.endpoint(&key("all")).unwrap()));
    assert_eq!(compiled.rule(rule).unwrap().index, Some(0));
}

#[test]
fn the_hosts_action_comes_before_its_endpoint() {
    let mut node = node(each());
    node.policy(policy(
        "only-80",
        r#"{"selector":"host == 'all'","types":["Ingress"],
            "ingress":[{"action":"Allow","protocol":"TCP","destination":{"ports":[80]}}]}"#,
    ));
    let (a, host) = (a4(1, 1), a4(1, 0));
    let mut source = 4000;
    let mut passes = |node: &mut Node, port| {
        source += 1;
        let out = node.pod_sends(1, &tcp(a, host, (source, port), 1, SYN, &[]));
        !out.is_empty()
    };
    for (action, reached) in [
        (EndpointToHost::Drop, [false, false]),
        (EndpointToHost::Accept, [true, true]),
        (EndpointToHost::Return, [true, false]),
    ] {
        node.host(|host| host.endpoint_to_host = action);
        assert_eq!(
            [80, 81].map(|port| passes(&mut node, port)),
            reached,
            "{action:?}"
        );
    }
    node.host_endpoints.all = None;
    node.policy(host_endpoint("all"));
    assert!(passes(&mut node, 81), "nobody is left to refuse it");
}

#[test]
fn untracked_packets_have_no_session_and_need_a_rule_for_each_direction() {
    let mut node = node(each());
    let (far, host) = (a4(2, 1), a4(1, 0));
    let question = tcp(far, host, (4000, 53), 1, SYN, &[]);
    let answer = tcp(host, far, (53, 4000), 1, SYN | ACK, &[]);
    let rules = |egress: &str| {
        format!(
            r#"{{"selector":"host == 'tunnel'","doNotTrack":true,"applyOnForward":true,
            "types":["Ingress","Egress"],"ingress":[{{"action":"Allow","protocol":"TCP",
            "destination":{{"ports":[53]}}}}],"egress":[{egress}]}}"#
        )
    };
    node.policy(policy("dns", &rules("")));
    one(tunnel_sends(&mut node, question.clone()), HOST);
    assert!(node.host_sends(&answer).is_empty());
    assert_eq!(node.flows.statistics().inserts, 0);
    let back = r#"{"action":"Allow","protocol":"TCP","source":{"ports":[53]}}"#;
    node.policy(policy("dns", &rules(back)));
    one(tunnel_sends(&mut node, question), HOST);
    one(node.host_sends(&answer), IPIP);
    assert_eq!(node.flows.statistics().inserts, 0);
    // A policy that denies reaches packets of sessions, too.
    node.policy(policy(
        "normal",
        r#"{"selector":"host == 'tunnel'","types":["Ingress"],
        "ingress":[{"action":"Allow"}]}"#,
    ));
    let other = |flags, seq| tcp(far, host, (4000, 80), seq, flags, &[]);
    one(tunnel_sends(&mut node, other(SYN, 1)), HOST);
    assert_eq!(node.flows.statistics().inserts, 1);
    let deny = r#"{"order":1,"selector":"host == 'tunnel'","doNotTrack":true,"applyOnForward":true,
        "ingress":[{"action":"Deny","protocol":"TCP","destination":{"ports":[80]}}]}"#;
    node.policy(policy("deny", deny));
    assert!(tunnel_sends(&mut node, other(ACK, 2)).is_empty());
    assert_eq!(node.dropped(DropReason::PolicyDenied), 1);
}

#[test]
fn a_change_reaches_connections_under_way() {
    let mut node = node(each());
    let (a, far) = (a4(1, 1), a4(2, 1));
    let packet = |flags, seq| tcp(a, far, (4000, 80), seq, flags, b"x");
    one(node.pod_sends(1, &packet(SYN, 1)), IPIP);
    one(
        tunnel_sends(&mut node, tcp(far, a, (80, 4000), 1, SYN | ACK, &[])),
        pod(1),
    );
    node.policy(policy(
        "forward",
        r#"{"selector":"host == 'tunnel'","applyOnForward":true,"types":["Egress"],
            "egress":[{"action":"Deny"}]}"#,
    ));
    assert!(node.pod_sends(1, &packet(ACK, 2)).is_empty());
    // Nor does it come back the other way round.
    let reply = tcp(far, a, (80, 4000), 2, ACK, b"y");
    assert!(tunnel_sends(&mut node, reply).is_empty());
    assert!(node.pod_sends(1, &packet(ACK, 2)).is_empty());
    assert_eq!(node.counters().flows_cut.value(), 1);
}
