//! Folds a watch's events into what they say, and counts them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vrouter_api::{Key, Kind, Resource};
use vrouter_datastore::{Datastore, Event, Watch};

/// What a reader of a watch knows.
pub(crate) struct Follower {
    watch: Watch,
    pub(crate) resources: BTreeMap<Key, Resource>,
    pub(crate) broken: BTreeMap<String, Vec<String>>,
    /// The store, while it is away.
    pub(crate) away: Option<String>,
    /// Changes told, without those of faults.
    pub(crate) changes: usize,
}

impl Follower {
    pub(crate) fn new(store: &dyn Datastore) -> Follower {
        Follower {
            watch: store.watch(Kind::ALL).expect("a watch starts"),
            resources: BTreeMap::new(),
            broken: BTreeMap::new(),
            away: None,
            changes: 0,
        }
    }

    /// Follows until the condition holds at an InSync.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Follower) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.watch.events().recv_timeout(left) else {
                panic!(
                    "{what}: not in time; {:?}",
                    (&self.resources.keys(), &self.broken)
                );
            };
            match event {
                Event::Upsert(resource) => {
                    self.changes += 1;
                    let key = resource.key();
                    let before = self.resources.insert(key, resource.clone());
                    assert_ne!(before, Some(resource), "told twice");
                }
                Event::Delete(key) => {
                    self.changes += 1;
                    assert!(self.resources.remove(&key).is_some(), "{key} was not there");
                }
                Event::Mended { object } => {
                    let before = self.broken.remove(&object);
                    assert!(before.is_some(), "{object} was in order");
                }
                Event::Fault { object, errors } => {
                    let errors = errors.iter().map(ToString::to_string).collect();
                    self.broken.insert(object, errors);
                }
                Event::Away { store, reason } => {
                    self.away = Some(store.clone());
                    self.broken.insert(store, vec![reason]);
                }
                Event::Back => {
                    let store = self.away.take().expect("the store was away");
                    self.broken.remove(&store);
                }
                Event::Notice(notice) => {
                    self.broken.entry(notice.file.clone()).or_default();
                }
                Event::InSync => {
                    if condition(self) {
                        return;
                    }
                }
            }
        }
    }
}
