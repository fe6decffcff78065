//! What may be repeated without a worker: ordinary packets of a session that was decided, by the way its
//! last packet went.

use std::net::{IpAddr, Ipv4Addr};

use encap::{Family, Tunnel};
use policy::flow::{
    Direction, Flow, FlowKey, FlowTable, Hit, InsertError, NO_ENDPOINT, NewSession, Seen, State,
    Verdict, flags,
};

use crate::adjacency::{Adjacency, Encap, IPV6_MINIMUM_MTU, Mac};
use crate::id::{AdjacencyId, InterfaceId};
use crate::session::Path;
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
            Self::Node { tunnel, .. } => InterfaceId::tunnel(*tunnel),
        }
    }

    /// The owner of a session that goes there, as the flow table knows it.
    fn owner(&self) -> u32 {
        match self {
            Self::Workload { interface, .. } => u32::from(interface.0),
            Self::Node { .. } => NO_ENDPOINT,
        }
    }
}

/// The ways of both directions of a session that both sides have spoken in, by
/// [`Direction::index`]; `None` unless the tables of now decided it, and it is between workloads of this
/// node and other nodes.
pub fn ways(tables: &Tables, flow: &Flow) -> Option<[Way; 2]> {
    let settled = flow.state == State::Established
        && flow.verdict == Verdict::Allow
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
    begun_there.then_some([
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
        // What the underlay has to fragment is user space's to send.
        Adjacency::Tunnel { .. }
        | Adjacency::Drop(_)
        | Adjacency::Host { .. }
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
