//! A bpffs of a test's own, unmounted also when the test fails.
#![allow(clippy::unwrap_used, reason = "only tests call these")]

use std::path::PathBuf;
use std::process::Command;

/// The file system.
pub(crate) struct Bpffs(PathBuf);

impl Bpffs {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("voff-{test}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "bpf", "bpf"])
            .arg(&path)
            .status();
        assert!(mounted.unwrap().success());
        Self(path)
    }

    /// A node's directory in it.
    pub(crate) fn node(&self) -> PathBuf {
        self.0.join("node")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}
