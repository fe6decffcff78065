//! How much memory a node takes: idle with two pods, and for each pod more.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use support::TestLab;

/// What a pod more may take, and a node with two pods.
const MIB: u64 = 1 << 20;
const IDLE: u64 = 64 * MIB;

/// Resident bytes of a node's vRouter (proc_pid_status(5)).
fn resident(lab: &TestLab, node: &str) -> u64 {
    let role = format!("vrouterd {node}");
    let processes = &lab.lab.processes;
    let process = processes
        .iter()
        .find(|process| process.role == role)
        .expect("it was started");
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .expect("a process has VmRSS");
    kib.parse::<u64>().unwrap() * 1024
}

/// Of a node with this many pods, after some of them have talked.
fn with_pods(pods: usize) -> u64 {
    let lab = TestLab::up(&format!("--nodes 1 --pods {pods}"));
    for pod in (1..=pods).step_by(pods.div_ceil(8)) {
        let to = lab.pod(1, pods - pod + 1).ipv4.unwrap();
        assert!(lab.pings(&format!("pod1-{pod}"), &to.to_string()));
    }
    lab.assert_conserved(1);
    resident(&lab, "node1")
}

#[test]
#[ignore = "needs root"]
fn a_pod_takes_less_than_a_mebibyte() {
    let few = with_pods(2);
    assert!(few <= IDLE, "{few} bytes with 2 pods");
    let many = with_pods(66);
    let each = many.saturating_sub(few) / 64;
    assert!(each <= MIB, "{each} bytes for each of 64 pods more");
}
