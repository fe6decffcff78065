//! IP versions, protocols, ICMP matches and ports, as rules name them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::Invalid;

/// IP version a rule is limited to, 4 or 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl TryFrom<u8> for IpVersion {
    type Error = Invalid;
    fn try_from(version: u8) -> Result<Self, Invalid> {
        match version {
            4 => Ok(Self::V4),
            6 => Ok(Self::V6),
            _ => Err(Invalid::new("", version, "an IP version is 4 or 6")),
        }
    }
}

impl From<IpVersion> for u8 {
    fn from(version: IpVersion) -> Self {
        match version {
            IpVersion::V4 => 4,
            IpVersion::V6 => 6,
        }
    }
}

/// A number or a text, as `protocol` and `ports` accept both.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}

/// An IP protocol number, 1 to 255 (IANA protocol numbers).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub struct Protocol(u8);

impl Protocol {
    /// TCP, 6.
    pub const TCP: Self = Self(6);
    /// UDP, 17.
    pub const UDP: Self = Self(17);
    /// ICMP, 1.
    pub const ICMP: Self = Self(1);
    /// ICMPv6, 58.
    pub const ICMPV6: Self = Self(58);
    /// SCTP, 132.
    pub const SCTP: Self = Self(132);
    /// UDP-Lite, 136.
    pub const UDPLITE: Self = Self(136);

    /// The number as in the IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether rules of this protocol may name ports. Calico allows TCP, UDP and SCTP alone.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    /// Whether rules of this protocol may name ICMP types.
    #[must_use]
    pub const fn is_icmp(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }
}

impl TryFrom<u8> for Protocol {
    type Error = Invalid;
    fn try_from(number: u8) -> Result<Self, Invalid> {
        match number {
            0 => Err(Invalid::new("", number, "a protocol number is 1 to 255")),
            number => Ok(Self(number)),
        }
    }
}

impl FromStr for Protocol {
    type Err = Invalid;
    /// Accepts the names in any case, or a number in decimal.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Ok(number) = text.parse::<u8>() {
            return Self::try_from(number);
        }
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::TCP),
            "udp" => Ok(Self::UDP),
            "icmp" => Ok(Self::ICMP),
            "icmpv6" => Ok(Self::ICMPV6),
            "sctp" => Ok(Self::SCTP),
            "udplite" => Ok(Self::UDPLITE),
            _ => Err(Invalid::new(
                "",
                text,
                "a protocol is TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255",
            )),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => f.write_str("TCP"),
            Self::UDP => f.write_str("UDP"),
            Self::ICMP => f.write_str("ICMP"),
            Self::ICMPV6 => f.write_str("ICMPv6"),
            Self::SCTP => f.write_str("SCTP"),
            Self::UDPLITE => f.write_str("UDPLite"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol({self})")
    }
}

impl TryFrom<NumberOrText> for Protocol {
    type Error = Invalid;
    fn try_from(protocol: NumberOrText) -> Result<Self, Invalid> {
        match protocol {
            NumberOrText::Number(number) => u8::try_from(number)
                .map_err(|_| Invalid::new("", number, "a protocol number is 1 to 255"))
                .and_then(Self::try_from),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl Serialize for Protocol {
    /// A number where the protocol has no name, as Calico writes it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::TCP | Self::UDP | Self::ICMP | Self::ICMPV6 | Self::SCTP | Self::UDPLITE => {
                serializer.collect_str(self)
            }
            Self(number) => serializer.serialize_u8(number),
        }
    }
}

/// An ICMP type and perhaps a code (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct IcmpMatch {
    kind: u8,
    code: Option<u8>,
}

impl IcmpMatch {
    /// A match on `kind` (the ICMP type, 0 to 254) and, if given, `code`.
    pub fn new(kind: u8, code: Option<u8>) -> Result<Self, Invalid> {
        if kind == 255 {
            return Err(Invalid::new("type", kind, "an ICMP type is 0 to 254"));
        }
        Ok(Self { kind, code })
    }

    /// The ICMP type.
    #[must_use]
    pub fn kind(self) -> u8 {
        self.kind
    }

    /// The code, if the match names one.
    #[must_use]
    pub fn code(self) -> Option<u8> {
        self.code
    }

    /// Whether a packet of this type and code is meant.
    #[must_use]
    pub fn matches(self, kind: u8, code: u8) -> bool {
        self.kind == kind && self.code.is_none_or(|wanted| wanted == code)
    }
}

impl fmt::Display for IcmpMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "type {} code {code}", self.kind),
            None => write!(f, "type {}", self.kind),
        }
    }
}

/// An inclusive range of ports; a single port is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports from `first` to `last`, both included.
    pub fn new(first: u16, last: u16) -> Result<Self, Invalid> {
        if first > last {
            return Err(Invalid::new(
                "",
                format!("{first}:{last}"),
                "a port range begins with its lower end",
            ));
        }
        Ok(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` lies in the range.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

/// What a rule's `ports` lists: numbers, or a name that endpoints give to ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub enum PortMatch {
    /// Ports by number.
    Range(PortRange),
    /// Ports by the name that the matched endpoints give them.
    Named(PortName),
}

impl FromStr for PortMatch {
    type Err = Invalid;
    /// `80`, `8000:9000` or a port name.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let port = |digits: &str| {
            digits
                .parse::<u16>()
                .map_err(|_| Invalid::new("", text, "a port number is 0 to 65535"))
        };
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self::Range(port(text)?.into()));
        }
        if let Some((first, last)) = text.split_once(':') {
            return Ok(Self::Range(PortRange::new(port(first)?, port(last)?)?));
        }
        Ok(Self::Named(PortName::new(text)?))
    }
}

impl From<u16> for PortMatch {
    fn from(port: u16) -> Self {
        Self::Range(port.into())
    }
}

impl TryFrom<NumberOrText> for PortMatch {
    type Error = Invalid;
    fn try_from(port: NumberOrText) -> Result<Self, Invalid> {
        match port {
            NumberOrText::Number(number) => u16::try_from(number)
                .map(Self::from)
                .map_err(|_| Invalid::new("", number, "a port number is 0 to 65535")),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl Serialize for PortMatch {
    /// A single port is a number, everything else a text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Range(range) if range.first() == range.last() => {
                serializer.serialize_u16(range.first())
            }
            Self::Range(_) | Self::Named(_) => serializer.collect_str(self),
        }
    }
}

impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Named(name) => name.fmt(f),
        }
    }
}

/// The name of a port: 1 to 128 of `[a-zA-Z0-9_.-]`, not all digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortName(std::sync::Arc<str>);

impl PortName {
    /// Parses a port name.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if name.is_empty() || name.len() > 128 || !name.bytes().all(legal) {
            return Err(Invalid::new(
                "",
                name,
                "a port name is 1 to 128 of [a-zA-Z0-9_.-]",
            ));
        }
        if name.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Invalid::new("", name, "a port name is not a number"));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for PortName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_by_name_and_number() {
        for (text, number) in [
            ("TCP", 6),
            ("icmpv6", 58),
            ("UDPLite", 136),
            ("17", 17),
            ("255", 255),
        ] {
            assert_eq!(text.parse::<Protocol>().unwrap().number(), number);
        }
        for text in ["0", "256", "-1", "tcpp", ""] {
            assert!(text.parse::<Protocol>().is_err(), "{text}");
        }
        assert_eq!(Protocol::ICMPV6.to_string(), "ICMPv6");
    }

    #[test]
    fn ports_by_number_range_and_name() {
        assert_eq!("80".parse::<PortMatch>().unwrap(), 80.into());
        let range = "8000:9000".parse::<PortMatch>().unwrap();
        assert_eq!(range, PortMatch::Range(PortRange::new(8000, 9000).unwrap()));
        assert_eq!(range.to_string(), "8000:9000");
        assert!(matches!(
            "http".parse::<PortMatch>().unwrap(),
            PortMatch::Named(_)
        ));
        for text in ["", "65536", "9:8", "a:b", "ht tp", "80:"] {
            assert!(text.parse::<PortMatch>().is_err(), "{text}");
        }
    }

    #[test]
    fn icmp_type_255_is_no_type() {
        assert!(IcmpMatch::new(255, None).is_err());
        assert!(IcmpMatch::new(8, None).unwrap().matches(8, 3));
        assert!(!IcmpMatch::new(8, Some(0)).unwrap().matches(8, 3));
    }
}
