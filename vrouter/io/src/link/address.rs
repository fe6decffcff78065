//! Addresses of interfaces.

use std::net::IpAddr;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};

use super::{Interface, Link};
use crate::error::Result;

/// An address and the interface it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub interface: u32,
    /// The address with the length of its on-link prefix.
    pub address: IpNet,
}

impl Link {
    /// All addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn addresses(&self) -> Result<Vec<Address>> {
        let messages: Vec<_> = self.wait(
            || "list the addresses".into(),
            self.handle.address().get().execute().try_collect(),
        )?;
        Ok(messages.iter().filter_map(Address::read).collect())
    }

    /// The interface that holds `address`, and with which prefix length.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn holder(&self, address: IpAddr) -> Result<Option<(Interface, Address)>> {
        let found = self
            .addresses()?
            .into_iter()
            .find(|held| held.address.addr() == address);
        let Some(held) = found else { return Ok(None) };
        Ok(self
            .interface_at(held.interface)?
            .map(|interface| (interface, held)))
    }

    /// Gives interface `index` the address, ready at once (no duplicate address detection, RFC
    /// 4862). Returns `false` when it had it already.
    ///
    /// # Errors
    /// There is no such interface, or it takes no such address.
    pub fn add_address(&self, index: u32, address: IpNet) -> Result<bool> {
        let mut request = self
            .handle
            .address()
            .add(index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            request.message_mut().attributes.push(flags);
        }
        let action = || format!("add the address {address} to the interface number {index}");
        match self.wait(action, request.execute()) {
            Err(e) if e.os_error() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Takes the address from interface `index`. Returns `false` when it did not have it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_address(&self, index: u32, address: IpNet) -> Result<bool> {
        let message = self
            .handle
            .address()
            .add(index, address.addr(), address.prefix_len())
            .message_mut()
            .clone();
        let action = || format!("remove the address {address} from the interface number {index}");
        match self.wait(action, self.handle.address().del(message).execute()) {
            Err(e) if matches!(e.os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(false),
            other => other.map(|()| true),
        }
    }
}

impl Address {
    /// `None` for what is no unicast IP address.
    pub(crate) fn read(message: &AddressMessage) -> Option<Self> {
        // On a point-to-point interface ADDRESS is the peer's and LOCAL ours; IPv6 has no LOCAL
        // otherwise.
        let mut local = None;
        let mut address = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                _ => {}
            }
        }
        let ip = local.or(address)?;
        let address = IpNet::new(ip, message.header.prefix_len).ok()?;
        Some(Self {
            interface: message.header.index,
            address,
        })
    }
}
