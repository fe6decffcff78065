//! Giving addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use encap::Family;
use ipnet::IpNet;
use policy::selector::Labels;
use vrouter_api::{AllowedUse, IpPool, Key, Kind};

use super::block::{Attributes, Block, Handle};
use super::pools::candidates;
use super::records::{Configuration, Read};
use super::{Ipam, MOST_BLOCKS};
use crate::error::StoreError;
use crate::etcd::layout::block_name;
use crate::store::stamp;

/// Who wants addresses, and what for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The node.
    pub node: String,
    /// By which they are released: `<network>.<container>`, `vxlan-tunnel-addr-<node>`.
    pub handle: String,
    /// What is kept beside: `pod`, `namespace`, `node`, `timestamp`, `type`.
    pub secondary: BTreeMap<String, String>,
    pub usage: AllowedUse,
    /// These pools alone, by name; none: all that admit it.
    pub pools: Vec<String>,
    /// The labels of the pod's namespace.
    pub namespace: Option<Labels>,
}

impl Ipam {
    /// Gives up to `wanted` addresses of a family; fewer when there are no more.
    ///
    /// # Errors
    /// The store's. What was given before stays given, under the request's handle.
    pub fn assign(
        &self,
        request: &Request,
        family: Family,
        wanted: usize,
    ) -> Result<Vec<IpAddr>, StoreError> {
        let settings = self.configuration()?;
        let reserved = self.reserved()?;
        let pools = self.eligible(request, family)?;
        let usable = |address: IpAddr| {
            !reserved.iter().any(|range| range.contains(&address))
                && pools.iter().any(|pool| pool.spec.cidr.contains(&address))
        };
        let mut given = Vec::new();
        let from = |cidr: IpNet, own: bool, given: &mut Vec<IpAddr>| {
            let left = wanted - given.len();
            let taken = self.take_from(cidr, request, left, own, &settings, usable)?;
            given.extend(taken);
            Ok::<bool, StoreError>(given.len() >= wanted)
        };
        if wanted == 0 {
            return Ok(given);
        }

        // Own blocks first; a claim that was left pending is taken up.
        let affinities = self.affinities(Some(&request.node))?;
        let mut own = 0;
        for affinity in affinities {
            let cidr = affinity.spec.cidr;
            if !pools.iter().any(|pool| pool.spec.cidr.contains(&cidr)) {
                continue;
            }
            let confirmed = affinity.spec.state == vrouter_api::AffinityState::Confirmed;
            if !confirmed && !self.claim(&request.node, cidr)? {
                continue;
            }
            own += 1;
            if from(cidr, true, &mut given)? {
                return Ok(given);
            }
        }

        // Then another block.
        let most = match settings.max_blocks_per_host {
            0 => MOST_BLOCKS,
            most => most,
        };
        let all = self.blocks()?;
        let taken: BTreeSet<IpNet> = all.iter().map(|block| block.cidr).collect();
        if settings.auto_allocate_blocks {
            for pool in &pools {
                for cidr in candidates(pool, &request.node) {
                    if own >= most {
                        break;
                    }
                    if overlaps(&taken, cidr, pool) || !self.claim(&request.node, cidr)? {
                        continue;
                    }
                    own += 1;
                    if from(cidr, true, &mut given)? {
                        return Ok(given);
                    }
                }
            }
        }

        // Then what others have left.
        if !settings.strict_affinity {
            for block in self.blocks()? {
                let inside = pools.iter().any(|it| it.spec.cidr.contains(&block.cidr));
                if inside && from(block.cidr, false, &mut given)? {
                    return Ok(given);
                }
            }
        }
        Ok(given)
    }

    /// Gives one address that was asked for; whether it was free and in a pool.
    ///
    /// # Errors
    /// The store's.
    pub fn assign_address(&self, request: &Request, address: IpAddr) -> Result<bool, StoreError> {
        let pools = self.pools()?;
        let pool = pools.iter().find(|it| it.spec.cidr.contains(&address));
        let Some(cidr) = pool.and_then(|it| IpNet::new(address, it.spec.block_size).ok()) else {
            return Ok(false);
        };
        let (cidr, settings) = (cidr.trunc(), self.configuration()?);
        if self.block(cidr)?.is_none() && !self.claim(&request.node, cidr)? {
            // Somebody else has it by now, which is as good.
            if settings.strict_affinity {
                return Ok(false);
            }
        }
        let own = settings.strict_affinity;
        let given = self.take_from(cidr, request, 1, own, &settings, |it| it == address)?;
        Ok(!given.is_empty())
    }

    /// Takes addresses from one block. The handle is written first: an address that is held can
    /// always be found by it.
    fn take_from(
        &self,
        cidr: IpNet,
        request: &Request,
        wanted: usize,
        own: bool,
        settings: &Configuration,
        usable: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<IpAddr>, StoreError> {
        let mut secondary = request.secondary.clone();
        secondary
            .entry("timestamp".to_owned())
            .or_insert_with(stamp::now);
        let attributes = Attributes {
            handle_id: Some(request.handle.clone()),
            secondary,
            ..Attributes::default()
        };
        let key = Key::global(Kind::IpamBlock, &block_name(cidr));
        let owner = format!("host:{}", request.node);
        let mut counted = 0;
        let outcome = self.again(&key, || {
            let Some(mut read) = self.block(cidr)? else {
                return Ok(Vec::new());
            };
            let block: &mut Block = &mut read.value;
            if own && block.affinity.as_ref() != Some(&owner) {
                return Ok(Vec::new());
            }
            if !block.faults().is_empty() {
                tracing::warn!(%cidr, faults = block.faults().join("; "), "a block is not used");
                return Ok(Vec::new());
            }
            block.wake(&rested_since(settings.ip_cooldown_seconds));
            let given = block.take(wanted, &attributes, &usable);
            if given.is_empty() {
                return Ok(given);
            }
            if counted < given.len() {
                self.count(&request.handle, cidr, given.len() - counted)?;
                counted = given.len();
            }
            self.update_block(&read)?;
            Ok(given)
        });
        let given = match &outcome {
            Ok(given) => given.len(),
            // It may have been written: the handle must say so.
            Err(StoreError::Unreachable { .. }) => counted,
            Err(_) => 0,
        };
        if counted > given {
            self.uncount(&request.handle, cidr, counted - given)?;
        }
        outcome
    }

    /// Counts addresses of a handle in a block.
    pub(super) fn count(&self, id: &str, cidr: IpNet, more: usize) -> Result<(), StoreError> {
        self.change_handle(id, |handle| {
            *handle.block.entry(cidr.to_string()).or_default() += more;
        })
    }

    /// Counts less; a handle without addresses goes.
    pub(super) fn uncount(&self, id: &str, cidr: IpNet, less: usize) -> Result<(), StoreError> {
        self.change_handle(id, |handle| {
            if let Some(count) = handle.block.get_mut(&cidr.to_string()) {
                *count = count.saturating_sub(less);
            }
            handle.block.retain(|_, count| *count > 0);
        })
    }

    pub(super) fn change_handle(
        &self,
        id: &str,
        change: impl Fn(&mut Handle),
    ) -> Result<(), StoreError> {
        let key = Key::global(Kind::IpamHandle, id);
        self.again(&key, || {
            let mut read = self.handle(id)?.unwrap_or(Read {
                value: Handle::default(),
                revision: None,
            });
            let before = read.value.clone();
            change(&mut read.value);
            if read.value == before {
                return Ok(());
            }
            match self.put_handle(id, &read) {
                // It went between reading and writing.
                Err(StoreError::NotFound { key }) => Err(StoreError::Conflict { key }),
                outcome => outcome,
            }
        })
    }
}

/// Whether a block of that place, or of another size around it, is there.
fn overlaps(taken: &BTreeSet<IpNet>, cidr: IpNet, pool: &IpPool) -> bool {
    taken.contains(&cidr)
        || taken.iter().any(|it| {
            it.prefix_len() != pool.spec.block_size && (it.contains(&cidr) || cidr.contains(it))
        })
}

/// Whoever was released before this is not resting any more.
fn rested_since(cooldown: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    stamp::rfc3339(now.map_or(0, |now| now.as_secs()).saturating_sub(cooldown))
}
