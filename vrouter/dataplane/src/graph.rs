//! The way of a packet: a closed set of nodes, and what a node may say of a packet.
//!
//! ```text
//! workload ─ ethernet-input ─┬─ arp, nd, echo ────────────────────────────────┐
//! host ──────────────────────┼─ ip-input ─ (reassemble) ─ flow ─┬─ forward ─ … tx
//! tunnel ─── tunnel-input ───┘                                  └─ classify ─┘ │
//!                                     forward ─ neighbor | host | tunnel-output┘
//! ```
//!
//! `flow` is where a vector meets: all packets of a vector are looked up together. A session that
//! is current goes on to `forward`; everything else is decided by `classify` first. Counting and
//! dropping happen in one place, [`crate::worker`], so that no node can forget them.

pub use encap::icmp::Error as IcmpError;

use crate::drop::{ConsumeReason, DropReason};
use crate::id::InterfaceId;

macro_rules! nodes {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// The nodes of the graph.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum NodeId {
            $(#[doc = $doc] $variant,)*
        }

        impl NodeId {
            /// All of them, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name counters carry.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The position in a counter array.
            pub fn index(self) -> usize {
                self as usize
            }
        }
    };
}

nodes! {
    EthernetInput "ethernet-input" "A workload's frame: MAC checks, then by EtherType.",
    TunnelInput "tunnel-input" "An underlay datagram: source and header checks, decapsulation, coalescing.",
    IpInput "ip-input" "Header checks, martians, anti-spoofing.",
    Arp "arp" "Answers ARP for the gateway (RFC 826).",
    NeighborDiscovery "nd" "Answers neighbor solicitations for the gateway (RFC 4861).",
    Echo "echo" "Answers echo requests to the gateway (RFC 792, RFC 4443).",
    Reassemble "reassemble" "Holds fragments until the packet is whole.",
    Flow "flow" "Looks the vector up in the flow table.",
    Classify "classify" "Route and policy of a new flow, or of one whose verdict is outdated.",
    Forward "forward" "TTL, MTU, and the adjacency's rewrite.",
    Fragment "fragment" "Cuts a packet to the MTU of the next link.",
    Segment "segment" "Cuts a super-packet for a link that takes none.",
    TunnelOutput "tunnel-output" "Encapsulation, with segmentation.",
    Transmit "transmit" "Queued for the device.",
}

/// Where a packet goes from a node. A packet leaves a node no other way.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// On to another node.
    To(NodeId),
    /// Out, ready for the device.
    Tx(InterfaceId),
    /// Lost, for a reason.
    Drop(DropReason),
    /// Lost, and the sender is told.
    Reject(DropReason, IcmpError),
    /// Ended here without being a loss.
    Consume(ConsumeReason),
}
