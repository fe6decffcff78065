//! The addressing plan: underlay subnets, pools, blocks, tunnel and pod addresses.
//!
//! The pools are 10.65.0.0/16 in blocks of /26 and fd00:65::/112 in blocks of /122, so both hold
//! 1,024 blocks of 64 addresses. A node has as many blocks as its pods need, in a row; its tunnel
//! addresses are the first of its first block, its pods have the following ones.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use encap::Family;
use serde::{Deserialize, Serialize};

/// The pool of pod addresses, IPv4.
pub const POOL_V4: &str = "10.65.0.0/16";
/// The pool of pod addresses, IPv6.
pub const POOL_V6: &str = "fd00:65::/112";
/// Prefix length of an IPv4 block.
pub const BLOCK_V4: u8 = 26;
/// Prefix length of an IPv6 block.
pub const BLOCK_V6: u8 = 122;
/// Addresses in a block.
pub const BLOCK_SIZE: usize = 64;
/// The gateway of every pod, IPv4.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The gateway of every pod, IPv6: the link-local address of [`GATEWAY_MAC`].
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);
/// The gateway's Ethernet address.
pub const GATEWAY_MAC: Mac = Mac([0xee; 6]);

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no Ethernet address"))
    }
}

/// An address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Prefix {
    /// The address, host bits and all.
    pub address: IpAddr,
    /// Bits of the network.
    pub length: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.split_once('/')
            .and_then(|(address, length)| {
                Some(Self {
                    address: address.parse().ok()?,
                    length: length.parse().ok()?,
                })
            })
            .ok_or_else(|| format!("{text:?} is no prefix"))
    }
}

/// One of the underlay's subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subnet(pub u8);

impl Subnet {
    /// The network, IPv4.
    pub fn v4(self) -> Prefix {
        Prefix {
            address: Ipv4Addr::new(172, 16, self.0, 0).into(),
            length: 24,
        }
    }

    /// The network, IPv6.
    pub fn v6(self) -> Prefix {
        Prefix {
            address: self.host_v6(0).into(),
            length: 64,
        }
    }

    /// The router's address, IPv4.
    pub fn router_v4(self) -> Ipv4Addr {
        Ipv4Addr::new(172, 16, self.0, 1)
    }

    /// The router's address, IPv6.
    pub fn router_v6(self) -> Ipv6Addr {
        self.host_v6(1)
    }

    fn host_v6(self, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x16, u16::from(self.0), 0, 0, 0, 0, host)
    }
}

/// The underlay address of node `node`, IPv4.
pub fn node_v4(subnet: Subnet, node: usize) -> Prefix {
    Prefix {
        address: Ipv4Addr::new(172, 16, subnet.0, low_byte(10 + node)).into(),
        length: 24,
    }
}

/// The underlay address of node `node`, IPv6.
pub fn node_v6(subnet: Subnet, node: usize) -> Prefix {
    Prefix {
        address: subnet.host_v6(0x10 + u16::from(low_byte(node))).into(),
        length: 64,
    }
}

/// How many blocks a node with this many pods has.
pub fn blocks_per_node(pods: usize) -> usize {
    (pods + 1).div_ceil(BLOCK_SIZE)
}

/// Block `block` of the pool, counted from zero.
pub fn block(block: usize, family: Family) -> Prefix {
    let length = if family.is_v6() { BLOCK_V6 } else { BLOCK_V4 };
    Prefix {
        address: in_pool(block * BLOCK_SIZE, family),
        length,
    }
}

/// Address `index` of node `node`: zero is the tunnel's, `n` that of pod `n`.
pub fn of_node(node: usize, pods: usize, index: usize, family: Family) -> IpAddr {
    in_pool(
        (node - 1) * blocks_per_node(pods) * BLOCK_SIZE + index,
        family,
    )
}

fn in_pool(index: usize, family: Family) -> IpAddr {
    let index = u16::try_from(index).expect("Spec::check and Lab::plan keep pods within the pool");
    let [high, low] = index.to_be_bytes();
    if family.is_v6() {
        Ipv6Addr::new(0xfd00, 0x65, 0, 0, 0, 0, 0, index).into()
    } else {
        Ipv4Addr::new(10, 65, high, low).into()
    }
}

/// The Ethernet address of pod `pod` of node `node`.
pub fn pod_mac(node: usize, pod: usize) -> Mac {
    let [high, low] = u16::try_from(pod).expect("at most 1000 pods").to_be_bytes();
    Mac([0x02, 0x65, 0, low_byte(node), high, low])
}

/// The Ethernet address of node `node` on the underlay.
pub fn node_mac(node: usize) -> Mac {
    Mac([0x02, 0x16, 0, 0, 0, low_byte(node)])
}

/// The inner Ethernet address of node `node`'s VXLAN tunnel end.
pub fn vtep_mac(node: usize, family: Family) -> Mac {
    Mac([0x66, 0x65, 0, 0, u8::from(family.is_v6()), low_byte(node)])
}

fn low_byte(value: usize) -> u8 {
    u8::try_from(value).expect("at most 200 nodes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_pods_do_not_overlap() {
        assert_eq!(of_node(1, 2, 0, Family::V4).to_string(), "10.65.0.0");
        assert_eq!(of_node(1, 2, 1, Family::V4).to_string(), "10.65.0.1");
        assert_eq!(of_node(2, 2, 0, Family::V4).to_string(), "10.65.0.64");
        assert_eq!(of_node(2, 2, 1, Family::V6).to_string(), "fd00:65::41");
        assert_eq!(blocks_per_node(63), 1);
        assert_eq!(blocks_per_node(64), 2);
        assert_eq!(of_node(2, 64, 0, Family::V4), block(2, Family::V4).address);
        assert_eq!(block(3, Family::V6).to_string(), "fd00:65::c0/122");
    }

    #[test]
    fn text_forms_read_back() {
        let prefix = node_v4(Subnet(1), 1);
        assert_eq!(prefix.to_string(), "172.16.1.11/24");
        assert_eq!(Prefix::try_from(prefix.to_string()).unwrap(), prefix);
        assert_eq!(Mac::try_from(GATEWAY_MAC.to_string()).unwrap(), GATEWAY_MAC);
    }
}
