//! What the maps hold, as `bpf/layout.h` has it.

/// Two words, as `struct settings` and `struct interface` are.
pub(crate) type Words = [u32; 2];

/// What the programs did with packets (`enum outcome`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Received from workloads.
    FromWorkload,
    /// Received from user space.
    FromRouter,
    /// Sent on as their flow says.
    Repeated,
    /// Handed to a workload as user space said.
    ToWorkload,
    /// To user space: anything but an ordinary packet of a flow.
    RouterUnusual,
    /// To user space: no flow is known.
    RouterUnknown,
    /// To user space: the flow was decided under other tables.
    RouterStale,
    /// To user space: not from the flow's sender.
    RouterOtherMac,
    /// To user space: larger than the flow's way carries.
    RouterTooBig,
    /// To user space: no hop is left.
    RouterTtl,
    /// Dropped: came in by an interface that has no number.
    DropUnknownSource,
    /// Dropped: user space named an interface that is not there.
    DropUnknownTarget,
    /// Dropped: unicast to another than the gateway.
    DropNotOurs,
    /// Dropped: no whole Ethernet header.
    DropTruncated,
}

impl Outcome {
    /// All, in the map's order.
    pub const ALL: [Self; 14] = [
        Self::FromWorkload,
        Self::FromRouter,
        Self::Repeated,
        Self::ToWorkload,
        Self::RouterUnusual,
        Self::RouterUnknown,
        Self::RouterStale,
        Self::RouterOtherMac,
        Self::RouterTooBig,
        Self::RouterTtl,
        Self::DropUnknownSource,
        Self::DropUnknownTarget,
        Self::DropNotOurs,
        Self::DropTruncated,
    ];

    /// Whether it says where a packet came from, and not what became of it.
    pub fn is_arrival(self) -> bool {
        match self {
            Self::FromWorkload | Self::FromRouter => true,
            Self::Repeated
            | Self::ToWorkload
            | Self::RouterUnusual
            | Self::RouterUnknown
            | Self::RouterStale
            | Self::RouterOtherMac
            | Self::RouterTooBig
            | Self::RouterTtl
            | Self::DropUnknownSource
            | Self::DropUnknownTarget
            | Self::DropNotOurs
            | Self::DropTruncated => false,
        }
    }
}
