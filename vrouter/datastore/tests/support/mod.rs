//! The stores that tests run over.

// Each test file uses a part of it.
#![allow(dead_code)]

pub(crate) mod etcd;
pub(crate) mod follower;

use std::sync::Arc;

use tempfile::TempDir;
use vrouter_datastore::{Datastore, Directory};

use etcd::Etcd;

/// What a store's data is in.
pub(crate) enum Made {
    /// A directory for every run.
    Directory(TempDir),
    /// One etcd, cleared for every run.
    Etcd(Etcd),
}

/// One of each kind.
pub(crate) fn all() -> Vec<Made> {
    vec![
        Made::Directory(tempfile::tempdir().expect("a temporary directory")),
        Made::Etcd(Etcd::start()),
    ]
}

/// An empty store.
pub(crate) fn store_of(made: &Made) -> Arc<dyn Datastore> {
    match made {
        Made::Directory(folder) => {
            let path = folder.path().join(uuid::Uuid::new_v4().to_string());
            std::fs::create_dir(&path).expect("the folder is ours");
            Arc::new(Directory::open(path).expect("it was just made"))
        }
        Made::Etcd(etcd) => {
            etcd.clear();
            Arc::new(etcd.store())
        }
    }
}
