//! What of a packet policy looks at.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{IpVersion, Protocol};

/// The fields of a packet's headers that rules can match. Both addresses are of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketTuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number of the IP header, after IPv6 extension headers.
    pub protocol: u8,
    /// Source port, 0 when the protocol has none.
    pub source_port: u16,
    /// Destination port, 0 when the protocol has none.
    pub destination_port: u16,
    /// ICMP or ICMPv6 type, 0 in other protocols.
    pub icmp_type: u8,
    /// ICMP or ICMPv6 code, 0 in other protocols.
    pub icmp_code: u8,
}

impl PacketTuple {
    /// A packet of a protocol without ports.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            source_port: 0,
            destination_port: 0,
            icmp_type: 0,
            icmp_code: 0,
        }
    }

    /// The packet with ports.
    #[must_use]
    pub fn with_ports(mut self, source: u16, destination: u16) -> Self {
        (self.source_port, self.destination_port) = (source, destination);
        self
    }

    /// The packet with an ICMP type and code.
    #[must_use]
    pub fn with_icmp(mut self, kind: u8, code: u8) -> Self {
        (self.icmp_type, self.icmp_code) = (kind, code);
        self
    }

    /// Whether its protocol is ICMP or ICMPv6.
    #[must_use]
    pub fn is_icmp(&self) -> bool {
        [Protocol::ICMP, Protocol::ICMPV6]
            .map(Protocol::number)
            .contains(&self.protocol)
    }

    /// The version of its addresses.
    #[must_use]
    pub fn ip_version(&self) -> IpVersion {
        match self.source {
            IpAddr::V4(_) => IpVersion::V4,
            IpAddr::V6(_) => IpVersion::V6,
        }
    }
}

impl fmt::Display for PacketTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} -> {} protocol {} ports {} -> {}",
            self.source, self.destination, self.protocol, self.source_port, self.destination_port
        )
    }
}
