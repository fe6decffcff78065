//! Recognising a TCP packet whose checksum nobody has filled in.
//!
//! The kernel coalesces received tunnel packets (GRO) and hands super-packets of local senders
//! over whole. Interfaces get told so in the virtio-net header; sockets do not, and a raw socket
//! just sees a long packet with a wrong checksum. It can be told all the same: the checksum field
//! of such a packet holds the bare sum of its pseudo-header (RFC 9293, 3.1). A finished packet
//! looks so by chance once in 65,536 times, and finishing that one once more changes nothing.

use std::num::NonZeroU16;

use encap::offload::{Gso, GsoKind, Offload, Partial};

const TCP: u8 = 6;
const TCP_CHECKSUM: u16 = 16;
const CWR: u8 = 0x80;

/// What is left to do for an IPv4 packet. One longer than `mtu` is cut into segments of at most
/// that many bytes, headers included.
pub(crate) fn recognise(packet: &[u8], mtu: usize) -> Offload {
    read(packet, mtu).unwrap_or_default()
}

fn read(packet: &[u8], mtu: usize) -> Option<Offload> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header[9] != TCP || is_fragment || total != packet.len() {
        return None;
    }
    let tcp: &[u8; 20] = packet.get(header_len..)?.first_chunk()?;
    let tcp_len = total - header_len;
    if u16::from_be_bytes([tcp[16], tcp[17]]) != pseudo_sum(header, tcp_len) {
        return None;
    }
    let partial = Partial {
        start: header_len as u16,
        offset: TCP_CHECKSUM,
    };
    if total <= mtu {
        return Some(Offload::Partial(partial));
    }
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

/// The folded sum of addresses, protocol and length.
fn pseudo_sum(header: &[u8; 20], len: usize) -> u16 {
    let words = header[12..]
        .chunks_exact(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum = words.sum::<u32>() + u32::from(TCP) + len as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(len: usize) -> Vec<u8> {
        let mut packet: Vec<u8> = (0..len).map(|at| at as u8).collect();
        packet[..10].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0x40, 0, 64, 6]);
        packet[32] = 0x80; // 32 bytes of TCP header
        packet[33] = CWR;
        let sum = pseudo_sum(packet.first_chunk().unwrap(), len - 20);
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
