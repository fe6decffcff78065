//! Keys that vanish with whoever wrote them: status reports.

use std::time::Duration;

use etcd_client::{Error, GetOptions, KeyValue, PutOptions};

use super::EtcdStore;
use crate::error::StoreError;

/// A promise to etcd to be heard of again in time; what was written under it goes with it.
#[derive(Debug)]
pub struct Lease {
    id: i64,
    lasts: Duration,
}

impl EtcdStore {
    /// Keeps a lease for another `lasts`, or makes one where there is none or etcd forgot it:
    /// then this is true, and what was written under the old one is gone or going.
    ///
    /// # Errors
    /// When etcd cannot be reached.
    pub fn renew(&self, lease: &mut Option<Lease>, lasts: Duration) -> Result<bool, StoreError> {
        if let Some(lease) = lease.as_ref().filter(|lease| lease.lasts == lasts) {
            let id = lease.id;
            let left = self.run(|client, _| async move {
                let (mut keeper, mut answers) = match client.lease_client().keep_alive(id).await {
                    // That is how the library says that etcd knows it no more.
                    Err(Error::LeaseKeepAliveError(_)) => return Ok(0),
                    other => other?,
                };
                keeper.keep_alive().await?;
                Ok(answers.message().await?.map_or(0, |answer| answer.ttl()))
            })?;
            if left > 0 {
                return Ok(false);
            }
        }
        let seconds = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX).max(1);
        let id = self.run(|client, _| async move {
            Ok(client.lease_client().grant(seconds, None).await?.id())
        })?;
        *lease = Some(Lease { id, lasts });
        Ok(true)
    }

    /// Writes a raw key that vanishes with the lease.
    ///
    /// # Errors
    /// When etcd cannot be reached, or knows the lease no more.
    pub fn put_under(&self, lease: &Lease, path: &str, value: &str) -> Result<(), StoreError> {
        self.put(path, value, lease.id)
    }

    /// The raw keys below a prefix.
    ///
    /// # Errors
    /// When etcd cannot be reached.
    pub fn paths_below(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.run(|client, _| async move {
            let options = GetOptions::new().with_prefix().with_keys_only();
            let answer = client.kv_client().get(prefix, Some(options)).await?;
            let text = |kv: &KeyValue| String::from_utf8_lossy(kv.key()).into_owned();
            Ok(answer.kvs().iter().map(text).collect())
        })
    }

    /// Removes a raw key, if it is there.
    ///
    /// # Errors
    /// When etcd cannot be reached.
    pub fn delete_raw(&self, path: &str) -> Result<(), StoreError> {
        self.run(|client, _| async move {
            client.kv_client().delete(path, None).await?;
            Ok(())
        })
    }

    /// Writes a raw key that stays.
    ///
    /// # Errors
    /// When etcd cannot be reached.
    pub fn put_raw(&self, path: &str, value: &str) -> Result<(), StoreError> {
        self.put(path, value, 0)
    }

    fn put(&self, path: &str, value: &str, lease: i64) -> Result<(), StoreError> {
        self.run(|client, _| async move {
            let options = PutOptions::new().with_lease(lease);
            client.kv_client().put(path, value, Some(options)).await?;
            Ok(())
        })
    }
}
