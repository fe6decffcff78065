//! The specification as a table: operation, version, missing variable, error code, each tried on
//! the program itself. Nothing here needs root, a daemon or a datastore.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// What a call printed.
struct Answer {
    success: bool,
    stdout: String,
}

impl Answer {
    /// The error on stdout, which has the form that the specification gives it.
    #[track_caller]
    fn error(&self, version: &str) -> (u64, String) {
        assert!(!self.success, "{}", self.stdout);
        let error: Value = serde_json::from_str(&self.stdout).unwrap();
        let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
        for key in keys {
            assert!(["cniVersion", "code", "msg", "details"].contains(&key.as_str()));
        }
        assert_eq!(error["cniVersion"], version, "{error}");
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        assert!(!text("msg").is_empty(), "{error}");
        (
            error["code"].as_u64().unwrap(),
            format!("{}: {}", text("msg"), text("details")),
        )
    }
}

/// A folder for one test's log, notes and store.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        Scene { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn config(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "name": "net",
            "type": "vrouter",
            "datastore_type": "directory",
            "directory": self.path("store"),
            "nodename": "node1",
            "control_socket": self.path("socket"),
            "state_directory": self.path("state"),
            "ipam_lock_file": self.path("ipam.lock"),
            "log_file_path": self.path("cni.log"),
            "policy_setup_timeout_seconds": 1,
            "ipam": { "type": "vrouter-ipam" },
        })
    }
}

fn variables(operation: &str) -> Vec<(&'static str, String)> {
    vec![
        ("CNI_COMMAND", operation.to_owned()),
        ("CNI_CONTAINERID", "c0ffee".to_owned()),
        ("CNI_NETNS", "/run/netns/there-is-none".to_owned()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_PATH", "/there/is/nothing".to_owned()),
    ]
}

fn call(name: &str, variables: &[(&str, String)], stdin: &str) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vrouter-cni"))
        .arg0(name)
        .env_clear()
        .envs(variables.iter().map(|(key, value)| (*key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A call that is refused for its environment reads nothing.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Answer {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
    }
}

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
    let config = scene.config("1.1.0").to_string();
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
        for missing in required {
            let mut all = variables(operation);
            all.retain(|(key, _)| key != missing);
            let (code, text) = call("vrouter", &all, &config).error("1.1.0");
            assert_eq!(code, 4, "{operation} {missing}");
            assert!(text.contains(missing), "{text}");
        }
    }
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
    let scene = Scene::new();
    let with = |key: &str, value: Value| {
        let mut config = scene.config("1.0.0");
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
        (with("device_type", json!("veth")), 2, "device_type"),
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
        (scene.config("1.0.0").to_string(), 8, "CNI_NETNS"),
    ] {
        let version = if code == 6 { "1.1.0" } else { "1.0.0" };
        let (found, text) = call("calico", &variables("ADD"), &stdin).error(version);
        assert_eq!(found, code, "{stdin}: {text}");
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut own = variables("ADD");
    own.retain(|(key, _)| *key != "CNI_NETNS");
    own.push(("CNI_NETNS", "/proc/self/ns/net".to_owned()));
    let (code, text) = call("calico", &own, &scene.config("1.0.0").to_string()).error("1.0.0");
    assert_eq!(code, 8, "{text}");
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
        config["device_type"] = json!("veth");
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

fn write_pool(scene: &Scene) {
    let pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool}\n\
                spec: {cidr: 10.9.0.0/28, blockSize: 29}\n---\n\
                apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool6}\n\
                spec: {cidr: \"fd00:9::/120\", blockSize: 124}\n";
    fs::write(scene.path("store/pools.yaml"), pool).unwrap();
}

#[test]
fn the_ipam_plugin_gives_holds_and_frees_in_every_version() {
    for version in VERSIONS {
        let scene = Scene::new();
        write_pool(&scene);
        let mut config = scene.config(version);
        config["ipam"]["assign_ipv6"] = json!("true");
        let mut all = variables("ADD");
        all.push(("CNI_ARGS", "K8S_POD_NAME=a;IgnoreUnknown=1;X=y".to_owned()));
        let answer = call("calico-ipam", &all, &config.to_string());
        assert!(answer.success, "{}", answer.stdout);
        let result: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(result["cniVersion"], version);
        assert!(result.get("interfaces").is_none(), "{result}");
        let ips = result["ips"].as_array().unwrap();
        assert_eq!(ips.len(), 2, "{result}");
        for (ip, family) in ips.iter().zip(["4", "6"]) {
            let old = ["0.3.1", "0.4.0"].contains(&version);
            let told = ip.get("version").and_then(Value::as_str);
            assert_eq!(told, old.then_some(family), "{result}");
            let address = ip["address"].as_str().unwrap();
            let length = if family == "4" { "/32" } else { "/128" };
            assert!(address.ends_with(length), "{address}");
        }
        if version != "0.3.1" {
            let mut check = config.clone();
            check["prevResult"] = result.clone();
            let answer = call("calico-ipam", &variables("CHECK"), &check.to_string());
            assert!(answer.success, "{}", answer.stdout);
            check["prevResult"]["ips"][0]["address"] = json!("10.9.0.15/32");
            let answer = call("calico-ipam", &variables("CHECK"), &check.to_string());
            let (code, text) = answer.error(version);
            assert!(code == 101 && text.contains("10.9.0.15"), "{text}");
        }
        // Both are freed; by GC too, unless the container is named.
        if version == "1.1.0" {
            let mut gc = config.clone();
            gc["cni.dev/valid-attachments"] =
                json!([{ "containerID": "c0ffee", "ifname": "eth0" }]);
            let held = || fs::read_dir(scene.path("store/ipamhandles")).map_or(0, Iterator::count);
            assert!(call("vrouter-ipam", &variables("GC"), &gc.to_string()).success);
            assert_eq!(held(), 1);
            gc["cni.dev/valid-attachments"] = json!([]);
            assert!(call("vrouter-ipam", &variables("GC"), &gc.to_string()).success);
            assert_eq!(held(), 0);
        }
        let answer = call("calico-ipam", &variables("DEL"), &config.to_string());
        assert!(answer.success, "{}", answer.stdout);
        if version != "0.3.1" {
            let mut check = config.clone();
            check["prevResult"] = result;
            let answer = call("calico-ipam", &variables("CHECK"), &check.to_string());
            assert_eq!(answer.error(version).0, 101);
        }
    }
}

#[test]
fn a_full_pool_and_wrong_wishes_are_told_apart() {
    let scene = Scene::new();
    write_pool(&scene);
    let config = scene.config("1.0.0");
    let add = |id: &str, arguments: &str, config: &Value| {
        let mut all = variables("ADD");
        all.retain(|(key, _)| *key != "CNI_CONTAINERID");
        all.push(("CNI_CONTAINERID", id.to_owned()));
        all.push(("CNI_ARGS", arguments.to_owned()));
        call("vrouter-ipam", &all, &config.to_string())
    };
    let asked = add("asked", "IP=10.9.0.5", &config);
    assert!(
        asked.success && asked.stdout.contains("10.9.0.5/32"),
        "{}",
        asked.stdout
    );
    for (arguments, change, code, part) in [
        ("IP=10.9.0.5", json!({}), 102, "net.asked"),
        ("IP=192.0.2.1", json!({}), 102, "no pool"),
        (
            "IP=10.9.0.1,10.9.0.2",
            json!({}),
            7,
            "more than one IPv4 address",
        ),
        ("IP=nonsense", json!({}), 7, "IP"),
        ("MAC=nonsense", json!({}), 7, "MAC"),
        ("X=y", json!({}), 4, "X is unknown"),
        ("X", json!({}), 4, "not K=V"),
        (
            "",
            json!({ "ipam": { "type": "calico-ipam", "ipv4_pools": ["none"] } }),
            7,
            "error parsing pool",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipAddrs": "nonsense" } } }),
            7,
            "ipAddrs",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipFamilies": "[\"IPv5\"]" } } }),
            7,
            "IPv5",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipv4pools": "pool" } } }),
            7,
            "ipv4pools",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipv6pools": "[]" } } }),
            7,
            "the list is empty",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/hwAddr": "ff:ff:ff:ff:ff:ff" } } }),
            7,
            "hwAddr",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/allowedSourcePrefixes": "[\"10.0.0.0/33\"]" } } }),
            7,
            "allowedSourcePrefixes",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipAddrs": "[\"10.9.0.1\"]",
            "cni.projectcalico.org/ipAddrsNoIpam": "[\"10.9.0.1\"]" } } }),
            7,
            "both annotations",
        ),
        (
            "",
            json!({ "runtimeConfig": { "aliases": "web" } }),
            7,
            "aliases",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipAddrsNoIpam": "[\"10.0.0.1\"]" } } }),
            2,
            "ip_addrs_no_ipam",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/floatingIPs": "[\"10.0.0.1\"]" } } }),
            2,
            "floatingIPs",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "kubernetes.io/ingress-bandwidth": "1M" } } }),
            2,
            "bandwidth",
        ),
    ] {
        let mut config = config.clone();
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        let (found, text) = add("other", arguments, &config).error("1.0.0");
        assert_eq!(found, code, "{arguments} {change}: {text}");
        assert!(text.contains(part), "{part}: {text}");
    }
    for index in 0..15 {
        let answer = add(&format!("c{index}"), "", &config);
        assert!(answer.success, "{index}: {}", answer.stdout);
    }
    let (code, text) = add("last", "", &config).error("1.0.0");
    assert!(
        code == 102 && text.contains("pool 10.9.0.0/28 (16 in use)"),
        "{text}"
    );
    let failed = fs::read_dir(scene.path("store/ipamhandles")).unwrap();
    let names: Vec<String> = failed
        .map(|it| it.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        !names
            .iter()
            .any(|it| it.contains("last") || it.contains("other")),
        "{names:?}"
    );
}

#[test]
fn install_puts_the_list_last_and_uninstall_takes_all_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("secrets")).unwrap();
    fs::write(path("secrets/etcd-ca"), "pem").unwrap();
    let run = |command: &str, environment: &[(&str, &str)]| {
        Command::new(env!("CARGO_BIN_EXE_vrouter-cni"))
            .arg(command)
            .env_clear()
            .envs(environment.iter().copied())
            .env("CNI_BIN_DIR", path("bin"))
            .env("CNI_NET_DIR", path("net.d"))
            .env("TLS_ASSETS_DIR", path("secrets"))
            .output()
            .unwrap()
    };
    let bad = run(
        "install",
        &[("CNI_NETWORK_CONFIG", "{ \"mtu\": __CNI_MTU__ ")],
    );
    assert!(!bad.status.success());
    assert!(
        !path("net.d/10-calico.conflist").exists(),
        "no list that is not JSON"
    );
    let output = run(
        "install",
        &[("ETCD_ENDPOINTS", "https://a:2379"), ("CNI_MTU", "1400")],
    );
    assert!(output.status.success(), "{output:?}");
    let list = fs::read_to_string(path("net.d/10-calico.conflist")).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let plugin = &list["plugins"][0];
    assert_eq!(plugin["etcd_endpoints"], "https://a:2379");
    assert_eq!(plugin["mtu"], 1400);
    assert!(plugin.get("nodename").is_none(), "{plugin}");
    let ca = path("net.d/calico-tls/etcd-ca");
    assert_eq!(plugin["etcd_ca_cert_file"], ca.display().to_string());
    for secret in [&ca, &path("net.d/10-calico.conflist")] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(secret).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let named = format!("vrouter-cni {}", vrouter_cli::VERSION);
    for (flag, expected) in [("-v", vrouter_cli::VERSION), ("--version", &named)] {
        let mut command = Command::new(path("bin/calico-ipam"));
        let version = command.arg(flag).output().unwrap();
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        assert_eq!(version.trim(), expected);
    }
    assert!(run("uninstall", &[]).status.success());
    assert_eq!(fs::read_dir(path("bin")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(path("net.d")).unwrap().count(), 0);
}
