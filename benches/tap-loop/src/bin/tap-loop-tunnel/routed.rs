//! Without encapsulation: between the pod's TAP and a TUN, both of which take every super-packet
//! whole. The kernel does the rest.

use encap::ethernet::HEADER_LEN;
use vrouter_dataplane::buffer::Pool;
use vrouter_dataplane::device::Vector;

use crate::link::{self, Mac};

/// The way of a node that routes.
pub(crate) struct Routed {
    pod: Mac,
}

/// Frames of the pod become the kernel's packets.
pub(crate) fn to_kernel(frames: &mut Vector, pool: &mut Pool, packets: &mut Vector) {
    for mut frame in frames.drain(..) {
        if link::strip(&mut frame, HEADER_LEN) {
            packets.push(frame);
        } else {
            pool.give(frame);
        }
    }
}

impl Routed {
    pub(crate) fn new(pod: Mac) -> Self {
        Self { pod }
    }

    /// Packets of the kernel become frames for the pod.
    pub(crate) fn to_pod(&self, packets: &mut Vector, pool: &mut Pool, frames: &mut Vector) {
        for mut packet in packets.drain(..) {
            if link::to_pod(&mut packet, self.pod) {
                frames.push(packet);
            } else {
                pool.give(packet);
            }
        }
    }
}
