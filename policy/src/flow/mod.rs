//! The flow table: sessions of connections, found by packets of either direction.
//!
//! Owns keys, sessions, TCP state tracking, timeouts, limits and ageing. Bounded: all memory is
//! reserved at the start, 128 bytes a session, index included. Shared by all workers through
//! `&FlowTable` with atomics alone. It reads no clock: `now_ms` is any count of milliseconds
//! that does not go back, the same for all callers.
//!
//! A packet costs one [`lookup`](FlowTable::lookup) (better a
//! [`lookup_batch`](FlowTable::lookup_batch)), one [`session`](FlowTable::session) and one
//! [`touch`](FlowTable::touch). A session is believed only while its generation is the current
//! one; else it is decided anew and [`refresh`](FlowTable::refresh)ed or
//! [`remove`](FlowTable::remove)d. An ICMP error is looked up by the key of the packet it
//! quotes.
//!
//! | file | |
//! |---|---|
//! | `key` | flow keys, canonical direction, hash |
//! | `slot` | records, their life word, the free list |
//! | `index` | hash buckets |
//! | `table` | lookup, insert |
//! | `new_session` | a session to insert |
//! | `session` | read, refresh, touch, remove |
//! | `age` | sweep, eviction |
//! | `tcp`, `activity` | state tracking, times |
//! | `limits`, `statistics`, `list`, `config`, `timeouts` | as they say |

mod activity;
mod age;
mod config;
mod index;
mod key;
mod limits;
mod list;
mod new_session;
mod session;
mod slot;
mod statistics;
mod sync;
mod table;
mod tcp;
mod timeouts;

#[cfg(test)]
mod tests;

pub use age::Swept;
pub use config::{Admission, Config, MidStream, Timeouts};
pub use key::{FlowKey, protocol};
pub use limits::NO_ENDPOINT;
pub use list::{Flow, Page};
pub use new_session::{NewSession, Seen, Verdict};
pub use session::{Refresh, Session, Touch};
pub use slot::SessionId;
pub use statistics::Statistics;
pub use table::{FlowTable, Hit, InsertError};
pub use tcp::{Direction, State, flags};
