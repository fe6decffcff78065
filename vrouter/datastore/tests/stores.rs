//! Every store does the same with the same operations: random ones, against a map in memory.

mod support;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use proptest::prelude::*;
use support::{Made, store_of};
use vrouter_api::{Key, Kind, Resource, parse};
use vrouter_datastore::{Datastore, Scope, StoreError};

/// One operation on one of few keys, so that they meet.
#[derive(Clone, Debug)]
enum Operation {
    Create {
        key: usize,
        content: u32,
    },
    /// With the current revision, one of before, or none.
    Update {
        key: usize,
        content: u32,
        seen: Seen,
    },
    Delete {
        key: usize,
        seen: Seen,
    },
    Get {
        key: usize,
    },
    List {
        kind: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    Current,
    Stale,
}

/// What a call says, without what stores choose themselves.
#[derive(Debug, PartialEq)]
enum Said {
    Resource(Box<Resource>),
    List(Vec<Resource>),
    NotFound,
    AlreadyExists,
    Conflict,
}

const KINDS: [Kind; 3] = [Kind::Tier, Kind::NetworkSet, Kind::GlobalNetworkSet];

fn resource(key: usize, content: u32) -> Resource {
    let name = ["a", "b", "a-b"][key / 3 % 3];
    let text = match KINDS[key % 3] {
        Kind::Tier => format!("kind: Tier\nmetadata: {{name: {name}}}\nspec: {{order: {content}}}"),
        Kind::NetworkSet => format!(
            "kind: NetworkSet\nmetadata: {{name: {name}, namespace: n{}}}\nspec: {{nets: [10.0.0.{content}/32]}}",
            key / 9
        ),
        _ => format!(
            "kind: GlobalNetworkSet\nmetadata: {{name: {name}, labels: {{c: 'x{content}'}}}}\nspec: {{nets: []}}"
        ),
    };
    let text = format!("apiVersion: projectcalico.org/v3\n{text}");
    let parsed = parse(text.as_bytes(), "test");
    assert_eq!(parsed.errors, [], "{text}");
    parsed.resources[0].value.clone()
}

fn operation() -> impl Strategy<Value = Operation> {
    let seen = prop_oneof![Just(Seen::Nothing), Just(Seen::Current), Just(Seen::Stale)];
    let (key, content) = (0..18_usize, 0..3_u32);
    prop_oneof![
        (key.clone(), content.clone())
            .prop_map(|(key, content)| Operation::Create { key, content }),
        (key.clone(), content, seen.clone()).prop_map(|(key, content, seen)| Operation::Update {
            key,
            content,
            seen
        }),
        (key.clone(), seen).prop_map(|(key, seen)| Operation::Delete { key, seen }),
        key.prop_map(|key| Operation::Get { key }),
        (0..3_usize).prop_map(|kind| Operation::List { kind }),
    ]
}

fn bare(mut resource: Resource) -> Resource {
    let metadata = resource.metadata_mut();
    assert!(metadata.resource_version.is_some(), "{resource:?}");
    let metadata = resource.metadata_mut();
    metadata.resource_version = None;
    metadata.uid = None;
    metadata.creation_timestamp = None;
    resource
}

fn said(outcome: Result<Resource, StoreError>) -> Said {
    match outcome {
        Ok(resource) => Said::Resource(Box::new(bare(resource))),
        Err(StoreError::NotFound { .. }) => Said::NotFound,
        Err(StoreError::AlreadyExists { .. }) => Said::AlreadyExists,
        Err(StoreError::Conflict { .. }) => Said::Conflict,
        Err(error) => panic!("{error}"),
    }
}

/// The reference, and the revisions that the store gave.
#[derive(Default)]
struct Model {
    now: BTreeMap<Key, Resource>,
    revisions: BTreeMap<Key, Vec<String>>,
}

impl Model {
    fn revision(&self, key: &Key, seen: Seen) -> (Option<String>, bool) {
        let given = self.revisions.get(key).map_or(&[][..], Vec::as_slice);
        match (seen, given) {
            (Seen::Nothing, _) => (None, true),
            (Seen::Current, [.., last]) => (Some(last.clone()), true),
            (Seen::Stale, [before @ .., _]) if !before.is_empty() => {
                (Some(before[before.len() / 2].clone()), false)
            }
            (Seen::Current | Seen::Stale, _) => (None, true),
        }
    }
}

fn run(store: &Arc<dyn Datastore>, operations: Vec<Operation>) {
    let mut model = Model::default();
    for operation in operations {
        let (expected, got) = match &operation {
            Operation::Create { key, content } => {
                let new = resource(*key, *content);
                let expected = match model.now.entry(new.key()) {
                    Entry::Occupied(_) => Said::AlreadyExists,
                    Entry::Vacant(vacant) => {
                        Said::Resource(Box::new(vacant.insert(new.clone()).clone()))
                    }
                };
                let got = store.create(&new);
                remember(&mut model, &got);
                (expected, said(got))
            }
            Operation::Update { key, content, seen } => {
                let mut new = resource(*key, *content);
                let key = new.key();
                let (revision, current) = model.revision(&key, *seen);
                let expected = match model.now.get_mut(&key) {
                    None => Said::NotFound,
                    Some(_) if !current => Said::Conflict,
                    Some(now) => {
                        now.clone_from(&new);
                        Said::Resource(Box::new(new.clone()))
                    }
                };
                new.metadata_mut().resource_version = revision;
                let got = store.update(&new);
                remember(&mut model, &got);
                (expected, said(got))
            }
            Operation::Delete { key, seen } => {
                let key = resource(*key, 0).key();
                let (revision, current) = model.revision(&key, *seen);
                let expected = match model.now.get(&key) {
                    None => Said::NotFound,
                    Some(_) if !current => Said::Conflict,
                    Some(now) => Said::Resource(Box::new(now.clone())),
                };
                if matches!(expected, Said::Resource(_)) {
                    model.now.remove(&key);
                }
                (expected, said(store.delete(&key, revision.as_deref())))
            }
            Operation::Get { key } => {
                let key = resource(*key, 0).key();
                let expected = match model.now.get(&key) {
                    None => Said::NotFound,
                    Some(now) => Said::Resource(Box::new(now.clone())),
                };
                (expected, said(store.get(&key)))
            }
            Operation::List { kind } => {
                let kind = KINDS[*kind];
                let expected = model.now.values().filter(|it| it.kind() == kind);
                let expected = Said::List(expected.cloned().collect());
                let list = store.list(kind, Scope::All).expect("the store is there");
                assert_eq!(list.faults, []);
                (
                    expected,
                    Said::List(list.resources.into_iter().map(bare).collect()),
                )
            }
        };
        assert_eq!(expected, got, "{operation:?}");
    }
}

fn remember(model: &mut Model, got: &Result<Resource, StoreError>) {
    if let Ok(resource) = got {
        let given = model.revisions.entry(resource.key()).or_default();
        let revision = resource.metadata().resource_version.clone();
        let revision = revision.expect("a store gives revisions");
        assert!(!given.contains(&revision), "{revision} was given before");
        given.push(revision);
    }
}

#[test]
fn stores_do_what_a_map_does() {
    for made in support::all() {
        let config = ProptestConfig {
            cases: match made {
                Made::Directory(_) => 64,
                Made::Etcd(_) => 32,
            },
            ..ProptestConfig::default()
        };
        proptest!(config, |(operations in proptest::collection::vec(operation(), 1..40))| {
            run(&store_of(&made), operations);
        });
    }
}
