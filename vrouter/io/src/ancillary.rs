//! Socket addresses and control messages as the kernel lays them out (`ip(7)`, `ipv6(7)`,
//! `udp(7)`, `packet(7)`, `cmsg(3)`), written and read as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::c_int;

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Name {
    pub(crate) bytes: [u8; 32],
    pub(crate) len: u32,
}

impl Default for Name {
    /// Empty, with room for either.
    fn default() -> Self {
        Self {
            bytes: [0; 32],
            len: 32,
        }
    }
}

impl Name {
    pub(crate) fn new(address: IpAddr, port: u16) -> Self {
        let mut name = Self::default();
        let (family, len) = match address {
            IpAddr::V4(v4) => {
                name.bytes[4..8].copy_from_slice(&v4.octets());
                (libc::AF_INET, size_of::<libc::sockaddr_in>())
            }
            IpAddr::V6(v6) => {
                name.bytes[8..24].copy_from_slice(&v6.octets());
                (libc::AF_INET6, size_of::<libc::sockaddr_in6>())
            }
        };
        name.bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        name.bytes[2..4].copy_from_slice(&port.to_be_bytes());
        name.len = len as u32;
        name
    }

    /// `None` when it is neither.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let family = c_int::from(u16::from_ne_bytes([self.bytes[0], self.bytes[1]]));
        match family {
            libc::AF_INET => {
                let octets: &[u8; 4] = self.bytes[4..].first_chunk()?;
                Some(IpAddr::V4(Ipv4Addr::from(*octets)))
            }
            libc::AF_INET6 => {
                let octets: &[u8; 16] = self.bytes[8..].first_chunk()?;
                Some(IpAddr::V6(Ipv6Addr::from(*octets)))
            }
            _ => None,
        }
    }
}

/// Size of a `cmsghdr`: length, level, type.
const HEADER: usize = size_of::<usize>() + 2 * size_of::<c_int>();

/// Control messages to send, or room for those received.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control {
    pub(crate) bytes: [u8; Self::ROOM],
    pub(crate) len: usize,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            bytes: [0; Self::ROOM],
            len: 0,
        }
    }
}

impl Control {
    /// Bytes there are for control messages.
    pub(crate) const ROOM: usize = 64;

    fn push<const N: usize>(&mut self, level: c_int, kind: c_int, data: [u8; N]) {
        let room = self.bytes[self.len..].split_at_mut(HEADER);
        let (len, rest) = room.0.split_at_mut(size_of::<usize>());
        len.copy_from_slice(&(HEADER + N).to_ne_bytes());
        rest[..4].copy_from_slice(&level.to_ne_bytes());
        rest[4..].copy_from_slice(&kind.to_ne_bytes());
        room.1[..N].copy_from_slice(&data);
        self.len += HEADER + N.next_multiple_of(size_of::<usize>());
    }

    /// The outer TOS or traffic class.
    pub(crate) fn push_tos(&mut self, tos: u8, is_v4: bool) {
        let value = c_int::from(tos).to_ne_bytes();
        if is_v4 {
            self.push(libc::IPPROTO_IP, libc::IP_TOS, value);
        } else {
            self.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, value);
        }
    }

    /// The size of each datagram of a message (`UDP_SEGMENT`).
    pub(crate) fn push_segment(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, size.to_ne_bytes());
    }
}

/// What the control messages of a received datagram say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReceivedControl {
    /// Outer TOS or traffic class.
    pub(crate) tos: u8,
    /// Size of each datagram, 0 for one only (`UDP_GRO`).
    pub(crate) segment: u16,
    /// Where the IP header begins in a packet socket's frame (`PACKET_AUXDATA`).
    pub(crate) network: u16,
}

/// Reads control messages; what is unknown or cut off is passed over.
pub(crate) fn read(mut control: &[u8]) -> ReceivedControl {
    let mut told = ReceivedControl::default();
    while let Some((kind, data, rest)) = next(control) {
        match kind {
            // IPv4 gives one byte, IPv6 an int.
            (libc::IPPROTO_IP, libc::IP_TOS) => told.tos = data.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                told.tos = int(data).and_then(|v| u8::try_from(v).ok()).unwrap_or(0);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                told.segment = int(data).and_then(|v| u16::try_from(v).ok()).unwrap_or(0);
            }
            // `struct tpacket_auxdata`: three words, then `tp_mac` and `tp_net`.
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                let field = data.get(14..).and_then(|data| data.first_chunk());
                told.network = field.map_or(0, |field| u16::from_ne_bytes(*field));
            }
            _ => {}
        }
        control = rest;
    }
    told
}

type Parsed<'a> = ((c_int, c_int), &'a [u8], &'a [u8]);

fn next(control: &[u8]) -> Option<Parsed<'_>> {
    let (header, _) = control.split_at_checked(HEADER)?;
    let (len, rest) = header.split_at(size_of::<usize>());
    let len = usize::from_ne_bytes(len.try_into().ok()?);
    let kind = (int(rest)?, int(&rest[4..])?);
    let data = control.get(HEADER..len)?;
    let end = len.next_multiple_of(size_of::<usize>()).min(control.len());
    Some((kind, data, &control[end..]))
}

fn int(bytes: &[u8]) -> Option<c_int> {
    bytes
        .first_chunk()
        .map(|bytes| c_int::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = text.parse().unwrap();
            let name = Name::new(address, 4789);
            assert_eq!(name.address(), Some(address));
            assert_eq!(name.bytes[2..4], [0x12, 0xb5]);
        }
        assert_eq!(Name::default().address(), None);
    }

    #[test]
    fn control_messages_are_read() {
        let mut control = Control::default();
        control.push(libc::SOL_UDP, libc::UDP_GRO, 1458_i32.to_ne_bytes());
        control.push(libc::IPPROTO_IP, libc::IP_TOS, [0xb8]);
        let told = read(&control.bytes[..control.len]);
        assert_eq!(
            told,
            ReceivedControl {
                tos: 0xb8,
                segment: 1458,
                network: 0,
            }
        );

        let mut control = Control::default();
        let mut auxiliary = [0xff; 20];
        auxiliary[14..16].copy_from_slice(&18_u16.to_ne_bytes());
        control.push(libc::SOL_PACKET, libc::PACKET_AUXDATA, auxiliary);
        assert_eq!(read(&control.bytes[..control.len]).network, 18);

        let mut control = Control::default();
        control.push(99, 99, [1, 2, 3]);
        control.push_tos(0x2e, false);
        assert_eq!(read(&control.bytes[..control.len]).tos, 0x2e);
        assert_eq!(read(&[]), ReceivedControl::default());
    }

    #[test]
    fn cut_or_wrong_control_messages_end_the_reading() {
        let mut control = Control::default();
        control.push_tos(0x10, true);
        control.push_tos(0x20, true);
        for len in 0..control.len {
            read(&control.bytes[..len]);
        }
        for wrong in [0, 1, HEADER - 1, 4096, usize::MAX] {
            control.bytes[..size_of::<usize>()].copy_from_slice(&wrong.to_ne_bytes());
            assert_eq!(read(&control.bytes[..control.len]).tos, 0, "{wrong}");
        }
    }
}
