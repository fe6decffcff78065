//! Sessions: decided again after the tables changed, cut when policy no longer allows them. What
//! may pass is [`crate::decide`]'s to say.

mod path;
mod tuple;

use encap::tcp;
use policy::flow::{
    Flow, FlowKey, Hit, NO_ENDPOINT, NewSession, Refresh, Seen, Session, SessionId, Verdict,
};
use policy::model::PacketTuple;

use crate::decide::{Decision, PolicyAnswers, Refusal, decide};
use crate::drop::DropReason;
use crate::events::{Denial, Event};
use crate::id::InterfaceId;
use crate::origin::{Arrival, Origin};
use crate::packet::Transport;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

pub(crate) use path::Path;
pub(crate) use tuple::{first_icmp, first_tuple, tuple};

/// Ends a session; the rules that allowed it keep what it carried.
pub(crate) fn end(core: &Core, id: SessionId) {
    let flow = core.flows.flow(id, core.now);
    if core.flows.remove(id) {
        flow.iter().for_each(|flow| core.counters.rules.ended(flow));
    }
}

/// Whether a session's flow may pass under the tables of now; brings it up to date if so. `icmp`
/// is what its first packet was, for flows of queries.
///
/// # Errors
/// Why not. The session is left to its own next packet, which will be told.
pub(crate) fn still_allowed(
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
    match decide_again(tables, &flow, &tuple, &mut PolicyAnswers::default()) {
        Ok(decision) => {
            refresh(core, tables, &flow, &decision);
            Ok(())
        }
        Err(refusal) => Err(refusal.reason),
    }
}

/// Decides a session's flow as if its first packet came now.
pub(crate) fn decide_again(
    tables: &Tables,
    flow: &Flow,
    tuple: &PacketTuple,
    asked: &mut PolicyAnswers,
) -> Result<Decision, Refusal> {
    let arrival = Arrival::by(tables, InterfaceId(flow.owners[0] as u16));
    let arrival = arrival.ok_or(DropReason::InterfaceDown)?;
    let origin = Origin::new(tables, arrival, flow.key.src());
    decide(tables, origin, tuple, flow.key.hash(0), false, asked)
}

/// The session of a flow that may pass, whose first packet came in by `arrival`.
pub(crate) fn new_session(
    key: FlowKey,
    tables: &Tables,
    arrival: InterfaceId,
    decision: &Decision,
    first: Seen,
) -> NewSession {
    let mut session = NewSession::of(key, tables.generation, first);
    session.paths = decision.paths(tables).map(Path::pack);
    session.owners = [owner(arrival), decision.to.map_or(NO_ENDPOINT, owner)];
    session.rules = decision.rules;
    session
}

/// Has a session say what was decided under the tables of now.
pub(crate) fn refresh(core: &Core, tables: &Tables, flow: &Flow, decision: &Decision) {
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
pub(crate) fn cut(core: &Core, tables: &Tables, flow: &Flow) -> bool {
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
pub(crate) fn opens(packet: &Packet) -> bool {
    match packet.headers.transport {
        Transport::Tcp { flags: seen } => seen & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN,
        Transport::Ports
        | Transport::IcmpQuery { .. }
        | Transport::IcmpError { .. }
        | Transport::IcmpOther { .. } => false,
    }
}

/// Tells the agent of a packet that was refused.
pub(crate) fn report(
    core: &Core,
    packet: &mut Packet,
    tuple: &PacketTuple,
    refusal: &Refusal,
    cut: bool,
) {
    packet.reported = true;
    core.report(Event::Denied(Denial {
        at_ms: core.now,
        arrival: Some(packet.arrival.interface),
        tuple: Some(*tuple),
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
}

/// An interface as the flow table knows owners.
pub(crate) fn owner(id: InterfaceId) -> u32 {
    u32::from(id.0)
}
