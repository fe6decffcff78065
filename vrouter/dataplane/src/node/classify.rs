//! Sessions: begun for a new flow that may pass, decided again after the tables changed, cut when
//! policy no longer allows them. What may pass is `decide`'s to say.

use std::net::IpAddr;

use encap::tcp;
use policy::flow::{
    Direction as FlowDirection, Flow, Hit, InsertError, NO_ENDPOINT, NewSession, Refresh, Session,
    SessionId, Touch, Verdict,
};
use policy::model::PacketTuple;

use super::decide::{self, Asked, Decision, Refusal, decide};
use crate::drop::DropReason;
use crate::events::{Denial, Event};
use crate::graph::{Next, NodeId};
use crate::host_endpoint::Origin;
use crate::id::InterfaceId;
use crate::packet::{Headers, Transport};
use crate::session::Path;
use crate::tables::Tables;
use crate::worker::{Core, Packet};
use encap::{icmp, protocol};

/// Ends a session; the rules that allowed it keep what it carried.
pub(super) fn end(core: &Core, id: SessionId) {
    let flow = core.flows.flow(id, core.now);
    if core.flows.remove(id) {
        flow.iter().for_each(|flow| core.counters.rules.ended(flow));
    }
}

pub(super) fn classify(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    if let Some(hit) = packet.hit {
        return renew(core, tables, packet, hit);
    }
    let Some(origin) = Origin::of(tables, packet.rx, packet.headers.source) else {
        return Next::Drop(DropReason::InterfaceDown);
    };
    let tuple = tuple(&packet.headers);
    let (hash, untracked) = (packet.flow_hash(), packet.untracked);
    let mut asked = Asked::default();
    match decide(tables, origin, &tuple, hash, untracked, &mut asked) {
        Ok(decision) => begin(core, tables, packet, &decision, &asked),
        Err(refusal) => {
            asked.count(core, packet);
            refuse(core, packet, &tuple, &refusal, false)
        }
    }
}

/// `doNotTrack` policies, where the node has any: they see every packet, whatever its session, and
/// what they let in gets none. `None` when they leave the packet to the rest.
pub(super) fn untracked(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Option<Next> {
    let origin = Origin::of(tables, packet.rx, packet.headers.source)?;
    let tuple = tuple(&packet.headers);
    let mut asked = Asked::default();
    let said = decide::untracked(tables, origin, &tuple, packet.flow_hash(), &mut asked);
    asked.count(core, packet);
    Some(match said? {
        Ok(()) => {
            packet.untracked = true;
            packet.hit = None;
            Next::To(NodeId::Classify)
        }
        Err(refusal) => refuse(core, packet, &tuple, &refusal, false),
    })
}

/// Begins a flow that may pass.
fn begin(
    core: &mut Core,
    tables: &Tables,
    packet: &mut Packet,
    decision: &Decision,
    asked: &Asked,
) -> Next {
    packet.adjacency = decision.forward;
    let Some(key) = packet.key.filter(|_| !packet.untracked) else {
        asked.count(core, packet);
        return Next::To(NodeId::Forward);
    };
    // A reply to nothing is no start of a flow. Where no workload is concerned the request may
    // have taken another way, straight to the host.
    if let Transport::IcmpQuery { kind, .. } = packet.headers.transport
        && icmp::is_reply(kind)
    {
        let from_workload = tables.workload(packet.rx).is_some();
        return if from_workload || decision.to.is_some() {
            Next::Drop(DropReason::FlowInvalid)
        } else {
            Next::To(NodeId::Forward)
        };
    }
    let mut session = NewSession::of(key, tables.generation, core.seen(packet));
    session.paths = decision.paths(tables).map(Path::pack);
    session.owners = [owner(packet.rx), decision.to.map_or(NO_ENDPOINT, owner)];
    session.rules = decision.rules;
    match core.flows.insert(&session, core.now) {
        Ok(session) => {
            packet.hit = Some(Hit {
                session,
                direction: FlowDirection::Original,
            });
            asked.count(core, packet);
            Next::To(NodeId::Forward)
        }
        // A packet of the same flow came first, in this vector or at another worker. This one was
        // allowed by itself, so it need not ask the session, which may be busy or gone already.
        Err(InsertError::Exists(hit)) => {
            packet.hit = Some(hit);
            core.touch(packet, hit);
            Next::To(NodeId::Forward)
        }
        Err(InsertError::Full) => Next::Drop(DropReason::FlowTableFull),
        Err(InsertError::EndpointLimit(_)) => Next::Drop(DropReason::FlowLimit),
        Err(InsertError::RateLimited) => Next::Drop(DropReason::FlowRate),
        Err(InsertError::MidStream) => Next::Drop(DropReason::FlowInvalid),
    }
}

/// A session made under other tables, or one that policy cut: its fate is decided again, as its
/// first packet's was.
fn renew(core: &mut Core, tables: &Tables, packet: &mut Packet, hit: Hit) -> Next {
    let Some(flow) = core.flows.flow(hit.session, core.now) else {
        packet.hit = None;
        return Next::To(NodeId::Classify);
    };
    // What only claims to be of the connection neither cuts it, nor gives its resets their
    // numbers, nor ends what was cut.
    if !decide::admits(tables, packet) {
        return Next::Drop(DropReason::Martian);
    }
    if flow.verdict == Verdict::Deny && opens(packet) {
        // The connection that was cut is over; this is another one.
        end(core, hit.session);
        packet.hit = None;
        return Next::To(NodeId::Classify);
    }
    let tuple = first_tuple(&flow, first_icmp(&packet.headers));
    let mut asked = Asked::default();
    match decide_again(tables, &flow, &tuple, &mut asked) {
        Ok(decision) => {
            let paths = decision.paths(tables);
            refresh(core, tables, &flow, &decision);
            packet.adjacency = paths[hit.direction.index()].adjacency;
            match core.touch(packet, hit) {
                Touch::Counted => Next::To(NodeId::Forward),
                // The ended connection's ports are used again: see `flow::resolve`.
                Touch::Reopened => {
                    end(core, hit.session);
                    packet.hit = None;
                    Next::To(NodeId::Classify)
                }
                Touch::Gone => {
                    packet.hit = None;
                    Next::To(NodeId::Classify)
                }
            }
        }
        Err(refusal) => {
            let cut = refusal.is_policy() && cut(core, tables, &flow);
            if cut && tables.host.reset_cut {
                super::reset::send(core, tables, packet);
            }
            if !refusal.is_policy() {
                end(core, hit.session);
            }
            // The refusal counts with the packet: no session carries it any more.
            let had = packet.hit.take();
            asked.count(core, packet);
            packet.hit = had;
            refuse(core, packet, &tuple, &refusal, cut)
        }
    }
}

/// Whether a session's flow may pass under the tables of now; brings it up to date if so. `icmp`
/// is what its first packet was, for flows of queries.
///
/// # Errors
/// Why not. The session is left to its own next packet, which will be told.
pub(super) fn still_allowed(
    core: &Core,
    tables: &Tables,
    hit: Hit,
    icmp: Option<(u8, u8)>,
) -> Result<(), DropReason> {
    let session = core
        .flows
        .session(hit.session)
        .ok_or(DropReason::IcmpErrorUnrelated)?;
    if session.generation == tables.generation {
        return match session.verdict {
            Verdict::Allow => Ok(()),
            Verdict::Deny => Err(DropReason::PolicyDenied),
        };
    }
    let flow = core
        .flows
        .flow(hit.session, core.now)
        .ok_or(DropReason::IcmpErrorUnrelated)?;
    let tuple = first_tuple(&flow, icmp);
    match decide_again(tables, &flow, &tuple, &mut Asked::default()) {
        Ok(decision) => {
            refresh(core, tables, &flow, &decision);
            Ok(())
        }
        Err(refusal) => Err(refusal.reason),
    }
}

/// Decides a session's flow as if its first packet came now.
fn decide_again(
    tables: &Tables,
    flow: &Flow,
    tuple: &PacketTuple,
    asked: &mut Asked,
) -> Result<Decision, Refusal> {
    let arrival = InterfaceId(flow.owners[0] as u16);
    let origin = Origin::of(tables, arrival, flow.key.src()).ok_or(DropReason::InterfaceDown)?;
    decide(tables, origin, tuple, flow.key.hash(0), false, asked)
}

/// Has a session say what was decided under the tables of now.
fn refresh(core: &Core, tables: &Tables, flow: &Flow, decision: &Decision) {
    let session = Session {
        generation: tables.generation,
        verdict: Verdict::Allow,
        paths: decision.paths(tables).map(Path::pack),
    };
    match core.flows.refresh(flow.id, &session, decision.rules) {
        Refresh::Done => core.counters.rules.moved(flow, decision.rules),
        Refresh::Raced | Refresh::Gone => {}
    }
}

/// Has a session deny its packets from now on, of both directions: were it forgotten, the next
/// packet against the first one's direction would begin it anew the other way round. True when it
/// allowed them until now and no other worker was first.
fn cut(core: &Core, tables: &Tables, flow: &Flow) -> bool {
    match flow.verdict {
        Verdict::Allow => {}
        Verdict::Deny => return false,
    }
    let session = Session {
        generation: tables.generation,
        verdict: Verdict::Deny,
        paths: flow.paths,
    };
    let rules = [0; 2];
    match core.flows.refresh(flow.id, &session, rules) {
        Refresh::Done => {
            core.counters.rules.moved(flow, rules);
            core.counters.flows_cut.add(1);
            true
        }
        Refresh::Raced | Refresh::Gone => false,
    }
}

/// Whether a packet can only be the first of a connection.
fn opens(packet: &Packet) -> bool {
    match packet.headers.transport {
        Transport::Tcp { flags: seen } => seen & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN,
        Transport::Ports
        | Transport::IcmpQuery { .. }
        | Transport::IcmpError { .. }
        | Transport::IcmpOther { .. } => false,
    }
}

fn refuse(
    core: &mut Core,
    packet: &Packet,
    tuple: &PacketTuple,
    refusal: &Refusal,
    cut: bool,
) -> Next {
    core.report(Event::Denied(Denial {
        at_ms: core.now,
        arrival: packet.rx,
        tuple: *tuple,
        length: packet.buffer.len() as u32,
        reason: refusal.reason,
        rule: refusal.rule,
        identifier: match packet.headers.transport {
            Transport::IcmpQuery { .. } => Some(packet.headers.source_port),
            Transport::Tcp { .. }
            | Transport::Ports
            | Transport::IcmpError { .. }
            | Transport::IcmpOther { .. } => None,
        },
        cut,
    }));
    match refusal.tell {
        Some(error) => Next::Reject(refusal.reason, error),
        None => Next::Drop(refusal.reason),
    }
}

fn tuple(headers: &Headers) -> PacketTuple {
    let (icmp_type, icmp_code) = headers.icmp().unwrap_or_default();
    PacketTuple {
        source: headers.source,
        destination: headers.destination,
        protocol: headers.protocol,
        source_port: ports_of(headers, headers.source_port),
        destination_port: ports_of(headers, headers.destination_port),
        icmp_type,
        icmp_code,
    }
}

/// What policy sees of a port field: nothing where it is an ICMP identifier.
fn ports_of(headers: &Headers, field: u16) -> u16 {
    match headers.transport {
        Transport::Tcp { .. } | Transport::Ports => field,
        Transport::IcmpQuery { .. } | Transport::IcmpError { .. } | Transport::IcmpOther { .. } => {
            0
        }
    }
}

/// The tuple of a session's first packet.
fn first_tuple(flow: &Flow, icmp: Option<(u8, u8)>) -> PacketTuple {
    let key = &flow.key;
    let tuple = PacketTuple::new(key.src(), key.dst(), key.protocol());
    match key.protocol() {
        // Their keys carry an identifier, which is no port to policy.
        protocol::ICMP | protocol::ICMPV6 => {
            let (kind, code) = icmp.unwrap_or_default();
            tuple.with_icmp(kind, code)
        }
        _ => tuple.with_ports(key.src_port(), key.dst_port()),
    }
}

/// Type and code of the message that started the flow a packet belongs to.
fn first_icmp(headers: &Headers) -> Option<(u8, u8)> {
    match headers.transport {
        Transport::IcmpQuery { kind, code } => Some(icmp::query(headers.protocol, kind, code)),
        Transport::IcmpError { .. }
        | Transport::IcmpOther { .. }
        | Transport::Tcp { .. }
        | Transport::Ports => None,
    }
}

/// An interface as the flow table knows owners.
fn owner(id: InterfaceId) -> u32 {
    u32::from(id.0)
}

/// Whether an address is one that ICMP errors may be sent to.
pub(super) fn may_be_told(address: IpAddr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}
