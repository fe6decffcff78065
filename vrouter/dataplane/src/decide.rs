//! Whether a new flow may pass: its route, and every policy on its way, in Calico's order.
//!
//! | from | to | asked |
//! |---|---|---|
//! | anywhere but the host | through | `preDNAT`, then `applyOnForward` of the host endpoint it comes in by |
//! | a workload | | its egress policy |
//! | | a workload | its ingress policy, but for packets of the host itself |
//! | | through | `applyOnForward` of the host endpoint it goes out by |
//! | a workload | the host | `defaultEndpointToHostAction`; if `Return`, the `*` host endpoint |
//! | a workload | the resolver | nobody else |
//! | a tunnel | the host | `preDNAT`, then the host endpoint of the tunnel's device |
//! | the host | a tunnel | the host endpoint of the tunnel's device |
//!
//! `doNotTrack` policies come before sessions are looked at: see `flow`.

use policy::compile::{Chain, EndpointIndex, NotedRules, RuleId, RuleKind, Verdict as Opinion};
use policy::model::{Direction, PacketTuple};

use crate::adjacency::Adjacency;
use crate::drop::DropReason;
use crate::events::Whose;
use crate::graph::{IcmpError, Next};
use crate::hits::Hit as RuleHit;
use crate::host_endpoint::HostEndpoint;
use crate::id::{AdjacencyId, InterfaceId};
use crate::origin::Origin;
use crate::session::Path;
use crate::tables::{EndpointToHost, Tables};
use crate::worker::{Core, Packet};

/// What was found out about a flow that may pass.
pub(crate) struct Decision {
    pub(crate) forward: AdjacencyId,
    reverse: AdjacencyId,
    /// The workload it goes to, if it is one of ours.
    pub(crate) to: Option<InterfaceId>,
    /// The rules that allowed it out of and into its ends.
    pub(crate) rules: [u32; 2],
}

impl Decision {
    /// The session's directions, by [`policy::flow::Direction::index`].
    pub(crate) fn paths(&self, tables: &Tables) -> [Path; 2] {
        [
            Path {
                adjacency: self.forward,
                home: home(tables, self.reverse),
            },
            Path {
                adjacency: self.reverse,
                home: home(tables, self.forward),
            },
        ]
    }
}

/// Whether a packet's source may be behind the interface it came in by.
pub(crate) fn admits(tables: &Tables, packet: &Packet) -> bool {
    let back = tables
        .route(packet.headers.source, packet.flow_hash())
        .unwrap_or(AdjacencyId(0));
    let path = Path {
        adjacency: back,
        home: home(tables, back),
    };
    path.admits(packet.arrival)
}

/// Where packets come from whose way back is this, if that is known for sure.
fn home(tables: &Tables, back: AdjacencyId) -> Option<InterfaceId> {
    match tables.adjacency(back)? {
        Adjacency::Neighbor { out, .. }
        | Adjacency::Host {
            out, local: true, ..
        } => Some(*out),
        Adjacency::Host { local: false, .. }
        | Adjacency::Tunnel { .. }
        | Adjacency::Group(_)
        | Adjacency::Drop(_) => None,
    }
}

/// Why a flow may not pass.
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    pub(crate) tell: Option<IcmpError>,
    /// The rule that refused it, and whose.
    pub(crate) rule: Option<(Whose, Direction, RuleId)>,
}

impl Refusal {
    /// Whether policy refused it, not routing.
    pub(crate) fn is_policy(&self) -> bool {
        self.rule.is_some() || self.reason == DropReason::EndpointToHost
    }

    /// What becomes of the packet.
    pub(crate) fn next<N>(&self) -> Next<N> {
        match self.tell {
            Some(error) => Next::Reject(self.reason, error),
            None => Next::Drop(self.reason),
        }
    }

    fn unreachable() -> Self {
        Self {
            reason: DropReason::NoRoute,
            tell: Some(IcmpError::NetUnreachable),
            rule: None,
        }
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self {
            reason,
            tell: None,
            rule: None,
        }
    }
}

/// One policy that was asked.
struct Answer {
    whose: Whose,
    direction: Direction,
    opinion: Opinion,
    /// Whether the flow's session will count for the rule that decided.
    in_session: bool,
}

/// What the policies on a new flow's way said, to be counted once its fate is known.
#[derive(Default)]
pub(crate) struct PolicyAnswers {
    answers: [Option<Answer>; Self::MOST],
    count: usize,
}

impl PolicyAnswers {
    /// Policies a flow meets at most: `preDNAT`, forwarded in, out of a workload, into one, out.
    const MOST: usize = 5;

    /// No rule but those that decided was met: nothing else is to be counted or logged.
    pub(crate) fn is_plain(&self) -> bool {
        let notes = |opinion: &Opinion| {
            let notes = [&opinion.staged, &opinion.logged, &opinion.passed];
            notes.iter().all(|rules| rules.as_slice().is_empty())
        };
        self.answers.iter().flatten().all(|it| notes(&it.opinion))
    }

    fn push(&mut self, answer: Answer) {
        if let Some(place) = self.answers.get_mut(self.count) {
            *place = Some(answer);
            self.count += 1;
        }
    }

    /// Counts a flow with its first packet, which a session counts by itself if there is one.
    pub(crate) fn count(&self, core: &Core, packet: &Packet) {
        let seen = core.seen(packet);
        let add = |hit: &RuleHit, first: bool| {
            hit.flows.add(1);
            if first {
                hit.add(seen.packets.into(), seen.bytes.into());
            }
        };
        for answer in self.answers.iter().flatten() {
            let opinion = &answer.opinion;
            let counted = answer.in_session && packet.hit.is_some();
            match answer.whose {
                Whose::Workload(id) if opinion.rule == RuleId::NO_PROFILE => {
                    add(core.counters.unmatched(id, answer.direction), true);
                }
                Whose::Workload(_) | Whose::Host(_) => {
                    if let Some(hit) = core.counters.rules.of(opinion.rule.index() as u32) {
                        add(hit, !counted);
                    }
                }
            }
            let aside =
                [&opinion.staged, &opinion.logged, &opinion.passed].map(NotedRules::as_slice);
            for rule in aside.into_iter().flatten() {
                if let Some(hit) = core.counters.rules.of(rule.index() as u32) {
                    add(hit, true);
                }
            }
        }
    }
}

/// Routes a flow and asks every policy on its way. `untracked`: the host endpoint it came in by
/// has let it in for good.
pub(crate) fn decide(
    tables: &Tables,
    origin: Origin,
    tuple: &PacketTuple,
    hash: u64,
    untracked: bool,
    asked: &mut PolicyAnswers,
) -> Result<Decision, Refusal> {
    let forward = tables
        .route(tuple.destination, hash)
        .ok_or_else(Refusal::unreachable)?;
    // Replies of a source without a route meet the same end as any packet to it: adjacency 0.
    let reverse = tables.route(tuple.source, hash).unwrap_or(AdjacencyId(0));
    refuse_local_source(tables, origin, reverse)?;
    let adjacency = tables
        .adjacency(forward)
        .ok_or(DropReason::StaleAdjacency)?;
    let delivered = matches!(adjacency, Adjacency::Host { local: true, .. });
    let mut ask = Ask {
        tables,
        tuple,
        asked,
    };
    let mut rules = [0; 2];
    if let Some(endpoint) = origin.endpoint(tables)
        && !untracked
        && !ask.pre_dnat(origin, endpoint)?
    {
        match (delivered, origin) {
            (false, _) => ask.forwarded(endpoint, Direction::Ingress)?,
            (true, Origin::Tunnel(_)) => rules[1] = ask.host(endpoint, Direction::Ingress)?,
            // Of a workload's, the host's action decides below.
            (true, Origin::Workload(_) | Origin::Host | Origin::Forwarded) => {}
        }
    }
    if let Origin::Workload(id) = origin {
        rules[0] = ask.workload(id, Direction::Egress)?;
    }
    let endpoints = &tables.host.endpoints;
    let mut to = None;
    let mut leaves_by = None;
    match adjacency {
        Adjacency::Drop(DropReason::NoRoute) => return Err(Refusal::unreachable()),
        Adjacency::Drop(reason) => return Err((*reason).into()),
        // `Tables::route` has chosen a member already.
        Adjacency::Group(_) => return Err(DropReason::StaleAdjacency.into()),
        Adjacency::Neighbor { out, .. } => {
            to = Some(*out);
            if origin != Origin::Host {
                rules[1] = ask.workload(*out, Direction::Ingress)?;
                leaves_by = endpoints.all.as_ref();
            }
        }
        Adjacency::Host { .. } if origin.is_by_host() => return Err(DropReason::Hairpin.into()),
        // The resolver is there for workloads, whatever they may ask of the host.
        Adjacency::Host { out, .. } if *out == InterfaceId::RESOLVER => {}
        Adjacency::Host { local: true, .. } => {
            if origin.is_workload() {
                rules[1] = ask.own_host()?;
            }
        }
        Adjacency::Host { local: false, .. } => leaves_by = endpoints.uplink.as_ref(),
        Adjacency::Tunnel { out, .. } => match origin {
            Origin::Tunnel(_) => return Err(DropReason::Hairpin.into()),
            Origin::Host => {
                if let Some(endpoint) = endpoints.of_tunnel(*out)
                    && !untracked
                {
                    rules[0] = ask.host(endpoint, Direction::Egress)?;
                }
            }
            Origin::Workload(_) | Origin::Forwarded => leaves_by = endpoints.of_tunnel(*out),
        },
    }
    if let Some(endpoint) = leaves_by {
        ask.forwarded(endpoint, Direction::Egress)?;
    }
    Ok(Decision {
        forward,
        reverse,
        to,
        rules,
    })
}

/// What `doNotTrack` policies say of a packet before any session is looked at: none when they
/// leave it to the rest.
pub(crate) fn untracked(
    tables: &Tables,
    origin: Origin,
    tuple: &PacketTuple,
    hash: u64,
    asked: &mut PolicyAnswers,
) -> Option<Result<(), Refusal>> {
    let (endpoint, direction) = match origin {
        Origin::Workload(_) => return None,
        Origin::Forwarded | Origin::Tunnel(_) => (origin.endpoint(tables)?, Direction::Ingress),
        Origin::Host => {
            let out = tables
                .adjacency(tables.route(tuple.destination, hash)?)?
                .out()?;
            (tables.host.endpoints.of_tunnel(out)?, Direction::Egress)
        }
    };
    if !endpoint.has_untracked(direction) {
        return None;
    }
    let mut ask = Ask {
        tables,
        tuple,
        asked,
    };
    let whose = Whose::Host(endpoint.policy);
    match ask.chain(endpoint.policy, Chain::Untracked, whose, direction, false) {
        Ok(RuleId::UNDECIDED) => None,
        Ok(_) => Some(Ok(())),
        Err(refusal) => Some(Err(refusal)),
    }
}

/// Our own addresses cannot come in from outside (RFC 1812 section 5.3.8).
fn refuse_local_source(
    tables: &Tables,
    origin: Origin,
    reverse: AdjacencyId,
) -> Result<(), Refusal> {
    let ours = match tables.adjacency(reverse) {
        Some(Adjacency::Neighbor { .. }) => !origin.is_workload(),
        Some(Adjacency::Host { local: true, .. }) => !origin.is_by_host(),
        Some(
            Adjacency::Host { local: false, .. }
            | Adjacency::Tunnel { .. }
            | Adjacency::Group(_)
            | Adjacency::Drop(_),
        )
        | None => false,
    };
    if ours {
        Err(DropReason::Martian.into())
    } else {
        Ok(())
    }
}

/// Asks policies about one packet and notes what they say.
struct Ask<'a> {
    tables: &'a Tables,
    tuple: &'a PacketTuple,
    asked: &'a mut PolicyAnswers,
}

impl Ask<'_> {
    /// A workload's own policy; the rule that allowed the packet.
    fn workload(&mut self, id: InterfaceId, direction: Direction) -> Result<u32, Refusal> {
        let workload = self.tables.workload(id).ok_or(DropReason::InterfaceDown)?;
        let whose = Whose::Workload(id);
        let rule = self.chain(workload.policy, Chain::Normal, whose, direction, true)?;
        Ok(rule.index() as u32)
    }

    /// A host endpoint's policy about packets to or from the host itself.
    fn host(&mut self, endpoint: &HostEndpoint, direction: Direction) -> Result<u32, Refusal> {
        let whose = Whose::Host(endpoint.policy);
        let rule = self.chain(endpoint.policy, Chain::Normal, whose, direction, true)?;
        Ok(rule.index() as u32)
    }

    /// A host endpoint's policy about packets that cross it.
    fn forwarded(&mut self, endpoint: &HostEndpoint, direction: Direction) -> Result<(), Refusal> {
        let whose = Whose::Host(endpoint.policy);
        self.chain(endpoint.policy, Chain::Forward, whose, direction, false)
            .map(drop)
    }

    /// A host endpoint's `preDNAT` policies; true when they let the packet in for good.
    fn pre_dnat(&mut self, origin: Origin, endpoint: &HostEndpoint) -> Result<bool, Refusal> {
        if origin.is_workload() || !endpoint.pre_dnat {
            return Ok(false);
        }
        let whose = Whose::Host(endpoint.policy);
        let ingress = Direction::Ingress;
        let rule = self.chain(endpoint.policy, Chain::PreDnat, whose, ingress, false)?;
        Ok(rule != RuleId::UNDECIDED)
    }

    /// What the host says to packets of its own workloads.
    fn own_host(&mut self) -> Result<u32, Refusal> {
        let host = &self.tables.host;
        match (host.endpoint_to_host, &host.endpoints.all) {
            (EndpointToHost::Drop, _) => Err(DropReason::EndpointToHost.into()),
            (EndpointToHost::Accept, _) | (EndpointToHost::Return, None) => Ok(0),
            (EndpointToHost::Return, Some(endpoint)) => self.host(endpoint, Direction::Ingress),
        }
    }

    fn chain(
        &mut self,
        endpoint: EndpointIndex,
        chain: Chain,
        whose: Whose,
        direction: Direction,
        in_session: bool,
    ) -> Result<RuleId, Refusal> {
        let policy = &self.tables.policy;
        let opinion = policy.evaluate_chain(endpoint, chain, direction, self.tuple);
        self.asked.push(Answer {
            whose,
            direction,
            opinion,
            in_session,
        });
        let rule = opinion.rule;
        if opinion.allow {
            return Ok(rule);
        }
        let by_rule = match policy.rule(rule).map(|rule| rule.kind) {
            Some(RuleKind::Policy | RuleKind::Profile) => true,
            Some(
                RuleKind::TierDefault
                | RuleKind::NoProfile
                | RuleKind::Undecided
                | RuleKind::Forward
                | RuleKind::Failsafe
                | RuleKind::NoEndpoint,
            )
            | None => false,
        };
        Err(Refusal {
            reason: if by_rule {
                DropReason::PolicyDenied
            } else {
                DropReason::PolicyDefaultDeny
            },
            tell: None,
            rule: Some((whose, direction, rule)),
        })
    }
}
