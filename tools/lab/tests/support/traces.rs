//! What runtimes leave on the host wherever their stores are.

use std::fs;
use std::path::Path;

/// Each directory after those in it.
const DIRECTORIES: [&str; 13] = [
    "/opt/cni/bin",
    "/opt/cni",
    "/run/containerd/fifo",
    "/run/containerd/runc/default",
    "/run/containerd/runc/k8s.io",
    "/run/containerd/runc",
    "/run/containerd/s",
    "/run/containerd",
    "/run/runc",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/lib/containers/cache",
    "/var/lib/containers",
];
const CACHE: &str = "/var/lib/containers/cache/blob-info-cache-v1.boltdb";

/// Those that were not there before a test; empty ones are removed with the value.
pub(crate) struct Traces {
    absent: Vec<&'static str>,
}

impl Traces {
    pub(crate) fn new() -> Self {
        let all = DIRECTORIES.into_iter().chain([CACHE]);
        Self {
            absent: all.filter(|it| !Path::new(it).exists()).collect(),
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if self.absent.contains(&CACHE) {
            let _was_there = fs::remove_file(CACHE);
        }
        for directory in &self.absent {
            // One that somebody else fills stays.
            let _was_empty = fs::remove_dir(directory);
        }
    }
}
