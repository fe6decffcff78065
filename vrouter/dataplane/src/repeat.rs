//! Flows that may be repeated without a worker: ordinary packets of a session that was decided, by the way its
//! last packet went.

use std::net::{IpAddr, Ipv4Addr};

use encap::{Family, Tunnel, protocol};
use policy::flow::{
    Direction, Flow, FlowKey, FlowTable, Hit, InsertError, NO_ENDPOINT, NewSession, Seen,
    SessionId, State, Verdict, flags,
};
use policy::model::{Direction as PolicyDirection, PacketTuple};

use crate::adjacency::{Adjacency, Encap, IPV6_MINIMUM_MTU, Mac};
use crate::decide::{PolicyAnswers, decide};
use crate::hits::{Hits, allowed_by};
use crate::id::{AdjacencyId, InterfaceId};
use crate::origin::{Arrival, Origin};
use crate::session::{self, Path, decide_again, first_tuple};
use crate::tables::Tables;

/// The way of one direction's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The direction's packets.
    pub key: FlowKey,
    /// Where they come from.
    pub from: End,
    /// Where they go.
    pub to: End,
    /// The largest IP packet.
    pub mtu: u16,
}

/// One end of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A workload of this node.
    Workload { interface: InterfaceId, mac: Mac },
    /// The host's stack, whoever is behind it.
    Host,
    /// Another node, by a tunnel over IPv4.
    Node {
        tunnel: Tunnel,
        encap: Encap,
        remote: Ipv4Addr,
    },
}

impl End {
    /// The interface packets come in or leave by.
    pub fn interface(&self) -> InterfaceId {
        match self {
            Self::Workload { interface, .. } => *interface,
            Self::Host => InterfaceId::HOST,
            Self::Node { tunnel, .. } => InterfaceId::tunnel(*tunnel),
        }
    }

    /// The owner of a session that goes there, as the flow table knows it.
    fn owner(&self) -> u32 {
        match self {
            Self::Workload { interface, .. } => u32::from(interface.0),
            Self::Host | Self::Node { .. } => NO_ENDPOINT,
        }
    }
}

/// The ways of both directions of a session that both sides have spoken in, by
/// [`Direction::index`]; `None` unless the tables of now decided it, it is a workload's of this node, and
/// no policy has to see each of its packets.
pub fn ways(tables: &Tables, flow: &Flow) -> Option<[Way; 2]> {
    if flow.state == State::Established {
        ways_of(tables, flow)
    } else {
        None
    }
}

/// The ways of a TCP session that every session of its addresses and its destination port goes, and is
/// allowed to; `None` where the source port or a limit may say otherwise, or where more than the deciding
/// rules has to see each first packet.
pub fn grant(tables: &Tables, flow: &Flow) -> Option<[Way; 2]> {
    if flow.key.protocol() != protocol::TCP {
        return None;
    }
    let ways = ways_of(tables, flow)?;
    let [to, back] = &ways;
    let heeds = |end: &End, direction| match end {
        End::Workload { interface, .. } => tables
            .workload(*interface)
            .is_none_or(|workload| tables.policy.heeds_source_port(workload.policy, direction)),
        End::Host | End::Node { .. } => false,
    };
    let holds_for_all = !tables.host.endpoints.any()
        && !heeds(&to.from, PolicyDirection::Egress)
        && !heeds(&to.to, PolicyDirection::Ingress)
        && has_one_way(tables, flow.key.src())
        && has_one_way(tables, flow.key.dst());
    // The segment size of a first packet is lowered where the way is narrower than the sender's link.
    let is_even = to.mtu == back.mtu;
    let mut asked = PolicyAnswers::default();
    let tuple = first_tuple(flow, None);
    let is_allowed = decide_again(tables, flow, &tuple, &mut asked).is_ok();
    (holds_for_all && is_even && is_allowed && asked.is_plain()).then_some(ways)
}

/// All flows to an address go one way.
fn has_one_way(tables: &Tables, address: IpAddr) -> bool {
    let id = tables.fib.lookup(address);
    let adjacency = id.and_then(|id| tables.adjacency(id));
    adjacency.is_some_and(|it| !matches!(it, Adjacency::Group(_)))
}

/// Enters the session of a flow that a grant admitted, and counts it for the rules that allow it; its
/// packets are still to be counted. `None` if it may not pass after all, or there is no room.
pub fn admit(
    tables: &Tables,
    flows: &FlowTable,
    key: FlowKey,
    from: InterfaceId,
    rules: &Hits,
    now_ms: u64,
) -> Option<(SessionId, [Way; 2])> {
    let arrival = Arrival::by(tables, from)?;
    let origin = Origin::new(tables, arrival, key.src());
    let tuple = PacketTuple::new(key.src(), key.dst(), key.protocol())
        .with_ports(key.src_port(), key.dst_port());
    let mut asked = PolicyAnswers::default();
    let decision = decide(tables, origin, &tuple, key.hash(0), false, &mut asked).ok()?;
    let first = Seen {
        tcp_flags: flags::SYN,
        packets: 0,
        bytes: 0,
    };
    let session = session::new_session(key, tables, from, &decision, first);
    let id = match flows.insert(&session, now_ms) {
        Ok(id) => {
            for rule in allowed_by(decision.rules) {
                if let Some(hit) = rules.of(rule) {
                    hit.flows.add(1);
                }
            }
            id
        }
        // User space saw one of its packets before.
        Err(InsertError::Exists(hit)) => hit.session,
        Err(
            InsertError::Full
            | InsertError::EndpointLimit(_)
            | InsertError::RateLimited
            | InsertError::MidStream,
        ) => return None,
    };
    let flow = flows.flow(id, now_ms)?;
    Some((id, ways_of(tables, &flow)?))
}

fn ways_of(tables: &Tables, flow: &Flow) -> Option<[Way; 2]> {
    let settled = flow.verdict == Verdict::Allow
        && flow.generation == tables.generation
        && flow.reply_key == flow.key.reverse();
    if !settled {
        return None;
    }
    let family = Family::from(flow.key.src());
    let [to, back] = flow
        .paths
        .map(|word| end(tables, Path::unpack(word).adjacency, family));
    let ((to, to_mtu), (back, back_mtu)) = (to?, back?);
    // A packet may come by another interface than its source is reached by: from a network behind a
    // workload, or from a node by another tunnel.
    let begun_there = flow.owners == [u32::from(back.interface().0), to.owner()];
    let is_workload = |end: &End| matches!(end, End::Workload { .. });
    let with_workload = if tables.host.endpoints.untracked {
        is_workload(&to) && is_workload(&back)
    } else {
        is_workload(&to) || is_workload(&back)
    };
    (begun_there && with_workload).then_some([
        Way {
            key: flow.key,
            from: back,
            to,
            mtu: to_mtu,
        },
        Way {
            key: flow.reply_key,
            from: to,
            to: back,
            mtu: back_mtu,
        },
    ])
}

/// Where an adjacency leads, and its MTU.
fn end(tables: &Tables, id: AdjacencyId, family: Family) -> Option<(End, u16)> {
    match tables.adjacency(id)? {
        Adjacency::Neighbor { out, mtu, .. } => {
            let mac = tables.workload(*out)?.mac;
            let interface = *out;
            Some((End::Workload { interface, mac }, *mtu))
        }
        Adjacency::Tunnel {
            encap,
            remote: IpAddr::V4(remote),
            mtu,
            ..
        } if family == Family::V4 || *mtu >= IPV6_MINIMUM_MTU => {
            let tunnel = match encap {
                Encap::Vxlan { .. } => Tunnel::Vxlan(Family::V4),
                Encap::Ipip => Tunnel::Ipip,
            };
            let (encap, remote) = (*encap, *remote);
            Some((
                End::Node {
                    tunnel,
                    encap,
                    remote,
                },
                *mtu,
            ))
        }
        Adjacency::Host { out, mtu, .. } if *out == InterfaceId::HOST => Some((End::Host, *mtu)),
        // The resolver is user space; what the underlay has to fragment is user space's to send.
        Adjacency::Host { .. }
        | Adjacency::Tunnel { .. }
        | Adjacency::Drop(_)
        | Adjacency::Group(_) => None,
    }
}

/// Enters a session that an earlier process had repeated. Its next packet that a worker sees is decided
/// as its first one was, which came in by `from`; `to` is the workload it goes to. `generation` is that of
/// the earlier tables.
///
/// # Errors
/// The table refuses it, or has it already.
pub fn adopt(
    flows: &FlowTable,
    key: FlowKey,
    from: InterfaceId,
    to: Option<InterfaceId>,
    generation: u32,
    now_ms: u64,
) -> Result<(), InsertError> {
    // Both sides had spoken.
    let nothing = Seen {
        tcp_flags: flags::ACK,
        packets: 0,
        bytes: 0,
    };
    let mut session = NewSession::of(key, generation, nothing);
    session.owners = [
        u32::from(from.0),
        to.map_or(NO_ENDPOINT, |id| u32::from(id.0)),
    ];
    let session = flows.insert(&session, now_ms)?;
    let reply = Hit {
        session,
        direction: Direction::Reply,
    };
    flows.touch(reply, now_ms, nothing);
    Ok(())
}
