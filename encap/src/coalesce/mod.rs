//! Coalescing of segments into super-packets in software (GRO), by the rules of Linux'
//! `tcp_gro_receive` (`net/ipv4/tcp_offload.c`), `udp_gro_receive_segment` (`udp_offload.c`),
//! `inet_gro_receive` and `inet_gro_flush` (`af_inet.c`, `net/gro.h`).
//!
//! Consecutive segments of one flow become one packet whose [`Offload`] says how to cut it into
//! the same segments again: [`segment`](crate::segment) after this is the identity on bytes, save
//! for two things no receiver can tell apart: an IPv4 identification that did not change between
//! packets with DF set (RFC 6864: it means nothing there), and a TCP or IPv4 checksum of `0xffff`
//! that comes back as its equal `0x0000`. Packets of one flow keep their order; so does, in
//! [`InPlace`], everything.
//!
//! Packets that come with [`Offload::None`] leave with what
//! [`assess`] says of them, merged or not, so that nobody sums them
//! again.
//!
//! Two forms, one set of rules: [`InPlace`] for packets that lie in one buffer one after another
//! (what `UDP_GRO` leaves behind) and [`vector`] for packets in buffers of their own, of several
//! flows interleaved.

mod in_place;
mod open;
mod vector;

pub use in_place::{InPlace, Span};
pub use vector::{Fate, Growing, vector};

use crate::checksum::assess;
use crate::ip::Layers;
use crate::offload::Offload;

/// What may be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Merge UDP datagrams too, which only a device with USO may be given.
    pub udp: bool,
    /// The longest super-packet, IP header included.
    pub max_bytes: u16,
}

impl Rules {
    /// TCP only, up to the 65535 bytes an IP header can state.
    pub const TCP: Self = Self {
        udp: false,
        max_bytes: u16::MAX,
    };
    /// TCP and UDP.
    pub const TCP_AND_UDP: Self = Self {
        udp: true,
        max_bytes: u16::MAX,
    };
}

/// What is known of a packet that takes no part in merging.
fn assessed(packet: &[u8], layers: &Layers, offload: Offload) -> Offload {
    match offload {
        Offload::None => assess(packet, layers),
        Offload::Verified | Offload::Partial(_) | Offload::Segmented(..) => offload,
    }
}
