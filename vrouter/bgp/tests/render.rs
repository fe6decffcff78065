//! Resources in, one BIRD configuration out: rows of what each field does, and BIRD itself reads
//! every file.

use std::io::Write;
use std::process::Command;

use vrouter_api::parse;
use vrouter_bgp::{
    Cluster, Config, Family, Impossible, NextHop, Origin, Passwords, Plan, Route, RouterId,
    Session, Settings, render,
};

const HEAD: &str = "apiVersion: projectcalico.org/v3\n";

/// Three nodes in one network, a pool, a block each for `a` and `b`.
const NODES: &str = "\
kind: Node
metadata: {name: a, labels: {rack: one}}
spec: {bgp: {ipv4Address: 10.0.0.1/24, ipv6Address: 'fd00::1/64'}}
---
kind: Node
metadata: {name: b, labels: {rack: one, rr: 'true'}}
spec: {bgp: {ipv4Address: 10.0.0.2/24, ipv6Address: 'fd00::2/64'}}
---
kind: Node
metadata: {name: c}
spec: {bgp: {ipv4Address: 10.0.0.10/24, asNumber: 65010}}
---
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.65.0.0/16}
---
kind: BlockAffinity
metadata: {name: a-block}
spec: {state: confirmed, node: a, cidr: 10.65.0.0/26}
---
kind: BlockAffinity
metadata: {name: b-block}
spec: {state: confirmed, node: b, cidr: 10.65.0.64/26}
---
kind: BlockAffinity
metadata: {name: a-pending}
spec: {state: pending, node: a, cidr: 10.65.1.0/26}
";

fn cluster(texts: &[&str]) -> Cluster {
    let mut all = Vec::new();
    for text in texts {
        for document in text.split("---\n").filter(|it| !it.trim().is_empty()) {
            let whole = if document.contains("apiVersion") {
                document.to_owned()
            } else {
                format!("{HEAD}{document}")
            };
            let parsed = parse(whole.as_bytes(), "f.yaml");
            assert_eq!(parsed.errors, [], "{document}");
            all.extend(parsed.resources.into_iter().map(|it| it.value));
        }
    }
    Cluster::of(all)
}

fn settings(node: &str) -> Settings {
    Settings {
        node: node.to_owned(),
        ..Settings::default()
    }
}

/// Renders, and has BIRD read what was rendered.
fn config(node: &str, texts: &[&str]) -> Config {
    let config = render(&cluster(texts), &settings(node)).expect("it renders");
    read_by_bird(&config);
    config
}

fn read_by_bird(config: &Config) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let text = config.text(Passwords::Shown);
    file.write_all(text.as_bytes()).expect("it is written");
    let bird = Command::new("bird")
        .arg("-p")
        .arg("-c")
        .arg(file.path())
        .output();
    let bird = match bird {
        Ok(output) => output,
        // Debian has it in a directory of root's.
        Err(_) => Command::new("/usr/sbin/bird")
            .arg("-p")
            .arg("-c")
            .arg(file.path())
            .output()
            .expect("bird2 is installed (tools/packages)"),
    };
    assert!(
        bird.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&bird.stderr)
    );
}

fn names(config: &Config) -> Vec<&str> {
    config.sessions.iter().map(|it| it.name.as_str()).collect()
}

fn session<'a>(config: &'a Config, name: &str) -> &'a Session {
    config
        .session(name)
        .unwrap_or_else(|| panic!("{name} of {:?}", names(config)))
}

fn bgp(spec: &str) -> String {
    format!("kind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {spec}\n")
}

fn peer(name: &str, spec: &str) -> String {
    format!("kind: BGPPeer\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

#[test]
fn the_mesh_has_both_families() {
    let config = config("a", &[NODES]);
    assert_eq!(
        names(&config),
        ["Mesh_10_0_0_10", "Mesh_10_0_0_2", "Mesh_fd00__2"]
    );
    let c = session(&config, "Mesh_10_0_0_10");
    assert_eq!(
        (c.local_as, c.neighbor_as, c.neighbor_port),
        (64_512, 65_010, 179)
    );
    assert!(!c.is_internal() && c.passive && c.local == Some([10, 0, 0, 1].into()));
    // As text 10.0.0.10 is less than 10.0.0.2: the one side of them connects.
    let other = render(&cluster(&[NODES]), &settings("b")).unwrap();
    assert!(!session(&other, "Mesh_10_0_0_10").passive);
    assert!(!session(&other, "Mesh_10_0_0_1").passive);
    // A mesh neighbor without an AS of its own has that of the cluster, not ours.
    let c = render(&cluster(&[NODES]), &settings("c")).unwrap();
    assert_eq!(session(&c, "Mesh_10_0_0_1").neighbor_as, 64_512);
    assert_eq!(names(&c), ["Mesh_10_0_0_1", "Mesh_10_0_0_2"]);
}

#[test]
fn settings_of_the_mesh() {
    let off = bgp("{nodeToNodeMeshEnabled: false}");
    assert_eq!(names(&config("a", &[NODES, &off])), [""; 0]);
    let on = bgp(
        "{nodeMeshMaxRestartTime: 90s, listenPort: 1790, asNumber: 65000, nodeMeshPassword: {secretKeyRef: {name: s, key: k}}}",
    );
    let own = "kind: BGPConfiguration\nmetadata: {name: node.b}\nspec: {listenPort: 1791}\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: kube-system}\nstringData: {k: hunter2}\n";
    let config = config("a", &[NODES, &on, own, secret]);
    let b = session(&config, "Mesh_10_0_0_2");
    assert_eq!(
        (b.restart_time, b.neighbor_port, b.local_port),
        (Some(90), 1791, 1790)
    );
    assert_eq!((b.local_as, b.neighbor_as), (65_000, 65_000));
    assert!(
        config
            .text(Passwords::Shown)
            .contains("password \"hunter2\";")
    );
    assert!(!config.text(Passwords::Hidden).contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_password_that_is_not_there_or_cannot_be() {
    let on = bgp("{nodeMeshPassword: {secretKeyRef: {name: s, key: k}}}");
    let without = config("a", &[NODES, &on]);
    assert!(session(&without, "Mesh_10_0_0_2").password.is_none());
    assert_eq!(without.warnings.len(), 1, "{:?}", without.warnings);
    assert!(without.warnings[0].contains("Secret kube-system/s with key k"));
    for bad in ["'a\"b'", "''", "\"a\\nb\""] {
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: kube-system}}\nstringData: {{k: {bad}}}\n"
        );
        let config = config("a", &[NODES, &on, &secret]);
        assert_eq!(names(&config), [""; 0], "{bad}");
        assert!(
            config.warnings[0].contains("there is no session until"),
            "{bad}"
        );
    }
}

#[test]
fn peers_of_all_nodes_and_of_some() {
    let tor = peer("tor", "{peerIP: 10.0.0.254, asNumber: 65001}");
    let rack = peer(
        "rack",
        "{peerIP: '10.0.0.253:1790', nodeSelector: rack == 'one', sourceAddress: None, reachableBy: 10.0.0.9, keepaliveTime: 10s, maxRestartTime: 1h30m, ttlSecurity: 3, numAllowedLocalASNumbers: 2, localASNumber: 65100}",
    );
    let one = peer(
        "one",
        "{peerIP: '10.0.0.252', asNumber: 65002, node: a, nextHopMode: Keep}",
    );
    let off = bgp("{nodeToNodeMeshEnabled: false}");
    let all = [NODES, &tor, &rack, &one, &off];
    let a = config("a", &all);
    assert_eq!(
        names(&a),
        [
            "Global_10_0_0_254",
            "Node_10_0_0_252",
            "Node_10_0_0_253_port_1790"
        ]
    );
    let rack = session(&a, "Node_10_0_0_253_port_1790");
    assert_eq!(
        (
            rack.local,
            rack.local_as,
            rack.neighbor_as,
            rack.neighbor_port
        ),
        (None, 65_100, 64_512, 1790)
    );
    assert_eq!((rack.keepalive, rack.restart_time), (Some(10), Some(4095)));
    assert_eq!((rack.ttl_security, rack.allow_local_as), (Some(3), Some(2)));
    assert_eq!(session(&a, "Node_10_0_0_252").next_hop, NextHop::Kept);
    let statics = &a.routes[0].statics;
    assert!(
        statics
            .iter()
            .any(|it| it.prefix.to_string() == "10.0.0.253/32"
                && it.gateway == Some([10, 0, 0, 9].into()))
    );
    assert_eq!(names(&config("c", &all)), ["Global_10_0_0_254"]);
}

#[test]
fn a_peer_that_is_a_node() {
    // By address: passive by text, the node's port, and the other side for the node itself.
    let by = peer("by", "{peerIP: 10.0.0.2}");
    let own = "kind: BGPConfiguration\nmetadata: {name: node.b}\nspec: {listenPort: 1791}\n";
    let off = bgp("{nodeToNodeMeshEnabled: false}");
    let all = [NODES, by.as_str(), own, off.as_str()];
    let a = config("a", &all);
    assert_eq!(names(&a), ["Global_10_0_0_2_port_1791"]);
    assert!(session(&a, "10.0.0.2").passive);
    assert!(session(&config("c", &all), "10.0.0.2").passive);
    // Our own address is skipped; the others are there as the other side, IPv4 alone.
    let b = config("b", &all);
    assert_eq!(names(&b), ["Node_10_0_0_1", "Node_10_0_0_10"]);
    assert!(b.sessions.iter().all(|it| !it.passive));
    let manual = peer("by", "{peerIP: 10.0.0.2, reversePeering: Manual}");
    assert_eq!(names(&config("b", &[NODES, &manual, &off])), [""; 0]);
}

#[test]
fn route_reflectors() {
    let reflector = "kind: Node\nmetadata: {name: b, labels: {rr: 'true'}}\nspec: {bgp: {ipv4Address: 10.0.0.2/24, ipv6Address: 'fd00::2/64', routeReflectorClusterID: 244.0.0.1}}\n";
    let second = "kind: Node\nmetadata: {name: d, labels: {rr: 'true'}}\nspec: {bgp: {ipv4Address: 10.0.0.4/24, routeReflectorClusterID: 244.0.0.1}}\n";
    let peers = peer("rr", "{nodeSelector: all(), peerSelector: has(rr)}");
    let all = [NODES, reflector, second, &peers];
    // A reflector is in no mesh; its clients still have theirs.
    let a = config("a", &all);
    assert_eq!(
        names(&a),
        [
            "Mesh_10_0_0_10",
            "Node_10_0_0_2",
            "Node_10_0_0_4",
            "Node_fd00__2"
        ]
    );
    let b = config("b", &all);
    assert_eq!(
        names(&b),
        [
            "Node_10_0_0_1",
            "Node_10_0_0_10",
            "Node_10_0_0_4",
            "Node_fd00__1"
        ]
    );
    let cluster = Some([244, 0, 0, 1].into());
    assert_eq!(session(&b, "Node_10_0_0_1").reflector, cluster);
    assert_eq!(
        session(&b, "Node_10_0_0_4").reflector,
        None,
        "of the same cluster"
    );
    assert_eq!(
        session(&b, "Node_10_0_0_10").reflector,
        None,
        "of another AS"
    );
    assert_eq!(session(&a, "Node_10_0_0_2").reflector, None);
}

#[test]
fn duplicates_are_one_session() {
    let texts = [
        NODES,
        &peer("z-node", "{peerIP: 10.0.0.254, asNumber: 65001, node: a}"),
        &peer("global", "{peerIP: 10.0.0.254, asNumber: 65002}"),
        &peer(
            "other-port",
            "{peerIP: '10.0.0.254:1790', asNumber: 65003, node: a}",
        ),
        &bgp("{nodeToNodeMeshEnabled: false}"),
    ];
    let config = config("a", &texts);
    assert_eq!(
        names(&config),
        ["Global_10_0_0_254", "Node_10_0_0_254_port_1790"]
    );
    assert_eq!(session(&config, "Global_10_0_0_254").neighbor_as, 65_002);
    let beside = self::config("a", &[NODES, &peer("b", "{peerIP: 10.0.0.2, node: a}")]);
    assert!(names(&beside).contains(&"Mesh_10_0_0_2") && names(&beside).contains(&"Node_10_0_0_2"));
    assert_eq!(beside.warnings.len(), 1, "{:?}", beside.warnings);
}

#[test]
fn a_neighbor_on_a_link_without_a_name_keeps_no_file_from_bird() {
    let node = "kind: Node\nmetadata: {name: x}\nspec: {bgp: {ipv4Address: 10.0.0.9/24, ipv6Address: 'fd00::9/64'}}\n";
    let link = peer("link", "{peerIP: 'fe80::1', asNumber: 65001}");
    let config = self::config("x", &[node, &link]);
    assert_eq!(names(&config), [""; 0]);
    assert!(
        config.warnings[0].contains("fe80::1 is on a link"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn local_workloads_are_neighbors() {
    let pod = "kind: WorkloadEndpoint\nmetadata: {namespace: prod, labels: {router: 'yes'}}\nspec: {node: a, orchestrator: k8s, pod: frr, endpoint: eth0, ipNetworks: [10.65.0.5/32], interfaceName: cali1}\n";
    let by = peer(
        "pods",
        "{localWorkloadSelector: router == 'yes', asNumber: 65200, localASNumber: 65201, filters: [f]}",
    );
    let off = bgp("{nodeToNodeMeshEnabled: false}");
    let filter = "kind: BGPFilter\nmetadata: {name: f}\nspec: {importV4: [{action: Reject}]}\n";
    let all = [NODES, pod, &by, &off, filter];
    let config = config("a", &all);
    assert_eq!(names(&config), ["Local_Workload_10_65_0_5"]);
    let it = session(&config, "10.65.0.5");
    assert_eq!(
        (it.local, it.local_as, it.neighbor_as, it.passive),
        (None, 65_201, 65_200, true)
    );
    let route = Route::new(
        "192.0.2.0/24".parse().unwrap(),
        Origin::Learned(it.name.clone()),
    );
    let outcome = config.believed(it, &route);
    assert!(!outcome.accepted);
    assert_eq!(outcome.step, "BGPFilter f, importV4 rule 1");
    assert_eq!(names(&self::config("b", &all)), [""; 0]);
}

/// What the mesh neighbor `b` of `a` is told of a prefix, and why.
fn told(config: &Config, session: &str, prefix: &str) -> (bool, String) {
    let prefix = prefix.parse().expect("a prefix");
    let own = config
        .own_routes()
        .into_iter()
        .find(|it| it.prefix == prefix);
    let route = own.unwrap_or_else(|| {
        let mut route = Route::new(prefix, Origin::Kernel(4));
        route.metric = Some(1024);
        route
    });
    let outcome = config.told(self::session(config, session), &route);
    (outcome.accepted, outcome.step)
}

#[test]
fn blocks_and_pools_are_told() {
    let off = "kind: IPPool\nmetadata: {name: quiet}\nspec: {cidr: 10.66.0.0/16, disableBGPExport: true}\n---\nkind: BlockAffinity\nmetadata: {name: q}\nspec: {state: confirmed, node: a, cidr: 10.66.0.0/26}\n";
    let borrowed = "kind: WorkloadEndpoint\nmetadata: {namespace: prod}\nspec: {node: a, orchestrator: k8s, pod: p, endpoint: eth0, ipNetworks: [10.65.0.70/32], interfaceName: cali2}\n";
    let config = config("a", &[NODES, off, borrowed]);
    let told = |prefix| told(&config, "Mesh_10_0_0_2", prefix);
    assert_eq!(
        told("10.65.0.0/26"),
        (true, "The node's block 10.65.0.0/26".into())
    );
    assert!(!told("10.65.0.5/32").0, "inside a block");
    assert_eq!(
        told("10.65.0.70/32"),
        (true, "The pool 10.65.0.0/16".into())
    );
    assert!(
        config
            .own_routes()
            .iter()
            .any(|it| it.prefix.to_string() == "10.65.0.70/32")
    );
    assert_eq!(
        told("10.66.0.0/26"),
        (false, "The pool 10.66.0.0/16 has disableBGPExport".into())
    );
    assert_eq!(
        told("192.0.2.0/24"),
        (
            false,
            "Nothing but pools and services is told without a BGPFilter".into()
        )
    );
    assert!(
        !config
            .own_routes()
            .iter()
            .any(|it| it.prefix.to_string() == "10.65.1.0/26"),
        "pending"
    );
}

#[test]
fn services_are_told() {
    let service = |name: &str, spec: &str, ingress: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: prod}}\nspec: {spec}\nstatus: {{loadBalancer: {{ingress: [{ingress}]}}}}\n"
        )
    };
    let slice = |name: &str, node: &str, ready: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: prod, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nendpoints: [{{nodeName: {node}, conditions: {{ready: {ready}}}}}]\n"
        )
    };
    let statics = |texts: &[&str], node: &str| -> Vec<String> {
        let mut all = vec![NODES];
        all.extend(texts);
        let config = config(node, &all);
        let statics = config.routes[0].statics.iter();
        statics
            .map(|it| it.prefix.to_string())
            .filter(|it| !it.starts_with("10.65"))
            .collect()
    };
    let ranges = bgp(
        "{serviceClusterIPs: [{cidr: 10.96.0.0/12}], serviceExternalIPs: [{cidr: 192.0.2.0/24}, {cidr: 198.51.100.1/32}], serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}, {cidr: 203.0.114.1/32}, {}]}",
    );
    assert_eq!(
        statics(&[&ranges], "a"),
        ["10.96.0.0/12", "192.0.2.0/24", "203.0.113.0/24"]
    );
    let excluded = "kind: Node\nmetadata: {name: a, labels: {node.kubernetes.io/exclude-from-external-load-balancers: 'true'}}\nspec: {bgp: {ipv4Address: 10.0.0.1/24}}\n";
    assert_eq!(statics(&[&ranges, excluded], "a"), [""; 0]);
    // Local: where a ready endpoint is, with all its addresses.
    let local = service(
        "web",
        "{type: LoadBalancer, clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], externalTrafficPolicy: Local, externalIPs: [192.0.2.9, 198.18.0.1]}",
        "{ip: 203.0.113.9}",
    );
    let on_a = slice("web", "a", "true");
    let with = [
        "10.96.0.0/12",
        "10.96.0.10/32",
        "192.0.2.0/24",
        "192.0.2.9/32",
        "203.0.113.0/24",
        "203.0.113.9/32",
    ];
    let mut sorted = statics(&[&ranges, &local, &on_a], "a");
    sorted.sort();
    let mut with: Vec<String> = with.iter().map(ToString::to_string).collect();
    with.sort();
    assert_eq!(sorted, with);
    assert_eq!(statics(&[&ranges, &local, &on_a], "b").len(), 3);
    assert_eq!(
        statics(&[&ranges, &local, &slice("web", "a", "false")], "a").len(),
        3
    );
    // Cluster: the range is enough, unless nothing stands for single addresses.
    let cluster = service(
        "web",
        "{clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], externalTrafficPolicy: Cluster}",
        "",
    );
    assert_eq!(statics(&[&ranges, &cluster, &on_a], "a").len(), 3);
    let alone = bgp(
        "{serviceClusterIPs: [{cidr: 10.96.0.0/12}], serviceLoadBalancerAggregation: Disabled}",
    );
    assert_eq!(
        statics(&[&alone, &cluster, &on_a], "b"),
        ["10.96.0.0/12", "10.96.0.10/32"]
    );
    assert_eq!(statics(&[&alone, &cluster], "b"), ["10.96.0.0/12"]);
    let single = service(
        "one",
        "{type: LoadBalancer, clusterIP: 10.96.0.11, externalTrafficPolicy: Cluster}",
        "{ip: 203.0.114.1}",
    );
    assert!(statics(&[&ranges, &single], "b").contains(&"203.0.114.1/32".to_owned()));
    for none in [
        "{type: ExternalName, clusterIP: 10.96.0.10}",
        "{clusterIP: None}",
        "{}",
    ] {
        let service = service("web", none, "");
        assert_eq!(
            statics(&[&alone, &service, &on_a], "a"),
            ["10.96.0.0/12"],
            "{none}"
        );
    }
    // The kernel gets no route into them.
    let config = config("a", &[NODES, &ranges]);
    let mut learned = Route::new(
        "10.96.0.0/12".parse().unwrap(),
        Origin::Learned("Mesh_10_0_0_2".into()),
    );
    learned.local_pref = Some(100);
    assert!(!config.to_kernel(&learned).unwrap().accepted);
}

#[test]
fn learned_routes_become_the_kernels() {
    let pool = |name: &str, cidr: &str, more: &str| {
        format!("kind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}{more}}}\n")
    };
    let pools = [
        pool("ipip", "10.1.0.0/16", ", ipipMode: Always"),
        pool("cross", "10.2.0.0/16", ", ipipMode: CrossSubnet"),
        pool("vxlan", "10.3.0.0/16", ", vxlanMode: Always"),
        pool("plain", "10.4.0.0/16", ""),
    ];
    let mut texts: Vec<&str> = vec![NODES];
    texts.extend(pools.iter().map(String::as_str));
    for (word, ipip, plain) in [
        ("", false, true),
        ("EnabledNoEncapOnly", false, true),
        ("Enabled", true, true),
        ("EnabledIPIPOnly", true, false),
        ("Disabled", false, false),
    ] {
        let spec = if word.is_empty() {
            "{}".to_owned()
        } else {
            format!("{{programClusterRoutes: {word}}}")
        };
        let configuration = bgp(&spec);
        let mut texts = texts.clone();
        texts.push(&configuration);
        let config = config("a", &texts);
        let outcome = |prefix: &str, next_hop: [u8; 4]| {
            let mut route = Route::new(
                prefix.parse().unwrap(),
                Origin::Learned("Mesh_10_0_0_2".into()),
            );
            route.local_pref = Some(100);
            route.next_hop = Some(next_hop.into());
            config.to_kernel(&route).unwrap()
        };
        assert_eq!(
            outcome("10.1.0.0/26", [10, 0, 0, 2]).accepted,
            ipip,
            "{word}"
        );
        assert_eq!(
            outcome("10.2.0.0/26", [10, 0, 0, 2]).accepted,
            ipip,
            "{word}"
        );
        assert!(!outcome("10.3.0.0/26", [10, 0, 0, 2]).accepted);
        assert_eq!(
            outcome("10.4.0.0/26", [10, 0, 0, 2]).accepted,
            plain,
            "{word}"
        );
        let outside = outcome("0.0.0.0/0", [10, 0, 0, 254]);
        assert!(outside.accepted);
        assert_eq!(outside.route.metric, Some(2_147_483_547));
        if ipip {
            let tunnel = |prefix, next_hop| outcome(prefix, next_hop).route.interface;
            assert_eq!(
                tunnel("10.1.0.0/26", [10, 0, 0, 2]).as_deref(),
                Some("tunl0")
            );
            assert_eq!(tunnel("10.2.0.0/26", [10, 0, 0, 2]), None);
            assert_eq!(
                tunnel("10.2.0.0/26", [10, 9, 0, 2]).as_deref(),
                Some("tunl0")
            );
        }
    }
}

#[test]
fn communities_of_prefixes() {
    let all = bgp(
        "{communities: [{name: c, value: '65000:100'}], prefixAdvertisements: [{cidr: 10.65.0.0/16, communities: [c, '1:2:3', c]}, {cidr: 10.65.0.0/24, communities: ['65000:7']}]}",
    );
    let own = "kind: BGPConfiguration\nmetadata: {name: node.b}\nspec: {prefixAdvertisements: [{cidr: 'fd65::/64', communities: ['9:9']}]}\n";
    let communities = |node: &str, neighbor: &str| {
        let config = config(node, &[NODES, &all, own]);
        let block = config.own_routes().remove(0);
        let outcome = config.told(session(&config, neighbor), &block);
        assert!(outcome.accepted);
        let communities = outcome.route.communities.iter();
        communities.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        communities("a", "Mesh_10_0_0_2"),
        ["1:2:3", "65000:100", "65000:7"]
    );
    assert_eq!(
        communities("b", "Mesh_10_0_0_1"),
        [""; 0],
        "a node's own list replaces all"
    );
}

#[test]
fn filters_in_order() {
    let long = "a-name-that-is-longer-than-forty-five-characters-is-cut";
    let filters = format!(
        "kind: BGPFilter\nmetadata: {{name: first}}\nspec: {{exportV4: [{{action: Reject, cidr: 10.65.0.0/16, matchOperator: Equal}}, {{action: Accept, cidr: 192.0.2.0/24, matchOperator: In, prefixLength: {{min: 26, max: 28}}, operations: [{{addCommunity: {{value: '65000:5'}}}}, {{prependASPath: {{prefix: [1, 2]}}}}, {{setPriority: {{value: 512}}}}]}}]}}\n---\nkind: BGPFilter\nmetadata: {{name: {long}}}\nspec: {{exportV4: [{{action: Reject, peerType: eBGP}}], importV4: [{{action: Reject, priority: 512}}]}}\n"
    );
    let tor = peer(
        "tor",
        &format!("{{peerIP: 10.0.0.254, asNumber: 65001, filters: [first, absent, {long}]}}"),
    );
    let config = config("a", &[NODES, &filters, &tor]);
    let told = |prefix| told(&config, "Global_10_0_0_254", prefix);
    assert_eq!(
        told("10.65.0.0/16"),
        (false, "BGPFilter first, exportV4 rule 1".into())
    );
    assert_eq!(
        told("192.0.2.64/26"),
        (true, "BGPFilter first, exportV4 rule 2".into())
    );
    assert_eq!(
        told("192.0.2.0/24"),
        (false, format!("BGPFilter {long}, exportV4 rule 1"))
    );
    assert!(
        config
            .warnings
            .iter()
            .any(|it| it.contains("no BGPFilter absent"))
    );
    let route = Route::new("192.0.2.64/26".parse().unwrap(), Origin::Device);
    let changed = config.told(session(&config, "10.0.0.254"), &route).route;
    assert_eq!(changed.path, [1, 2]);
    assert_eq!(changed.local_pref, Some(2_147_483_135));
    // Not for the mesh.
    assert!(!self::told(&config, "Mesh_10_0_0_2", "192.0.2.64/26").0);
    let mut learned = Route::new(
        "192.0.2.0/24".parse().unwrap(),
        Origin::Learned("Global_10_0_0_254".into()),
    );
    learned.local_pref = Some(2_147_483_135);
    assert!(
        !config
            .believed(session(&config, "10.0.0.254"), &learned)
            .accepted
    );
    learned.local_pref = Some(2_147_483_136);
    let believed = config.believed(session(&config, "10.0.0.254"), &learned);
    assert_eq!(
        (believed.accepted, believed.route.preference),
        (true, Some(200))
    );
}

#[test]
fn what_cannot_be_rendered() {
    let none = render(&cluster(&[NODES]), &settings("x"));
    assert_eq!(none, Err(Impossible::NoNode("x".into())));
    let bare = "kind: Node\nmetadata: {name: six}\nspec: {bgp: {ipv6Address: 'fd00::6/64'}}\n";
    let cluster = cluster(&[NODES, bare]);
    assert_eq!(
        render(&cluster, &settings("six")),
        Err(Impossible::NoRouterId("six".into()))
    );
    for router_id in [RouterId::Hash, RouterId::Address([1, 2, 3, 4].into())] {
        let with = Settings {
            router_id: Some(router_id),
            ..settings("six")
        };
        let config = render(&cluster, &with).expect("it has an identity");
        assert_eq!(names(&config), ["Mesh_fd00__1", "Mesh_fd00__2"]);
        read_by_bird(&config);
    }
}

#[test]
fn everything_at_once_is_read_by_bird_and_stable() {
    let all = bgp(
        "{logSeverityScreen: Debug, bindMode: NodeIP, ignoredInterfaces: ['docker*'], programClusterRoutes: Enabled, ipv4NormalRoutePriority: 2000}",
    );
    let six = "kind: IPPool\nmetadata: {name: six}\nspec: {cidr: 'fd65::/48'}\n---\nkind: BlockAffinity\nmetadata: {name: a6}\nspec: {state: confirmed, node: a, cidr: 'fd65::/122'}\n";
    let filter = "kind: BGPFilter\nmetadata: {name: every.condition}\nspec: {exportV6: [{action: Accept, cidr: 'fd65::/48', matchOperator: NotIn, prefixLength: {min: 64}, source: RemotePeers, interface: 'eth*', peerType: iBGP, communities: {values: ['1:2:3']}, asPathPrefix: [65000, 65001], priority: 7, operations: [{addCommunity: {value: '1:1'}}]}], exportV4: [{action: Reject, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 24, max: 8}}, {action: Reject, cidr: 10.0.0.0/8, matchOperator: NotEqual}]}\n";
    let bfd = "kind: BGPPeer\nmetadata: {name: bfd, annotations: {vrouter.io/bfd-interval-ms: '100'}}\nspec: {peerIP: 'fd00::99', filters: [every.condition]}\n";
    let texts = [NODES, &all, six, filter, bfd];
    let first = config("a", &texts).text(Passwords::Shown);
    let mut turned = texts;
    turned.reverse();
    let second = config("a", &turned).text(Passwords::Shown);
    assert_eq!(first, second, "the order of resources is nothing");
    assert_eq!(
        config("a", &texts).session("fd00::99").unwrap().bfd,
        Some(100)
    );
    assert_eq!(Family::ALL.len(), 2);
}

#[test]
fn plans() {
    let before = config("a", &[NODES]);
    assert!(Plan::new(Some(&before), &before).is_empty());
    let all = Plan::new(None, &before);
    assert_eq!(all.added.len(), 3);
    let filter = "kind: BGPFilter\nmetadata: {name: f}\nspec: {exportV4: [{action: Reject}]}\n";
    let tor = peer("tor", "{peerIP: 10.0.0.254, asNumber: 65001, filters: [f]}");
    let with = config("a", &[NODES, &tor, filter]);
    let plan = Plan::new(Some(&before), &with);
    assert_eq!(plan.added, ["Global_10_0_0_254"]);
    assert!(plan.removed.is_empty() && plan.restarted.is_empty() && plan.reloaded.is_empty());
    let changed = "kind: BGPFilter\nmetadata: {name: f}\nspec: {exportV4: [{action: Accept}]}\n";
    let plan = Plan::new(Some(&with), &config("a", &[NODES, &tor, changed]));
    assert_eq!(plan.reloaded, ["Global_10_0_0_254"]);
    let keepalive = peer(
        "tor",
        "{peerIP: 10.0.0.254, asNumber: 65009, filters: [f], keepaliveTime: 5s}",
    );
    let plan = Plan::new(Some(&with), &config("a", &[NODES, &keepalive, filter]));
    assert_eq!(
        plan.restarted["Global_10_0_0_254"],
        ["neighbor's AS", "keepalive time"]
    );
    let block = "kind: BlockAffinity\nmetadata: {name: n}\nspec: {state: confirmed, node: a, cidr: 10.65.2.0/26}\n";
    let plan = Plan::new(Some(&before), &config("a", &[NODES, block]));
    assert_eq!(plan.routes_added, ["10.65.2.0/26".parse().unwrap()]);
    assert!(plan.restarted.is_empty());
    assert_eq!(
        plan.reloaded.len(),
        2,
        "the IPv4 sessions' filter knows the block"
    );
}
