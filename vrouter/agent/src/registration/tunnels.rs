//! The addresses of a node's tunnel devices: taken from the pools that ask for tunnels, given back
//! when none does any more.

use std::net::IpAddr;

use encap::{Family, Tunnel};
use vrouter_api::{AllowedUse, EncapsulationMode, IpPool, Node, NodeBgp};
use vrouter_datastore::StoreError;
use vrouter_datastore::ipam::Request;

use super::Work;

/// Whether a pool asks for a tunnel.
fn is_wanted(tunnel: Tunnel, pool: &IpPool) -> bool {
    let spec = &pool.spec;
    let mode = match tunnel {
        Tunnel::Ipip => spec.ipip_mode,
        Tunnel::Vxlan(_) => spec.vxlan_mode,
    };
    let family = Family::from(spec.cidr.addr());
    mode != EncapsulationMode::Never && family == tunnel.family() && !spec.disabled
}

/// The address of a node on a tunnel, as its resource states it.
fn stated(tunnel: Tunnel, node: &Node) -> Option<IpAddr> {
    let spec = &node.spec;
    match tunnel {
        Tunnel::Ipip => spec.bgp.as_ref()?.ipv4_ipip_tunnel_addr.map(IpAddr::V4),
        Tunnel::Vxlan(Family::V4) => spec.ipv4_vxlan_tunnel_addr.map(IpAddr::V4),
        Tunnel::Vxlan(Family::V6) => spec.ipv6_vxlan_tunnel_addr.map(IpAddr::V6),
    }
}

/// States it there.
fn state(tunnel: Tunnel, node: &mut Node, address: Option<IpAddr>) {
    let (v4, v6) = match address {
        Some(IpAddr::V4(address)) => (Some(address), None),
        Some(IpAddr::V6(address)) => (None, Some(address)),
        None => (None, None),
    };
    match tunnel {
        Tunnel::Ipip => {
            let bgp = node.spec.bgp.get_or_insert_with(NodeBgp::default);
            bgp.ipv4_ipip_tunnel_addr = v4;
        }
        Tunnel::Vxlan(Family::V4) => node.spec.ipv4_vxlan_tunnel_addr = v4,
        Tunnel::Vxlan(Family::V6) => node.spec.ipv6_vxlan_tunnel_addr = v6,
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
            let before = stated(tunnel, &node);
            let after = if pools.iter().any(|pool| is_wanted(tunnel, pool)) {
                Some(self.tunnel_address(tunnel, before, &pools)?)
            } else {
                if before.is_some() {
                    let handle = tunnel.handle(&self.node);
                    self.ipam.release_handle(&handle).map_err(text)?;
                }
                None
            };
            if before != after {
                tracing::info!(%tunnel, ?after, "the tunnel's address");
                state(tunnel, &mut next, after);
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
        let kind = tunnel.ipam_type().to_owned();
        request.secondary.insert("type".to_owned(), kind);
        let of_tunnel = pools.iter().filter(|pool| is_wanted(tunnel, pool));
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
        let given = self
            .ipam
            .assign(&request, tunnel.family(), 1)
            .map_err(text)?;
        let none = || format!("no address is left for {}", tunnel.ipam_type());
        given.first().copied().ok_or_else(none)
    }
}
