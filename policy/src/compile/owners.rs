//! Prefix → the items that have it.

use std::hash::BuildHasher;

use ipnet::IpNet;
use rustc_hash::{FxBuildHasher, FxHashMap};

/// Maps that the prefixes are spread over, so that the growth of one moves few of them.
const SHARDS: usize = 256;

pub(super) struct Owners {
    shards: Box<[FxHashMap<IpNet, Items>]>,
}

/// The items of a prefix: one, nearly always.
enum Items {
    One(u32),
    /// Sorted, two at least.
    Many(Vec<u32>),
}

impl Default for Owners {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| FxHashMap::default()).collect(),
        }
    }
}

impl Owners {
    #[allow(clippy::cast_possible_truncation)]
    fn shard(net: &IpNet) -> usize {
        (FxBuildHasher.hash_one(net) >> 40) as usize % SHARDS
    }

    /// The items that have a prefix.
    pub(super) fn find(&self, net: &IpNet) -> &[u32] {
        match self.shards[Self::shard(net)].get(net) {
            None => &[],
            Some(Items::One(item)) => std::slice::from_ref(item),
            Some(Items::Many(items)) => items,
        }
    }

    /// Gives a prefix to an item. The items that have it now.
    pub(super) fn insert(&mut self, net: IpNet, item: u32) -> &[u32] {
        let items = self.shards[Self::shard(&net)]
            .entry(net)
            .or_insert(Items::One(item));
        match items {
            Items::One(one) if *one == item => {}
            Items::One(one) => {
                let one = *one;
                *items = Items::Many(vec![one.min(item), one.max(item)]);
            }
            Items::Many(many) => {
                if let Err(at) = many.binary_search(&item) {
                    many.insert(at, item);
                }
            }
        }
        match items {
            Items::One(item) => std::slice::from_ref(item),
            Items::Many(items) => items,
        }
    }

    /// Takes a prefix from an item. The one that still has it, if it is one.
    pub(super) fn remove(&mut self, net: IpNet, item: u32) -> Option<u32> {
        let shard = &mut self.shards[Self::shard(&net)];
        match shard.get_mut(&net)? {
            Items::One(one) => {
                if *one == item {
                    shard.remove(&net);
                    return None;
                }
                Some(*one)
            }
            Items::Many(many) => {
                if let Ok(at) = many.binary_search(&item) {
                    many.remove(at);
                }
                let &[one] = many.as_slice() else { return None };
                shard.insert(net, Items::One(one));
                Some(one)
            }
        }
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
