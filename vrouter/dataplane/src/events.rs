//! The only way back from the packet path: a bounded ring that loses rather than waits.

use policy::compile::{EndpointIndex, RuleId};
use policy::model::{Direction, PacketTuple};

use crate::drop::DropReason;
use crate::id::InterfaceId;

/// Something the agent wants to know of.
#[derive(Debug, Clone)]
pub enum Event {
    /// A flow was refused, or cut.
    Denied(Denial),
    /// A device broke or its namespace is gone.
    DeviceFailed {
        /// Which.
        interface: InterfaceId,
        /// The operating system's number for the error.
        errno: i32,
    },
}

/// Whose policy it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// That of the workload behind an interface.
    Workload(InterfaceId),
    /// That of a host endpoint.
    Host(EndpointIndex),
}

/// A packet that was refused.
#[derive(Debug, Clone, Copy)]
pub struct Denial {
    /// When, in the worker's milliseconds.
    pub at_ms: u64,
    /// Where it came in.
    pub arrival: InterfaceId,
    /// What it was.
    pub tuple: PacketTuple,
    /// Bytes from the IP header on.
    pub length: u32,
    /// Why.
    pub reason: DropReason,
    /// Whose policy, in which direction, and the rule or default that refused it.
    pub rule: Option<(Whose, Direction, RuleId)>,
    /// For ICMP queries the identifier of their flow.
    pub identifier: Option<u16>,
    /// Whether a session was cut by it.
    pub cut: bool,
}
