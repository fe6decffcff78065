//! The host's side: the TUN with its addresses, the kernel's routes to pods, forwarding.
//!
//! What is done here is undone at the end; what was there before stays.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use vrouter_core::desired::Desired;
use vrouter_core::execute::{Done, HostStack};
use vrouter_core::kernel::{Kernel, KernelRoute, Outgoing};
use vrouter_core::underlay::Underlay;
use vrouter_io::link::{Link, Route};
use vrouter_io::sysctl::Changed;

/// The host, by netlink.
pub struct Host {
    link: Link,
    tun: String,
    index: u32,
    sysctls: Changed,
}

impl Host {
    /// Takes charge of the TUN, which exists, and turns forwarding on. Routes that an earlier
    /// process of ours left behind are removed. `record` keeps what the sysctls were.
    ///
    /// # Errors
    /// The kernel refuses a step.
    pub fn open(tun: &str, record: &Path) -> vrouter_io::Result<Self> {
        let link = Link::open()?;
        let index = link.expect_interface(tun)?.index;
        let mut sysctls = Changed::recorded(record);
        sysctls.enable_forwarding()?;
        link.set_up(index)?;
        for route in link.routes(Some(vrouter_io::link::PROTOCOL))? {
            tracing::info!(destination = %route.destination, "removing a route left behind");
            link.remove_route(&route)?;
        }
        Ok(Self {
            link,
            tun: tun.to_owned(),
            index,
            sysctls,
        })
    }

    /// The number of the TUN.
    pub fn tun_index(&self) -> u32 {
        self.index
    }

    /// The interface to the other nodes: the one named, or the one with the node's address.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn underlay(
        &self,
        named: Option<&str>,
        wanted: &Desired,
    ) -> vrouter_io::Result<Option<Underlay>> {
        let held = self.link.addresses()?;
        let found = match named {
            Some(name) => Some(self.link.expect_interface(name)?),
            None => {
                let own = [wanted.v4, wanted.v6].into_iter().flatten();
                let holder = own
                    .filter_map(|own| held.iter().find(|held| held.address.addr() == own.addr()))
                    .next();
                match holder {
                    Some(held) => self.link.interface_at(held.interface)?,
                    None => None,
                }
            }
        };
        Ok(found.map(|found| Underlay {
            index: found.index,
            name: found.name,
            mtu: found.mtu,
            addresses: held
                .iter()
                .filter(|held| held.interface == found.index)
                .map(|held| held.address.addr())
                .collect(),
        }))
    }

    /// Undoes what was made, as far as the kernel lets us.
    pub fn close(mut self, made: &Kernel) {
        for route in made.routes.values() {
            if let Err(error) = self.link.remove_route(&self.route(route)) {
                tracing::warn!(%error, "a route stays behind");
            }
        }
        for address in &made.addresses {
            if let Err(error) = self.link.remove_address(self.index, IpNet::from(*address)) {
                tracing::warn!(%error, interface = self.tun, "an address stays behind");
            }
        }
        if let Err(error) = self.sysctls.restore() {
            tracing::warn!(%error, "a setting stays changed");
        }
    }

    /// The router towards an address that is on no link of ours, and the interface to it: the
    /// kernel's routes have no next hop beyond a link, so it is resolved as BIRD does it.
    fn next_hop(&self, address: IpAddr) -> Option<(IpAddr, u32)> {
        let route = self.link.route_to(address).ok()??;
        Some((route.via?, route.interface?))
    }

    /// A route in the kernel's form.
    fn route(&self, route: &KernelRoute) -> Route {
        let interface = match route.out {
            Outgoing::Tun => self.index,
            Outgoing::Underlay(index) => index,
        };
        let base = match route.via {
            Some(via) if route.onlink => Route::via(route.destination, via, interface),
            Some(via) => {
                let (via, interface) = self.next_hop(via).unwrap_or((via, interface));
                Route::via(route.destination, via, interface)
            }
            None => Route::on_link(route.destination, interface),
        };
        Route {
            source: route.source,
            onlink: route.onlink,
            ..base
        }
    }
}

fn text(error: &vrouter_io::Error) -> String {
    error.to_string()
}

impl HostStack for Host {
    fn set_mtu(&mut self, mtu: u16) -> Done {
        self.link
            .set_mtu(self.index, mtu.into())
            .map_err(|error| text(&error))
    }

    fn add_address(&mut self, address: IpAddr) -> Done {
        let added = self.link.add_address(self.index, address.into());
        added.map(drop).map_err(|error| text(&error))
    }

    fn remove_address(&mut self, address: IpAddr) -> Done {
        let removed = self.link.remove_address(self.index, address.into());
        removed.map(drop).map_err(|error| text(&error))
    }

    fn set_route(&mut self, route: &KernelRoute) -> Done {
        self.link
            .replace_route(&self.route(route))
            .map_err(|error| text(&error))
    }

    fn remove_route(&mut self, route: &KernelRoute) -> Done {
        let removed = self.link.remove_route(&self.route(route));
        removed.map(drop).map_err(|error| text(&error))
    }

    /// All unicast addresses of the host, the TUN's included, loopback's and link-local ones not.
    fn addresses(&mut self) -> Done<BTreeSet<IpAddr>> {
        let usable = |address: &IpAddr| match address {
            IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local(),
            IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
        };
        let all = self.link.addresses().map_err(|error| text(&error))?;
        let addresses = all.iter().map(|held| held.address.addr());
        Ok(addresses.filter(usable).collect())
    }
}
