//! Resource files that are edited while traffic runs: what an edit does not concern is not
//! disturbed, what it forbids stops, what is broken changes nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::ping::{Train, now};
use support::stream::Stream;
use support::{TestLab, eventually};
use vrouter_control::model::{InterfaceState, ResourceReport, Severity};
use vrouter_control::params::{ShowInterfaces, ShowResources};
use vrouter_lab::names::Netns;
use vrouter_lab::topology::Pod;
use vrouter_lab::{addresses, netns, resources, vrouter, wiring};

/// How soon an edit must be in force.
const SOON: Duration = Duration::from_millis(900);

fn policy(name: &str, order: u32, selector: &str, rules: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  name: {name}\n\
         spec:\n  order: {order}\n  selector: {selector}\n  types: [Ingress]\n  ingress:\n{rules}"
    )
}

fn report(lab: &TestLab) -> ResourceReport {
    vrouter::ask(lab.node(1), &ShowResources {}).expect("the vRouter answers")
}

fn errors(lab: &TestLab) -> Vec<String> {
    let notices = report(lab).notices.into_iter();
    notices
        .filter(|notice| notice.severity == Severity::Error)
        .map(|notice| format!("{notice:?}"))
        .collect()
}

#[test]
#[ignore = "needs root"]
fn edits_do_not_disturb_what_they_do_not_concern() {
    let lab = TestLab::up("--encap vxlan");
    let same = Train::start(&lab, "pod1-1", "10.65.0.2");
    let cross = Train::start(&lab, "pod1-2", "10.65.0.65");
    let host = Train::start(&lab, "node1", "10.65.0.1");
    let stream = Stream::start(
        &lab,
        "pod1-1",
        "pod2-1",
        "10.65.0.65".parse().unwrap(),
        7001,
    );
    thread::sleep(Duration::from_millis(300));
    let node1 = lab.lab.resource_directory.join("node1.yaml");
    let felix = lab.lab.resource_directory.join("felix.yaml");
    let pause = stream.longest_pause(|| {
        for round in 0..12 {
            // A policy for nobody here, one for everybody that forbids what nobody does, another
            // pod's endpoint, a network set, and files rewritten as they were.
            lab.write_resource("a.yaml", &policy("a", round, "app == 'none'", "    - action: Deny\n"));
            let deny = "    - action: Deny\n      protocol: TCP\n      destination:\n        \
                        ports: [9999]\n";
            lab.write_resource("b.yaml", &policy("b", 50 + round, "all()", deny));
            lab.write_resource(
                "c.yaml",
                &format!(
                    "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata:\n  \
                     name: c\n  labels: {{lab-set: lab-filler-1}}\nspec:\n  nets: [\"203.0.113.{round}/32\"]\n"
                ),
            );
            let pod = Pod { index: 40, name: "pod2-40".to_owned(), ..lab.pod(2, 1).clone() };
            let pod = Pod { ipv4: Some("10.65.0.104".parse().unwrap()), ..pod };
            lab.write_resource("pod2-40.yaml", &resources::endpoint(lab.node(2), &pod));
            for file in [&node1, &felix] {
                let text = std::fs::read_to_string(file).unwrap();
                std::fs::write(file, text).unwrap();
            }
            thread::sleep(Duration::from_millis(120));
            for file in ["a.yaml", "b.yaml", "c.yaml", "pod2-40.yaml"] {
                lab.remove_resource(file);
            }
            thread::sleep(Duration::from_millis(120));
        }
    });
    assert!(
        pause < Duration::from_millis(300),
        "the stream paused for {pause:?}"
    );
    for (name, train) in [("same node", same), ("other node", cross), ("host", host)] {
        let report = train.finish();
        assert!(report.answers.len() > 300, "{name}: {}", report.summary);
        assert!(
            report.lost.is_empty(),
            "{name} lost {:?} ({})",
            report.lost,
            report.summary
        );
    }
    assert_eq!(errors(&lab), Vec::<String>::new());
    lab.assert_conserved(1);
}

#[test]
#[ignore = "needs root"]
fn a_policy_that_cuts_a_live_flow_cuts_it_and_its_removal_revives_it() {
    let lab = TestLab::up("--encap vxlan");
    let far = Stream::start(
        &lab,
        "pod1-1",
        "pod2-1",
        "10.65.0.65".parse().unwrap(),
        7001,
    );
    let near = Stream::start(&lab, "pod1-1", "pod1-2", "10.65.0.2".parse().unwrap(), 7002);
    let other = Stream::start(
        &lab,
        "pod1-2",
        "pod2-2",
        "10.65.0.66".parse().unwrap(),
        7003,
    );
    let pings = Train::start(&lab, "pod1-1", "10.65.0.65");
    thread::sleep(Duration::from_millis(300));
    assert!(far.received() > 0 && near.received() > 0);

    let deny = "    - action: Deny\n      protocol: TCP\n      destination:\n        ports: [7001, 7002]\n";
    let rule = policy("cut", 1, "pod in {'pod2-1', 'pod1-2'}", deny) + "    - action: Pass\n";
    let pause = other.longest_pause(|| {
        lab.write_resource("cut.yaml", &rule);
        thread::sleep(SOON);
        assert!(
            far.is_still(Duration::from_millis(500)),
            "the stream to node 2 goes on"
        );
        assert!(
            near.is_still(Duration::from_millis(500)),
            "the stream on node 1 goes on"
        );
    });
    assert!(
        pause < Duration::from_millis(300),
        "the stream that is allowed paused for {pause:?}"
    );

    lab.remove_resource("cut.yaml");
    // TCP asks again after its own timer, which has doubled some times by now.
    for (name, stream) in [("node 2", &far), ("node 1", &near)] {
        let before = stream.received();
        eventually(10, &format!("the stream to {name} goes on"), || {
            stream.received() > before
        });
    }
    let report = pings.finish();
    assert!(
        report.lost.is_empty(),
        "pings lost {:?} ({})",
        report.lost,
        report.summary
    );
}

#[test]
#[ignore = "needs root"]
fn a_denied_ping_stops_soon_and_not_before() {
    let lab = TestLab::up("--encap none --pod-link tap");
    let pings = Train::start(&lab, "pod1-1", "10.65.0.65");
    thread::sleep(Duration::from_millis(500));
    let deny = "    - action: Deny\n      protocol: ICMP\n";
    let written = now();
    lab.write_resource("deny.yaml", &policy("deny", 1, "pod == 'pod2-1'", deny));
    thread::sleep(Duration::from_millis(1500));
    let report = pings.finish();
    let last = report.answers.last().copied().expect("there were answers");
    assert!(
        last < written + SOON.as_secs_f64(),
        "answers until {:.3} s after",
        last - written
    );
    assert!(
        report.lost.is_empty(),
        "lost before the policy: {:?}",
        report.lost
    );
    assert!(
        lab.drops(2, "policy") > 0,
        "the drops are counted as the policy's"
    );
}

#[test]
#[ignore = "needs root"]
fn a_broken_file_is_reported_and_its_last_good_version_stays() {
    let lab = TestLab::up("--encap vxlan");
    assert!(lab.pings("pod1-1", "10.65.0.2"));
    let deny = "    - action: Deny\n      protocol: ICMP\n";
    let good = policy("deny", 1, "pod == 'pod1-2'", deny);
    lab.write_resource("deny.yaml", &good);
    eventually(2, "the policy is in force", || {
        !lab.pings("pod1-1", "10.65.0.2")
    });

    for broken in [
        good.replace("Deny", "Dney"),
        good.replace("selector: pod ==", "selector: pod = ="),
        "apiVersion: projectcalico.org/v3\nkind: [".to_owned(),
    ] {
        lab.write_resource("deny.yaml", &broken);
        eventually(2, "the fault is reported with its file", || {
            errors(&lab).iter().any(|error| error.contains("deny.yaml"))
        });
        assert!(
            !lab.pings("pod1-1", "10.65.0.2"),
            "the last good version stays in force"
        );
        assert!(lab.pings("pod1-1", "10.65.0.65"), "the rest is not touched");
    }
    lab.write_resource("deny.yaml", &good);
    eventually(2, "the fault is gone", || errors(&lab).is_empty());
    lab.remove_resource("deny.yaml");
    eventually(2, "the policy is gone", || lab.pings("pod1-1", "10.65.0.2"));
}

/// A third pod of node 1, with its namespace.
fn third_pod(lab: &TestLab) -> Pod {
    let namespace = lab.lab.name.pod(1, 3);
    netns::create([&namespace]).unwrap();
    wiring::prepare(&namespace).unwrap();
    Pod {
        index: 3,
        name: "pod1-3".to_owned(),
        namespace,
        host_interface: "calipod1-3".to_owned(),
        mac: addresses::pod_mac(1, 3),
        ipv4: Some("10.65.0.3".parse().unwrap()),
        ipv6: None,
    }
}

fn pings_from(namespace: &Netns, to: &str) -> bool {
    let command = [
        "timeout", "10", "ping", "-n", "-q", "-c", "3", "-i", "0.05", "-W", "1", to,
    ];
    netns::output(namespace, &command, "")
        .unwrap()
        .status
        .success()
}

#[test]
#[ignore = "needs root"]
fn endpoints_come_and_go_at_run_time() {
    let lab = TestLab::up("--encap vxlan");
    let train = Train::start(&lab, "pod1-1", "10.65.0.65");
    let pod = third_pod(&lab);
    for _ in 0..3 {
        let added = Instant::now();
        lab.write_resource("pod1-3.yaml", &resources::endpoint(lab.node(1), &pod));
        vrouter::wait_for_pod(lab.node(1), &pod).unwrap();
        assert!(
            added.elapsed() < Duration::from_secs(1),
            "it took {:?}",
            added.elapsed()
        );
        for to in ["10.65.0.1", "10.65.0.65", "172.16.1.11"] {
            assert!(pings_from(&pod.namespace, to), "from the new pod to {to}");
        }
        assert!(
            lab.pings("pod2-1", "10.65.0.3"),
            "from the other node to the new pod"
        );
        assert!(
            lab.pings("node1", "10.65.0.3"),
            "from the host to the new pod"
        );
        lab.remove_resource("pod1-3.yaml");
        eventually(2, "the pod's interface is gone", || {
            netns::inside(&pod.namespace, || {
                nix::net::if_::if_nametoindex("eth0").is_err()
            })
            .unwrap()
        });
    }
    let report = train.finish();
    assert!(
        report.lost.is_empty(),
        "others lost {:?} ({})",
        report.lost,
        report.summary
    );
    lab.assert_conserved(1);
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_vanishes_takes_only_its_pod_along() {
    let lab = TestLab::up("--encap vxlan");
    let pod = third_pod(&lab);
    lab.write_resource("pod1-3.yaml", &resources::endpoint(lab.node(1), &pod));
    vrouter::wait_for_pod(lab.node(1), &pod).unwrap();
    let train = Train::start(&lab, "pod1-1", "10.65.0.65");
    netns::delete([&pod.namespace]).unwrap();
    eventually(5, "the vRouter notices", || {
        let interfaces = vrouter::ask(lab.node(1), &ShowInterfaces::default()).unwrap();
        !interfaces
            .iter()
            .any(|i| i.name == "calipod1-3" && i.state == InterfaceState::Up)
    });
    assert!(!lab.pings("pod1-1", "10.65.0.3"));

    // A pod of the same name that comes again works again.
    let again = third_pod(&lab);
    lab.remove_resource("pod1-3.yaml");
    lab.write_resource("pod1-3.yaml", &resources::endpoint(lab.node(1), &again));
    vrouter::wait_for_pod(lab.node(1), &again).unwrap();
    assert!(lab.pings("pod1-1", "10.65.0.3"));
    let report = train.finish();
    assert!(
        report.lost.is_empty(),
        "others lost {:?} ({})",
        report.lost,
        report.summary
    );
    lab.assert_conserved(1);
}
