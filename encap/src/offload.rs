//! What a packet still needs done to it: `struct virtio_net_hdr` of `linux/virtio_net.h`.
//!
//! A TAP hands over super-packets and packets whose transport checksum is not filled in, and says
//! so in ten bytes before the frame (little endian: a device must be set to that with
//! `TUNSETVNETLE`, or be on a little-endian machine). [`Offload`] is the same knowledge in a type
//! without the contradictions the ten bytes can express. Owns no packet bytes.

use std::num::NonZeroU16;

/// Bytes of the header without `num_buffers`.
pub const HEADER_LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What of a packet's checksums and size is still to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Offload {
    /// Nothing; the checksum is as it came from the wire, and nobody has looked at it.
    #[default]
    None,
    /// Nothing; whoever handed the packet over vouches for its transport checksum.
    Verified,
    /// The transport checksum is to be filled in.
    Partial(Partial),
    /// A super-packet: to be cut into segments, each with its checksum filled in.
    Segmented(Partial, Gso),
}

/// Where a checksum is to be filled in: the sum over the frame from `start` to its end, which
/// includes the pseudo-header sum already stored in the field, goes to `start + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partial {
    /// First byte summed, from the frame's start.
    pub start: u16,
    /// The field's place, from `start`.
    pub offset: u16,
}

/// How a super-packet is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gso {
    /// The transport.
    pub kind: GsoKind,
    /// The super-packet has CWR set (`VIRTIO_NET_HDR_GSO_ECN`): the first segment only keeps it.
    pub ecn: bool,
    /// Bytes of all headers, from the frame's start. A hint about linear memory, as in Linux;
    /// nothing here relies on it.
    pub header_len: u16,
    /// Payload bytes of each segment but the last.
    pub size: NonZeroU16,
}

/// The transport of a super-packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either, each segment a datagram (`UDP_SEGMENT`).
    UdpL4,
}

/// Why ten bytes are no offload header for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OffloadError {
    /// Fewer than [`HEADER_LEN`] bytes.
    #[error("the virtio-net header is shorter than ten bytes")]
    Truncated,
    /// Flag bits that were not negotiated.
    #[error("unknown virtio-net flags {0:#04x}")]
    Flags(u8),
    /// A GSO type that was not negotiated.
    #[error("unknown virtio-net GSO type {0:#04x}")]
    GsoType(u8),
    /// A super-packet without `NEEDS_CSUM`.
    #[error("a super-packet without a partial checksum")]
    GsoWithoutChecksum,
    /// A super-packet of segments without payload.
    #[error("a super-packet with segment size zero")]
    GsoSize,
    /// The header length is longer than the frame.
    #[error("the header length is outside the frame")]
    HeaderLen,
    /// The checksum field is not inside the frame.
    #[error("the checksum field is outside the frame")]
    ChecksumOutside,
}

impl Offload {
    /// Reads the header of a frame of `frame_len` bytes.
    pub fn parse(header: &[u8], frame_len: usize) -> Result<Self, OffloadError> {
        let header: &[u8; HEADER_LEN] = header.first_chunk().ok_or(OffloadError::Truncated)?;
        let [flags, gso_type, ..] = *header;
        let field = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        if flags & !(NEEDS_CSUM | DATA_VALID) != 0 {
            return Err(OffloadError::Flags(flags));
        }
        let partial = if flags & NEEDS_CSUM != 0 {
            let partial = Partial {
                start: field(6),
                offset: field(8),
            };
            if partial.end() > frame_len {
                return Err(OffloadError::ChecksumOutside);
            }
            Some(partial)
        } else {
            None
        };
        let kind = match gso_type & !GSO_ECN {
            GSO_NONE if gso_type & GSO_ECN != 0 => return Err(OffloadError::GsoType(gso_type)),
            GSO_NONE => None,
            GSO_TCPV4 => Some(GsoKind::Tcp4),
            GSO_TCPV6 => Some(GsoKind::Tcp6),
            GSO_UDP_L4 if gso_type & GSO_ECN == 0 => Some(GsoKind::UdpL4),
            _ => return Err(OffloadError::GsoType(gso_type)),
        };
        Ok(match (kind, partial) {
            (Some(_), None) => return Err(OffloadError::GsoWithoutChecksum),
            (Some(kind), Some(partial)) => {
                let size = NonZeroU16::new(field(4)).ok_or(OffloadError::GsoSize)?;
                let header_len = field(2);
                if usize::from(header_len) > frame_len {
                    return Err(OffloadError::HeaderLen);
                }
                let ecn = gso_type & GSO_ECN != 0;
                Self::Segmented(
                    partial,
                    Gso {
                        kind,
                        ecn,
                        header_len,
                        size,
                    },
                )
            }
            (None, Some(partial)) => Self::Partial(partial),
            (None, None) if flags & DATA_VALID != 0 => Self::Verified,
            (None, None) => Self::None,
        })
    }

    /// The header's ten bytes.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let mut put = |at: usize, value: u16| {
            out[at..at + 2].copy_from_slice(&value.to_le_bytes());
        };
        if let Some(gso) = self.gso() {
            put(2, gso.header_len);
            put(4, gso.size.get());
        }
        if let Some(partial) = self.partial() {
            put(6, partial.start);
            put(8, partial.offset);
        }
        out[0] = match self {
            Self::None => 0,
            Self::Verified => DATA_VALID,
            Self::Partial(_) | Self::Segmented(..) => NEEDS_CSUM,
        };
        out[1] = match self.gso() {
            None => GSO_NONE,
            Some(gso) => {
                let ecn = if gso.ecn { GSO_ECN } else { 0 };
                match gso.kind {
                    GsoKind::Tcp4 => GSO_TCPV4 | ecn,
                    GsoKind::Tcp6 => GSO_TCPV6 | ecn,
                    // The kernel knows no ECN for UDP and would refuse the header.
                    GsoKind::UdpL4 => GSO_UDP_L4,
                }
            }
        };
        out
    }

    /// Where a checksum is to be filled in, if one is.
    pub fn partial(&self) -> Option<Partial> {
        match self {
            Self::None | Self::Verified => None,
            Self::Partial(partial) | Self::Segmented(partial, _) => Some(*partial),
        }
    }

    /// How to cut the packet, if it is a super-packet.
    pub fn gso(&self) -> Option<Gso> {
        match self {
            Self::None | Self::Verified | Self::Partial(_) => None,
            Self::Segmented(_, gso) => Some(*gso),
        }
    }

    /// Whether the transport checksum may be believed without summing: filled in and verified, or
    /// not yet filled in and so never exposed to a wire.
    pub fn is_trusted(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The same knowledge after `by` bytes were put before the frame (positive) or its first
    /// `-by` bytes were cut off (negative, `-14` for an Ethernet header).
    ///
    /// An error when the checksum would start outside the frame or past byte 65535.
    pub fn shift(self, by: isize) -> Result<Self, OffloadError> {
        let moved = |value: u16| {
            isize::try_from(value)
                .ok()
                .and_then(|value| value.checked_add(by))
                .and_then(|value| u16::try_from(value).ok())
        };
        let Some(mut partial) = self.partial() else {
            return Ok(self);
        };
        partial.start = moved(partial.start).ok_or(OffloadError::ChecksumOutside)?;
        Ok(match self.gso() {
            None => Self::Partial(partial),
            Some(gso) => {
                // A hint: what does not fit is the end of its range.
                let bound = if by < 0 { 0 } else { u16::MAX };
                let header_len = moved(gso.header_len).unwrap_or(bound);
                Self::Segmented(partial, Gso { header_len, ..gso })
            }
        })
    }
}

impl Partial {
    /// The first byte after the checksum field, from the frame's start.
    pub fn end(&self) -> usize {
        self.field() + 2
    }

    /// The checksum field's place, from the frame's start.
    pub fn field(&self) -> usize {
        usize::from(self.start) + usize::from(self.offset)
    }
}
