//! The interface to the other nodes, as the host has it.

use std::net::IpAddr;

/// The interface to the other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    pub addresses: Vec<IpAddr>,
}
