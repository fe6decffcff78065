//! Prefix → the items that have it.

use std::collections::hash_map::Entry;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::pages::Bits;

/// Maps that the prefixes are spread over, so that the growth of one moves few of them.
const SHARDS: usize = 256;
/// Prefixes of a change that are put in the order of their shards at least.
const MANY: usize = if cfg!(test) { 8 } else { 2_048 };

/// The shard of a prefix: the first bits of the hash by which the table of addresses finds it.
fn shard(net: &IpNet) -> usize {
    let spread = match net {
        IpNet::V4(net) => net.network().to_bits().spread(),
        IpNet::V6(net) => net.network().to_bits().spread(),
    };
    usize::from(spread.to_be_bytes()[0])
}

/// Sorts prefixes and drops doubles; many are sorted by shard first, so that those that meet in
/// memory follow each other.
pub(super) fn in_order(mut nets: Vec<IpNet>) -> Vec<IpNet> {
    if nets.len() >= MANY {
        nets = by_shard(&nets);
    }
    let is_small = nets.len() < MANY;
    for shard in nets.chunk_by_mut(|a, b| is_small || shard(a) == shard(b)) {
        // Sorted runs, most often, which a stable sort merges.
        shard.sort();
    }
    nets.dedup();
    nets
}

/// The prefixes shard by shard, each shard's in the order that they have.
fn by_shard(nets: &[IpNet]) -> Vec<IpNet> {
    let mut next = [0; SHARDS];
    for net in nets {
        next[shard(net)] += 1;
    }
    let mut first = 0;
    for next in &mut next {
        first += std::mem::replace(next, first);
    }
    let mut ordered = nets.to_vec();
    for net in nets {
        let next = &mut next[shard(net)];
        ordered[*next] = *net;
        *next += 1;
    }
    ordered
}

/// In the place of an item: there are several.
const SEVERAL: u32 = u32::MAX;

pub(super) struct Owners {
    /// The one item of a prefix.
    shards: Box<[FxHashMap<IpNet, u32>]>,
    /// The items of prefixes that have several; sorted.
    several: FxHashMap<IpNet, Vec<u32>>,
}

impl Default for Owners {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| FxHashMap::default()).collect(),
            several: FxHashMap::default(),
        }
    }
}

impl Owners {
    /// The items that have a prefix.
    pub(super) fn find(&self, net: &IpNet) -> &[u32] {
        match self.shards[shard(net)].get(net) {
            None => &[],
            Some(&SEVERAL) => &self.several[net],
            Some(item) => std::slice::from_ref(item),
        }
    }

    /// Gives a prefix to an item. The items that have it now.
    pub(super) fn insert(&mut self, net: IpNet, item: u32) -> &[u32] {
        let owner = self.shards[shard(&net)].entry(net).or_insert(item);
        if *owner == item {
            return std::slice::from_ref(owner);
        }
        let items = self.several.entry(net).or_default();
        if *owner != SEVERAL {
            items.push(std::mem::replace(owner, SEVERAL));
        }
        if let Err(at) = items.binary_search(&item) {
            items.insert(at, item);
        }
        items
    }

    /// Takes a prefix from an item. The one that still has it, if it is one.
    pub(super) fn remove(&mut self, net: IpNet, item: u32) -> Option<u32> {
        let Entry::Occupied(mut owner) = self.shards[shard(&net)].entry(net) else {
            return None;
        };
        if *owner.get() == item {
            owner.remove();
            return None;
        }
        if *owner.get() != SEVERAL {
            return Some(*owner.get());
        }
        let items = self.several.get_mut(&net)?;
        items.retain(|&other| other != item);
        let &[one] = items.as_slice() else {
            return None;
        };
        self.several.remove(&net);
        owner.insert(one);
        Some(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_share_a_prefix() {
        let mut owners = Owners::default();
        let net: IpNet = "10.0.0.0/8".parse().unwrap();
        assert_eq!(owners.insert(net, 7), [7]);
        assert_eq!(owners.insert(net, 7), [7]);
        assert_eq!(owners.insert(net, 3), [3, 7]);
        assert_eq!(owners.insert(net, 5), [3, 5, 7]);
        assert_eq!(owners.remove(net, 3), None);
        assert_eq!(owners.remove(net, 7), Some(5));
        assert_eq!(owners.find(&net), [5]);
        assert_eq!(owners.remove(net, 5), None);
        assert!(owners.find(&net).is_empty());
    }
}
