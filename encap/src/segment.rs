//! Segmentation of super-packets in software, by the rules of Linux' `tcp_gso_segment`
//! (`net/ipv4/tcp_offload.c`), `__udp_gso_segment` (`udp_offload.c`) and `inet_gso_segment`
//! (`af_inet.c`).
//!
//! A [`Plan`] is made once per packet: it checks everything, and sums the header fields all
//! segments share. Writing a segment is then a copy fused with the sum over its payload. The
//! packet is only read, so segments may be written in any order, into any buffers.

use std::ops::Range;

use crate::Family;
use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::checksum::{Sum, copy_and_sum, sum};
use crate::ip::{HeaderError, IPV6_HEADER, Layers, Part};
use crate::offload::{Gso, GsoKind, Offload, Partial};
use crate::protocol::{TCP, UDP};
use crate::tcp;

const FIN: u16 = tcp::FIN as u16;
const PSH: u16 = tcp::PSH as u16;
const CWR: u16 = tcp::CWR as u16;
const UDP_HEADER: usize = 8;

/// Why a packet cannot be cut as its offload says, or a segment not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SegmentError {
    /// No IP packet at `l3`.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The transport header is cut off or its length is impossible.
    #[error("the transport header of a super-packet is not whole")]
    TransportHeader,
    /// The offload says another IP version or transport than the packet.
    #[error("the super-packet is not of the kind its offload says")]
    Kind,
    /// A fragment cannot be a super-packet.
    #[error("the super-packet is a fragment")]
    Fragment,
    /// The checksum field is not where the transport has it, or outside the packet.
    #[error("the partial checksum is misplaced")]
    Checksum,
    /// The output is shorter than the segment.
    #[error("no room for the segment")]
    NoRoom,
    /// There is no such segment.
    #[error("no such segment")]
    Index,
    /// The packet given for writing is shorter than the one the plan was made for.
    #[error("the packet is not the one planned for")]
    OtherPacket,
}

/// How to cut one packet: offsets and sums, no bytes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// First byte of the IP header.
    l3: usize,
    /// First byte of the transport header.
    l4: usize,
    /// First byte that differs between segments because it is payload.
    payload: usize,
    /// First byte after the packet.
    end: usize,
    /// Payload bytes of each segment but the last; at least 1.
    size: usize,
    /// Segments; at least 1.
    count: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Copied as it is.
    Plain,
    /// One segment, its checksum completed.
    Partial(Partial),
    Tcp {
        ip: IpFields,
        shared: Sum,
        sequence: u32,
        flags: u16,
    },
    Udp {
        ip: IpFields,
        shared: Sum,
    },
}

/// What the IP header of each segment starts from.
#[derive(Clone, Copy, Debug)]
enum IpFields {
    /// The header's sum without length, identification and checksum.
    V4 {
        sum: Sum,
        identification: u16,
    },
    V6,
}

/// What [`Plan::write_all`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes in all.
    pub bytes: usize,
    /// Bytes of each segment, prefix included, but the last, which may be shorter: the value for
    /// `UDP_SEGMENT`.
    pub segment_size: usize,
}

impl Plan {
    /// Plans for the packet whose IP header starts at `l3`; `offload` counts from `packet[0]`.
    ///
    /// The bytes before `l3` are a link header: each segment starts with a copy of it. A packet
    /// without GSO is one segment, with its checksum completed if it was partial. A super-packet
    /// that fits one segment is allowed.
    pub fn new(packet: &[u8], l3: usize, offload: Offload) -> Result<Self, SegmentError> {
        let whole = |kind| Self {
            l3,
            l4: l3,
            payload: packet.len(),
            end: packet.len(),
            size: 1,
            count: 1,
            kind,
        };
        match offload {
            Offload::None | Offload::Verified => Ok(whole(Kind::Plain)),
            Offload::Partial(partial) if partial.end() > packet.len() => {
                Err(SegmentError::Checksum)
            }
            Offload::Partial(partial) => Ok(whole(Kind::Partial(partial))),
            Offload::Segmented(partial, gso) => Self::cut(packet, l3, partial, gso),
        }
    }

    fn cut(packet: &[u8], l3: usize, partial: Partial, gso: Gso) -> Result<Self, SegmentError> {
        let layers = Layers::parse(packet, l3)?;
        let (protocol, field) = match (gso.kind, layers.family) {
            (GsoKind::Tcp4, Family::V4) | (GsoKind::Tcp6, Family::V6) => (TCP, 16),
            (GsoKind::UdpL4, _) => (UDP, 6),
            (GsoKind::Tcp4, Family::V6) | (GsoKind::Tcp6, Family::V4) => {
                return Err(SegmentError::Kind);
            }
        };
        if layers.protocol != protocol {
            return Err(SegmentError::Kind);
        }
        if layers.part != Part::Whole {
            return Err(SegmentError::Fragment);
        }
        if usize::from(partial.start) != layers.l4 || partial.offset != field {
            return Err(SegmentError::Checksum);
        }
        let l4 = layers.l4;
        let header = match gso.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => layers.tcp_header_len(packet),
            GsoKind::UdpL4 => (layers.end >= l4 + UDP_HEADER).then_some(UDP_HEADER),
        };
        let header = header.ok_or(SegmentError::TransportHeader)?;
        let (ip, addresses) = match layers.family {
            Family::V4 => {
                let fields = IpFields::V4 {
                    // Length, identification and checksum are the words at 2, 4 and 10.
                    sum: sum(&packet[l3..l3 + 2])
                        + sum(&packet[l3 + 6..l3 + 10])
                        + sum(&packet[l3 + 12..l4]),
                    identification: u16_at(packet, l3 + 4),
                };
                (fields, &packet[l3 + 12..l3 + 20])
            }
            Family::V6 => (IpFields::V6, &packet[l3 + 8..l3 + 40]),
        };
        let pseudo = sum(addresses).add_u16(u16::from(protocol));
        let kind = match gso.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => Kind::Tcp {
                ip,
                // Without sequence number, flags and checksum: the words at 4, 6, 12 and 16.
                shared: pseudo
                    + sum(&packet[l4..l4 + 4])
                    + sum(&packet[l4 + 8..l4 + 12])
                    + sum(&packet[l4 + 14..l4 + 16])
                    + sum(&packet[l4 + 18..l4 + header]),
                sequence: u32_at(packet, l4 + 4),
                flags: u16_at(packet, l4 + 12),
            },
            GsoKind::UdpL4 => Kind::Udp {
                ip,
                shared: pseudo + sum(&packet[l4..l4 + 4]),
            },
        };
        let payload = l4 + header;
        let size = usize::from(gso.size.get());
        let count = (layers.end - payload).div_ceil(size).max(1);
        Ok(Self {
            l3,
            l4,
            payload,
            end: layers.end,
            size,
            count,
            kind,
        })
    }

    /// How many segments; at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes in front of each segment's payload: link, IP and transport header.
    ///
    /// For a packet that is not cut this is all of it.
    pub fn header_len(&self) -> usize {
        self.payload
    }

    /// Bytes of segment `i` with its headers; zero when there is no such segment.
    pub fn segment_len(&self, i: usize) -> usize {
        if i < self.count {
            self.payload + self.payload_of(i).len()
        } else {
            0
        }
    }

    /// The segments from `first` that fit one message of at most `max_segments` and `max_bytes`
    /// when each has `prefix_len` bytes before it; at least one while any is left.
    pub fn batch(
        &self,
        first: usize,
        prefix_len: usize,
        max_segments: usize,
        max_bytes: usize,
    ) -> Range<usize> {
        let first = first.min(self.count);
        let each = prefix_len.saturating_add(self.segment_len(0)).max(1);
        let fit = max_segments.min(max_bytes / each).max(1);
        first..first.saturating_add(fit).min(self.count)
    }

    /// Writes segment `i` of `packet` to the start of `out`; returns its bytes.
    ///
    /// `packet` is the one the plan was made for. Its payload may not have changed since; nothing
    /// is written past [`segment_len`](Self::segment_len).
    pub fn write(&self, i: usize, packet: &[u8], out: &mut [u8]) -> Result<usize, SegmentError> {
        let length = self.check(i, packet)?;
        let out = out.get_mut(..length).ok_or(SegmentError::NoRoom)?;
        let (header, body) = out.split_at_mut(self.payload);
        header.copy_from_slice(&packet[..self.payload]);
        let body_sum = match self.kind {
            Kind::Plain | Kind::Partial(_) => Sum::ZERO,
            Kind::Tcp { .. } | Kind::Udp { .. } => copy_and_sum(body, &packet[self.payload_of(i)]),
        };
        self.patch(i, header, body_sum);
        Ok(length)
    }

    /// Writes only the headers of segment `i` to `out`, for a sender that gathers the payload
    /// from `packet` itself; returns the headers' bytes and the payload's place in `packet`.
    pub fn write_headers(
        &self,
        i: usize,
        packet: &[u8],
        out: &mut [u8],
    ) -> Result<(usize, Range<usize>), SegmentError> {
        self.check(i, packet)?;
        let header = out.get_mut(..self.payload).ok_or(SegmentError::NoRoom)?;
        header.copy_from_slice(&packet[..self.payload]);
        let body = self.payload_of(i);
        self.patch(i, header, sum(&packet[body.clone()]));
        Ok((self.payload, body))
    }

    /// Writes `segments` of `packet` back to back to `out`, each with `prefix` before it.
    ///
    /// `prefix` is what a tunnel puts before each inner packet, for VXLAN its header and the
    /// inner Ethernet header. On an error part of `out` may have been written.
    pub fn write_all(
        &self,
        segments: Range<usize>,
        packet: &[u8],
        prefix: &[u8],
        out: &mut [u8],
    ) -> Result<Written, SegmentError> {
        let mut written = Written {
            bytes: 0,
            segment_size: 0,
        };
        for i in segments {
            let rest = &mut out[written.bytes..];
            rest.get_mut(..prefix.len())
                .ok_or(SegmentError::NoRoom)?
                .copy_from_slice(prefix);
            let bytes = prefix.len() + self.write(i, packet, &mut rest[prefix.len()..])?;
            written.bytes += bytes;
            // Segments only get shorter, so the first is the size of all but the last.
            written.segment_size = written.segment_size.max(bytes);
        }
        Ok(written)
    }

    fn check(&self, i: usize, packet: &[u8]) -> Result<usize, SegmentError> {
        if i >= self.count {
            return Err(SegmentError::Index);
        }
        if packet.len() < self.end {
            return Err(SegmentError::OtherPacket);
        }
        Ok(self.segment_len(i))
    }

    /// Where segment `i`'s payload stands in the packet; `i` is below `count`.
    fn payload_of(&self, i: usize) -> Range<usize> {
        let from = self.payload + i * self.size;
        from..(from + self.size).min(self.end)
    }

    /// Turns the super-packet's headers into segment `i`'s, whose payload sums to `body`.
    fn patch(&self, i: usize, header: &mut [u8], body: Sum) {
        match self.kind {
            Kind::Plain => {}
            Kind::Partial(partial) => {
                // The headers of a packet that is not cut are all of it.
                let offload = Offload::Partial(partial);
                debug_assert!(partial.end() <= header.len());
                let _ = crate::checksum::complete(header, offload);
            }
            Kind::Tcp {
                ip,
                shared,
                sequence,
                flags,
            } => {
                let l4 = self.l4;
                let length = self.patch_ip(i, header, ip);
                let mut flags = flags;
                if i + 1 < self.count {
                    flags &= !(FIN | PSH);
                }
                if i > 0 {
                    flags &= !CWR;
                }
                // Sequence numbers wrap; i * size is below 2^16.
                let sequence = sequence.wrapping_add((i * self.size) as u32);
                put_u32(header, l4 + 4, sequence);
                put_u16(header, l4 + 12, flags);
                let total = (shared + body)
                    .add_u32(sequence)
                    .add_u16(flags)
                    .add_u16(length);
                put_u16(header, l4 + 16, total.checksum());
            }
            Kind::Udp { ip, shared } => {
                let l4 = self.l4;
                let length = self.patch_ip(i, header, ip);
                put_u16(header, l4 + 4, length);
                // The length counts twice: in the header and in the pseudo-header.
                let total = (shared + body).add_u16(length).add_u16(length);
                put_u16(header, l4 + 6, total.udp_checksum());
            }
        }
    }

    /// Sets the IP header's length, identification and checksum for segment `i`; returns the
    /// bytes of transport header and payload, which fit 16 bits because the packet's did.
    fn patch_ip(&self, i: usize, header: &mut [u8], ip: IpFields) -> u16 {
        let after_l3 = self.segment_len(i) - self.l3;
        match ip {
            IpFields::V4 {
                sum,
                identification,
            } => {
                let length = after_l3 as u16;
                let identification = identification.wrapping_add(i as u16);
                put_u16(header, self.l3 + 2, length);
                put_u16(header, self.l3 + 4, identification);
                let checksum = sum.add_u16(length).add_u16(identification).checksum();
                put_u16(header, self.l3 + 10, checksum);
            }
            IpFields::V6 => put_u16(header, self.l3 + 4, (after_l3 - IPV6_HEADER) as u16),
        }
        (after_l3 - (self.l4 - self.l3)) as u16
    }
}
