//! The CNI plugin where something dies: it, etcd, both; nothing is lost and nothing is left.
//!
//! `VROUTER_CNI_ROUNDS` makes the tests that repeat something longer than CI has time for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use support::cni::{Container, Runtime, address, has_device, left, rounds};
use support::store::{end, start_etcd};
use support::{TestLab, eventually, said};

#[test]
#[ignore = "needs root"]
fn killed_at_any_moment_nothing_is_left_after_del() {
    for store in ["etcd", "directory"] {
        killed_at_any_moment(store);
    }
}

fn killed_at_any_moment(store: &str) {
    let lab = TestLab::up(&format!("--nodes 1 --datastore {store} --pods 1"));
    let before = left(&lab, &["net"]);
    let runtime = Runtime::new(&lab, 1);
    let container = Container::new(&lab, 1, 101);
    let start = Instant::now();
    runtime.add(&container);
    let whole = start.elapsed();
    runtime.del(&container);
    let rounds = rounds(15);
    let mut finished = 0;
    for round in 0..rounds {
        // Every part of an ADD's time is hit, whatever the machine's speed.
        let mut add = runtime.start("ADD", Some(&container), &json!({}));
        thread::sleep(whole.mul_f64(round as f64 / rounds as f64));
        finished += usize::from(add.try_wait().unwrap().is_some());
        add.kill().unwrap();
        add.wait().unwrap();
        if round % 3 == 1 {
            let mut del = runtime.start("DEL", Some(&container), &json!({}));
            thread::sleep(whole.mul_f64(round as f64 / rounds as f64 / 2.0));
            del.kill().unwrap();
            del.wait().unwrap();
        }
        runtime.del(&container);
        eventually(5, "the device goes", || !has_device(&container));
        assert_eq!(left(&lab, &["net"]), before, "round {round}");
    }
    assert!(finished < rounds, "some were killed");

    // At system calls, all of them if there are rounds enough.
    for operation in ["ADD", "DEL"] {
        let calls = match operation {
            "ADD" => runtime.killed_at(usize::MAX, "ADD", &container),
            _ => {
                runtime.add(&container);
                runtime.killed_at(usize::MAX, "DEL", &container)
            }
        };
        runtime.del(&container);
        let rounds = rounds.min(calls);
        println!("{store}, {operation}: {rounds} of {calls} system calls");
        for round in 0..rounds {
            let at = 1 + round * calls / rounds;
            if operation == "DEL" {
                runtime.add(&container);
            }
            runtime.killed_at(at, operation, &container);
            runtime.del(&container);
            eventually(5, "the device goes", || !has_device(&container));
            let left = left(&lab, &["net"]);
            assert_eq!(
                left, before,
                "{operation} killed at system call {at} of {calls}"
            );
        }
    }
    runtime.add(&container);
    runtime.del(&container);
}

#[test]
#[ignore = "needs root"]
fn many_at_once_while_etcd_restarts_lose_no_address() {
    let mut lab = TestLab::up("--datastore etcd --pods 1");
    let before = left(&lab, &["net"]);
    let each = 16;
    let all: Vec<(Runtime, Container)> = (1..=2)
        .flat_map(|node| (0..each).map(move |number| (node, 101 + number)))
        .map(|(node, number)| (Runtime::new(&lab, node), Container::new(&lab, node, number)))
        .collect();
    let start = |operation: &'static str| -> Vec<thread::JoinHandle<Output>> {
        let calls = all.iter().cloned();
        let calls = calls.map(|(runtime, container)| {
            thread::spawn(move || runtime.call(operation, Some(&container), &json!({})))
        });
        calls.collect()
    };
    let calls = start("ADD");
    thread::sleep(Duration::from_millis(400));
    end(&lab, "etcd", Signal::SIGKILL);
    thread::sleep(Duration::from_millis(500));
    start_etcd(&mut lab);
    let mut addresses = Vec::new();
    for call in calls {
        let output = call.join().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        addresses.push(address(&serde_json::from_slice(&output.stdout).unwrap()));
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), all.len(), "no address twice");
    let calls = start("DEL");
    thread::sleep(Duration::from_millis(200));
    end(&lab, "etcd", Signal::SIGKILL);
    thread::sleep(Duration::from_millis(500));
    start_etcd(&mut lab);
    for call in calls {
        let output = call.join().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    // Some left notes, which vrouterd carries out.
    eventually(30, "nothing is left", || left(&lab, &["net"]) == before);
}

#[test]
#[ignore = "needs root"]
fn a_del_without_etcd_is_made_up_for_once() {
    let mut lab = TestLab::up("--datastore etcd --pods 1");
    let before = left(&lab, &["net"]);
    let runtime = Runtime::new(&lab, 1);
    let container = Container::new(&lab, 1, 101);
    runtime.add(&container);
    end(&lab, "etcd", Signal::SIGKILL);
    runtime.del(&container);
    let add = runtime.call("ADD", Some(&Container::new(&lab, 1, 102)), &json!({}));
    assert!(said(&add).contains("\"code\": 11"), "{}", said(&add));
    let notes = lab.lab.state_directory.join("node1/cni");
    let note = notes.join(format!("{}-eth0.net.json", container.id));
    assert!(note.exists());
    start_etcd(&mut lab);
    eventually(30, "vrouterd makes up for it", || !note.exists());
    assert_eq!(left(&lab, &["net"]), before);
    // The same container comes anew, with a note of its earlier life still there.
    eventually(5, "the device goes", || !has_device(&container));
    let text = json!({ "network": "net", "containerID": container.id, "interface": "eth0",
        "endpoint": "ofContainer", "handles": [format!("net.{}", container.id)] });
    std::fs::write(&note, text.to_string()).unwrap();
    runtime.add(&container);
    thread::sleep(Duration::from_secs(5));
    assert!(has_device(&container) && !note.exists());
    assert!(
        left(&lab, &["net"])
            .iter()
            .any(|it| it.ends_with(&container.id)),
        "its handle"
    );
    runtime.del(&container);
    assert_eq!(left(&lab, &["net"]), before);
}
