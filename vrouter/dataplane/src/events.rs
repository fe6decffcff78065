//! The only way back from the packet path: a bounded ring that loses rather than waits.

use policy::compile::{EndpointIndex, RuleId};
use policy::model::{Direction, PacketTuple};

use crate::drop::DropReason;
use crate::id::InterfaceId;
use crate::trace::Step;

/// Something the agent wants to know of.
#[derive(Debug, Clone)]
pub enum Event {
    /// A flow was refused, or cut.
    Denied(Denial),
    /// A packet was lost for a reason that is no verdict on its flow; a sample of those.
    Dropped(Denial),
    /// A marked packet passed a node.
    Traced(Step),
    /// A device broke or its namespace is gone.
    DeviceFailed {
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

/// A packet that was refused or lost.
#[derive(Debug, Clone, Copy)]
pub struct Denial {
    /// When, in the worker's milliseconds.
    pub at_ms: u64,
    /// The interface it came in by; for what a device did not take, the device's; unknown of
    /// fragments that waited too long.
    pub arrival: Option<InterfaceId>,
    /// Ends, as far as its headers could be read.
    pub tuple: Option<PacketTuple>,
    /// Bytes from the IP header on.
    pub length: u32,
    pub reason: DropReason,
    /// Whose policy, in which direction, and the rule or default that refused it.
    pub rule: Option<(Whose, Direction, RuleId)>,
    /// For ICMP queries the identifier of their flow.
    pub identifier: Option<u16>,
    /// Whether a session was cut by it.
    pub cut: bool,
}
