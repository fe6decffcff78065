//! Protocols, ports and ICMP types as rules write them.

use policy::model::{PortMatch, PortName, PortRange, Protocol};
use serde::Serialize;

use crate::names::check_port_name;
use crate::place::Place;

pub(crate) fn protocol(place: &Place<'_>) -> Option<Protocol> {
    place.parse("TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number in 1–255")
}

/// Ports of a rule: a number, a range or a name.
pub(crate) fn port(place: &Place<'_>) -> Option<PortMatch> {
    let text = place.text()?;
    let range = match text.split_once(':') {
        Some((low, high)) => low.parse().ok().zip(high.parse().ok()),
        None => text.parse().ok().map(|port: u16| (port, port)),
    };
    let range = range.and_then(|(low, high)| PortRange::new(low, high).ok());
    if let Some(range) = range {
        if range.first() == 0 {
            place.fault("port range invalid, port number must be between 1 and 65535");
        }
        return Some(PortMatch::Range(range));
    }
    let name = check_port_name(text).ok().and(PortName::new(text).ok());
    if name.is_none() {
        place.error("must be a port in 1–65535, a range such as 8000:8080, or a port's name");
    }
    name.map(PortMatch::Named)
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
