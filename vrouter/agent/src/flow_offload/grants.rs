//! Grants: verdicts that hold for all connections of a pair of addresses to one port, so that the kernel
//! may begin them.

use std::net::IpAddr;

use policy::flow::Flow;
use rustc_hash::FxHashMap;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::repeat;
use vrouter_dataplane::tables::Tables;
use vrouter_offload::{FlowKey, Grant, OffloadError};

use super::Ways;
use super::repeated::{KernelFlows, entries, key};

/// Pairs remembered; as many as the kernel has room for.
const PAIRS: usize = 16_384;

/// The pairs that have a grant under the tables of now.
#[derive(Debug, Default)]
pub(super) struct Grants {
    generation: u32,
    /// Where replies come in, of those that have one.
    pairs: FxHashMap<Pair, Option<InterfaceId>>,
}

/// The connections of one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    from: InterfaceId,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
}

impl Pair {
    fn of(key: &FlowKey) -> Self {
        Self {
            from: key.interface,
            source: key.source,
            destination: key.destination,
            port: key.destination_port,
        }
    }
}

impl Grants {
    /// Gives a grant for connections like this session, if there is none yet and there may be one.
    pub(super) fn consider(
        &mut self,
        kernel: &mut impl KernelFlows,
        tables: &Tables,
        flow: &Flow,
        open: &Ways,
    ) -> Result<(), OffloadError> {
        if self.generation != tables.generation {
            self.generation = tables.generation;
            self.pairs.clear();
        }
        if flow.generation != tables.generation || self.pairs.len() == PAIRS {
            return Ok(());
        }
        let pair = Pair {
            from: InterfaceId(flow.owners[0] as u16),
            source: flow.key.src(),
            destination: flow.key.dst(),
            port: flow.key.dst_port(),
        };
        if self.pairs.contains_key(&pair) {
            return Ok(());
        }
        let ways = repeat::grant(tables, flow);
        let entries = ways.and_then(|ways| Some((ways, entries(&ways, open, flow.generation)?)));
        let Some((ways, [forward, reply])) = entries else {
            self.pairs.insert(pair, None);
            return Ok(());
        };
        let grant = Grant {
            key: key(&ways[0]),
            forward,
            reply_interface: key(&ways[1]).interface,
            reply,
        };
        match kernel.grant(&grant) {
            Ok(()) => {
                self.pairs.insert(pair, Some(grant.reply_interface));
                Ok(())
            }
            // A workload that just went.
            Err(OffloadError::NotAttached(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The replies of a flow that a grant admitted.
    pub(super) fn reply_of(&self, key: &FlowKey) -> Option<FlowKey> {
        let interface = (*self.pairs.get(&Pair::of(key))?)?;
        Some(FlowKey {
            interface,
            source: key.destination,
            destination: key.source,
            protocol: key.protocol,
            source_port: key.destination_port,
            destination_port: key.source_port,
        })
    }
}
