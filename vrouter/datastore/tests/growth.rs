//! A change of one resource costs in proportion to what there is, at most: each kind of input is
//! doubled three times, and the processor time of one change must not grow by more.

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use nix::time::ClockId;
use support::etcd::Etcd;
use support::follower::Follower;
use vrouter_api::{Key, Resource, parse};
use vrouter_datastore::{Datastore, Directory};

/// Changes of which the cheapest counts.
const ROUNDS: u32 = 6;
/// An input, doubled three times.
const SIZES: [u32; 2] = [250, 2_000];

/// This process' time on processors.
fn on_cpu() -> Duration {
    let now = ClockId::CLOCK_PROCESS_CPUTIME_ID.now();
    now.expect("Linux has this clock").into()
}

/// A network set of so many members; the label tells its versions apart.
fn set(name: u32, version: u32, members: u32) -> String {
    let mut text = format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata:\n  name: set-{name}\n  \
         labels: {{version: 'v{version}'}}\nspec:\n  nets:\n"
    );
    for member in 0..members {
        let [_, a, b, c] = member.to_be_bytes();
        writeln!(text, "  - 10.{a}.{b}.{c}/32").expect("strings grow");
    }
    text
}

fn resource(text: &str) -> Resource {
    let mut parsed = parse(text.as_bytes(), "set.yaml");
    assert_eq!(parsed.errors, []);
    parsed.resources.remove(0).value
}

/// The least time that a change of set 0 takes, from the call until a watch has told it.
fn change(store: &dyn Datastore, sets: usize, members: u32) -> Duration {
    let mut follower = Follower::new(store);
    follower.until("all sets", |seen| seen.resources.len() == sets);
    let key: Key = resource(&set(0, 0, 0)).key();
    let round = |round: u32| {
        let changed = resource(&set(0, round + 1, members));
        let version = format!("v{}", round + 1);
        let before = on_cpu();
        store.update(&changed).expect("set 0 is there");
        follower.until("the change", |seen| {
            seen.resources[&key].metadata().labels.get("version") == Some(&version)
        });
        on_cpu() - before
    };
    (0..ROUNDS).map(round).min().expect("some rounds")
}

fn in_directory(write: impl Fn(&Path), sets: u32, members: u32) -> Duration {
    let folder = tempfile::tempdir().expect("a temporary directory");
    write(folder.path());
    let store = Directory::open(folder.path()).expect("it was just made");
    change(&store, sets as usize, members)
}

fn one_file_each(sets: u32) -> Duration {
    let write = |folder: &Path| {
        for name in 0..sets {
            let file = folder.join(format!("{name}.yaml"));
            std::fs::write(file, set(name, 0, 1)).expect("room on disk");
        }
    };
    in_directory(write, sets, 1)
}

fn one_file_of_all(sets: u32) -> Duration {
    let write = |folder: &Path| {
        let texts: Vec<String> = (0..sets).map(|name| set(name, 0, 1)).collect();
        std::fs::write(folder.join("all.yaml"), texts.join("---\n")).expect("room on disk");
    };
    in_directory(write, sets, 1)
}

fn one_set(members: u32) -> Duration {
    let write = |folder: &Path| {
        std::fs::write(folder.join("set.yaml"), set(0, 0, members)).expect("room on disk");
    };
    in_directory(write, 1, members)
}

fn keys_of_etcd(keys: u32) -> Duration {
    let etcd = Etcd::start();
    let store = etcd.store();
    for name in 0..keys {
        store
            .create(&resource(&set(name, 0, 1)))
            .expect("a new set");
    }
    change(&store, keys as usize, 1)
}

/// One test, so that the process' time is that of one change.
#[test]
fn a_change_grows_no_faster_than_what_there_is() {
    // What three doublings may do: a change that looks at all takes 8 times as long, and somewhat
    // more where memory is far; one that looks at products of two sizes 64 times.
    type Input = (&'static str, fn(u32) -> Duration, u32);
    let inputs: [Input; 4] = [
        ("files", one_file_each, 12),
        ("resources of one file", one_file_of_all, 12),
        ("members of a set", one_set, 12),
        ("keys of etcd", keys_of_etcd, 3),
    ];
    for (input, cost, most) in inputs {
        let [few, many] = SIZES.map(cost);
        println!(
            "{few:?} with {} {input}, {many:?} with {}",
            SIZES[0], SIZES[1]
        );
        assert!(
            many <= few * most,
            "{few:?} with {} {input}, {many:?} with {}",
            SIZES[0],
            SIZES[1]
        );
    }
}
