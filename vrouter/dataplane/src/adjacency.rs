//! Where a route leads: typed adjacencies, with everything needed to send already written down.

use std::net::IpAddr;

use encap::vxlan::Vni;

use crate::drop::DropReason;
use crate::id::InterfaceId;

/// A link-layer address, in wire order.
pub type Mac = [u8; 6];

/// The MAC of the gateway on every pod's link, as Calico's host side has it.
pub const GATEWAY_MAC: Mac = [0xee; 6];

/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;

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
        /// Its TAP.
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
    },
}

impl Adjacency {
    /// The Ethernet header from the gateway to a workload.
    pub fn neighbor_rewrite(workload: Mac) -> [u8; ETHERNET] {
        let mut header = [0; ETHERNET];
        header[..6].copy_from_slice(&workload);
        header[6..12].copy_from_slice(&GATEWAY_MAC);
        header[12..].copy_from_slice(&0x0800u16.to_be_bytes());
        header
    }

    /// The interface packets leave by.
    pub fn out(&self) -> Option<InterfaceId> {
        match self {
            Self::Drop(_) => None,
            Self::Host { out, .. } | Self::Neighbor { out, .. } | Self::Tunnel { out, .. } => {
                Some(*out)
            }
        }
    }
}
