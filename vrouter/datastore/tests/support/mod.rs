//! The stores that tests run over.

use std::sync::Arc;

use tempfile::TempDir;
use vrouter_datastore::{Datastore, Directory};

/// What a store's data is in.
pub(crate) enum Made {
    /// A directory for every run.
    Directory(TempDir),
}

/// One of each kind.
pub(crate) fn all() -> Vec<Made> {
    vec![Made::Directory(
        tempfile::tempdir().expect("a temporary directory"),
    )]
}

/// An empty store.
pub(crate) fn store_of(made: &Made) -> Arc<dyn Datastore> {
    match made {
        Made::Directory(folder) => {
            let path = folder.path().join(uuid::Uuid::new_v4().to_string());
            std::fs::create_dir(&path).expect("the folder is ours");
            Arc::new(Directory::open(path).expect("it was just made"))
        }
    }
}
