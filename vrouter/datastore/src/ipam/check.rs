//! Whether what is written of addresses makes sense.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vrouter_api::{AffinityState, Kind, Resource};

use super::claim::owner;
use super::{Held, Ipam, held_in};
use crate::error::StoreError;
use crate::store::Scope;

/// Something that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A block contradicts itself.
    Block {
        block: String,
        /// How.
        reason: String,
    },
    /// An address is in two blocks.
    Overlap {
        /// One.
        block: String,
        /// The other.
        other: String,
    },
    /// A block is in no pool.
    NoPool { block: String },
    /// A claim and its block say different things.
    Affinity {
        name: String,
        /// How.
        reason: String,
    },
    /// A handle counts other than the blocks do.
    Handle {
        handle: String,
        /// In which block.
        block: String,
        counts: usize,
        held: usize,
    },
    /// A pod or node has an address that IPAM did not give it.
    NotGiven { address: IpAddr, user: String },
    /// IPAM gave an address that nobody has.
    Leaked {
        address: IpAddr,
        /// By which it can be released.
        handle: String,
    },
    /// Two have the same address.
    UsedTwice {
        address: IpAddr,
        /// By whom.
        users: Vec<String>,
    },
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Everything that is held.
    pub held: Vec<Held>,
    pub used: BTreeMap<IpAddr, Vec<String>>,
    pub problems: Vec<Problem>,
}

impl Ipam {
    /// Looks at everything once. Others may change things meanwhile: what a quiet cluster has
    /// wrong is found for sure.
    ///
    /// # Errors
    /// The store's.
    pub fn check(&self) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let blocks = self.blocks()?;
        let pools = self.pools()?;
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (index, block) in blocks.iter().enumerate() {
            let name = block.cidr.to_string();
            for reason in block.faults() {
                let block = name.clone();
                report.problems.push(Problem::Block { block, reason });
            }
            for other in &blocks[index + 1..] {
                if other.cidr.contains(&block.cidr) || block.cidr.contains(&other.cidr) {
                    let (block, other) = (name.clone(), other.cidr.to_string());
                    report.problems.push(Problem::Overlap { block, other });
                }
            }
            if !pools
                .iter()
                .any(|pool| pool.spec.cidr.contains(&block.cidr))
            {
                let block = name.clone();
                report.problems.push(Problem::NoPool { block });
            }
            for held in held_in(block) {
                if let Some(handle) = held.attributes.handle_id.clone() {
                    *counts.entry((handle, name.clone())).or_default() += 1;
                }
                report.held.push(held);
            }
        }
        self.check_handles(counts, &mut report)?;
        self.check_affinities(&blocks, &mut report)?;
        self.check_users(&mut report)?;
        Ok(report)
    }

    fn check_handles(
        &self,
        mut counts: BTreeMap<(String, String), usize>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let mut problem = |handle: String, block: String, counts: usize, held: usize| {
            report.problems.push(Problem::Handle {
                handle,
                block,
                counts,
                held,
            });
        };
        for (id, handle) in self.handles()? {
            for (block, count) in handle.block {
                let held = counts.remove(&(id.clone(), block.clone())).unwrap_or(0);
                if held != count {
                    problem(id.clone(), block, count, held);
                }
            }
        }
        for ((id, block), held) in counts {
            problem(id, block, 0, held);
        }
        Ok(())
    }

    fn check_affinities(
        &self,
        blocks: &[super::Block],
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let mut claimed = BTreeSet::new();
        for claim in self.affinities(None)? {
            let (owner, cidr) = (owner(&claim), claim.spec.cidr);
            let block = blocks.iter().find(|block| block.cidr == cidr);
            let whose = block.and_then(|block| block.affinity.as_deref());
            let reason = match (claim.spec.state, whose) {
                (AffinityState::Confirmed, Some(whose)) if whose == owner => None,
                (AffinityState::Confirmed, Some(whose)) => {
                    let whose = whose.trim_start_matches("host:");
                    Some(format!("is confirmed, but the block is {whose}'s"))
                }
                (AffinityState::Confirmed, None) if block.is_some() => {
                    Some("is confirmed, but the block is nobody's".to_owned())
                }
                (AffinityState::Confirmed, None) => {
                    Some("is confirmed, but there is no block".to_owned())
                }
                (AffinityState::Pending, _) => Some("was left pending".to_owned()),
                (AffinityState::PendingDeletion, _) => Some("was left being removed".to_owned()),
            };
            claimed.insert((owner, cidr));
            if let Some(reason) = reason {
                let name = claim.metadata.name;
                report.problems.push(Problem::Affinity { name, reason });
            }
        }
        for block in blocks {
            if let Some(host) = block.host()
                && !claimed.contains(&(format!("host:{host}"), block.cidr))
            {
                report.problems.push(Problem::Affinity {
                    name: block.cidr.to_string(),
                    reason: format!("is {host}'s, which does not claim it"),
                });
            }
        }
        Ok(())
    }

    fn check_users(&self, report: &mut Report) -> Result<(), StoreError> {
        let pools = self.pools()?;
        let inside = |address: IpAddr| pools.iter().any(|it| it.spec.cidr.contains(&address));
        for kind in [Kind::WorkloadEndpoint, Kind::Node] {
            for resource in self.store.list(kind, Scope::All)?.resources {
                for address in addresses(&resource) {
                    if inside(address) {
                        let users = report.used.entry(address).or_default();
                        users.push(resource.key().to_string());
                    }
                }
            }
        }
        let given: BTreeSet<IpAddr> = report.held.iter().map(|held| held.address).collect();
        for (address, users) in &report.used {
            let address = *address;
            if let [_, _, ..] = &users[..] {
                let users = users.clone();
                report.problems.push(Problem::UsedTwice { address, users });
            }
            if !given.contains(&address) {
                let user = users.join(", ");
                report.problems.push(Problem::NotGiven { address, user });
            }
        }
        for held in &report.held {
            // Only pods and tunnels are looked up; who took an address by hand has it.
            let known = held.attributes.secondary.contains_key("pod")
                || held.attributes.secondary.contains_key("type");
            if known && !report.used.contains_key(&held.address) {
                report.problems.push(Problem::Leaked {
                    address: held.address,
                    handle: held.attributes.handle_id.clone().unwrap_or_default(),
                });
            }
        }
        Ok(())
    }
}

/// The addresses from pools that a resource has.
fn addresses(resource: &Resource) -> Vec<IpAddr> {
    match resource {
        Resource::WorkloadEndpoint(endpoint) => {
            let networks = endpoint.spec.ip_networks.iter();
            networks.map(|it| it.addr()).collect()
        }
        Resource::Node(node) => {
            let bgp = node.spec.bgp.as_ref();
            let ipip = bgp.and_then(|bgp| bgp.ipv4_ipip_tunnel_addr);
            let v4 = [ipip, node.spec.ipv4_vxlan_tunnel_addr];
            let mut all: BTreeSet<IpAddr> = v4.into_iter().flatten().map(IpAddr::from).collect();
            all.extend(node.spec.ipv6_vxlan_tunnel_addr.map(IpAddr::from));
            all.into_iter().collect()
        }
        _ => Vec::new(),
    }
}
