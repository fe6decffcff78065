//! One device for the frames of many workloads: `vrouter0`, a TAP whose frames name in a MAC the
//! interface they came in by or are to leave by. The kernel's programs are its other side.

use std::io;

use encap::ethernet;

use super::{Capabilities, Device, Transmitted, Vector};
use crate::adjacency::{GATEWAY_MAC, Mac};
use crate::buffer::{Buffer, Pool};
use crate::id::InterfaceId;

/// How a MAC that names an interface begins.
const INTERFACE_MAC: [u8; 4] = [0x02, 0x76, 0x72, 0x00];

/// The MAC that names an interface.
pub fn interface_mac(id: InterfaceId) -> Mac {
    let [a, b, c, d] = INTERFACE_MAC;
    let [high, low] = id.0.to_be_bytes();
    [a, b, c, d, high, low]
}

/// The interface that a MAC names.
pub fn interface_of(mac: Mac) -> Option<InterfaceId> {
    let (prefix, number) = mac.split_first_chunk()?;
    let number = number.first_chunk()?;
    (*prefix == INTERFACE_MAC).then(|| InterfaceId(u16::from_be_bytes(*number)))
}

/// The interfaces of workloads, by one device: the destination MAC of a received frame names its
/// interface and is the gateway's from here on; the source MAC of a transmitted one names it.
#[derive(Debug)]
pub struct Shared<D>(pub D);

impl<D: Device> Device for Shared<D> {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        let before = into.len();
        let drained = self.0.receive(pool, into);
        into[before..].iter_mut().for_each(read_name);
        drained
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        packets.iter_mut().for_each(write_name);
        self.0.transmit(packets)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

fn read_name(buffer: &mut Buffer) {
    let Some(mut header) = ethernet::Repr::parse(buffer.bytes()) else {
        return;
    };
    buffer.meta.interface = interface_of(header.destination);
    header.destination = GATEWAY_MAC;
    rewrite(buffer, &header);
}

fn write_name(buffer: &mut Buffer) {
    let Some(id) = buffer.meta.interface else {
        return;
    };
    if let Some(mut header) = ethernet::Repr::parse(buffer.bytes()) {
        header.source = interface_mac(id);
        rewrite(buffer, &header);
    }
}

fn rewrite(buffer: &mut Buffer, header: &ethernet::Repr) {
    if let Some(room) = buffer.bytes_mut().first_chunk_mut() {
        header.emit(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_names_an_interface() {
        for id in [0, 1, 0x1234, u16::MAX].map(InterfaceId) {
            assert_eq!(interface_of(interface_mac(id)), Some(id));
        }
        assert_eq!(interface_of([0xee; 6]), None);
        assert_eq!(interface_of([2, 0x76, 0x72, 1, 0, 0]), None);
    }
}
