//! Route and policy of a new flow, and of an old one after the tables changed.
//!
//! Order as in Calico: routing, then the source's egress policy, then the destination's ingress
//! policy or the host's endpoint-to-host action. A host always reaches its own workloads.

use std::net::IpAddr;

use policy::compile::{Hits, RuleId, RuleKind, Verdict as Opinion};
use policy::flow::{
    Direction as FlowDirection, Hit, InsertError, NO_ENDPOINT, NewSession, Refresh, Session,
    SessionId, Touch, Verdict,
};
use policy::model::{Direction, PacketTuple};

use crate::adjacency::Adjacency;
use crate::drop::DropReason;
use crate::events::{Denial, Event};
use crate::graph::{IcmpError, Next, NodeId};
use crate::hits::Hit as RuleHit;
use crate::id::{AdjacencyId, InterfaceId};
use crate::packet::{Headers, Transport, Version};
use crate::session::Path;
use crate::tables::{InterfaceKind, Tables};
use crate::worker::{Core, Packet};

/// What was found out about a flow that may pass.
struct Decision {
    forward: AdjacencyId,
    reverse: AdjacencyId,
    /// The workload it goes to, if it is one of ours.
    to: Option<InterfaceId>,
    /// The rules that allowed it, egress then ingress.
    rules: [u32; 2],
}

impl Decision {
    /// The session's directions, by [`FlowDirection::index`].
    fn paths(&self, tables: &Tables) -> [Path; 2] {
        [
            Path {
                adjacency: self.forward,
                home: home(tables, self.reverse),
            },
            Path {
                adjacency: self.reverse,
                home: home(tables, self.forward),
            },
        ]
    }
}

/// Where packets come from whose way back is this, if that is known for sure.
fn home(tables: &Tables, back: AdjacencyId) -> Option<InterfaceId> {
    match tables.adjacency(back)? {
        Adjacency::Neighbor { out, .. }
        | Adjacency::Host {
            out, local: true, ..
        } => Some(*out),
        Adjacency::Host { local: false, .. }
        | Adjacency::Tunnel { .. }
        | Adjacency::Group(_)
        | Adjacency::Drop(_) => None,
    }
}

/// Why a flow may not pass.
struct Refusal {
    reason: DropReason,
    tell: Option<IcmpError>,
    /// The rule that refused it, and whose.
    rule: Option<(InterfaceId, Direction, RuleId)>,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self {
            reason,
            tell: None,
            rule: None,
        }
    }
}

/// What the policies of both ends said of a new flow, to be counted once its fate is known.
#[derive(Default)]
struct Asked([Option<(InterfaceId, Direction, Opinion)>; 2]);

impl Asked {
    /// Counts a flow with its first packet, which a session counts by itself if there is one.
    fn count(&self, core: &Core, packet: &Packet) {
        let seen = core.seen(packet);
        let add = |hit: &RuleHit, first: bool| {
            hit.flows.add(1);
            if first {
                hit.add(seen.packets.into(), seen.bytes.into());
            }
        };
        for (id, direction, opinion) in self.0.iter().flatten() {
            if opinion.rule == RuleId::NO_PROFILE {
                add(core.counters.unmatched(*id, *direction), true);
            } else if let Some(hit) = core.counters.rules.of(opinion.rule.index() as u32) {
                add(hit, packet.hit.is_none());
            }
            let aside = [&opinion.staged, &opinion.logged, &opinion.passed].map(Hits::as_slice);
            for rule in aside.into_iter().flatten() {
                if let Some(hit) = core.counters.rules.of(rule.index() as u32) {
                    add(hit, true);
                }
            }
        }
    }
}

/// Ends a session; the rules that allowed it keep what it carried.
pub(super) fn end(core: &Core, id: SessionId) {
    let flow = core.flows.flow(id, core.now);
    if core.flows.remove(id) {
        flow.iter().for_each(|flow| core.counters.rules.ended(flow));
    }
}

/// Who sends a flow, as far as policy is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Workload(InterfaceId),
    Host,
    Underlay,
}

impl Origin {
    fn of(tables: &Tables, arrival: InterfaceId) -> Result<Self, Refusal> {
        match tables.interface(arrival).map(|interface| &interface.kind) {
            Some(InterfaceKind::Workload(_)) => Ok(Self::Workload(arrival)),
            Some(InterfaceKind::Host) => Ok(Self::Host),
            Some(InterfaceKind::Vxlan(_) | InterfaceKind::Ipip) => Ok(Self::Underlay),
            None => Err(DropReason::InterfaceDown.into()),
        }
    }
}

pub(super) fn classify(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    if let Some(hit) = packet.hit {
        return renew(core, tables, packet, hit);
    }
    let tuple = tuple(&packet.headers);
    let mut asked = Asked::default();
    let decision = Origin::of(tables, packet.rx)
        .and_then(|origin| decide(tables, origin, &tuple, packet.flow_hash(), &mut asked));
    match decision {
        Ok(decision) => begin(core, tables, packet, &decision, &asked),
        Err(refusal) => {
            asked.count(core, packet);
            refuse(core, packet, &tuple, &refusal)
        }
    }
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
    let Some(key) = packet.key else {
        asked.count(core, packet);
        return Next::To(NodeId::Forward);
    };
    // A reply to nothing is no start of a flow. Where no workload is concerned the request may
    // have taken another way, straight to the host.
    if let Transport::IcmpQuery {
        kind: 0 | 14 | 129, ..
    } = packet.headers.transport
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
        Err(InsertError::EndpointLimit(_) | InsertError::RateLimited) => {
            Next::Drop(DropReason::FlowLimit)
        }
        Err(InsertError::MidStream) => Next::Drop(DropReason::FlowInvalid),
    }
}

/// A session made under other tables: its fate is decided again, as its first packet's was.
fn renew(core: &mut Core, tables: &Tables, packet: &mut Packet, hit: Hit) -> Next {
    let Some(flow) = core.flows.flow(hit.session, core.now) else {
        packet.hit = None;
        return Next::To(NodeId::Classify);
    };
    let (icmp_type, icmp_code) = first_icmp(&packet.headers).unwrap_or_default();
    let tuple = PacketTuple {
        source: flow.key.src(),
        destination: flow.key.dst(),
        protocol: flow.key.protocol(),
        // ICMP flows carry their identifier in the key, which is no port to policy.
        source_port: packet.headers.ports_of(flow.key.src_port()),
        destination_port: packet.headers.ports_of(flow.key.dst_port()),
        icmp_type,
        icmp_code,
    };
    let arrival = InterfaceId(flow.owners[0] as u16);
    let mut asked = Asked::default();
    let hash = flow.key.hash(0);
    let decision = Origin::of(tables, arrival)
        .and_then(|origin| decide(tables, origin, &tuple, hash, &mut asked));
    match decision {
        Ok(decision) => {
            let paths = decision.paths(tables);
            let session = Session {
                generation: tables.generation,
                verdict: Verdict::Allow,
                paths: paths.map(Path::pack),
            };
            match core.flows.refresh(hit.session, &session, decision.rules) {
                Refresh::Done => core.counters.rules.moved(&flow, decision.rules),
                Refresh::Raced | Refresh::Gone => {}
            }
            let path = paths[hit.direction.index()];
            if !path.admits(tables, packet.rx) {
                return Next::Drop(DropReason::Martian);
            }
            packet.adjacency = path.adjacency;
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
            core.counters
                .flows_cut
                .add(u64::from(refusal.rule.is_some()));
            end(core, hit.session);
            // The refusal counts with the packet, for which there is no session any more.
            let cut = packet.hit.take();
            asked.count(core, packet);
            packet.hit = cut;
            refuse(core, packet, &tuple, &refusal)
        }
    }
}

/// Routes a flow and asks the policies of both ends.
fn decide(
    tables: &Tables,
    origin: Origin,
    tuple: &PacketTuple,
    hash: u64,
    asked: &mut Asked,
) -> Result<Decision, Refusal> {
    let unreachable = Refusal {
        reason: DropReason::NoRoute,
        tell: Some(IcmpError::NetUnreachable),
        rule: None,
    };
    let forward = tables.route(tuple.destination, hash).ok_or(unreachable)?;
    // Replies of a source without a route meet the same end as any packet to it: adjacency 0.
    let reverse = tables.route(tuple.source, hash).unwrap_or(AdjacencyId(0));
    refuse_local_source(tables, origin, reverse)?;
    let mut rules = [0; 2];
    if let Origin::Workload(id) = origin {
        rules[0] = allowed(tables, id, Direction::Egress, tuple, &mut asked.0[0])?;
    }
    let mut to = None;
    match tables
        .adjacency(forward)
        .ok_or(DropReason::StaleAdjacency)?
    {
        Adjacency::Drop(DropReason::NoRoute) => {
            return Err(Refusal {
                reason: DropReason::NoRoute,
                tell: Some(IcmpError::NetUnreachable),
                rule: None,
            });
        }
        Adjacency::Drop(reason) => return Err((*reason).into()),
        // `Tables::route` has chosen a member already.
        Adjacency::Group(_) => return Err(DropReason::StaleAdjacency.into()),
        Adjacency::Neighbor { out, .. } => {
            to = Some(*out);
            if !(origin == Origin::Host && tables.host.addresses.contains(&tuple.source)) {
                rules[1] = allowed(tables, *out, Direction::Ingress, tuple, &mut asked.0[1])?;
            }
        }
        Adjacency::Host { local, .. } => {
            if origin == Origin::Host {
                return Err(DropReason::Hairpin.into());
            }
            let from_workload = matches!(origin, Origin::Workload(_));
            if *local && from_workload && !tables.host.accepts_endpoints {
                return Err(DropReason::EndpointToHost.into());
            }
        }
        Adjacency::Tunnel { .. } => {
            if origin == Origin::Underlay {
                return Err(DropReason::Hairpin.into());
            }
        }
    }
    Ok(Decision {
        forward,
        reverse,
        to,
        rules,
    })
}

/// Our own addresses cannot come in from outside (RFC 1812 section 5.3.8).
fn refuse_local_source(
    tables: &Tables,
    origin: Origin,
    reverse: AdjacencyId,
) -> Result<(), Refusal> {
    let ours = match tables.adjacency(reverse) {
        Some(Adjacency::Neighbor { .. }) => !matches!(origin, Origin::Workload(_)),
        Some(Adjacency::Host { local: true, .. }) => origin != Origin::Host,
        Some(
            Adjacency::Host { local: false, .. }
            | Adjacency::Tunnel { .. }
            | Adjacency::Group(_)
            | Adjacency::Drop(_),
        )
        | None => false,
    };
    if ours {
        Err(DropReason::Martian.into())
    } else {
        Ok(())
    }
}

/// Asks one endpoint's policy; the rule that allowed it, or the refusal.
fn allowed(
    tables: &Tables,
    id: InterfaceId,
    direction: Direction,
    tuple: &PacketTuple,
    asked: &mut Option<(InterfaceId, Direction, Opinion)>,
) -> Result<u32, Refusal> {
    let workload = tables.workload(id).ok_or(DropReason::InterfaceDown)?;
    let verdict = tables.policy.evaluate(workload.policy, direction, tuple);
    *asked = Some((id, direction, verdict));
    if verdict.allow {
        return Ok(verdict.rule.index() as u32);
    }
    let by_rule = match tables.policy.rule(verdict.rule).map(|rule| rule.kind) {
        Some(RuleKind::Policy | RuleKind::Profile) => true,
        Some(
            RuleKind::TierDefault
            | RuleKind::NoProfile
            | RuleKind::Undecided
            | RuleKind::Forward
            | RuleKind::Failsafe
            | RuleKind::NoEndpoint,
        )
        | None => false,
    };
    Err(Refusal {
        reason: if by_rule {
            DropReason::PolicyDenied
        } else {
            DropReason::PolicyDefaultDeny
        },
        tell: None,
        rule: Some((id, direction, verdict.rule)),
    })
}

fn refuse(core: &mut Core, packet: &Packet, tuple: &PacketTuple, refusal: &Refusal) -> Next {
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
        cut: packet.hit.is_some(),
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
        source_port: headers.ports_of(headers.source_port),
        destination_port: headers.ports_of(headers.destination_port),
        icmp_type,
        icmp_code,
    }
}

/// Type and code of the message that started the flow a packet belongs to.
fn first_icmp(headers: &Headers) -> Option<(u8, u8)> {
    match headers.transport {
        Transport::IcmpQuery { kind, code } => Some(match (headers.version, kind) {
            (Version::V4, 0) => (8, code),
            (Version::V4, 14) => (13, code),
            (Version::V6, 129) => (128, code),
            (Version::V4 | Version::V6, kind) => (kind, code),
        }),
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
