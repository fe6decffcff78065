//! The last node: what the device does not take as it is, is done here.

use encap::offload::Offload;

use crate::drop::DropReason;
use crate::graph::node;
use crate::worker::{Core, Packet};

node! {
    Transmit to []
    drops [OffloadMalformed InterfaceDown TxFull TxError TxTooBig]
    makes []
    ends []
}

#[inline]
pub(super) fn adapt(core: &mut Core, packet: &mut Packet) -> Next {
    let offload = packet.buffer.meta.offload;
    match offload {
        Offload::None | Offload::Segmented(..) => {}
        Offload::Verified => {
            if !core.capabilities(packet.out).checksum {
                packet.buffer.meta.offload = Offload::None;
            }
        }
        Offload::Partial(_) => {
            if !core.capabilities(packet.out).checksum {
                match encap::checksum::complete(packet.buffer.bytes_mut(), offload) {
                    Ok(done) => packet.buffer.meta.offload = done,
                    Err(_) => return Next::Drop(DropReason::OffloadMalformed),
                }
            }
        }
    }
    Next::Tx(packet.out)
}
