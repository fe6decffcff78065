//! Connections that a change of policy cuts: they stay cut whichever side speaks, both ends are
//! reset where that is wanted, and ICMP errors about them do not pass either.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::net::IpAddr;

use encap::Family;
use policy::compile::Update;
use policy::flow::Verdict;
use policy::model::spec::PolicySpec;
use policy::model::{Policy, PolicyKey, PolicyKind};
use smoltcp::wire::{TcpPacket, TcpSeqNumber};
use vrouter_dataplane::adjacency::ETHERNET;
use vrouter_dataplane::drop::{DropReason, GenerateReason};
use vrouter_dataplane::events::Event;
use vrouter_dataplane::memory::Frame;
use world::packets::{ACK, PSH, RST, SYN, error, sums_are_right, tcp, udp};
use world::{Mode, Node, Plan, VXLAN4, a4, address, arriving, one, pod, underlay};

fn policy(spec: &str) -> Policy {
    let spec: PolicySpec = serde_json::from_str(spec).unwrap();
    Policy::new(key(), &spec).unwrap()
}

fn key() -> PolicyKey {
    PolicyKey::new(PolicyKind::NetworkPolicy, Some("ns"), "cut").unwrap()
}

/// The first pod may no longer send to port 81.
const NOT_81: &str = r#"{"selector":"name == 'pod1-1'","types":["Egress"],"egress":[
    {"action":"Deny","protocol":"TCP","destination":{"ports":[81]}},
    {"action":"Deny","protocol":"UDP","destination":{"ports":[81]}},{"action":"Allow"}]}"#;

const A: u16 = 4000;
const B: u16 = 81;

/// A segment with its acknowledgment.
fn segment(
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    (seq, ack): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = tcp(from.0, to.0, (from.1, to.1), seq, flags, payload);
    let layers = encap::ip::Layers::parse(&packet, 0).unwrap();
    let at = layers.l4;
    packet[at + 8..at + 12].copy_from_slice(&ack.to_be_bytes());
    packet[at + 16..at + 18].fill(0);
    let length = packet.len() - at;
    let pseudo = match (from.0, to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            encap::checksum::pseudo_v4(from, to, 6, length as u16)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            encap::checksum::pseudo_v6(from, to, 6, length as u32)
        }
        _ => unreachable!("one family for both"),
    };
    let sum = (pseudo + encap::checksum::sum(&packet[at..])).checksum();
    packet[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// What a reset says: from, to, sequence number, acknowledgment.
#[derive(Debug, PartialEq)]
struct Reset(IpAddr, IpAddr, u32, Option<u32>);

fn reset(ip: &[u8]) -> Reset {
    assert!(sums_are_right(ip), "{ip:02x?}");
    let layers = encap::ip::Layers::parse(ip, 0).unwrap();
    let (from, to) = world::packets::addresses(ip);
    let tcp = TcpPacket::new_checked(&ip[layers.l4..]).unwrap();
    assert!(tcp.rst() && !tcp.syn() && !tcp.fin() && tcp.payload().is_empty());
    let TcpSeqNumber(seq) = tcp.seq_number();
    let TcpSeqNumber(ack) = tcp.ack_number();
    Reset(from, to, seq as u32, tcp.ack().then_some(ack as u32))
}

fn at_pod(frame: &Frame) -> &[u8] {
    &frame.bytes[ETHERNET..]
}

fn cuts(node: &Node) -> Vec<bool> {
    std::iter::from_fn(|| node.events.pop())
        .filter_map(|event| match event {
            Event::Denied(denial) => {
                assert!(denial.rule.is_some(), "the rule is told");
                Some(denial.cut)
            }
            Event::Dropped(_) | Event::Traced(_) | Event::DeviceFailed { .. } => None,
        })
        .collect()
}

/// A connection from the first pod to the second, which stays on the node.
fn connect(node: &mut Node, a: IpAddr, b: IpAddr) {
    let (from, to) = ((a, A), (b, B));
    one(
        node.pod_sends(1, &segment(from, to, (100, 0), SYN, &[])),
        pod(2),
    );
    let answer = segment(to, from, (900, 101), SYN | ACK, &[]);
    one(node.pod_sends(2, &answer), pod(1));
    one(
        node.pod_sends(1, &segment(from, to, (101, 901), ACK, b"hello")),
        pod(2),
    );
}

#[test]
fn both_ends_of_a_cut_connection_are_reset() {
    for family in [Family::V4, Family::V6] {
        for by_reply in [false, true] {
            let mut node = Plan::new(1, Mode::Vxlan4).build();
            node.host(|host| host.reset_cut = true);
            let (a, b) = (address(family, 1, 1), address(family, 1, 2));
            connect(&mut node, a, b);
            node.policy(policy(NOT_81));
            let (from, to) = ((a, A), (b, B));
            let out = if by_reply {
                node.pod_sends(2, &segment(to, from, (901, 106), ACK | PSH, b"four"))
            } else {
                node.pod_sends(1, &segment(from, to, (106, 901), ACK | PSH, b"four"))
            };
            let mut resets: Vec<_> = out
                .iter()
                .map(|(id, frame)| (*id, reset(at_pod(frame))))
                .collect();
            resets.sort_by_key(|(id, _)| id.0);
            // To the sender what it expects next; to the receiver the byte it did not get.
            let expected = if by_reply {
                [
                    (pod(1), Reset(b, a, 901, Some(106))),
                    (pod(2), Reset(a, b, 106, Some(905))),
                ]
            } else {
                [
                    (pod(1), Reset(b, a, 901, Some(110))),
                    (pod(2), Reset(a, b, 106, Some(901))),
                ]
            };
            assert_eq!(resets, expected);
            assert_eq!(node.generated(GenerateReason::PolicyReset), 2);
            assert_eq!(node.counters().flows_cut.value(), 1);
            assert_eq!(cuts(&node), [true]);
            // Once is enough.
            let again = segment(from, to, (106, 901), ACK | PSH, b"four");
            assert!(node.pod_sends(1, &again).is_empty());
            assert_eq!(cuts(&node), [false]);
            assert_eq!(node.dropped(DropReason::PolicyDenied), 2);
        }
    }
}

#[test]
fn a_reset_goes_through_a_tunnel() {
    for family in [Family::V4, Family::V6] {
        let mut near = Plan::new(1, Mode::Vxlan4).build();
        let mut far = Plan::new(2, Mode::Vxlan4).build();
        near.host(|host| host.reset_cut = true);
        let (a, b) = (address(family, 1, 1), address(family, 2, 1));
        let (from, to) = ((a, A), (b, B));
        let syn = one(
            near.pod_sends(1, &segment(from, to, (100, 0), SYN, &[])),
            VXLAN4,
        );
        let local = |node| underlay(Family::V4, node);
        one(far.pass(VXLAN4, arriving(&syn, local(1))), pod(1));
        let answer = segment(to, from, (900, 101), SYN | ACK, &[]);
        let answer = one(far.pod_sends(1, &answer), VXLAN4);
        one(near.pass(VXLAN4, arriving(&answer, local(2))), pod(1));
        near.policy(policy(NOT_81));
        let out = near.pod_sends(1, &segment(from, to, (101, 901), ACK, b"x"));
        assert_eq!(out.len(), 2);
        for (id, frame) in out {
            if id == pod(1) {
                assert_eq!(reset(at_pod(&frame)), Reset(b, a, 901, Some(102)));
                continue;
            }
            let arrived = one(far.pass(id, arriving(&frame, local(1))), pod(1));
            assert_eq!(reset(at_pod(&arrived)), Reset(a, b, 101, Some(901)));
        }
    }
}

#[test]
fn nobody_is_reset_unasked_nor_twice() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let (a, b) = (a4(1, 1), a4(1, 2));
    connect(&mut node, a, b);
    node.policy(policy(NOT_81));
    let data = segment((a, A), (b, B), (106, 901), ACK, b"x");
    assert!(node.pod_sends(1, &data).is_empty());
    assert_eq!(node.generated(GenerateReason::PolicyReset), 0);
    // No reset answers a reset: it is passed on, by one of our own.
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    node.host(|host| host.reset_cut = true);
    connect(&mut node, a, b);
    node.policy(policy(NOT_81));
    let theirs = segment((a, A), (b, B), (106, 0), RST, &[]);
    let frame = one(node.pod_sends(1, &theirs), pod(2));
    assert_eq!(reset(at_pod(&frame)), Reset(a, b, 106, None));
    // A new connection that is denied is told nothing.
    let syn = segment((a, A + 1), (b, B), (1, 0), SYN, &[]);
    assert!(node.pod_sends(1, &syn).is_empty());
    assert_eq!(node.generated(GenerateReason::PolicyReset), 1);
}

#[test]
fn what_only_claims_to_be_of_a_connection_does_not_cut_it() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    node.host(|host| host.reset_cut = true);
    let (a, b) = (a4(1, 1), a4(1, 2));
    connect(&mut node, a, b);
    node.policy(policy(NOT_81));
    // From outside, with the pods' own addresses and numbers of its choice.
    let forged = segment((a, A), (b, B), (0xdead, 0xbeef), ACK, b"x");
    assert!(node.host_sends(&forged).is_empty());
    let forged = segment((b, B), (a, A), (0xdead, 0xbeef), ACK, b"x");
    assert!(node.host_sends(&forged).is_empty());
    assert_eq!(node.dropped(DropReason::Martian), 2);
    assert_eq!(node.counters().flows_cut.value(), 0);
    // The connection's own next packet does.
    let data = segment((a, A), (b, B), (106, 901), ACK, b"x");
    assert_eq!(node.pod_sends(1, &data).len(), 2);
    // Nor is it forgotten, and with it that it was cut.
    let forged = segment((a, A), (b, B), (7, 0), SYN, &[]);
    assert!(node.host_sends(&forged).is_empty());
    let ack = segment((b, B), (a, A), (901, 106), ACK, &[]);
    assert!(node.pod_sends(2, &ack).is_empty());
    assert_eq!(node.dropped(DropReason::Martian), 3);
}

#[test]
fn what_is_cut_stays_cut_whoever_speaks() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let (a, b) = (a4(1, 1), a4(1, 2));
    connect(&mut node, a, b);
    one(node.pod_sends(1, &udp(a, b, (A, B), b"x")), pod(2));
    one(node.pod_sends(2, &udp(b, a, (B, A), b"x")), pod(1));
    node.policy(policy(NOT_81));
    let ack = segment((b, B), (a, A), (901, 106), ACK, &[]);
    let data = segment((a, A), (b, B), (106, 901), ACK, b"x");
    for _ in 0..3 {
        // The second pod may send to the first; but this is the first one's connection.
        assert!(node.pod_sends(2, &ack).is_empty());
        assert!(node.pod_sends(1, &data).is_empty());
        assert!(node.pod_sends(2, &udp(b, a, (B, A), b"x")).is_empty());
        assert!(node.pod_sends(1, &udp(a, b, (A, B), b"x")).is_empty());
    }
    assert_eq!(node.counters().flows_cut.value(), 2);
    let flows = node.flows.flows(0, 10, node.now).flows;
    assert!(flows.iter().all(|flow| flow.verdict == Verdict::Deny));
    // The other way round it may begin a connection of its own between the same ports.
    let syn = segment((b, B), (a, A), (5, 0), SYN, &[]);
    one(node.pod_sends(2, &syn), pod(1));
    one(
        node.pod_sends(1, &segment((a, A), (b, B), (7, 6), SYN | ACK, &[])),
        pod(2),
    );
}

#[test]
fn a_policy_that_goes_revives_what_it_cut() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let (a, b) = (a4(1, 1), a4(1, 2));
    connect(&mut node, a, b);
    node.policy(policy(NOT_81));
    let data = segment((a, A), (b, B), (106, 901), ACK, b"x");
    assert!(node.pod_sends(1, &data).is_empty());
    // Another change that does not concern it.
    node.publish(|_| {});
    assert!(node.pod_sends(1, &data).is_empty());
    node.policy(Update::RemovePolicy(key()));
    one(node.pod_sends(1, &data), pod(2));
    one(
        node.pod_sends(2, &segment((b, B), (a, A), (901, 107), ACK, &[])),
        pod(1),
    );
    assert_eq!(node.flows.statistics().inserts, 1);
    assert_eq!(node.counters().flows_cut.value(), 1);
}

#[test]
fn errors_about_a_flow_ask_whether_it_may_still_be() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let (a, b) = (a4(1, 1), a4(1, 2));
    let sent = udp(a, b, (A, B), b"x");
    one(node.pod_sends(1, &sent), pod(2));
    let unreachable = error(b, a, 3, 3, 0, &sent);
    one(node.pod_sends(2, &unreachable), pod(1));
    // Tables that change nothing for it.
    node.publish(|_| {});
    one(node.pod_sends(2, &unreachable), pod(1));
    // Ones that do: before and after the flow's own next packet.
    node.policy(policy(NOT_81));
    assert!(node.pod_sends(2, &unreachable).is_empty());
    assert_eq!(node.counters().flows_cut.value(), 0);
    assert!(node.pod_sends(1, &sent).is_empty());
    assert!(node.pod_sends(2, &unreachable).is_empty());
    assert_eq!(node.counters().flows_cut.value(), 1);
    assert_eq!(node.dropped(DropReason::PolicyDenied), 3);
}
