//! What a node reports of itself for as long as it lives: that it does, and which of its endpoints
//! are up.

use std::collections::BTreeMap;
use std::time::Duration;

use vrouter_api::WorkloadId;

use crate::error::StoreError;

/// Which endpoints of a node are up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointStatuses {
    /// Workloads.
    pub workloads: BTreeMap<WorkloadId, bool>,
    /// Host endpoints, by name.
    pub hosts: BTreeMap<String, bool>,
}

/// A node's reports in a datastore. What a node reported goes with the node, in a store that can
/// tell.
pub trait NodeReports: Send {
    /// Reports that the node lives, `uptime` after its start; believed for `lasts`.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn alive(&mut self, uptime: Duration, lasts: Duration) -> Result<(), StoreError>;

    /// Reports which endpoints are up; `None` takes back what was reported. Nothing is written
    /// before the node's first [`NodeReports::alive`].
    ///
    /// # Errors
    /// The store cannot be reached; what was written until then stays.
    fn endpoints(&mut self, statuses: Option<&EndpointStatuses>) -> Result<(), StoreError>;
}

/// The reports of a store that keeps none.
pub(crate) struct NoReports;

impl NodeReports for NoReports {
    fn alive(&mut self, _: Duration, _: Duration) -> Result<(), StoreError> {
        Ok(())
    }

    fn endpoints(&mut self, _: Option<&EndpointStatuses>) -> Result<(), StoreError> {
        Ok(())
    }
}
