//! What may happen to an etcd that nodes share, for as long as it may happen: away for a minute,
//! compacted and restarted, cut off from one node. Each has a lab of its own; they run side by
//! side, since most of it is waiting.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::ping::Train;
use support::store::{
    apply, assert_none_lost, compact, create, cut, delete, deny, end, etcdctl, heal, process,
    reporting, says_away, start_etcd, start_vrouterd,
};
use support::{TestLab, eventually};
use vrouter_api::{Key, Kind};
use vrouter_control::params::ShowRoutes;
use vrouter_lab::vrouter;

/// How long etcd is away.
const AWAY: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs root"]
fn forwarding_goes_on_and_nothing_is_lost_or_left() {
    let scenarios: [(&str, fn()); 3] = [
        ("a minute without etcd", a_minute_without_etcd),
        ("a node cut off from etcd", a_node_cut_off_from_etcd),
        ("etcd restarted and compacted", compacted_and_restarted),
    ];
    thread::scope(|scope| {
        let run = |(name, scenario): (&'static str, fn())| {
            let named = thread::Builder::new().name(name.to_owned());
            named.spawn_scoped(scope, scenario).unwrap()
        };
        let running = scenarios.map(run);
        let failed: Vec<String> = running
            .into_iter()
            .filter_map(|thread| {
                let name = thread.thread().name().unwrap_or_default().to_owned();
                thread.join().is_err().then_some(name)
            })
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}

/// Everything a lab's nodes and etcd have that could be left over: kernel routes and keys.
fn inventory(lab: &TestLab) -> Vec<String> {
    let mut all = Vec::new();
    for node in &lab.lab.nodes {
        for family in ["-4", "-6"] {
            let routes = lab.ok(&node.name, &format!("ip {family} route show table all"));
            // A device that is made anew has another link-local address.
            let kept = |line: &&str| !line.contains("expires") && !line.contains("local fe80::");
            all.extend(
                routes
                    .lines()
                    .filter(kept)
                    .map(|line| format!("{}: {line}", node.name)),
            );
        }
    }
    let keys = etcdctl(lab, "get / --prefix --keys-only");
    let keys = keys.lines().filter(|line| !line.is_empty());
    all.extend(keys.map(str::to_owned));
    all.sort_unstable();
    all
}

/// The nodes and etcd come to have what they had, and no more.
#[track_caller]
fn assert_nothing_left(lab: &TestLab, before: &[String]) {
    let mut now = Vec::new();
    let same = vrouter_lab::process::wait_until(Duration::from_secs(15), || {
        now = inventory(lab);
        now == before
    });
    let more = now.iter().filter(|it| !before.contains(it));
    let fewer = before.iter().filter(|it| !now.contains(it));
    let differ = (more.collect::<Vec<_>>(), fewer.collect::<Vec<_>>());
    assert!(same, "(more, fewer) than before: {differ:?}");
}

fn leases(lab: &TestLab) -> usize {
    let said = etcdctl(lab, "lease list");
    let number = said
        .split_whitespace()
        .nth(1)
        .and_then(|it| it.parse().ok());
    number.unwrap_or_else(|| panic!("{said}"))
}

/// How often a node's log says something.
fn logged(lab: &TestLab, node: usize, text: &str) -> usize {
    let log = lab.node(node).log.as_ref().unwrap();
    fs::read_to_string(log).unwrap().matches(text).count()
}

/// Every node has said its status, so that no key is still to come.
fn settled(lab: &TestLab) {
    reporting(lab, true);
    eventually(15, "all nodes report", || {
        let keys = etcdctl(lab, "get /calico/felix/ --prefix --keys-only");
        let pods: usize = lab.lab.nodes.iter().map(|node| node.pods.len()).sum();
        let of = |part: &str| keys.lines().filter(|line| line.ends_with(part)).count();
        of("/status") == lab.lab.nodes.len() && of("/endpoint/eth0") == pods
    });
}

fn a_minute_without_etcd() {
    let mut lab = TestLab::up("--datastore etcd --nodes 3 --pods 2 --encap cross-subnet");
    settled(&lab);
    let (before, leased) = (inventory(&lab), leases(&lab));
    assert_eq!(leased, 3, "one for each node");
    // Between nodes 1 and 2, which stay; node 3 starts anew meanwhile.
    let train = Train::start(&lab, "pod1-1", "10.65.0.65");
    thread::sleep(Duration::from_millis(500));
    let gone = Instant::now();
    end(&lab, "etcd", Signal::SIGKILL);
    eventually(15, "all nodes say so", || {
        (1..=3).all(|node| says_away(&lab, node))
    });
    // Ended in order, then at once: each time it comes back with what its cache has.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        end(&lab, "vrouterd node3", signal);
        start_vrouterd(&mut lab, 3);
        eventually(10, "pods of node 3 reach others", || {
            lab.pings("pod3-1", "10.65.0.1") && lab.pings("pod3-2", "10.65.0.65")
        });
        assert!(lab.pings("pod3-1", "10.65.0.130"), "and each other");
        assert!(lab.pings("pod1-2", "10.65.0.129"), "and are reached");
        assert!(says_away(&lab, 3), "it has only its cache");
    }
    thread::sleep(AWAY.saturating_sub(gone.elapsed()));
    assert!((1..=3).all(|node| says_away(&lab, node)), "still away");
    assert!(lab.pings("pod2-2", "10.65.0.2"), "new flows still begin");

    start_etcd(&mut lab);
    apply(&lab, &deny("pod2-2"));
    let key = Key::namespaced(Kind::WorkloadEndpoint, "default", "node3-k8s-pod3--2-eth0");
    let endpoint = delete(&lab, &key);
    eventually(15, "changes right after its return arrive", || {
        !lab.pings("pod1-1", "10.65.0.66") && !lab.pings("pod1-1", "10.65.0.130")
    });
    eventually(15, "all nodes have etcd back", || {
        !(1..=3).any(|node| says_away(&lab, node))
    });
    create(&lab, &[endpoint]);
    delete(&lab, &Key::global(Kind::GlobalNetworkPolicy, "deny"));
    eventually(10, "later ones too", || {
        lab.pings("pod1-1", "10.65.0.66") && lab.pings("pod1-1", "10.65.0.130")
    });
    assert_none_lost(&train.finish(), 10_000);
    assert_nothing_left(&lab, &before);
    let more = leases(&lab).saturating_sub(leased);
    assert!(more <= 1, "node 3 could not give its lease back: {more}");
    for node in 1..=2 {
        lab.assert_conserved(node);
    }
}

/// A block of node 3 in which no pod is yet.
const ANOTHER_BLOCK: &str = "apiVersion: projectcalico.org/v3\nkind: BlockAffinity\n\
    metadata: {name: node3-10-65-9-0-26}\n\
    spec: {node: node3, cidr: 10.65.9.0/26, state: confirmed, deleted: \"false\"}\n";

/// Whether a node has the route to it.
fn has_route(lab: &TestLab, node: usize) -> bool {
    let question = ShowRoutes {
        prefix: Some("10.65.9.0/26".parse().unwrap()),
        ..ShowRoutes::default()
    };
    let routes = vrouter::ask(lab.node(node), &question).unwrap();
    !routes.items.is_empty()
}

fn a_node_cut_off_from_etcd() {
    let lab = TestLab::up("--datastore etcd --nodes 3 --pods 2 --encap vxlan");
    settled(&lab);
    let (before, leased) = (inventory(&lab), leases(&lab));
    let train = Train::start(&lab, "pod1-1", "10.65.0.65");
    thread::sleep(Duration::from_millis(300));
    cut(&lab, 1);
    assert!(!says_away(&lab, 2) && !says_away(&lab, 3));
    // Gone and come at the others: a pod of node 2, and a block of node 3.
    let pod = Key::namespaced(Kind::WorkloadEndpoint, "default", "node2-k8s-pod2--2-eth0");
    let endpoint = delete(&lab, &pod);
    eventually(5, "node 2 has no such pod", || {
        !lab.pings("pod2-1", "10.65.0.66")
    });
    create(&lab, &[endpoint]);
    eventually(5, "a new endpoint", || lab.pings("pod3-1", "10.65.0.66"));
    apply(&lab, ANOTHER_BLOCK);
    eventually(5, "node 2 has a new route", || has_route(&lab, 2));
    assert!(!has_route(&lab, 1), "node 1 knows nothing of it");
    assert!(
        lab.pings("pod1-2", "10.65.0.129") && lab.pings("pod2-1", "10.65.0.2"),
        "and new flows are forwarded all the same"
    );
    heal(&lab, 1);
    eventually(5, "node 1 hears of it", || has_route(&lab, 1));
    let another = Key::global(Kind::BlockAffinity, "node3-10-65-9-0-26");
    delete(&lab, &another);
    eventually(5, "as it was, at both", || {
        !(1..=2).any(|node| has_route(&lab, node))
    });
    assert!(lab.pings("pod1-2", "10.65.0.66"), "the pod made meanwhile");
    assert_none_lost(&train.finish(), 500);
    assert_nothing_left(&lab, &before);
    assert_eq!(leases(&lab), leased);
    for node in 1..=3 {
        lab.assert_conserved(node);
    }
}

fn compacted_and_restarted() {
    let mut lab = TestLab::up("--datastore etcd --nodes 2 --pods 2 --encap ipip");
    settled(&lab);
    let before = inventory(&lab);
    let train = Train::start(&lab, "pod1-1", "10.65.0.65");
    thread::sleep(Duration::from_millis(300));
    cut(&lab, 1);
    // Before, between and after: what node 1 missed is no longer in any history.
    apply(&lab, &deny("pod2-2"));
    compact(&lab);
    end(&lab, "etcd", Signal::SIGKILL);
    start_etcd(&mut lab);
    let key = Key::namespaced(Kind::WorkloadEndpoint, "default", "node1-k8s-pod1--2-eth0");
    let endpoint = delete(&lab, &key);
    compact(&lab);
    assert!(
        lab.pings("pod1-1", "10.65.0.2"),
        "node 1 knows nothing of it"
    );
    heal(&lab, 1);
    eventually(5, "no gap", || {
        !lab.pings("pod1-1", "10.65.0.66") && !lab.pings("pod1-1", "10.65.0.2")
    });
    // Nobody lists again and again.
    let asked = |lab: &TestLab| {
        let of = |node| logged(lab, node, "listing again") + logged(lab, node, "cannot be reached");
        [of(1), of(2)]
    };
    eventually(15, "node 2 has etcd back", || !says_away(&lab, 2));
    let first = asked(&lab);
    assert!(first.iter().all(|times| *times <= 3), "{first:?}");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(first, asked(&lab), "no loop");
    compact(&lab);
    create(&lab, &[endpoint]);
    delete(&lab, &Key::global(Kind::GlobalNetworkPolicy, "deny"));
    eventually(5, "the watch goes on", || {
        lab.pings("pod1-1", "10.65.0.2") && lab.pings("pod1-1", "10.65.0.66")
    });
    assert!(process(&lab, "etcd").is_alive());
    assert_none_lost(&train.finish(), 500);
    assert_nothing_left(&lab, &before);
}
