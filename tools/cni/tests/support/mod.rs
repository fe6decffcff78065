//! Calls of the program itself, and a folder for what they read and write.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// What a call printed.
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) stdout: String,
}

impl Answer {
    /// The error on stdout, which has the form that the specification gives it.
    #[track_caller]
    pub(crate) fn error(&self, version: &str) -> (u64, String) {
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
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        Scene { folder }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn config(&self, version: &str) -> Value {
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

pub(crate) fn variables(operation: &str) -> Vec<(&'static str, String)> {
    vec![
        ("CNI_COMMAND", operation.to_owned()),
        ("CNI_CONTAINERID", "c0ffee".to_owned()),
        ("CNI_NETNS", "/run/netns/there-is-none".to_owned()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_PATH", "/there/is/nothing".to_owned()),
    ]
}

pub(crate) fn call(name: &str, variables: &[(&str, String)], stdin: &str) -> Answer {
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
pub(crate) fn write_pool(scene: &Scene) {
    let pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool}\n\
                spec: {cidr: 10.9.0.0/28, blockSize: 29}\n---\n\
                apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool6}\n\
                spec: {cidr: \"fd00:9::/120\", blockSize: 124}\n";
    fs::write(scene.path("store/pools.yaml"), pool).unwrap();
}
