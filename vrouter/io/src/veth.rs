//! A pod on a veth: its end in its namespace, the other on the node, by Calico's names and with the
//! gateway's MAC. It outlives the process; the next one takes it over.
//!
//! The host's end has no address and no IPv6 of its own: every frame is taken by a program at its
//! ingress, and none is the host's.

use crate::error::{Error, Result};
use crate::link::{End, Interface, Link};
use crate::netns::Netns;
use crate::pod::{GATEWAY_MAC, Pod};
use crate::sysctl;

/// What the host's end takes: all that a pod sends, so that the router can tell it what is too large.
const HOST_MTU: u32 = 65_535;

/// Takes over the veth between `host` and the pod's interface, or makes it; the host end's number.
///
/// A new host end is down: a frame that came in before the program is there would be the host's. It is to be
/// set up ([`Link::set_up`]) with the program at its ingress, and then the pod's end
/// ([`crate::pod::configure`]).
///
/// # Errors
/// Either name belongs to something else, or the kernel refuses a step.
pub fn open(link: &Link, host: &str, netns: &Netns, pod: &Pod) -> Result<u32> {
    let end = match (
        link.interface(host)?,
        Link::open_in(netns)?.interface(&pod.name)?,
    ) {
        (Some(here), Some(there)) if is_pair(&here, &there) => here,
        (here, _) => {
            if let Some(here) = here {
                remove_left_behind(link, &here)?;
            }
            let here = End {
                name: host,
                mac: Some(GATEWAY_MAC),
                mtu: HOST_MTU,
            };
            let there = End {
                name: &pod.name,
                mac: pod.mac,
                mtu: pod.mtu,
            };
            link.add_veth(here, there, netns)?;
            link.expect_interface(host)?
        }
    };
    prepare(link, &end).inspect_err(|_| {
        // A half-made one would be taken for whole.
        let _ = link.remove_interface(end.index);
    })?;
    Ok(end.index)
}

fn prepare(link: &Link, end: &Interface) -> Result<()> {
    quieten(&end.name)?;
    if end.mtu != HOST_MTU {
        link.set_mtu(end.index, HOST_MTU)?;
    }
    Ok(())
}

/// No IPv6 of the host's on an interface of the calling thread's namespace: no link-local address,
/// no router discovery.
///
/// # Errors
/// The kernel refuses.
pub fn quieten(name: &str) -> Result<()> {
    let setting = format!("net/ipv6/conf/{name}/disable_ipv6");
    if sysctl::exists(&setting) {
        sysctl::write(&setting, "1")?;
    }
    Ok(())
}

/// Whether these are the two ends of one veth.
fn is_pair(here: &Interface, there: &Interface) -> bool {
    here.peer == Some(there.index) && there.peer == Some(here.index)
}

/// Removes a pair whose other end is not where it belongs; what has another MAC is not ours.
fn remove_left_behind(link: &Link, here: &Interface) -> Result<()> {
    if here.mac != Some(GATEWAY_MAC) || here.peer.is_none() {
        return Err(Error::NameTaken {
            action: format!("make the veth {}", here.name),
            name: here.name.clone(),
            hint: ", which is no veth of a pod: remove it, or give the endpoint another interfaceName",
        });
    }
    link.remove_interface(here.index).map(drop)
}
