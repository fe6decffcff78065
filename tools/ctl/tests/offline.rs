//! `policy explain` and `policy test` over files, without a daemon.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const RESOURCES: &str = "
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: n1-k8s-web-eth0
  namespace: default
  labels: {app: web, projectcalico.org/namespace: default, projectcalico.org/orchestrator: k8s}
spec:
  {node: n1, orchestrator: k8s, pod: web, endpoint: eth0, ipNetworks: [10.65.0.1/32],
   profiles: [projectcalico-default-allow]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{ports: [{port: 80}]}]
";

const EXPECTATIONS: &str = "
- {source: 192.0.2.1, destination: default/web, to: tcp/80, expect: Allow}
- {name: no telnet, source: 192.0.2.1, destination: default/web, to: tcp/23, expect: Deny}
";

fn ctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vrouterctl"))
        .env("VROUTER_CONTROL_SOCKET", "/nonexistent/d.sock")
        .args(arguments)
        .output()
        .unwrap()
}

/// Exit code, standard output and standard error of `policy test`.
fn judged(directory: &Path, expectations: &str) -> (Option<i32>, String, String) {
    let file = directory.join("expectations.txt");
    fs::write(&file, expectations).unwrap();
    let resources = directory.join("resources");
    let output = ctl(&[
        "policy",
        "test",
        file.to_str().unwrap(),
        "--dir",
        resources.to_str().unwrap(),
    ]);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn cluster() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let resources = directory.path().join("resources");
    fs::create_dir(&resources).unwrap();
    fs::write(resources.join("all.yaml"), RESOURCES).unwrap();
    directory
}

#[test]
fn expectations_hold_or_fail() {
    let directory = cluster();
    let (code, table, errors) = judged(directory.path(), EXPECTATIONS);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{table}");
    assert_eq!(
        table.lines().filter(|line| line.starts_with("ok")).count(),
        2
    );

    let other = EXPECTATIONS
        .replace("Deny", "Allow")
        .replace("default/web", "default/nobody");
    let (code, table, errors) = judged(directory.path(), &other);
    assert_eq!(code, Some(1), "{table}");
    assert_eq!(errors, "vrouterctl: 2 of 2 expectations do not hold\n");
    assert!(table.contains("default/nobody"), "{table}");

    let (code, table, errors) = judged(directory.path(), "- {source: a}");
    assert_eq!((code, table.as_str()), (Some(2), ""));
    assert!(errors.contains("expectations.txt"), "{errors}");
}

#[test]
fn faulty_resources_are_refused() {
    let directory = cluster();
    let file = directory.path().join("resources/bad.yaml");
    let text = RESOURCES
        .replace("port: 80", "port: 80000")
        .replace("name: web", "name: other");
    fs::write(&file, text.split("---").nth(1).unwrap()).unwrap();
    let (code, table, errors) = judged(directory.path(), EXPECTATIONS);
    assert_eq!((code, table.as_str()), (Some(2), ""));
    assert!(errors.contains("bad.yaml"), "{errors}");
}

#[test]
fn a_packet_is_explained() {
    let directory = cluster();
    let resources = directory.path().join("resources");
    let resources = resources.to_str().unwrap();
    let line = [
        "policy",
        "explain",
        "192.0.2.1",
        "default/web",
        "tcp/23",
        "--dir",
        resources,
    ];
    let output = ctl(&[&line[..], &["-o", "json"]].concat());
    assert!(output.status.success());
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["verdict"], "Deny");
    assert_eq!(said["destination"]["node"], "n1");
    assert_eq!(said["packet"]["destinationPort"], 23);
    let elsewhere = ctl(&[&line[..], &["--node", "n2", "-o", "json"]].concat());
    let said: serde_json::Value = serde_json::from_slice(&elsewhere.stdout).unwrap();
    assert_eq!(said["verdict"], "Allow");
    assert_eq!(said["notes"][0], "ingress of default/web is decided on n1");
    let output = ctl(&["policy", "explain", "a", "b", "tcp/23", "--node", "n2"]);
    assert_eq!(output.status.code(), Some(2));
}
