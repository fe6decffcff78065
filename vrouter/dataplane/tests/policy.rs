//! Policy as the packet path sees it: first packets ask it, replies do not, changes reach what
//! is under way.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use encap::Family;
use policy::compile::Update;
use policy::model::spec::PolicySpec;
use policy::model::{Policy, PolicyKey, PolicyKind};
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::events::Event;
use world::packets::{ACK, FIN, SYN, echo, tcp, udp};
use world::{HOST, Mode, Node, Plan, VXLAN4, a4, address, arriving, endpoint, one, pod, underlay};

fn policy(name: &str, spec: &str) -> Policy {
    let spec: PolicySpec = serde_json::from_str(spec).unwrap();
    let key = PolicyKey::new(PolicyKind::NetworkPolicy, Some("ns"), name).unwrap();
    Policy::new(key, &spec).unwrap()
}

fn remove(name: &str) -> Update {
    let key = PolicyKey::new(PolicyKind::NetworkPolicy, Some("ns"), name).unwrap();
    Update::RemovePolicy(key)
}

const ONLY_80: &str = r#"{"selector":"name == 'pod1-2'","types":["Ingress"],
    "ingress":[{"action":"Allow","protocol":"TCP","destination":{"ports":[80]}}]}"#;

fn node() -> Node {
    Plan::new(1, Mode::Vxlan4).build()
}

fn denials(node: &Node) -> Vec<(DropReason, bool)> {
    std::iter::from_fn(|| node.events.pop())
        .filter_map(|event| match event {
            Event::Denied(denial) => Some((denial.reason, denial.cut)),
            Event::Dropped(_) | Event::Traced(_) | Event::DeviceFailed { .. } => None,
        })
        .collect()
}

#[test]
fn allow_deny_and_what_nobody_allowed() {
    for family in [Family::V4, Family::V6] {
        let mut node = node();
        let (a, b) = (address(family, 1, 1), address(family, 1, 2));
        node.policy(policy("web", ONLY_80));
        one(
            node.pod_sends(1, &tcp(a, b, (4000, 80), 1, SYN, &[])),
            pod(2),
        );
        assert!(
            node.pod_sends(1, &tcp(a, b, (4000, 81), 1, SYN, &[]))
                .is_empty()
        );
        assert!(node.pod_sends(1, &udp(a, b, (4000, 80), b"x")).is_empty());
        assert!(node.pod_sends(1, &echo(a, b, 5, false, b"x")).is_empty());
        assert_eq!(node.dropped(DropReason::PolicyDefaultDeny), 3);
        // Replies ask nobody; the workload's own packets ask its egress only.
        one(
            node.pod_sends(2, &tcp(b, a, (80, 4000), 1, SYN | ACK, &[])),
            pod(1),
        );
        one(node.pod_sends(2, &udp(b, a, (9, 9), b"x")), pod(1));
        one(node.pod_sends(1, &udp(a, b, (9, 9), b"x")), pod(2));
        // A rule that denies has its own name.
        node.policy(policy(
            "never",
            r#"{"order":1,"selector":"name == 'pod1-1'","types":["Egress"],
                "egress":[{"action":"Deny","protocol":"UDP"},{"action":"Allow"}]}"#,
        ));
        assert!(node.pod_sends(1, &udp(a, b, (7, 7), b"x")).is_empty());
        assert_eq!(node.dropped(DropReason::PolicyDenied), 1);
        assert_eq!(denials(&node).len(), 4);
    }
}

#[test]
fn without_policy_and_profile_nothing_passes() {
    let mut node = node();
    node.policy(endpoint(1, 2, &[("name", "pod1-2")], &[]));
    let (a, b) = (a4(1, 1), a4(1, 2));
    assert!(node.pod_sends(1, &udp(a, b, (1, 2), b"x")).is_empty());
    assert!(node.pod_sends(2, &udp(b, a, (3, 4), b"x")).is_empty());
    assert_eq!(node.dropped(DropReason::PolicyDefaultDeny), 2);
    // The host reaches its own workloads all the same, and hears their answer.
    one(node.host_sends(&udp(a4(1, 0), b, (5, 6), b"probe")), pod(2));
    one(node.pod_sends(2, &udp(b, a4(1, 0), (6, 5), b"alive")), HOST);
    // But not what it merely forwards.
    let outside = [198, 51, 100, 9].into();
    assert!(node.host_sends(&udp(outside, b, (5, 6), b"x")).is_empty());
    assert_eq!(node.dropped(DropReason::PolicyDefaultDeny), 3);
}

#[test]
fn a_new_policy_cuts_what_it_forbids_and_nothing_else() {
    let mut node = node();
    let (a, b) = (a4(1, 1), a4(1, 2));
    let ports = [80, 81];
    for port in ports {
        one(
            node.pod_sends(1, &tcp(a, b, (4000, port), 1, SYN, &[])),
            pod(2),
        );
        one(
            node.pod_sends(2, &tcp(b, a, (port, 4000), 1, SYN | ACK, &[])),
            pod(1),
        );
        one(
            node.pod_sends(1, &tcp(a, b, (4000, port), 2, ACK, b"x")),
            pod(2),
        );
    }
    node.policy(policy("web", ONLY_80));
    one(
        node.pod_sends(1, &tcp(a, b, (4000, 80), 3, ACK, b"x")),
        pod(2),
    );
    one(
        node.pod_sends(2, &tcp(b, a, (80, 4000), 3, ACK, b"x")),
        pod(1),
    );
    assert_eq!(node.flows.statistics().inserts, 2);
    // The forbidden one is cut, whichever side speaks first.
    assert!(
        node.pod_sends(1, &tcp(a, b, (4000, 81), 3, ACK, b"x"))
            .is_empty()
    );
    assert!(
        node.pod_sends(1, &tcp(a, b, (4000, 81), 3, ACK, b"x"))
            .is_empty()
    );
    assert_eq!(node.dropped(DropReason::PolicyDefaultDeny), 2);
    let expected = [true, false].map(|cut| (DropReason::PolicyDefaultDeny, cut));
    assert_eq!(denials(&node), expected);
    // And may be opened again when the policy goes.
    node.policy(remove("web"));
    one(
        node.pod_sends(1, &tcp(a, b, (4000, 81), 1, SYN, &[])),
        pod(2),
    );
}

#[test]
fn a_cut_is_felt_by_the_replying_side_too() {
    let mut node = node();
    let (a, b) = (a4(1, 1), a4(1, 2));
    one(node.pod_sends(1, &udp(a, b, (4000, 81), b"x")), pod(2));
    one(node.pod_sends(2, &udp(b, a, (81, 4000), b"x")), pod(1));
    node.policy(policy("web", ONLY_80));
    // The reply is judged by what the first packet was.
    assert!(node.pod_sends(2, &udp(b, a, (81, 4000), b"x")).is_empty());
    assert_eq!(node.dropped(DropReason::PolicyDefaultDeny), 1);
}

#[test]
fn sessions_go_on_over_new_tables() {
    let mut node = node();
    let (a, b) = (a4(1, 1), a4(1, 2));
    node.policy(policy("web", ONLY_80));
    one(
        node.pod_sends(1, &tcp(a, b, (4000, 80), 1, SYN, &[])),
        pod(2),
    );
    for round in 2..50 {
        node.publish(|_| {});
        // By turns from both sides: a renewed session keeps its direction.
        one(
            node.pod_sends(2, &tcp(b, a, (80, 4000), round, ACK, b"y")),
            pod(1),
        );
        node.publish(|_| {});
        one(
            node.pod_sends(1, &tcp(a, b, (4000, 80), round, ACK, b"x")),
            pod(2),
        );
    }
    assert_eq!(node.flows.statistics().inserts, 1);
    // Ports used again after the end: a new session, asked for anew.
    for (from, packet) in [
        (1, tcp(a, b, (4000, 80), 90, FIN | ACK, &[])),
        (2, tcp(b, a, (80, 4000), 90, FIN | ACK, &[])),
        (1, tcp(a, b, (4000, 80), 1000, SYN, &[])),
    ] {
        one(node.pod_sends(from, &packet), pod(3 - from));
    }
    assert_eq!(node.flows.statistics().inserts, 2);
    // The same, when the tables changed in between.
    for (from, packet) in [
        (1, tcp(a, b, (4000, 80), 1090, FIN | ACK, &[])),
        (2, tcp(b, a, (80, 4000), 90, FIN | ACK, &[])),
    ] {
        one(node.pod_sends(from, &packet), pod(3 - from));
    }
    node.publish(|_| {});
    one(
        node.pod_sends(1, &tcp(a, b, (4000, 80), 5000, SYN, &[])),
        pod(2),
    );
    assert_eq!(node.flows.statistics().inserts, 3);
}

#[test]
fn both_ends_of_a_tunnel_have_their_say() {
    let mut near = node();
    let mut far = Plan::new(2, Mode::Vxlan4).build();
    far.policy(policy(
        "web",
        r#"{"selector":"name == 'pod2-1'","types":["Ingress"],
            "ingress":[{"action":"Allow","source":{"selector":"name == 'pod1-1'"}}]}"#,
    ));
    for (number, passes) in [(1, true), (2, false)] {
        let packet = udp(a4(1, number), a4(2, 1), (1, 2), b"x");
        let sent = one(near.pod_sends(number, &packet), VXLAN4);
        let got = far.pass(VXLAN4, arriving(&sent, underlay(Family::V4, 1)));
        assert_eq!(got.len() == 1, passes);
    }
    assert_eq!(far.dropped(DropReason::PolicyDefaultDeny), 1);
}
