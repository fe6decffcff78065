//! Blocks, handles, claims and settings as resources of a store.

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vrouter_api::{
    AffinityKind, AffinityState, BlockAffinity, BlockAffinitySpec, Key, Kind, Metadata, Other,
    Resource,
};

use super::Ipam;
use super::block::{Block, Handle};
use crate::error::StoreError;
use crate::etcd::layout::{affinity_name, block_name};
use crate::fault::whole_file;
use crate::store::Scope;

/// Something read, and the revision it was read at.
#[derive(Clone, Debug)]
pub(super) struct Read<T> {
    pub(super) value: T,
    pub(super) revision: Option<String>,
}

/// How IPAM works in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// Nodes take addresses from their own blocks alone.
    pub strict_affinity: bool,
    /// Nodes claim blocks by themselves.
    pub auto_allocate_blocks: bool,
    /// 0: the internal limit of 20.
    pub max_blocks_per_host: usize,
    /// How long a released address rests, at most 1200.
    #[serde(skip_serializing_if = "is_zero")]
    pub ip_cooldown_seconds: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Default for Configuration {
    fn default() -> Configuration {
        Configuration {
            strict_affinity: false,
            auto_allocate_blocks: true,
            max_blocks_per_host: 0,
            ip_cooldown_seconds: 0,
        }
    }
}

fn spec<T: DeserializeOwned>(resource: &Resource) -> Result<Read<T>, StoreError> {
    let value = match resource {
        Resource::Other(other) => other.content.get("spec").cloned(),
        _ => None,
    };
    let value = serde_json::from_value(value.unwrap_or_default()).map_err(|error| {
        let fault = whole_file(&resource.key().to_string(), &error.to_string());
        StoreError::Invalid {
            errors: vec![fault],
        }
    })?;
    Ok(Read {
        value,
        revision: resource.metadata().resource_version.clone(),
    })
}

fn other<T: Serialize>(kind: Kind, name: &str, value: &T, revision: Option<String>) -> Resource {
    let spec = serde_json::to_value(value).expect("records hold texts and numbers");
    let mut content = Map::new();
    content.insert("spec".to_owned(), spec);
    Resource::Other(Other {
        kind,
        metadata: Metadata {
            resource_version: revision,
            ..Metadata::named(name)
        },
        content,
    })
}

/// What is absent is no error here.
fn absent<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Ipam {
    pub(super) fn block(&self, cidr: IpNet) -> Result<Option<Read<Block>>, StoreError> {
        let key = Key::global(Kind::IpamBlock, &block_name(cidr));
        absent(self.store.get(&key))?.as_ref().map(spec).transpose()
    }

    /// All blocks.
    ///
    /// # Errors
    /// The store's; a block that cannot be read is one.
    pub fn blocks(&self) -> Result<Vec<Block>, StoreError> {
        let list = self.store.list(Kind::IpamBlock, Scope::All)?;
        if !list.faults.is_empty() {
            return Err(StoreError::Invalid {
                errors: list.faults,
            });
        }
        let blocks = list.resources.iter().map(|it| Ok(spec::<Block>(it)?.value));
        blocks.collect()
    }

    pub(super) fn create_block(&self, block: &Block) -> Result<(), StoreError> {
        let name = block_name(block.cidr);
        self.store
            .create(&other(Kind::IpamBlock, &name, block, None))?;
        Ok(())
    }

    /// Writes a block anew; its number grows.
    pub(super) fn update_block(&self, read: &Read<Block>) -> Result<(), StoreError> {
        let mut block = read.value.clone();
        block.sequence_number += 1;
        let name = block_name(block.cidr);
        let resource = other(Kind::IpamBlock, &name, &block, read.revision.clone());
        self.store.update(&resource)?;
        Ok(())
    }

    pub(super) fn delete_block(&self, read: &Read<Block>) -> Result<(), StoreError> {
        let key = Key::global(Kind::IpamBlock, &block_name(read.value.cidr));
        self.store.delete(&key, read.revision.as_deref())?;
        Ok(())
    }

    pub(super) fn handle(&self, id: &str) -> Result<Option<Read<Handle>>, StoreError> {
        let key = Key::global(Kind::IpamHandle, id);
        absent(self.store.get(&key))?.as_ref().map(spec).transpose()
    }

    /// All handles, by name.
    ///
    /// # Errors
    /// The store's.
    pub fn handles(&self) -> Result<Vec<(String, Handle)>, StoreError> {
        let list = self.store.list(Kind::IpamHandle, Scope::All)?;
        let handles = list.resources.iter().map(|resource| {
            let name = resource.metadata().name.clone();
            Ok((name, spec::<Handle>(resource)?.value))
        });
        handles.collect()
    }

    /// Writes a handle, or removes it when it holds nothing.
    pub(super) fn put_handle(&self, id: &str, read: &Read<Handle>) -> Result<(), StoreError> {
        let resource = other(Kind::IpamHandle, id, &read.value, read.revision.clone());
        match &read.revision {
            Some(revision) if read.value.block.is_empty() => {
                self.store.delete(&resource.key(), Some(revision))?;
            }
            None if read.value.block.is_empty() => {}
            Some(_) => {
                self.store.update(&resource)?;
            }
            None => {
                self.store.create(&resource)?;
            }
        }
        Ok(())
    }

    /// The claims of a node, or all.
    ///
    /// # Errors
    /// The store's.
    pub fn affinities(&self, node: Option<&str>) -> Result<Vec<BlockAffinity>, StoreError> {
        let scope = node.map_or(Scope::All, Scope::Node);
        let list = self.store.list(Kind::BlockAffinity, scope)?;
        let of_kind = list
            .resources
            .into_iter()
            .filter_map(|resource| match resource {
                Resource::BlockAffinity(affinity) if !affinity.spec.deleted => Some(affinity),
                _ => None,
            });
        Ok(of_kind.collect())
    }

    pub(super) fn affinity(
        &self,
        node: &str,
        cidr: IpNet,
    ) -> Result<Option<BlockAffinity>, StoreError> {
        let key = Key::global(Kind::BlockAffinity, &affinity_name(node, cidr));
        match absent(self.store.get(&key))? {
            Some(Resource::BlockAffinity(affinity)) => Ok(Some(affinity)),
            Some(_) | None => Ok(None),
        }
    }

    pub(super) fn create_affinity(
        &self,
        node: &str,
        cidr: IpNet,
    ) -> Result<BlockAffinity, StoreError> {
        let affinity = BlockAffinity {
            metadata: Metadata::named(&affinity_name(node, cidr)),
            spec: BlockAffinitySpec {
                state: AffinityState::Pending,
                node: node.to_owned(),
                kind: AffinityKind::Host,
                cidr,
                deleted: false,
            },
        };
        match self.store.create(&affinity.into())? {
            Resource::BlockAffinity(affinity) => Ok(affinity),
            other => Err(StoreError::NotFound { key: other.key() }),
        }
    }

    pub(super) fn set_affinity(
        &self,
        affinity: &BlockAffinity,
        state: AffinityState,
    ) -> Result<BlockAffinity, StoreError> {
        let mut next = affinity.clone();
        next.spec.state = state;
        match self.store.update(&next.into())? {
            Resource::BlockAffinity(affinity) => Ok(affinity),
            other => Err(StoreError::NotFound { key: other.key() }),
        }
    }

    /// How IPAM works here.
    ///
    /// # Errors
    /// The store's.
    pub fn configuration(&self) -> Result<Configuration, StoreError> {
        let key = Key::global(Kind::IpamConfiguration, "default");
        match absent(self.store.get(&key))? {
            Some(resource) => Ok(spec(&resource)?.value),
            None => Ok(Configuration::default()),
        }
    }

    /// Changes how IPAM works.
    ///
    /// # Errors
    /// The store's; [`StoreError::Setting`] for a change that cannot be made.
    pub fn configure(
        &self,
        change: impl Fn(&mut Configuration),
    ) -> Result<Configuration, StoreError> {
        let key = Key::global(Kind::IpamConfiguration, "default");
        self.again(&key, || {
            let before = absent(self.store.get(&key))?;
            let mut next: Read<Configuration> = match &before {
                Some(resource) => spec(resource)?,
                None => Read {
                    value: Configuration::default(),
                    revision: None,
                },
            };
            change(&mut next.value);
            let bad = |setting: &str, reason: &str| StoreError::Setting {
                setting: setting.to_owned(),
                reason: reason.to_owned(),
            };
            if next.value.strict_affinity && !next.value.auto_allocate_blocks {
                return Err(bad("strictAffinity", "needs autoAllocateBlocks"));
            }
            if next.value.ip_cooldown_seconds > 1200 {
                return Err(bad("ipCooldownSeconds", "must be 0–1200"));
            }
            let kind = Kind::IpamConfiguration;
            let value: Value = serde_json::to_value(next.value).unwrap_or_default();
            let resource = other(kind, "default", &value, next.revision.clone());
            match before {
                Some(_) => self.store.update(&resource)?,
                None => self.store.create(&resource)?,
            };
            Ok(next.value)
        })
    }
}
