//! Veth pairs between a namespace and another (`veth(4)`).

use std::os::fd::AsRawFd;

use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::Link;
use crate::error::Result;
use crate::netns::Netns;

/// One end of a pair that is to be.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    pub name: &'a str,
    /// Ethernet address; `None`: what the kernel chooses.
    pub mac: Option<[u8; 6]>,
    pub mtu: u32,
}

impl Link {
    /// Makes a veth, down, with one end here and the other in `netns`.
    ///
    /// # Errors
    /// A name is taken, or the kernel refuses.
    pub fn add_veth(&self, here: End<'_>, there: End<'_>, netns: &Netns) -> Result<()> {
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(there.name.to_owned())
            .mtu(there.mtu);
        if let Some(mac) = there.mac {
            peer = peer.address(mac.to_vec());
        }
        let mut peer = peer.build();
        let file = netns.file().as_raw_fd();
        peer.attributes.push(LinkAttribute::NetNsFd(file));
        let mut pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(here.name.to_owned())
            .mtu(here.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        if let Some(mac) = here.mac {
            pair = pair.address(mac.to_vec());
        }
        let action = || {
            let (here, there) = (here.name, there.name);
            format!("make the veth {here} with the other end {there} in {netns}")
        };
        self.wait(action, self.handle.link().add(pair.build()).execute())
    }

    /// Removes an interface, of a veth both ends. Returns `false` when there was none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_interface(&self, index: u32) -> Result<bool> {
        let action = || format!("remove the interface number {index}");
        match self.wait(action, self.handle.link().del(index).execute()) {
            Err(error) if error.os_error() == Some(libc::ENODEV) => Ok(false),
            other => other.map(|()| true),
        }
    }
}
