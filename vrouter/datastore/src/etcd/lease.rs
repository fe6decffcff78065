//! Keys that vanish with whoever wrote them: status reports.

use std::time::Duration;

use etcd_client::PutOptions;

use super::EtcdStore;
use crate::error::StoreError;

/// A promise to etcd to be heard of again in time; what was written under it goes with it.
#[derive(Debug)]
pub struct Lease {
    id: i64,
    lasts: Duration,
}

impl EtcdStore {
    /// Writes a raw key that vanishes when it is not written again within `lasts`. The lease is
    /// made at the first use, renewed with every other, and made anew when etcd forgot it.
    ///
    /// # Errors
    /// When etcd cannot be reached.
    pub fn put_leased(
        &self,
        lease: &mut Option<Lease>,
        path: &str,
        value: &str,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        if let Some(lease) = lease.as_ref().filter(|lease| lease.lasts == lasts) {
            let id = lease.id;
            let left = self.run(|client, _| async move {
                let (mut keeper, mut answers) = client.lease_client().keep_alive(id).await?;
                keeper.keep_alive().await?;
                Ok(answers.message().await?.map_or(0, |answer| answer.ttl()))
            })?;
            if left > 0 {
                return self.put(path, value, id);
            }
        }
        let seconds = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX).max(1);
        let id = self.run(|client, _| async move {
            Ok(client.lease_client().grant(seconds, None).await?.id())
        })?;
        *lease = Some(Lease { id, lasts });
        self.put(path, value, id)
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
