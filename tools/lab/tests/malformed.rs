//! Malformed packets, for real: on the underlay and from inside a pod. Nothing ends, nothing leaks,
//! no counter law breaks, and traffic goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;

use support::{TestLab, lab_command, said, scapy};
use vrouter_lab::addresses::GATEWAY_MAC;

fn survives(lab: &TestLab) {
    for process in &lab.lab.processes {
        assert!(process.is_alive(), "{} ended", process.role);
    }
    for to in ["10.65.0.2", "10.65.0.65", "172.16.1.11"] {
        assert!(lab.pings("pod1-1", to), "from the pod to {to}");
    }
    assert!(lab.pings("pod2-1", "10.65.0.1") && lab.pings("node1", "10.65.0.65"));
    lab.assert_conserved(1);
    lab.assert_conserved(2);
}

#[test]
#[ignore = "needs root"]
fn malformed_frames_on_the_underlay() {
    for flags in ["--encap vxlan --family dual", "--encap ipip --family dual"] {
        let lab = TestLab::up(flags);
        let file = lab
            .lab
            .state_directory
            .join("malformed.pcap")
            .display()
            .to_string();
        let made = scapy(&["malformed", &file]);
        assert!(made.status.success(), "{}", said(&made));
        let before = lab.counters(1).balance;
        for _ in 0..3 {
            let sent = lab_command(&format!(
                "inject {} --at node1 --frames {file}",
                lab.lab.name
            ));
            assert!(sent.status.success(), "{}", said(&sent));
        }
        survives(&lab);
        let after = lab.counters(1).balance;
        assert!(
            after.dropped - before.dropped > 300,
            "they are dropped and counted: {after:?}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn malformed_and_spoofed_frames_from_a_pod() {
    let lab = TestLab::up("--encap vxlan --family dual --pod-link tap");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/frames.py");
    let before = lab.counters(1).balance;
    for _ in 0..3 {
        // `ip netns exec` shows the pod's own /sys, where the script reads its address.
        let command = format!(
            "exec {} pod1-1 -- /usr/bin/python3 {} malformed-pod {GATEWAY_MAC}",
            lab.lab.name,
            script.display()
        );
        let sent = lab_command(&command);
        assert!(sent.status.success(), "{}", said(&sent));
    }
    survives(&lab);
    let after = lab.counters(1).balance;
    assert!(
        after.dropped - before.dropped > 300,
        "they are dropped and counted: {after:?}"
    );
    assert!(
        lab.drops(1, "spoof") + lab.drops(1, "source") > 0,
        "spoofing has its own name"
    );
}
