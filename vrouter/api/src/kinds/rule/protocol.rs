//! Protocols, ports and ICMP types as rules write them.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::names::check_port_name;
use crate::place::Place;

/// An IP protocol number, 1–255; printed by name where Calico has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(u8);

const NAMES: &[(&str, u8)] = &[
    ("ICMP", 1),
    ("TCP", 6),
    ("UDP", 17),
    ("ICMPv6", 58),
    ("SCTP", 132),
    ("UDPLite", 136),
];

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Protocol = Protocol(1);
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Protocol = Protocol(58);
    /// SCTP.
    pub const SCTP: Protocol = Protocol(132);
    /// UDP-Lite.
    pub const UDP_LITE: Protocol = Protocol(136);

    /// The number as in the IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Whether rules can name its ports: TCP, UDP, SCTP.
    #[must_use]
    pub fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
    }

    pub(crate) fn read(place: &Place<'_>) -> Option<Protocol> {
        let text = place.text()?;
        let named = NAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some((_, number)) => Some(*number),
            None => text.parse().ok().filter(|number| *number != 0),
        };
        if number.is_none() {
            place.error("must be TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number in 1–255");
        }
        number.map(Protocol)
    }
}

impl From<Protocol> for policy::model::Protocol {
    fn from(protocol: Protocol) -> policy::model::Protocol {
        protocol
            .0
            .try_into()
            .expect("both types hold exactly the numbers 1 to 255")
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => serializer.serialize_str(name),
            None => serializer.serialize_u8(self.0),
        }
    }
}

/// Ports of a rule: a number, a range or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortMatch {
    /// From the first to the last, both included.
    Range(u16, u16),
    /// The port of that name at each endpoint the rule selects.
    Named(String),
}

impl PortMatch {
    pub(crate) fn read(place: &Place<'_>) -> Option<PortMatch> {
        let text = place.text()?;
        if let Ok(port) = text.parse() {
            if port == 0 {
                place.fault("port range invalid, port number must be between 1 and 65535");
            }
            return Some(PortMatch::Range(port, port));
        }
        if let Some((low, high)) = text.split_once(':') {
            if let (Ok(low), Ok(high)) = (low.parse::<u16>(), high.parse::<u16>())
                && low <= high
            {
                if low == 0 {
                    place.fault("port range invalid, port number must be between 1 and 65535");
                }
                return Some(PortMatch::Range(low, high));
            }
        } else if !text.bytes().all(|b| b.is_ascii_digit()) && check_port_name(text).is_ok() {
            return Some(PortMatch::Named(text.to_owned()));
        }
        place.error("must be a port in 1–65535, a range such as 8000:8080, or a port's name");
        None
    }
}

impl Serialize for PortMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PortMatch::Range(low, high) if low == high => serializer.serialize_u16(*low),
            PortMatch::Range(low, high) => serializer.collect_str(&format_args!("{low}:{high}")),
            PortMatch::Named(name) => serializer.serialize_str(name),
        }
    }
}

/// An ICMP type, and perhaps a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Icmp {
    /// The type; absent: any.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    /// The code; absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}

impl Icmp {
    pub(crate) fn read(place: &Place<'_>) -> Option<Icmp> {
        let fields = place.fields()?;
        let kind = fields
            .optional("type")
            .map(|place| place.integer(0..=254u8));
        let code = fields
            .optional("code")
            .map(|place| place.integer(0..=255u8));
        if code.is_some() && kind.is_none() {
            fields.error_at("code", "needs a type beside it");
        }
        fields.finish();
        Some(Icmp {
            kind: kind.flatten(),
            code: code.flatten(),
        })
    }
}
