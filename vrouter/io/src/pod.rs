//! A pod's side of its TAP: addresses and routes as Calico's CNI plugin sets them.
//!
//! Each address stands alone (/32, /128); everything else goes to a link-local gateway. Its neighbor entry
//! is permanent: nobody has to answer for it while the packet path is away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::error::Result;
use crate::link::{Link, Route};
use crate::netns::Netns;
use crate::sysctl;

/// Every pod's IPv4 gateway.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Every pod's IPv6 gateway: the link-local address made of [`GATEWAY_MAC`] (RFC 4291).
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);
/// The Ethernet address of both gateways.
pub const GATEWAY_MAC: [u8; 6] = [0xee; 6];

/// How a pod's interface is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// The interface's name in the pod.
    pub name: String,
    /// Ethernet address; `None` leaves what the kernel chose.
    pub mac: Option<[u8; 6]>,
    /// The longest IP packet, in bytes.
    pub mtu: u32,
    /// The pod's addresses; each gets its full prefix length.
    pub addresses: Vec<IpAddr>,
}

/// Sets the pod's interface up with its addresses and routes. What it has already is kept, so
/// this may be called again after a change; addresses no longer wanted are removed. Returns the
/// interface's Ethernet address.
///
/// # Errors
/// The interface does not exist, or a step is refused; the error names it.
pub fn configure(netns: &Netns, pod: &Pod) -> Result<[u8; 6]> {
    netns.run(|| configure_here(pod))?
}

fn configure_here(pod: &Pod) -> Result<[u8; 6]> {
    let has_v6 = pod.addresses.iter().any(IpAddr::is_ipv6);
    quieten(&pod.name, has_v6)?;
    let link = Link::open()?;
    if let Some(loopback) = link.interface("lo")? {
        link.set_up(loopback.index)?;
    }
    let interface = link.expect_interface(&pod.name)?;
    let index = interface.index;
    if let Some(mac) = pod.mac
        && interface.mac != Some(mac)
    {
        link.set_mac(index, mac)?;
    }
    if interface.mtu != pod.mtu {
        link.set_mtu(index, pod.mtu)?;
    }
    if !interface.up {
        link.set_up(index)?;
    }
    for held in link
        .addresses()?
        .iter()
        .filter(|held| held.interface == index)
    {
        let unwanted = !pod.addresses.contains(&held.address.addr());
        if unwanted && !is_link_local(held.address.addr()) {
            link.remove_address(index, held.address)?;
        }
    }
    for &address in &pod.addresses {
        link.add_address(index, IpNet::from(address))?;
    }
    if pod.addresses.iter().any(IpAddr::is_ipv4) {
        let gateway = IpAddr::V4(GATEWAY_V4);
        link.set_neighbor(index, gateway, GATEWAY_MAC)?;
        link.replace_route(&Route::on_link(gateway.into(), index))?;
        link.replace_route(&Route::via(default_route(gateway), gateway, index))?;
    }
    if let Some(own) = pod.addresses.iter().find(|own| own.is_ipv6()) {
        let gateway = IpAddr::V6(GATEWAY_V6);
        link.set_neighbor(index, gateway, GATEWAY_MAC)?;
        // What the gateway answers goes to an address that routes lead to.
        link.replace_route(&Route {
            source: Some(*own),
            ..Route::on_link(gateway.into(), index)
        })?;
        link.replace_route(&Route::via(default_route(gateway), gateway, index))?;
    }
    Ok(link.expect_interface(&pod.name)?.mac.unwrap_or_default())
}

/// No router discovery, no duplicate address detection: the gateway is fixed and the pod is alone
/// on its link.
pub(crate) fn quieten(name: &str, has_v6: bool) -> Result<()> {
    let setting = |what: &str| format!("net/ipv6/conf/{name}/{what}");
    if !sysctl::exists(&setting("accept_ra")) {
        return Ok(());
    }
    if has_v6 {
        sysctl::write(&setting("disable_ipv6"), "0")?;
    }
    sysctl::write(&setting("accept_ra"), "0")?;
    sysctl::write(&setting("accept_dad"), "0")
}

pub(crate) fn default_route(family: IpAddr) -> IpNet {
    match family {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
