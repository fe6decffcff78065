//! The rules: which packet can take part, what it may be appended to, and the headers of the
//! result. Knows nothing of where the bytes lie.

use std::num::NonZeroU16;

use super::Rules;
use crate::Family;
use crate::bytes::{put_u16, u16_at, u32_at};
use crate::checksum::pseudo_header;
use crate::checksum::{assess, ipv4_header, verify_header};
use crate::ip::{DONT_FRAGMENT, IPV4_HEADER, IPV6_HEADER, Layers, Part};
use crate::offload::{Gso, GsoKind, Offload, Partial};
use crate::protocol::{TCP, UDP};
use crate::tcp;

const FIN: u16 = tcp::FIN as u16;
const SYN: u16 = tcp::SYN as u16;
const RST: u16 = tcp::RST as u16;
const PSH: u16 = tcp::PSH as u16;
const URG: u16 = tcp::URG as u16;
const CWR: u16 = tcp::CWR as u16;

/// `UDP_GRO_CNT_MAX`: more small datagrams than this are not kept in one packet.
const UDP_MAX_SEGMENTS: usize = 64;

/// A packet that may take part in a merge: its shape was checked and its checksums are right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    layers: Layers,
    kind: GsoKind,
    /// First payload byte.
    payload: usize,
    /// Payload bytes; at least 1.
    length: usize,
    /// The IPv4 identification.
    identification: u16,
    /// IPv4 with DF set.
    dont_fragment: bool,
    /// TCP's data offset and flags; zero for UDP.
    flags: u16,
    offload: Offload,
}

impl Segment {
    /// Whether `packet`, whose IP header `layers` found at its start, may take part.
    pub(super) fn new(
        packet: &[u8],
        layers: &Layers,
        offload: Offload,
        rules: Rules,
    ) -> Option<Self> {
        let bare = match layers.family {
            Family::V4 => IPV4_HEADER,
            Family::V6 => IPV6_HEADER,
        };
        // No options, no extension headers, no fragment, no padding.
        if layers.l3 != 0
            || layers.l4 != bare
            || layers.part != Part::Whole
            || layers.end != packet.len()
        {
            return None;
        }
        let l4 = layers.l4;
        let (kind, header, field, flags) = match (layers.protocol, layers.family) {
            (TCP, family) => {
                let kind = match family {
                    Family::V4 => GsoKind::Tcp4,
                    Family::V6 => GsoKind::Tcp6,
                };
                (
                    kind,
                    layers.tcp_header_len(packet)?,
                    16,
                    u16_at(packet, l4 + 12),
                )
            }
            (UDP, _) if rules.udp => {
                let whole = layers.end >= l4 + 8
                    && usize::from(u16_at(packet, l4 + 4)) == layers.end - l4
                    && u16_at(packet, l4 + 6) != 0;
                (GsoKind::UdpL4, whole.then_some(8)?, 6, 0)
            }
            (_, _) => return None,
        };
        let payload = l4 + header;
        let length = layers.end - payload;
        if length == 0 || layers.end > usize::from(rules.max_bytes) {
            return None;
        }
        let (identification, dont_fragment) = match layers.family {
            Family::V4 => match u16_at(packet, 6) {
                0 => (u16_at(packet, 4), false),
                DONT_FRAGMENT => (u16_at(packet, 4), true),
                _ => return None,
            },
            Family::V6 => (0, false),
        };
        verify_header(packet, layers).ok()?;
        let offload = match offload {
            Offload::None => assess(packet, layers),
            Offload::Verified | Offload::Partial(_) | Offload::Segmented(..) => offload,
        };
        match offload {
            Offload::Verified => {}
            Offload::Partial(partial)
                if partial
                    == (Partial {
                        start: l4 as u16,
                        offset: field,
                    }) => {}
            Offload::None | Offload::Partial(_) | Offload::Segmented(..) => return None,
        }
        Some(Self {
            layers: *layers,
            kind,
            payload,
            length,
            identification,
            dont_fragment,
            flags,
            offload,
        })
    }

    /// The payload's first byte.
    pub(super) fn payload(&self) -> usize {
        self.payload
    }

    /// Whether nothing may follow this segment in a super-packet, even as its first: the flags
    /// belong to the last segment, or to none.
    fn ends(&self) -> bool {
        self.flags & (FIN | SYN | RST | PSH | URG) != 0
    }
}

/// Whether two packets are of one flow: addresses, protocol and, where they are whole TCP or UDP
/// packets, ports.
pub(super) fn same_flow(a: &[u8], a_layers: &Layers, b: &[u8], b_layers: &Layers) -> bool {
    let addresses = match (a_layers.family, b_layers.family) {
        (Family::V4, Family::V4) => 12..20,
        (Family::V6, Family::V6) => 8..40,
        (Family::V4, Family::V6) | (Family::V6, Family::V4) => return false,
    };
    let ports = |packet: &[u8], layers: &Layers| {
        packet
            .get(layers.l4..layers.l4 + 4)
            .map(|ports| u32_at(ports, 0))
    };
    a_layers.protocol == b_layers.protocol
        && a[addresses.clone()] == b[addresses]
        && ports(a, a_layers) == ports(b, b_layers)
}

/// A super-packet in the making: the first segment, and how much was appended to it.
///
/// Until [`finish`](Self::finish) the first segment's headers are as they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    first: Segment,
    /// Segments so far.
    count: usize,
    /// Bytes so far, from the IP header.
    bytes: usize,
    /// FIN and PSH of the last segment.
    last_flags: u16,
    /// The identification does not change from packet to packet; decided by the second.
    fixed: bool,
    /// Nothing may follow.
    ended: bool,
}

impl Open {
    pub(super) fn new(first: Segment) -> Self {
        Self {
            first,
            count: 1,
            bytes: first.payload + first.length,
            last_flags: 0,
            fixed: false,
            ended: first.ends(),
        }
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `segment`, the headers of which are in `packet`, continues this super-packet,
    /// whose first segment's headers are in `head`.
    pub(super) fn accepts(
        &self,
        head: &[u8],
        segment: &Segment,
        packet: &[u8],
        rules: Rules,
    ) -> bool {
        let first = &self.first;
        !self.ended
            && first.kind == segment.kind
            && first.layers.family == segment.layers.family
            && first.payload == segment.payload
            && segment.length <= first.length
            && self.bytes + segment.length <= usize::from(rules.max_bytes)
            // A checksum still open says who sums it; both must say the same.
            && first.offload.partial() == segment.offload.partial()
            && self.same_network(head, segment, packet)
            && self.same_transport(head, segment, packet)
    }

    fn same_network(&self, head: &[u8], segment: &Segment, packet: &[u8]) -> bool {
        match segment.layers.family {
            Family::V4 => {
                // All but length, identification and checksum: TOS, DF, TTL, protocol, addresses.
                let same = head[..2] == packet[..2]
                    && head[6..10] == packet[6..10]
                    && head[12..20] == packet[12..20];
                let offset = segment
                    .identification
                    .wrapping_sub(self.first.identification);
                let incremented = usize::from(offset) == self.count;
                let fixed = offset == 0 && segment.dont_fragment;
                same && if self.count == 1 {
                    incremented || fixed
                } else if self.fixed {
                    fixed
                } else {
                    incremented
                }
            }
            // All but the length: class, flow label, next header, hop limit, addresses.
            Family::V6 => head[..4] == packet[..4] && head[6..40] == packet[6..40],
        }
    }

    fn same_transport(&self, head: &[u8], segment: &Segment, packet: &[u8]) -> bool {
        let l4 = segment.layers.l4;
        let ports = head[l4..l4 + 4] == packet[l4..l4 + 4];
        match segment.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => {
                let payload_before = (self.bytes - self.first.payload) as u32;
                ports
                    && u32_at(packet, l4 + 4) == u32_at(head, l4 + 4).wrapping_add(payload_before)
                    && head[l4 + 8..l4 + 12] == packet[l4 + 8..l4 + 12]
                    && segment.flags & (CWR | SYN | RST | URG) == 0
                    && (segment.flags ^ self.first.flags) & !(FIN | PSH) == 0
                    && head[l4 + 14..l4 + 16] == packet[l4 + 14..l4 + 16]
                    // The urgent pointer, which Linux leaves out, and the options.
                    && head[l4 + 18..self.first.payload] == packet[l4 + 18..segment.payload]
            }
            GsoKind::UdpL4 => ports && self.count < UDP_MAX_SEGMENTS,
        }
    }

    /// Takes note that the payload of `segment`, which was accepted, has been appended.
    pub(super) fn append(&mut self, segment: &Segment) {
        if self.count == 1 {
            self.fixed =
                segment.identification == self.first.identification && segment.dont_fragment;
        }
        self.count += 1;
        self.bytes += segment.length;
        self.last_flags = segment.flags & (FIN | PSH);
        self.ended = segment.ends() || segment.length < self.first.length;
    }

    /// Writes the super-packet's headers over the first segment's in `head`; returns its offload,
    /// counted from the IP header.
    pub(super) fn finish(&self, head: &mut [u8]) -> Offload {
        let first = &self.first;
        if self.count == 1 {
            return first.offload;
        }
        let l4 = first.layers.l4;
        match first.layers.family {
            Family::V4 => {
                put_u16(head, 2, self.bytes as u16);
                let checksum = ipv4_header(&head[..l4]);
                put_u16(head, 10, checksum);
            }
            Family::V6 => put_u16(head, 4, (self.bytes - IPV6_HEADER) as u16),
        }
        let offset = match first.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => {
                put_u16(head, l4 + 12, first.flags | self.last_flags);
                16
            }
            GsoKind::UdpL4 => {
                put_u16(head, l4 + 4, (self.bytes - l4) as u16);
                6
            }
        };
        // What whoever completes the checksum sums with the rest: not complemented.
        let pseudo = pseudo_header(head, &first.layers, self.bytes - l4).fold();
        put_u16(head, l4 + offset, pseudo);
        let partial = Partial {
            start: l4 as u16,
            offset: offset as u16,
        };
        match NonZeroU16::new(first.length as u16) {
            Some(size) => Offload::Segmented(
                partial,
                // CWR would be on the first segment only, and such a segment is never extended.
                Gso {
                    kind: first.kind,
                    ecn: false,
                    header_len: first.payload as u16,
                    size,
                },
            ),
            // Not reached: a segment has payload.
            None => Offload::Partial(partial),
        }
    }
}
