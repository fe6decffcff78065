//! Echo requests to the gateway are answered in place (RFC 792, RFC 4443 section 4.2).

use encap::icmp;

use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::node;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

node! {
    Echo to [Transmit]
    drops [IpBadHeader InterfaceDown NoBuffer]
    makes [EchoReply]
    ends [Echo]
}

#[inline]
pub(super) fn answer(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let Some(workload) = tables.workload(packet.arrival.interface) else {
        return Next::Drop(DropReason::InterfaceDown);
    };
    let request = packet.buffer.bytes();
    let headers = &packet.headers;
    if request.len() > encap::ip::LONGEST {
        return Next::Drop(DropReason::IpBadHeader);
    }
    let sent = core.generate(packet.arrival, GenerateReason::EchoReply, |bytes| {
        let reply = &mut bytes[..request.len()];
        reply.copy_from_slice(request);
        icmp::reply_to_echo(headers, reply);
        request.len()
    });
    core.on_link(sent, workload, headers.family.into(), To::Transmit);
    Next::Consume(ConsumeReason::Echo)
}
