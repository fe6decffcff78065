//! Pods on veths: connectivity and policy, a daemon that is killed and comes back, every trace
//! removed, and a node that has not what they take.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use nix::sys::signal::Signal;
use support::ping::Train;
use support::store::{end, start_vrouterd};
use support::{TestLab, eventually};
use vrouter_control::model::Interface;
use vrouter_control::params::ShowInterfaces;
use vrouter_lab::spec::PodLink;
use vrouter_lab::topology::Pod;
use vrouter_lab::{resources, vrouter};

const DENY: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  \
    name: deny\nspec:\n  order: 1\n  selector: all()\n  types: [Ingress]\n  ingress: [{action: Deny}]\n";

const VROUTERD: &str = "vrouterd node1";

/// The workloads' interfaces of node 1.
fn workloads(lab: &TestLab) -> Vec<Interface> {
    let all = vrouter::ask(lab.node(1), &ShowInterfaces::default()).unwrap();
    all.into_iter().filter(|it| it.link.is_some()).collect()
}

fn assert_links(lab: &TestLab, link: &str) {
    let workloads = workloads(lab);
    assert!(!workloads.is_empty());
    for interface in workloads {
        assert_eq!(interface.link.as_deref(), Some(link), "{interface:?}");
    }
}

/// The names of node 1's interfaces that begin so.
fn links(lab: &TestLab, start: &str) -> Vec<String> {
    let shown = lab.ok("node1", "ip -o link");
    let names = shown.lines().filter_map(|line| line.split(": ").nth(1));
    let ours = names.filter(|name| name.starts_with(start));
    ours.map(str::to_owned).collect()
}

fn both_ways_pass(lab: &TestLab) -> bool {
    lab.pings("pod1-1", "10.65.0.2") && lab.pings("pod1-1", "10.65.0.65")
}

#[test]
#[ignore = "needs root"]
fn pods_on_veths_reach_each_other_and_obey_policy() {
    let lab = TestLab::up("--pod-link veth --family dual --workers 2");
    assert_links(&lab, "veth");
    assert_eq!(links(&lab, "cali").len(), 2);
    lab.check("");
    lab.write_resource("deny.yaml", DENY);
    let from_here = || lab.pings("pod1-1", "10.65.0.2");
    let from_there = || lab.pings("pod2-1", "10.65.0.2");
    eventually(3, "the policy is in force", || {
        !from_here() && !from_there()
    });
    lab.remove_resource("deny.yaml");
    eventually(3, "the policy is gone", || from_here() && from_there());
    // Who names another's interface gets none, and the other keeps it.
    let second = Pod {
        index: 40,
        name: "pod1-40".to_owned(),
        ..lab.pod(1, 1).clone()
    };
    let text = resources::endpoint(lab.node(1), &second);
    lab.write_resource("pod1-40.yaml", &text);
    let is_refused = |it: &Interface| {
        it.reason
            .as_ref()
            .is_some_and(|why| why.contains("interface"))
    };
    eventually(3, "the second is refused", || {
        let all = vrouter::ask(lab.node(1), &ShowInterfaces::default()).unwrap();
        all.iter().any(is_refused)
    });
    lab.remove_resource("pod1-40.yaml");
    eventually(3, "the second is gone", || {
        let all = vrouter::ask(lab.node(1), &ShowInterfaces::default()).unwrap();
        !all.iter().any(is_refused)
    });
    assert!(from_here() && from_there(), "the first keeps its own");
    for node in [1, 2] {
        lab.assert_conserved(node);
    }
    lab.assert_no_netfilter();
}

#[test]
#[ignore = "needs root"]
fn a_veth_survives_the_daemon_and_goes_when_asked() {
    let mut lab = TestLab::up("--pod-link veth");
    let ends = links(&lab, "cali");
    let inside = lab.ok("pod1-1", "ip -o link show eth0");
    let train = Train::start(&lab, "pod1-1", "10.65.0.2");
    end(&lab, VROUTERD, Signal::SIGKILL);
    assert_eq!(links(&lab, "cali"), ends, "they outlive it");
    assert!(!lab.pings("pod1-1", "10.65.0.2"), "nothing decides");
    let away = support::ping::now();
    start_vrouterd(&mut lab, 1);
    eventually(5, "pods are reached again", || both_ways_pass(&lab));
    let report = train.finish();
    assert!(report.answers.iter().any(|at| *at > away), "{report:?}");
    assert_eq!(links(&lab, "cali"), ends, "they are taken over");
    assert_eq!(lab.ok("pod1-1", "ip -o link show eth0"), inside);
    lab.assert_conserved(1);

    // Nothing stays when asked.
    let program = vrouter::program(&lab.lab).unwrap();
    let directory = lab.lab.state_directory.join("node1/bpf/vrouter");
    let socket = lab.node(1).control_socket.clone().unwrap();
    let detach = format!(
        "{} --node-name node1 --detach --bpf-directory {} --control-socket {}",
        program.display(),
        directory.display(),
        socket.display()
    );
    assert!(!lab.run("node1", &detach).status.success(), "it runs");
    end(&lab, VROUTERD, Signal::SIGTERM);
    assert_eq!(links(&lab, "cali"), ends, "a clean end keeps them");
    let removed = lab.ok("node1", &detach);
    assert!(removed.contains("2 veths"), "{removed}");
    assert_eq!(links(&lab, "cali"), [] as [String; 0]);
    assert!(!directory.exists());
    assert!(!lab.ok("node1", "bpftool net show").contains("from_"));

    // From veths to TAPs, and back.
    start_vrouterd(&mut lab, 1);
    eventually(5, "new veths", || both_ways_pass(&lab));
    end(&lab, VROUTERD, Signal::SIGKILL);
    lab.lab.spec.pod_link = Some(PodLink::Tap);
    lab.lab.spec.vrouterd_args = vec![format!("--bpf-directory={}", directory.display())];
    start_vrouterd(&mut lab, 1);
    eventually(5, "TAPs", || both_ways_pass(&lab));
    assert_links(&lab, "tap");
    assert_eq!(links(&lab, "cali"), [] as [String; 0]);
    assert!(!directory.exists());
    end(&lab, VROUTERD, Signal::SIGTERM);
    lab.lab.spec.pod_link = Some(PodLink::Veth);
    lab.lab.spec.vrouterd_args.clear();
    start_vrouterd(&mut lab, 1);
    eventually(5, "veths again", || both_ways_pass(&lab));
}

#[test]
#[ignore = "needs root"]
fn a_node_without_a_bpffs_stays_on_taps_and_says_why() {
    let lab = TestLab::up("--nodes 1 --vrouterd-arg=--pod-link=veth");
    assert!(lab.pings("pod1-1", "10.65.0.2"));
    assert_links(&lab, "tap");
    for interface in workloads(&lab) {
        let reason = interface.link_reason.unwrap();
        assert!(
            reason.contains("bpffs") && !reason.contains('\n'),
            "{reason}"
        );
    }
    assert_eq!(links(&lab, "vrouter0"), [] as [String; 0]);
}
