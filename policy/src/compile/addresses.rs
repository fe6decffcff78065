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
        mix(u64::from(self))
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
        mix((self >> 64) as u64 ^ mix(self as u64))
    }
}

/// Spreads every bit over the upper half of the word.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (word ^ (word >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
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

/// A slot of a page: a prefix's bits and its membership.
type Slot<K> = Option<(K, Membership)>;
type Page<K> = Arc<[Slot<K>]>;
type Group<K> = Arc<[Page<K>]>;

/// Slots of a page; keys are probed for within their page.
const SLOTS: usize = 64;
/// Entries a page may hold before the table doubles.
const FULL: usize = 48;
/// Entries a page holds on average before the table doubles.
const FILL: usize = 24;
/// Pages in a group.
const GROUP: usize = 64;

/// A persistent hash table.
#[derive(Clone)]
struct Table<K> {
    groups: Arc<Vec<Group<K>>>,
    /// log2 of the number of pages.
    bits: u32,
    len: usize,
}

impl<K: Bits> Table<K> {
    fn new() -> Self {
        Self::with_pages(0, vec![vec![None; SLOTS]])
    }

    fn with_pages(bits: u32, pages: Vec<Vec<Slot<K>>>) -> Self {
        let pages: Vec<Page<K>> = pages.into_iter().map(Page::from).collect();
        let groups = pages.chunks(GROUP).map(Group::from).collect();
        Self {
            groups: Arc::new(groups),
            bits,
            len: 0,
        }
    }

    /// The page of a key among `1 << bits`, and the slot where probing begins.
    #[allow(clippy::cast_possible_truncation)]
    fn place(key: K, bits: u32) -> (usize, usize) {
        let spread = key.spread();
        let page = if bits == 0 {
            0
        } else {
            (spread >> (64 - bits)) as usize
        };
        (page, (spread >> 20) as usize % SLOTS)
    }

    /// The slots of a page in probing order.
    fn probes(start: usize) -> impl Iterator<Item = usize> {
        (0..SLOTS).map(move |i| (start + i) % SLOTS)
    }

    fn find(&self, key: K) -> Option<&Membership> {
        let (page, start) = Self::place(key, self.bits);
        let page = &self.groups[page / GROUP][page % GROUP];
        for slot in Self::probes(start) {
            match &page[slot] {
                Some((k, membership)) if *k == key => return Some(membership),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    fn page_mut(&mut self, page: usize) -> &mut [Slot<K>] {
        let group = &mut Arc::make_mut(&mut self.groups)[page / GROUP];
        Arc::make_mut(&mut Arc::make_mut(group)[page % GROUP])
    }

    fn insert(&mut self, key: K, membership: Membership) -> bool {
        let known = self.find(key);
        if known.is_some_and(|known| Arc::ptr_eq(&known.0, &membership.0)) {
            return false;
        }
        let is_new = known.is_none();
        let (page, start) = Self::place(key, self.bits);
        let page = self.page_mut(page);
        let used = page.iter().flatten().count();
        for slot in Self::probes(start) {
            if page[slot].as_ref().is_none_or(|(k, _)| *k == key) {
                page[slot] = Some((key, membership));
                break;
            }
        }
        if is_new {
            self.len += 1;
            if used >= FULL || self.len > FILL << self.bits {
                self.grow();
            }
        }
        true
    }

    fn remove(&mut self, key: K) -> bool {
        if self.find(key).is_none() {
            return false;
        }
        let (page, _) = Self::place(key, self.bits);
        let bits = self.bits;
        let page = self.page_mut(page);
        // Those that were probed past the removed one must be found again.
        let kept: Vec<(K, Membership)> = page
            .iter_mut()
            .filter_map(Option::take)
            .filter(|(k, _)| *k != key)
            .collect();
        for (key, membership) in kept {
            put(page, Self::place(key, bits).1, key, membership);
        }
        self.len -= 1;
        true
    }

    fn grow(&mut self) {
        let mut bits = self.bits + 1;
        // A page that would overflow at this size asks for another doubling.
        let pages = loop {
            if let Some(pages) = self.spread_over(bits) {
                break pages;
            }
            bits += 1;
        };
        let len = self.len;
        *self = Self {
            len,
            ..Self::with_pages(bits, pages)
        };
    }

    fn spread_over(&self, bits: u32) -> Option<Vec<Vec<Slot<K>>>> {
        let mut pages = vec![vec![None; SLOTS]; 1 << bits];
        let mut used = vec![0usize; 1 << bits];
        let all = self
            .groups
            .iter()
            .flat_map(|g| g.iter())
            .flat_map(|p| p.iter())
            .flatten();
        for (key, membership) in all {
            let (page, start) = Self::place(*key, bits);
            used[page] += 1;
            if used[page] > FULL && bits < 24 {
                return None;
            }
            put(&mut pages[page], start, *key, membership.clone());
        }
        Some(pages)
    }
}

/// Puts a new key into the first free slot at or after `start`.
fn put<K>(page: &mut [Slot<K>], start: usize, key: K, membership: Membership) {
    let free = (0..SLOTS)
        .map(|i| (start + i) % SLOTS)
        .find(|&slot| page[slot].is_none());
    let free = free.expect("a page is never more than three quarters full");
    page[free] = Some((key, membership));
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
