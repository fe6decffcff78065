//! `node`, `datastore migrate` and `cluster`.

#![allow(clippy::unwrap_used)]

mod etcd;
mod stores;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use serde_json::Value;
use stores::Store;

const PROTOCOLS: &str = "0001 BIRD 2.0.12 ready.\n";
const REPLY: &str = "\
2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     10:00:00
 kernel1    Kernel     master4    up     10:00:00
 Mesh_172_17_8_102 BGP        ---        up     23:30:04      Established
 Global_192_0_2_254_port_180 BGP ---     start  10:00:01      Active        Socket: Connection refused
 Node_fd00__2 BGP        ---        up     23:30:05      Established
0000 
";

const STATUS: &str = "\
Calico process is not running.

IPv4 BGP status
+--------------+-------------------+-------+----------+-----------------------------------+
| PEER ADDRESS |     PEER TYPE     | STATE |  SINCE   |               INFO                |
+--------------+-------------------+-------+----------+-----------------------------------+
| 172.17.8.102 | node-to-node mesh | up    | 23:30:04 | Established                       |
| 192.0.2.254  | global            | start | 10:00:01 | Active Socket: Connection refused |
+--------------+-------------------+-------+----------+-----------------------------------+

IPv6 BGP status
+--------------+---------------+-------+----------+-------------+
| PEER ADDRESS |   PEER TYPE   | STATE |  SINCE   |    INFO     |
+--------------+---------------+-------+----------+-------------+
| fd00::2      | node specific | up    | 23:30:05 | Established |
+--------------+---------------+-------+----------+-------------+
";

#[test]
fn the_status_of_a_node_has_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bird.ctl");
    let listener = UnixListener::bind(&socket).unwrap();
    let bird = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(PROTOCOLS.as_bytes()).unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            assert_eq!(line, "show protocols all\n");
            stream.write_all(REPLY.as_bytes()).unwrap();
        }
    });
    let status = |socket: &str, more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_vrouterctl"))
            .args([
                "--socket",
                "/nonexistent/d.sock",
                "node",
                "status",
                "--bird-socket",
                socket,
            ])
            .args(more)
            .output()
            .unwrap()
    };
    let output = status(socket.to_str().unwrap(), &[]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), STATUS);
    assert_eq!(output.status.code(), Some(1));
    let output = status(socket.to_str().unwrap(), &["-o", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["bgp"]["ipv4"][0]["address"], "172.17.8.102");
    bird.join().unwrap();
    let output = status("/nonexistent/bird.ctl", &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("BGP is not running"), "{said}");
}

#[test]
fn a_host_is_checked_and_diagnosed() {
    let store = Store::directory();
    let output = store.feed(&["node", "checksystem"], "");
    let said = String::from_utf8(output.stdout).unwrap();
    let met = !said.contains("FAIL");
    assert_eq!(
        output.status.code(),
        Some(if met { 0 } else { 1 }),
        "{said}"
    );
    assert!(said.contains("kernel version"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    for command in ["node", "cluster"] {
        let output = store.feed(&[command, "diags", "--dir", dir], "");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let archive = said
            .lines()
            .last()
            .unwrap()
            .strip_prefix("Diags saved to ")
            .unwrap();
        let listed = Command::new("tar")
            .args(["-tzf", archive])
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let file = if command == "node" {
            "show-flows.txt"
        } else {
            "ippools.yaml"
        };
        assert!(listed.contains(file), "{listed}");
    }
    // The archives alone are left.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_datastore_moves_to_another() {
    let [from, to] = Store::both();
    from.ok("create -f -", include_str!("calico/cluster.yaml"));
    let refused = from.fails(&["datastore", "migrate", "export"], "");
    assert!(refused.starts_with("Datastore is not locked."), "{refused}");
    assert_eq!(from.ok("datastore migrate lock", ""), "Datastore locked.\n");
    assert!(from.ok("get clusterinfo", "").contains("false"));
    let all = from.ok("datastore migrate export", "");
    assert_eq!(to.ok("datastore migrate lock", ""), "Datastore locked.\n");
    let said = to.ok("datastore migrate import -f -", &all);
    assert!(
        said.starts_with("Successfully imported 16 resource(s)."),
        "{said}"
    );
    for kind in [
        "nodes", "pools", "wep", "np", "gnp", "tiers", "profiles", "bgppeers",
    ] {
        let items = |store: &Store| {
            let listed = store.ok(&format!("get {kind} -o json --export"), "");
            let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
            listed["items"].as_array().unwrap().clone()
        };
        let (there, here) = (items(&to), items(&from));
        assert!(here.iter().all(|item| there.contains(item)), "{kind}");
        // An etcd has the built-in tiers as resources.
        let more = if kind == "tiers" { 3 } else { 0 };
        assert_eq!(there.len(), here.len() + more, "{kind}");
    }
    let refused = to.fails(&["datastore", "migrate", "import", "-f", "-"], &all);
    assert!(refused.contains("already has Node resources"), "{refused}");
    assert_eq!(
        to.ok("datastore migrate unlock", ""),
        "Datastore unlocked.\n"
    );
    assert!(to.ok("get clusterinfo", "").contains("true"));
}
