//! What the maps hold, as `bpf/layout.h` has it.

use vrouter_dataplane::adjacency::Mac;
use vrouter_dataplane::id::InterfaceId;

/// How a MAC that names an interface begins.
const INTERFACE_MAC: [u8; 4] = [0x02, 0x76, 0x72, 0x00];

/// The MAC that names an interface on `vrouter0`.
pub fn interface_mac(id: InterfaceId) -> Mac {
    let [a, b, c, d] = INTERFACE_MAC;
    let [high, low] = id.0.to_be_bytes();
    [a, b, c, d, high, low]
}

/// The interface that a MAC on `vrouter0` names.
pub fn interface_of(mac: Mac) -> Option<InterfaceId> {
    let (prefix, number) = mac.split_first_chunk()?;
    let number = number.first_chunk()?;
    (*prefix == INTERFACE_MAC).then(|| InterfaceId(u16::from_be_bytes(*number)))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_names_an_interface() {
        for id in [0, 1, 0x1234, u16::MAX].map(InterfaceId) {
            assert_eq!(interface_of(interface_mac(id)), Some(id));
        }
        assert_eq!(interface_of([0xee; 6]), None);
        assert_eq!(interface_of([2, 0x76, 0x72, 1, 0, 0]), None);
    }
}
