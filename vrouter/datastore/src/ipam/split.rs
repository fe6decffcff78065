//! Splitting a pool into smaller ones.

use ipnet::IpNet;
use vrouter_api::{IpPool, Key, Kind, Metadata, Resource};

use crate::error::StoreError;
use crate::store::{Datastore, Scope};

/// Replaces a pool by `parts` of the same settings, `split-<name>-0` and so on; what is given from
/// it stays given. The store must be locked, since the pool is away for a moment.
///
/// # Errors
/// [`StoreError::Setting`] when it cannot be split so; the store's.
pub fn split(store: &dyn Datastore, name: &str, parts: usize) -> Result<Vec<IpPool>, StoreError> {
    let refuse = |reason: String| {
        Err(StoreError::Setting {
            setting: format!("IPPool({name})"),
            reason,
        })
    };
    if !locked(store)? {
        return refuse(
            "the datastore must be locked while a pool is split: datastore migrate lock".to_owned(),
        );
    }
    let key = Key::global(Kind::IpPool, name);
    let Resource::IpPool(pool) = store.get(&key)? else {
        return Err(StoreError::NotFound { key });
    };
    if parts < 2 || !parts.is_power_of_two() {
        return refuse(format!(
            "cannot be split into {parts} parts: must be a power of 2"
        ));
    }
    let length = u32::from(pool.spec.cidr.prefix_len()) + parts.trailing_zeros();
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    if length > pool.spec.block_size {
        let block = pool.spec.block_size;
        return refuse(format!(
            "{parts} parts would be smaller than its blocks of /{block}"
        ));
    }
    let Ok(ranges) = pool.spec.cidr.subnets(length) else {
        return refuse(format!("has no parts of /{length}"));
    };
    let pools: Vec<IpPool> = ranges
        .enumerate()
        .map(|(index, cidr)| part(&pool, index, cidr))
        .collect();
    store.delete(&key, pool.metadata.resource_version.as_deref())?;
    for pool in &pools {
        store.create(&pool.clone().into())?;
    }
    Ok(pools)
}

fn part(pool: &IpPool, index: usize, cidr: IpNet) -> IpPool {
    let mut part = pool.clone();
    part.metadata = Metadata {
        labels: pool.metadata.labels.clone(),
        annotations: pool.metadata.annotations.clone(),
        ..Metadata::named(&format!("split-{}-{index}", pool.metadata.name))
    };
    part.spec.cidr = cidr;
    part
}

/// Whether `datastoreReady` is false.
fn locked(store: &dyn Datastore) -> Result<bool, StoreError> {
    let list = store.list(Kind::ClusterInformation, Scope::All)?;
    Ok(list.resources.iter().any(|resource| {
        let value = serde_json::to_value(resource).unwrap_or_default();
        value.pointer("/spec/datastoreReady") == Some(&serde_json::Value::Bool(false))
    }))
}
