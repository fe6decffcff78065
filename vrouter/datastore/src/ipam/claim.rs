//! Which node has which block.
//!
//! A claim is pending until the block is written with its owner, so that of two nodes that want
//! the same block the one whose block is there has it. A claim that its node left pending is taken
//! up again by that node.

use ipnet::IpNet;
use vrouter_api::{AffinityKind, AffinityState, BlockAffinity, Key, Kind};

use super::Ipam;
use super::block::Block;
use crate::error::StoreError;
use crate::etcd::layout::affinity_name;

/// How a block names whose claim it is under.
pub(super) fn owner(claim: &BlockAffinity) -> String {
    let kind = match claim.spec.kind {
        AffinityKind::Host => "host",
        AffinityKind::Virtual => "virtual",
    };
    format!("{kind}:{}", claim.spec.node)
}

impl Ipam {
    /// Claims a block for a node, or takes up a claim again; whether it has it now.
    ///
    /// # Errors
    /// The store's.
    pub fn claim(&self, node: &str, cidr: IpNet) -> Result<bool, StoreError> {
        let key = Key::global(Kind::BlockAffinity, &affinity_name(node, cidr));
        self.again(&key, || {
            let claim = match self.affinity(node, cidr)? {
                Some(claim) => claim,
                None => self.create_affinity(node, cidr)?,
            };
            let owner = format!("host:{node}");
            let created = self.create_block(&Block::new(cidr, Some(owner.clone())));
            let mine = match created {
                Ok(()) => true,
                Err(StoreError::AlreadyExists { .. }) => {
                    let read = self.block(cidr)?;
                    read.is_some_and(|it| it.value.affinity.as_deref() == Some(&owner))
                }
                Err(error) => return Err(error),
            };
            if !mine {
                self.forget(&claim)?;
            } else if claim.spec.state != AffinityState::Confirmed {
                self.set_affinity(&claim, AffinityState::Confirmed)?;
            }
            Ok(mine)
        })
    }

    /// Gives up a node's claim: an empty block goes, one in use belongs to nobody then.
    ///
    /// # Errors
    /// The store's; [`StoreError::Setting`] when the block is in use and `only_empty`.
    pub fn release_affinity(
        &self,
        node: &str,
        cidr: IpNet,
        only_empty: bool,
    ) -> Result<(), StoreError> {
        let key = Key::global(Kind::BlockAffinity, &affinity_name(node, cidr));
        self.again(&key, || {
            let Some(claim) = self.affinity(node, cidr)? else {
                return Err(StoreError::NotFound { key: key.clone() });
            };
            let read = self.block(cidr)?;
            let owner = owner(&claim);
            let read = read.filter(|it| it.value.affinity.as_deref() == Some(&owner));
            if only_empty && read.as_ref().is_some_and(|it| !it.value.is_empty()) {
                return Err(StoreError::Setting {
                    setting: cidr.to_string(),
                    reason: "the block is not empty".to_owned(),
                });
            }
            let claim = self.set_affinity(&claim, AffinityState::PendingDeletion)?;
            match read {
                Some(read) if read.value.is_empty() => self.delete_block(&read)?,
                Some(mut read) => {
                    read.value.affinity = None;
                    read.value.other.remove("affinityClaimTime");
                    self.update_block(&read)?;
                }
                None => {}
            }
            self.forget(&claim)
        })
    }

    /// Gives up everything a node claimed, as when it leaves the cluster.
    ///
    /// # Errors
    /// The store's.
    pub fn release_node(&self, node: &str) -> Result<(), StoreError> {
        for affinity in self.affinities(Some(node))? {
            match self.release_affinity(node, affinity.spec.cidr, false) {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives up every claim on blocks of a range, as when its pool goes.
    ///
    /// # Errors
    /// The store's.
    pub fn release_pool(&self, cidr: IpNet) -> Result<(), StoreError> {
        for affinity in self.affinities(None)? {
            if !cidr.contains(&affinity.spec.cidr) {
                continue;
            }
            match self.release_affinity(&affinity.spec.node, affinity.spec.cidr, false) {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn forget(&self, claim: &BlockAffinity) -> Result<(), StoreError> {
        let revision = claim.metadata.resource_version.as_deref();
        match self.store.delete(&claim.key(), revision) {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
