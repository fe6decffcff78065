//! A packet's way through one node: which policies it meets there, in Calico's order.
//!
//! Host endpoints stand for the node's interfaces. What the node itself sends or receives meets
//! their normal policies; what crosses an interface on its way meets those with `applyOnForward`.
//! Workloads' links have no host endpoint but that of all interfaces, `*`, and it has no say in
//! what the node sends to its own workloads.

use serde::Serialize;

use super::{Explanation, Resources, admits};
use crate::compile::{Chain, RuleKind};
use crate::model::{Direction, EndpointKey, PacketTuple};

/// One end of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side<'a> {
    /// A workload of the node.
    Workload(&'a EndpointKey),
    /// The node itself.
    Host,
    /// An interface to elsewhere, with the host endpoint that stands for it.
    Interface(Option<&'a EndpointKey>),
}

/// `defaultEndpointToHostAction`: what becomes of packets from workloads to their own node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ToHost {
    Drop,
    Accept,
    /// The host endpoint of all interfaces decides, if there is one.
    Return,
}

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage<'a> {
    /// Where the packet comes from.
    pub from: Side<'a>,
    /// Where it goes.
    pub to: Side<'a>,
    /// The host endpoint of all interfaces.
    pub all: Option<&'a EndpointKey>,
    /// What the node does with packets of its own workloads.
    pub to_host: ToHost,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// What was asked, in order, up to a refusal.
    pub asked: Vec<Explanation>,
    /// Whether the packet gets through.
    pub allow: bool,
    /// Whether `defaultEndpointToHostAction` refused it.
    pub by_host_action: bool,
    /// Whether a `doNotTrack` policy let it in, so that it belongs to no connection.
    pub untracked: bool,
}

impl Resources {
    /// Walks a new connection's first packet through a node.
    #[must_use]
    pub fn pass(&self, passage: &Passage<'_>, tuple: &PacketTuple) -> Passed {
        let mut walk = Walk {
            resources: self,
            tuple,
            passed: Passed {
                asked: Vec::new(),
                allow: true,
                by_host_action: false,
                untracked: false,
            },
        };
        walk.passed.allow = walk.all_allow(passage);
        walk.passed
    }

    /// Whether a `doNotTrack` or `preDNAT` policy with rules applies to a host endpoint.
    fn stands_in(&self, endpoint: &EndpointKey, chain: Chain, direction: Direction) -> bool {
        let Some(endpoint) = self.endpoints.get(endpoint) else {
            return false;
        };
        let labels = self.labels(endpoint);
        self.policies.values().any(|policy| {
            admits(chain, policy)
                && policy
                    .rules(direction)
                    .is_some_and(|rules| !rules.is_empty())
                && self.tiers.contains_key(policy.tier())
                && policy.selector().matches(&labels)
        })
    }
}

struct Walk<'a> {
    resources: &'a Resources,
    tuple: &'a PacketTuple,
    passed: Passed,
}

impl Walk<'_> {
    fn all_allow(&mut self, passage: &Passage<'_>) -> bool {
        let (ingress, egress) = (Direction::Ingress, Direction::Egress);
        let settled = match (passage.from, passage.to) {
            (Side::Interface(Some(endpoint)), _) => {
                match self.early(endpoint, Chain::Untracked, ingress) {
                    Some(allow) => {
                        self.passed.untracked = allow;
                        Some(allow)
                    }
                    None => self.early(endpoint, Chain::PreDnat, ingress),
                }
            }
            (Side::Host, Side::Interface(Some(endpoint))) => {
                let said = self.early(endpoint, Chain::Untracked, egress);
                self.passed.untracked = said == Some(true);
                said
            }
            (Side::Workload(_) | Side::Host | Side::Interface(None), _) => None,
        };
        if settled == Some(false) {
            return false;
        }
        let comes_by = match passage.from {
            Side::Workload(_) => passage.all,
            Side::Interface(endpoint) => endpoint,
            Side::Host => None,
        };
        let entered = match (comes_by, passage.to, passage.from) {
            // Let in for good.
            (Some(_), _, _) if settled.is_some() => true,
            (Some(endpoint), Side::Host, Side::Interface(_)) => {
                self.ask(endpoint, Chain::Normal, ingress)
            }
            (Some(_), Side::Host, Side::Workload(_) | Side::Host) | (None, _, _) => true,
            (Some(endpoint), Side::Workload(_) | Side::Interface(_), _) => {
                self.ask(endpoint, Chain::Forward, ingress)
            }
        };
        entered && self.leaves(passage, settled)
    }

    /// The workloads' own policies, and those on the way out.
    fn leaves(&mut self, passage: &Passage<'_>, settled: Option<bool>) -> bool {
        let (ingress, egress) = (Direction::Ingress, Direction::Egress);
        if let Side::Workload(workload) = passage.from
            && !self.ask(workload, Chain::Normal, egress)
        {
            return false;
        }
        match (passage.from, passage.to) {
            (Side::Host, Side::Workload(_) | Side::Host) => true,
            (Side::Host, Side::Interface(endpoint)) => {
                settled.is_some() || endpoint.is_none_or(|e| self.ask(e, Chain::Normal, egress))
            }
            (Side::Workload(_), Side::Host) => match (passage.to_host, passage.all) {
                (ToHost::Drop, _) => {
                    self.passed.by_host_action = true;
                    false
                }
                (ToHost::Accept, _) | (ToHost::Return, None) => true,
                (ToHost::Return, Some(all)) => self.ask(all, Chain::Normal, ingress),
            },
            (Side::Interface(_), Side::Host) => true,
            (Side::Workload(_) | Side::Interface(_), Side::Workload(workload)) => {
                self.ask(workload, Chain::Normal, ingress)
                    && passage
                        .all
                        .is_none_or(|all| self.ask(all, Chain::Forward, egress))
            }
            (Side::Workload(_) | Side::Interface(_), Side::Interface(endpoint)) => {
                endpoint.is_none_or(|e| self.ask(e, Chain::Forward, egress))
            }
        }
    }

    /// A chain that may leave the packet to the rest.
    fn early(
        &mut self,
        endpoint: &EndpointKey,
        chain: Chain,
        direction: Direction,
    ) -> Option<bool> {
        if !self.resources.stands_in(endpoint, chain, direction) {
            return None;
        }
        let said = self
            .resources
            .explain(endpoint, chain, direction, self.tuple)?;
        let decided = said.by.kind != RuleKind::Undecided;
        let allow = said.allow;
        self.passed.asked.push(said);
        decided.then_some(allow)
    }

    fn ask(&mut self, endpoint: &EndpointKey, chain: Chain, direction: Direction) -> bool {
        let said = self
            .resources
            .explain(endpoint, chain, direction, self.tuple);
        // An endpoint nobody knows lets nothing through.
        let Some(said) = said else { return false };
        let allow = said.allow;
        self.passed.asked.push(said);
        allow
    }
}
