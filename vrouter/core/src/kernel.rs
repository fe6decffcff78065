//! The host's own side: what its TUN and its routing table are to have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::desired::{Desired, Target};
use crate::underlay::Underlay;

/// The interface a route of the host leads out by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outgoing {
    /// The host's TUN: the packet comes to us.
    Tun,
    /// The interface to the other nodes, by the kernel's number.
    Underlay(u32),
}

/// A route in the host's main table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KernelRoute {
    /// The prefix.
    pub destination: IpNet,
    /// The interface.
    pub out: Outgoing,
    /// The next hop; `None` where the destination is on the link.
    pub via: Option<IpAddr>,
    /// The address the host itself speaks from.
    pub source: Option<IpAddr>,
    /// Whether the next hop is on the link whatever the interface's addresses say.
    pub onlink: bool,
}

/// What the TUN and the routing table have, or are to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// MTU of the TUN; `None` before it was ever set.
    pub mtu: Option<u16>,
    /// Addresses of the TUN.
    pub addresses: BTreeSet<IpAddr>,
    /// Routes of ours, by prefix.
    pub routes: BTreeMap<IpNet, KernelRoute>,
}

impl Kernel {
    /// What a node is to have: blocks and tunnels through the TUN, the rest as BIRD would have it, and
    /// nothing in `left_to_bird` that goes without a tunnel.
    pub fn wanted(
        desired: &Desired,
        underlay: Option<&Underlay>,
        mtu: u16,
        left_to_bird: &[IpNet],
    ) -> Kernel {
        Kernel {
            mtu: Some(mtu),
            addresses: desired.tunnel_addresses.clone(),
            routes: routes(desired, underlay, left_to_bird),
        }
    }
}

fn routes(
    desired: &Desired,
    underlay: Option<&Underlay>,
    left_to_bird: &[IpNet],
) -> BTreeMap<IpNet, KernelRoute> {
    let tunnel_address = |prefix: &IpNet| {
        let same = |a: &&IpAddr| a.is_ipv4() == prefix.addr().is_ipv4();
        desired.tunnel_addresses.iter().find(same).copied()
    };
    let through_tun = |prefix: &IpNet, source: Option<IpAddr>| KernelRoute {
        destination: prefix.trunc(),
        out: Outgoing::Tun,
        via: None,
        source,
        onlink: false,
    };
    let mut routes = BTreeMap::new();
    for block in &desired.blocks {
        // The host speaks to its own pods from its own address, as it does under Calico; a
        // server on a wildcard UDP socket would else answer from an address nobody asked.
        let own = match block {
            IpNet::V4(_) => desired.v4,
            IpNet::V6(_) => desired.v6,
        };
        let own = own.filter(|_| underlay.is_some()).map(|net| net.addr());
        let source = own.or_else(|| tunnel_address(block));
        routes.insert(block.trunc(), through_tun(block, source));
    }
    for (prefix, route) in &desired.routes {
        let Target::Node { remote, tunnel, .. } = &route.target else {
            continue;
        };
        let route = match tunnel {
            Some(_) => through_tun(prefix, tunnel_address(prefix)),
            None if left_to_bird.iter().any(|pool| pool.contains(prefix)) => continue,
            None => {
                let Some(underlay) = underlay else { continue };
                KernelRoute {
                    destination: prefix.trunc(),
                    out: Outgoing::Underlay(underlay.index),
                    via: Some(*remote),
                    source: None,
                    onlink: desired.on_subnet(*remote),
                }
            }
        };
        routes.insert(prefix.trunc(), route);
    }
    routes
}
