//! What the datastore said so far: resources in force, and what is wrong with others.

use std::collections::BTreeMap;

use policy::model::Invalid;
use vrouter_api::{Event, Kind, Notice, ParseError};

use crate::policies::Policies;
use crate::resources::Resources;

/// Everything the datastore said of the cluster, from where one node is.
pub struct State {
    /// The node.
    pub node: String,
    /// Resources in good order.
    pub resources: Resources,
    /// The policies among them.
    pub policies: Policies,
    /// Objects of the store that are in bad order.
    pub faults: BTreeMap<String, Vec<ParseError>>,
    /// What has no effect in objects that are in good order.
    pub notices: BTreeMap<String, Vec<Notice>>,
    /// Why the store cannot be read, while it cannot.
    pub away: Option<Away>,
    /// Whether everything the store has was told once.
    pub in_sync: bool,
    batch: Batch,
}

/// Why a store cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// The store, for people.
    pub store: String,
    /// The reason, and what stays in force.
    pub reason: String,
}

/// What changed since the last time that all was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Whether a `CalicoNodeStatus` did.
    pub statuses: bool,
    /// Whether anything else did.
    pub others: bool,
    /// How many resources of each kind are new or different, and how many are gone.
    counts: BTreeMap<&'static str, (usize, usize)>,
}

impl State {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// The node's name is no name.
    pub fn new(node: &str) -> Result<State, Invalid> {
        Ok(State {
            node: node.to_owned(),
            resources: Resources::default(),
            policies: Policies::new(node)?,
            faults: BTreeMap::new(),
            notices: BTreeMap::new(),
            away: None,
            in_sync: false,
            batch: Batch::default(),
        })
    }

    /// Takes an event; what changed, when all of a batch was told.
    pub fn apply(&mut self, event: Event) -> Option<Batch> {
        match event {
            Event::Upsert(resource) => {
                self.batch.changed(resource.kind());
                self.policies.upsert(&resource);
                self.resources.upsert(resource);
            }
            Event::Delete(key) => {
                self.batch.removed(key.kind);
                self.policies.delete(&key);
                self.resources.delete(&key);
            }
            Event::Fault { object, errors } => {
                self.batch.others = true;
                self.notices.remove(&object);
                self.faults.insert(object, errors);
            }
            Event::Mended { object } => {
                self.batch.others = true;
                self.notices.remove(&object);
                self.faults.remove(&object);
            }
            Event::Notice(notice) => {
                let of_object = self.notices.entry(notice.file.clone()).or_default();
                if !of_object.contains(&notice) {
                    of_object.push(notice);
                }
            }
            Event::Away { store, reason } => {
                self.batch.others = true;
                self.away = Some(Away { store, reason });
            }
            Event::Back => {
                self.batch.others = true;
                self.away = None;
            }
            Event::InSync => {
                let batch = std::mem::take(&mut self.batch);
                let first = !std::mem::replace(&mut self.in_sync, true);
                return Some(Batch {
                    // Statuses are written often, by all nodes, and are nothing to packets.
                    others: first || batch.others || !batch.statuses,
                    statuses: first || batch.statuses,
                    counts: batch.counts,
                });
            }
        }
        None
    }
}

impl Batch {
    fn changed(&mut self, kind: Kind) {
        self.note(kind);
        self.counts.entry(kind.name()).or_default().0 += 1;
    }

    fn removed(&mut self, kind: Kind) {
        self.note(kind);
        self.counts.entry(kind.name()).or_default().1 += 1;
    }

    /// What changed, in words: `in force: 2 NetworkPolicy, 1 Node removed`.
    pub fn changes(&self) -> Option<String> {
        let parts: Vec<String> = self
            .counts
            .iter()
            .flat_map(|(kind, &(changed, removed))| {
                let changed = (changed > 0).then(|| format!("{changed} {kind}"));
                let removed = (removed > 0).then(|| format!("{removed} {kind} removed"));
                changed.into_iter().chain(removed)
            })
            .collect();
        (!parts.is_empty()).then(|| format!("in force: {}", parts.join(", ")))
    }

    fn note(&mut self, kind: Kind) {
        if kind == Kind::CalicoNodeStatus {
            self.statuses = true;
        } else {
            self.others = true;
        }
    }
}
