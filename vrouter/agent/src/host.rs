//! The host's side: the TUN with its addresses, the kernel's routes to pods, forwarding.
//!
//! Whatever is done here is remembered and undone at the end; what was there before stays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use vrouter_io::link::{Link, Route};
use vrouter_io::sysctl::Changed;

use vrouter_core::desired::{Desired, Target};

use vrouter_core::underlay::Underlay;

/// What the agent did to the host.
pub struct Host {
    link: Link,
    tun: String,
    index: u32,
    mtu: Option<u16>,
    addresses: BTreeSet<IpAddr>,
    routes: BTreeMap<IpNet, Route>,
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
            mtu: None,
            addresses: BTreeSet::new(),
            routes: BTreeMap::new(),
            sysctls,
        })
    }

    /// All unicast addresses of the host, the TUN's included, loopback's and link-local ones not.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&self) -> vrouter_io::Result<BTreeSet<IpAddr>> {
        let usable = |address: &IpAddr| match address {
            IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local(),
            IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
        };
        let all = self.link.addresses()?;
        Ok(all
            .iter()
            .map(|held| held.address.addr())
            .filter(usable)
            .collect())
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

    /// Brings addresses and routes to what is wanted. Goes on after a failure and returns all of
    /// them in words.
    pub fn update(
        &mut self,
        wanted: &Desired,
        underlay: Option<&Underlay>,
        mtu: u16,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let mut note = |result: vrouter_io::Result<()>| {
            if let Err(error) = result {
                problems.push(error.to_string());
            }
        };
        if self.mtu != Some(mtu) {
            note(self.link.set_mtu(self.index, u32::from(mtu)));
            self.mtu = Some(mtu);
        }
        for gone in self.addresses.difference(&wanted.tunnel_addresses) {
            note(
                self.link
                    .remove_address(self.index, IpNet::from(*gone))
                    .map(drop),
            );
        }
        for new in wanted.tunnel_addresses.difference(&self.addresses) {
            note(
                self.link
                    .add_address(self.index, IpNet::from(*new))
                    .map(drop),
            );
        }
        self.addresses = wanted.tunnel_addresses.clone();
        let routes = self.wanted_routes(wanted, underlay);
        for (destination, route) in &self.routes {
            if !routes.contains_key(destination) {
                note(self.link.remove_route(route).map(drop));
            }
        }
        for (destination, route) in &routes {
            let before = self.routes.get(destination);
            if before == Some(route) {
                continue;
            }
            // A route through another interface is another route to the kernel.
            if let Some(before) = before {
                note(self.link.remove_route(before).map(drop));
            }
            note(self.link.replace_route(route));
        }
        self.routes = routes;
        problems
    }

    /// The kernel's routes: blocks and tunnels through the TUN, the rest as BIRD would have it.
    fn wanted_routes(
        &self,
        wanted: &Desired,
        underlay: Option<&Underlay>,
    ) -> BTreeMap<IpNet, Route> {
        let source = |prefix: &IpNet| {
            let same = |a: &&IpAddr| a.is_ipv4() == prefix.addr().is_ipv4();
            wanted.tunnel_addresses.iter().find(same).copied()
        };
        let mut routes = BTreeMap::new();
        for block in &wanted.blocks {
            // The host speaks to its own pods from its own address, as it does under Calico; a
            // server on a wildcard UDP socket would else answer from an address nobody asked.
            let own = match block {
                IpNet::V4(_) => wanted.v4,
                IpNet::V6(_) => wanted.v6,
            };
            let own = own.filter(|_| underlay.is_some()).map(|net| net.addr());
            let source = own.or_else(|| source(block));
            let route = Route {
                source,
                ..Route::on_link(*block, self.index)
            };
            routes.insert(*block, route);
        }
        for (prefix, route) in &wanted.routes {
            let Target::Node { remote, tunnel, .. } = &route.target else {
                continue;
            };
            let kernel = match tunnel {
                Some(_) => Route {
                    source: source(prefix),
                    ..Route::on_link(*prefix, self.index)
                },
                None => match underlay {
                    Some(underlay) => Route {
                        onlink: wanted.on_subnet(*remote),
                        ..Route::via(*prefix, *remote, underlay.index)
                    },
                    None => continue,
                },
            };
            routes.insert(*prefix, kernel);
        }
        routes
    }

    /// Undoes everything, as far as the kernel lets us.
    pub fn close(mut self) {
        for route in self.routes.values() {
            if let Err(error) = self.link.remove_route(route) {
                tracing::warn!(%error, "a route stays behind");
            }
        }
        for address in &self.addresses {
            if let Err(error) = self.link.remove_address(self.index, IpNet::from(*address)) {
                tracing::warn!(%error, interface = self.tun, "an address stays behind");
            }
        }
        if let Err(error) = self.sysctls.restore() {
            tracing::warn!(%error, "a setting stays changed");
        }
    }
}
