//! The nodes: each takes a packet and says where it goes.

mod arp;
mod classify;
mod echo;
mod ethernet_input;
mod flow;
mod forward;
mod fragment;
mod ip_input;
mod merge;
mod neighbor_discovery;
mod reassemble;
mod segment;
mod transmit;
mod tunnel_input;
mod tunnel_output;

pub(crate) use flow::key as flow_key;
pub(crate) use merge::merge;
pub(crate) use reassemble::{expire as expire_fragments, next_expiry as next_fragment_expiry};

use crate::graph::{Next, Node, NodeId};
use crate::tables::Tables;
use crate::worker::{Core, Packet};

/// What each node declares, by [`NodeId::index`].
pub(crate) const NODES: &[Node] = &[
    ethernet_input::NODE,
    tunnel_input::NODE,
    ip_input::NODE,
    arp::NODE,
    neighbor_discovery::NODE,
    echo::NODE,
    reassemble::NODE,
    merge::NODE,
    flow::NODE,
    classify::NODE,
    forward::NODE,
    fragment::NODE,
    segment::NODE,
    tunnel_output::NODE,
    transmit::NODE,
];

/// Runs one node.
#[inline]
pub(crate) fn run(
    node: NodeId,
    core: &mut Core,
    tables: &Tables,
    packet: &mut Packet,
) -> Next<NodeId> {
    match node {
        NodeId::EthernetInput => ethernet_input::input(tables, packet).erase(),
        NodeId::TunnelInput => tunnel_input::decapsulate(core, tables, packet).erase(),
        NodeId::IpInput => ip_input::input(tables, packet).erase(),
        NodeId::Arp => arp::answer(core, tables, packet).erase(),
        NodeId::NeighborDiscovery => neighbor_discovery::answer(core, tables, packet).erase(),
        NodeId::Echo => echo::answer(core, tables, packet).erase(),
        NodeId::Reassemble => reassemble::reassemble(core, packet).erase(),
        // Packets wait there for their vector: `merge` takes all of it at once.
        NodeId::Merge => merge::Next::To(merge::To::Flow).erase(),
        NodeId::Flow => flow::resolve(core, tables, packet).erase(),
        NodeId::Classify => classify::classify(core, tables, packet).erase(),
        NodeId::Forward => forward::forward(core, tables, packet).erase(),
        NodeId::Fragment => fragment::cut(core, tables, packet).erase(),
        NodeId::Segment => segment::cut(core, packet).erase(),
        NodeId::TunnelOutput => tunnel_output::encapsulate(core, tables, packet).erase(),
        NodeId::Transmit => transmit::adapt(core, packet).erase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_stand_in_counter_order() {
        for (node, declared) in NodeId::ALL.iter().zip(NODES) {
            assert_eq!(*node, declared.id);
        }
        assert_eq!(NodeId::ALL.len(), NODES.len());
    }
}
