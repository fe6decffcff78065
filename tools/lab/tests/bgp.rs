//! BGP: nodes whose vRouters run BIRD, and pods that reach each other by what BIRD learns.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use encap::Family;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::ping::Train;
use support::store::{end, start_vrouterd};
use support::{Background, TestLab, eventually, said};
use vrouter_bgp::bird::{Bird, Protocol};
use vrouter_control::params::{ShowResources, ShowRoutes};
use vrouter_lab::vrouter;

/// A lab whose nodes run BIRD.
fn up(flags: &str) -> TestLab {
    TestLab::up(&format!("--pods 1 --vrouterd-arg=--bird=managed {flags}"))
}

fn socket(lab: &TestLab, node: usize) -> PathBuf {
    let control = lab.node(node).control_socket.clone().unwrap();
    control.with_file_name("bird").join("bird.ctl")
}

/// The sessions of a node's BIRD that are up, by name.
fn established(lab: &TestLab, node: usize) -> Vec<String> {
    let protocols = Bird::connect(&socket(lab, node)).and_then(|mut bird| bird.protocols());
    let protocols = protocols.unwrap_or_default().into_iter();
    let up = protocols.filter(|it| it.session().is_some_and(|it| it.state == "Established"));
    up.map(|it| it.name).collect()
}

#[track_caller]
fn wait_for_sessions(lab: &TestLab, node: usize, count: usize) {
    let mut last = Vec::new();
    let what = format!("{count} sessions of node {node}");
    eventually(15, &what, || {
        last = established(lab, node);
        last.len() == count
    });
}

/// The routes that BIRD gave a node's kernel, as `ip` prints them.
fn learned(lab: &TestLab, node: usize) -> Vec<String> {
    let name = &lab.node(node).name;
    let families = ["-4", "-6"].map(|family| {
        let routes = lab.ok(name, &format!("ip {family} route show proto bird"));
        routes.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    families.concat()
}

/// What a node's vRouter says is wrong with BGP.
fn problems(lab: &TestLab, node: usize) -> Vec<String> {
    let report = vrouter::ask(lab.node(node), &ShowResources::default()).unwrap();
    let problems = report.notices.into_iter().map(|notice| notice.message);
    problems.filter(|it| it.starts_with("BGP: ")).collect()
}

/// The process of a node's BIRD.
fn bird_of(lab: &TestLab, node: usize) -> Pid {
    let pids = lab.ok(&lab.node(node).name, "pgrep -x bird");
    let own: Vec<i32> = pids
        .lines()
        .map(|pid| pid.parse().unwrap())
        .filter(|pid| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command.is_ok_and(|it| it.contains(socket(lab, node).to_str().unwrap()))
        })
        .collect();
    assert_eq!(own.len(), 1, "{pids}");
    Pid::from_raw(own[0])
}

fn address(lab: &TestLab, node: usize) -> String {
    lab.pod(node, 1).ipv4.unwrap().to_string()
}

#[test]
#[ignore = "needs root"]
fn a_mesh_routes_pods_and_survives_its_daemons() {
    let mut lab = up("--nodes 4 --encap none --family dual");
    for node in 1..=4 {
        wait_for_sessions(&lab, node, 6);
    }
    eventually(15, "three blocks of each family are learned", || {
        learned(&lab, 1).len() == 6
    });
    let name = lab.node(1).name.clone();
    let own = lab.ok(&name, "ip route show proto 80");
    assert!(!own.contains(" via "), "left to BIRD: {own}");
    lab.check("--quiet --paths pod-pod-cross --tests ping,http");
    let server = lab.start("pod2-1", "iperf3 -s -1");
    eventually(5, "iperf3 listens", || {
        !lab.ok("pod2-1", "ss -Hltn sport = :5201").is_empty()
    });
    lab.ok(
        "pod1-1",
        &format!("iperf3 -c {} -t 1 --connect-timeout 3000", address(&lab, 2)),
    );
    drop(server);

    let train = Train::start(&lab, "pod1-1", &address(&lab, 2));
    // A file that BIRD cannot read, then no change at all.
    let folder = socket(&lab, 1).parent().unwrap().to_owned();
    let allow = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode));
    allow(0o700).unwrap();
    lab.write_resource(
        "bgp.yaml",
        "apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {name: default}\n\
         spec: {logSeverityScreen: Error}\n",
    );
    eventually(10, "the refusal is told", || {
        problems(&lab, 1).iter().any(|it| it.contains("refuses"))
    });
    assert_eq!(established(&lab, 1).len(), 6);
    lab.remove_resource("bgp.yaml");
    eventually(10, "all is well again", || problems(&lab, 1).is_empty());
    allow(0o750).unwrap();

    // BIRD is killed; then one vRouter ends in order and another is killed.
    let before = bird_of(&lab, 1);
    kill(before, Signal::SIGKILL).unwrap();
    eventually(10, "another BIRD runs", || {
        established(&lab, 1).len() == 6 && bird_of(&lab, 1) != before
    });
    let report = train.finish();
    assert_eq!(report.lost, [0; 0], "{}", report.summary);

    let left_behind = bird_of(&lab, 3);
    end(&lab, "vrouterd node2", Signal::SIGTERM);
    end(&lab, "vrouterd node3", Signal::SIGKILL);
    assert_eq!(learned(&lab, 1).len(), 6, "its routes stay");
    assert_eq!(learned(&lab, 2).len(), 6, "and those it learned");
    for node in [2, 3] {
        start_vrouterd(&mut lab, node);
    }
    for node in [2, 3] {
        wait_for_sessions(&lab, node, 6);
    }
    assert_ne!(bird_of(&lab, 3), left_behind);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(learned(&lab, 1).len(), 6);
    for node in [2, 3] {
        assert!(lab.pings("pod1-1", &address(&lab, node)), "{node}");
    }
    lab.assert_conserved(1);
}

/// The vRouter's own route to a prefix: where it comes from, and its next hops.
fn route(lab: &TestLab, node: usize, prefix: &str) -> Option<(String, Vec<String>)> {
    let params = ShowRoutes {
        prefix: Some(prefix.parse().unwrap()),
        ..ShowRoutes::default()
    };
    let page = vrouter::ask(lab.node(node), &params).unwrap();
    let route = page.items.into_iter().next()?;
    let hops = route.next_hops.into_iter();
    let hops = hops.map(|hop| {
        hop.address
            .map_or_else(|| hop.interface, |it| it.to_string())
    });
    Some((route.source?, hops.collect()))
}

#[test]
#[ignore = "needs root"]
fn routes_of_the_hosts_daemon_are_the_vrouters() {
    // No BIRD answers: the routes are made by hand.
    let lab = TestLab::up(
        "--nodes 3 --pods 1 --encap ipip --rules 0 --vrouterd-arg=--bird=external \
         --vrouterd-arg=--bird-socket=/nowhere/bird.ctl",
    );
    assert!(problems(&lab, 1)[0].contains("/nowhere/bird.ctl"));
    for node in ["node2", "node3"] {
        lab.ok(node, "ip address add 10.99.0.5/32 dev lo");
    }
    let node = |index| lab.node(index).address(Family::V4).unwrap().to_string();
    let hop = |index, weight| {
        format!(
            "nexthop via {} dev tunl0 onlink weight {weight}",
            node(index)
        )
    };
    let group = format!("10.99.0.0/24 proto bird {} {}", hop(2, 1), hop(3, 3));
    lab.ok("node1", &format!("ip route add {group}"));
    let from_bgp = |hops: &[String]| {
        let mut sorted = hops.to_vec();
        sorted.sort();
        Some(("BGP".to_owned(), sorted))
    };
    let sorted = |prefix| {
        let found = route(&lab, 1, prefix);
        found.map(|(source, mut hops)| {
            hops.sort();
            (source, hops)
        })
    };
    eventually(3, "a group of two tunnels", || {
        sorted("10.99.0.0/24") == from_bgp(&[node(2), node(3)])
    });
    assert!(lab.pings("pod1-1", "10.99.0.5"));
    // One of them goes, then the route.
    lab.ok(
        "node1",
        &format!("ip route replace 10.99.0.0/24 proto bird {}", hop(3, 1)),
    );
    eventually(3, "one tunnel", || {
        sorted("10.99.0.0/24") == from_bgp(&[node(3)])
    });
    assert!(lab.pings("pod1-1", "10.99.0.5"));
    // A route that goes with its interface is announced by nobody.
    lab.ok("node1", "ip link add d0 type veth peer name d1");
    lab.ok("node1", "ip link set d0 up");
    lab.ok("node1", "ip route add 10.98.0.0/24 dev d0 proto bird");
    eventually(3, "a route of the host's", || {
        sorted("10.98.0.0/24").is_some()
    });
    lab.ok("node1", "ip link del d0");
    eventually(5, "it is gone", || sorted("10.98.0.0/24").is_none());
    // Many come and go at once.
    let file = lab.lab.state_directory.join("routes");
    for verb in ["add", "del"] {
        let lines = (0..20_000u32).map(|index| {
            let (high, low) = (index >> 8, index & 255);
            format!("route {verb} 100.{high}.{low}.0/24 via 172.16.1.1 proto bird\n")
        });
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        lab.ok("node1", &format!("ip -batch {}", file.display()));
        eventually(3, "all of them", || {
            let there = sorted("100.78.31.0/24").is_some() && sorted("100.0.0.0/24").is_some();
            there == (verb == "add")
        });
    }
    assert_eq!(sorted("10.99.0.0/24"), from_bgp(&[node(3)]));
    lab.ok("node1", "ip route del 10.99.0.0/24 proto bird");
    eventually(3, "it is gone", || sorted("10.99.0.0/24").is_none());
    lab.assert_conserved(1);
}

/// Adds to a node's resource: labels, and lines of `spec.bgp`.
fn change_node(lab: &TestLab, node: usize, label: &str, bgp: &str) {
    let file = format!("node{node}.yaml");
    let text = std::fs::read_to_string(lab.lab.resource_directory.join(&file)).unwrap();
    let name = format!("  name: node{node}\n");
    let text = text.replacen(&name, &format!("{name}  labels: {{{label}}}\n"), 1);
    let text = text.replacen("  bgp:\n", &format!("  bgp:\n    {bgp}\n"), 1);
    lab.write_resource(&file, &text);
}

#[test]
#[ignore = "needs root"]
fn two_reflectors_replace_a_mesh() {
    let lab = up("--nodes 4 --encap none");
    for node in 1..=4 {
        wait_for_sessions(&lab, node, 3);
    }
    for node in [1, 2] {
        change_node(
            &lab,
            node,
            "rr: 'yes'",
            "routeReflectorClusterID: 244.0.0.1",
        );
    }
    lab.write_resource(
        "bgp.yaml",
        "apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {name: default}\n\
         spec: {nodeToNodeMeshEnabled: false}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: clients}\n\
         spec: {nodeSelector: '!has(rr)', peerSelector: has(rr)}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: reflectors}\n\
         spec: {nodeSelector: has(rr), peerSelector: has(rr)}\n",
    );
    for (node, sessions) in [(1, 3), (2, 3), (3, 2), (4, 2)] {
        let what = format!("sessions of node {node}");
        eventually(20, &what, || {
            let up = established(&lab, node);
            up.len() == sessions && up.iter().all(|name| name.starts_with("Node_"))
        });
    }
    eventually(15, "clients know each other's blocks", || {
        learned(&lab, 3).len() == 3 && learned(&lab, 4).len() == 3
    });
    assert!(lab.pings("pod3-1", &address(&lab, 4)));
    assert!(lab.pings("pod1-1", &address(&lab, 4)));
}

/// A router outside of AS 64512 whose neighbors need no configuration but this.
const PEER: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: tor, namespace: kube-system}
stringData: {key: s3cret}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: only-one}
spec: {importV4: [{cidr: 203.0.113.0/24, matchOperator: In, action: Reject}]}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor}
spec:
  peerIP: 172.16.1.1
  asNumber: 65001
  filters: [only-one]
  password: {secretKeyRef: {name: tor, key: key}}
";

#[test]
#[ignore = "needs root"]
fn a_router_outside_speaks_frr() {
    let lab = up("--nodes 2 --encap none --rules 0");
    lab.write_resource("tor.yaml", PEER);
    let folder = lab.lab.state_directory.join("frr");
    std::fs::create_dir(&folder).unwrap();
    // zebra gives up its privileges before it makes its sockets.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let folder = folder.display().to_string();
    let neighbors: String = [1, 2]
        .map(|node| {
            let address = lab.node(node).address(Family::V4).unwrap();
            format!(" neighbor {address} remote-as 64512\n neighbor {address} password s3cret\n")
        })
        .concat();
    let text = format!(
        "router bgp 65001\n bgp router-id 172.16.1.1\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n{neighbors} address-family ipv4 unicast\n  \
         network 198.51.100.0/24\n  network 203.0.113.0/24\n exit-address-family\n"
    );
    std::fs::write(format!("{folder}/bgpd.conf"), text).unwrap();
    std::fs::write(format!("{folder}/zebra.conf"), "\n").unwrap();
    // What the lab's nodes and router know without BGP.
    lab.ok("net", "ip route flush root 10.65.0.0/16");
    lab.ok("net", "ip address add 198.51.100.1/32 dev lo");
    for node in ["node1", "node2"] {
        lab.ok(node, "ip route del default");
    }
    let common = |daemon: &str| {
        format!(
            "/usr/lib/frr/{daemon} -f {folder}/{daemon}.conf -i {folder}/{daemon}.pid \
             --vty_socket {folder} -z {folder}/zserv -P 0"
        )
    };
    let _zebra = lab.start("net", &common("zebra"));
    eventually(5, "zebra listens", || {
        std::path::Path::new(&format!("{folder}/zserv")).exists()
    });
    let _bgpd = lab.start("net", &format!("{} -S", common("bgpd")));
    for node in [1, 2] {
        eventually(20, "the sessions are up", || {
            established(&lab, node).len() == 2
        });
        eventually(10, "what the filter lets in is learned", || {
            learned(&lab, node)
                .iter()
                .any(|it| it.starts_with("198.51.100.0/24 via 172.16.1.1"))
        });
        assert!(
            !learned(&lab, node)
                .iter()
                .any(|it| it.starts_with("203.0.113"))
        );
        assert_eq!(route(&lab, node, "198.51.100.0/24").unwrap().0, "BGP");
    }
    eventually(10, "the router knows both blocks", || {
        let routes = lab.ok("net", "ip route show proto bgp");
        routes.lines().filter(|it| it.starts_with("10.65.")).count() == 2
    });
    assert!(lab.pings("pod1-1", "198.51.100.1"));
    assert!(lab.pings("net", &address(&lab, 2)));
    assert!(lab.pings("pod1-1", &address(&lab, 2)));
}

/// GoBGP in the router of a lab with one node.
fn start_gobgp(lab: &TestLab) -> Background {
    lab.write_resource("tor.yaml", &PEER.replace("  filters: [only-one]\n", ""));
    let file = lab.lab.state_directory.join("gobgp.toml");
    let address = lab.node(1).address(Family::V4).unwrap();
    std::fs::write(
        &file,
        format!(
            "[global.config]\nas = 65001\nrouter-id = \"172.16.1.1\"\n[[neighbors]]\n\
             [neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = 64512\n\
             auth-password = \"s3cret\"\n"
        ),
    )
    .unwrap();
    let daemon = format!("gobgpd -f {} --api-hosts 127.0.0.1:50051", file.display());
    lab.start("net", &daemon)
}

#[test]
#[ignore = "needs root"]
fn a_router_outside_speaks_gobgp() {
    let lab = up("--nodes 1 --encap none --rules 0");
    let _gobgpd = start_gobgp(&lab);
    wait_for_sessions(&lab, 1, 1);
    lab.ok(
        "net",
        "gobgp global rib add 198.51.100.0/24 nexthop 172.16.1.1",
    );
    eventually(10, "its route is learned", || {
        let learned = learned(&lab, 1);
        learned
            .iter()
            .any(|it| it.starts_with("198.51.100.0/24 via 172.16.1.1"))
    });
    lab.write_resource(
        "status.yaml",
        "apiVersion: projectcalico.org/v3\nkind: CalicoNodeStatus\nmetadata: {name: s}\n\
         spec: {node: node1, classes: [Agent, BGP, Routes], updatePeriodSeconds: 0}\n",
    );
    let file = lab.lab.resource_directory.join("status.yaml");
    let mut text = String::new();
    eventually(5, "the status is filled in", || {
        text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("status:")
    });
    for word in [
        "state: Ready",
        "state: Established",
        "type: GlobalPeer",
        "198.51.100.0/24",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let address = lab.node(1).address(Family::V4).unwrap();
    let told = lab.ok("net", &format!("gobgp neighbor {address} adj-in"));
    assert!(told.contains("10.65.0.0/26"), "{told}");
    // What keeps a node from BGP is found without starting it.
    for (node, fault) in [
        ("node1", None),
        ("node9", Some("BGP: there is no Node node9")),
    ] {
        let check = Command::new(vrouter::program(&lab.lab).unwrap())
            .args([
                "--check",
                "--bird",
                "managed",
                "--node-name",
                node,
                "--directory",
            ])
            .arg(&lab.lab.resource_directory)
            .output()
            .unwrap();
        assert_eq!(check.status.success(), fault.is_none(), "{}", said(&check));
        assert!(
            said(&check).contains(fault.unwrap_or("0 faults")),
            "{}",
            said(&check)
        );
    }
    lab.ok("net", "gobgp global rib del 198.51.100.0/24");
    eventually(5, "it is withdrawn", || {
        learned(&lab, 1).is_empty() && route(&lab, 1, "198.51.100.0/24").is_none()
    });
}

#[test]
#[ignore = "needs root"]
fn a_bird_of_somebody_else_gets_its_configuration_each_time_it_starts() {
    let folder = std::env::temp_dir().join(format!("vrouter-bird-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let control = folder.join("bird.ctl");
    let lab = TestLab::up(&format!(
        "--nodes 1 --pods 1 --encap none --vrouterd-arg=--bird=external \
         --vrouterd-arg=--bird-socket={}",
        control.display()
    ));
    std::fs::write(
        path("bird.conf"),
        "router id 10.0.0.1;\nprotocol device { }\n",
    )
    .unwrap();
    let _gobgpd = start_gobgp(&lab);
    for turn in 1..=2 {
        let bird = format!(
            "bird -f -c {} -s {} -P {}",
            path("bird.conf"),
            control.display(),
            path("bird.pid")
        );
        let bird = lab.start("node1", &bird);
        eventually(20, &format!("the session is up, turn {turn}"), || {
            let protocols = Bird::connect(&control).and_then(|mut bird| bird.protocols());
            let up = |it: &Protocol| it.session().is_some_and(|it| it.state == "Established");
            protocols.is_ok_and(|all| all.iter().any(up))
        });
        assert_eq!(problems(&lab, 1), [""; 0]);
        drop(bird);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[ignore = "needs root"]
fn several_next_hops_by_ipip_share_the_flows() {
    let lab = up("--nodes 3 --encap ipip --rules 0");
    lab.write_resource(
        "bgp.yaml",
        "apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {name: default}\n\
         spec: {programClusterRoutes: Enabled}\n",
    );
    wait_for_sessions(&lab, 1, 2);
    // An address of the pool that two nodes have.
    for node in ["node2", "node3"] {
        lab.ok(node, "ip address add 10.65.200.5/32 dev lo");
    }
    let nodes = [2, 3].map(|node| lab.node(node).address(Family::V4).unwrap().to_string());
    eventually(15, "both are next hops", || {
        let Some((source, mut hops)) = route(&lab, 1, "10.65.200.5/32") else {
            return false;
        };
        hops.sort();
        source == "BGP" && hops == nodes
    });
    let kernel = learned(&lab, 1).join("\n");
    assert_eq!(kernel.matches("dev tunl0").count(), 4, "{kernel}");
    eventually(5, "an answer", || lab.pings("pod1-1", "10.65.200.5"));
    lab.ok("node2", "ip address del 10.65.200.5/32 dev lo");
    eventually(10, "one is left", || {
        route(&lab, 1, "10.65.200.5/32").is_some_and(|(_, hops)| hops == nodes[1..])
    });
    eventually(5, "an answer", || lab.pings("pod1-1", "10.65.200.5"));
    lab.check("--quiet --paths pod-pod-cross,node-pod-cross --tests ping");
    lab.assert_conserved(1);
}
