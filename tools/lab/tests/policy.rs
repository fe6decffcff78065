//! Policy on real nodes: host endpoints, connections that are reset when a policy cuts them, and
//! limits of the flow table under a flood.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::stream::Stream;
use support::{TestLab, eventually, lab_command, said};
use vrouter_control::model::{DropReport, Severity};
use vrouter_control::params::{ShowDrops, ShowResources};
use vrouter_lab::addresses::GATEWAY_MAC;
use vrouter_lab::process::wait_until;
use vrouter_lab::{netns, vrouter};

const HOST_ENDPOINT: &str = "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata:\n  \
    name: all-of-1\n  labels: {host: one}\nspec:\n  node: node1\n  interfaceName: \"*\"\n";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  name: {name}\n\
         spec: {spec}\n"
    )
}

/// Both ends of a connection, in their namespaces.
fn connect(lab: &TestLab, from: &str, to: &str, address: &str) -> Option<(TcpStream, TcpStream)> {
    let address: SocketAddr = address.parse().unwrap();
    let inside = |member| lab.lab.namespace(member).unwrap();
    let listener = netns::inside(inside(to), || TcpListener::bind(address)).unwrap();
    let listener = listener.unwrap();
    let patience = Duration::from_millis(700);
    let client = netns::inside(inside(from), || {
        TcpStream::connect_timeout(&address, patience)
    });
    let client = client.unwrap().ok()?;
    // A policy that comes between the server's answer and the client's leaves the server without.
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    wait_until(patience, || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (server, _) = accepted?;
    Some((client, server))
}

fn drops(lab: &TestLab, node: usize) -> DropReport {
    vrouter::ask(lab.node(node), &ShowDrops { recent: true }).unwrap()
}

#[test]
#[ignore = "needs root"]
fn host_endpoints_deny_and_allow_and_failsafe_ports_stay_open() {
    let lab = TestLab::up("--encap vxlan --pod-link tap");
    let host = |port: u16| format!("10.65.0.0:{port}");
    let reach = |port: u16| connect(&lab, "pod2-1", "node1", &host(port)).is_some();
    let address = lab.ok("node1", "ip -4 -o address show dev tunl0");
    assert!(address.contains("10.65.0.0/32"), "{address}");
    assert!(reach(8080), "without a host endpoint the node is open");
    // One that nothing allows closes all but the failsafe ports.
    lab.write_resource("hep.yaml", HOST_ENDPOINT);
    eventually(3, "the host endpoint is in force", || !reach(8080));
    assert!(reach(22) && reach(6443), "failsafe ports");
    assert!(
        lab.pings("node1", "10.65.0.2"),
        "a node reaches its own pods"
    );
    assert!(
        !lab.pings("node1", "10.65.0.65"),
        "the node's own packets are of the host endpoint, too"
    );
    // What is only forwarded needs applyOnForward to be refused.
    assert!(lab.pings("pod1-1", "10.65.0.65") && lab.pings("pod2-1", "10.65.0.2"));
    let allow = policy(
        "host",
        "{selector: host == 'one', types: [Ingress, Egress], egress: [{action: Allow}], \
         ingress: [{action: Allow, protocol: TCP, destination: {ports: [8080]}}]}",
    );
    lab.write_resource("host.yaml", &allow);
    eventually(3, "the policy allows what it names", || reach(8080));
    assert!(!reach(8081), "and nothing else");
    assert!(lab.pings("node1", "10.65.0.65"), "egress is allowed");
    // Forwarded packets.
    let forward = policy(
        "forward",
        "{selector: host == 'one', applyOnForward: true, order: 1, types: [Ingress, Egress], \
         ingress: [{action: Deny, protocol: ICMP, destination: {nets: [10.65.0.64/26]}}, \
         {action: Allow}], egress: [{action: Allow}]}",
    );
    lab.write_resource("forward.yaml", &forward);
    eventually(3, "the forward policy is in force", || {
        !lab.pings("pod1-1", "10.65.0.65")
    });
    assert!(lab.pings("pod2-1", "10.65.0.2") && lab.pings("pod1-1", "10.65.0.2"));
    let denied = drops(&lab, 1);
    assert!(
        denied.recent.iter().any(|sample| {
            sample.rule.as_ref().is_some_and(|rule| {
                rule.host_endpoint.as_deref() == Some("all-of-1")
                    && rule.policy.as_deref() == Some("forward")
            })
        }),
        "{denied:?}"
    );
    // What a host endpoint cannot do here is said.
    let report = vrouter::ask(lab.node(1), &ShowResources {}).unwrap();
    assert!(
        report
            .notices
            .iter()
            .any(|notice| notice.message.contains("acted on in part")),
        "{:?}",
        report.notices
    );
    lab.remove_resource("hep.yaml");
    eventually(3, "without the host endpoint all is open", || reach(8081));
    lab.assert_conserved(1);
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_enforced_leaves_a_pod_closed() {
    let lab = TestLab::up("--encap vxlan");
    // The lab's own policy allows what the policies before it leave open.
    lab.remove_resource("policies.yaml");
    let reach = || connect(&lab, "pod2-1", "pod1-1", "10.65.0.1:7001").is_some();
    for (construct, spec) in [
        (
            "an HTTP match that allows",
            "ingress: [{action: Allow, protocol: TCP, http: {methods: [GET]}}]",
        ),
        (
            "an HTTP match that denies",
            "ingress: [{action: Deny, protocol: TCP, http: {methods: [PUT]}}, {action: Allow}]",
        ),
        (
            "an HTTP match that passes",
            "ingress: [{action: Pass, http: {paths: [{prefix: /}]}}]",
        ),
        (
            "a Service that allows",
            "ingress: [{action: Allow, source: {services: {name: web, namespace: default}}}]",
        ),
        (
            "a Service that denies",
            "ingress: [{action: Deny, source: {services: {name: web, namespace: default}}}, \
             {action: Allow}]",
        ),
        (
            "a port by a name that the pod does not give, of no protocol",
            "ingress: [{action: Allow, destination: {ports: [unheard-of]}}]",
        ),
        (
            "an ICMP type that must not be, of no protocol",
            "ingress: [{action: Deny, notICMP: {type: 8}}, {action: Allow}]",
        ),
        (
            "a service account that cannot be",
            "ingress: [{action: Allow, source: {serviceAccounts: {names: ['No One']}}}]",
        ),
        (
            "rules of a direction that the types leave out",
            "types: [Ingress], egress: [{action: Allow}]",
        ),
    ] {
        eventually(3, "the pod is open", reach);
        let spec = format!("{{order: 1, selector: pod == 'pod1-1', {spec}}}");
        lab.write_resource("closed.yaml", &policy("closed", &spec));
        eventually(3, construct, || !reach());
        let report = vrouter::ask(lab.node(1), &ShowResources {}).unwrap();
        let refused = report
            .notices
            .iter()
            .any(|notice| notice.severity == Severity::Error);
        assert!(!refused, "{construct}: {:?}", report.notices);
        lab.remove_resource("closed.yaml");
    }
    lab.assert_conserved(1);
}

#[test]
#[ignore = "needs root"]
fn a_connection_that_a_policy_cuts_is_reset_at_both_ends() {
    let lab = TestLab::up("--encap vxlan --vrouterd-arg=--reset-cut-connections");
    for (from, to, address) in [
        ("pod1-1", "pod1-2", "10.65.0.2:7001"),
        ("pod1-1", "pod2-1", "10.65.0.65:7001"),
    ] {
        let (mut client, mut server) = connect(&lab, from, to, address).unwrap();
        client.write_all(b"hello").unwrap();
        let mut block = [0; 5];
        server.read_exact(&mut block).unwrap();
        let deny = policy(
            "cut",
            "{order: 1, selector: pod == 'pod1-1', types: [Egress], egress: [{action: Deny, protocol: TCP, \
             destination: {ports: [7001]}}, {action: Allow}]}",
        );
        lab.write_resource("cut.yaml", &deny);
        let limit = Some(Duration::from_secs(5));
        client.set_read_timeout(limit).unwrap();
        server.set_read_timeout(limit).unwrap();
        let written = Instant::now();
        // The reset comes with the first packet after the change.
        while client.write_all(b"x").is_ok() {
            assert!(written.elapsed() < Duration::from_secs(5), "{to}: no reset");
            thread::sleep(Duration::from_millis(20));
        }
        let mut rest = Vec::new();
        let server_saw = server.read_to_end(&mut rest).unwrap_err();
        assert_eq!(server_saw.kind(), ErrorKind::ConnectionReset, "{to}");
        eventually(2, "the rule that cut it is told", || {
            drops(&lab, 1).recent.iter().any(|sample| {
                let rule = sample.rule.as_ref();
                sample.cut && rule.is_some_and(|rule| rule.policy.as_deref() == Some("cut"))
            })
        });
        let log = vrouter::log_end(lab.node(1));
        assert!(log.contains("policy cut 10.65.0.1"), "{log}");
        lab.remove_resource("cut.yaml");
        eventually(3, "the policy is gone", || {
            connect(&lab, from, to, address).is_some()
        });
    }
    lab.assert_conserved(1);
}

#[test]
#[ignore = "needs root"]
fn a_flood_leaves_established_connections_alone_and_limits_hold() {
    let lab = TestLab::up(
        "--encap vxlan --vrouterd-arg=--flow-table-size=512 \
         --vrouterd-arg=--flows-per-endpoint=400 --vrouterd-arg=--new-flows-per-second=2000 \
         --vrouterd-arg=--new-flows-burst=500",
    );
    let stream = Stream::start(
        &lab,
        "pod1-2",
        "pod2-2",
        "10.65.0.66".parse().unwrap(),
        7001,
    );
    thread::sleep(Duration::from_millis(300));
    assert!(stream.received() > 0);
    let pause = stream.longest_pause(|| {
        // More SYNs of two pods than there is room for, one pod's more than it may have.
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frames.py");
        for (pod, own) in [("pod1-1", "10.65.0.1"), ("pod1-2", "10.65.0.2")] {
            // By `exec`, which gives it the pod's own /sys.
            let flood = lab_command(&format!(
                "exec {} {pod} -- /usr/bin/python3 {script} flood {GATEWAY_MAC} {own} 10.65.0.65",
                lab.lab.name
            ));
            assert!(flood.status.success(), "{}", said(&flood));
        }
    });
    assert!(
        pause < Duration::from_millis(500),
        "the stream paused for {pause:?}"
    );
    let report = lab.counters(1);
    let count = |reason: &str| {
        let mut all = report.dropped.iter().filter(|count| count.reason == reason);
        all.next().map_or(0, |count| count.packets)
    };
    assert!(count("flow-limit") > 0, "the pod's own limit: {report:?}");
    assert!(count("flow-rate") > 0, "the node's rate: {report:?}");
    let flows = report.flows;
    assert!(flows.used <= flows.size && flows.used > 450, "{flows:?}");
    assert!(flows.evicted > 0, "the table was full: {flows:?}");
    // Others still begin connections. (The pod that was flooded has as many as it may.)
    eventually(2, "the node reaches the other's pod", || {
        lab.pings("node1", "10.65.0.66")
    });
    let before = stream.received();
    eventually(2, "the stream goes on", || stream.received() > before);
    lab.assert_conserved(1);
}
