//! Which pools a node may take addresses from, and how full they are.

use std::net::IpAddr;

use encap::Family;
use ipnet::IpNet;
use policy::selector::Labels;
use vrouter_api::{AllowedUse, AssignmentMode, IpPool, Key, Kind, Resource};

use super::Ipam;
use super::assign::Request;
use super::block::{Block, size};
use super::records::Read;
use crate::error::StoreError;
use crate::store::Scope;

/// How full a pool is.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// The pool.
    pub pool: IpPool,
    /// Blocks that were claimed.
    pub blocks: Vec<Block>,
    /// Addresses it has; a float because an IPv6 pool has very many.
    pub size: f64,
    /// Those that are held or rest.
    pub used: usize,
}

impl Ipam {
    /// The pools, by name.
    ///
    /// # Errors
    /// The store's.
    pub fn pools(&self) -> Result<Vec<IpPool>, StoreError> {
        let list = self.store.list(Kind::IpPool, Scope::All)?;
        let pools = list.resources.into_iter().filter_map(|it| match it {
            Resource::IpPool(pool) => Some(pool),
            _ => None,
        });
        Ok(pools.collect())
    }

    /// How full each pool is.
    ///
    /// # Errors
    /// The store's.
    pub fn usage(&self) -> Result<Vec<Usage>, StoreError> {
        let blocks = self.blocks()?;
        let usage = self.pools()?.into_iter().map(|pool| {
            let inside = |block: &&Block| pool.spec.cidr.contains(&block.cidr);
            let blocks: Vec<Block> = blocks.iter().filter(inside).cloned().collect();
            let cidr = pool.spec.cidr;
            let bits = i32::from(cidr.max_prefix_len() - cidr.prefix_len());
            Usage {
                size: 2_f64.powi(bits),
                used: blocks.iter().map(|block| block.held().count()).sum(),
                blocks,
                pool,
            }
        });
        Ok(usage.collect())
    }

    /// The pools of one family that a request may be met from.
    pub(super) fn eligible(
        &self,
        request: &Request,
        family: Family,
    ) -> Result<Vec<IpPool>, StoreError> {
        let node = match self.store.get(&Key::global(Kind::Node, &request.node)) {
            Ok(node) => labels(&node),
            Err(StoreError::NotFound { .. }) => Labels::new(),
            Err(error) => return Err(error),
        };
        let mut pools = self.pools()?;
        pools.retain(|pool| {
            let spec = &pool.spec;
            let named = request.pools.contains(&pool.metadata.name);
            let chosen = if request.pools.is_empty() {
                spec.assignment_mode == AssignmentMode::Automatic
                    && spec.node_selector.matches(&node)
                    && spec.namespace_selector.as_ref().is_none_or(|selector| {
                        // A request without a namespace, such as a tunnel's, is not limited by it.
                        request
                            .namespace
                            .as_ref()
                            .is_none_or(|labels| selector.matches(labels))
                    })
            } else {
                named
            };
            chosen
                && !spec.disabled
                && family.contains(&spec.cidr.addr())
                && spec.allowed_uses.contains(&request.usage)
        });
        Ok(pools)
    }

    /// The block of an address: where its pool says, or wherever one has it.
    pub(super) fn block_with(&self, address: IpAddr) -> Result<Option<Read<Block>>, StoreError> {
        for pool in self.pools()? {
            if pool.spec.cidr.contains(&address)
                && let Ok(cidr) = IpNet::new(address, pool.spec.block_size)
                && let Some(read) = self.block(cidr.trunc())?
            {
                return Ok(Some(read));
            }
        }
        // Its pool is gone or was split.
        let found = self
            .blocks()?
            .into_iter()
            .find(|it| it.cidr.contains(&address));
        match found {
            Some(block) => self.block(block.cidr),
            None => Ok(None),
        }
    }

    /// The ranges nobody may be given unasked.
    pub(super) fn reserved(&self) -> Result<Vec<IpNet>, StoreError> {
        let list = self.store.list(Kind::IpReservation, Scope::All)?;
        let mut reserved = Vec::new();
        for resource in &list.resources {
            let value = serde_json::to_value(resource).unwrap_or_default();
            let cidrs = value.pointer("/spec/reservedCIDRs");
            let cidrs = cidrs.and_then(|it| it.as_array()).into_iter().flatten();
            reserved.extend(cidrs.filter_map(|it| {
                let text = it.as_str()?;
                let address = text.parse::<IpAddr>().ok().map(IpNet::from);
                text.parse().ok().or(address)
            }));
        }
        Ok(reserved)
    }
}

impl Request {
    /// A request of a node for one use.
    #[must_use]
    pub fn new(node: &str, usage: AllowedUse, handle: &str) -> Request {
        Request {
            node: node.to_owned(),
            handle: handle.to_owned(),
            secondary: [("node".to_owned(), node.to_owned())].into(),
            usage,
            pools: Vec::new(),
            namespace: None,
        }
    }
}

fn labels(resource: &Resource) -> Labels {
    let mut labels = Labels::new();
    for (name, value) in &resource.metadata().labels {
        // What the resource's own check let through the selector's may not know: it selects
        // nothing.
        let _ = labels.insert(name, value);
    }
    labels
}

/// The blocks of a pool from a place that differs from node to node, each once.
pub(super) fn candidates(pool: &IpPool, node: &str) -> impl Iterator<Item = IpNet> {
    let (cidr, length) = (pool.spec.cidr, pool.spec.block_size);
    // A pool of IPv6 may have more blocks than anybody wants to count.
    let bits = u32::from(length.saturating_sub(cidr.prefix_len())).min(30);
    let count = 1_usize << bits;
    let block = IpNet::new(cidr.network(), length).unwrap_or(cidr);
    let whole = Block {
        cidr,
        ..Block::new(block, None)
    };
    let step = size(block);
    let start = seed(node) % count;
    (0..count).filter_map(move |index| {
        let first = whole.address((start + index) % count * step);
        IpNet::new(first, length).ok()
    })
}

/// A number for a name: FNV-1a.
fn seed(name: &str) -> usize {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash >> 33).unwrap_or_default()
}
