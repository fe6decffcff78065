//! ICMP of both families: RFC 792, RFC 4443.
//!
//! Owns what a message's type makes of it to a flow table, the errors a router sends, and the
//! answer to an echo request, and of a received error the packet it quotes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{Ipv4Packet, Ipv6Packet};

use crate::bytes::{array_at, put_u16, put_u32, u16_at};
use crate::checksum::{Sum, ipv4_header, sum, update_u16};
use crate::ip::{Ends, Headers, Repr, Transport};
use crate::{Family, protocol};

/// Bytes of a message's header.
pub const HEADER_LEN: usize = 8;

/// Internetwork control precedence, as Linux marks its errors.
const TOS: u8 = 0xc0;

/// Classifies a message; `None` for ICMP of the other IP family.
#[inline]
pub fn transport(number: u8, family: Family, kind: u8, code: u8) -> Option<Transport> {
    Some(match (number, family) {
        (protocol::ICMP, Family::V4) => match kind {
            // Echo and timestamp, request and reply (RFC 792).
            0 | 8 | 13 | 14 => Transport::IcmpQuery { kind, code },
            // Unreachable, source quench, redirect, time exceeded, parameter problem.
            3 | 4 | 5 | 11 | 12 => Transport::IcmpError { kind, code },
            _ => Transport::IcmpOther { kind, code },
        },
        (protocol::ICMPV6, Family::V6) => match kind {
            // Echo request and reply (RFC 4443).
            128 | 129 => Transport::IcmpQuery { kind, code },
            0..=127 => Transport::IcmpError { kind, code },
            _ => Transport::IcmpOther { kind, code },
        },
        _ => return None,
    })
}

/// Type and code of the query that a message asks or answers.
pub fn query(number: u8, kind: u8, code: u8) -> (u8, u8) {
    match (number, kind) {
        (protocol::ICMP, 0) => (8, code),
        (protocol::ICMP, 14) => (13, code),
        (protocol::ICMPV6, 129) => (128, code),
        (_, kind) => (kind, code),
    }
}

/// Whether a query is the answer to one.
pub fn is_reply(kind: u8) -> bool {
    matches!(kind, 0 | 14 | 129)
}

/// Whether a query is an echo request.
pub fn is_echo_request(kind: u8) -> bool {
    matches!(kind, 8 | 128)
}

/// Whether an ICMPv6 message is of neighbor discovery (RFC 4861 section 4).
pub fn is_discovery(kind: u8) -> bool {
    matches!(kind, 133..=137)
}

/// Destination Unreachable, Fragmentation Needed.
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// Packet Too Big; of ICMPv6.
const PACKET_TOO_BIG: u8 = 2;

/// The errors a router sends about a packet it does not forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Time exceeded in transit.
    TimeExceeded,
    /// No route to the destination.
    NetUnreachable,
    /// Fragmentation needed, or packet too big, with the next link's MTU.
    TooBig {
        /// Bytes of the largest packet.
        mtu: u16,
    },
}

impl Error {
    /// Type, code, and the second half of the header.
    fn fields(self, family: Family) -> (u8, u8, u32) {
        match (self, family) {
            (Self::TimeExceeded, Family::V4) => (11, 0, 0),
            (Self::TimeExceeded, Family::V6) => (3, 0, 0),
            (Self::NetUnreachable, Family::V4) => (3, 0, 0),
            (Self::NetUnreachable, Family::V6) => (1, 0, 0),
            (Self::TooBig { mtu }, Family::V4) => (3, 4, u32::from(mtu)),
            (Self::TooBig { mtu }, Family::V6) => (2, 0, u32::from(mtu)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeExceeded => f.write_str("time exceeded"),
            Self::NetUnreachable => f.write_str("network unreachable"),
            Self::TooBig { mtu } => write!(f, "packet too big for an MTU of {mtu}"),
        }
    }
}

/// An error with its IP header, about a packet it quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRepr<'a> {
    /// From the router to the sender of the packet.
    ends: Ends,
    error: Error,
    quote: &'a [u8],
}

impl<'a> ErrorRepr<'a> {
    /// An error about `offending`, an IP packet, of which as much is quoted as may be.
    pub fn new(ends: Ends, error: Error, offending: &'a [u8]) -> Self {
        // RFC 1812 section 4.3.2.3; RFC 4443 section 2.4 (the minimum MTU).
        let longest = match ends.family() {
            Family::V4 => 576,
            Family::V6 => 1280,
        };
        let most = longest - ends.family().header_len() - HEADER_LEN;
        Self {
            ends,
            error,
            quote: &offending[..offending.len().min(most)],
        }
    }

    /// Bytes [`emit`](Self::emit) writes.
    pub fn buffer_len(&self) -> usize {
        self.ends.family().header_len() + HEADER_LEN + self.quote.len()
    }

    /// Writes the packet to the start of `out`.
    ///
    /// # Panics
    /// When `out` is shorter than [`buffer_len`](Self::buffer_len).
    pub fn emit(&self, out: &mut [u8]) {
        let family = self.ends.family();
        let number = match family {
            Family::V4 => protocol::ICMP,
            Family::V6 => protocol::ICMPV6,
        };
        let length = HEADER_LEN + self.quote.len();
        let header = Repr {
            tos: TOS,
            ..Repr::new(self.ends, number, length)
        };
        header.emit(out);
        let message = &mut out[header.buffer_len()..header.buffer_len() + length];
        let (kind, code, word) = self.error.fields(family);
        message[..4].copy_from_slice(&[kind, code, 0, 0]);
        put_u32(message, 4, word);
        message[HEADER_LEN..].copy_from_slice(self.quote);
        let pseudo = match family {
            Family::V4 => Sum::ZERO,
            Family::V6 => self.ends.pseudo_header(number, length),
        };
        let checksum = (pseudo + sum(message)).checksum();
        put_u16(message, 2, checksum);
    }
}

/// Turns the echo request in `packet`, which `headers` was parsed from, into the reply to it.
pub fn reply_to_echo(headers: &Headers, packet: &mut [u8]) {
    let Some((header, message)) = packet.split_at_mut_checked(headers.transport_at) else {
        return;
    };
    let (Some(ends), Some(message)) = (headers.ends(), message.first_chunk_mut::<HEADER_LEN>())
    else {
        return;
    };
    let reply = match ends {
        Ends::V4(source, destination) => {
            let mut ip = Ipv4Packet::new_unchecked(&mut *header);
            ip.set_src_addr(destination);
            ip.set_dst_addr(source);
            ip.set_hop_limit(Repr::TTL);
            let checksum = ipv4_header(header);
            Ipv4Packet::new_unchecked(header).set_checksum(checksum);
            0
        }
        Ends::V6(source, destination) => {
            let mut ip = Ipv6Packet::new_unchecked(header);
            ip.set_src_addr(destination);
            ip.set_dst_addr(source);
            ip.set_hop_limit(Repr::TTL);
            129
        }
    };
    // Addresses change places, which no sum sees; only the type changes.
    let old = u16_at(message, 0);
    message[0] = reply;
    let checksum = update_u16(u16_at(message, 2), old, u16_at(message, 0));
    put_u16(message, 2, checksum);
}

/// The destination of the packet that was too big, as `message` quotes it: a Fragmentation Needed or
/// Packet Too Big, from the ICMP header on. `None` for any other message.
pub fn too_big_destination(message: &[u8], family: Family) -> Option<IpAddr> {
    let (header, quoted) = message.split_at_checked(HEADER_LEN)?;
    let is_too_big = match family {
        Family::V4 => header[..2] == FRAGMENTATION_NEEDED,
        Family::V6 => header[0] == PACKET_TOO_BIG,
    };
    if !is_too_big
        || quoted.len() < family.header_len()
        || Family::of_packet(quoted) != Some(family)
    {
        return None;
    }
    Some(match family {
        Family::V4 => Ipv4Addr::from(array_at::<4>(quoted, 16)).into(),
        Family::V6 => Ipv6Addr::from(array_at::<16>(quoted, 24)).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragmentation_needed() -> Vec<u8> {
        let mut message = vec![3, 4, 0, 0, 0, 0, 0x05, 0x78];
        message.extend([0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        message.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        message.extend([0; 8]);
        message
    }

    fn packet_too_big() -> Vec<u8> {
        let mut message = vec![2, 0, 0, 0, 0, 0, 0x05, 0x78];
        message.extend([0x60, 0, 0, 0, 0, 60, 17, 64]);
        message.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        message.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        message
    }

    #[test]
    fn the_quoted_destination_is_found() {
        assert_eq!(
            too_big_destination(&fragmentation_needed(), Family::V4),
            Some([192, 0, 2, 2].into())
        );
        assert_eq!(
            too_big_destination(&packet_too_big(), Family::V6),
            Some("2001:db8::2".parse().unwrap())
        );
    }

    #[test]
    fn other_or_short_messages_quote_nothing() {
        for (message, family) in [
            (fragmentation_needed(), Family::V4),
            (packet_too_big(), Family::V6),
        ] {
            let least = HEADER_LEN + family.header_len();
            for length in 0..least {
                assert_eq!(too_big_destination(&message[..length], family), None);
            }
            for at in [0, 8] {
                let mut other = message.clone();
                other[at] ^= 0x40;
                assert_eq!(too_big_destination(&other, family), None);
            }
        }
        let mut host_unreachable = fragmentation_needed();
        host_unreachable[1] = 1;
        assert_eq!(too_big_destination(&host_unreachable, Family::V4), None);
    }
}
