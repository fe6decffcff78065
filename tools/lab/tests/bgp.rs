//! BGP: nodes whose vRouters run BIRD, and pods that reach each other by what BIRD learns.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::ping::Train;
use support::store::{end, start_vrouterd};
use support::{TestLab, eventually};
use vrouter_bgp::bird::Bird;
use vrouter_control::params::ShowResources;
use vrouter_lab::vrouter;

/// A lab whose nodes run BIRD.
fn up(flags: &str) -> TestLab {
    TestLab::up(&format!("--pods 1 --vrouterd-arg=--bird=managed {flags}"))
}

fn socket(lab: &TestLab, node: usize) -> PathBuf {
    let control = lab.node(node).control_socket.clone().unwrap();
    control.with_file_name("bird").join("bird.ctl")
}

/// The sessions of a node's BIRD that are up, by name.
fn established(lab: &TestLab, node: usize) -> Vec<String> {
    let protocols = Bird::connect(&socket(lab, node)).and_then(|mut bird| bird.protocols());
    let protocols = protocols.unwrap_or_default().into_iter();
    let up = protocols.filter(|it| it.session().is_some_and(|it| it.state == "Established"));
    up.map(|it| it.name).collect()
}

#[track_caller]
fn wait_for_sessions(lab: &TestLab, node: usize, count: usize) {
    let mut last = Vec::new();
    let what = format!("{count} sessions of node {node}");
    eventually(15, &what, || {
        last = established(lab, node);
        last.len() == count
    });
}

/// The routes that BIRD gave a node's kernel, as `ip` prints them.
fn learned(lab: &TestLab, node: usize) -> Vec<String> {
    let name = &lab.node(node).name;
    let families = ["-4", "-6"].map(|family| {
        let routes = lab.ok(name, &format!("ip {family} route show proto bird"));
        routes.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    families.concat()
}

/// What a node's vRouter says is wrong with BGP.
fn problems(lab: &TestLab, node: usize) -> Vec<String> {
    let report = vrouter::ask(lab.node(node), &ShowResources::default()).unwrap();
    let problems = report.notices.into_iter().map(|notice| notice.message);
    problems.filter(|it| it.starts_with("BGP: ")).collect()
}

/// The process of a node's BIRD.
fn bird_of(lab: &TestLab, node: usize) -> Pid {
    let pids = lab.ok(&lab.node(node).name, "pgrep -x bird");
    let own: Vec<i32> = pids
        .lines()
        .map(|pid| pid.parse().unwrap())
        .filter(|pid| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command.is_ok_and(|it| it.contains(socket(lab, node).to_str().unwrap()))
        })
        .collect();
    assert_eq!(own.len(), 1, "{pids}");
    Pid::from_raw(own[0])
}

fn address(lab: &TestLab, node: usize) -> String {
    lab.pod(node, 1).ipv4.unwrap().to_string()
}

#[test]
#[ignore = "needs root"]
fn a_mesh_routes_pods_and_survives_its_daemons() {
    let mut lab = up("--nodes 4 --encap none --family dual");
    for node in 1..=4 {
        wait_for_sessions(&lab, node, 6);
    }
    eventually(15, "three blocks of each family are learned", || {
        learned(&lab, 1).len() == 6
    });
    let name = lab.node(1).name.clone();
    let own = lab.ok(&name, "ip route show proto 80");
    assert!(!own.contains(" via "), "left to BIRD: {own}");
    lab.check("--quiet --paths pod-pod-cross --tests ping,http");
    let server = lab.start("pod2-1", "iperf3 -s -1");
    eventually(5, "iperf3 listens", || {
        !lab.ok("pod2-1", "ss -Hltn sport = :5201").is_empty()
    });
    lab.ok(
        "pod1-1",
        &format!("iperf3 -c {} -t 1 --connect-timeout 3000", address(&lab, 2)),
    );
    drop(server);

    let train = Train::start(&lab, "pod1-1", &address(&lab, 2));
    // A file that BIRD refuses: a neighbor on a link that nobody names.
    lab.write_resource(
        "peer.yaml",
        "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: linklocal}\n\
         spec: {peerIP: 'fe80::1', asNumber: 64999}\n",
    );
    eventually(10, "the refusal is told", || {
        problems(&lab, 1).iter().any(|it| it.contains("refuses"))
    });
    assert_eq!(established(&lab, 1).len(), 6);
    lab.remove_resource("peer.yaml");
    eventually(10, "all is well again", || problems(&lab, 1).is_empty());

    // BIRD killed, then the vRouter itself ended in order and started again.
    let before = bird_of(&lab, 1);
    kill(before, Signal::SIGKILL).unwrap();
    eventually(10, "another BIRD runs", || {
        established(&lab, 1).len() == 6 && bird_of(&lab, 1) != before
    });
    let report = train.finish();
    assert_eq!(report.lost, [0; 0], "{}", report.summary);

    end(&lab, "vrouterd node2", Signal::SIGTERM);
    assert_eq!(learned(&lab, 1).len(), 6, "its routes stay");
    assert_eq!(learned(&lab, 2).len(), 6, "and those it learned");
    start_vrouterd(&mut lab, 2);
    wait_for_sessions(&lab, 2, 6);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(learned(&lab, 1).len(), 6);
    assert!(lab.pings("pod1-1", &address(&lab, 2)));
    lab.assert_conserved(1);
}
