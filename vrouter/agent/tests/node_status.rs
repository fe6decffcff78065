//! `CalicoNodeStatus` is filled in over every datastore: it appears, is renewed, and shows a BIRD
//! that died.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../../datastore/tests/support/etcd.rs"]
mod etcd;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vrouter_agent::node_status::{NodeStatuses, Sockets, requests};
use vrouter_api::{Key, Kind, Resource, parse};
use vrouter_core::resources::Resources;
use vrouter_datastore::{Connection, Datastore, StoreError};

const STATUS: &str = "\
1000-BIRD 2.0.12
1011-Router ID is 10.9.0.1
 Current server time is 2026-11-21 00:39:54.717
 Last reboot on 2026-11-21 00:39:46.300
 Last reconfiguration on 2026-11-21 00:39:46.400
0013 Daemon is up and running
";
const PROTOCOLS: &str = "\
2002-Name       Proto      Table      State  Since         Info
1002-kernel1    Kernel     master4    up     00:39:46.300  
1006-
1002-Mesh_10_9_0_2 BGP        ---        up     00:40:21.127  Established   
1006-  BGP state:          Established
     Neighbor address: 10.9.0.2
 
1002-Global_10_9_0_77 BGP        ---        start  00:39:46.300  Active        Socket: No route to host
1006-  BGP state:          Active
     Neighbor address: 10.9.0.77
 
1002-Node_fd09__2 BGP        ---        start  00:39:46.300  Passive
1006-  BGP state:          Passive
     Neighbor address: fd09::2
0000 
";
const ROUTES: &str = "\
1007-Table master4:
 0.0.0.0/0            unicast [kernel1 00:39:46.302] * (10)
 \tvia 10.9.0.2 on eth0
 10.65.0.0/26         blackhole [elsewhere 00:39:46.300] * (200)
                      unicast [Mesh_10_9_0_2 00:40:22.899] (100) [i]
 \tvia 10.9.0.2 on eth0
 
 Table master6:
 fd66::/64            unicast [Node_fd09__2 00:40:19.826] * (100) [i]
 \tvia fd09::2 on eth0
0000 
";

/// Answers as BIRD does, until it is dropped: then its socket is left without a listener.
struct FakeBird {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    protocols: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeBird {
    fn start(path: &Path) -> FakeBird {
        let listener = UnixListener::bind(path).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let protocols = Arc::new(Mutex::new(PROTOCOLS.to_owned()));
        let (ended, said) = (Arc::clone(&stop), Arc::clone(&protocols));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                serve(&stream.unwrap(), &said);
            }
        });
        FakeBird {
            path: path.to_owned(),
            stop,
            protocols,
            thread: Some(thread),
        }
    }
}

fn serve(mut stream: &UnixStream, protocols: &Mutex<String>) {
    stream.write_all(b"0001 BIRD 2.0.12 ready.\n").unwrap();
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let answer = match &*line.unwrap() {
            "show status" => STATUS.to_owned(),
            "show protocols all" => protocols.lock().unwrap().clone(),
            "show route" => ROUTES.to_owned(),
            other => panic!("{other:?}"),
        };
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

impl Drop for FakeBird {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(UnixStream::connect(&self.path));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

fn asking(name: &str, node: &str, classes: &str, period: u32) -> Resource {
    let text = format!(
        "apiVersion: projectcalico.org/v3\nkind: CalicoNodeStatus\nmetadata: {{name: {name}}}\n\
         spec: {{node: {node}, classes: [{classes}], updatePeriodSeconds: {period}}}\n"
    );
    let parsed = parse(text.as_bytes(), "test");
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.notices, []);
    parsed.resources[0].value.clone()
}

/// The status that is in the store.
fn status(store: &dyn Datastore, name: &str) -> Value {
    match store.get(&Key::global(Kind::CalicoNodeStatus, name)) {
        Ok(Resource::Other(other)) => other.content.get("status").cloned().unwrap_or(Value::Null),
        other => panic!("{other:?}"),
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn over(connection: &Connection) {
    let store = connection.open().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bird.ctl");
    let bird = FakeBird::start(&socket);
    let sockets = Sockets {
        v4: vec![folder.path().join("none.ctl"), socket.clone()],
        v6: vec![folder.path().join("bird6.ctl")],
    };
    let all = [
        asking("all", "n1", "Agent, BGP, Routes", 1),
        asking("once", "n1", "Agent", 0),
        asking("other", "n2", "Agent", 1),
        asking("gone", "n1", "Agent", 1),
    ];
    let mut resources = Resources::default();
    for resource in &all {
        resources.upsert(resource.clone());
        if resource.metadata().name != "gone" {
            store.create(resource).unwrap();
        }
    }
    let mut filling = NodeStatuses::start("n1", std::sync::Arc::clone(&store), sockets).unwrap();
    filling.request(requests(&resources, "n1"));

    // It appears, with what was asked for.
    eventually("a status", || status(&*store, "all") != Value::Null);
    let first = status(&*store, "all");
    let ready = json!({
        "state": "Ready", "version": "2.0.12", "routerID": "10.9.0.1",
        "lastBootTime": "2026-11-21 00:39:46.300",
        "lastReconfigurationTime": "2026-11-21 00:39:46.400",
    });
    assert_eq!(first["agent"], json!({"birdV4": ready, "birdV6": ready}));
    assert_eq!(
        first["bgp"],
        json!({
            "numberEstablishedV4": 1, "numberNotEstablishedV4": 1,
            "numberEstablishedV6": 0, "numberNotEstablishedV6": 1,
            "peersV4": [
                {"peerIP": "10.9.0.2", "type": "NodeMesh", "state": "Established",
                 "since": "00:40:21.127"},
                {"peerIP": "10.9.0.77", "type": "GlobalPeer", "state": "Active",
                 "since": "00:39:46.300"},
            ],
            // Calico has no word for that session's state.
            "peersV6": [{"peerIP": "fd09::2", "type": "NodePeer", "since": "00:39:46.300"}],
        })
    );
    assert_eq!(
        first["routes"],
        json!({
            "routesV4": [
                {"type": "FIB", "destination": "0.0.0.0/0", "gateway": "10.9.0.2",
                 "interface": "eth0", "learnedFrom": {"sourceType": "Kernel"}},
                {"type": "FIB", "destination": "10.65.0.0/26", "gateway": "N/A",
                 "interface": "blackhole", "learnedFrom": {}},
                {"type": "RIB", "destination": "10.65.0.0/26", "gateway": "10.9.0.2",
                 "interface": "eth0",
                 "learnedFrom": {"sourceType": "NodeMesh", "peerIP": "10.9.0.2"}},
            ],
            "routesV6": [
                {"type": "FIB", "destination": "fd66::/64", "gateway": "fd09::2",
                 "interface": "eth0",
                 "learnedFrom": {"sourceType": "BGPPeer", "peerIP": "fd09::2"}},
            ],
        })
    );
    eventually("the other status", || {
        status(&*store, "once") != Value::Null
    });
    let once = status(&*store, "once");
    assert_eq!(once["agent"]["birdV4"]["state"], "Ready");
    assert_eq!(once.get("bgp"), None, "nobody asked");

    // It is renewed, though nothing changed; and while others write the resource.
    let label = |value: &str| {
        let key = Key::global(Kind::CalicoNodeStatus, "all");
        loop {
            let mut now = store.get(&key).unwrap();
            let labels = &mut now.metadata_mut().labels;
            labels.insert("by".to_owned(), value.to_owned());
            match store.update(&now) {
                Ok(_) => return,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let writing = Instant::now();
    let mut writes = 0;
    while writing.elapsed() < Duration::from_millis(1500) {
        label(&writes.to_string());
        writes += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    eventually("another time", || {
        status(&*store, "all")["lastUpdated"] != first["lastUpdated"]
    });
    let there = store.get(&Key::global(Kind::CalicoNodeStatus, "all"));
    let labels = there.unwrap().metadata().labels.clone();
    assert_eq!(labels["by"], (writes - 1).to_string(), "no write is lost");
    let down = PROTOCOLS
        .replace("up     00:40:21.127  Established", "start  00:41 Idle")
        .replace("Established", "Idle");
    *bird.protocols.lock().unwrap() = down;
    eventually("a session that is down", || {
        let bgp = &status(&*store, "all")["bgp"];
        bgp["numberEstablishedV4"] == 0 && bgp["peersV4"][0]["state"] == "Idle"
    });

    // A BIRD that dies is shown, as is one that comes back.
    drop(bird);
    eventually("a dead BIRD", || {
        status(&*store, "all")["agent"]
            == json!({"birdV4": {"state": "NotReady"}, "birdV6": {"state": "NotReady"}})
    });
    let dead = status(&*store, "all");
    let none = json!({
        "numberEstablishedV4": 0, "numberNotEstablishedV4": 0,
        "numberEstablishedV6": 0, "numberNotEstablishedV6": 0,
    });
    assert_eq!(dead["bgp"], none);
    assert_eq!(dead["routes"], json!({}));
    std::fs::remove_file(&socket).unwrap();
    let bird = FakeBird::start(&socket);
    eventually("a BIRD that is back", || {
        status(&*store, "all")["agent"]["birdV4"]["state"] == "Ready"
    });

    // One that is asked once is left alone until it asks for something else.
    assert_eq!(status(&*store, "once"), once);
    let mut changed = asking("once", "n1", "Agent, BGP", 0);
    store.update(&changed).unwrap();
    resources.upsert(changed.clone());
    filling.request(requests(&resources, "n1"));
    eventually("what else is asked for", || {
        status(&*store, "once")["bgp"]["numberEstablishedV4"] == 1
    });

    // Nothing is written for other nodes, nor for what was given to one or is gone.
    assert_eq!(status(&*store, "other"), Value::Null);
    assert!(store.get(&all[3].key()).is_err());
    changed = asking("all", "n2", "Agent", 1);
    let before = store.update(&changed).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(store.get(&before.key()).unwrap(), before);
    drop(filling);
    drop(bird);
}

#[test]
fn in_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    over(&Connection::Directory(folder.path().to_owned()));
}

#[test]
fn in_etcd() {
    let etcd = etcd::Etcd::start();
    let endpoint = etcd.endpoint();
    let variable = |name: &str| (name == "ETCD_ENDPOINTS").then(|| endpoint.clone());
    over(&Connection::of_environment(&variable).unwrap());
    let path = "/calico/resources/v3/projectcalico.org/caliconodestatuses/once";
    let raw: Value = serde_json::from_str(&etcd.ctl(&["get", "--print-value-only", path])).unwrap();
    assert_eq!(raw["status"]["agent"]["birdV4"]["state"], "Ready");
}
