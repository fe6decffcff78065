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

/// A function for each node: it runs the node's own and returns what every node returns. The node's
/// own is inlined there, so that the change of type costs nothing.
macro_rules! steps {
    ($core:ident $tables:ident $packet:ident: $($node:ident $step:ident $call:expr,)*) => {
        $(
            #[inline(never)]
            #[allow(unused_variables, reason = "not every node works with all three")]
            fn $step($core: &mut Core, $tables: &Tables, $packet: &mut Packet) -> Next<NodeId> {
                $call.erase()
            }
        )*

        /// Runs one node.
        #[inline(always)]
        pub(crate) fn run(
            node: NodeId,
            core: &mut Core,
            tables: &Tables,
            packet: &mut Packet,
        ) -> Next<NodeId> {
            match node {
                $(NodeId::$node => $step(core, tables, packet),)*
            }
        }
    };
}

steps! {
    core tables packet:
    EthernetInput ethernet_input ethernet_input::input(tables, packet),
    TunnelInput tunnel_input tunnel_input::decapsulate(core, tables, packet),
    IpInput ip_input ip_input::input(tables, packet),
    Arp arp arp::answer(core, tables, packet),
    NeighborDiscovery neighbor_discovery neighbor_discovery::answer(core, tables, packet),
    Echo echo echo::answer(core, tables, packet),
    Reassemble reassemble reassemble::reassemble(core, packet),
    // Packets wait there for their vector: `merge` takes all of it at once.
    Merge pass_merge merge::Next::To(merge::To::Flow),
    Flow flow flow::resolve(core, tables, packet),
    Classify classify classify::classify(core, tables, packet),
    Forward forward forward::forward(core, tables, packet),
    Fragment fragment fragment::cut(core, tables, packet),
    Segment segment segment::cut(core, packet),
    TunnelOutput tunnel_output tunnel_output::encapsulate(core, tables, packet),
    Transmit transmit transmit::adapt(core, packet),
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
