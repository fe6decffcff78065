//! The numbers of the protocols inside IP, and their names (IANA protocol numbers).

use std::fmt;

macro_rules! protocols {
    ($($constant:ident $number:literal $name:literal $doc:literal,)*) => {
        $(#[doc = $doc] pub const $constant: u8 = $number;)*

        /// Number and name of each protocol that has a name here, by number.
        pub const NAMED: &[(u8, &str)] = &[$(($number, $name),)*];
    };
}

protocols! {
    ICMP 1 "icmp" "ICMP for IPv4 (RFC 792).",
    IPIP 4 "ipip" "IPv4 in IP (RFC 2003).",
    TCP 6 "tcp" "TCP (RFC 9293).",
    UDP 17 "udp" "UDP (RFC 768).",
    ICMPV6 58 "icmpv6" "ICMP for IPv6 (RFC 4443).",
    SCTP 132 "sctp" "SCTP (RFC 9260).",
    UDPLITE 136 "udplite" "UDP-Lite (RFC 3828).",
}

/// IPv6 hop-by-hop options (RFC 8200 section 4.3).
pub const HOP_BY_HOP: u8 = 0;
/// IPv6 routing header (RFC 8200 section 4.4).
pub const ROUTING: u8 = 43;
/// IPv6 fragment header (RFC 8200 section 4.5).
pub const FRAGMENT: u8 = 44;
/// Authentication header (RFC 4302).
pub const AUTHENTICATION: u8 = 51;
/// IPv6 destination options (RFC 8200 section 4.6).
pub const DESTINATION: u8 = 60;

/// The name of a protocol, in lower case.
pub fn name(number: u8) -> Option<&'static str> {
    let found = NAMED.iter().find(|(known, _)| *known == number);
    found.map(|(_, name)| *name)
}

/// The number of a protocol by its name, in any case.
pub fn number(name: &str) -> Option<u8> {
    let found = NAMED
        .iter()
        .find(|(_, known)| known.eq_ignore_ascii_case(name));
    found.map(|(number, _)| *number)
}

/// Whether the transport header begins with two ports.
pub const fn has_ports(number: u8) -> bool {
    matches!(number, TCP | UDP | SCTP | UDPLITE)
}

/// Whether it is ICMP of either family.
pub const fn is_icmp(number: u8) -> bool {
    matches!(number, ICMP | ICMPV6)
}

/// Where in the transport header the checksum stands, of the protocols a card may sum.
#[inline]
pub const fn checksum_offset(number: u8) -> Option<u16> {
    match number {
        TCP => Some(16),
        UDP => Some(6),
        _ => None,
    }
}

/// A protocol number, printed by its name where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(pub u8);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some(name) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}
