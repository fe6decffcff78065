//! The session of a packet: current sessions go on, everything else is decided first.

use encap::icmp;
use encap::ip::Quoted;
use policy::flow::{FlowKey, Touch, Verdict};

use crate::adjacency::Adjacency;
use crate::decide::{self, PolicyAnswers};
use crate::drop::DropReason;
use crate::graph::node;
use crate::origin::Origin;
use crate::packet::{Headers, Transport};
use crate::session::{self, Path, tuple};
use crate::tables::Tables;
use crate::worker::{Core, Packet};

node! {
    Flow to [Classify Forward]
    drops [
        Martian NoRoute Blackhole Hairpin StaleAdjacency InterfaceDown IcmpErrorUnrelated
        EndpointToHost PolicyDenied PolicyDefaultDeny
    ]
    makes []
    ends []
}

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

#[inline]
pub(super) fn resolve(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    if tables.host.endpoints.untracked
        && let Some(next) = untracked(core, tables, packet)
    {
        return next;
    }
    match packet.headers.transport {
        Transport::IcmpError { .. } => return related(core, tables, packet),
        Transport::IcmpOther { .. } => return Next::To(To::Classify),
        Transport::Tcp { .. } | Transport::Ports | Transport::IcmpQuery { .. } => {}
    }
    let Some(hit) = packet.hit else {
        return Next::To(To::Classify);
    };
    let Some(session) = core.flows.session(hit.session) else {
        // Ended between the lookup and now.
        packet.hit = None;
        return Next::To(To::Classify);
    };
    if session.generation != tables.generation {
        return Next::To(To::Classify);
    }
    match session.verdict {
        Verdict::Allow => {}
        // Cut: each packet is told the rule that did it.
        Verdict::Deny => return Next::To(To::Classify),
    }
    let path = Path::unpack(session.paths[hit.direction.index()]);
    if !path.admits(packet.arrival) {
        return Next::Drop(DropReason::Martian);
    }
    packet.adjacency = path.adjacency;
    match core.touch(packet, hit) {
        Touch::Counted => Next::To(To::Forward),
        // The connection ended and a new one begins, which is decided like any new one.
        Touch::Reopened => {
            session::end(core, hit.session);
            packet.hit = None;
            Next::To(To::Classify)
        }
        Touch::Gone => {
            packet.hit = None;
            Next::To(To::Classify)
        }
    }
}

/// `doNotTrack` policies, where the node has any: they see every packet, whatever its session, and
/// what they let in gets none. `None` when they leave the packet to the rest.
fn untracked(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Option<Next> {
    let origin = Origin::new(tables, packet.arrival, packet.headers.source);
    let tuple = tuple(&packet.headers);
    let mut asked = PolicyAnswers::default();
    let verdict = decide::untracked(tables, origin, &tuple, packet.flow_hash(), &mut asked);
    asked.count(core, packet);
    Some(match verdict? {
        Ok(()) => {
            packet.untracked = true;
            packet.hit = None;
            Next::To(To::Classify)
        }
        Err(refusal) => {
            session::report(core, packet, &tuple, &refusal, false);
            refusal.next()
        }
    })
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
        return match session::still_allowed(core, tables, hit, icmp) {
            Ok(()) => Next::To(To::Forward),
            Err(reason) => Next::Drop(reason),
        };
    }
    // Where no workload is concerned there is no policy to get past, and the flow itself may have
    // taken another way, straight to the host.
    let to_workload = matches!(
        tables.adjacency(adjacency),
        Some(Adjacency::Neighbor { .. })
    );
    if to_workload || packet.arrival.is_workload() {
        return Next::Drop(DropReason::IcmpErrorUnrelated);
    }
    Next::To(To::Forward)
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
