//! Random resources: what the evaluator says neighbors are told is what neighbors of a real BIRD
//! receive, prefix by prefix, with communities, AS path and local preference.
//!
//! Two namespaces and a cable: one BIRD with the rendered file, one that is all its neighbors.
//! `VROUTER_BGP_SETS` says how many sets of resources there are, `VROUTER_BGP_SEED` which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use vrouter_api::{Resource, parse};
use vrouter_bgp::bird::Bird;
use vrouter_bgp::{Cluster, Config, Family, Origin, Passwords, Route, Session, Settings, render};

/// In a CI's two minutes.
const SETS: usize = 150;
/// A reconfiguration, and what follows of it, is done by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same numbers for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("it is below a usize")
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A namespace that goes with its owner.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Namespace {
        let name = format!("vbgp-{name}-{}", std::process::id());
        sh(&format!("ip netns add {name}"));
        Namespace(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn sh(command: &str) {
    let status = Command::new("sh").args(["-ec", command]).status();
    assert!(status.is_ok_and(|it| it.success()), "{command}");
}

/// A BIRD in a namespace.
struct Daemon {
    child: Child,
    file: PathBuf,
    socket: PathBuf,
}

impl Daemon {
    fn start(folder: &std::path::Path, namespace: &Namespace, name: &str, text: &str) -> Daemon {
        let file = folder.join(format!("{name}.conf"));
        let socket = folder.join(format!("{name}.ctl"));
        fs::write(&file, text).expect("the file is written");
        let log = fs::File::create(folder.join(format!("{name}.log"))).expect("a log");
        let child = Command::new("ip")
            .args(["netns", "exec", &namespace.0, "bird", "-f", "-c"])
            .arg(&file)
            .arg("-s")
            .arg(&socket)
            .arg("-P")
            .arg(folder.join(format!("{name}.pid")))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("bird2 is installed (tools/packages)");
        let daemon = Daemon {
            child,
            file,
            socket,
        };
        let until = Instant::now() + PATIENCE;
        while Bird::connect(&daemon.socket).is_err() {
            assert!(Instant::now() < until, "BIRD does not start: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn bird(&self) -> Bird {
        Bird::connect(&self.socket).expect("BIRD answers")
    }

    fn configure(&self, text: &str) {
        fs::write(&self.file, text).expect("the file is written");
        let done = self.bird().configure(&self.file);
        done.unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which sessions there are; they stay while everything else changes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Mesh,
    Reflector,
}

/// Prefixes that rules and pools speak of.
fn universe(family: Family) -> [&'static str; 9] {
    match family {
        Family::V4 => [
            "10.65.0.0/16",
            "10.65.0.0/26",
            "10.66.0.0/16",
            "10.66.0.0/26",
            "172.16.0.0/12",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "10.96.0.0/12",
            "10.65.102.0/24",
        ],
        Family::V6 => [
            "fd65::/48",
            "fd65::/122",
            "fd66::/48",
            "fd66::/122",
            "fd72::/32",
            "fd00::/8",
            "::/0",
            "fd96::/112",
            "fd65:0:0:102::/64",
        ],
    }
}

/// Prefixes that the neighbor at that address may tell; nobody else does.
fn injectable(family: Family, host: usize) -> [String; 5] {
    match family {
        Family::V4 => [
            format!("10.65.10{host}.0/26"),
            format!("10.65.10{host}.129/32"),
            format!("10.66.10{host}.64/26"),
            format!("172.16.{host}.0/24"),
            format!("10.7{host}.0.0/16"),
        ],
        Family::V6 => [
            format!("fd65:0:0:10{host}::/122"),
            format!("fd65:0:0:10{host}::81/128"),
            format!("fd66:0:0:10{host}::40/122"),
            format!("fd72:{host}::/64"),
            format!("fd7{host}::/48"),
        ],
    }
}

fn rule(random: &mut Random, family: Family, export: bool) -> String {
    let accept = random.chance(55);
    let mut rule = format!("action: {}", if accept { "Accept" } else { "Reject" });
    if random.chance(70) {
        let cidr = random.one(&universe(family));
        let operator = random.one(&["In", "In", "NotIn", "Equal", "NotEqual"]);
        let _ = write!(rule, ", cidr: '{cidr}', matchOperator: {operator}");
        if random.chance(40) {
            let longest = if family == Family::V4 { 33 } else { 129 };
            let (min, max) = (random.below(longest), random.below(longest));
            let _ = match random.below(3) {
                0 => write!(rule, ", prefixLength: {{min: {min}, max: {max}}}"),
                1 => write!(rule, ", prefixLength: {{min: {min}}}"),
                _ => write!(rule, ", prefixLength: {{max: {max}}}"),
            };
        }
    }
    if random.chance(15) {
        rule.push_str(", source: RemotePeers");
    }
    if random.chance(20) && export {
        let pattern = random.one(&["va", "'*'", "v*", "eth*"]);
        let _ = write!(rule, ", interface: {pattern}");
    }
    if random.chance(20) {
        let _ = write!(rule, ", peerType: {}", random.one(&["iBGP", "eBGP"]));
    }
    if random.chance(20) {
        let value = random.one(&["65000:1", "65000:2", "1:2:3"]);
        let _ = write!(rule, ", communities: {{values: ['{value}']}}");
    }
    if random.chance(15) {
        let path = random.one(&["65100", "65004", "65100, 65101", "65003, 65100"]);
        let _ = write!(rule, ", asPathPrefix: [{path}]");
    }
    if random.chance(15) {
        let priority = random.one(&["1024", "2147483547", "512", "2147483447"]);
        let _ = write!(rule, ", priority: {priority}");
    }
    if accept && random.chance(50) {
        let mut operations = Vec::new();
        for _ in 0..=random.below(3) {
            operations.push(match random.below(3) {
                0 => format!(
                    "{{addCommunity: {{value: '{}'}}}}",
                    random.one(&["65000:1", "65000:9", "1:2:3", "4:5:6"])
                ),
                1 => format!(
                    "{{prependASPath: {{prefix: [{}]}}}}",
                    random.one(&["65200", "65200, 65201", "64512"])
                ),
                _ => format!(
                    "{{setPriority: {{value: {}}}}}",
                    random.one(&["512", "1024", "2147483446"])
                ),
            });
        }
        let _ = write!(rule, ", operations: [{}]", operations.join(", "));
    }
    rule
}

fn rules(random: &mut Random, family: Family, export: bool) -> String {
    let count = random.below(4);
    let all: Vec<String> = (0..count)
        .map(|_| format!("{{{}}}", rule(random, family, export)))
        .collect();
    format!("[{}]", all.join(", "))
}

/// A set of resources in which the sessions of a shape never differ.
fn resources(random: &mut Random, shape: Shape) -> String {
    let reflector = match shape {
        Shape::Mesh => "",
        Shape::Reflector => ", routeReflectorClusterID: 244.0.0.1",
    };
    let mut text = format!(
        "kind: Node\nmetadata: {{name: a}}\nspec: {{bgp: {{ipv4Address: 10.99.0.1/24, ipv6Address: 'fd99::1/64'{reflector}}}}}\n---\n\
         kind: Node\nmetadata: {{name: b}}\nspec: {{bgp: {{ipv4Address: 10.99.0.2/24, ipv6Address: 'fd99::2/64'}}}}\n---\n\
         kind: Node\nmetadata: {{name: c}}\nspec: {{bgp: {{ipv4Address: 10.99.0.3/24, ipv6Address: 'fd99::3/64', asNumber: 65003}}}}\n---\n"
    );
    if shape == Shape::Reflector {
        text += "kind: BGPPeer\nmetadata: {name: all}\nspec: {nodeSelector: all(), peerSelector: all(), filters: [two]}\n---\n";
    }
    for host in ["10.99.0.", "fd99::"] {
        let name = if host.contains(':') { "six" } else { "four" };
        let filters = random.one(&["[one, two]", "[two]", "[]", "[three, one]"]);
        let _ = write!(
            text,
            "kind: BGPPeer\nmetadata: {{name: tor-{name}}}\nspec: {{peerIP: '{host}4', asNumber: 65004, filters: {filters}}}\n---\n"
        );
        let filters = random.one(&["[one]", "[three, two]", "[]", "[absent]"]);
        let _ = write!(
            text,
            "kind: BGPPeer\nmetadata: {{name: inner-{name}}}\nspec: {{peerIP: '{host}5', node: a, filters: {filters}}}\n---\n"
        );
    }
    for name in ["one", "two", "three"] {
        if random.chance(75) {
            let lists = [
                rules(random, Family::V4, false),
                rules(random, Family::V4, true),
                rules(random, Family::V6, false),
                rules(random, Family::V6, true),
            ];
            let [import_v4, export_v4, import_v6, export_v6] = lists;
            let _ = write!(
                text,
                "kind: BGPFilter\nmetadata: {{name: {name}}}\nspec: {{importV4: {import_v4}, exportV4: {export_v4}, importV6: {import_v6}, exportV6: {export_v6}}}\n---\n"
            );
        }
    }
    let mut pools = vec![
        "10.65.0.0/16",
        "10.66.0.0/16",
        "172.16.0.0/12",
        "fd65::/48",
        "fd66::/48",
    ];
    pools.retain(|_| random.chance(70));
    for (index, cidr) in pools.iter().enumerate() {
        let quiet = random.chance(25);
        let six = cidr.contains(':');
        let mode = if six {
            ""
        } else {
            random.one(&["", ", ipipMode: Always", ", vxlanMode: Always"])
        };
        let _ = write!(
            text,
            "kind: IPPool\nmetadata: {{name: p{index}}}\nspec: {{cidr: '{cidr}', disableBGPExport: {quiet}{mode}}}\n---\n"
        );
    }
    let blocks = [
        "10.65.0.0/26",
        "10.65.0.64/26",
        "10.66.0.0/26",
        "10.65.3.3/32",
        "fd65::/122",
        "fd66::/122",
    ];
    for (index, block) in blocks.iter().enumerate() {
        if random.chance(60) {
            let state = random.one(&["confirmed", "confirmed", "pending"]);
            let node = random.one(&["a", "a", "b"]);
            let _ = write!(
                text,
                "kind: BlockAffinity\nmetadata: {{name: b{index}}}\nspec: {{state: {state}, node: {node}, cidr: '{block}'}}\n---\n"
            );
        }
    }
    if random.chance(60) {
        let address = random.one(&[
            "10.65.0.7",
            "10.65.9.9",
            "10.65.3.3",
            "fd65::7",
            "fd65::9:9",
        ]);
        let _ = write!(
            text,
            "kind: WorkloadEndpoint\nmetadata: {{namespace: prod}}\nspec: {{node: a, orchestrator: k8s, pod: w, endpoint: eth0, ipNetworks: ['{address}'], interfaceName: cali1}}\n---\n"
        );
    }
    text += &configuration(random);
    text
}

fn configuration(random: &mut Random) -> String {
    let mut spec = Vec::new();
    if random.chance(60) {
        let aggregation = random.one(&["Enabled", "Disabled"]);
        spec.push("serviceClusterIPs: [{cidr: 10.96.0.0/12}, {cidr: 'fd96::/112'}]".to_owned());
        spec.push("serviceExternalIPs: [{cidr: 172.16.9.0/24}, {cidr: 172.16.8.0/24}]".to_owned());
        spec.push(format!("serviceLoadBalancerAggregation: {aggregation}"));
    }
    if random.chance(60) {
        let cidr = random.one(&["10.65.0.0/16", "10.0.0.0/8", "fd65::/48", "10.96.0.0/12"]);
        spec.push("communities: [{name: c, value: '65000:7'}]".to_owned());
        spec.push(format!(
            "prefixAdvertisements: [{{cidr: '{cidr}', communities: [c, '7:8:9']}}, {{cidr: 10.65.0.0/26, communities: ['65000:8', '65000:7']}}]"
        ));
    }
    if random.chance(40) {
        let priority = random.one(&["100", "1024", "2000"]);
        spec.push(format!("ipv4NormalRoutePriority: {priority}"));
    }
    let word = random.one(&[
        "Enabled",
        "Disabled",
        "EnabledNoEncapOnly",
        "EnabledIPIPOnly",
    ]);
    spec.push(format!("programClusterRoutes: {word}"));
    spec.push("logSeverityScreen: Error".to_owned());
    let mut text = format!(
        "kind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {{{}}}\n---\n",
        spec.join(", ")
    );
    let policy = random.one(&["Local", "Cluster"]);
    let _ = write!(
        text,
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: prod}}\nspec: {{clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, 'fd96::10'], externalIPs: [172.16.9.9], externalTrafficPolicy: {policy}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, namespace: prod, labels: {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nendpoints: [{{nodeName: {}}}]\n",
        random.one(&["a", "b"])
    );
    text
}

fn cluster(text: &str) -> Cluster {
    let mut all: Vec<Resource> = Vec::new();
    for document in text.split("---\n") {
        let whole = if document.starts_with("apiVersion") {
            document.to_owned()
        } else {
            format!("apiVersion: projectcalico.org/v3\n{document}")
        };
        let parsed = parse(whole.as_bytes(), "f.yaml");
        assert_eq!(parsed.errors, [], "{document}");
        all.extend(parsed.resources.into_iter().map(|it| it.value));
    }
    Cluster::of(all)
}

/// A route that a neighbor tells the node.
struct Injected {
    prefix: IpNet,
    communities: Vec<&'static str>,
    path: Vec<u32>,
    local_pref: Option<u32>,
}

fn injected(random: &mut Random, session: &Session) -> Vec<Injected> {
    let mut all = Vec::new();
    for prefix in injectable(session.family, host(session)) {
        if random.chance(50) {
            continue;
        }
        let mut communities = vec!["65000:1", "65000:2", "1:2:3"];
        communities.retain(|_| random.chance(30));
        let path = match random.below(3) {
            0 => vec![],
            1 => vec![65_100],
            _ => vec![65_100, 65_101],
        };
        let local_pref = match random.below(3) {
            0 => None,
            1 => Some(200),
            _ => Some(2_147_483_135),
        };
        all.push(Injected {
            prefix: prefix.parse().expect("a prefix"),
            communities,
            path,
            local_pref,
        });
    }
    all
}

fn spelled(community: &str) -> String {
    let parts: Vec<&str> = community.split(':').collect();
    let list = if parts.len() == 2 {
        "bgp_community"
    } else {
        "bgp_large_community"
    };
    format!("{list}.add(({}));", parts.join(", "))
}

/// The last digit of a neighbor's address: which of them it is.
fn host(session: &Session) -> usize {
    let text = session.neighbor.to_string();
    let digit = text.chars().last().and_then(|c| c.to_digit(10));
    digit.expect("addresses end with a digit") as usize
}

/// One neighbor's BIRD: a table for each of its sessions. BIRD has one session to an address at a
/// time, so each neighbor has a daemon of its own.
fn neighbor(config: &Config, told: &BTreeMap<String, Vec<Injected>>, number: usize) -> String {
    let mut text = format!(
        "log stderr all;\nrouter id 10.99.1.{number};\nprotocol device {{ scan time 2; }}\n"
    );
    for session in config.sessions.iter().filter(|it| host(it) == number) {
        let digit = session.family.number();
        let name = &session.name;
        let _ = writeln!(text, "ipv{digit} table t_{name};");
        let _ = writeln!(
            text,
            "protocol static s_{name} {{ ipv{digit} {{ table t_{name}; }};"
        );
        for route in &told[name] {
            let _ = write!(text, "  route {} blackhole {{ ", route.prefix);
            for community in &route.communities {
                let _ = write!(text, "{} ", spelled(community));
            }
            for number in route.path.iter().rev() {
                let _ = write!(text, "bgp_path.prepend({number}); ");
            }
            if let Some(value) = route.local_pref {
                let _ = write!(text, "bgp_local_pref = {value}; ");
            }
            text.push_str("};\n");
        }
        text.push_str("}\n");
        let local = session.local.expect("every session has an address");
        let _ = writeln!(
            text,
            "protocol bgp {name} {{ local {} as {}; neighbor {local} as {}; strict bind on; \
             multihop; connect delay time 1; connect retry time 1; error wait time 1, 2; allow \
             local as 9; ipv{digit} {{ table t_{name}; import all; export where source = \
             RTS_STATIC; }}; }}",
            session.neighbor, session.neighbor_as, session.local_as
        );
    }
    text
}

/// What one neighbor has of one prefix: communities, AS path, local preference (iBGP).
type Seen = (BTreeSet<String>, Vec<u32>, Option<u32>);

/// The routes of the host that BIRD finds in its kernel, and the networks of its interface.
fn host_routes() -> Vec<Route> {
    let mut all = Vec::new();
    for (prefix, metric) in [
        ("10.65.50.0/24", 0),
        ("10.65.0.5/32", 512),
        ("10.65.0.6/32", 1500),
        ("172.20.0.0/16", 0),
    ] {
        let mut route = Route::new(prefix.parse().expect("a prefix"), Origin::Kernel(4));
        route.metric = Some(metric);
        route.interface = Some("va".to_owned());
        all.push(route);
    }
    for prefix in ["10.99.0.0/24", "fd99::/64"] {
        let mut route = Route::new(prefix.parse().expect("a prefix"), Origin::Device);
        route.interface = Some("va".to_owned());
        all.push(route);
    }
    all
}

/// What the evaluator says each session's neighbor is told.
fn expected(
    config: &Config,
    told: &BTreeMap<String, Vec<Injected>>,
) -> BTreeMap<String, BTreeMap<IpNet, Seen>> {
    let mut table = config.own_routes();
    table.extend(host_routes());
    for session in &config.sessions {
        for injected in &told[&session.name] {
            let origin = Origin::Learned(session.name.clone());
            let mut route = Route::new(injected.prefix, origin);
            route.interface = Some("va".to_owned());
            route.communities = injected
                .communities
                .iter()
                .map(|it| it.parse().expect("a community"))
                .collect();
            route.path.clone_from(&injected.path);
            route.local_pref = Some(100);
            if session.is_internal() {
                route.local_pref = injected.local_pref.or(Some(100));
            } else {
                route.path.insert(0, session.neighbor_as);
            }
            let believed = config.believed(session, &route);
            if believed.accepted {
                table.push(believed.route);
            }
        }
    }
    let mut all = BTreeMap::new();
    for session in &config.sessions {
        let mut seen = BTreeMap::new();
        for route in &table {
            let outcome = config.told(session, route);
            if !outcome.accepted {
                continue;
            }
            let mut route = outcome.route;
            let internal = session.is_internal();
            if !internal {
                route.path.insert(0, session.local_as);
            }
            let communities = route.communities.iter().map(ToString::to_string).collect();
            let local_pref = route.local_pref.filter(|_| internal);
            seen.insert(route.prefix, (communities, route.path, local_pref));
        }
        all.insert(session.name.clone(), seen);
    }
    all
}

fn received(
    neighbors: &mut [(usize, Bird)],
    config: &Config,
) -> BTreeMap<String, BTreeMap<IpNet, Seen>> {
    let mut all = BTreeMap::new();
    for session in &config.sessions {
        let number = host(session);
        let (_, bird) = neighbors
            .iter_mut()
            .find(|(of, _)| *of == number)
            .expect("every neighbor has a daemon");
        let routes = bird
            .routes_of(&format!("t_{}", session.name))
            .unwrap_or_default();
        let routes = routes.into_iter().filter(|it| it.from == session.name);
        let seen = routes.map(|it| {
            let communities = it.communities.iter().map(ToString::to_string).collect();
            let local_pref = it.local_pref.filter(|_| session.is_internal());
            (it.destination, (communities, it.path, local_pref))
        });
        all.insert(session.name.clone(), seen.collect());
    }
    all
}

fn variable(name: &str, otherwise: usize) -> usize {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
#[ignore = "needs root, namespaces and bird2"]
fn neighbors_receive_what_the_evaluator_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (Namespace::new("a"), Namespace::new("b"));
    sh(&format!(
        "ip -n {a} link add va type veth peer name vb netns {b}
         ip -n {a} link set lo up; ip -n {b} link set lo up
         ip netns exec {a} sysctl -qw net.ipv6.conf.va.accept_dad=0
         ip netns exec {b} sysctl -qw net.ipv6.conf.vb.accept_dad=0
         ip -n {a} link set va up; ip -n {b} link set vb up
         ip -n {a} addr add 10.99.0.1/24 dev va; ip -n {a} addr add fd99::1/64 dev va
         for host in 2 3 4 5; do
             ip -n {b} addr add 10.99.0.$host/24 dev vb; ip -n {b} addr add fd99::$host/64 dev vb
         done
         ip -n {a} route add 10.65.50.0/24 via 10.99.0.9 proto static
         ip -n {a} route add 10.65.51.0/24 via 10.99.0.9 proto 80
         ip -n {a} route add 10.65.0.5/32 via 10.99.0.9 proto static metric 512
         ip -n {a} route add 10.65.0.6/32 via 10.99.0.9 proto static metric 1500
         ip -n {a} route add 172.20.0.0/16 via 10.99.0.9 proto static",
        a = a.0,
        b = b.0
    ));
    let sets = variable("VROUTER_BGP_SETS", SETS);
    let seed = variable("VROUTER_BGP_SEED", 20_261_130) as u64;
    let settings = Settings {
        node: "a".to_owned(),
        ..Settings::default()
    };
    let mut daemons: Vec<(usize, Daemon)> = Vec::new();
    let started = Instant::now();
    let mut told_in_all = 0;
    for number in 0..sets {
        let mut random = Random((seed + number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let shape = if number * 3 < sets * 2 {
            Shape::Mesh
        } else {
            Shape::Reflector
        };
        let text = resources(&mut random, shape);
        let config = render(&cluster(&text), &settings).expect("it renders");
        let mut told = BTreeMap::new();
        for session in &config.sessions {
            told.insert(session.name.clone(), injected(&mut random, session));
        }
        let node = config.text(Passwords::Shown);
        // The node first: it is number 1.
        for number in 1..=5 {
            let text = match number {
                1 => node.clone(),
                other => neighbor(&config, &told, other),
            };
            match daemons.iter().find(|(of, _)| *of == number) {
                Some((_, daemon)) => daemon.configure(&text),
                None => {
                    let namespace = if number == 1 { &a } else { &b };
                    let name = format!("bird{number}");
                    let daemon = Daemon::start(folder.path(), namespace, &name, &text);
                    daemons.push((number, daemon));
                }
            }
        }
        let expected = expected(&config, &told);
        let routes: usize = expected.values().map(BTreeMap::len).sum();
        told_in_all += routes;
        let until = Instant::now() + PATIENCE;
        let mut same = 0;
        let mut birds: Vec<(usize, Bird)> = daemons
            .iter()
            .map(|(number, daemon)| (*number, daemon.bird()))
            .collect();
        // Twice, so that what was right by accident does not count.
        while same < 2 {
            let seen = received(&mut birds, &config);
            if seen == expected {
                same += 1;
            } else {
                same = 0;
                if Instant::now() > until {
                    let mut differences = String::new();
                    for (session, routes) in &expected {
                        let got = &seen[session];
                        for (prefix, route) in routes {
                            if got.get(prefix) != Some(route) {
                                let _ = writeln!(
                                    differences,
                                    "{session} {prefix}: expected {route:?}, received {:?}",
                                    got.get(prefix)
                                );
                            }
                        }
                        for (prefix, route) in got {
                            if !routes.contains_key(prefix) {
                                let _ = writeln!(
                                    differences,
                                    "{session} {prefix}: not expected, received {route:?}"
                                );
                            }
                        }
                    }
                    panic!("set {number} of seed {seed}:\n{differences}\n{text}\n{node}");
                }
            }
            std::thread::sleep(Duration::from_millis(15));
        }
    }
    println!(
        "{sets} sets of resources, {told_in_all} routes told, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    assert!(told_in_all > sets, "the sets are not about nothing");
}
