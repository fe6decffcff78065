//! Address → sets: for each prefix that belongs to a set, the sets it is a member of.
//!
//! Prefixes are kept by length, each length in its own hash table; an address is looked up once
//! per length in use. A table is a tree of three levels with shared, immutable leaves: changing
//! one prefix copies one leaf, one group of 64 and the top, and every snapshot stays whole.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// A set of addresses that rules name: those of a selector, of a named port, of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SetId(pub(super) u32);

/// The sets an address is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Membership {
    /// Sorted.
    pub(super) sets: Box<[SetId]>,
    /// Sets of address, protocol and port; sorted.
    pub(super) ports: Box<[(SetId, u8, u16)]>,
}

impl Membership {
    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.ports.is_empty()
    }

    /// The union of several.
    pub(super) fn union<'a>(of: impl Iterator<Item = &'a Membership>) -> Self {
        let (mut sets, mut ports) = (Vec::new(), Vec::new());
        for membership in of {
            sets.extend_from_slice(&membership.sets);
            ports.extend_from_slice(&membership.ports);
        }
        sets.sort_unstable();
        sets.dedup();
        ports.sort_unstable();
        ports.dedup();
        Self {
            sets: sets.into(),
            ports: ports.into(),
        }
    }
}

/// Prefix lengths an address can match, at most: 0 to 128.
const LENGTHS: usize = 129;

/// The memberships of one address, one per matching prefix.
pub(super) struct Members<'a> {
    found: [Option<&'a Membership>; LENGTHS],
    len: usize,
}

impl<'a> Members<'a> {
    pub(super) fn none() -> Self {
        Self {
            found: [None; LENGTHS],
            len: 0,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Membership> + '_ {
        self.found[..self.len].iter().copied().flatten()
    }

    /// Whether the address is in the set.
    pub(super) fn contain(&self, set: SetId) -> bool {
        self.iter().any(|m| m.sets.binary_search(&set).is_ok())
    }

    /// Whether address, protocol and port are in the set.
    pub(super) fn contain_port(&self, set: SetId, protocol: u8, port: u16) -> bool {
        self.iter()
            .any(|m| m.ports.binary_search(&(set, protocol, port)).is_ok())
    }
}

/// The address → sets table.
#[derive(Clone, Default)]
pub(super) struct Addresses {
    v4: Lengths<u32>,
    v6: Lengths<u128>,
}

impl Addresses {
    /// Sets or, with none, clears the membership of a prefix. Whether that changed anything.
    pub(super) fn set(&mut self, net: IpNet, membership: Option<Arc<Membership>>) -> bool {
        match net {
            IpNet::V4(net) => self
                .v4
                .set(net.prefix_len(), net.network().to_bits(), membership),
            IpNet::V6(net) => self
                .v6
                .set(net.prefix_len(), net.network().to_bits(), membership),
        }
    }

    /// The memberships of all prefixes that contain the address.
    pub(super) fn find(&self, address: IpAddr) -> Members<'_> {
        let mut members = Members::none();
        match address {
            IpAddr::V4(address) => self.v4.find(address.to_bits(), &mut members),
            IpAddr::V6(address) => self.v6.find(address.to_bits(), &mut members),
        }
        members
    }
}

/// An address as a number.
pub(super) trait Bits: Copy + Eq + Hash {
    const WIDTH: u8;
    fn masked(self, len: u8) -> Self;
    fn spread(self) -> u64;
}

impl Bits for u32 {
    const WIDTH: u8 = 32;
    fn masked(self, len: u8) -> Self {
        if len == 0 {
            0
        } else {
            self & (u32::MAX << (32 - len))
        }
    }
    fn spread(self) -> u64 {
        u64::from(self).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl Bits for u128 {
    const WIDTH: u8 = 128;
    fn masked(self, len: u8) -> Self {
        if len == 0 {
            0
        } else {
            self & (u128::MAX << (128 - len))
        }
    }
    #[allow(clippy::cast_possible_truncation)]
    fn spread(self) -> u64 {
        let folded = (self >> 64) as u64 ^ (self as u64).rotate_left(23);
        (folded ^ (folded >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

#[derive(Clone)]
struct Lengths<K> {
    /// Longest first.
    tables: Vec<(u8, Table<K>)>,
}

impl<K> Default for Lengths<K> {
    fn default() -> Self {
        Self { tables: Vec::new() }
    }
}

impl<K: Bits> Lengths<K> {
    fn set(&mut self, len: u8, key: K, membership: Option<Arc<Membership>>) -> bool {
        let place = self.tables.binary_search_by(|(l, _)| len.cmp(l));
        match (place, membership) {
            (Ok(at), Some(membership)) => self.tables[at].1.insert(key, membership),
            (Ok(at), None) => {
                let removed = self.tables[at].1.remove(key);
                if self.tables[at].1.len == 0 {
                    self.tables.remove(at);
                }
                removed
            }
            (Err(at), Some(membership)) => {
                let mut table = Table::new();
                table.insert(key, membership);
                self.tables.insert(at, (len, table));
                true
            }
            (Err(_), None) => false,
        }
    }

    fn find<'a>(&'a self, address: K, members: &mut Members<'a>) {
        debug_assert!(usize::from(K::WIDTH) < LENGTHS);
        for (len, table) in &self.tables {
            if let Some(membership) = table.find(address.masked(*len)) {
                members.found[members.len] = Some(membership);
                members.len += 1;
            }
        }
    }
}

type Leaf<K> = Arc<[(K, Arc<Membership>)]>;
type Group<K> = Arc<[Leaf<K>]>;

/// Leaves in a group.
const GROUP: usize = 64;
/// Entries a leaf holds on average before the table doubles.
const LEAF: usize = 6;

/// A persistent hash table.
#[derive(Clone)]
struct Table<K> {
    groups: Arc<Vec<Group<K>>>,
    /// log2 of the number of leaves.
    bits: u32,
    len: usize,
}

impl<K: Bits> Table<K> {
    fn new() -> Self {
        Self::with_bits(0)
    }

    fn with_bits(bits: u32) -> Self {
        let leaves = 1usize << bits;
        let empty: Leaf<K> = Arc::from(Vec::new());
        let group: Group<K> = vec![empty; leaves.min(GROUP)].into();
        Self {
            groups: Arc::new(vec![group; leaves.div_ceil(GROUP)]),
            bits,
            len: 0,
        }
    }

    fn place(&self, key: K) -> (usize, usize) {
        let leaf = if self.bits == 0 {
            0
        } else {
            (key.spread() >> (64 - self.bits)) as usize
        };
        (leaf / GROUP, leaf % GROUP)
    }

    fn find(&self, key: K) -> Option<&Membership> {
        let (group, leaf) = self.place(key);
        self.groups[group][leaf]
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, m)| &**m)
    }

    fn leaf_mut(&mut self, key: K) -> &mut Leaf<K> {
        let (group, leaf) = self.place(key);
        &mut Arc::make_mut(&mut Arc::make_mut(&mut self.groups)[group])[leaf]
    }

    fn insert(&mut self, key: K, membership: Arc<Membership>) -> bool {
        let (group, leaf) = self.place(key);
        let leaf = &self.groups[group][leaf];
        if leaf
            .iter()
            .any(|(k, m)| *k == key && Arc::ptr_eq(m, &membership))
        {
            return false;
        }
        let leaf = self.leaf_mut(key);
        if let Some(at) = leaf.iter().position(|(k, _)| *k == key) {
            Arc::make_mut(leaf)[at].1 = membership;
            return true;
        }
        *leaf = leaf.iter().cloned().chain([(key, membership)]).collect();
        self.len += 1;
        if self.len > LEAF << self.bits {
            self.grow();
        }
        true
    }

    fn remove(&mut self, key: K) -> bool {
        if self.find(key).is_none() {
            return false;
        }
        let leaf = self.leaf_mut(key);
        *leaf = leaf.iter().filter(|(k, _)| *k != key).cloned().collect();
        self.len -= 1;
        true
    }

    fn grow(&mut self) {
        let bits = self.bits + 1;
        let mut sorted: Vec<Vec<(K, Arc<Membership>)>> = vec![Vec::new(); 1 << bits];
        for (key, membership) in self
            .groups
            .iter()
            .flat_map(|g| g.iter())
            .flat_map(|l| l.iter())
        {
            sorted[(key.spread() >> (64 - bits)) as usize].push((*key, membership.clone()));
        }
        let leaves: Vec<Leaf<K>> = sorted.into_iter().map(Arc::from).collect();
        self.groups = Arc::new(leaves.chunks(GROUP).map(Group::from).collect());
        self.bits = bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(set: u32) -> Arc<Membership> {
        Arc::new(Membership {
            sets: [SetId(set)].into(),
            ports: [].into(),
        })
    }

    #[test]
    fn snapshots_stay_whole_while_the_table_changes() {
        let mut addresses = Addresses::default();
        let net = |i: u32| IpNet::new(IpAddr::from(i.to_be_bytes()), 32).unwrap();
        for i in 0..5_000 {
            addresses.set(net(i), Some(member(i)));
        }
        addresses.set("0.0.0.0/0".parse().unwrap(), Some(member(7_777)));
        let before = addresses.clone();
        for i in 0..5_000 {
            addresses.set(net(i), (i % 2 == 0).then(|| member(i + 1)));
        }
        for i in 0..5_000u32 {
            let address = IpAddr::from(i.to_be_bytes());
            assert!(before.find(address).contain(SetId(i)));
            assert!(before.find(address).contain(SetId(7_777)));
            assert_eq!(addresses.find(address).contain(SetId(i + 1)), i % 2 == 0);
            assert!(!addresses.find(address).contain(SetId(i)));
        }
    }

    #[test]
    fn every_covering_prefix_counts() {
        let mut addresses = Addresses::default();
        for (i, net) in ["fd00::/8", "fd00:1::/32", "fd00:1::1/128", "::/0"]
            .iter()
            .enumerate()
        {
            addresses.set(net.parse().unwrap(), Some(member(i.try_into().unwrap())));
        }
        let members = addresses.find("fd00:1::1".parse().unwrap());
        assert!((0..4).all(|i| members.contain(SetId(i))));
        let members = addresses.find("fd00:2::1".parse().unwrap());
        assert!(members.contain(SetId(0)) && !members.contain(SetId(1)));
        addresses.set("fd00::/8".parse().unwrap(), None);
        assert!(
            !addresses
                .find("fd00:2::1".parse().unwrap())
                .contain(SetId(0))
        );
    }
}
