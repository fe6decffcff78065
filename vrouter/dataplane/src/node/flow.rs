//! The session of a packet: current sessions go on, everything else is decided first.

use encap::icmp;
use encap::ip::Quoted;
use policy::flow::{FlowKey, Touch, Verdict};

use crate::adjacency::Adjacency;
use crate::drop::DropReason;
use crate::graph::{Next, NodeId};
use crate::packet::{Headers, Transport};
use crate::session::Path;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

/// The key of a packet that has a session of its own.
pub(crate) fn key(headers: &Headers) -> Option<FlowKey> {
    match headers.transport {
        Transport::Tcp { .. } | Transport::Ports | Transport::IcmpQuery { .. } => FlowKey::new(
            headers.source,
            headers.destination,
            headers.protocol,
            headers.source_port,
            headers.destination_port,
        ),
        Transport::IcmpError { .. } | Transport::IcmpOther { .. } => None,
    }
}

pub(super) fn resolve(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    if tables.host.endpoints.untracked
        && let Some(next) = super::classify::untracked(core, tables, packet)
    {
        return next;
    }
    match packet.headers.transport {
        Transport::IcmpError { .. } => return related(core, tables, packet),
        Transport::IcmpOther { .. } => return Next::To(NodeId::Classify),
        Transport::Tcp { .. } | Transport::Ports | Transport::IcmpQuery { .. } => {}
    }
    let Some(hit) = packet.hit else {
        return Next::To(NodeId::Classify);
    };
    let Some(session) = core.flows.session(hit.session) else {
        // Ended between the lookup and now.
        packet.hit = None;
        return Next::To(NodeId::Classify);
    };
    if session.generation != tables.generation {
        return Next::To(NodeId::Classify);
    }
    match session.verdict {
        Verdict::Allow => {}
        // Cut: each packet is told the rule that did it.
        Verdict::Deny => return Next::To(NodeId::Classify),
    }
    let path = Path::unpack(session.paths[hit.direction.index()]);
    if !path.admits(tables, packet.rx) {
        return Next::Drop(DropReason::Martian);
    }
    packet.adjacency = path.adjacency;
    match core.touch(packet, hit) {
        Touch::Counted => Next::To(NodeId::Forward),
        // The connection ended and a new one begins, which is decided like any new one.
        Touch::Reopened => {
            super::classify::end(core, hit.session);
            packet.hit = None;
            Next::To(NodeId::Classify)
        }
        Touch::Gone => {
            packet.hit = None;
            Next::To(NodeId::Classify)
        }
    }
}

/// An ICMP error belongs to the flow of the packet it quotes (RFC 5508 section 4.2).
fn related(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let quoted = &packet.buffer.bytes()[packet.headers.transport_at + icmp::HEADER_LEN..];
    let Some((key, icmp)) = quoted_key(quoted) else {
        return Next::Drop(DropReason::IcmpErrorUnrelated);
    };
    let Some(adjacency) = tables.route(packet.headers.destination, key.hash(0)) else {
        return Next::Drop(DropReason::NoRoute);
    };
    packet.adjacency = adjacency;
    // It goes to the sender of the quoted packet and nowhere else: or anybody with one flow could
    // send errors about it to everybody, past all policy.
    if key.src() == packet.headers.destination
        && let Some(hit) = core.flows.lookup(&key)
    {
        return match super::classify::still_allowed(core, tables, hit, icmp) {
            Ok(()) => Next::To(NodeId::Forward),
            Err(reason) => Next::Drop(reason),
        };
    }
    // Where no workload is concerned there is no policy to get past, and the flow itself may have
    // taken another way, straight to the host.
    let to_workload = matches!(
        tables.adjacency(adjacency),
        Some(Adjacency::Neighbor { .. })
    );
    if to_workload || tables.workload(packet.rx).is_some() {
        return Next::Drop(DropReason::IcmpErrorUnrelated);
    }
    Next::To(NodeId::Forward)
}

/// The flow key of a quoted packet; type and code of an ICMP query.
fn quoted_key(quoted: &[u8]) -> Option<(FlowKey, Option<(u8, u8)>)> {
    let quoted = Quoted::parse(quoted)?;
    let key = FlowKey::new(
        quoted.source,
        quoted.destination,
        quoted.protocol,
        quoted.source_port,
        quoted.destination_port,
    )?;
    Some((key, quoted.icmp))
}
