//! Captures: the file format of libpcap, for a [`Tracer`](super::Tracer) to write.

use std::io::{self, Write};

/// What each captured frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header: a workload's TAP.
    Ethernet,
    /// An IP header: the host's TUN.
    Ip,
}

/// Bytes of a frame that are kept, at most.
const LONGEST: u32 = 262_144;

/// Writes a capture.
#[derive(Debug)]
pub struct PcapWriter<W> {
    out: W,
}

impl<W: Write> PcapWriter<W> {
    /// Begins a capture of frames of one kind.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn new(mut out: W, link: LinkType) -> io::Result<Self> {
        // Magic number of microseconds, version 2.4, no time zone, no accuracy stated.
        let kind: u32 = match link {
            LinkType::Ethernet => 1,
            LinkType::Ip => 101,
        };
        for word in [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, LONGEST, kind] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out })
    }

    /// Writes one frame that passed at `at_us`, in microseconds.
    ///
    /// # Errors
    /// The capture cannot be written.
    pub fn write(&mut self, at_us: u64, frame: &[u8]) -> io::Result<()> {
        let length = frame.len() as u32;
        let kept = length.min(LONGEST);
        let seconds = (at_us / 1_000_000) as u32;
        for word in [seconds, (at_us % 1_000_000) as u32, kept, length] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(&frame[..kept as usize])
    }

    /// The file.
    pub fn into_inner(self) -> W {
        self.out
    }
}
