//! Where programs stand.

use aya::programs::TcAttachType;

/// Where a program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At a workload's host end: what the workload sends.
    Workload,
    /// At `vrouter0`: what user space sends.
    Router,
    /// At the underlay's interface: what other nodes send.
    Underlay,
    /// At the host's TUN: what the host's stack sends.
    Host,
}

impl Place {
    pub(crate) const ALL: [Self; 4] = [Self::Workload, Self::Router, Self::Underlay, Self::Host];

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Workload => "from_workload",
            Self::Router => "from_router",
            Self::Underlay => "from_underlay",
            Self::Host => "from_host",
        }
    }

    pub(crate) fn direction(self) -> TcAttachType {
        match self {
            Self::Workload | Self::Router | Self::Underlay => TcAttachType::Ingress,
            Self::Host => TcAttachType::Egress,
        }
    }
}
