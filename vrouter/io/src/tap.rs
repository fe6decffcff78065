//! TAPs: a pod's Ethernet interface, made inside its network namespace, or the one that pods on veths share.

use crate::error::Result;
use crate::netns::Netns;
use crate::queue::{self, Queue, Wanted};
use crate::sys::Kind;

/// A worker's queue of a TAP; buffers hold Ethernet frames.
pub type Tap = Queue;

/// Makes the TAP `name` with `mtu` (bytes of an IP packet) in `netns` and opens one queue for each
/// worker. With one queue it is a single-queue interface, which is cheaper for the kernel.
///
/// The link is down and has no address yet: see [`crate::pod::configure`]. It is gone when the
/// last queue is dropped. An open queue keeps the namespace alive.
///
/// # Errors
/// [`crate::Error::NameTaken`], or the namespace, name, MTU or MAC is refused.
pub fn open(
    netns: &Netns,
    name: &str,
    queues: usize,
    mtu: u32,
    mac: Option<[u8; 6]>,
) -> Result<Vec<Tap>> {
    netns.run(|| open_here(name, queues, mtu, mac))?
}

/// The same in the calling thread's namespace.
///
/// # Errors
/// As [`open`].
pub fn open_here(name: &str, queues: usize, mtu: u32, mac: Option<[u8; 6]>) -> Result<Vec<Tap>> {
    queue::open(&Wanted {
        kind: Kind::Tap,
        name,
        queues,
        mtu,
        mac,
        hint: "",
    })
}
