//! The sets that an address is in, and those of an item with so many addresses that they share
//! one entry.

use std::sync::Arc;

/// A set of addresses that rules name: those of a selector, of a named port, of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SetId(pub(super) u32);

/// The place of the membership that the many prefixes of one item share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupId(pub(super) u32);

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

    /// What prefixes of an item of many have in place of its membership: a reference to the
    /// group of this number, in an allocation shorter than any that names a set.
    pub(super) fn group(number: GroupId) -> Self {
        Self([u64::from(number.0)].into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether both are one allocation.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The words, or the number of the group that has them.
    #[inline]
    pub(super) fn words(&self) -> Result<&[u64], GroupId> {
        match *self.0 {
            [number] => Err(GroupId(low(number))),
            ref words => Ok(words),
        }
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

    pub(super) fn ports(&self) -> impl Iterator<Item = (SetId, u8, u16)> + '_ {
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

pub(super) fn with_port(set: SetId, protocol: u8, port: u16) -> u64 {
    u64::from(set.0) << 32 | u64::from(protocol) << 16 | u64::from(port)
}

#[allow(clippy::cast_possible_truncation)]
pub(super) fn low(set: u64) -> u32 {
    set as u32
}

/// The plain sets of a membership's words.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn plain(words: &[u64]) -> &[u64] {
    &words[1..=words[0] as usize]
}

/// The words of a membership of nothing.
pub(super) const NOTHING: &[u64] = &[0];
