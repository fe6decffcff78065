//! IPAM on every store, and 32 processes at once on one etcd, some of them killed.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use encap::Family;
use support::etcd::Etcd;
use support::store_of;
use vrouter_api::{AllowedUse, Key, Kind, parse};
use vrouter_datastore::ipam::{Ipam, Problem, Released, Request, split};
use vrouter_datastore::{Connection, Datastore, StoreError};

fn apply(store: &dyn Datastore, text: &str) {
    let parsed = parse(text.as_bytes(), "test");
    assert_eq!(parsed.errors, []);
    for located in parsed.resources {
        store.create(&located.value).expect("the store takes it");
    }
}

fn pool(name: &str, cidr: &str, more: &str) -> String {
    format!(
        "---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: '{cidr}', {more}}}\n"
    )
}

fn request(node: &str, handle: &str) -> Request {
    Request::new(node, AllowedUse::Workload, handle)
}

fn clean(ipam: &Ipam) {
    assert_eq!(ipam.check().expect("the store is there").problems, []);
}

#[test]
fn addresses_are_given_and_taken_back() {
    for made in support::all() {
        let store = store_of(&made);
        apply(&*store, &pool("p", "10.0.0.0/28", "blockSize: 30"));
        let ipam = Ipam::new(Arc::clone(&store));
        let given = ipam
            .assign(&request("n1", "net.a"), Family::V4, 2)
            .expect("there are some");
        assert_eq!(given.len(), 2);
        let block = ipam
            .holder(given[0])
            .expect("the store is there")
            .expect("it is held");
        assert_eq!(block.block_of.as_deref(), Some("n1"));
        assert!(!block.is_borrowed());
        // n2 claims a block of its own.
        let other = ipam
            .assign(&request("n2", "net.b"), Family::V4, 1)
            .expect("there are some");
        let held = ipam
            .holder(other[0])
            .expect("the store is there")
            .expect("it is held");
        assert_ne!(held.block, block.block);
        clean(&ipam);

        // More than there is: n1 takes the last blocks, then borrows.
        let rest = ipam
            .assign(&request("n1", "net.c"), Family::V4, 20)
            .expect("some are left");
        assert_eq!(rest.len(), 13);
        let borrowed = ipam.held().expect("the store is there");
        assert_eq!(borrowed.iter().filter(|held| held.is_borrowed()).count(), 3);
        let all: BTreeSet<IpAddr> = given.iter().chain(&other).chain(&rest).copied().collect();
        assert_eq!(all.len(), 16);
        clean(&ipam);

        // Only who holds an address releases it.
        assert_eq!(
            ipam.release(given[0], Some("net.b"), None).expect("there"),
            Released::NotTheirs
        );
        assert_eq!(
            ipam.release(given[0], None, Some(99)).expect("there"),
            Released::NotTheirs
        );
        assert_eq!(
            ipam.release(given[0], Some("net.a"), block.sequence)
                .expect("there"),
            Released::Done
        );
        assert_eq!(
            ipam.release(given[0], None, None).expect("there"),
            Released::NotHeld
        );
        clean(&ipam);
        assert_eq!(ipam.release_handle("net.c").expect("there"), 13);
        assert_eq!(ipam.release_handle("net.c").expect("there"), 0);
        clean(&ipam);

        // A node that goes leaves its block in use behind, and takes the empty ones along.
        ipam.release_node("n1").expect("the store is there");
        clean(&ipam);
        assert_eq!(ipam.blocks().expect("the store is there").len(), 2);
        ipam.release_handle("net.a").expect("there");
        assert_eq!(
            ipam.blocks().expect("the store is there").len(),
            1,
            "nobody's empty block goes"
        );
        let usage = ipam.usage().expect("the store is there");
        assert_eq!((usage[0].size, usage[0].used), (16.0, 1));
        clean(&ipam);
    }
}

#[test]
fn pools_settings_and_reservations_decide() {
    for made in support::all() {
        let store = store_of(&made);
        let mut text = pool(
            "a",
            "10.0.0.0/30",
            "blockSize: 31, nodeSelector: \"rack == 'x'\"",
        );
        text += &pool("b", "10.0.1.0/30", "blockSize: 31, disabled: true");
        text += &pool("c", "10.0.2.0/30", "blockSize: 31, assignmentMode: Manual");
        text += &pool("d", "10.0.3.0/30", "blockSize: 31, allowedUses: [Tunnel]");
        text += &pool("e", "fd00::/126", "blockSize: 127");
        text += "---\napiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1, labels: {rack: x}}\n";
        text += "---\napiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata: {name: r}\nspec: {reservedCIDRs: [10.0.0.0/31, 10.0.0.2]}\n";
        apply(&*store, &text);
        let ipam = Ipam::new(store);
        let assign = |request: &Request, family, wanted| {
            let given = ipam
                .assign(request, family, wanted)
                .expect("the store is there");
            given.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(assign(&request("n1", "h1"), Family::V4, 4), ["10.0.0.3"]);
        assert!(
            assign(&request("n2", "h2"), Family::V4, 4).is_empty(),
            "its labels do not match"
        );
        let mut named = request("n2", "h3");
        named.pools = vec!["c".to_owned()];
        assert_eq!(assign(&named, Family::V4, 9).len(), 4);
        let tunnel = Request::new("n1", AllowedUse::Tunnel, "vxlan-tunnel-addr-n1");
        assert!(assign(&tunnel, Family::V4, 1)[0].starts_with("10.0."));
        assert_eq!(assign(&request("n2", "h4"), Family::V6, 9).len(), 4);
        clean(&ipam);

        // Strict: nothing is borrowed. One block a node.
        ipam.configure(|it| {
            it.strict_affinity = true;
            it.max_blocks_per_host = 1;
        })
        .expect("the store is there");
        ipam.release_handle("h4").expect("the store is there");
        assert_eq!(
            assign(&request("n3", "h5"), Family::V6, 9).len(),
            0,
            "n2 still has both blocks"
        );
        ipam.release_node("n2").expect("the store is there");
        assert_eq!(assign(&request("n3", "h5"), Family::V6, 9).len(), 2);
        let error = ipam
            .configure(|it| it.auto_allocate_blocks = false)
            .expect_err("strict");
        assert!(matches!(error, StoreError::Setting { .. }), "{error}");

        // A released address rests.
        ipam.configure(|it| it.ip_cooldown_seconds = 600)
            .expect("the store is there");
        ipam.release_handle("h5").expect("the store is there");
        assert!(assign(&request("n3", "h6"), Family::V6, 1).is_empty());
        assert_eq!(
            ipam.held()
                .expect("there")
                .iter()
                .filter(|it| it.address.is_ipv6())
                .count(),
            0
        );
        ipam.configure(|it| it.ip_cooldown_seconds = 0)
            .expect("the store is there");
        assert_eq!(assign(&request("n3", "h6"), Family::V6, 1).len(), 1);
        clean(&ipam);
    }
}

#[test]
fn a_check_finds_what_is_wrong() {
    for made in support::all() {
        let store = store_of(&made);
        apply(&*store, &pool("p", "10.0.0.0/24", "blockSize: 26"));
        let ipam = Ipam::new(Arc::clone(&store));
        let mut pod = request("n1", "net.a");
        pod.secondary.insert("pod".to_owned(), "web".to_owned());
        let given = ipam.assign(&pod, Family::V4, 1).expect("there are some");
        let problems = ipam.check().expect("the store is there").problems;
        assert!(matches!(&problems[..], [Problem::Leaked { address, .. }] if *address == given[0]));
        apply(
            &*store,
            &format!(
                "apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\nmetadata: {{namespace: d}}\nspec: {{node: n1, orchestrator: k8s, pod: web, ipNetworks: [{}/32, 10.0.0.200/32]}}\n",
                given[0]
            ),
        );
        let problems = ipam.check().expect("the store is there").problems;
        assert!(
            matches!(&problems[..], [Problem::NotGiven { .. }]),
            "{problems:?}"
        );
        store
            .delete(&Key::global(Kind::IpamHandle, "net.a"), None)
            .expect("it is there");
        let problems = ipam.check().expect("the store is there").problems;
        assert!(
            matches!(
                problems[0],
                Problem::Handle {
                    counts: 0,
                    held: 1,
                    ..
                }
            ),
            "{problems:?}"
        );
        assert_eq!(ipam.repair(true).expect("the store is there").len(), 1);
        assert_eq!(ipam.repair(false).expect("the store is there").len(), 1);
        assert_eq!(ipam.check().expect("the store is there").problems.len(), 1);
        let pool = Key::global(Kind::IpPool, "p");
        let before = store.delete(&pool, None).expect("it is there");
        let problems = ipam.check().expect("the store is there").problems;
        assert!(
            problems
                .iter()
                .any(|it| matches!(it, Problem::NoPool { .. })),
            "{problems:?}"
        );
        store.create(&before).expect("it was there");

        // Split: refused while the store is in use; what is given stays given.
        assert!(matches!(
            split(&*store, "p", 2),
            Err(StoreError::Setting { .. })
        ));
        apply(
            &*store,
            "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\nspec: {datastoreReady: false}\n",
        );
        assert!(matches!(
            split(&*store, "p", 3),
            Err(StoreError::Setting { .. })
        ));
        assert!(matches!(
            split(&*store, "p", 8),
            Err(StoreError::Setting { .. })
        ));
        let parts = split(&*store, "p", 4).expect("it is locked");
        assert_eq!(parts.len(), 4);
        assert_eq!(ipam.pools().expect("there").len(), 4);
        assert!(ipam.holder(given[0]).expect("there").is_some());
    }
}

/// Nodes and workers of the stress test, and addresses for them: fewer than they would like.
const NODES: usize = 8;
const WORKERS: usize = 32;
const VARIABLE: &str = "VROUTER_IPAM_WORKER";

fn micros() -> u128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("the clock is past 1970").as_micros()
}

/// One process of the stress test; does nothing unless that starts it.
#[test]
fn worker() {
    let Ok(told) = std::env::var(VARIABLE) else {
        return;
    };
    let (endpoint, id) = told.split_once(' ').expect("endpoint and number");
    let variable = |name: &str| (name == "ETCD_ENDPOINTS").then(|| endpoint.to_owned());
    let connection = Connection::of_environment(&variable).expect("endpoints");
    let ipam = Ipam::new(connection.open().expect("threads"));
    let number: usize = id.parse().expect("a number");
    let mut held: Vec<String> = Vec::new();
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .expect("the parent reads");
    };
    for round in 0.. {
        let handle = format!("net.{number}-{round}");
        let node = format!("n{}", number % NODES);
        let wanted = 1 + (number + round) % 3;
        let given = ipam
            .assign(&request(&node, &handle), Family::V4, wanted)
            .expect("etcd is there");
        let at = micros();
        for address in given {
            say(format!("+ {at} {handle} {address}"));
        }
        held.push(handle);
        if held.len() > 1 {
            let handle = held.remove((round * 7 + number) % 2);
            say(format!("- {} {handle} all", micros()));
            ipam.release_handle(&handle).expect("etcd is there");
        }
    }
}

fn start(endpoint: &str, number: usize) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "worker", "--nocapture"])
        .env(VARIABLE, format!("{endpoint} {number}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test runs")
}

#[test]
fn processes_that_die_lose_no_address_and_give_none_twice() {
    let etcd = Etcd::start();
    let store: Arc<dyn Datastore> = Arc::new(etcd.store());
    // 8 blocks of 8 for 8 nodes of 4 workers that hold up to 6.
    apply(&*store, &pool("p", "10.0.0.0/26", "blockSize: 29"));
    let endpoint = etcd.endpoint();
    let mut children: Vec<Child> = (0..WORKERS).map(|it| start(&endpoint, it)).collect();
    let seen = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = children
        .iter_mut()
        .map(|child| {
            let out = BufReader::new(child.stdout.take().expect("it is a pipe"));
            let seen = Arc::clone(&seen);
            let count = move |_: &String| {
                seen.fetch_add(1, Ordering::Relaxed);
            };
            let lines = out.lines().map_while(Result::ok).inspect(count);
            std::thread::spawn(move || lines.collect::<Vec<_>>())
        })
        .collect();
    let limit = Instant::now() + Duration::from_secs(60);
    while seen.load(Ordering::Relaxed) < 700 {
        assert!(Instant::now() < limit, "only {seen:?} operations in 60 s");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Killed one after the other, wherever they are.
    for child in &mut children {
        std::thread::sleep(Duration::from_millis(130));
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }
    let mut spans: BTreeMap<String, Vec<(u128, u128, String)>> = BTreeMap::new();
    let mut operations = 0;
    for reader in readers {
        let lines = reader.join().expect("a reader does not panic");
        let mut open: BTreeMap<String, Vec<(u128, String)>> = BTreeMap::new();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let [sign @ ("+" | "-"), at, handle, address] = words[..] else {
                continue;
            };
            operations += 1;
            let at: u128 = at.parse().expect("a time");
            if sign == "+" {
                open.entry(handle.to_owned())
                    .or_default()
                    .push((at, address.to_owned()));
                continue;
            }
            for (from, address) in open.remove(handle).unwrap_or_default() {
                spans
                    .entry(address)
                    .or_default()
                    .push((from, at, handle.to_owned()));
            }
        }
        for (handle, rest) in open {
            for (from, address) in rest {
                spans
                    .entry(address)
                    .or_default()
                    .push((from, u128::MAX, handle.clone()));
            }
        }
    }
    assert!(operations > 500, "only {operations} operations");
    for (address, spans) in &mut spans {
        spans.sort();
        for pair in spans.windows(2) {
            let ((_, until, first), (from, _, second)) = (&pair[0], &pair[1]);
            assert!(
                until <= from,
                "{address} was given to {first} and {second} at once"
            );
        }
    }

    let ipam = Ipam::new(Arc::clone(&store));
    // Whoever said that it holds an address does.
    for (address, spans) in &spans {
        let Some((_, _, handle)) = spans.last().filter(|(_, until, _)| *until == u128::MAX) else {
            continue;
        };
        let held = ipam
            .holder(address.parse().expect("an address"))
            .expect("etcd is there");
        let holder = held.and_then(|held| held.attributes.handle_id);
        assert_eq!(holder.as_deref(), Some(&**handle), "{address}");
    }
    // Half done things are finished, and releasing every handle frees everything.
    ipam.repair(false).expect("etcd is there");
    clean(&ipam);
    for (handle, _) in ipam.handles().expect("etcd is there") {
        ipam.release_handle(&handle).expect("etcd is there");
    }
    clean(&ipam);
    assert_eq!(ipam.held().expect("etcd is there"), []);
    let all = ipam
        .assign(&request("n1", "all"), Family::V4, 64)
        .expect("etcd is there");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 64);
    clean(&ipam);
    println!("{operations} operations of {WORKERS} processes");
}
