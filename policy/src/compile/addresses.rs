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

/// The sets an address is in, in one allocation: how many plain sets, their numbers, then the
/// sets of address, protocol and port with protocol and port in the low bits; both parts sorted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Membership(Arc<[u64]>);

impl Default for Membership {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl Membership {
    pub(super) fn new(mut sets: Vec<SetId>, ports: Vec<(SetId, u8, u16)>) -> Self {
        sets.sort_unstable();
        sets.dedup();
        let mut ports: Vec<u64> = ports
            .into_iter()
            .map(|(set, protocol, port)| with_port(set, protocol, port))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        let sets = sets.iter().map(|set| u64::from(set.0));
        Self(
            [sets.len() as u64]
                .into_iter()
                .chain(sets)
                .chain(ports)
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// The union of several.
    pub(super) fn union<'a>(of: impl Iterator<Item = &'a Self>) -> Self {
        let (mut sets, mut ports) = (Vec::new(), Vec::new());
        for membership in of {
            sets.extend(membership.sets());
            ports.extend(membership.ports());
        }
        Self::new(sets, ports)
    }

    /// What is left without the sets that are `gone`.
    pub(super) fn without(&self, gone: impl Fn(SetId) -> bool) -> Self {
        Self::new(
            self.sets().filter(|set| !gone(*set)).collect(),
            self.ports().filter(|(set, ..)| !gone(*set)).collect(),
        )
    }

    /// Whether anybody but one holder of each clone in a table of all still uses it.
    pub(super) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn sets(&self) -> impl Iterator<Item = SetId> + '_ {
        plain(&self.0).iter().map(|&set| SetId(low(set)))
    }

    fn ports(&self) -> impl Iterator<Item = (SetId, u8, u16)> + '_ {
        let bytes = self.0[1 + plain(&self.0).len()..]
            .iter()
            .map(|port| port.to_be_bytes());
        bytes.map(|[a, b, c, d, _, protocol, e, f]| {
            (
                SetId(u32::from_be_bytes([a, b, c, d])),
                protocol,
                u16::from_be_bytes([e, f]),
            )
        })
    }
}

fn with_port(set: SetId, protocol: u8, port: u16) -> u64 {
    u64::from(set.0) << 32 | u64::from(protocol) << 16 | u64::from(port)
}

#[allow(clippy::cast_possible_truncation)]
fn low(set: u64) -> u32 {
    set as u32
}

/// The plain sets of a membership's words.
#[allow(clippy::cast_possible_truncation)]
fn plain(words: &[u64]) -> &[u64] {
    &words[1..=words[0] as usize]
}

/// Prefixes of an address whose memberships are remembered; more are looked up again.
const REMEMBERED: usize = 6;

/// The memberships of one address, one per matching prefix.
pub(super) struct Members<'a> {
    found: [&'a [u64]; REMEMBERED],
    len: usize,
    /// Where to look for those that did not fit.
    rest: Option<(&'a Addresses, IpAddr)>,
}

/// A membership of nothing.
const NOTHING: &[u64] = &[0];

impl Members<'_> {
    /// Whether one of the memberships has the property.
    fn any(&self, mut has: impl FnMut(&[u64]) -> bool) -> bool {
        self.found[..self.len].iter().any(|words| has(words))
            || self.rest.is_some_and(|(addresses, address)| {
                let mut found = false;
                addresses.visit(address, &mut |words| found |= has(words));
                found
            })
    }

    /// Calls `each` with the numbers of the sets, possibly more than once with the same.
    pub(super) fn each_set(&self, mut each: impl FnMut(u32)) {
        self.any(|words| {
            plain(words).iter().for_each(|&set| each(low(set)));
            false
        });
    }

    /// Whether the address is in the set.
    pub(super) fn contain(&self, set: SetId) -> bool {
        self.any(|words| plain(words).binary_search(&u64::from(set.0)).is_ok())
    }

    /// Whether address, protocol and port are in the set.
    pub(super) fn contain_port(&self, set: SetId, protocol: u8, port: u16) -> bool {
        let wanted = with_port(set, protocol, port);
        self.any(|words| {
            words[1 + plain(words).len()..]
                .binary_search(&wanted)
                .is_ok()
        })
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
    pub(super) fn set(&mut self, net: IpNet, membership: Option<Membership>) -> bool {
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
        let mut members = Members {
            found: [NOTHING; REMEMBERED],
            len: 0,
            rest: None,
        };
        self.visit(address, &mut |words| {
            if members.len < REMEMBERED {
                members.found[members.len] = words;
                members.len += 1;
            } else {
                members.rest = Some((self, address));
            }
        });
        members
    }

    fn visit<'a>(&'a self, address: IpAddr, each: &mut impl FnMut(&'a [u64])) {
        match address {
            IpAddr::V4(address) => self.v4.visit(address.to_bits(), each),
            IpAddr::V6(address) => self.v6.visit(address.to_bits(), each),
        }
    }
}

/// An address as a number.
pub(super) trait Bits: Copy + Eq + Hash {
    fn masked(self, len: u8) -> Self;
    fn spread(self) -> u64;
}

impl Bits for u32 {
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
    fn set(&mut self, len: u8, key: K, membership: Option<Membership>) -> bool {
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

    fn visit<'a>(&'a self, address: K, each: &mut impl FnMut(&'a [u64])) {
        for (len, table) in &self.tables {
            if let Some(membership) = table.find(address.masked(*len)) {
                each(&membership.0);
            }
        }
    }
}

type Leaf<K> = Arc<[(K, Membership)]>;
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
            .map(|(_, m)| m)
    }

    fn leaf_mut(&mut self, key: K) -> &mut Leaf<K> {
        let (group, leaf) = self.place(key);
        &mut Arc::make_mut(&mut Arc::make_mut(&mut self.groups)[group])[leaf]
    }

    fn insert(&mut self, key: K, membership: Membership) -> bool {
        let (group, leaf) = self.place(key);
        let leaf = &self.groups[group][leaf];
        if leaf
            .iter()
            .any(|(k, m)| *k == key && Arc::ptr_eq(&m.0, &membership.0))
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
        let mut sorted: Vec<Vec<(K, Membership)>> = vec![Vec::new(); 1 << bits];
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

    fn member(set: u32) -> Membership {
        Membership::new(vec![SetId(set)], Vec::new())
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
    fn more_prefixes_than_are_remembered_count_too() {
        let mut addresses = Addresses::default();
        for len in 0..=32u8 {
            let net = IpNet::new("10.1.2.3".parse().unwrap(), len)
                .unwrap()
                .trunc();
            addresses.set(
                net,
                Some(Membership::new(vec![SetId(len.into())], Vec::new())),
            );
        }
        let members = addresses.find("10.1.2.3".parse().unwrap());
        assert!((0..=32).all(|set| members.contain(SetId(set))));
        assert!(!members.contain(SetId(33)));
        let mut seen = Vec::new();
        members.each_set(|set| seen.push(set));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 33);
    }

    #[test]
    fn memberships_keep_sets_and_ports_apart() {
        let a = Membership::new(vec![SetId(3), SetId(1)], vec![(SetId(2), 6, 80)]);
        let b = Membership::new(vec![SetId(3)], vec![(SetId(2), 17, 53), (SetId(9), 6, 80)]);
        let mut addresses = Addresses::default();
        let net = "10.0.0.1/32".parse().unwrap();
        addresses.set(net, Some(Membership::union([&a, &b].into_iter())));
        let members = addresses.find(net.addr());
        assert!([1, 3].iter().all(|&set| members.contain(SetId(set))));
        assert!(!members.contain(SetId(2)) && !members.contain(SetId(9)));
        assert!(members.contain_port(SetId(2), 6, 80) && members.contain_port(SetId(2), 17, 53));
        assert!(!members.contain_port(SetId(2), 6, 53) && !members.contain_port(SetId(3), 6, 80));
        assert_eq!(b.without(|set| set == SetId(2)).ports().count(), 1);
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
