//! Addresses for pods and tunnels: Calico's model of blocks that nodes claim, on any store.
//!
//! A node takes addresses from blocks of its own; it claims another when they are full, and
//! borrows from others when none is left to claim. Every change is made against a revision, so
//! that many nodes may work at once. What is written first is what may be left behind by a process
//! that dies between two writings: a handle that counts too much, or a claim that is only pending,
//! never an address that nobody could find. [`Ipam::check`] names it and [`Ipam::repair`] puts it
//! right, as releasing the handle once more or claiming once more does.

mod assign;
pub mod block;
mod check;
mod claim;
mod pools;
mod records;
mod release;
mod repair;
mod split;

use std::net::IpAddr;
use std::sync::Arc;

use vrouter_api::Key;

pub use self::assign::Request;
pub use self::block::{Attributes, Block, Handle};
pub use self::check::{Problem, Report};
pub use self::pools::Usage;
pub use self::records::Configuration;
pub use self::release::Released;
pub use self::split::split;
use crate::error::StoreError;
use crate::store::{Datastore, pause};

/// How often a change is tried against others who change the same.
const AGAIN: usize = 100;
/// Blocks of a node where the configuration says nothing.
const MOST_BLOCKS: usize = 20;

/// The addresses of a cluster.
#[derive(Clone)]
pub struct Ipam {
    store: Arc<dyn Datastore>,
}

/// An address that is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub address: IpAddr,
    /// The block it is in.
    pub block: ipnet::IpNet,
    /// The node whose block that is.
    pub block_of: Option<String>,
    pub attributes: Attributes,
    /// The block's number when it was given.
    pub sequence: Option<u64>,
}

impl Held {
    /// Whether a node holds it in another's block.
    #[must_use]
    pub fn is_borrowed(&self) -> bool {
        let node = self.attributes.secondary.get("node");
        node.is_some() && node != self.block_of.as_ref()
    }
}

impl Ipam {
    /// The addresses that a store keeps.
    #[must_use]
    pub fn new(store: Arc<dyn Datastore>) -> Ipam {
        Ipam { store }
    }

    /// Every address that is held.
    ///
    /// # Errors
    /// The store's.
    pub fn held(&self) -> Result<Vec<Held>, StoreError> {
        Ok(self.blocks()?.iter().flat_map(held_in).collect())
    }

    /// Who holds an address.
    ///
    /// # Errors
    /// The store's.
    pub fn holder(&self, address: IpAddr) -> Result<Option<Held>, StoreError> {
        let Some(read) = self.block_with(address)? else {
            return Ok(None);
        };
        Ok(held_in(&read.value).find(|held| held.address == address))
    }

    /// What a handle holds.
    ///
    /// # Errors
    /// The store's.
    pub fn held_by(&self, handle: &str) -> Result<Vec<IpAddr>, StoreError> {
        let mut addresses = Vec::new();
        if let Some(read) = self.handle(handle)? {
            for cidr in read.value.block.keys().filter_map(|it| it.parse().ok()) {
                let block = self.block(cidr)?;
                let held = block.iter().flat_map(|read| held_in(&read.value));
                let of_handle = |it: &Held| it.attributes.handle_id.as_deref() == Some(handle);
                addresses.extend(held.filter(of_handle).map(|it| it.address));
            }
        }
        Ok(addresses)
    }

    /// Does something again while others get in the way.
    fn again<T>(
        &self,
        key: &Key,
        mut body: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        for tries in 0..AGAIN {
            match body() {
                Err(StoreError::Conflict { .. } | StoreError::AlreadyExists { .. }) => {
                    pause(tries);
                }
                outcome => return outcome,
            }
        }
        Err(StoreError::Conflict { key: key.clone() })
    }
}

fn held_in(block: &Block) -> impl Iterator<Item = Held> + '_ {
    let busy = block.held().filter(|(_, it)| it.released_at.is_none());
    busy.map(|(place, attributes)| Held {
        address: block.address(place),
        block: block.cidr,
        block_of: block.host().map(str::to_owned),
        attributes: attributes.clone(),
        sequence: block
            .sequence_number_for_allocation
            .get(&place.to_string())
            .copied(),
    })
}
