//! What a rule looks at becomes a condition of the change: etcd makes it only if nothing of that
//! was written since, so two changes that exclude each other cannot both succeed.
//!
//! There are no keys for this: a condition compares the revisions of the keys that Calico has, a
//! whole prefix of them where a list was looked at. Keys that went since do not matter: no rule
//! refuses because something is absent from a list.

use std::cell::RefCell;

use etcd_client::{Compare, CompareOp};
use vrouter_api::{Key, Kind, Resource};

use super::session::PATIENCE;
use super::{EtcdStore, decode, etcd_client_end, layout, range};
use crate::error::StoreError;
use crate::rules::StoreView;
use crate::store::Scope;

/// The store, and what was looked at in it.
pub(super) struct TrackedReads<'a> {
    store: &'a EtcdStore,
    conditions: RefCell<Vec<Compare>>,
}

impl<'a> TrackedReads<'a> {
    pub(super) fn new(store: &'a EtcdStore) -> TrackedReads<'a> {
        TrackedReads {
            store,
            conditions: RefCell::default(),
        }
    }

    /// That it is still as it was.
    pub(super) fn conditions(self) -> Vec<Compare> {
        self.conditions.into_inner()
    }
}

impl StoreView for TrackedReads<'_> {
    fn all(&self, kind: Kind) -> Result<Vec<Resource>, StoreError> {
        let prefix = layout::prefix(kind, Scope::All);
        let inner = &self.store.inner;
        let listing = range(&inner.session, &prefix, None, PATIENCE);
        let (there, revision) = inner.runtime.block_on(listing)?;
        let unchanged = Compare::mod_revision(&*prefix, CompareOp::Less, revision + 1)
            .with_range(etcd_client_end(&prefix));
        self.conditions.borrow_mut().push(unchanged);
        let resources = there.iter().filter_map(|it| decode(it).ok());
        Ok(resources.collect())
    }

    fn has(&self, key: &Key) -> Result<bool, StoreError> {
        let Some(there) = self.store.read(&layout::paths(key))? else {
            return Ok(false);
        };
        // Changed it may be, but not gone, nor gone and made anew.
        let (path, born) = (there.key(), there.create_revision());
        let same = Compare::create_revision(path, CompareOp::Equal, born);
        self.conditions.borrow_mut().push(same);
        Ok(true)
    }
}
