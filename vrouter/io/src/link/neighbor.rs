//! Neighbor entries: which Ethernet address a neighbor's IP address has (RFC 826, RFC 4861).

use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::Link;
use crate::error::Result;

/// One entry with a known Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// The interface's number.
    pub interface: u32,
    /// The neighbor's address.
    pub address: IpAddr,
    pub mac: [u8; 6],
    /// Whether it was set by hand and never ages.
    pub permanent: bool,
}

impl Link {
    /// All entries whose Ethernet address is known.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn neighbors(&self) -> Result<Vec<Neighbor>> {
        let messages: Vec<_> = self.wait(
            || "list the neighbors".into(),
            self.handle.neighbours().get().execute().try_collect(),
        )?;
        Ok(messages.iter().filter_map(Neighbor::read).collect())
    }

    /// Adds or replaces a permanent entry.
    ///
    /// # Errors
    /// There is no such interface, or the address is none it can reach.
    pub fn set_neighbor(&self, index: u32, address: IpAddr, mac: [u8; 6]) -> Result<()> {
        let request = self
            .handle
            .neighbours()
            .add(index, address)
            .state(NeighbourState::Permanent)
            .link_layer_address(&mac)
            .replace();
        let action = || format!("set the neighbor {address} of the interface number {index}");
        self.wait(action, request.execute())
    }

    /// Removes an entry. Returns `false` when there was none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_neighbor(&self, index: u32, address: IpAddr) -> Result<bool> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let destination = match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        };
        message
            .attributes
            .push(NeighbourAttribute::Destination(destination));
        let action = || format!("remove the neighbor {address} of the interface number {index}");
        match self.wait(action, self.handle.neighbours().del(message).execute()) {
            Err(e) if e.os_error() == Some(libc::ENOENT) => Ok(false),
            other => other.map(|()| true),
        }
    }
}

impl Neighbor {
    fn read(message: &NeighbourMessage) -> Option<Self> {
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::V4(*v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(*v6));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = bytes.as_slice().try_into().ok();
                }
                _ => {}
            }
        }
        Some(Self {
            interface: message.header.ifindex,
            address: address?,
            mac: mac?,
            permanent: message.header.state == NeighbourState::Permanent,
        })
    }
}
