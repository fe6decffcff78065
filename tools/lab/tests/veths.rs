//! Pods on veths: connectivity and policy, a daemon that is killed and comes back, every trace
//! removed, a node that has not what they take; and the flows that the kernel repeats.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use support::ping::Train;
use support::store::{end, start_vrouterd};
use support::{TestLab, eventually};

use support::stream::Stream;
use vrouter_control::model::{Flow, Interface};
use vrouter_control::params::{ShowFlows, ShowHits, ShowInterfaces, ShowWorkers};
use vrouter_lab::spec::PodLink;
use vrouter_lab::topology::Pod;
use vrouter_lab::{netns, resources, vrouter};

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
    eventually(20, "pods are reached again", || both_ways_pass(&lab));
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
    eventually(20, "new veths", || both_ways_pass(&lab));
    end(&lab, VROUTERD, Signal::SIGKILL);
    lab.lab.spec.pod_link = Some(PodLink::Tap);
    lab.lab.spec.vrouterd_args = vec![format!("--bpf-directory={}", directory.display())];
    start_vrouterd(&mut lab, 1);
    eventually(20, "TAPs", || both_ways_pass(&lab));
    assert_links(&lab, "tap");
    assert_eq!(links(&lab, "cali"), [] as [String; 0]);
    assert!(!directory.exists());
    end(&lab, VROUTERD, Signal::SIGTERM);
    lab.lab.spec.pod_link = Some(PodLink::Veth);
    lab.lab.spec.vrouterd_args.clear();
    start_vrouterd(&mut lab, 1);
    eventually(20, "veths again", || both_ways_pass(&lab));
}

#[test]
#[ignore = "needs root"]
fn a_node_without_a_bpffs_stays_on_taps_and_says_why() {
    let lab = TestLab::up("--nodes 1 --vrouterd-arg=--bpf-directory=/run/vrouter-lab/none");
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

/// A node's flows that the kernel repeats by this way.
fn repeated_by(lab: &TestLab, node: usize, way: &str) -> Vec<Flow> {
    let page = vrouter::ask(lab.node(node), &ShowFlows::default()).unwrap();
    let all = page.items.into_iter();
    all.filter(|flow| flow.offload.as_deref() == Some(way))
        .collect()
}

/// Node 1's flows within the node that the kernel repeats.
fn repeated(lab: &TestLab) -> Vec<Flow> {
    repeated_by(lab, 1, "pod")
}

fn stream_to(lab: &TestLab, to: &str, address: &str) -> Stream {
    Stream::start(lab, "pod1-1", to, address.parse().unwrap(), 7001)
}

fn stream(lab: &TestLab) -> Stream {
    stream_to(lab, "pod1-2", "10.65.0.2")
}

/// Frames that node 1's user space received.
fn received(lab: &TestLab) -> u64 {
    let workers = vrouter::ask(lab.node(1), &ShowWorkers {}).unwrap();
    workers.iter().map(|worker| worker.packets).sum()
}

#[test]
#[ignore = "needs root"]
fn the_kernel_repeats_flows_of_the_node_until_policy_cuts_them() {
    let lab = TestLab::up("--pod-link veth --nodes 1 --pods 3 --family dual");
    let [train, train6] = ["10.65.0.2", "fd00:65::2"].map(|to| Train::start(&lab, "pod1-1", to));
    let bystander = Train::start(&lab, "pod1-3", "10.65.0.2");
    let stream = stream(&lab);
    eventually(3, "four flows are repeated", || repeated(&lab).len() == 4);
    let before = received(&lab);
    thread::sleep(Duration::from_secs(1));
    let seen = received(&lab) - before;
    assert!(seen < 100, "user space saw {seen} packets");
    // The session has the kernel's counts.
    thread::sleep(Duration::from_millis(1_100));
    let carried = stream.received();
    let shown = |lab: &TestLab| {
        let mut flows = repeated(lab).into_iter();
        flows.find(|flow| flow.original.destination_port == Some(7001))
    };
    let flow = shown(&lab).unwrap();
    assert!(flow.original_traffic.bytes > carried / 2, "{flow:?}");
    assert!(flow.idle_ms < 1_500, "{flow:?}");
    eventually(3, "as many bytes as were received", || {
        shown(&lab).is_some_and(|flow| flow.original_traffic.bytes >= carried)
    });

    lab.write_resource("deny.yaml", &support::store::deny("pod1-2"));
    eventually(3, "the stream is cut", || {
        stream.is_still(Duration::from_millis(200))
    });
    assert!(!lab.pings("pod1-1", "10.65.0.2"));
    eventually(3, "nothing is repeated that is denied", || {
        repeated(&lab).is_empty()
    });
    lab.remove_resource("deny.yaml");
    eventually(3, "they are repeated again", || repeated(&lab).len() >= 3);
    assert!(!stream.is_still(Duration::from_secs(2)), "it goes on");
    for train in [train, train6, bystander] {
        let report = train.finish();
        assert!(!report.lost.is_empty(), "policy cut it: {}", report.summary);
    }
    lab.assert_conserved(1);
}

#[test]
#[ignore = "needs root"]
fn repeated_flows_go_on_without_the_daemon_and_obey_its_return() {
    let mut lab = TestLab::up("--pod-link veth --pods 3");
    let train = Train::start(&lab, "pod1-1", "10.65.0.2");
    let doomed = Train::start(&lab, "pod1-1", "10.65.0.3");
    let stream = stream(&lab);
    eventually(3, "three flows are repeated", || repeated(&lab).len() == 3);
    let pause = stream.longest_pause(|| {
        end(&lab, VROUTERD, Signal::SIGKILL);
        thread::sleep(Duration::from_secs(1));
        // New flows wait.
        assert!(!lab.pings("pod1-2", "10.65.0.3"));
        lab.write_resource("deny.yaml", &support::store::deny("pod1-3"));
        start_vrouterd(&mut lab, 1);
        eventually(20, "new flows pass", || lab.pings("pod1-2", "10.65.0.1"));
        eventually(20, "they are repeated again", || repeated(&lab).len() >= 2);
        thread::sleep(Duration::from_millis(500));
    });
    assert!(
        pause < Duration::from_millis(300),
        "the stream paused for {pause:?}"
    );
    let report = train.finish();
    support::store::assert_none_lost(&report, 200);
    let ended = doomed.finish();
    let last = ended.answers.last().copied().unwrap();
    assert!(report.answers.last().is_some_and(|at| *at > last + 0.2));
    lab.assert_conserved(1);

    // Without the offload user space takes them back.
    end(&lab, VROUTERD, Signal::SIGTERM);
    let arguments = &mut lab.lab.spec.vrouterd_args;
    arguments.push("--flow-offload=Disabled".to_owned());
    start_vrouterd(&mut lab, 1);
    eventually(20, "user space carries the stream", || {
        let before = received(&lab);
        thread::sleep(Duration::from_millis(500));
        received(&lab) > before + 100
    });
    assert!(repeated(&lab).is_empty());
    assert!(!stream.is_still(Duration::from_secs(2)));
}

#[test]
#[ignore = "needs root"]
fn the_kernel_repeats_flows_to_other_nodes() {
    for encap in ["vxlan", "ipip"] {
        let mut lab = TestLab::up(&format!("--pod-link veth --encap {encap}"));
        let stream = stream_to(&lab, "pod2-1", "10.65.0.65");
        let train = Train::start(&lab, "pod1-1", "10.65.0.65");
        for node in [1, 2] {
            eventually(3, "all are repeated", || {
                repeated_by(&lab, node, encap).len() == 2
            });
        }
        let before = received(&lab);
        thread::sleep(Duration::from_secs(1));
        let seen = received(&lab) - before;
        assert!(seen < 100, "{encap}: user space saw {seen} packets");

        // Without daemons they go on; both return.
        let pause = stream.longest_pause(|| {
            for node in [1, 2] {
                end(&lab, &format!("vrouterd node{node}"), Signal::SIGKILL);
            }
            thread::sleep(Duration::from_secs(1));
            assert!(!lab.pings("pod1-2", "10.65.0.65"), "new flows wait");
            for node in [1, 2] {
                start_vrouterd(&mut lab, node);
            }
            for node in [1, 2] {
                eventually(20, "they are repeated again", || {
                    repeated_by(&lab, node, encap).len() == 2
                });
            }
        });
        assert!(
            pause < Duration::from_millis(300),
            "{encap}: the stream paused for {pause:?}"
        );
        support::store::assert_none_lost(&train.finish(), 200);

        // The receiver's node cuts them.
        lab.write_resource("deny.yaml", &support::store::deny("pod2-1"));
        eventually(3, "the stream is cut", || {
            stream.is_still(Duration::from_millis(200))
        });
        lab.remove_resource("deny.yaml");
        assert!(!stream.is_still(Duration::from_secs(3)), "it goes on");
        for node in [1, 2] {
            lab.assert_conserved(node);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_kernel_repeats_flows_by_the_host() {
    let lab = TestLab::up("--pod-link veth --encap none --family dual");
    let stream = stream_to(&lab, "pod2-1", "10.65.0.65");
    let trains = [
        ("pod1-1", "10.65.0.65"),
        ("pod1-1", "fd00:65::41"),
        ("node1", "10.65.0.1"),
        ("node1", "fd00:65::1"),
    ]
    .map(|(from, to)| Train::start(&lab, from, to));
    for (node, count) in [(1, 5), (2, 3)] {
        eventually(3, "all are repeated", || {
            repeated_by(&lab, node, "host").len() == count
        });
    }
    let before = received(&lab);
    thread::sleep(Duration::from_secs(1));
    let seen = received(&lab) - before;
    assert!(seen < 100, "user space saw {seen} packets");
    let pause = stream.longest_pause(|| thread::sleep(Duration::from_secs(1)));
    assert!(pause < Duration::from_millis(300), "{pause:?}");
    for train in trains {
        support::store::assert_none_lost(&train.finish(), 200);
    }
    lab.write_resource("deny.yaml", &support::store::deny("pod2-1"));
    eventually(3, "the stream is cut", || {
        stream.is_still(Duration::from_millis(200))
    });
    lab.remove_resource("deny.yaml");
    assert!(!stream.is_still(Duration::from_secs(3)), "it goes on");
    for node in [1, 2] {
        lab.assert_conserved(node);
    }
    lab.assert_no_netfilter();
}

/// Flows that rules of node 1 allowed.
fn allowed(lab: &TestLab) -> u64 {
    let hits = vrouter::ask(lab.node(1), &ShowHits {}).unwrap();
    let allowing = hits.iter().filter(|rule| rule.action == "Allow");
    allowing.map(|rule| rule.hits.flows).sum()
}

/// Connects from pod1-1 and back, `count` times; how many were answered.
fn connect(lab: &TestLab, to: SocketAddr, count: usize) -> usize {
    let from = lab.lab.namespace("pod1-1").unwrap();
    let patience = Duration::from_millis(300);
    let answered = |_: &usize| {
        let stream = netns::inside(from, || TcpStream::connect_timeout(&to, patience)).unwrap();
        stream.is_ok_and(|mut stream| {
            stream.set_read_timeout(Some(patience)).unwrap();
            stream.read(&mut [0; 8]).is_ok_and(|length| length == 2)
        })
    };
    (0..count).filter(answered).count()
}

#[test]
#[ignore = "needs root"]
fn connections_like_one_that_was_allowed_begin_in_the_kernel() {
    let lab = TestLab::up("--pod-link veth --encap vxlan");
    for (name, address) in [("pod1-2", "10.65.0.2:7002"), ("pod2-1", "10.65.0.65:7002")] {
        let to: SocketAddr = address.parse().unwrap();
        let there = lab.lab.namespace(name).unwrap();
        let listener = netns::inside(there, || TcpListener::bind(to))
            .unwrap()
            .unwrap();
        // Ends with the test's process.
        let _server = thread::spawn(move || {
            for stream in listener.incoming() {
                let _cut = stream.and_then(|mut stream| stream.write_all(b"ok"));
            }
        });
        let none = allowed(&lab);
        assert_eq!(connect(&lab, to, 1), 1);
        let each = allowed(&lab) - none;
        assert!(each > 0);
        thread::sleep(Duration::from_millis(100));
        let before = received(&lab);
        assert_eq!(connect(&lab, to, 200), 200);
        let seen = received(&lab) - before;
        assert!(seen < 100, "{address}: user space saw {seen} packets");
        let known = || {
            let page = vrouter::ask(lab.node(1), &ShowFlows::default()).unwrap();
            let ours = page.items.iter();
            let ours = ours.filter(|flow| flow.original.destination_port == Some(7002));
            ours.filter(|flow| flow.state == "closing").count()
        };
        eventually(3, "each is known, and that it ended", || known() >= 201);
        assert_eq!(allowed(&lab) - none, 201 * each, "the rules count each");

        lab.write_resource("deny.yaml", &support::store::deny(name));
        eventually(3, "none begins", || connect(&lab, to, 1) == 0);
        lab.remove_resource("deny.yaml");
        eventually(3, "they begin again", || connect(&lab, to, 1) == 1);
    }
    lab.assert_conserved(1);
}

/// `VROUTER_KILLS=100` makes it longer.
#[test]
#[ignore = "needs root"]
fn a_daemon_that_is_killed_again_and_again_loses_no_packet_of_a_known_flow() {
    let kills = std::env::var("VROUTER_KILLS").map_or(1, |text| text.parse().unwrap());
    let mut lab = TestLab::up("--pod-link veth --encap vxlan");
    let near = stream(&lab);
    let far = stream_to(&lab, "pod2-1", "10.65.0.65");
    let trains = ["10.65.0.2", "10.65.0.65"].map(|to| Train::start(&lab, "pod1-1", to));
    let all_known = |lab: &TestLab| {
        let (pod, vxlan) = (repeated(lab).len(), repeated_by(lab, 1, "vxlan").len());
        pod == 2 && vxlan == 2
    };
    eventually(3, "all are repeated", || all_known(&lab));
    let ends = links(&lab, "cali");
    let pins = lab.lab.state_directory.join("node1/bpf/vrouter");
    let count = |pins: &std::path::Path| {
        let all = std::fs::read_dir(pins).unwrap().flatten();
        all.map(|it| std::fs::read_dir(it.path()).unwrap().count())
            .collect::<Vec<_>>()
    };
    let pinned = count(&pins);
    // Moments without a pattern.
    let mut random = u64::from(std::process::id());
    let mut pause_ms = |least: u64, range: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        thread::sleep(Duration::from_millis(least + (random >> 33) % range));
    };
    let mut longest = Duration::ZERO;
    for kill in 1..=kills {
        pause_ms(100, 300);
        let mut far_pause = Duration::ZERO;
        let pause = near.longest_pause(|| {
            far_pause = far.longest_pause(|| {
                end(&lab, VROUTERD, Signal::SIGKILL);
                pause_ms(0, 500);
                start_vrouterd(&mut lab, 1);
                eventually(20, "all are repeated again", || all_known(&lab));
            });
        });
        println!("kill {kill}: {pause:?} {far_pause:?}");
        longest = longest.max(pause).max(far_pause);
        assert_eq!(links(&lab, "cali"), ends, "kill {kill}");
        assert_eq!(count(&pins), pinned, "kill {kill}");
    }
    for train in trains {
        support::store::assert_none_lost(&train.finish(), 50);
    }
    assert!(longest < Duration::from_millis(300), "{longest:?}");
    lab.assert_conserved(1);
}
