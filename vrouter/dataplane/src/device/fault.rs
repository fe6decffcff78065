//! A device with a bad link: packets get lost or damaged.

use std::io;

use super::{Capabilities, Device, Transmitted, Vector};
use crate::buffer::{Buffer, Pool};

/// How many of 256 packets meet a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chances {
    /// Packets that get lost.
    pub loss: u8,
    /// Packets of which one bit is changed.
    pub damage: u8,
}

/// Loses and damages packets of `inner`, both ways, as the numbers of `random` say.
#[derive(Debug)]
pub struct FaultInjector<D, R> {
    inner: D,
    chances: Chances,
    random: R,
}

impl<D: Device, R: FnMut() -> u32> FaultInjector<D, R> {
    /// Around a device.
    pub fn new(inner: D, chances: Chances, random: R) -> Self {
        Self {
            inner,
            chances,
            random,
        }
    }

    fn happens(&mut self, chance: u8) -> bool {
        (self.random)() % 256 < u32::from(chance)
    }

    fn damage(&mut self, buffer: &mut Buffer) {
        if self.happens(self.chances.damage) && !buffer.is_empty() {
            let bit = (self.random)() as usize % (buffer.len() * 8);
            buffer.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

impl<D: Device, R: FnMut() -> u32> Device for FaultInjector<D, R> {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        let before = into.len();
        let drained = self.inner.receive(pool, into)?;
        let mut at = before;
        while at < into.len() {
            if self.happens(self.chances.loss) {
                pool.give(into.remove(at));
            } else {
                self.damage(&mut into[at]);
                at += 1;
            }
        }
        Ok(drained)
    }

    /// A packet that gets lost on the link was sent, as far as the router can know.
    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        let mut done = Transmitted::default();
        for packet in packets.chunks_mut(1) {
            if self.happens(self.chances.loss) {
                done.sent += 1;
                done.bytes += packet.iter().map(Buffer::len).sum::<usize>();
                continue;
            }
            for buffer in packet.iter_mut() {
                self.damage(buffer);
            }
            done += self.inner.transmit(packet);
        }
        done
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
