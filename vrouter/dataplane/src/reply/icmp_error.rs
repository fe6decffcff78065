//! ICMP errors about packets that are not forwarded (RFC 792, RFC 1812 section 4.3, RFC 4443).

use std::net::IpAddr;

use encap::Family;
use encap::icmp::ErrorRepr;
use encap::ip::Ends;

use crate::drop::GenerateReason;
use crate::graph::{IcmpError, NodeId};
use crate::packet::{Headers, Transport};
use crate::tables::Tables;
use crate::worker::{Core, Packet};

pub(crate) fn send(core: &mut Core, tables: &Tables, packet: &Packet, error: IcmpError) {
    let headers = &packet.headers;
    if matches!(headers.transport, Transport::IcmpError { .. })
        || !may_be_told(headers.source)
        || headers.is_to_group()
        || !core.limiter.admit(core.now)
    {
        return;
    }
    // An error goes where a reply would go; what has no way back is not told.
    let Some(adjacency) = tables.route(headers.source, packet.flow_hash()) else {
        return;
    };
    let router = match headers.family {
        Family::V4 => tables.host.router_v4.into(),
        Family::V6 => tables.host.router_v6.into(),
    };
    let Some(ends) = Ends::new(router, headers.source) else {
        return;
    };
    let message = ErrorRepr::new(ends, error, packet.buffer.bytes());
    let built = core.generate(packet.arrival, GenerateReason::IcmpError, |bytes| {
        message.emit(bytes);
        message.buffer_len()
    });
    if let Some(mut error) = built {
        // The rewrite depends on the version; and no error may follow an error.
        match Headers::parse(error.buffer.bytes()) {
            Ok(parsed) => error.headers = parsed,
            Err(reason) => return core.drop_packet(error, reason.into()),
        }
        error.adjacency = adjacency;
        core.spawn(error, NodeId::Forward);
    }
}

/// Whether an address is one that ICMP errors may be sent to.
fn may_be_told(address: IpAddr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}
