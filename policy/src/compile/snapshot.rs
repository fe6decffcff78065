//! What the packet path reads: immutable tables that give verdicts.

use std::sync::Arc;

use ipnet::IpNet;
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::addresses::Addresses;
use super::program::Program;
use super::registry::{RuleId, RuleInfo, side};
use super::rule::Packet;
use super::verdict::Verdict;
use crate::model::{Direction, EndpointKey, PacketTuple, Protocol};

/// A local endpoint's place in the tables. It stays with the endpoint while that is local; ask
/// [`Compiled::endpoint`] again when the set of local endpoints changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EndpointIndex(pub(super) u32);

impl EndpointIndex {
    /// The index as an array index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which list of policies a packet meets at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Chain {
    /// To or from the endpoint itself: all tiers, then profiles, then drop. The only chain of
    /// workloads.
    Normal,
    /// Through a host endpoint: `applyOnForward` policies, none of which means allow.
    Forward,
    /// `doNotTrack` policies of a host endpoint; never ends in drop.
    Untracked,
    /// `preDNAT` policies of a host endpoint, ingress only; never ends in drop.
    PreDnat,
}

/// Ports that host endpoints never close, so that no policy locks its author out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failsafes {
    /// Connections to the host.
    pub inbound: Vec<Failsafe>,
    /// Connections from the host.
    pub outbound: Vec<Failsafe>,
}

/// One failsafe port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failsafe {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number: the destination port of the connection's first packet.
    pub port: u16,
    /// The other side's addresses; none means any.
    pub net: Option<IpNet>,
}

impl Default for Failsafes {
    /// Felix's defaults.
    fn default() -> Self {
        let of = |protocol, ports: &[u16]| {
            ports
                .iter()
                .map(|&port| Failsafe {
                    protocol,
                    port,
                    net: None,
                })
                .collect::<Vec<_>>()
        };
        let mut inbound = of(
            Protocol::TCP,
            &[22, 179, 2379, 2380, 5473, 6443, 6666, 6667],
        );
        inbound.extend(of(Protocol::UDP, &[68]));
        let mut outbound = of(Protocol::UDP, &[53, 67]);
        outbound.extend(of(
            Protocol::TCP,
            &[179, 2379, 2380, 5473, 6443, 6666, 6667],
        ));
        Self { inbound, outbound }
    }
}

impl Failsafes {
    /// Whether a packet is of a failsafe connection. Untracked chains see both directions of a
    /// connection, so there the answers to the opposite list's ports count too.
    #[must_use]
    pub fn allow(&self, chain: Chain, direction: Direction, tuple: &PacketTuple) -> bool {
        let (own, opposite, remote) = match direction {
            Direction::Ingress => (&self.inbound, &self.outbound, tuple.source),
            Direction::Egress => (&self.outbound, &self.inbound, tuple.destination),
        };
        let any = |list: &[Failsafe], port: u16| {
            list.iter().any(|failsafe| {
                failsafe.protocol.number() == tuple.protocol
                    && failsafe.port == port
                    && failsafe.net.is_none_or(|net| net.contains(&remote))
            })
        };
        match chain {
            Chain::Normal | Chain::PreDnat => any(own, tuple.destination_port),
            Chain::Untracked => {
                any(own, tuple.destination_port) || any(opposite, tuple.source_port)
            }
            Chain::Forward => false,
        }
    }
}

/// The programs of one local endpoint.
#[derive(Debug)]
pub(super) struct EndpointPrograms {
    pub(super) key: EndpointKey,
    /// The tiers of the normal chain, which may leave it undecided, and the profiles.
    pub(super) tiers: [Arc<Program>; 2],
    pub(super) profiles: [Arc<Program>; 2],
    /// Host endpoints alone.
    pub(super) host: Option<Box<HostPrograms>>,
}

#[derive(Debug)]
pub(super) struct HostPrograms {
    pub(super) forward: [Arc<Program>; 2],
    pub(super) untracked: [Arc<Program>; 2],
    pub(super) pre_dnat: Arc<Program>,
}

impl EndpointPrograms {
    /// The tiers of a chain, where the endpoint has it.
    fn program(&self, chain: Chain, direction: Direction) -> Option<&Arc<Program>> {
        let side = side(direction);
        match (chain, self.host.as_deref()) {
            (Chain::Normal, _) => Some(&self.tiers[side]),
            (Chain::Forward, Some(host)) => Some(&host.forward[side]),
            (Chain::Untracked, Some(host)) => Some(&host.untracked[side]),
            (Chain::PreDnat, Some(host)) if direction == Direction::Ingress => Some(&host.pre_dnat),
            (Chain::PreDnat, Some(_))
            | (Chain::Forward | Chain::Untracked | Chain::PreDnat, None) => None,
        }
    }
}

/// Everything the packet path needs of policy. Immutable; share it through an [`Arc`].
#[derive(Clone)]
pub struct Compiled {
    pub(super) generation: u64,
    pub(super) addresses: Addresses,
    pub(super) endpoints: Arc<Vec<Option<Arc<EndpointPrograms>>>>,
    pub(super) by_key: Arc<FxHashMap<EndpointKey, EndpointIndex>>,
    pub(super) rules: Arc<Vec<Arc<RuleInfo>>>,
    pub(super) failsafes: Arc<Failsafes>,
}

impl Compiled {
    /// Grows with each snapshot that differs from the one before.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where a local endpoint stands.
    #[must_use]
    pub fn endpoint(&self, key: &EndpointKey) -> Option<EndpointIndex> {
        self.by_key.get(key).copied()
    }

    /// All local endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointIndex, &EndpointKey)> {
        self.endpoints
            .iter()
            .zip(0..)
            .filter_map(|(endpoint, index)| {
                endpoint.as_ref().map(|e| (EndpointIndex(index), &e.key))
            })
    }

    /// What a rule number stands for.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&RuleInfo> {
        self.rules.get(id.index()).map(|info| &**info)
    }

    /// All rule numbers are below this: the length of a counter array.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// The verdict on a packet to (ingress) or from (egress) a local endpoint: its normal chain.
    /// Call it for packets that no connection covers. Does not allocate.
    pub fn evaluate(
        &self,
        endpoint: EndpointIndex,
        direction: Direction,
        tuple: &PacketTuple,
    ) -> Verdict {
        self.evaluate_chain(endpoint, Chain::Normal, direction, tuple)
    }

    /// Whether any policy stands in a chain of a host endpoint. An empty `doNotTrack` or `preDNAT`
    /// chain is not met at all, its failsafe ports included.
    #[must_use]
    pub fn has_policies(
        &self,
        endpoint: EndpointIndex,
        chain: Chain,
        direction: Direction,
    ) -> bool {
        let Some(Some(programs)) = self.endpoints.get(endpoint.index()) else {
            return false;
        };
        programs
            .program(chain, direction)
            .is_some_and(|program| !program.is_empty())
    }

    /// True where the source port may change the verdict of a local endpoint's normal chain. Elsewhere a
    /// verdict holds for every connection of a pair of addresses to one port.
    #[must_use]
    pub fn heeds_source_port(&self, endpoint: EndpointIndex, direction: Direction) -> bool {
        let Some(Some(programs)) = self.endpoints.get(endpoint.index()) else {
            return false;
        };
        let side = side(direction);
        let of = [&programs.tiers[side], &programs.profiles[side]];
        programs.host.is_some() || of.iter().any(|program| program.heeds_source_port())
    }

    /// The verdict of one chain. Workloads have but the normal chain: the others are undecided.
    pub fn evaluate_chain(
        &self,
        endpoint: EndpointIndex,
        chain: Chain,
        direction: Direction,
        tuple: &PacketTuple,
    ) -> Verdict {
        let Some(Some(programs)) = self.endpoints.get(endpoint.index()) else {
            return Verdict::drop(RuleId::NO_ENDPOINT);
        };
        if programs.host.is_some() && self.failsafes.allow(chain, direction, tuple) {
            return Verdict::allow(RuleId::FAILSAFE);
        }
        let Some(program) = programs.program(chain, direction) else {
            return Verdict::allow(RuleId::UNDECIDED);
        };
        let packet = Packet::new(tuple, &self.addresses);
        let mut verdict = Verdict::drop(RuleId::NO_PROFILE);
        program.evaluate(&packet, &mut verdict);
        if chain == Chain::Normal && !verdict.is_decided() {
            programs.profiles[side(direction)].evaluate(&packet, &mut verdict);
        }
        verdict
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled")
            .field("generation", &self.generation)
            .field("endpoints", &self.by_key.len())
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}
