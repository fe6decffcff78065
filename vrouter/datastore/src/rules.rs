//! Rules across resources, that no resource shows by itself: what cannot change, what cannot be
//! beside another, what must be beside it, and what is built in. Every store keeps them; they are
//! Calico's clients'.
//!
//! A rule looks at other resources through [`StoreView`], and the store sees to it that what was
//! looked at still holds when the change is made: a directory is locked, and etcd makes the change
//! only if nothing of it was written since. Of two changes that exclude each other and are made at
//! the same moment, the first wins and the second is refused. Calico's own clients look first and
//! write then: against them only what they wrote before is seen.

use ipnet::IpNet;
use vrouter_api::{
    AllowedUse, BUILT_IN_TIERS, DEFAULT_ALLOW_PROFILE, IpPool, Key, Kind, Resource,
    default_allow_profile,
};

use crate::error::StoreError;
use crate::store::List;

/// The kinds that stand in tiers.
const POLICIES: [Kind; 4] = [
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
    Kind::StagedNetworkPolicy,
    Kind::StagedGlobalNetworkPolicy,
];
/// So many policies of a tier are named; the others are counted.
const NAMED: usize = 5;

/// What is in a store beside the resource that changes; what was looked at must hold until the
/// change is made.
pub(crate) trait StoreView {
    /// The resources of a kind that have no fault.
    fn all(&self, kind: Kind) -> Result<Vec<Resource>, StoreError>;

    /// Whether there is something under the key.
    fn has(&self, key: &Key) -> Result<bool, StoreError>;
}

/// Whether a resource may be made.
pub(crate) fn create(new: &Resource, beside: &dyn StoreView) -> Result<(), StoreError> {
    if built_in(&new.key()).is_some() {
        return Err(StoreError::AlreadyExists { key: new.key() });
    }
    in_a_tier(new, beside)?;
    with_its_filters(new, beside)?;
    let Resource::IpPool(pool) = new else {
        return Ok(());
    };
    for other in beside.all(Kind::IpPool)? {
        match other {
            Resource::IpPool(other) if other.metadata.name != pool.metadata.name => {
                disjoint(pool, &other)?;
            }
            _ => {}
        }
    }
    fits_its_blocks(pool, beside)
}

/// Whether a resource may come to be like that.
pub(crate) fn update(
    before: &Resource,
    new: &Resource,
    beside: &dyn StoreView,
) -> Result<(), StoreError> {
    if tier_of(before) != tier_of(new) {
        in_a_tier(new, beside)?;
    }
    with_its_filters(new, beside)?;
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
    let balancer = |pool: &IpPool| pool.spec.allowed_uses.contains(&AllowedUse::LoadBalancer);
    if balancer(before) && !balancer(pool) {
        let uses: Vec<String> = pool.spec.allowed_uses.iter().map(use_name).collect();
        return Err(StoreError::Refused {
            key: new.key(),
            field: "IPPool.Spec.AllowedUses",
            value: format!("[{}]", uses.join(" ")),
            // Spelled so by Calico.
            reason: "IPPool allowed use cannot be changed from LoadBalacer to Workload or Tunnel"
                .to_owned(),
        });
    }
    Ok(())
}

fn use_name(allowed: &AllowedUse) -> String {
    match allowed {
        AllowedUse::Workload => "Workload",
        AllowedUse::Tunnel => "Tunnel",
        AllowedUse::HostSecondaryInterface => "HostSecondaryInterface",
        AllowedUse::LoadBalancer => "LoadBalancer",
    }
    .to_owned()
}

/// A pool may stand over blocks that are there if they are of its size.
fn fits_its_blocks(pool: &IpPool, beside: &dyn StoreView) -> Result<(), StoreError> {
    let (cidr, size) = (pool.spec.cidr, pool.spec.block_size);
    for block in beside.all(Kind::IpamBlock)? {
        let value = serde_json::to_value(&block).unwrap_or_default();
        let block = value.pointer("/spec/cidr").and_then(|it| it.as_str());
        let Some(block) = block.and_then(|it| it.parse::<IpNet>().ok()) else {
            continue;
        };
        let inside = cidr.contains(&block) || block.contains(&cidr);
        if inside && block.prefix_len() != size {
            return Err(StoreError::Refused {
                key: pool.key(),
                field: "IPPool.Spec.BlockSize",
                value: size.to_string(),
                reason: "IPPool blocksSize conflicts with existing allocations that use a \
                         different blockSize"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

/// A peer's filters must be there.
fn with_its_filters(peer: &Resource, beside: &dyn StoreView) -> Result<(), StoreError> {
    if peer.kind() != Kind::BgpPeer {
        return Ok(());
    }
    let value = serde_json::to_value(peer).unwrap_or_default();
    let filters = value.pointer("/spec/filters").and_then(|it| it.as_array());
    let mut missing = Vec::new();
    for name in filters.into_iter().flatten().filter_map(|it| it.as_str()) {
        if !beside.has(&Key::global(Kind::BgpFilter, name))? {
            missing.push(name.to_owned());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(StoreError::Refused {
        key: peer.key(),
        field: "BGPPeer.Spec.Filters",
        value: format!("[{}]", missing.join(" ")),
        reason: "BGPFilter(s) not found".to_owned(),
    })
}

/// Whether what is there may go.
pub(crate) fn delete(key: &Key, beside: &dyn StoreView) -> Result<(), StoreError> {
    if key.kind != Kind::Tier {
        return Ok(());
    }
    let mut inside = Vec::new();
    for kind in POLICIES {
        let all = beside.all(kind)?;
        let of_tier = all.iter().filter(|it| tier_of(it) == Some(&key.name));
        inside.extend(of_tier.map(|it| it.key().to_string()));
    }
    if inside.is_empty() {
        return Ok(());
    }
    let more = inside.len().saturating_sub(NAMED);
    inside.truncate(NAMED);
    let mut named = inside.join(", ");
    if more > 0 {
        named += &format!(" and {more} more");
    }
    Err(StoreError::NotSupported {
        operation: "delete",
        key: key.clone(),
        reason: format!("Cannot delete a non-empty tier: it has {named}"),
    })
}

/// Whether there is such an operation as to delete that, be it there or not.
pub(crate) fn deletable(key: &Key) -> Result<(), StoreError> {
    if key.kind == Kind::Tier && is_built_in(&key.name) {
        return Err(StoreError::NotSupported {
            operation: "Delete",
            key: key.clone(),
            reason: format!("Cannot delete {} tier", key.name),
        });
    }
    not_built_in("Delete", key)
}

/// What is there without being stored cannot be changed.
pub(crate) fn not_built_in(operation: &'static str, key: &Key) -> Result<(), StoreError> {
    match built_in(key) {
        Some(_) => Err(StoreError::NotSupported {
            operation,
            key: key.clone(),
            reason: format!(
                "The profile \"{}\" is a default provided by Calico and cannot be {}",
                key.name,
                if operation == "Delete" {
                    "deleted"
                } else {
                    "updated"
                }
            ),
        }),
        None => Ok(()),
    }
}

/// What every store has without storing it, with the revision that Calico gives it.
pub(crate) fn built_in(key: &Key) -> Option<Resource> {
    (key.kind == Kind::Profile && key.name == DEFAULT_ALLOW_PROFILE).then(|| {
        let mut profile = Resource::from(default_allow_profile());
        profile.metadata_mut().resource_version = Some("1".to_owned());
        profile
    })
}

/// The same of a whole kind, into a list that is in order, and stays so.
pub(crate) fn with_built_in(kind: Kind, list: &mut List) {
    let key = Key::global(Kind::Profile, DEFAULT_ALLOW_PROFILE);
    if kind == key.kind
        && let Some(profile) = built_in(&key)
        && let Err(at) = list.resources.binary_search_by_key(&key, Resource::key)
    {
        list.resources.insert(at, profile);
    }
}

fn is_built_in(tier: &str) -> bool {
    BUILT_IN_TIERS.iter().any(|(name, ..)| *name == tier)
}

/// The tier a policy stands in.
pub(crate) fn tier_of(resource: &Resource) -> Option<&str> {
    match resource {
        Resource::NetworkPolicy(policy) => Some(&policy.spec.tier),
        Resource::GlobalNetworkPolicy(policy) => Some(&policy.spec.policy.tier),
        Resource::StagedNetworkPolicy(policy) => Some(&policy.spec.policy.tier),
        Resource::StagedGlobalNetworkPolicy(policy) => Some(&policy.spec.policy.policy.tier),
        _ => None,
    }
}

/// A policy's tier must be there; the built-in ones always are.
fn in_a_tier(policy: &Resource, beside: &dyn StoreView) -> Result<(), StoreError> {
    match tier_of(policy) {
        Some(tier) if !is_built_in(tier) && !beside.has(&Key::global(Kind::Tier, tier))? => {
            Err(StoreError::Refused {
                key: policy.key(),
                field: "Spec.Tier",
                value: tier.to_owned(),
                reason: format!("resource does not exist: Tier({tier})"),
            })
        }
        Some(_) | None => Ok(()),
    }
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
