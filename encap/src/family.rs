//! The two families of IP: RFC 791 and RFC 8200.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// IPv4 or IPv6; `4` or `6` where it is serialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A number or text that names no family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an IP family is 4 or 6, not {0}")]
pub struct UnknownFamily(String);

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family that the first byte of a packet states; `None` for any other.
    pub fn of_packet(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// The version number: 4 or 6.
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// Bytes of the IP header without options and extension headers.
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 => crate::ip::IPV4_HEADER,
            Self::V6 => crate::ip::IPV6_HEADER,
        }
    }

    /// Whether `address` belongs to it.
    pub fn contains(self, address: &IpAddr) -> bool {
        self == Self::from(address)
    }

    /// This and no other.
    pub const fn is_v6(self) -> bool {
        match self {
            Self::V4 => false,
            Self::V6 => true,
        }
    }
}

impl From<&IpAddr> for Family {
    fn from(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        Self::from(&address)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl TryFrom<u8> for Family {
    type Error = UnknownFamily;

    fn try_from(number: u8) -> Result<Self, UnknownFamily> {
        match number {
            4 => Ok(Self::V4),
            6 => Ok(Self::V6),
            _ => Err(UnknownFamily(number.to_string())),
        }
    }
}

impl FromStr for Family {
    type Err = UnknownFamily;

    /// `4` or `6`.
    fn from_str(text: &str) -> Result<Self, UnknownFamily> {
        match text {
            "4" => Ok(Self::V4),
            "6" => Ok(Self::V6),
            _ => Err(UnknownFamily(format!("{text:?}"))),
        }
    }
}

impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for Family {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(u8::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
