//! What may be repeated without a worker: ordinary packets of a session that was decided, by the way its
//! last packet went.

use policy::flow::{
    Direction, Flow, FlowKey, FlowTable, Hit, InsertError, NewSession, Seen, State, Verdict, flags,
};

use crate::adjacency::{Adjacency, Mac};
use crate::id::{AdjacencyId, InterfaceId};
use crate::session::Path;
use crate::tables::Tables;

/// The way of one direction's packets, from a workload to a workload of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The direction's packets.
    pub key: FlowKey,
    /// The workload's interface they come in by.
    pub from: InterfaceId,
    /// Its MAC.
    pub sender: Mac,
    /// The workload's interface they leave by.
    pub out: InterfaceId,
    /// Its MAC.
    pub destination: Mac,
    /// The largest IP packet.
    pub mtu: u16,
}

/// The ways of both directions of a session that both sides have spoken in, by
/// [`Direction::index`]; `None` unless the tables of now decided it and all of it stays here.
pub fn ways(tables: &Tables, flow: &Flow) -> Option<[Way; 2]> {
    let settled = flow.state == State::Established
        && flow.verdict == Verdict::Allow
        && flow.generation == tables.generation
        && flow.reply_key == flow.key.reverse();
    if !settled {
        return None;
    }
    let [to, back] = flow.paths.map(|word| {
        let (out, mtu) = neighbor(tables, Path::unpack(word).adjacency)?;
        Some((out, mtu, tables.workload(out)?.mac))
    });
    let (to, back) = (to?, back?);
    let way = |key, from: (InterfaceId, u16, Mac), out: (InterfaceId, u16, Mac)| Way {
        key,
        from: from.0,
        sender: from.2,
        out: out.0,
        destination: out.2,
        mtu: out.1,
    };
    // A workload may send from a network behind it, and by another interface than it is reached by.
    let begun_there = flow.owners == [u32::from(back.0.0), u32::from(to.0.0)];
    begun_there.then(|| [way(flow.key, back, to), way(flow.reply_key, to, back)])
}

fn neighbor(tables: &Tables, id: AdjacencyId) -> Option<(InterfaceId, u16)> {
    match tables.adjacency(id)? {
        Adjacency::Neighbor { out, mtu, .. } => Some((*out, *mtu)),
        Adjacency::Drop(_)
        | Adjacency::Host { .. }
        | Adjacency::Tunnel { .. }
        | Adjacency::Group(_) => None,
    }
}

/// Enters a session that an earlier process had repeated. Its next packet that a worker sees is decided
/// as its first one was, which came in by `owners[0]`; `generation` is that of the earlier tables.
///
/// # Errors
/// The table refuses it, or has it already.
pub fn adopt(
    flows: &FlowTable,
    key: FlowKey,
    owners: [InterfaceId; 2],
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
    session.owners = owners.map(|id| u32::from(id.0));
    let session = flows.insert(&session, now_ms)?;
    let reply = Hit {
        session,
        direction: Direction::Reply,
    };
    flows.touch(reply, now_ms, nothing);
    Ok(())
}
