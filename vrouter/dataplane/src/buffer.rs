//! Packet memory: buffers with headroom, and the pool a worker takes them from.
//!
//! A buffer holds one packet, one GSO super-packet, or — on a tunnel interface — several datagrams
//! of equal size back to back (what `UDP_SEGMENT` sends and `UDP_GRO` receives). Bytes before
//! `start` are headroom for encapsulation.

use std::net::IpAddr;
use std::ops::Range;

use encap::offload::Offload;

use crate::id::InterfaceId;

/// Bytes kept free in front of a received frame.
pub const HEADROOM: usize = 128;
/// The largest frame: an IP packet of 65,535 bytes behind an Ethernet header.
pub const FRAME_MAX: usize = 65_535 + 14;
/// Size of every buffer.
pub const CAPACITY: usize = HEADROOM + FRAME_MAX + 51;

/// What is known of a buffer's bytes besides the bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meta {
    /// Checksum and segmentation work left to do, offsets relative to the first byte.
    pub offload: Offload,
    /// Received: the interface, where the device has those of several. To be transmitted: the one to leave by.
    pub interface: Option<InterfaceId>,
    /// On tunnel interfaces: the node on the other side of the underlay.
    pub remote: Option<IpAddr>,
    /// On tunnel interfaces: the outer TOS or traffic class (RFC 2474, RFC 3168).
    pub tos: u8,
    /// On tunnel interfaces: size of each datagram in the buffer; 0 when there is just one.
    pub segment: u16,
    /// On tunnel interfaces: hash of the inner flow, for the outer source port.
    pub flow_hash: u32,
    /// The device could not make sense of its own header or cut the packet off: to be dropped
    /// (and counted) unread.
    pub malformed: bool,
}

/// Owned packet memory.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// See [`Meta`].
    pub meta: Meta,
}

impl Buffer {
    /// A new, empty buffer. Not for the packet path: take one from a [`Pool`].
    pub fn new() -> Self {
        Self {
            bytes: vec![0; CAPACITY].into_boxed_slice(),
            start: HEADROOM,
            end: HEADROOM,
            meta: Meta::default(),
        }
    }

    /// A buffer that holds a copy of `bytes`.
    ///
    /// # Panics
    /// When `bytes` is longer than [`FRAME_MAX`].
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut buffer = Self::new();
        assert!(buffer.set(bytes), "a frame is at most FRAME_MAX bytes");
        buffer
    }

    /// Number of bytes held.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes held.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The bytes held, writable.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Free bytes in front.
    pub fn headroom(&self) -> usize {
        self.start
    }

    /// Forgets content and metadata.
    pub fn clear(&mut self) {
        self.start = HEADROOM;
        self.end = HEADROOM;
        self.meta = Meta::default();
    }

    /// Replaces the content with a copy of `bytes`; `false` when it does not fit.
    #[must_use]
    pub fn set(&mut self, bytes: &[u8]) -> bool {
        self.clear();
        let Some(room) = self.bytes.get_mut(HEADROOM..HEADROOM + bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.end = HEADROOM + bytes.len();
        true
    }

    /// The memory a device reads into: `prefix` bytes of device header, then the frame, which
    /// will start at [`HEADROOM`]. Follow with [`Buffer::received`].
    pub fn receive_area(&mut self, prefix: usize) -> &mut [u8] {
        self.clear();
        &mut self.bytes[HEADROOM - prefix..]
    }

    /// Says that the device wrote a frame of `len` bytes (without its header).
    pub fn received(&mut self, len: usize) {
        self.start = HEADROOM;
        self.end = (HEADROOM + len).min(self.bytes.len());
    }

    /// Free memory behind the headroom, for a packet written from scratch; then [`Buffer::received`].
    pub fn blank(&mut self) -> &mut [u8] {
        self.receive_area(0)
    }

    /// Removes `n` bytes from the front; `false` when there are fewer.
    #[must_use]
    pub fn strip(&mut self, n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        self.start += n;
        true
    }

    /// Grows by `n` bytes at the front and returns them; `None` without headroom.
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let start = self.start.checked_sub(n)?;
        self.start = start;
        Some(&mut self.bytes[start..start + n])
    }

    /// The bytes of the `n` before the content, for a device header, with the content behind them.
    pub fn with_prefix(&mut self, prefix: &[u8]) -> Option<&[u8]> {
        let at = self.start.checked_sub(prefix.len())?;
        self.bytes[at..self.start].copy_from_slice(prefix);
        Some(&self.bytes[at..self.end])
    }

    /// Puts `bytes` behind the content; `false` when they do not fit.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(self.end..self.end + bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    /// Cuts the content to its first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    /// Keeps only `range` of the content; `false` when it does not lie inside.
    #[must_use]
    pub fn narrow(&mut self, range: Range<usize>) -> bool {
        if range.start > range.end || range.end > self.len() {
            return false;
        }
        self.end = self.start + range.end;
        self.start += range.start;
        true
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

/// A bounded stock of buffers owned by one worker.
///
/// Memory is taken from the system when the stock first runs dry and kept until `limit` buffers
/// exist; from then on an empty pool means a counted drop. Last in, first out, so that the warm
/// buffer is used again.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Buffer>,
    made: usize,
    limit: usize,
}

impl Pool {
    /// How many buffers are made at a time when the stock runs dry.
    const REFILL: usize = 16;

    /// A pool of at most `limit` buffers.
    pub fn new(limit: usize) -> Self {
        Self {
            free: Vec::with_capacity(limit),
            made: 0,
            limit,
        }
    }

    /// An empty buffer, or `None` when all are in use.
    pub fn take(&mut self) -> Option<Buffer> {
        if self.free.is_empty() {
            self.refill();
        }
        self.free.pop()
    }

    #[cold]
    fn refill(&mut self) {
        let more = Self::REFILL.min(self.limit - self.made);
        self.free.extend((0..more).map(|_| Buffer::new()));
        self.made += more;
    }

    /// Takes a buffer back.
    pub fn give(&mut self, mut buffer: Buffer) {
        buffer.clear();
        if self.free.len() < self.limit {
            self.free.push(buffer);
        }
    }

    /// Buffers that can still be taken.
    pub fn available(&self) -> usize {
        self.free.len() + self.limit - self.made
    }

    /// The most buffers there can be.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_grows_and_shrinks() {
        let mut buffer = Buffer::from_slice(&[1, 2, 3, 4]);
        assert!(buffer.strip(2));
        assert!(!buffer.strip(3));
        buffer.prepend(1).unwrap()[0] = 9;
        assert_eq!(buffer.bytes(), [9, 3, 4]);
        assert!(buffer.prepend(HEADROOM + 100).is_none());
        assert!(buffer.narrow(1..2));
        assert_eq!(buffer.bytes(), [3]);
        assert!(buffer.append(&[7, 8]));
        assert_eq!(buffer.bytes(), [3, 7, 8]);
        assert!(!buffer.append(&vec![0; CAPACITY]));
    }

    #[test]
    fn a_pool_is_bounded() {
        let mut pool = Pool::new(20);
        let taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), 20);
        assert_eq!(pool.available(), 0);
        taken.into_iter().for_each(|b| pool.give(b));
        assert_eq!(pool.available(), 20);
    }
}
