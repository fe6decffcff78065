//! The lab tool itself, on the kernel backend: names, failures, crashes, and the reference that the
//! vRouter is compared with.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{PROGRAM, TestLab, eventually, fresh_name, lab_command, require_root, said};
use vrouter_lab::names::LabName;
use vrouter_lab::{netns, state};

fn leftovers(name: &LabName) -> Vec<String> {
    let mut found: Vec<String> = netns::names()
        .unwrap()
        .into_iter()
        .filter(|netns| name.owns(netns))
        .collect();
    if state::directory(name).exists() {
        found.push(state::directory(name).display().to_string());
    }
    found
}

#[test]
#[ignore = "needs root"]
fn the_kernel_reference_passes_the_same_check() {
    for flags in [
        "--backend kernel --family dual",
        "--backend kernel --family dual --kernel-rules nft --encap cross-subnet --nodes 3",
        "--backend kernel --encap none --underlay-offload off --rules 1000",
    ] {
        TestLab::up(flags).check("--quiet");
    }
}

#[test]
#[ignore = "needs root"]
fn the_references_without_a_node_work() {
    for flags in ["--backend direct", "--backend tap-loop"] {
        if flags.contains("tap-loop")
            && vrouter_lab::vrouter::beside_or_in_path("tap-loop").is_err()
        {
            panic!("tap-loop is not built: cargo build --workspace --bins in the same profile");
        }
        TestLab::up(&format!("{flags} --nodes 1 --encap none --family dual")).check("--quiet");
    }
}

#[test]
#[ignore = "needs root"]
fn the_loops_of_two_nodes_join_their_pods() {
    if vrouter_lab::vrouter::beside_or_in_path("tap-loop-tunnel").is_err() {
        panic!("tap-loop-tunnel is not built: cargo build --workspace --bins in the same profile");
    }
    for flags in [
        "--encap vxlan",
        "--encap none",
        "--encap vxlan --underlay-offload off --tap-loop-arg=--spin=0",
        "--encap none --underlay-offload off --tap-loop-arg=--spin=0",
    ] {
        let lab = TestLab::up(&format!("--backend tap-loop --nodes 2 --pods 1 {flags}"));
        lab.check("--quiet");
        assert_eq!(lab.lab.processes.len(), 2);
    }
}

#[test]
#[ignore = "needs root"]
fn two_labs_side_by_side_do_not_meet() {
    let (one, two) = (
        TestLab::up("--backend kernel"),
        TestLab::up("--backend kernel"),
    );
    for lab in [&one, &two] {
        assert!(lab.pings("pod1-1", "10.65.0.65"));
    }
    drop(one);
    assert!(
        two.pings("pod1-1", "10.65.0.65"),
        "the other lab's end is not this one's"
    );
}

#[test]
#[ignore = "needs root"]
fn a_name_in_use_is_refused_and_its_lab_unharmed() {
    let lab = TestLab::up("--backend kernel");
    let again = lab_command(&format!("up {} --backend kernel", lab.lab.name));
    assert!(
        !again.status.success() && said(&again).contains("exists already"),
        "{}",
        said(&again)
    );
    assert!(lab.pings("pod1-1", "10.65.0.65"));
}

#[test]
#[ignore = "needs root"]
fn a_failed_up_leaves_nothing() {
    require_root();
    let name = fresh_name();
    let output = lab_command(&format!("up {name} --vrouterd /bin/false"));
    assert!(!output.status.success());
    assert!(leftovers(&name).is_empty(), "{:?}", leftovers(&name));
}

#[test]
#[ignore = "needs root"]
fn run_gives_the_command_s_status_and_its_lab_ends() {
    require_root();
    let name = fresh_name();
    let script = "test -n \"$LAB_POD1_1_IPV4\" && exit 7";
    let status = Command::new(PROGRAM)
        .args([
            "run",
            name.as_str(),
            "--backend",
            "kernel",
            "--",
            "sh",
            "-c",
            script,
        ])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
    assert!(leftovers(&name).is_empty(), "{:?}", leftovers(&name));
}

#[test]
#[ignore = "needs root"]
fn however_run_ends_its_lab_ends_too() {
    require_root();
    for signal in ["KILL", "TERM", "INT"] {
        let name = fresh_name();
        let mut run = Command::new(PROGRAM)
            .args([
                "run",
                name.as_str(),
                "--backend",
                "kernel",
                "--",
                "sleep",
                "100",
            ])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        eventually(10, "the lab is up", || {
            netns::names().unwrap().iter().any(|netns| name.owns(netns))
        });
        thread::sleep(Duration::from_millis(400));
        let kill = Command::new("kill")
            .args(["-s", signal, &run.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        run.wait().unwrap();
        eventually(10, &format!("nothing is left after SIG{signal}"), || {
            leftovers(&name).is_empty()
        });
    }
}

#[test]
#[ignore = "needs root"]
fn down_ends_what_runs_inside() {
    let lab = TestLab::up("--backend kernel");
    let name = lab.lab.name.clone();
    let _sleeper = lab.start("pod1-1", "sleep 300");
    drop(lab);
    assert!(leftovers(&name).is_empty(), "{:?}", leftovers(&name));
}
