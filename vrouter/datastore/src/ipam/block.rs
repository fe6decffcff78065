//! A block of addresses and a handle, in Calico's data format; no store in here.
//!
//! A block says for each of its addresses which attributes it is held with, and keeps the free
//! ones in the order in which they became free, so that an address rests before it is given again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Largest block that is believed: a /20, or a /116 of IPv6.
const LARGEST: usize = 4096;

/// A block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    pub cidr: IpNet,
    /// Whose it is, `host:<node>`; nobody's when absent.
    pub affinity: Option<String>,
    /// For each address the index of its attributes; null when free.
    pub allocations: Vec<Option<usize>>,
    /// The free addresses, longest free first.
    pub unallocated: Vec<usize>,
    pub attributes: Vec<Attributes>,
    /// Grows with each writing.
    #[serde(default)]
    pub sequence_number: u64,
    /// The block's number when an address was given.
    #[serde(default, deserialize_with = "or_default")]
    pub sequence_number_for_allocation: BTreeMap<String, u64>,
    /// Being removed: counts as absent.
    #[serde(default)]
    pub deleted: bool,
    /// What a newer Calico wrote beside.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Who holds an address, and for what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attributes {
    /// By which it is released.
    pub handle_id: Option<String>,
    /// `pod`, `namespace`, `node`, `timestamp`, `type`.
    #[serde(deserialize_with = "or_default")]
    pub secondary: BTreeMap<String, String>,
    /// When it was released, RFC 3339: it rests.
    #[serde(
        rename = "releasedAt",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub released_at: Option<String>,
    /// What a newer Calico wrote beside.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The blocks in which a handle holds addresses, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// By CIDR.
    #[serde(default, deserialize_with = "or_default")]
    pub block: BTreeMap<String, usize>,
    /// Being removed: counts as absent.
    #[serde(default)]
    pub deleted: bool,
}

/// Go writes an empty map as null.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// How many addresses a block has.
pub(super) fn size(cidr: IpNet) -> usize {
    let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
    1_usize.checked_shl(bits).unwrap_or(LARGEST + 1)
}

impl Block {
    /// A block in which everything is free.
    pub(super) fn new(cidr: IpNet, affinity: Option<String>) -> Block {
        let size = size(cidr);
        Block {
            cidr,
            affinity,
            allocations: vec![None; size],
            unallocated: (0..size).collect(),
            attributes: Vec::new(),
            sequence_number: 0,
            sequence_number_for_allocation: BTreeMap::new(),
            deleted: false,
            other: Map::new(),
        }
    }

    /// The node whose block it is.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.affinity.as_deref()?.strip_prefix("host:")
    }

    /// The address at a place.
    #[must_use]
    pub fn address(&self, ordinal: usize) -> IpAddr {
        let offset = ordinal as u128;
        match self.cidr.network() {
            IpAddr::V4(base) => {
                let low = u32::try_from(offset).unwrap_or(u32::MAX);
                Ipv4Addr::from(u32::from(base).wrapping_add(low)).into()
            }
            IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(offset)).into(),
        }
    }

    /// The place of an address.
    #[must_use]
    pub fn ordinal(&self, address: IpAddr) -> Option<usize> {
        if !self.cidr.contains(&address) {
            return None;
        }
        let offset = match (self.cidr.network(), address) {
            (IpAddr::V4(base), IpAddr::V4(it)) => u128::from(u32::from(it) - u32::from(base)),
            (IpAddr::V6(base), IpAddr::V6(it)) => u128::from(it) - u128::from(base),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        usize::try_from(offset).ok()
    }

    /// Who holds the address at a place.
    #[must_use]
    pub fn holder(&self, ordinal: usize) -> Option<&Attributes> {
        self.attributes.get((*self.allocations.get(ordinal)?)?)
    }

    /// The places that are held, resting ones included, and by whom.
    pub fn held(&self) -> impl Iterator<Item = (usize, &Attributes)> {
        let places = 0..self.allocations.len();
        places.filter_map(|place| Some((place, self.holder(place)?)))
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allocations.iter().all(Option::is_none)
    }

    /// Takes up to `wanted` free addresses that `usable` admits.
    pub(super) fn take(
        &mut self,
        wanted: usize,
        attributes: &Attributes,
        usable: impl Fn(IpAddr) -> bool,
    ) -> Vec<IpAddr> {
        let free: Vec<usize> = self.unallocated.clone();
        let fits = free
            .into_iter()
            .filter(|place| usable(self.address(*place)));
        let places: Vec<usize> = fits.take(wanted).collect();
        self.hold(&places, attributes)
    }

    fn hold(&mut self, places: &[usize], attributes: &Attributes) -> Vec<IpAddr> {
        if places.is_empty() {
            return Vec::new();
        }
        self.unallocated.retain(|place| !places.contains(place));
        let known = self.attributes.iter().position(|it| it == attributes);
        let index = known.unwrap_or_else(|| {
            self.attributes.push(attributes.clone());
            self.attributes.len() - 1
        });
        for place in places {
            self.allocations[*place] = Some(index);
            let number = self.sequence_number;
            self.sequence_number_for_allocation
                .insert(place.to_string(), number);
        }
        places.iter().map(|place| self.address(*place)).collect()
    }

    /// Frees places; with `resting`, the time, they are not given again until [`Block::wake`].
    pub(super) fn free(&mut self, places: &[usize], resting: Option<&str>) {
        let rest = resting.map(|now| {
            let attributes = Attributes {
                released_at: Some(now.to_owned()),
                ..Attributes::default()
            };
            self.attributes.push(attributes);
            self.attributes.len() - 1
        });
        for place in places {
            self.allocations[*place] = rest;
            self.sequence_number_for_allocation
                .remove(&place.to_string());
            if rest.is_none() {
                self.unallocated.push(*place);
            }
        }
        self.tidy();
    }

    /// Frees what was released before `limit`, a time in RFC 3339 and UTC.
    pub(super) fn wake(&mut self, limit: &str) {
        let rested = |it: &Attributes| it.released_at.as_deref().is_some_and(|at| at <= limit);
        let places: Vec<usize> = self
            .held()
            .filter(|(_, attributes)| rested(attributes))
            .map(|(place, _)| place)
            .collect();
        if !places.is_empty() {
            self.free(&places, None);
        }
    }

    /// Drops attributes that nobody has any more.
    fn tidy(&mut self) {
        let used: BTreeSet<usize> = self.allocations.iter().flatten().copied().collect();
        let place: BTreeMap<usize, usize> = used
            .iter()
            .enumerate()
            .map(|(new, old)| (*old, new))
            .collect();
        let mut index = 0;
        self.attributes.retain(|_| {
            index += 1;
            used.contains(&(index - 1))
        });
        for allocation in self.allocations.iter_mut().flatten() {
            if let Some(new) = place.get(allocation) {
                *allocation = *new;
            }
        }
    }

    /// What contradicts itself in the block.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let size = size(self.cidr);
        if size > LARGEST || self.allocations.len() != size {
            let have = self.allocations.len();
            faults.push(format!("has places for {have} addresses, not for {size}"));
            return faults;
        }
        let mut seen = BTreeSet::new();
        for place in &self.unallocated {
            if *place >= size {
                faults.push(format!("place {place} is outside of it"));
            } else if !seen.insert(*place) {
                faults.push(format!("{} is free twice", self.address(*place)));
            } else if self.allocations[*place].is_some() {
                faults.push(format!("{} is free and held", self.address(*place)));
            }
        }
        for (place, allocation) in self.allocations.iter().enumerate() {
            let address = self.address(place);
            match allocation {
                None if !seen.contains(&place) => {
                    faults.push(format!("{address} is neither free nor held"));
                }
                Some(index) if *index >= self.attributes.len() => {
                    faults.push(format!("{address} is held by nobody"));
                }
                None | Some(_) => {}
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by(handle: &str) -> Attributes {
        Attributes {
            handle_id: Some(handle.to_owned()),
            ..Attributes::default()
        }
    }

    #[test]
    fn calicos_null_maps_are_read() {
        let text = r#"{"cidr":"10.0.0.0/31","affinity":null,"allocations":[0,null],
            "unallocated":[1],"attributes":[{"handle_id":"h","secondary":null}],
            "sequenceNumberForAllocation":null,"deleted":false,"affinityClaimTime":"x"}"#;
        let block: Block = serde_json::from_str(text).expect("a block");
        assert_eq!(block.faults(), Vec::<String>::new());
        assert!(
            serde_json::to_string(&block)
                .expect("JSON")
                .contains("affinityClaimTime")
        );
    }

    #[test]
    fn an_address_rests_when_told_to() {
        let mut block = Block::new("10.0.0.0/31".parse().expect("a prefix"), None);
        assert_eq!(block.take(9, &by("a"), |_| true).len(), 2);
        block.free(&[0], Some("2026-01-01T00:00:10Z"));
        assert!(block.take(1, &by("b"), |_| true).is_empty());
        block.wake("2026-01-01T00:00:09Z");
        assert!(block.take(1, &by("b"), |_| true).is_empty());
        block.wake("2026-01-01T00:00:10Z");
        assert_eq!(block.take(1, &by("b"), |_| true).len(), 1);
        assert_eq!(block.faults(), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn a_block_never_contradicts_itself(
            steps in proptest::collection::vec((0..4_u8, 0..16_usize, 0..4_usize), 0..60)
        ) {
            let mut block = Block::new("fd00::10/124".parse().expect("a prefix"), None);
            let mut model: BTreeMap<usize, String> = BTreeMap::new();
            for (what, place, who) in steps {
                let handle = format!("h{who}");
                match what {
                    0 => {
                        for address in block.take(who, &by(&handle), |_| true) {
                            let place = block.ordinal(address).expect("it is in the block");
                            prop_assert_eq!(model.insert(place, handle.clone()), None);
                        }
                    }
                    1 => {
                        let wanted = block.address(place);
                        let taken = !block.take(1, &by(&handle), |it| it == wanted).is_empty();
                        prop_assert_eq!(taken, !model.contains_key(&place));
                        if taken { model.insert(place, handle); }
                    }
                    _ => if model.remove(&place).is_some() { block.free(&[place], None); },
                }
                prop_assert_eq!(block.faults(), Vec::<String>::new());
                let held: BTreeMap<usize, String> = block
                    .held()
                    .map(|(place, it)| (place, it.handle_id.clone().unwrap_or_default()))
                    .collect();
                prop_assert_eq!(&held, &model);
            }
        }
    }
}
