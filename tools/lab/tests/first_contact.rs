//! What goes wrong in silence is named by the program itself: in the log, in `show resources`, and, where
//! the machine is not needed for it, by `--check`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{TestLab, eventually, said};
use vrouter_control::params::{ShowResources, ShowTunnels};
use vrouter_lab::vrouter;

/// All messages of `show resources`.
fn notices(lab: &TestLab) -> Vec<String> {
    let report = vrouter::ask(lab.node(1), &ShowResources {}).unwrap();
    report
        .notices
        .into_iter()
        .map(|notice| {
            format!(
                "{}: {}",
                notice.resource.unwrap_or_default(),
                notice.message
            )
        })
        .collect()
}

fn log(lab: &TestLab) -> String {
    fs::read_to_string(lab.node(1).log.as_ref().unwrap()).unwrap()
}

#[track_caller]
fn appears(lab: &TestLab, seconds: u64, part: &str) {
    let mut last = Vec::new();
    let is_there =
        vrouter_lab::process::wait_until(std::time::Duration::from_secs(seconds), || {
            last = notices(lab);
            last.iter().any(|notice| notice.contains(part))
        });
    assert!(is_there, "{part:?} is not in {last:#?}\n{}", log(lab));
    assert!(
        log(lab).contains(part),
        "{part:?} is not in the log:\n{}",
        log(lab)
    );
}

#[track_caller]
fn goes(lab: &TestLab, seconds: u64, part: &str) {
    eventually(seconds, part, || {
        !notices(lab).iter().any(|notice| notice.contains(part))
    });
}

fn program() -> PathBuf {
    Path::new(support::PROGRAM).with_file_name("vrouterd")
}

fn pool(name: &str, cidr: &str, vxlan: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: {name}\nspec:\n  cidr: {cidr}\n  \
         vxlanMode: {vxlan}\n"
    )
}

#[test]
#[ignore = "needs root"]
fn silent_cases_are_named_and_their_end_is_too() {
    let lab = TestLab::up("--nodes 1 --pods 1 --encap none");
    assert_eq!(notices(&lab), Vec::<String>::new(), "a lab is in order");

    lab.write_resource("wide.yaml", &pool("wide", "10.0.0.0/8", "Never"));
    appears(&lab, 5, "of IPPool(wide)");
    let check = |arguments: &[&str]| {
        let directory = lab.lab.resource_directory.to_str().unwrap().to_owned();
        let output = Command::new(program())
            .args(["--check", "--directory", &directory])
            .args(arguments)
            .output()
            .unwrap();
        said(&output)
    };
    let report = check(&["--node-name", "node1"]);
    assert!(report.contains("warning: IPPool("), "{report}");
    assert!(report.contains("of IPPool(wide)"), "{report}");
    let report = check(&["--node-name", "nobody"]);
    assert!(report.contains("no Node resource nobody"), "{report}");
    assert!(report.contains("there is node1"), "{report}");
    lab.remove_resource("wide.yaml");
    goes(&lab, 5, "of IPPool(wide)");
    assert!(log(&lab).contains("no longer so: IPPool("), "{}", log(&lab));

    // A file with a fault, and the same mended.
    lab.write_resource(
        "policy.yaml",
        "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: A}\n",
    );
    appears(&lab, 5, "must be a lower case");
    let tier =
        "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\nspec: {order: 1}\n";
    lab.write_resource("policy.yaml", tier);
    eventually(5, "the log says that it is mended", || {
        log(&lab).contains("policy.yaml: in order again")
    });
    eventually(5, "the log says what changed", || {
        log(&lab).contains("in force: 1 Tier")
    });

    // An endpoint that cannot be attached, with its reason.
    let file = format!("{}.yaml", lab.pod(1, 1).name);
    let pod = fs::read_to_string(lab.lab.resource_directory.join(file)).unwrap();
    // A name of a resource has its dashes doubled.
    let lost = pod
        .replace("pod1--1", "lost")
        .replace("pod1-1", "lost")
        .replace("10.65.0.", "10.65.0.5");
    lab.write_resource("lost.yaml", &lost);
    eventually(5, "the endpoint's reason is shown", || {
        notices(&lab)
            .iter()
            .any(|notice| notice.contains("lost") && notice.contains("not attached"))
    });
}

#[test]
#[ignore = "needs root"]
fn what_the_host_blocks_is_named() {
    let lab = TestLab::up("--nodes 1 --pods 1 --encap none");
    lab.ok("node1", "iptables -P FORWARD DROP");
    appears(&lab, 20, "drops what the host forwards");
    lab.ok("node1", "iptables -P FORWARD ACCEPT");
    goes(&lab, 20, "drops what the host forwards");

    // The kernel's own VXLAN device, as Calico leaves it.
    lab.ok(
        "node1",
        "ip link add vxlan.calico type vxlan id 4096 dstport 4789 dev lo",
    );
    lab.ok("node1", "ip link set vxlan.calico up");
    let pools = fs::read_to_string(lab.lab.resource_directory.join("ippools.yaml")).unwrap();
    lab.write_resource(
        "ippools.yaml",
        &pools.replace("vxlanMode: Never", "vxlanMode: Always"),
    );
    appears(
        &lab,
        5,
        "the kernel's VXLAN device vxlan.calico has UDP port 4789",
    );
    lab.ok("node1", "ip link delete vxlan.calico");
    goes(&lab, 20, "vxlan.calico");
    let _tunnels = vrouter::ask(lab.node(1), &ShowTunnels::default()).unwrap();

    // Another one in the same namespace, with a socket of its own.
    let socket = std::env::temp_dir().join(format!("vrouter-second-{}.sock", std::process::id()));
    let directory = lab.lab.resource_directory.display();
    for more in ["", " --tunnel-interface tunl9"] {
        let second = format!(
            "{} --node-name node1 --directory {directory} --control-socket {}{more}",
            program().display(),
            socket.display()
        );
        let output = lab.run("node1", &second);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("another vrouterd (pid "), "{text}");
    }
    assert!(lab.pings("node1", "10.65.0.1"), "the first one goes on");
    let _gone_already = fs::remove_file(socket.with_extension("sock.lock"));
}

#[test]
#[ignore = "needs the other programs built"]
fn every_program_names_its_commit_and_writes_its_manual() {
    let directory = tempfile::tempdir().unwrap();
    for (program, manual) in [
        ("vrouterd", "--man"),
        ("vrouterctl", "man"),
        ("vrouter-cni", "man"),
        ("vrouter-lab", "man"),
        ("vrouter-bench", "man"),
    ] {
        let path = vrouter::beside_or_in_path(program).unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new(&path).args(arguments).output().unwrap();
            assert!(output.status.success(), "{program}: {}", said(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        let version = run(&["--version"]);
        assert!(version.contains(vrouter_cli::VERSION), "{version}");
        assert!(run(&[manual]).contains(".SH SYNOPSIS"));
        let pages = directory.path().to_str().unwrap();
        match program {
            "vrouterd" => run(&[manual, pages]),
            _ => run(&[manual, "--dir", pages]),
        };
        let page = directory.path().join(format!("{program}.1"));
        assert!(page.exists(), "{}", page.display());
    }
}
