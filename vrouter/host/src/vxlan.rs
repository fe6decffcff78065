//! The kernel's VXLAN devices (RFC 7348), by the UDP port they have.

use nix::sys::socket::SockProtocol;

use crate::netlink::{dump, find, text};

const RTM_GETLINK: u16 = 18;
/// `struct ifinfomsg`.
const LINK: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VXLAN_PORT: u16 = 15;

/// The names of the VXLAN devices on a port.
pub fn devices(port: u16) -> Vec<String> {
    let links = dump(SockProtocol::NetlinkRoute, RTM_GETLINK, &[0; LINK]).unwrap_or_default();
    let on_port = |link: &Vec<u8>| {
        let attributes = link.get(LINK..)?;
        let info = find(attributes, IFLA_LINKINFO)?;
        if text(find(info, IFLA_INFO_KIND)?) != "vxlan" {
            return None;
        }
        let has = find(find(info, IFLA_INFO_DATA)?, IFLA_VXLAN_PORT)?;
        let name = text(find(attributes, IFLA_IFNAME)?);
        (has == port.to_be_bytes()).then_some(name)
    };
    links.iter().filter_map(on_port).collect()
}
