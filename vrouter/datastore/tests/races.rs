//! Two changes that exclude each other, made at the same moment by many threads and processes: the
//! rules hold all the same, one of them wins, and nothing is left in the store but resources.

mod support;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime};

use support::Made;
use vrouter_api::{Key, Kind, Resource, parse};
use vrouter_datastore::{Connection, Datastore, Directory, Scope, StoreError};

const VARIABLE: &str = "VROUTER_RACE_WORKER";
/// Between two rounds of the processes.
const ROUND: Duration = Duration::from_millis(60);

fn resource(text: &str) -> Resource {
    let text = format!("apiVersion: projectcalico.org/v3\n{text}");
    let parsed = parse(text.as_bytes(), "test");
    assert_eq!(parsed.errors, [], "{text}");
    parsed.resources[0].value.clone()
}

/// What one of many does in a round; whether it was let.
fn compete(store: &dyn Datastore, round: usize, number: usize) -> bool {
    let tier = Key::global(Kind::Tier, &format!("t{round}"));
    if number.is_multiple_of(2) {
        match store.delete(&tier, None) {
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::NotSupported { .. }) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
    } else {
        // It takes fewer steps than the removal and would always be first.
        let late = round * 7 % 10 * 5 + number;
        std::thread::sleep(Duration::from_micros(300) * u32::try_from(late).unwrap_or(0));
        let policy = format!(
            "kind: GlobalNetworkPolicy\nmetadata: {{name: g{round}-{number}}}\nspec: {{tier: t{round}}}"
        );
        match store.create(&resource(&policy)) {
            Ok(_) | Err(StoreError::Refused { .. }) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    // Each has another part of the same range, or all of it: no two are disjoint.
    let length = 8 + number % 9;
    let pool = format!(
        "kind: IPPool\nmetadata: {{name: p{round}-{number}}}\nspec: {{cidr: {round}.0.0.0/{length}}}"
    );
    match store.create(&resource(&pool)) {
        Ok(_) => true,
        Err(StoreError::Refused { .. }) => false,
        Err(error) => panic!("round {round}: {error}"),
    }
}

fn prepare(store: &dyn Datastore, rounds: usize) {
    for round in 1..=rounds {
        let tier = format!("kind: Tier\nmetadata: {{name: t{round}}}");
        store.create(&resource(&tier)).expect("the store is empty");
    }
}

fn names(store: &dyn Datastore, kind: Kind) -> Vec<String> {
    let list = store.list(kind, Scope::All).expect("the store is there");
    assert_eq!(list.faults, []);
    let names = list.resources.iter().map(|it| it.metadata().name.clone());
    names.collect()
}

/// Nothing that excludes something else is there beside it.
fn judge(store: &dyn Datastore, rounds: usize, what: &str) {
    let pools = names(store, Kind::IpPool);
    let (tiers, policies) = (
        names(store, Kind::Tier),
        names(store, Kind::GlobalNetworkPolicy),
    );
    let (mut kept, mut gone) = (0, 0);
    for round in 1..=rounds {
        let of_round = |name: &&String| name.starts_with(&format!("p{round}-"));
        let won: Vec<&String> = pools.iter().filter(of_round).collect();
        assert_eq!(won.len(), 1, "{what}: round {round}: {won:?}");
        let of_round = |name: &String| name.starts_with(&format!("g{round}-"));
        let inside = policies.iter().any(of_round);
        let there = tiers.contains(&format!("t{round}"));
        assert_eq!(there, inside, "{what}: round {round}: tier, policies");
        kept += usize::from(there);
        gone += usize::from(!there);
    }
    println!("{what}: {kept} tiers kept, {gone} gone");
}

/// No key but those of resources.
fn assert_no_foreign_key(made: &Made) {
    if let Made::Etcd(etcd) = made {
        let keys = etcd.ctl(&["get", "", "--from-key", "--keys-only"]);
        let resource = "/calico/resources/v3/projectcalico.org/";
        let foreign = |line: &&str| !line.is_empty() && !line.starts_with(resource);
        assert_eq!(keys.lines().find(foreign), None);
    }
}

/// Another connection to the same store, told by [`place`].
fn open(place: &str) -> Arc<dyn Datastore> {
    if place.starts_with('/') {
        return Arc::new(Directory::open(Path::new(place)).expect("it is there"));
    }
    let variable = |name: &str| (name == "ETCD_ENDPOINTS").then(|| place.to_owned());
    let connection = Connection::of_environment(&variable).expect("endpoints");
    connection.open().expect("threads")
}

#[test]
fn of_threads_one_wins() {
    const ROUNDS: usize = 24;
    const THREADS: usize = 8;
    for made in support::all() {
        let store = support::store_of(&made);
        prepare(&*store, ROUNDS);
        let place = store.name();
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for number in 0..THREADS {
                let (barrier, place) = (&barrier, &place);
                scope.spawn(move || {
                    let store = open(place);
                    // The connection stands before anybody starts.
                    names(&*store, Kind::Tier);
                    for round in 1..=ROUNDS {
                        barrier.wait();
                        compete(&*store, round, number);
                    }
                });
            }
        });
        judge(&*store, ROUNDS, &place);
        assert_no_foreign_key(&made);
    }
}

fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("the clock is past 1970")
}

/// One process of the test below; does nothing unless that starts it.
#[test]
fn worker() {
    let Ok(told) = std::env::var(VARIABLE) else {
        return;
    };
    let words: Vec<&str> = told.split(' ').collect();
    let [place, number, rounds, start] = words[..] else {
        panic!("{told}");
    };
    let number = number.parse().expect("a number");
    let rounds: usize = rounds.parse().expect("a number");
    let mut at = Duration::from_millis(start.parse().expect("a time"));
    let store = open(place);
    names(&*store, Kind::Tier);
    let mut won = 0;
    for round in 1..=rounds {
        std::thread::sleep(at.saturating_sub(since_1970()));
        won += usize::from(compete(&*store, round, number));
        at += ROUND;
    }
    println!("won {won}");
}

#[test]
fn of_processes_one_wins() {
    const ROUNDS: usize = 24;
    const PROCESSES: usize = 12;
    for made in support::all() {
        let store = support::store_of(&made);
        prepare(&*store, ROUNDS);
        let place = store.name();
        let start = (since_1970() + Duration::from_millis(1500)).as_millis();
        let children: Vec<_> = (0..PROCESSES)
            .map(|number| {
                Command::new(std::env::current_exe().expect("this test"))
                    .args(["--exact", "worker", "--nocapture"])
                    .env(VARIABLE, format!("{place} {number} {ROUNDS} {start}"))
                    .stdout(Stdio::piped())
                    .stderr(Stdio::inherit())
                    .spawn()
                    .expect("this test runs")
            })
            .collect();
        let mut won = 0;
        for mut child in children {
            let mut said = String::new();
            let mut out = child.stdout.take().expect("it is a pipe");
            out.read_to_string(&mut said).expect("it prints text");
            assert!(child.wait().expect("it is our child").success(), "{said}");
            let number = said.split("won ").nth(1).and_then(|it| it.lines().next());
            won += number
                .expect("it tells")
                .parse::<usize>()
                .expect("a number");
        }
        assert_eq!(won, ROUNDS, "who won knows it, and nobody else thinks so");
        judge(&*store, ROUNDS, &place);
        assert_no_foreign_key(&made);
    }
}
