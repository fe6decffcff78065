//! The beginning of a packet that an ICMP error quotes: RFC 792, RFC 1812 section 4.3.2.3.

use std::net::IpAddr;

use super::{Ends, Layers, Part};
use crate::bytes::u16_at;
use crate::{icmp, protocol};

/// The flow of a quoted packet, of whose transport only eight bytes may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Upper-layer protocol.
    pub protocol: u8,
    /// Source port, or ICMP identifier, or 0.
    pub source_port: u16,
    /// Destination port, or ICMP identifier, or 0.
    pub destination_port: u16,
    /// For ICMP, type and code of the query that started the flow.
    pub icmp: Option<(u8, u8)>,
}

impl Quoted {
    /// Reads the quoted bytes; `None` when they do not say which flow they are of.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let layers = Layers::parse_quoted(bytes).ok()?;
        if layers.part == Part::Later {
            return None;
        }
        let transport: &[u8; 8] = bytes.get(layers.l4..layers.end)?.first_chunk()?;
        let number = layers.protocol;
        let (source, destination) = Ends::of_header(bytes, layers.family)?.addresses();
        let (source_port, destination_port) = if protocol::has_ports(number) {
            (u16_at(transport, 0), u16_at(transport, 2))
        } else if protocol::is_icmp(number) {
            let identifier = u16_at(transport, 4);
            (identifier, identifier)
        } else {
            (0, 0)
        };
        let icmp =
            protocol::is_icmp(number).then(|| icmp::query(number, transport[0], transport[1]));
        Some(Self {
            source,
            destination,
            protocol: number,
            source_port,
            destination_port,
            icmp,
        })
    }
}
