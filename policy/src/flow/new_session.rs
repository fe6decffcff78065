//! A session to insert, and what a packet adds to one.

use super::key::FlowKey;
use super::limits::NO_ENDPOINT;

/// What happens to the packets of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    #[default]
    Allow,
    /// They are dropped; the session saves asking the policy again.
    Deny,
}

/// What a packet (or a super-packet) adds to its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Byte 13 of the TCP header (see [`flags`](super::flags)); zero for other protocols.
    pub tcp_flags: u8,
    /// Packets on the wire.
    pub packets: u32,
    /// Bytes, as the caller counts them.
    pub bytes: u32,
}

/// A session to insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Key of its first packet.
    pub key: FlowKey,
    /// Key of the packets in reply; other than `key.reverse()` when addresses are rewritten.
    pub reply_key: FlowKey,
    /// Generation of the tables that decided.
    pub generation: u32,
    pub verdict: Verdict,
    /// A word for each direction (by [`Direction::index`](super::Direction::index)) which the
    /// table keeps and does not read.
    pub paths: [u64; 2],
    /// Endpoints that own it, by direction of sending; [`NO_ENDPOINT`] for none.
    pub owners: [u32; 2],
    /// Rules that decided it: on the way out of the first, into the second endpoint.
    pub rules: [u32; 2],
    /// First packet, counted by the insert: do not [`touch`](super::FlowTable::touch) for it again.
    pub first: Seen,
}

impl NewSession {
    /// A session without rewriting, without owners, allowed; the fields may then be set.
    pub const fn of(key: FlowKey, generation: u32, first: Seen) -> Self {
        Self {
            key,
            reply_key: key.reverse(),
            generation,
            verdict: Verdict::Allow,
            paths: [0; 2],
            owners: [NO_ENDPOINT; 2],
            rules: [0; 2],
            first,
        }
    }
}
