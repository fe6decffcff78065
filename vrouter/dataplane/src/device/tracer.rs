//! A device that shows what passes it.

use std::io;

use super::{Capabilities, Device, Transmitted, Vector};
use crate::buffer::{Buffer, Pool};

/// The way a packet passes a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Into the router.
    Received,
    /// Out of the router; the device may still refuse it.
    Transmitted,
}

/// Shows each packet of `inner` to a function, as the device reads or gets it.
#[derive(Debug)]
pub struct Tracer<D, F> {
    inner: D,
    show: F,
}

impl<D: Device, F: FnMut(Passage, &Buffer)> Tracer<D, F> {
    /// Around a device.
    pub fn new(inner: D, show: F) -> Self {
        Self { inner, show }
    }

    /// The device.
    pub fn into_inner(self) -> D {
        self.inner
    }
}

impl<D: Device, F: FnMut(Passage, &Buffer)> Device for Tracer<D, F> {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        let before = into.len();
        let drained = self.inner.receive(pool, into)?;
        for buffer in &into[before..] {
            (self.show)(Passage::Received, buffer);
        }
        Ok(drained)
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        for buffer in packets.iter() {
            (self.show)(Passage::Transmitted, buffer);
        }
        self.inner.transmit(packets)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
