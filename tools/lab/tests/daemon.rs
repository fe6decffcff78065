//! The life of vrouterd on a node: an orderly end, a violent one, a second instance, a wrong
//! configuration.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{TestLab, eventually, said};
use vrouter_lab::process::Process;
use vrouter_lab::vrouter;

/// Everything of the node's own network that a daemon could have left changed.
fn network(lab: &TestLab, node: &str) -> String {
    let show = |command: &str| lab.ok(node, command);
    // Counters, ages and lifetimes left out: what is configured, in order.
    let mut lines: Vec<String> = [
        show("ip -4 route show table all"),
        show("ip -6 route show table all"),
        show("ip -o -4 address show"),
        show("ip -o -6 address show"),
        show("ip -4 rule show"),
        show("ip -6 rule show"),
        show("ip -o link show")
            .lines()
            .map(|l| l.split(" mtu").next().unwrap_or(l).to_owned() + "\n")
            .collect(),
    ]
    .concat()
    .lines()
    .map(|line| {
        line.split(" expires")
            .next()
            .unwrap_or(line)
            .trim_end()
            .to_owned()
    })
    .filter(|line| !line.is_empty())
    .collect();
    lines.sort();
    lines.join("\n")
}

fn vrouterd(lab: &TestLab, node: &str) -> Process {
    let role = format!("vrouterd {node}");
    let processes = &lab.lab.processes;
    processes
        .iter()
        .find(|process| process.role == role)
        .expect("it was started")
        .clone()
}

#[test]
#[ignore = "needs root"]
fn sigterm_leaves_the_node_as_it_was() {
    for encap in ["vxlan", "none"] {
        let mut lab = TestLab::up(&format!("--encap {encap} --family dual"));
        let daemon = vrouterd(&lab, "node1");
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.wait_ended(Duration::from_secs(5)), "it ends in time");
        // What an administrator had there before.
        lab.ok("node1", "ip route add 10.99.0.0/24 via 172.16.1.1");
        lab.ok("node1", "ip address add 192.0.2.7/32 dev eth0");
        let before = network(&lab, "node1");
        assert!(
            !before.contains("tunl0") && !before.contains("10.65."),
            "{before}"
        );

        let daemon = vrouter::start(&lab.lab, lab.node(1)).unwrap();
        lab.lab.processes.push(daemon.clone());
        for pod in &lab.node(1).pods {
            vrouter::wait_for_pod(lab.node(1), pod).unwrap();
        }
        assert!(lab.pings("pod1-1", "10.65.0.65") && lab.pings("node1", "fd00:65::41"));
        assert_ne!(
            network(&lab, "node1"),
            before,
            "it routes pods while it runs"
        );
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.wait_ended(Duration::from_secs(5)), "it ends in time");
        assert_eq!(network(&lab, "node1"), before);
        let socket = lab.node(1).control_socket.as_ref().unwrap();
        assert!(!socket.exists(), "the control socket is gone");
    }
}

#[test]
#[ignore = "needs root"]
fn after_a_kill_it_starts_again() {
    let lab = TestLab::up("--encap vxlan --family dual");
    let daemon = vrouterd(&lab, "node1");
    for _ in 0..2 {
        let running = vrouter::ask(lab.node(1), &vrouter_control::params::GetVersion {}).unwrap();
        let running = Process::of("vrouterd", running.pid).unwrap();
        running.signal(Signal::SIGKILL);
        assert!(running.wait_ended(Duration::from_secs(5)));
        assert!(!daemon.is_alive());
        assert!(!lab.pings("pod1-1", "10.65.0.65"));
        vrouter::start(&lab.lab, lab.node(1)).unwrap();
        for pod in &lab.node(1).pods {
            vrouter::wait_for_pod(lab.node(1), pod).unwrap();
        }
        for to in ["10.65.0.2", "10.65.0.65", "fd00:65::41", "172.16.1.11"] {
            assert!(lab.pings("pod1-1", to), "from the pod to {to}");
        }
        assert!(lab.pings("node1", "10.65.0.65") && lab.pings("node2", "10.65.0.1"));
    }
}

#[test]
#[ignore = "needs root"]
fn a_second_instance_is_refused_and_the_first_unharmed() {
    let lab = TestLab::up("--encap vxlan");
    let program = vrouter::program(&lab.lab).unwrap();
    let node = lab.node(1);
    let other_socket = lab.lab.state_directory.join("other.sock");
    for socket in [node.control_socket.as_ref().unwrap(), &other_socket] {
        let output = Command::new("ip")
            .args(["netns", "exec", node.namespace.as_str(), "timeout", "10"])
            .arg(&program)
            .args(["--node-name", "node1", "--directory"])
            .arg(&lab.lab.resource_directory)
            .arg("--control-socket")
            .arg(socket)
            .output()
            .unwrap();
        let code = output.status.code();
        assert!(
            code.is_some_and(|code| code != 0 && code != 124),
            "{}",
            said(&output)
        );
        assert!(!output.stderr.is_empty(), "it says why");
        assert!(vrouterd(&lab, "node1").is_alive());
        for to in ["10.65.0.2", "10.65.0.65", "172.16.1.11"] {
            assert!(lab.pings("pod1-1", to), "from the pod to {to}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_wrong_configuration_is_refused_with_its_key() {
    let lab = TestLab::up("--encap none --nodes 1 --pods 1");
    let program = vrouter::program(&lab.lab).unwrap();
    let file = lab.lab.state_directory.join("config.yaml");
    let directory = lab.lab.resource_directory.display().to_string();
    for (text, key) in [
        (
            format!("nodeName: node1\ndirectory: {directory}\nwrokers: 2\n"),
            "wrokers",
        ),
        (
            format!("nodeName: node1\ndirectory: {directory}\nworkers: -3\n"),
            "workers",
        ),
        (
            format!("nodeName: node1\ndirectory: {directory}\nlogLevel: loudest\n"),
            "logLevel",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = Command::new(&program)
            .arg("--check")
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{key}: {}", said(&output));
        assert!(said(&output).contains(key), "{key}: {}", said(&output));
    }
    std::fs::write(
        &file,
        format!("nodeName: node1\ndirectory: {directory}\nworkers: 2\n"),
    )
    .unwrap();
    let output = Command::new(&program)
        .arg("--check")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "needs root"]
fn an_idle_node_sleeps_and_stays_small() {
    let lab = TestLab::up("--encap vxlan");
    let pid = vrouterd(&lab, "node1").pid;
    assert!(lab.pings("pod1-1", "10.65.0.65"));
    std::thread::sleep(Duration::from_millis(500));
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // At 100 ticks a second, 1 % of a core is 3 ticks in 3 s; one more for the rounding.
    let before = ticks();
    std::thread::sleep(Duration::from_secs(3));
    let used = ticks() - before;
    assert!(used <= 4, "{used} ticks of CPU in 3 s at rest");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap()
        .to_owned();
    let kibibytes: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kibibytes < 64 * 1024, "{resident}");
    eventually(1, "it still answers", || lab.pings("pod1-1", "10.65.0.65"));
}
