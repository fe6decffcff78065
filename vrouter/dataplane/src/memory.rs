//! Devices in memory: the whole packet path without root, for tests, simulation and benches.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::buffer::{Buffer, Meta, Pool};
use crate::device::{Capabilities, Device, Transmitted, VECTOR, Vector};

/// A frame on a wire, with what its metadata says.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The bytes, as a device would read or write them.
    pub bytes: Vec<u8>,
    /// Offload, and on tunnel interfaces the other end.
    pub meta: Meta,
}

impl Frame {
    /// A frame without work left to do.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            meta: Meta::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Queues {
    inbound: VecDeque<Frame>,
    outbound: VecDeque<Frame>,
}

/// The other side of a [`MemoryDevice`].
#[derive(Debug, Clone)]
pub struct Wire {
    queues: Arc<Mutex<Queues>>,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        // A poisoned queue is still a queue: a panic elsewhere is reported there.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the device receive a frame.
    pub fn send(&self, frame: Frame) {
        self.lock().inbound.push_back(frame);
    }

    /// The next frame the device transmitted.
    pub fn take(&self) -> Option<Frame> {
        self.lock().outbound.pop_front()
    }

    /// Forgets all frames the device transmitted.
    pub fn discard(&self) {
        self.lock().outbound.clear();
    }

    /// All frames the device transmitted.
    pub fn drain(&self) -> Vec<Frame> {
        self.lock().outbound.drain(..).collect()
    }
}

/// One queue of an interface that exists only in memory.
#[derive(Debug)]
pub struct MemoryDevice {
    wire: Wire,
    capabilities: Capabilities,
    room: usize,
}

impl MemoryDevice {
    /// A device and its other side. It holds at most `room` frames nobody took yet.
    pub fn new(capabilities: Capabilities, room: usize) -> (Self, Wire) {
        let wire = Wire {
            queues: Arc::default(),
        };
        (
            Self {
                wire: wire.clone(),
                capabilities,
                room,
            },
            wire,
        )
    }
}

impl Device for MemoryDevice {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        let mut queues = self.wire.lock();
        while into.len() < VECTOR {
            let Some(frame) = queues.inbound.pop_front() else {
                return Ok(true);
            };
            let Some(mut buffer) = pool.take() else {
                queues.inbound.push_front(frame);
                return Ok(false);
            };
            if buffer.set(&frame.bytes) {
                buffer.meta = frame.meta;
            } else {
                buffer.meta.malformed = true;
            }
            into.push(buffer);
        }
        Ok(queues.inbound.is_empty())
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        let mut queues = self.wire.lock();
        let mut done = Transmitted::default();
        for packet in packets {
            if queues.outbound.len() >= self.room {
                done.full += 1;
                continue;
            }
            done.sent += 1;
            done.bytes += packet.len();
            queues.outbound.push_back(Frame {
                bytes: packet.bytes().to_vec(),
                meta: packet.meta,
            });
        }
        done
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}
