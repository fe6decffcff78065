//! The datastore, opened and found ready.

use std::sync::Arc;

use vrouter_datastore::departure::is_ready;
use vrouter_datastore::{Datastore, StoreError};

use crate::config::Config;
use crate::error::{CniError, Code};

/// Opens the store that the config names; an etcd is not asked yet.
pub(crate) fn open(config: &Config) -> Result<Arc<dyn Datastore>, CniError> {
    let connection = config.connection()?;
    connection
        .open()
        .map_err(|error| CniError::store("the datastore cannot be opened", &error))
}

/// Fails while the store is locked, or away.
pub(crate) fn expect_ready(store: &dyn Datastore) -> Result<(), CniError> {
    match is_ready(store) {
        Ok(true) => Ok(()),
        Ok(false) => Err(CniError::new(
            Code::TryAgain,
            "Calico is currently not ready to process requests",
        )
        .with_details("datastoreReady of the ClusterInformation default is false")),
        Err(error) => Err(CniError::store("error getting ClusterInformation", &error)),
    }
}

/// Whether a failure is the store's absence, which passes, and not a fault of what was asked.
pub(crate) fn is_absence(error: &StoreError) -> bool {
    match error {
        StoreError::Unreachable { .. }
        | StoreError::Unauthorized { .. }
        | StoreError::Open { .. }
        | StoreError::NotADirectory { .. }
        | StoreError::File { .. }
        | StoreError::Thread(_)
        | StoreError::Watch { .. } => true,
        StoreError::NotFound { .. }
        | StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::Invalid { .. }
        | StoreError::Refused { .. }
        | StoreError::NotSupported { .. }
        | StoreError::Setting { .. } => false,
    }
}
