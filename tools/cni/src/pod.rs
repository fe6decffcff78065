//! The container's network namespace, looked at from inside.

use std::net::IpAddr;

use encap::Family;
use vrouter_io::link::Link;
use vrouter_io::netns::Netns;
use vrouter_io::{pod, sysctl};

use crate::call::Call;
use crate::error::{CniError, Code};

/// What is in the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether packets of each family leave by the interface.
    pub(crate) default_routes: [bool; 2],
}

/// Opens the container's namespace; ours is refused.
pub(crate) fn open(call: &Call) -> Result<Netns, CniError> {
    let bad = |error: &dyn std::fmt::Display| {
        CniError::new(
            Code::Namespace,
            format!("CNI_NETNS {} cannot be used", call.netns),
        )
        .with_details(error.to_string())
    };
    let netns = Netns::open(&call.netns).map_err(|error| bad(&error))?;
    let own = Netns::open("/proc/self/ns/net").map_err(|error| bad(&error))?;
    if own.identity() == netns.identity() && !call.any_netns {
        return Err(bad(
            &"it is the plugin's own: CNI_NETNS_OVERRIDE=true allows that",
        ));
    }
    Ok(netns)
}

fn failed(error: &dyn std::fmt::Display) -> CniError {
    CniError::new(Code::Namespace, "the container's namespace cannot be used")
        .with_details(error.to_string())
}

/// Fails when the namespace has an interface of that name, or another one of this network.
pub(crate) fn expect_none(netns: &Netns, interface: &str) -> Result<(), CniError> {
    let link = Link::open_in(netns).map_err(|error| failed(&error))?;
    let all = link.interfaces().map_err(|error| failed(&error))?;
    if all.iter().any(|it| it.name == interface) {
        let message = format!("container already has an interface {interface}");
        return Err(CniError::new(Code::InterfaceExists, message)
            .with_details(format!("in {netns}; CNI_IFNAME must be free")));
    }
    let routes = link.routes(None).map_err(|error| failed(&error))?;
    let gateway = IpAddr::V4(pod::GATEWAY_V4);
    let other = routes.iter().find(|it| it.via == Some(gateway));
    let other = other.and_then(|it| all.iter().find(|link| Some(link.index) == it.interface));
    match other {
        None => Ok(()),
        Some(other) => Err(CniError::new(
            Code::UnsupportedField,
            format!("container already has {} on the vRouter", other.name),
        )
        .with_details(format!(
            "several interfaces of one container are not supported: CNI_IFNAME {interface} cannot \
             be added"
        ))),
    }
}

/// The interface as it is; `None` when there is none.
pub(crate) fn find(netns: &Netns, interface: &str) -> Result<Option<Found>, CniError> {
    let link = Link::open_in(netns).map_err(|error| failed(&error))?;
    let Some(found) = link.interface(interface).map_err(|error| failed(&error))? else {
        return Ok(None);
    };
    let addresses = link.addresses().map_err(|error| failed(&error))?;
    let of_interface = addresses.iter().filter(|it| it.interface == found.index);
    let routes = link.routes(None).map_err(|error| failed(&error))?;
    let leaves = |family: Family| {
        routes.iter().any(|it| {
            it.destination.prefix_len() == 0
                && family.contains(&it.destination.addr())
                && it.interface == Some(found.index)
        })
    };
    Ok(Some(Found {
        mac: found.mac,
        mtu: found.mtu,
        up: found.up,
        addresses: of_interface.map(|it| it.address.addr()).collect(),
        default_routes: Family::ALL.map(leaves),
    }))
}

/// What the config says of the namespace: forwarding, and a smaller MTU than vrouterd's.
pub(crate) fn settle(
    netns: &Netns,
    interface: &str,
    forwarding: bool,
    mtu: Option<u32>,
) -> Result<(), CniError> {
    let inside = || {
        sysctl::write("net/ipv4/ip_forward", if forwarding { "1" } else { "0" })?;
        if forwarding && sysctl::exists("net/ipv6/conf/all/forwarding") {
            sysctl::write("net/ipv6/conf/all/forwarding", "1")?;
        }
        if let Some(mtu) = mtu {
            let link = Link::open()?;
            let found = link.expect_interface(interface)?;
            link.set_mtu(found.index, mtu)?;
        }
        Ok::<(), vrouter_io::Error>(())
    };
    netns
        .run(inside)
        .and_then(|outcome| outcome)
        .map_err(|error| failed(&error))
}
