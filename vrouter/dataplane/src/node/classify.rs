//! A packet whose session says nothing, or nothing that still holds: its flow is decided, as
//! [`crate::decide`] does, and gets a session where it may pass.

use encap::icmp;
use policy::flow::{Direction as FlowDirection, Hit, InsertError, Touch, Verdict};

use crate::decide::{self, Decision, PolicyAnswers, decide};
use crate::drop::DropReason;
use crate::graph::node;
use crate::origin::Origin;
use crate::packet::Transport;
use crate::reply::reset;
use crate::session::{self, first_icmp, first_tuple, tuple};
use crate::tables::Tables;
use crate::worker::{Core, Packet};

node! {
    Classify to [Classify Forward]
    drops [
        Martian NoRoute Blackhole Hairpin StaleAdjacency InterfaceDown EndpointToHost PolicyDenied
        PolicyDefaultDeny FlowTableFull FlowLimit FlowRate FlowInvalid
    ]
    makes [IcmpError PolicyReset]
    ends []
}

#[inline]
pub(super) fn classify(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    if let Some(hit) = packet.hit {
        return renew(core, tables, packet, hit);
    }
    let origin = Origin::new(tables, packet.arrival, packet.headers.source);
    let tuple = tuple(&packet.headers);
    let (hash, untracked) = (packet.flow_hash(), packet.untracked);
    let mut asked = PolicyAnswers::default();
    match decide(tables, origin, &tuple, hash, untracked, &mut asked) {
        Ok(decision) => begin(core, tables, packet, &decision, &asked),
        Err(refusal) => {
            asked.count(core, packet);
            session::report(core, packet, &tuple, &refusal, false);
            refusal.next()
        }
    }
}

/// Begins a flow that may pass.
fn begin(
    core: &mut Core,
    tables: &Tables,
    packet: &mut Packet,
    decision: &Decision,
    asked: &PolicyAnswers,
) -> Next {
    packet.adjacency = decision.forward;
    let Some(key) = packet.key.filter(|_| !packet.untracked) else {
        asked.count(core, packet);
        return Next::To(To::Forward);
    };
    // A reply to nothing is no start of a flow. Where no workload is concerned the request may
    // have taken another way, straight to the host.
    if let Transport::IcmpQuery { kind, .. } = packet.headers.transport
        && icmp::is_reply(kind)
    {
        let from_workload = packet.arrival.is_workload();
        return if from_workload || decision.to.is_some() {
            Next::Drop(DropReason::FlowInvalid)
        } else {
            Next::To(To::Forward)
        };
    }
    let (arrival, first) = (packet.arrival.interface, core.seen(packet));
    let session = session::new_session(key, tables, arrival, decision, first);
    match core.flows.insert(&session, core.now) {
        Ok(session) => {
            packet.hit = Some(Hit {
                session,
                direction: FlowDirection::Original,
            });
            asked.count(core, packet);
            Next::To(To::Forward)
        }
        // A packet of the same flow came first, in this vector or at another worker. This one was
        // allowed by itself, so it need not ask the session, which may be busy or gone already.
        Err(InsertError::Exists(hit)) => {
            packet.hit = Some(hit);
            core.touch(packet, hit);
            Next::To(To::Forward)
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
        return Next::To(To::Classify);
    };
    // What only claims to be of the connection neither cuts it, nor gives its resets their
    // numbers, nor ends what was cut.
    if !decide::admits(tables, packet) {
        return Next::Drop(DropReason::Martian);
    }
    if flow.verdict == Verdict::Deny && session::opens(packet) {
        // The connection that was cut is over; this is another one.
        session::end(core, hit.session);
        packet.hit = None;
        return Next::To(To::Classify);
    }
    let tuple = first_tuple(&flow, first_icmp(&packet.headers));
    let mut asked = PolicyAnswers::default();
    match session::decide_again(tables, &flow, &tuple, &mut asked) {
        Ok(decision) => {
            let paths = decision.paths(tables);
            session::refresh(core, tables, &flow, &decision);
            packet.adjacency = paths[hit.direction.index()].adjacency;
            match core.touch(packet, hit) {
                Touch::Counted => Next::To(To::Forward),
                // The ended connection's ports are used again: see `flow::resolve`.
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
        Err(refusal) => {
            let cut = refusal.is_policy() && session::cut(core, tables, &flow);
            if cut && tables.host.reset_cut {
                reset::send(core, tables, packet);
            }
            if !refusal.is_policy() {
                session::end(core, hit.session);
            }
            // The refusal counts with the packet: no session carries it any more.
            let had = packet.hit.take();
            asked.count(core, packet);
            packet.hit = had;
            session::report(core, packet, &tuple, &refusal, cut);
            refusal.next()
        }
    }
}
