//! What is sent: inner packets of three kinds, as buffers for the product's devices and as
//! frames with all outer headers for packet and AF_XDP sockets.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use encap::checksum::{ipv4_header, pseudo_v4};
use encap::offload::{Gso, GsoKind, Offload, Partial};
use encap::segment::Plan;
use vrouter_dataplane::buffer::Buffer;

/// Payload of a segment: 1,450 bytes of inner packet, which both tunnels carry.
const SEGMENT: usize = 1410;
const HEADERS: usize = 40;

/// The kinds of inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Mtu,
    Super,
}

impl Size {
    pub(crate) const ALL: [Self; 3] = [Self::Small, Self::Mtu, Self::Super];

    /// Bytes of the inner packet.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 60,
            Self::Mtu => HEADERS + SEGMENT,
            Self::Super => HEADERS + 43 * SEGMENT,
        }
    }

    /// An inner packet whose checksum is to be filled in.
    pub(crate) fn inner(self, remote: Ipv4Addr) -> Buffer {
        let mut packet = vec![0; self.bytes()];
        packet[0] = 0x45;
        let len = self.bytes() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[6] = 0x40;
        packet[8] = 64;
        packet[9] = 6;
        let (source, target) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
        packet[12..16].copy_from_slice(&source.octets());
        packet[16..20].copy_from_slice(&target.octets());
        let header: &[u8; 20] = packet.first_chunk().unwrap();
        let sum = ipv4_header(header);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet[20..24].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        packet[32..34].copy_from_slice(&[0x50, 0x10]);
        let sum = pseudo_v4(source, target, 6, len - 20).fold();
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        let mut buffer = Buffer::from_slice(&packet);
        let partial = Partial {
            start: 20,
            offset: 16,
        };
        buffer.meta.offload = match self {
            Self::Small | Self::Mtu => Offload::Partial(partial),
            Self::Super => {
                let gso = Gso {
                    kind: GsoKind::Tcp4,
                    ecn: false,
                    header_len: HEADERS as u16,
                    size: NonZeroU16::new(SEGMENT as u16).unwrap(),
                };
                Offload::Segmented(partial, gso)
            }
        };
        buffer.meta.remote = Some(remote.into());
        buffer.meta.flow_hash = 0x1234_5678;
        buffer
    }
}

/// Cuts `inner` into segments with `prefix` before each, written back to back to `out`; a
/// segment's bytes with it. Done anew for each packet, as the packet path must.
pub(crate) fn cut(inner: &Buffer, prefix: &[u8], out: &mut Buffer) -> usize {
    let plan = Plan::new(inner.bytes(), 0, inner.meta.offload).unwrap();
    let written = plan
        .write_all(0..plan.count(), inner.bytes(), prefix, out.blank())
        .unwrap();
    out.received(written.bytes);
    out.meta = inner.meta;
    out.meta.offload = Offload::None;
    out.meta.segment = 0;
    if plan.count() > 1 {
        out.meta.segment = written.segment_size as u16;
    }
    written.segment_size
}

/// VXLAN and inner Ethernet header.
pub(crate) const VXLAN: [u8; 22] = [
    8, 0, 0, 0, 0, 16, 0, 0, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
];

/// The outer headers of a frame that brings an inner packet of `inner` bytes.
pub(crate) fn outer(vxlan: bool, macs: [[u8; 6]; 2], inner: usize) -> Vec<u8> {
    let mut out = [macs[1], macs[0]].concat();
    out.extend([8, 0]);
    let over = if vxlan { 50 } else { 20 };
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((inner + over) as u16).to_be_bytes());
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = if vxlan { 17 } else { 4 };
    ip[12..].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
    let sum = ipv4_header(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend(ip);
    if vxlan {
        let len = (8 + VXLAN.len() + inner) as u16;
        out.extend([0xc0, 0, 0x12, 0xb5]);
        out.extend(len.to_be_bytes());
        out.extend([0, 0]);
        out.extend(VXLAN);
    }
    out
}
