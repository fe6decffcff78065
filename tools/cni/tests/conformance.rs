//! The specification as a table: operation, version, missing variable, error code, each tried on
//! the program itself. Nothing here needs root, a daemon or a datastore.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Answer, Scene, VERSIONS, call, variables, write_pool};

#[test]
fn versions_are_told_whatever_the_other_variables_say() {
    for name in [
        "vrouter",
        "calico",
        "vrouter-ipam",
        "/opt/cni/bin/calico-ipam",
    ] {
        for asked in VERSIONS.into_iter().chain(["0.2.0", "9.0.0"]) {
            let dummy = |key| (key, "dummy".to_owned());
            let mut all = vec![("CNI_COMMAND", "VERSION".to_owned())];
            all.extend(["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"].map(dummy));
            let answer = call(name, &all, &json!({ "cniVersion": asked }).to_string());
            assert!(answer.success, "{}", answer.stdout);
            let report: Value = serde_json::from_str(&answer.stdout).unwrap();
            assert_eq!(report["supportedVersions"], json!(VERSIONS));
            let told = if VERSIONS.contains(&asked) {
                asked
            } else {
                "1.1.0"
            };
            assert_eq!(report["cniVersion"], told);
        }
    }
}

#[test]
fn every_missing_variable_is_code_4() {
    let scene = Scene::new();
    for (operation, required) in [
        (
            "ADD",
            &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"][..],
        ),
        (
            "CHECK",
            &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
        ),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
        ("GC", &["CNI_PATH"]),
        ("STATUS", &["CNI_PATH"]),
    ] {
        for (missing, version) in required.iter().flat_map(|it| VERSIONS.map(|v| (it, v))) {
            for name in ["vrouter", "calico-ipam"] {
                let mut all = variables(operation);
                all.retain(|(key, _)| key != missing);
                let config = scene.config(version).to_string();
                let (code, text) = call(name, &all, &config).error(version);
                assert_eq!(code, 4, "{name} {operation} {missing}");
                assert!(text.contains(missing), "{text}");
                // One that is there and empty says as little.
                all.push((missing, String::new()));
                assert_eq!(call(name, &all, &config).error(version).0, 4);
            }
        }
    }
    let config = scene.config("1.1.0").to_string();
    let (code, text) = call("vrouter", &[], "").error("1.1.0");
    assert!(code == 4 && text.contains("CNI_COMMAND"), "{text}");
    let (code, text) = call("vrouter", &variables("UPDATE"), &config).error("1.1.0");
    assert!(code == 4 && text.contains("UPDATE"), "{text}");
    for (key, value) in [
        ("CNI_CONTAINERID", "-a"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", ".."),
    ] {
        let mut all = variables("DEL");
        all.retain(|(it, _)| *it != key);
        all.push((key, value.to_owned()));
        let (code, text) = call("vrouter", &all, &config).error("1.1.0");
        assert!(code == 4 && text.contains(key), "{text}");
    }
}

#[test]
fn versions_are_exact_and_operations_have_their_first() {
    let scene = Scene::new();
    for version in ["0.2.0", "0.3.0", "1.0.1", "1.2.0", "1.0"] {
        for operation in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            let config = scene.config(version).to_string();
            let (code, text) = call("vrouter", &variables(operation), &config).error("1.1.0");
            assert_eq!(code, 1, "{operation}: {text}");
            assert!(
                text.contains(version) && text.contains("0.3.1, 0.4.0"),
                "{text}"
            );
        }
    }
    let mut unsaid = scene.config("");
    unsaid.as_object_mut().unwrap().remove("cniVersion");
    let (code, _) = call("vrouter", &variables("ADD"), &unsaid.to_string()).error("1.1.0");
    assert_eq!(code, 1);
    for (operation, version) in [
        ("CHECK", "0.3.1"),
        ("GC", "0.3.1"),
        ("GC", "0.4.0"),
        ("GC", "1.0.0"),
        ("STATUS", "0.3.1"),
        ("STATUS", "0.4.0"),
        ("STATUS", "1.0.0"),
    ] {
        for name in ["calico", "calico-ipam"] {
            let config = scene.config(version).to_string();
            let (code, text) = call(name, &variables(operation), &config).error(version);
            assert_eq!(code, 1, "{operation} {version}: {text}");
            assert!(text.contains(operation), "{text}");
        }
    }
}

#[test]
fn errors_have_the_code_and_name_the_key() {
    // At once: an etcd that is away is waited for.
    std::thread::scope(|scope| {
        for version in VERSIONS {
            scope.spawn(move || refuses_bad_configs(version));
        }
    });
}

fn refuses_bad_configs(version: &str) {
    let scene = Scene::new();
    let with = |key: &str, value: Value| {
        let mut config = scene.config(version);
        config[key] = value;
        config.to_string()
    };
    let published = json!([{ "HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp" }]);
    for (stdin, code, part) in [
        ("{".to_owned(), 6, "not JSON"),
        ("[]".to_owned(), 6, "not a JSON object"),
        (with("name", json!("a/b")), 7, "name"),
        (with("name", json!(1)), 7, "name"),
        (with("ipam", json!({})), 7, "ipam.type"),
        (with("ipam", json!([])), 7, "ipam"),
        (with("ipam", json!({ "type": "../sh" })), 7, "ipam.type"),
        (
            with(
                "ipam",
                json!({ "type": "calico-ipam", "assign_ipv4": "maybe" }),
            ),
            7,
            "assign_ipv4",
        ),
        (
            with("ipam", json!({ "type": "calico-ipam", "ipv4_pools": "a" })),
            7,
            "ipam.ipv4_pools",
        ),
        (with("mtu", json!(1)), 7, "mtu"),
        (with("nodename", json!("A_b")), 7, "nodename"),
        (with("log_level", json!("loud")), 7, "log_level"),
        (
            with("policy_setup_timeout_seconds", json!(-1)),
            7,
            "policy_setup_timeout_seconds",
        ),
        (with("num_queues", json!("many")), 7, "num_queues"),
        (
            with("datastore_type", json!("kubernetes")),
            2,
            "datastore_type",
        ),
        (with("policy", json!({ "type": "k8s" })), 2, "policy.type"),
        (with("device_type", json!("netkit")), 2, "device_type"),
        (
            with("dataplane_options", json!({ "type": "grpc" })),
            2,
            "dataplane_options.type",
        ),
        (
            with("feature_control", json!({ "floating_ips": true })),
            2,
            "floating_ips",
        ),
        (
            with("runtimeConfig", json!({ "PortMappings": published })),
            2,
            "portMappings",
        ),
        (
            with(
                "runtimeConfig",
                json!({ "bandwidth": { "IngressRate": 1 } }),
            ),
            2,
            "bandwidth",
        ),
        (scene.config(version).to_string(), 8, "CNI_NETNS"),
    ] {
        let version = if code == 6 { "1.1.0" } else { version };
        let (found, text) = call("calico", &variables("ADD"), &stdin).error(version);
        assert_eq!(found, code, "{stdin}: {text}");
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut own = variables("ADD");
    own.retain(|(key, _)| *key != "CNI_NETNS");
    own.push(("CNI_NETNS", "/proc/self/ns/net".to_owned()));
    let (code, text) = call("calico", &own, &scene.config(version).to_string()).error(version);
    assert_eq!(code, 8, "{text}");
    // Of files and sockets, the IPAM plugin tells without a container.
    for (key, value, code, part) in [
        ("nodename_file", scene.path("store"), 5, "nodename_file"),
        (
            "nodename_file",
            scene.path("none"),
            7,
            "vrouterd is running",
        ),
        ("directory", scene.path("none"), 7, "directory"),
        (
            "etcd_endpoints",
            "http://127.0.0.1:1".to_owned(),
            11,
            "127.0.0.1:1",
        ),
        (
            "etcd_ca_cert_file",
            scene.path("none"),
            7,
            "etcd_ca_cert_file",
        ),
    ] {
        let mut config = scene.config(version);
        let map = config.as_object_mut().unwrap();
        if key == "nodename_file" {
            map.remove("nodename");
        }
        if key.starts_with("etcd") {
            map.insert("datastore_type".to_owned(), json!("etcdv3"));
            map.insert("etcd_endpoints".to_owned(), json!("https://127.0.0.1:1"));
        }
        map.insert(key.to_owned(), json!(value));
        let answer = call("calico-ipam", &variables("ADD"), &config.to_string());
        let (found, text) = answer.error(version);
        assert_eq!(found, code, "{key}: {text}");
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn del_succeeds_with_nothing_there_and_leaves_a_note_when_the_store_is_away() {
    for version in VERSIONS {
        let scene = Scene::new();
        let mut all = variables("DEL");
        all.retain(|(key, _)| *key != "CNI_NETNS");
        for name in ["vrouter", "calico-ipam"] {
            let config = scene.config(version).to_string();
            for _ in 0..2 {
                let answer = call(name, &all, &config);
                assert!(
                    answer.success && answer.stdout.is_empty(),
                    "{}",
                    answer.stdout
                );
            }
        }
        assert!(!Path::new(&scene.path("state")).exists(), "nothing to note");
        // What a config refuses now was perhaps allowed when the container came.
        let mut config = scene.config(version);
        config["device_type"] = json!("netkit");
        config["directory"] = json!(scene.path("away"));
        let answer = call("vrouter", &all, &config.to_string());
        assert!(
            answer.success && answer.stdout.is_empty(),
            "{}",
            answer.stdout
        );
        let note = fs::read_to_string(scene.path("state/c0ffee-eth0.net.json")).unwrap();
        let note: Value = serde_json::from_str(&note).unwrap();
        assert_eq!(note["containerID"], "c0ffee");
        assert_eq!(note["handles"], json!(["net.c0ffee"]));
        // The store is back: the next DEL does it, and the note goes.
        let answer = call("vrouter", &all, &scene.config(version).to_string());
        assert!(answer.success, "{}", answer.stdout);
        assert!(!Path::new(&scene.path("state/c0ffee-eth0.net.json")).exists());
    }
}

#[test]
fn status_and_gc_say_why_not() {
    let scene = Scene::new();
    let config = scene.config("1.1.0");
    let (code, text) = call("vrouter", &variables("STATUS"), &config.to_string()).error("1.1.0");
    assert!(code == 51 && text.contains(&scene.path("socket")), "{text}");
    // The IPAM plugin needs no vrouterd, but a pool.
    let (code, text) =
        call("vrouter-ipam", &variables("STATUS"), &config.to_string()).error("1.1.0");
    assert!(code == 50 && text.contains("no IPv4 address"), "{text}");
    write_pool(&scene);
    let answer = call("vrouter-ipam", &variables("STATUS"), &config.to_string());
    assert!(
        answer.success && answer.stdout.is_empty(),
        "{}",
        answer.stdout
    );
    let (code, text) = call("vrouter", &variables("GC"), &config.to_string()).error("1.1.0");
    assert!(
        code == 7 && text.contains("cni.dev/valid-attachments"),
        "{text}"
    );
}

/// Whoever may not open the socket is told so, not that there is no vrouterd.
#[test]
fn a_socket_with_other_rights_is_named() {
    let scene = Scene::new();
    let socket = scene.path("closed");
    let _listener = UnixListener::bind(&socket).unwrap();
    let program = scene.path("vrouter");
    fs::copy(env!("CARGO_BIN_EXE_vrouter-cni"), &program).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(scene.folder.path().to_str().unwrap(), 0o755);
    mode(&socket, 0o000);
    let mut config = scene.config("1.1.0");
    config["control_socket"] = json!(socket);
    let mut command = Command::new(program);
    command.env_clear().envs(variables("STATUS"));
    if fs::metadata(&socket).unwrap().uid() == 0 {
        command.uid(65_534);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(config.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let answer = Answer {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
    };
    let (code, text) = answer.error("1.1.0");
    assert!(code == 51 && text.contains("Permission denied"), "{text}");
    assert!(text.contains("(control_socket)"), "{text}");
}
