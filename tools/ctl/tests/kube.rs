//! `vrouterctl kube` against a real etcd, filled as Kubernetes fills its own: objects of
//! k8s-pb's types in their protobuf envelope, custom resources as JSON.

#![allow(clippy::unwrap_used)]

mod etcd;
mod objects;

use std::process::{Command, Output, Stdio};

use etcd::Server;
use etcd::certificates::Certificates;
use serde_json::{Value, json};

fn kube(server: &Server, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrouterctl"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .arg("kube")
        .args(line)
        .args(["--endpoints", &server.endpoint()]);
    command.output().unwrap()
}

/// Standard output of a command that must succeed without a word on standard error.
fn text(server: &Server, line: &[&str]) -> String {
    let output = kube(server, line);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{line:?}: {} {errors}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(server: &Server, line: &[&str]) -> Value {
    serde_json::from_str(&text(server, line)).unwrap()
}

#[test]
fn what_went_in_is_decoded() {
    let server = Server::start();
    let objects = objects::all();
    for object in &objects {
        server.put(&object.key, &object.value);
    }
    let keys = text(&server, &["list", "--keys-only"]);
    let mut expected: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(keys.lines().collect::<Vec<_>>(), expected);
    for object in &objects {
        let seen = json_of(&server, &["get", &object.key]);
        assert_eq!(seen, object.json, "{}", object.key);
    }
    // By resource and name too, and as YAML.
    let pod = json_of(&server, &["get", "po", "web-0", "-n", "prod"]);
    assert_eq!(pod["status"]["podIP"], "10.65.0.1");
    let node = text(&server, &["get", "node", "node-1", "-o", "yaml"]);
    assert!(node.contains("podCIDR: 10.65.0.0/24\n"), "{node}");
    let policy = json_of(&server, &["get", "netpol", "web", "-n", "prod"]);
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], "http");
    let custom = ["get", "ippools.crd.projectcalico.org", "default"];
    assert_eq!(json_of(&server, &custom)["spec"]["cidr"], "10.65.0.0/16");
}

#[test]
fn lists_are_by_prefix_and_by_label() {
    let server = Server::start();
    for object in objects::all() {
        server.put(&object.key, &object.value);
    }
    // A neighbour that shares the beginning of its name.
    server.put("/registry/podtemplates/prod/other", b"{}");
    let pods = ["list", "pods", "--keys-only"];
    assert_eq!(text(&server, &pods), "/registry/pods/prod/web-0\n");
    let selected = |selector: &str| {
        let line = ["list", "-l", selector, "--keys-only", "/registry/pods"];
        text(&server, &line).lines().count()
    };
    assert_eq!(selected("app=web"), 1);
    assert_eq!(selected("app in (db),tier"), 0);
    let services = text(&server, &["list", "svc", "-n", "prod"]);
    assert_eq!(
        services,
        "NAMESPACE  NAME  KIND     VERSION  BYTES\nprod       web   Service  v1       248\n"
    );
    assert_eq!(
        text(&server, &["list", "svc", "-n", "other"])
            .lines()
            .count(),
        1
    );
    let list = json_of(&server, &["list", "endpointslices", "-o", "json"]);
    assert_eq!(list["kind"], "List");
    assert_eq!(
        list["items"][0]["endpoints"][0]["conditions"]["ready"],
        true
    );
    // More than are asked for at once.
    for hundred in 0..11 {
        let puts: String = (0..100)
            .map(|n| format!("put /many/{:04} x\n", hundred * 100 + n))
            .collect();
        server.feed(&["txn"], &format!("\n{puts}\n\n"));
    }
    let many = text(&server, &["list", "/many/", "--keys-only"]);
    assert_eq!(many.lines().count(), 1100);
}

#[test]
fn bad_values_are_named_and_do_not_end_the_list() {
    let server = Server::start();
    let pod = objects::all()
        .into_iter()
        .find(|object| object.key.contains("/pods/"))
        .unwrap();
    let mut damaged = pod.value.clone();
    // The metadata's wire type.
    let at = pod.value.windows(4).position(|w| w == b"web-").unwrap() - 2;
    damaged[at] = 0x0f;
    for (name, value) in [
        ("a-good", pod.value.clone()),
        ("b-empty", Vec::new()),
        ("c-cut", pod.value[..pod.value.len() - 30].to_vec()),
        ("d-magic", b"k8".to_vec()),
        ("e-damaged", damaged),
        ("f-json", b"{\"kind\": ".to_vec()),
        ("g-text", b"hello".to_vec()),
        ("h-encrypted", b"k8s:enc:aescbc:v1:key1:xxx".to_vec()),
        ("i-unknown", objects::unknown()),
        ("j-good", pod.value.clone()),
    ] {
        server.put(&format!("/registry/pods/x/{name}"), &value);
    }
    let output = kube(&server, &["list", "pods"]);
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("Widget  example.com/v2"), "{table}");
    let errors = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = errors.lines().collect();
    let expected = [
        ("b-empty", "empty"),
        (
            "c-cut",
            "envelope: truncated: 26 more bytes are announced than there are",
        ),
        (
            "d-magic",
            "truncated inside the envelope's first four bytes",
        ),
        (
            "e-damaged",
            "Pod: metadata: damaged: 0xf is no field of a message",
        ),
        (
            "f-json",
            "damaged JSON: EOF while parsing a value at line 1 column 9",
        ),
        (
            "g-text",
            "5 bytes that are neither Kubernetes' protobuf envelope nor JSON",
        ),
        ("h-encrypted", "encrypted at rest (aescbc): not decoded"),
    ];
    for (line, (name, reason)) in lines.iter().zip(expected) {
        assert_eq!(
            *line,
            format!("vrouterctl: /registry/pods/x/{name}: {reason}")
        );
    }
    assert_eq!(
        lines.last(),
        Some(&"vrouterctl: 7 of 10 values cannot be decoded")
    );
    assert_eq!(lines.len(), 8);
    let unknown = json_of(&server, &["get", "/registry/pods/x/i-unknown"]);
    assert_eq!(
        unknown,
        json!({
            "apiVersion": "example.com/v2", "kind": "Widget", "group": "example.com",
            "version": "v2", "rawBytes": 20,
            "metadata": {"name": "w1", "labels": {"app": "web"}},
        })
    );
}

#[test]
fn a_value_is_decoded_without_etcd() {
    let folder = tempfile::tempdir().unwrap();
    for object in objects::all() {
        let file = folder.path().join("value");
        // As `etcdctl get --print-value-only` ends it.
        std::fs::write(&file, [&object.value[..], b"\n"].concat()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_vrouterctl"))
            .args(["kube", "decode", file.to_str().unwrap()])
            .output()
            .unwrap();
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(seen, object.json);
    }
}

#[test]
fn who_is_not_there_or_says_no() {
    let folder = tempfile::tempdir().unwrap();
    let free = etcd::free_port();
    let output = Command::new(env!("CARGO_BIN_EXE_vrouterctl"))
        .args(["kube", "list", "--endpoints", &format!("127.0.0.1:{free}")])
        .args(["--timeout", "3"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    let start = format!("vrouterctl: etcd at http://127.0.0.1:{free}: ");
    assert!(
        errors.starts_with(&start) && errors.contains("refused"),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");

    let server = Server::start();
    server.ctl(&["user", "add", "root:secret"]);
    server.ctl(&["user", "grant-role", "root", "root"]);
    server.ctl(&["auth", "enable"]);
    let right = ["list", "--keys-only", "--user", "root:secret"];
    assert!(kube(&server, &right).status.success());
    for wrong in [&["list", "--user", "root:wrong"][..], &["list"]] {
        let output = kube(&server, wrong);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            errors.contains("auth") || errors.contains("user name"),
            "{errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    let missing = folder.path().join("ca.pem");
    let output = kube(&server, &["list", "--cacert", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let output = kube(&server, &["get", "pods", "web", "--user", "root:secret"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        errors,
        "vrouterctl: /registry/pods/default/web: there is no such key\n"
    );
}

#[test]
fn both_sides_show_certificates() {
    let made = Certificates::make();
    let (ca, stranger) = (made.path("ca.pem"), made.path("stranger.pem"));
    let server = Server::with(&[
        "--cert-file",
        &made.path("server.pem"),
        "--key-file",
        &made.path("server.key"),
        "--trusted-ca-file",
        &ca,
        "--client-cert-auth",
    ]);
    let list = |ca: &str, name: &str| {
        let (cert, key) = (
            made.path(&format!("{name}.pem")),
            made.path(&format!("{name}.key")),
        );
        let line = [
            "list",
            "--cacert",
            ca,
            "--cert",
            &cert,
            "--key",
            &key,
            "--timeout",
            "5",
        ];
        kube(&server, &line)
    };
    // It may still be electing itself.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !list(&ca, "client").status.success() && std::time::Instant::now() < until {}
    let output = list(&ca, "client");
    assert!(output.status.success(), "{output:?}");
    for output in [
        list(&stranger, "client"),
        list(&ca, "stranger"),
        kube(&server, &["list", "--timeout", "5"]),
    ] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.starts_with("vrouterctl: etcd at "), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}
