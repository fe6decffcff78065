//! `bgp render|plan|explain|peers|routes`: over files and a BIRD that is a few texts.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

const RESOURCES: &str = "\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: a}
spec: {bgp: {ipv4Address: 10.0.0.1/24}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: b}
spec: {bgp: {ipv4Address: 10.0.0.2/24}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.65.0.0/16}
---
apiVersion: projectcalico.org/v3
kind: BlockAffinity
metadata: {name: a-1}
spec: {state: confirmed, node: a, cidr: 10.65.0.0/26}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeMeshPassword: {secretKeyRef: {name: mesh, key: k}}}
---
apiVersion: v1
kind: Secret
metadata: {name: mesh, namespace: kube-system}
stringData: {k: hunter2}
";

fn ctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vrouterctl"))
        .env_remove("NODENAME")
        .env_remove("CALICO_ROUTER_ID")
        .args(arguments)
        .output()
        .unwrap()
}

/// Exit code, standard output, standard error.
fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = ctl(arguments);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn cluster() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("resources")).unwrap();
    fs::write(folder.path().join("resources/all.yaml"), RESOURCES).unwrap();
    folder
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn render_prints_a_file_and_hides_passwords() {
    let folder = cluster();
    let dir = text(&folder.path().join("resources"));
    let (code, shown, error) = said(&["bgp", "render", "--node", "a", "--directory", &dir]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    for line in [
        "router id 10.0.0.1;",
        "    route 10.65.0.0/26 blackhole; # A block of this node",
        "protocol bgp Mesh_10_0_0_2 from bgp4 {",
        "    password \"********\";",
    ] {
        assert!(shown.lines().any(|it| it == line), "{line}\n{shown}");
    }
    let all = [
        "bgp",
        "render",
        "--node",
        "a",
        "--directory",
        &dir,
        "--show-passwords",
    ];
    assert!(said(&all).1.contains("password \"hunter2\";"));
    let (code, _, error) = said(&["bgp", "render", "--node", "x", "--directory", &dir]);
    assert_eq!(code, Some(2));
    assert!(error.contains("there is no Node x"), "{error}");
    fs::write(folder.path().join("resources/bad.yaml"), "kind: Node\n").unwrap();
    let (code, shown, error) = said(&["bgp", "render", "--node", "a", "--directory", &dir]);
    assert_eq!((code, shown.as_str()), (Some(2), ""));
    assert!(error.contains("bad.yaml"), "{error}");
}

#[test]
fn plan_says_what_a_file_does() {
    let folder = cluster();
    let dir = text(&folder.path().join("resources"));
    let change = folder.path().join("change.yaml");
    let plan = |more: &[&str]| {
        let change = text(&change);
        let mut arguments = vec![
            "bgp",
            "plan",
            "--node",
            "a",
            "--directory",
            &dir,
            "-f",
            &change,
        ];
        arguments.extend(more);
        let (code, shown, error) = said(&arguments);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{shown}");
        shown
    };
    let head = "apiVersion: projectcalico.org/v3\n";
    let peer =
        "kind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: 10.0.0.254, asNumber: 65001}\n";
    fs::write(&change, format!("{head}{peer}")).unwrap();
    assert_eq!(plan(&[]), "+ session Global_10_0_0_254  (BGPPeer tor.)\n");
    let port = "kind: BGPConfiguration\nmetadata: {name: default}\nspec: {listenPort: 1790}\n";
    fs::write(&change, format!("{head}{port}")).unwrap();
    let shown = plan(&[]);
    assert!(
        shown.starts_with("! session Mesh_10_0_0_2 restarts, its routes are away for seconds: "),
        "{shown}"
    );
    let block = "kind: BlockAffinity\nmetadata: {name: a-1}\nspec: {state: confirmed, node: a, cidr: 10.65.0.0/26}\n";
    fs::write(&change, format!("{head}{block}")).unwrap();
    assert_eq!(plan(&[]), "Nothing changes for BIRD.\n");
    assert!(plan(&["--delete"]).contains("- route 10.65.0.0/26\n"));
    assert!(plan(&["-o", "json"]).contains("\"routes_removed\": []"));
}

#[test]
fn explain_names_the_step() {
    let folder = cluster();
    let dir = text(&folder.path().join("resources"));
    let nobody = text(&folder.path().join("nobody.ctl"));
    let explain = |prefix: &str, more: &[&str]| {
        let mut arguments = vec!["bgp", "explain", prefix, "--node", "a", "--directory", &dir];
        arguments.extend(["--bird-socket", &nobody]);
        arguments.extend(more);
        said(&arguments)
    };
    let (code, shown, _) = explain("10.65.0.0/26", &[]);
    assert_eq!(code, Some(0));
    assert_eq!(
        shown,
        "10.65.0.0/26: this node's own (A block of this node)\n\
         told to Mesh_10_0_0_2: The node's block 10.65.0.0/26\n\
         not told to the host's kernel: What is only told to neighbors: vrouterd drops or \
         delivers it\n"
    );
    let (_, shown, _) = explain("192.0.2.0/24", &["--peer", "10.0.0.2"]);
    assert!(shown.contains("not told to Mesh_10_0_0_2: "), "{shown}");
    let (code, _, error) = explain("10.65.0.0/26", &["--peer", "10.9.9.9"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("it has Mesh_10_0_0_2"), "{error}");
    assert_eq!(explain("nowhere", &[]).0, Some(2));
}

#[test]
fn peers_and_routes_of_a_bird_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bird.ctl");
    let listener = UnixListener::bind(&socket).unwrap();
    let bird = std::thread::spawn(move || {
        for answer in [
            "2002-Name Proto Table State Since Info\n1002-Mesh_10_0_0_2 BGP --- up 10:00:01 Established\n1006-  BGP state:          Established\n     Neighbor address: 10.0.0.2\n0000 \n",
            "1007-Table master4:\n 10.65.0.64/26 unicast [Mesh_10_0_0_2 10:00:02] * (100) [i]\n \tvia 10.0.0.2 on eth0\n0000 \n",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"0001 BIRD 2.0.12 ready.\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let socket = text(&socket);
    let (code, shown, _) = said(&["bgp", "peers", "--bird-socket", &socket]);
    assert_eq!(code, Some(0));
    assert!(
        shown.contains("Mesh_10_0_0_2") && shown.contains("Established"),
        "{shown}"
    );
    let (_, shown, _) = said(&["bgp", "routes", "--bird-socket", &socket]);
    assert!(
        shown.contains("10.65.0.64/26") && shown.contains("10.0.0.2"),
        "{shown}"
    );
    bird.join().unwrap();
    let (code, _, error) = said(&["bgp", "peers", "--bird-socket", "/nonexistent/bird.ctl"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no BIRD answers"), "{error}");
}
