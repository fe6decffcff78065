//! Where a route leads: typed adjacencies, with everything needed to send already written down.

use std::net::IpAddr;

use encap::Family;
use encap::ethernet::{self, EtherType};
use encap::vxlan::Vni;

use crate::drop::DropReason;
use crate::id::{AdjacencyId, InterfaceId};

/// A link-layer address, in wire order.
pub type Mac = [u8; 6];

/// The MAC of the gateway on every pod's link, as Calico's host side has it.
pub const GATEWAY_MAC: Mac = [0xee; 6];

/// Length of an Ethernet header.
pub const ETHERNET: usize = ethernet::HEADER_LEN;

/// The smallest MTU of a link that carries IPv6 (RFC 8200 section 5). Of a tunnel with less room the
/// underlay's packets are fragmented.
pub const IPV6_MINIMUM_MTU: u16 = 1280;

/// What stands in front of the inner packet on the underlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encap {
    /// RFC 7348; the inner frame goes from our VTEP's MAC to the other's.
    Vxlan {
        /// The network identifier.
        vni: Vni,
        /// Inner source.
        source: Mac,
        /// Inner destination.
        destination: Mac,
    },
    /// RFC 2003.
    Ipip,
}

/// The next step of a packet whose route is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Adjacency {
    /// The route says not to forward.
    Drop(DropReason),
    /// To the host's stack through the TUN: to an address of the host, or for the host to route.
    Host {
        /// The TUN.
        out: InterfaceId,
        /// Whether the destination is an address of the host itself.
        local: bool,
        /// Largest packet in bytes.
        mtu: u16,
    },
    /// To a workload of this node.
    Neighbor {
        out: InterfaceId,
        /// Ethernet header for IPv4; the type is patched for IPv6.
        rewrite: [u8; ETHERNET],
        /// Largest packet in bytes.
        mtu: u16,
    },
    /// To another node.
    Tunnel {
        /// The tunnel interface.
        out: InterfaceId,
        /// The header to put in front.
        encap: Encap,
        /// The other node's underlay address.
        remote: IpAddr,
        /// Largest inner packet in bytes.
        mtu: u16,
        /// Whether the path to the other node limits `mtu`, and not this node's own link.
        by_path: bool,
    },
    /// Several equal ways; a flow keeps to one (RFC 2992).
    Group(Box<[Member]>),
}

/// One way of a [`Adjacency::Group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// What tells the member from others, whatever its place: flows stay with it by this.
    pub key: u64,
    /// Where it leads; never to a group.
    pub adjacency: AdjacencyId,
}

/// The member a flow goes by: the one with the highest weight for this flow (rendezvous hashing).
/// When a member goes only its own flows move; when one comes it takes its share of each other's.
pub fn choose(members: &[Member], flow_hash: u64) -> Option<AdjacencyId> {
    let weight = |member: &&Member| mix(flow_hash ^ member.key);
    members
        .iter()
        .max_by_key(weight)
        .map(|member| member.adjacency)
}

/// The finaliser of SplitMix64: every bit of the input moves half the bits of the output.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Adjacency {
    /// The Ethernet header from the gateway to a workload.
    pub fn neighbor_rewrite(workload: Mac) -> [u8; ETHERNET] {
        let header = ethernet::Repr {
            destination: workload,
            source: GATEWAY_MAC,
            kind: EtherType::Ipv4,
        };
        let mut bytes = [0; ETHERNET];
        header.emit(&mut bytes);
        bytes
    }

    /// The largest packet of a family that goes this way, in bytes.
    pub fn mtu(&self, family: Family) -> Option<u16> {
        match self {
            Self::Drop(_) | Self::Group(_) => None,
            Self::Host { mtu, .. } | Self::Neighbor { mtu, .. } => Some(*mtu),
            Self::Tunnel { mtu, .. } => Some(match family {
                Family::V4 => *mtu,
                Family::V6 => (*mtu).max(IPV6_MINIMUM_MTU),
            }),
        }
    }

    /// The interface packets leave by.
    pub fn out(&self) -> Option<InterfaceId> {
        match self {
            Self::Drop(_) | Self::Group(_) => None,
            Self::Host { out, .. } | Self::Neighbor { out, .. } | Self::Tunnel { out, .. } => {
                Some(*out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(keys: &[u64]) -> Vec<Member> {
        let member = |key: &u64| Member {
            key: mix(*key),
            adjacency: AdjacencyId(*key as u32),
        };
        keys.iter().map(member).collect()
    }

    #[test]
    fn flows_spread_evenly_and_move_only_when_they_must() {
        let four = members(&[1, 2, 3, 4]);
        let three = members(&[4, 1, 2]);
        let mut count = [0; 5];
        let mut moved = 0;
        for flow in 0..40_000u64 {
            let before = choose(&four, mix(flow)).unwrap();
            let after = choose(&three, mix(flow)).unwrap();
            count[before.index()] += 1;
            if before != AdjacencyId(3) {
                assert_eq!(before, after, "a flow of a member that stayed moved");
            } else {
                moved += 1;
            }
        }
        assert!(
            count[1..].iter().all(|n| (9_500..10_500).contains(n)),
            "{count:?}"
        );
        assert_eq!(moved, count[3]);
        assert_eq!(choose(&[], 1), None);
    }
}
