//! The addresses of a node's tunnel devices: taken from the pools that ask for tunnels, given back
//! when none does any more.

use std::net::IpAddr;

use vrouter_api::{AllowedUse, EncapsulationMode, IpPool, Node, NodeBgp};
use vrouter_datastore::StoreError;
use vrouter_datastore::ipam::Request;

use super::Work;

/// The tunnels that have addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    Ipip,
    Vxlan,
    VxlanV6,
}

impl Tunnel {
    const ALL: [Tunnel; 3] = [Tunnel::Ipip, Tunnel::Vxlan, Tunnel::VxlanV6];

    fn handle(self, node: &str) -> String {
        match self {
            Tunnel::Ipip => format!("ipip-tunnel-addr-{node}"),
            Tunnel::Vxlan => format!("vxlan-tunnel-addr-{node}"),
            Tunnel::VxlanV6 => format!("vxlan-v6-tunnel-addr-{node}"),
        }
    }

    /// As IPAM's attributes call it.
    fn kind(self) -> &'static str {
        match self {
            Tunnel::Ipip => "ipipTunnelAddress",
            Tunnel::Vxlan => "vxlanTunnelAddress",
            Tunnel::VxlanV6 => "vxlanV6TunnelAddress",
        }
    }

    fn v6(self) -> bool {
        match self {
            Tunnel::Ipip | Tunnel::Vxlan => false,
            Tunnel::VxlanV6 => true,
        }
    }

    /// Whether a pool asks for it.
    fn wanted(self, pool: &IpPool) -> bool {
        let spec = &pool.spec;
        let mode = match self {
            Tunnel::Ipip => spec.ipip_mode,
            Tunnel::Vxlan | Tunnel::VxlanV6 => spec.vxlan_mode,
        };
        let v6 = spec.cidr.addr().is_ipv6();
        mode != EncapsulationMode::Never && v6 == self.v6() && !spec.disabled
    }

    fn of(self, node: &Node) -> Option<IpAddr> {
        let spec = &node.spec;
        match self {
            Tunnel::Ipip => spec.bgp.as_ref()?.ipv4_ipip_tunnel_addr.map(IpAddr::V4),
            Tunnel::Vxlan => spec.ipv4_vxlan_tunnel_addr.map(IpAddr::V4),
            Tunnel::VxlanV6 => spec.ipv6_vxlan_tunnel_addr.map(IpAddr::V6),
        }
    }

    fn set(self, node: &mut Node, address: Option<IpAddr>) {
        let v4 = address.and_then(|it| match it {
            IpAddr::V4(it) => Some(it),
            IpAddr::V6(_) => None,
        });
        let v6 = address.and_then(|it| match it {
            IpAddr::V6(it) => Some(it),
            IpAddr::V4(_) => None,
        });
        match self {
            Tunnel::Ipip => {
                let bgp = node.spec.bgp.get_or_insert_with(NodeBgp::default);
                bgp.ipv4_ipip_tunnel_addr = v4;
            }
            Tunnel::Vxlan => node.spec.ipv4_vxlan_tunnel_addr = v4,
            Tunnel::VxlanV6 => node.spec.ipv6_vxlan_tunnel_addr = v6,
        }
    }
}

impl Work {
    /// Brings the tunnels' addresses to what the pools ask for.
    pub(super) fn tunnels(&self) -> Result<(), String> {
        let Some(node) = self.own()? else {
            return Ok(());
        };
        let text = |error: StoreError| error.to_string();
        let pools = self.ipam.pools().map_err(text)?;
        let mut next = node.clone();
        for tunnel in Tunnel::ALL {
            let before = tunnel.of(&node);
            let after = if pools.iter().any(|pool| tunnel.wanted(pool)) {
                Some(self.tunnel_address(tunnel, before, &pools)?)
            } else {
                if before.is_some() {
                    let handle = tunnel.handle(&self.node);
                    self.ipam.release_handle(&handle).map_err(text)?;
                }
                None
            };
            if before != after {
                tracing::info!(?tunnel, ?after, "the tunnel's address");
                tunnel.set(&mut next, after);
            }
        }
        if next != node {
            // Somebody may have changed it: then the next turn has both.
            self.store.update(&next.into()).map_err(text)?;
        }
        Ok(())
    }

    /// The address the tunnel has, if it is ours to have, or another one.
    fn tunnel_address(
        &self,
        tunnel: Tunnel,
        before: Option<IpAddr>,
        pools: &[IpPool],
    ) -> Result<IpAddr, String> {
        let text = |error: StoreError| error.to_string();
        let handle = tunnel.handle(&self.node);
        let mut request = Request::new(&self.node, AllowedUse::Tunnel, &handle);
        let kind = tunnel.kind().to_owned();
        request.secondary.insert("type".to_owned(), kind);
        let of_tunnel = pools.iter().filter(|pool| tunnel.wanted(pool));
        request.pools = of_tunnel.map(|pool| pool.metadata.name.clone()).collect();
        if let Some(address) = before {
            let held = self.ipam.holder(address).map_err(text)?;
            match held.and_then(|held| held.attributes.handle_id) {
                Some(holder) if holder == handle => return Ok(address),
                None if self.ipam.assign_address(&request, address).map_err(text)? => {
                    return Ok(address);
                }
                // It is somebody else's, or in no pool any more.
                Some(_) | None => {}
            }
        }
        // A process that died between taking an address and writing it down left one.
        let left = self.ipam.held_by(&handle).map_err(text)?;
        if let Some(address) = left.first() {
            return Ok(*address);
        }
        let given = self.ipam.assign(&request, tunnel.v6(), 1).map_err(text)?;
        let none = || format!("no address is left for {}", tunnel.kind());
        given.first().copied().ok_or_else(none)
    }
}
