//! Installing and removing what an installation made.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

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
    // What is not passed on cannot be refused; and podman 4 loses aliases beside --ip without `ips`.
    for key in ["aliases", "ips", "mac", "portMappings", "bandwidth"] {
        assert_eq!(plugin["capabilities"][key], true, "{key}");
    }
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

#[test]
fn the_test_takes_a_list_as_it_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let test = |directory: &str| {
        let list = json!({ "cniVersion": "1.0.0", "name": "net", "plugins": [
            { "type": "tuning" },
            { "type": "calico", "datastore_type": "directory", "directory": directory,
              "ipam": { "type": "calico-ipam" } },
        ] });
        let mut child = Command::new(env!("CARGO_BIN_EXE_vrouter-cni"))
            .arg("-t")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(list.to_string().as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    };
    let output = test(folder.path().to_str().unwrap());
    assert!(output.status.success(), "{output:?}");
    let output = test("/there/is/none");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/there/is/none"));
}
