//! A device that receives the same frames again and again, and only counts what it sends.

use std::io;

use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Transmitted, VECTOR, Vector};
use vrouter_dataplane::memory::Frame;

/// How frames change from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not at all.
    Same,
    /// Each has another source port, at this offset.
    Port(usize),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Repeating {
    frames: Vec<Frame>,
    change: Change,
    next: u32,
    capabilities: Capabilities,
    /// Frames taken for transmission.
    pub(crate) sent: u64,
}

impl Repeating {
    pub(crate) fn new(frames: Vec<Frame>, change: Change, capabilities: Capabilities) -> Self {
        Self {
            frames,
            change,
            next: 0,
            capabilities,
            sent: 0,
        }
    }
}

impl Device for Repeating {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        for frame in self.frames.iter().cycle().take(VECTOR) {
            let Some(mut buffer) = pool.take() else { break };
            if !buffer.set(&frame.bytes) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            buffer.meta = frame.meta;
            if let Change::Port(at) = self.change {
                self.next = self.next.wrapping_add(1);
                let port = self.next.to_be_bytes();
                // Ports alone are too few for a long run; the destination's change with them.
                buffer.bytes_mut()[at..at + 4].copy_from_slice(&port);
            }
            into.push(buffer);
        }
        Ok(true)
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        self.sent += packets.len() as u64;
        Transmitted {
            sent: packets.len(),
            ..Transmitted::default()
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}
