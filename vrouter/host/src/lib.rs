//! What on the host blocks the router. Everything is read, in the network namespace of the caller;
//! nothing is changed, and what cannot be read is taken to be in order.
//!
//! - [`filter`]: a packet filter that drops what the host forwards.
//! - [`holder`]: the process that has a TUN device or a UDP port.
//! - [`vxlan`]: kernel devices on the port of VXLAN.
//!
//! [`forwarding`], [`tun_taken`] and [`port_taken`] put it in words for an operator, each with its
//! cure.

#![forbid(unsafe_code)]

pub mod filter;
pub mod holder;
mod netlink;
pub mod vxlan;

/// Sentences about packet filters that drop what the host forwards for `device`, the router's TUN.
/// Packets without a tunnel and packets to the outside pass there.
pub fn forwarding(device: &str) -> Vec<String> {
    let blocks = filter::forward_drops(device);
    blocks.iter().map(|block| block.to_string()).collect()
}

/// The reason why the TUN `device` cannot be opened, if another process or the kernel has it.
pub fn tun_taken(device: &str) -> Option<String> {
    if let Some(process) = holder::of_tun(device) {
        return Some(format!(
            "{device} belongs to {process}: end it, or choose another tunnelInterface"
        ));
    }
    holder::is_kernel_tunnel(device).then(|| {
        format!(
            "{device} is a device of the kernel's module ipip: unload it (rmmod ipip), or choose \
             another tunnelInterface"
        )
    })
}

/// All that blocks a router whose TUN is `device` and whose tunnels have the UDP `port`, for somebody
/// who asks beside a router that may be running: what a `vrouterd` holds blocks nothing.
pub fn blocks(device: &str, port: u16) -> Vec<String> {
    let is_other = |process: &holder::Process| process.name != "vrouterd";
    let mut blocks = forwarding(device);
    let tun_is_fine = holder::of_tun(device).is_some_and(|process| !is_other(&process));
    if !tun_is_fine {
        blocks.extend(tun_taken(device));
    }
    let port_is_fine = vxlan::devices(port).is_empty()
        && holder::of_udp_port(port).is_none_or(|process| !is_other(&process));
    if !port_is_fine {
        blocks.extend(port_taken(port));
    }
    blocks
}

/// The reason why the UDP `port` cannot be opened, if something on this host has it.
pub fn port_taken(port: u16) -> Option<String> {
    if let Some(device) = vxlan::devices(port).into_iter().next() {
        return Some(format!(
            "the kernel's VXLAN device {device} has UDP port {port}, as after an installation of \
             Calico: remove it (ip link delete {device}), or choose another vxlanPort"
        ));
    }
    holder::of_udp_port(port).map(|process| {
        format!("{process} has UDP port {port}: end it, or choose another vxlanPort")
    })
}
