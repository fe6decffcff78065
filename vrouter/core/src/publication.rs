//! What workers were told, and how far the next telling is.
//!
//! Workers read the FIB while it changes, so a change takes stages. New adjacencies are published
//! and awaited before a prefix points to them; places that no prefix points to are used again
//! after workers have seen a generation without them. A fault between two stages leaves the stage,
//! from which the next plan goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use policy::compile::Compiled;
use vrouter_dataplane::tables::Tables;

use crate::forwarding::{Contents, Forwarding};
use crate::rib::{Change, NextHops, Rib, TooManyAdjacencies};
use crate::statics::{By, Ways};
use crate::step::Step;

/// How far a change is.
#[derive(Debug, Default)]
enum Stage {
    /// Workers know everything.
    #[default]
    Settled,
    /// New adjacencies have places that no worker knows.
    Prepared(Change),
    /// Tables with those places are published.
    Announced(Change),
    /// Every worker knows them.
    Known(Change),
    /// Prefixes point to them.
    Committed,
    /// Tables with everything are published.
    Published,
    /// Every worker has those tables.
    Seen,
}

/// What workers were told.
#[derive(Debug, Default)]
pub struct Publication {
    rib: Rib,
    ways: Ways,
    contents: Option<Contents>,
    generation: u32,
    stage: Stage,
}

impl Publication {
    /// Nothing yet, after an earlier process's tables: its generations mean nothing here.
    pub fn after(generation: u32) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    /// Where prefixes lead.
    pub fn rib(&self) -> &Rib {
        &self.rib
    }

    /// Where static routes lead.
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// The generation published last.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The tables of a node that forwards nothing yet.
    pub fn nothing(&self, policy: Arc<Compiled>) -> Tables {
        Tables {
            generation: self.generation,
            interfaces: Vec::new(),
            adjacencies: self.rib.adjacencies(),
            fib: self.rib.fib(),
            policy,
            nodes: Arc::default(),
            host: Arc::default(),
        }
    }

    /// Whether workers were told exactly this, or are being told.
    pub fn is(&self, forwarding: &Forwarding) -> bool {
        self.contents
            .as_ref()
            .is_some_and(|contents| contents.is(&forwarding.contents))
            && self.ways == forwarding.ways
            && match &self.stage {
                Stage::Settled | Stage::Committed | Stage::Published | Stage::Seen => {
                    self.rib.is(&forwarding.routes)
                }
                Stage::Prepared(change) | Stage::Announced(change) | Stage::Known(change) => {
                    self.rib.will_be(change, &forwarding.routes)
                }
            }
    }

    /// The steps that are left of the change in hand.
    pub fn rest(&self) -> Vec<Step> {
        let all = [
            Step::Announce,
            Step::AwaitWorkers,
            Step::Commit,
            Step::Publish,
            Step::AwaitWorkers,
            Step::Collect,
        ];
        let done = match &self.stage {
            Stage::Prepared(_) => 0,
            Stage::Announced(_) => 1,
            Stage::Known(_) => 2,
            Stage::Committed => 3,
            Stage::Published => 4,
            Stage::Seen => 5,
            Stage::Settled => all.len(),
        };
        all.into_iter().skip(done).collect()
    }

    /// Gives what is new its places.
    ///
    /// # Errors
    /// Too many different adjacencies; nothing is changed then.
    pub(crate) fn prepare(&mut self, forwarding: &Forwarding) -> Result<(), TooManyAdjacencies> {
        let mut change = self.rib.prepare(&forwarding.routes)?;
        for (by, old, new) in self.ways.changes(&forwarding.ways) {
            let moved = match by {
                By::Nodes(..) => {
                    let prefixes = self.rib.static_by(old).into_iter();
                    self.rib
                        .prepare_static(prefixes.map(|prefix| (prefix, new)))
                }
                By::Hops(_) => {
                    let routes = self.rib.learned_by(old).into_iter();
                    let routes = routes.map(|(prefix, metric)| (prefix, metric, new));
                    self.rib.prepare_learned(routes)
                }
            };
            match moved {
                Ok(more) => change.append(more),
                Err(error) => {
                    self.rib.abandon(&change);
                    return Err(error);
                }
            }
        }
        self.ways.clone_from(&forwarding.ways);
        self.contents = Some(forwarding.contents.clone());
        self.stage = Stage::Prepared(change);
        Ok(())
    }

    /// The tables in which new places are known; `None` when no place is new.
    pub(crate) fn announcement(&mut self) -> Option<Tables> {
        if let Stage::Prepared(change) = &self.stage
            && change.new_adjacencies
        {
            return self.next_tables();
        }
        None
    }

    /// The tables with everything.
    pub(crate) fn next_tables(&mut self) -> Option<Tables> {
        let contents = self.contents.as_ref()?;
        self.generation = self.generation.wrapping_add(1);
        Some(Tables {
            generation: self.generation,
            interfaces: contents.interfaces.clone(),
            adjacencies: self.rib.adjacencies(),
            fib: self.rib.fib(),
            policy: Arc::clone(&contents.policy),
            nodes: Arc::clone(&contents.nodes),
            host: Arc::clone(&contents.host),
        })
    }

    /// A step was done.
    pub(crate) fn advance(&mut self, step: &Step) {
        self.stage = match (std::mem::take(&mut self.stage), step) {
            (Stage::Prepared(change), Step::Announce) => Stage::Announced(change),
            (Stage::Announced(change), Step::AwaitWorkers) => Stage::Known(change),
            (Stage::Known(change), Step::Commit) => {
                self.rib.commit(change);
                Stage::Committed
            }
            (Stage::Committed, Step::Publish) => Stage::Published,
            (Stage::Published, Step::AwaitWorkers) => Stage::Seen,
            (Stage::Seen, Step::Collect) => {
                self.rib.collect();
                Stage::Settled
            }
            // A step out of its turn changes nothing.
            (stage, _) => stage,
        };
    }

    /// Begins to add or replace static routes, whose ways are `ways`.
    ///
    /// # Errors
    /// Too many different adjacencies; nothing is changed then.
    pub(crate) fn add<'a>(
        &mut self,
        routes: impl IntoIterator<Item = (IpNet, &'a NextHops)>,
        ways: &BTreeMap<By, NextHops>,
    ) -> Result<(), TooManyAdjacencies> {
        let change = self.rib.prepare_static(routes)?;
        self.begin(change, ways);
        Ok(())
    }

    /// Begins to add or replace learned routes, whose ways are `ways`.
    ///
    /// # Errors
    /// Too many different adjacencies; nothing is changed then.
    pub(crate) fn learn<'a>(
        &mut self,
        routes: impl IntoIterator<Item = (IpNet, u32, &'a NextHops)>,
        ways: &BTreeMap<By, NextHops>,
    ) -> Result<(), TooManyAdjacencies> {
        let change = self.rib.prepare_learned(routes)?;
        if !change.is_empty() {
            self.begin(change, ways);
        }
        Ok(())
    }

    fn begin(&mut self, change: Change, ways: &BTreeMap<By, NextHops>) {
        for (by, way) in ways {
            self.ways.insert(by.clone(), way.clone());
        }
        self.stage = Stage::Prepared(change);
    }

    /// Begins to forget learned routes, each with its metric.
    pub(crate) fn unlearn(&mut self, routes: impl IntoIterator<Item = (IpNet, u32)>) {
        if self.rib.remove_learned(routes) > 0 {
            let rib = &self.rib;
            self.ways.retain(|way| rib.has_place(way));
            self.stage = Stage::Committed;
        }
    }

    /// Begins to remove static routes; how many of them there were.
    pub(crate) fn remove(&mut self, prefixes: &[IpNet]) -> usize {
        let removed = self.rib.remove_static(prefixes);
        if removed > 0 {
            self.stage = Stage::Committed;
        }
        removed
    }
}
