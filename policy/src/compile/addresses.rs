//! Address → sets: for each prefix that belongs to a set, the sets it is a member of.
//!
//! Prefixes are kept by length, each length in its own hash table; an address is looked up once
//! per length in use. The prefixes of an item that has many name a group, whose one entry changes
//! when the item joins or leaves a set.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::membership::{GroupId, Membership, NOTHING, SetId, low, plain, with_port};
use super::pages::{Bits, Table};

/// Prefixes of an address whose memberships are remembered; more are looked up again.
const REMEMBERED: usize = 6;

/// The memberships of one address, one per matching prefix.
pub(super) struct Members<'a> {
    found: [&'a [u64]; REMEMBERED],
    len: usize,
    /// Where to look for those that did not fit.
    rest: Option<(&'a Addresses, IpAddr)>,
}

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
    /// Memberships of items with many prefixes.
    groups: Arc<Vec<Membership>>,
}

impl Addresses {
    /// Sets the membership of a group, a new one at the end included.
    pub(super) fn set_group(&mut self, group: GroupId, membership: Membership) {
        let groups = Arc::make_mut(&mut self.groups);
        let index = group.0 as usize;
        if index >= groups.len() {
            groups.resize(index + 1, Membership::default());
        }
        groups[index] = membership;
    }

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
        let mut resolve = |membership: &'a Membership| match membership.words() {
            Ok(words) => each(words),
            Err(group) => each(self.group(group)),
        };
        match address {
            IpAddr::V4(address) => self.v4.visit(address.to_bits(), &mut resolve),
            IpAddr::V6(address) => self.v6.visit(address.to_bits(), &mut resolve),
        }
    }

    fn group(&self, group: GroupId) -> &[u64] {
        let membership = &self.groups[group.0 as usize];
        // An item of no set has a membership as short as a reference.
        membership.words().unwrap_or(NOTHING)
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
                if self.tables[at].1.is_empty() {
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

    fn visit<'a>(&'a self, address: K, each: &mut impl FnMut(&'a Membership)) {
        for (len, table) in &self.tables {
            if let Some(membership) = table.find(address.masked(*len)) {
                each(membership);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(set: u32) -> Membership {
        Membership::new(vec![SetId(set)], Vec::new())
    }

    #[test]
    fn prefixes_of_a_group_change_as_one() {
        let mut addresses = Addresses::default();
        let nets = ["10.0.0.1/32", "10.1.0.0/16", "fd00::1/128"];
        let reference = Membership::group(GroupId(3));
        for net in nets {
            addresses.set(net.parse().unwrap(), Some(reference.clone()));
        }
        addresses.set_group(GroupId(3), member(5));
        let before = addresses.clone();
        addresses.set_group(GroupId(3), Membership::default());
        for address in ["10.0.0.1", "10.1.2.3", "fd00::1"] {
            let address = address.parse().unwrap();
            assert!(before.find(address).contain(SetId(5)));
            assert!(!addresses.find(address).contain(SetId(5)));
        }
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
