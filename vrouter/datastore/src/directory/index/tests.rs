//! The rules of precedence and of last good versions, and a reference model for all orders.

use proptest::prelude::*;
use vrouter_api::{Kind, parse};

use super::*;

fn tier(name: &str, order: u32) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {{name: {name}}}\nspec: \
         {{order: {order}}}\n---\n"
    )
}

fn broken(name: &str) -> String {
    tier(name, 0).replace("order: 0", "order: none")
}

fn says(name: &str, text: &str) -> (String, Change) {
    (
        name.to_owned(),
        Change::Content(parse(text.as_bytes(), name)),
    )
}

fn removed(name: &str) -> (String, Change) {
    (name.to_owned(), Change::Removed)
}

/// What a follower of the events holds: tier orders by name, and errors by file.
#[derive(Debug, Default, PartialEq)]
struct Follower {
    orders: BTreeMap<String, u32>,
    errors: BTreeMap<String, Vec<String>>,
}

impl Follower {
    fn follow(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Upsert(Resource::Tier(tier)) => {
                    let order = tier.spec.order.unwrap() as u32;
                    self.orders.insert(tier.metadata.name, order);
                }
                Event::Upsert(other) => panic!("{other:?}"),
                Event::Delete(key) => {
                    assert!(
                        self.orders.remove(&key.name).is_some(),
                        "deleted twice: {key}"
                    );
                }
                Event::Mended { object } => {
                    self.errors.remove(&object);
                }
                Event::Fault { object, errors } => {
                    let errors = errors.iter().map(ToString::to_string).collect();
                    self.errors.insert(object, errors);
                }
                Event::Away { .. } | Event::Back | Event::Notice(_) | Event::InSync => {}
            }
        }
    }

    fn has(&self, orders: &[(&str, u32)]) -> bool {
        let held = self
            .orders
            .iter()
            .map(|(name, order)| (name.as_str(), *order));
        held.eq(orders.iter().copied())
    }
}

#[test]
fn the_first_file_wins_and_the_second_takes_over() {
    let (mut index, mut follower) = (Index::default(), Follower::default());
    follower.follow(index.apply(vec![says("b.yaml", &tier("t", 2))]));
    assert!(follower.has(&[("t", 2)]) && follower.errors.is_empty());
    follower.follow(index.apply(vec![says("a.yaml", &(tier("u", 9) + &tier("t", 1)))]));
    assert!(follower.has(&[("t", 1), ("u", 9)]));
    assert_eq!(
        follower.errors["b.yaml"],
        ["b.yaml:1: Tier(t): already defined at a.yaml:6, which comes first; this one is ignored"]
    );
    // The loser changes: nothing happens in force.
    assert_eq!(index.apply(vec![says("b.yaml", &tier("t", 3))]), []);
    follower.follow(index.apply(vec![removed("a.yaml")]));
    assert!(follower.has(&[("t", 3)]) && follower.errors.is_empty());
    // Moved to another file in one step: nothing happens in force.
    assert_eq!(
        index.apply(vec![removed("b.yaml"), says("c.yaml", &tier("t", 3))]),
        []
    );
    follower.follow(index.apply(vec![removed("c.yaml")]));
    assert_eq!(follower, Follower::default());
}

#[test]
fn the_last_good_version_stays() {
    let (mut index, mut follower) = (Index::default(), Follower::default());
    let good = tier("t", 1) + &tier("u", 2) + &tier("v", 3);
    follower.follow(index.apply(vec![says("a.yaml", &good)]));
    // One resource is faulty, one changed, one gone.
    follower.follow(index.apply(vec![says("a.yaml", &(broken("t") + &tier("u", 5)))]));
    assert!(follower.has(&[("t", 1), ("u", 5)]), "{follower:?}");
    assert_eq!(follower.errors["a.yaml"].len(), 1);
    // The file is no YAML: everything stays.
    follower.follow(index.apply(vec![says("a.yaml", "{{{")]));
    assert!(follower.has(&[("t", 1), ("u", 5)]));
    // Mended.
    follower.follow(index.apply(vec![says("a.yaml", &tier("t", 7))]));
    assert!(follower.has(&[("t", 7)]) && follower.errors.is_empty());
    // Broken, then removed.
    follower.follow(index.apply(vec![says("a.yaml", &broken("t"))]));
    assert!(follower.has(&[("t", 7)]));
    follower.follow(index.apply(vec![removed("a.yaml")]));
    assert_eq!(follower, Follower::default());
}

#[test]
fn a_file_that_was_never_good_adds_nothing() {
    let mut index = Index::default();
    let events = index.apply(vec![says("a.yaml", &(broken("t") + &tier("u", 1)))]);
    let [Event::Fault { errors, .. }, Event::Upsert(resource)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(errors[0].key, Some(Key::global(Kind::Tier, "t")));
    assert_eq!(resource.key().name, "u");
    // The same again: nothing.
    assert_eq!(
        index.apply(vec![says("a.yaml", &(broken("t") + &tier("u", 1)))]),
        []
    );
}

#[test]
fn notices_are_told_whole_and_taken_back() {
    let pool = |extra: &str| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: p}}\nspec: {{cidr: \
             10.0.0.0/8{extra}}}\n"
        )
    };
    let told = |events: &[Event]| -> Vec<String> {
        let tell = |event: &Event| match event {
            Event::Fault { object, errors } => Some(format!("{object}: {}", errors.len())),
            Event::Mended { object } => Some(format!("{object}: 0")),
            Event::Notice(notice) => Some(notice.field.clone()),
            Event::Upsert(_)
            | Event::Delete(_)
            | Event::Away { .. }
            | Event::Back
            | Event::InSync => None,
        };
        events.iter().filter_map(tell).collect()
    };
    let mut index = Index::default();
    let both = pool(", natOutgoing: true, disableBGPExport: true");
    let events = index.apply(vec![says("a", &both)]);
    assert_eq!(told(&events), ["spec.natOutgoing", "spec.disableBGPExport"]);
    let events = index.apply(vec![says("a", &pool(", natOutgoing: true"))]);
    assert_eq!(told(&events), ["a: 0", "spec.natOutgoing"]);
    let events = index.apply(vec![says("a", &pool(""))]);
    assert_eq!(told(&events), ["a: 0"]);
    let events = index.apply(vec![says("a", &both), removed("a")]);
    assert_eq!(told(&events), Vec::<String>::new());
}

/// One thing done to a file: removed, or written with these tiers; order 0 writes a fault, and
/// `cut` ends the file in a syntax error.
#[derive(Clone, Debug)]
enum Edit {
    Remove(usize),
    Write {
        file: usize,
        tiers: BTreeMap<usize, u32>,
        cut: bool,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (0..4usize).prop_map(Edit::Remove),
        (
            0..4usize,
            prop::collection::btree_map(0..4usize, 0..4u32, 0..4),
            prop::bool::weighted(0.2)
        )
            .prop_map(|(file, tiers, cut)| Edit::Write { file, tiers, cut }),
    ]
}

proptest! {
    /// Batches of edits give what a naive model gives: per file the last good version of each
    /// tier, the first file first.
    #[test]
    fn follows_the_model(batches in prop::collection::vec(prop::collection::vec(edit(), 1..4), 1..20)) {
        let (mut index, mut follower) = (Index::default(), Follower::default());
        let mut model: BTreeMap<usize, (BTreeMap<usize, u32>, bool)> = BTreeMap::new();
        for batch in batches {
            let mut changes = Vec::new();
            for edit in batch {
                match edit {
                    Edit::Remove(file) => {
                        model.remove(&file);
                        changes.push(removed(&file.to_string()));
                    }
                    Edit::Write { file, tiers, cut } => {
                        let mut text = String::new();
                        for (name, order) in &tiers {
                            let name = format!("t{name}");
                            text += &if *order == 0 { broken(&name) } else { tier(&name, *order) };
                        }
                        if cut {
                            text += "{{{";
                        }
                        changes.push(says(&file.to_string(), &text));
                        let (old, _) = model.remove(&file).unwrap_or_default();
                        let mut new: BTreeMap<usize, u32> = old
                            .into_iter()
                            .filter(|(name, _)| cut || tiers.get(name) == Some(&0))
                            .collect();
                        let faulty = cut || tiers.values().any(|order| *order == 0);
                        new.extend(tiers.into_iter().filter(|(_, order)| *order != 0));
                        model.insert(file, (new, faulty));
                    }
                }
            }
            follower.follow(index.apply(changes));
            let mut orders = BTreeMap::new();
            let mut faulty = BTreeSet::new();
            for (file, (tiers, fault)) in &model {
                for (name, order) in tiers {
                    let name = format!("t{name}");
                    if orders.contains_key(&name) {
                        faulty.insert(file.to_string());
                    }
                    orders.entry(name).or_insert(*order);
                }
                if *fault {
                    faulty.insert(file.to_string());
                }
            }
            prop_assert_eq!(&follower.orders, &orders);
            prop_assert_eq!(follower.errors.keys().cloned().collect::<BTreeSet<_>>(), faulty);
        }
    }
}
