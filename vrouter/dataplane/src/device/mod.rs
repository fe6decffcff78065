//! The edge of the packet path: what a queue of an interface can do.

mod fault;
mod pcap;
mod shared;
mod tracer;

use std::io;
use std::ops::AddAssign;

use crate::buffer::{Buffer, Pool};

pub use fault::{Chances, FaultInjector};
pub use pcap::{LinkType, PcapWriter};
pub use shared::{Shared, interface_mac, interface_of};
pub use tracer::{Passage, Tracer};

/// Packets on their way together, in the order they came.
pub type Vector = Vec<Buffer>;

/// The most packets one call of [`Device::receive`] brings.
pub const VECTOR: usize = 64;
/// Bytes after which a call of [`Device::receive`] brings no more packets. What was read long before
/// it is written has left the core's cache: sixty-four super-packets have 4 MB.
pub const VECTOR_BYTES: usize = 64 << 10;

/// What a device takes as it is; the packet path does the rest in software.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Partial checksums (`NEEDS_CSUM`).
    pub checksum: bool,
    /// TCP super-packets.
    pub tso: bool,
    /// UDP super-packets.
    pub uso: bool,
    /// Several datagrams of equal size in one buffer (tunnel interfaces).
    pub datagrams: bool,
}

impl Capabilities {
    /// Everything a TAP or TUN with the virtio-net header takes.
    pub const OFFLOADS: Self = Self {
        checksum: true,
        tso: true,
        uso: true,
        datagrams: false,
    };
    /// A tunnel's socket: finished packets, several at a time.
    pub const DATAGRAMS: Self = Self {
        checksum: false,
        tso: false,
        uso: false,
        datagrams: true,
    };
}

/// What became of the packets given to [`Device::transmit`]; the four counts add up to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transmitted {
    /// Packets the device took.
    pub sent: usize,
    /// Bytes of those.
    pub bytes: usize,
    /// Packets for which it had no room.
    pub full: usize,
    /// Packets it refused.
    pub refused: usize,
    /// Packets larger than the path to where they go carries.
    pub too_big: usize,
}

impl AddAssign for Transmitted {
    fn add_assign(&mut self, other: Self) {
        let Self {
            sent,
            bytes,
            full,
            refused,
            too_big,
        } = other;
        self.sent += sent;
        self.bytes += bytes;
        self.full += full;
        self.refused += refused;
        self.too_big += too_big;
    }
}

/// One worker's queue of one interface.
pub trait Device {
    /// Reads waiting packets into buffers of `pool` and appends them to `into`, up to [`VECTOR`] or
    /// until they have [`VECTOR_BYTES`]. Returns whether the device is now known to be empty.
    ///
    /// # Errors
    /// The device is broken or gone. No packets waiting is no error.
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool>;

    /// Sends `packets` in order. A packet that is not taken is not kept.
    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted;

    /// What it takes as it is.
    fn capabilities(&self) -> Capabilities;
}
