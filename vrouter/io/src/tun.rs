//! TUNs: the node's own way to its pods.

use crate::error::Result;
use crate::netns::Netns;
use crate::queue::{self, Queue, Wanted};
use crate::sys::Kind;

/// A worker's queue of a TUN; buffers hold IP packets.
pub type Tun = Queue;

const HINT: &str = "; the kernel's ipip module makes a tunl0 of its own: unload it (rmmod ipip) \
                    or give ours another name (tunnelInterface, --tunnel-interface)";

/// Makes the TUN `name` with `mtu` (bytes of an IP packet) in `netns`, or in the caller's
/// namespace, and opens one queue for each worker.
///
/// # Errors
/// [`crate::Error::NameTaken`] with the way out of it, or the name or MTU is refused.
pub fn open(netns: Option<&Netns>, name: &str, queues: usize, mtu: u32) -> Result<Vec<Tun>> {
    let wanted = Wanted {
        kind: Kind::Tun,
        name,
        queues,
        mtu,
        mac: None,
        hint: HINT,
    };
    match netns {
        Some(netns) => netns.run(|| queue::open(&wanted))?,
        None => queue::open(&wanted),
    }
}
