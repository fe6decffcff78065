//! Taking addresses back.

use std::net::IpAddr;

use ipnet::IpNet;
use vrouter_api::{Key, Kind};

use super::Ipam;
use super::block::Attributes;
use crate::error::StoreError;
use crate::etcd::layout::block_name;
use crate::store::stamp;

/// What became of an address that was to be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    Done,
    NotHeld,
    /// Somebody else has it by now.
    NotTheirs,
}

impl Ipam {
    /// Releases an address: with a handle or a number, only if it is still held by that.
    ///
    /// # Errors
    /// The store's.
    pub fn release(
        &self,
        address: IpAddr,
        handle: Option<&str>,
        sequence: Option<u64>,
    ) -> Result<Released, StoreError> {
        let Some(read) = self.block_with(address)? else {
            return Ok(Released::NotHeld);
        };
        let mut verdict = Released::NotHeld;
        self.free_in(read.value.cidr, |found, holder, number| {
            if found != address || holder.released_at.is_some() {
                return false;
            }
            let same = handle.is_none_or(|it| holder.handle_id.as_deref() == Some(it))
                && sequence.is_none_or(|it| number == Some(it));
            verdict = if same {
                Released::Done
            } else {
                Released::NotTheirs
            };
            same
        })?;
        Ok(verdict)
    }

    /// Releases everything a handle holds; how many addresses that were. The handle is gone
    /// afterwards, whatever it counted.
    ///
    /// # Errors
    /// The store's.
    pub fn release_handle(&self, id: &str) -> Result<usize, StoreError> {
        let mut freed = 0;
        let Some(read) = self.handle(id)? else {
            return Ok(0);
        };
        for cidr in read.value.block.keys() {
            if let Ok(cidr) = cidr.parse::<IpNet>() {
                freed +=
                    self.free_in(cidr, |_, holder, _| holder.handle_id.as_deref() == Some(id))?;
            }
            // What it counted too much: a process died between two writings.
            self.change_handle(id, |handle| {
                handle.block.remove(cidr);
            })?;
        }
        Ok(freed)
    }

    /// Frees the places of a block that `which` names, and counts their handles down.
    fn free_in(
        &self,
        cidr: IpNet,
        mut which: impl FnMut(IpAddr, &Attributes, Option<u64>) -> bool,
    ) -> Result<usize, StoreError> {
        let key = Key::global(Kind::IpamBlock, &block_name(cidr));
        let cooldown = self.configuration()?.ip_cooldown_seconds;
        let handles = self.again(&key, || {
            let Some(mut read) = self.block(cidr)? else {
                return Ok(Vec::new());
            };
            let block = &mut read.value;
            let mut places = Vec::new();
            let mut handles = Vec::new();
            for (place, holder) in block.held() {
                let numbers = &block.sequence_number_for_allocation;
                let number = numbers.get(&place.to_string()).copied();
                if which(block.address(place), holder, number) {
                    places.push(place);
                    handles.push(holder.handle_id.clone());
                }
            }
            if places.is_empty() {
                return Ok(handles);
            }
            let now = stamp::now();
            block.free(&places, (cooldown > 0).then_some(&*now));
            if block.is_empty() && block.affinity.is_none() {
                // Nobody's block is kept for its addresses alone.
                self.delete_block(&read)?;
            } else {
                self.update_block(&read)?;
            }
            Ok(handles)
        })?;
        for handle in handles.iter().flatten() {
            self.uncount(handle, cidr, 1)?;
        }
        Ok(handles.len())
    }
}
