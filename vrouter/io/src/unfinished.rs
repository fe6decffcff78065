//! Recognising a packet whose TCP or UDP checksum nobody has filled in.
//!
//! The kernel coalesces received tunnel packets (GRO) and hands super-packets of local senders
//! over whole. Interfaces get told so in the virtio-net header; sockets do not, and a raw socket
//! just sees a long packet with a wrong checksum. It can be told all the same: the checksum field
//! of such a packet holds the bare sum of its pseudo-header (RFC 9293, 3.1; RFC 768). A finished
//! packet looks so by chance once in 65,536 times, and finishing that one once more changes
//! nothing.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use encap::checksum::pseudo_v4;
use encap::offload::{Gso, GsoKind, Offload, Partial};

const TCP: u8 = 6;
const UDP: u8 = 17;
const CWR: u8 = 0x80;

/// What is left to do for an IPv4 packet. A TCP packet longer than `mtu` is cut into segments of
/// at most that many bytes, headers included: any cut of a byte stream is as good as another.
pub(crate) fn recognise(packet: &[u8], mtu: usize) -> Offload {
    read(packet, mtu).unwrap_or_default()
}

fn read(packet: &[u8], mtu: usize) -> Option<Offload> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let total = u16::from_be_bytes([header[2], header[3]]);
    if header[0] >> 4 != 4 || is_fragment || usize::from(total) != packet.len() {
        return None;
    }
    let offset = match header[9] {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    let transport = packet.get(header_len..)?;
    let address = |at: usize| Some(Ipv4Addr::from(*header[at..].first_chunk::<4>()?));
    let len = u16::try_from(transport.len()).ok()?;
    let pseudo = pseudo_v4(address(12)?, address(16)?, header[9], len).fold();
    let field: &[u8; 2] = transport.get(usize::from(offset)..)?.first_chunk()?;
    if u16::from_be_bytes(*field) != pseudo {
        return None;
    }
    let partial = Partial {
        start: header_len as u16,
        offset,
    };
    if packet.len() <= mtu || header[9] == UDP {
        return Some(Offload::Partial(partial));
    }
    let tcp: &[u8; 20] = transport.first_chunk()?;
    let headers = header_len + usize::from(tcp[12] >> 4) * 4;
    let size = u16::try_from(mtu.checked_sub(headers)?)
        .ok()
        .and_then(NonZeroU16::new)?;
    let ecn = tcp[13] & CWR != 0;
    let gso = Gso {
        kind: GsoKind::Tcp4,
        ecn,
        header_len: headers as u16,
        size,
    };
    Some(Offload::Segmented(partial, gso))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(len: usize) -> Vec<u8> {
        let mut packet: Vec<u8> = (0..len).map(|at| at as u8).collect();
        packet[..10].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0x40, 0, 64, 6]);
        packet[32] = 0x80; // 32 bytes of TCP header
        packet[33] = CWR;
        let address = |at: usize| Ipv4Addr::from(*packet[at..].first_chunk::<4>().unwrap());
        let sum = pseudo_v4(address(12), address(16), TCP, (len - 20) as u16).fold();
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn long_ones_are_super_packets() {
        let Offload::Segmented(partial, gso) = recognise(&packet(5000), 1480) else {
            panic!()
        };
        assert_eq!((partial.start, partial.offset), (20, 16));
        assert_eq!(
            (gso.size.get(), gso.header_len, gso.ecn),
            (1480 - 52, 52, true)
        );
        let Offload::Partial(partial) = recognise(&packet(1480), 1480) else {
            panic!()
        };
        assert_eq!(partial.field(), 36);
    }

    #[test]
    fn others_are_left_alone() {
        for (at, value) in [(37, 0x5a), (9, 17), (6, 0x20), (0, 0x65), (3, 1)] {
            let mut other = packet(1000);
            other[at] ^= value;
            assert_eq!(recognise(&other, 1480), Offload::None, "byte {at}");
        }
        for len in 0..60 {
            recognise(&packet(1000)[..len], 1480);
        }
    }
}
