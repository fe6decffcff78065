//! Rules across resources, that no resource shows by itself: what cannot change, what cannot be
//! beside another, and what is built in. Every store keeps them; they are Calico's clients'.
//!
//! Two pools that are made at the same moment are not seen to overlap, as in Calico.

use vrouter_api::{BUILT_IN_TIERS, DEFAULT_ALLOW_PROFILE, IpPool, Key, Kind, Resource};

use crate::error::StoreError;

/// Whether a resource may be made beside these pools, which are asked for only when they matter.
pub(crate) fn create(
    new: &Resource,
    pools: impl FnOnce() -> Result<Vec<Resource>, StoreError>,
) -> Result<(), StoreError> {
    not_built_in("Create", &new.key())?;
    let Resource::IpPool(pool) = new else {
        return Ok(());
    };
    for other in pools()? {
        match other {
            Resource::IpPool(other) if other.metadata.name != pool.metadata.name => {
                disjoint(pool, &other)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a resource may come to be like that.
pub(crate) fn update(before: &Resource, new: &Resource) -> Result<(), StoreError> {
    let (Resource::IpPool(before), Resource::IpPool(pool)) = (before, new) else {
        return Ok(());
    };
    let fixed = |field: &'static str, name: &str, value: &dyn ToString| {
        Err(StoreError::Refused {
            key: new.key(),
            field,
            value: value.to_string(),
            reason: format!("IPPool {name} cannot be modified"),
        })
    };
    if before.spec.cidr != pool.spec.cidr {
        return fixed("IPPool.Spec.CIDR", "CIDR", &pool.spec.cidr);
    }
    if before.spec.block_size != pool.spec.block_size {
        let size = &pool.spec.block_size;
        return fixed("IPPool.Spec.BlockSize", "BlockSize", size);
    }
    Ok(())
}

/// Whether a resource may go.
pub(crate) fn delete(key: &Key) -> Result<(), StoreError> {
    if key.kind == Kind::Tier && BUILT_IN_TIERS.iter().any(|(name, ..)| *name == key.name) {
        return Err(StoreError::NotSupported {
            operation: "Delete",
            key: key.clone(),
            reason: "the tier is built in".to_owned(),
        });
    }
    not_built_in("Delete", key)
}

/// What is not stored at all has no operations.
pub(crate) fn not_built_in(operation: &'static str, key: &Key) -> Result<(), StoreError> {
    if key.kind == Kind::Profile && key.name == DEFAULT_ALLOW_PROFILE {
        return Err(StoreError::NotSupported {
            operation,
            key: key.clone(),
            reason: "the profile is built in and never stored".to_owned(),
        });
    }
    Ok(())
}

fn disjoint(pool: &IpPool, other: &IpPool) -> Result<(), StoreError> {
    let (ours, theirs) = (pool.spec.cidr, other.spec.cidr);
    if !ours.contains(&theirs.network()) && !theirs.contains(&ours.network()) {
        return Ok(());
    }
    let (name, beside) = (&pool.metadata.name, &other.metadata.name);
    Err(StoreError::Refused {
        key: pool.key(),
        field: "IPPool.Spec.CIDR",
        value: ours.to_string(),
        reason: format!("IPPool({name}) CIDR overlaps with IPPool({beside}) CIDR {theirs}"),
    })
}
