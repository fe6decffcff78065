//! The nodes: one file for each thing that happens to a packet.
//!
//! A node gets the worker's [`Core`], the tables of this turn and the packet, and says where the
//! packet goes. Packets it makes go to [`Core::spawn`] and follow right behind the one in hand.

mod arp;
mod classify;
mod decide;
mod echo;
mod ethernet;
mod flow;
mod forward;
mod fragment;
mod icmp_error;
mod ip;
mod mss;
mod nd;
mod reset;
mod tunnel_input;
mod tunnel_output;

use crate::graph::{IcmpError, Next, NodeId};
use crate::tables::Tables;
use crate::worker::{Core, Packet};

/// Runs one node.
pub(crate) fn run(node: NodeId, core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    match node {
        NodeId::EthernetInput => ethernet::input(tables, packet),
        NodeId::TunnelInput => tunnel_input::decapsulate(core, tables, packet),
        NodeId::IpInput => ip::input(tables, packet),
        NodeId::Arp => arp::answer(core, tables, packet),
        NodeId::NeighborDiscovery => nd::answer(core, tables, packet),
        NodeId::Echo => echo::answer(core, tables, packet),
        NodeId::Reassemble => fragment::reassemble(core, packet),
        NodeId::Flow => flow::resolve(core, tables, packet),
        NodeId::Classify => classify::classify(core, tables, packet),
        NodeId::Forward => forward::forward(core, tables, packet),
        NodeId::Fragment => fragment::cut(core, tables, packet),
        NodeId::Segment => forward::segment(core, tables, packet),
        NodeId::TunnelOutput => tunnel_output::encapsulate(core, tables, packet),
        NodeId::Transmit => forward::adapt(core, tables, packet),
    }
}

pub(crate) use flow::key as flow_key;
pub(crate) use fragment::expire as expire_fragments;

/// Makes the ICMP error for a rejected packet, where one may be sent.
pub(crate) fn reject(core: &mut Core, tables: &Tables, packet: &Packet, error: IcmpError) {
    icmp_error::send(core, tables, packet, error);
}
