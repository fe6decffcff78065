//! What the maps hold, as `bpf/layout.h` has it.

use std::net::Ipv4Addr;

use encap::vxlan::Vni;
use vrouter_dataplane::adjacency::Mac;

use crate::flow::vni_word;

/// Two words, as `struct settings` and `struct interface` are.
pub(crate) type Words = [u32; 2];

/// The part of the underlay that is ours, of IPv4.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Underlay {
    pub vxlan: Option<VxlanEnd>,
    /// Our address as IPIP's end.
    pub ipip: Option<Ipv4Addr>,
}

/// Our end of VXLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VxlanEnd {
    pub local: Ipv4Addr,
    pub vni: Vni,
    /// UDP.
    pub port: u16,
    /// Our MAC inside VXLAN.
    pub vtep: Mac,
}

/// `struct underlay`.
pub(crate) const UNDERLAY: usize = 20;

impl Underlay {
    pub(crate) fn bytes(&self) -> [u8; UNDERLAY] {
        let mut bytes = [0; UNDERLAY];
        if let Some(vxlan) = &self.vxlan {
            bytes[..4].copy_from_slice(&vxlan.local.octets());
            bytes[8..12].copy_from_slice(&vni_word(vxlan.vni));
            bytes[12..14].copy_from_slice(&vxlan.port.to_be_bytes());
            bytes[14..20].copy_from_slice(&vxlan.vtep);
        }
        if let Some(ipip) = &self.ipip {
            bytes[4..8].copy_from_slice(&ipip.octets());
        }
        bytes
    }
}

/// What the programs did with packets (`enum outcome`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Received from workloads.
    FromWorkload,
    /// Received from user space.
    FromRouter,
    /// Received by a tunnel of ours.
    FromTunnel,
    /// Received from the host's stack.
    FromHost,
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
    RouterOtherSender,
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
    /// Dropped: an outer header can be neither added nor taken off.
    DropNoRoom,
}

impl Outcome {
    /// All, in the map's order.
    pub const ALL: [Self; 17] = [
        Self::FromWorkload,
        Self::FromRouter,
        Self::FromTunnel,
        Self::FromHost,
        Self::Repeated,
        Self::ToWorkload,
        Self::RouterUnusual,
        Self::RouterUnknown,
        Self::RouterStale,
        Self::RouterOtherSender,
        Self::RouterTooBig,
        Self::RouterTtl,
        Self::DropUnknownSource,
        Self::DropUnknownTarget,
        Self::DropNotOurs,
        Self::DropTruncated,
        Self::DropNoRoom,
    ];

    /// Whether it says where a packet came from, and not what became of it.
    pub fn is_arrival(self) -> bool {
        match self {
            Self::FromWorkload | Self::FromRouter | Self::FromTunnel | Self::FromHost => true,
            Self::Repeated
            | Self::ToWorkload
            | Self::RouterUnusual
            | Self::RouterUnknown
            | Self::RouterStale
            | Self::RouterOtherSender
            | Self::RouterTooBig
            | Self::RouterTtl
            | Self::DropUnknownSource
            | Self::DropUnknownTarget
            | Self::DropNotOurs
            | Self::DropTruncated
            | Self::DropNoRoom => false,
        }
    }
}
