//! The way of a packet: a closed set of nodes, and where a packet may go from each.
//!
//! A node is a file of `node/`, named after it. It declares the nodes that may follow, the drops it
//! counts, what it makes and what ends in it; [`picture`] prints those sets, and ARCHITECTURE.md
//! shows the picture. Counting and dropping happen in one place, [`crate::worker`], so that no node
//! can forget them.

use std::fmt::Write;

use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::id::InterfaceId;

pub use encap::icmp::Error as IcmpError;

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
    Merge "merge" "Where a vector meets: packets of one flow become super-packets.",
    Flow "flow" "Looks the vector up in the flow table.",
    Classify "classify" "Route and policy of a new flow, or of one whose verdict is outdated.",
    Forward "forward" "TTL, MTU, and the adjacency's rewrite.",
    Fragment "fragment" "Cuts a packet to the MTU of the next link.",
    Segment "segment" "Cuts a super-packet for a link that takes none.",
    TunnelOutput "tunnel-output" "Encapsulation, with segmentation.",
    Transmit "transmit" "Queued for the device.",
}

/// Where a packet goes from a node that may send it on to `N`. A packet leaves a node no other way.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<N> {
    /// On to another node.
    To(N),
    /// Out, ready for the device.
    Tx(InterfaceId),
    /// Lost, for a reason.
    Drop(DropReason),
    /// Lost, and its sender gets an ICMP error.
    Reject(DropReason, IcmpError),
    /// Ended here without being a loss.
    Consume(ConsumeReason),
}

impl<N: Into<NodeId>> Next<N> {
    /// The same, whatever node it is of.
    #[inline]
    pub(crate) fn erase(self) -> Next<NodeId> {
        match self {
            Self::To(node) => Next::To(node.into()),
            Self::Tx(out) => Next::Tx(out),
            Self::Drop(reason) => Next::Drop(reason),
            Self::Reject(reason, error) => Next::Reject(reason, error),
            Self::Consume(reason) => Next::Consume(reason),
        }
    }
}

/// What a node declares.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    pub id: NodeId,
    /// Nodes that packets go to from here.
    pub next: &'static [NodeId],
    /// Drops it counts.
    pub drops: &'static [DropReason],
    /// Packets it makes.
    pub makes: &'static [GenerateReason],
    /// Ends that are no loss.
    pub ends: &'static [ConsumeReason],
}

/// Declares a node: the enum `To` of the nodes that may follow, `Next` over it, and `NODE`.
macro_rules! node {
    (
        $id:ident to [$($to:ident)*]
        drops [$($drop:ident)*]
        makes [$($make:ident)*]
        ends [$($end:ident)*]
    ) => {
        /// The nodes that packets go to from here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum To {
            $($to = $crate::graph::NodeId::$to as isize,)*
        }

        impl From<To> for $crate::graph::NodeId {
            #[inline]
            fn from(to: To) -> Self {
                match to {
                    $(To::$to => Self::$to,)*
                }
            }
        }

        /// Where a packet goes from here.
        pub(crate) type Next = $crate::graph::Next<To>;

        /// What this node declares.
        pub(crate) const NODE: $crate::graph::Node = $crate::graph::Node {
            id: $crate::graph::NodeId::$id,
            next: &[$($crate::graph::NodeId::$to,)*],
            drops: &[$($crate::drop::DropReason::$drop,)*],
            makes: &[$($crate::drop::GenerateReason::$make,)*],
            ends: &[$($crate::drop::ConsumeReason::$end,)*],
        };
    };
}
pub(crate) use node;

/// What each node declares, in counter order.
pub fn nodes() -> &'static [Node] {
    crate::node::NODES
}

/// The graph in text: a line for each node, with the nodes that may follow it.
pub fn picture() -> String {
    let mut text = String::new();
    for node in nodes() {
        let mut follows: Vec<_> = node.next.iter().map(|next| next.name()).collect();
        if node.id == NodeId::Transmit {
            follows.push("(device)");
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<15}─▶ {}", node.id.name(), follows.join(", "));
    }
    text
}
