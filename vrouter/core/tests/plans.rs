//! Plans over a node in memory: their order does not depend on the order of events, a fault at any
//! step is healed by the next plan, and nothing is left of what went.

#![allow(clippy::unwrap_used)]

mod memory;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;
use proptest::prelude::*;
use vrouter_api::{Event, Key, Resource};
use vrouter_core::desired::desired;
use vrouter_core::execute::{self, Outcome};
use vrouter_core::observed::Observed;
use vrouter_core::plan::plan;
use vrouter_core::pod_link::PodLink;
use vrouter_core::state::State;
use vrouter_core::step::Step;
use vrouter_core::underlay::Underlay;
use vrouter_core::wanted::{Options, Wanted};
use vrouter_dataplane::adjacency::Adjacency;

use memory::MemoryNode;

const HEAD: &str = "apiVersion: projectcalico.org/v3\nkind: ";

/// What an object of the cluster can look like.
static OBJECTS: LazyLock<Vec<Vec<Resource>>> = LazyLock::new(|| {
    let parsed = |variants: Vec<String>| variants.iter().map(|text| resource(text)).collect();
    texts().into_iter().map(parsed).collect()
});

fn texts() -> Vec<Vec<String>> {
    let node = |name: &str, rest: &str| {
        format!("{HEAD}Node\nmetadata: {{name: {name}}}\nspec: {{{rest}}}\n")
    };
    let pool = |modes: &str| {
        format!("{HEAD}IPPool\nmetadata: {{name: pool}}\nspec: {{cidr: 10.65.0.0/16, {modes}}}\n")
    };
    let pod = |name: &str, on: &str, address: &str, rest: &str| {
        format!(
            "{HEAD}WorkloadEndpoint\nmetadata:\n  name: {on}-k8s-{name}-eth0\n  namespace: ns\n  \
             labels: {{app: {name}, projectcalico.org/namespace: ns, \
             projectcalico.org/orchestrator: k8s}}\n  annotations: {{vrouter.io/netns: {name}}}\n\
             spec: {{node: {on}, orchestrator: k8s, pod: {name}, endpoint: eth0, \
             ipNetworks: [{address}/32], profiles: [projectcalico-default-allow]{rest}}}\n"
        )
    };
    let block = |on: &str, cidr: &str| {
        let name = cidr.replace(['.', '/'], "-");
        format!(
            "{HEAD}BlockAffinity\nmetadata: {{name: {on}-{name}}}\n\
             spec: {{node: {on}, cidr: {cidr}, state: confirmed}}\n"
        )
    };
    let felix = |rest: &str| {
        format!("{HEAD}FelixConfiguration\nmetadata: {{name: default}}\nspec: {{{rest}}}\n")
    };
    vec![
        vec![
            node(
                "n1",
                "bgp: {ipv4Address: 172.16.0.1/24}, ipv4VXLANTunnelAddr: 10.65.0.0",
            ),
            node("n1", "bgp: {ipv4Address: 172.16.0.1/24}"),
            node("n1", "bgp: {ipv4Address: 172.16.0.7/24}"),
        ],
        vec![
            node("n2", "bgp: {ipv4Address: 172.16.0.2/24}"),
            node(
                "n2",
                "bgp: {ipv4Address: 172.16.0.2/24}, ipv4VXLANTunnelAddr: 10.65.1.0",
            ),
        ],
        vec![node("n3", "bgp: {ipv4Address: 172.17.0.3/24}")],
        vec![
            pool("vxlanMode: Always, ipipMode: Never"),
            pool("vxlanMode: Never, ipipMode: CrossSubnet"),
            pool("vxlanMode: Never, ipipMode: Never"),
        ],
        vec![block("n1", "10.65.0.0/26")],
        vec![block("n2", "10.65.1.0/26")],
        vec![block("n3", "10.65.3.0/26")],
        vec![
            pod("a", "n1", "10.65.0.1", ""),
            pod("a", "n1", "10.65.0.5", ""),
            pod("a", "n1", "10.65.0.1", ", mac: 'ee:ee:ee:00:00:01'"),
        ],
        vec![
            pod("b", "n1", "10.65.0.2", ""),
            pod("b", "n1", "10.65.1.9", ""),
        ],
        vec![pod("c", "n1", "10.65.0.1", "")],
        vec![
            pod("d", "n2", "10.65.1.1", ""),
            pod("d", "n2", "10.65.0.9", ""),
        ],
        vec![
            felix("vxlanMTU: 1400"),
            felix("allowVXLANPacketsFromWorkloads: true"),
        ],
        vec![format!(
            "{HEAD}HostEndpoint\nmetadata: {{name: all}}\nspec: {{node: n1, interfaceName: '*'}}\n"
        )],
        vec![format!(
            "{HEAD}GlobalNetworkPolicy\nmetadata: {{name: p}}\n\
             spec: {{selector: app == 'a', types: [Ingress]}}\n"
        )],
    ]
}

fn resource(text: &str) -> Resource {
    let mut parsed = vrouter_api::parse(text.as_bytes(), "t.yaml");
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    parsed.resources.remove(0).value
}

/// An object, and how it is to look; `None`: it goes.
type Edit = (usize, Option<usize>);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let sizes: Vec<usize> = OBJECTS.iter().map(Vec::len).collect();
    let edit = (0..sizes.len())
        .prop_flat_map(move |object| (Just(object), prop::option::weighted(0.8, 0..sizes[object])));
    prop::collection::vec(edit, 1..24)
}

/// A node with what it knows and has.
struct World {
    state: State,
    observed: Observed,
    node: MemoryNode,
    wanted: Wanted,
    pod_link: PodLink,
}

impl World {
    fn new() -> World {
        let mut state = State::new("n1").unwrap();
        let observed = Observed::default();
        let pod_link = PodLink::default();
        let wanted = want(&mut state, &observed, pod_link);
        World {
            state,
            observed,
            node: MemoryNode::default(),
            wanted,
            pod_link,
        }
    }

    fn edit(&mut self, edits: &[Edit]) {
        for (object, variant) in edits {
            let variants = &OBJECTS[*object];
            let event = match variant {
                Some(variant) => Event::Upsert(variants[*variant].clone()),
                None => Event::Delete(variants[0].key()),
            };
            assert_eq!(self.state.apply(event), None);
        }
        assert!(self.state.apply(Event::InSync).is_some());
        self.observed.host.underlay = Some(Underlay {
            index: 2,
            name: "eth0".into(),
            mtu: 1500,
            addresses: vec![[172, 16, 0, 1].into()],
        });
        self.wanted = want(&mut self.state, &self.observed, self.pod_link);
    }

    fn converge(&mut self) -> Outcome {
        execute::converge(&mut self.observed, &self.wanted, &mut self.node)
    }

    /// Plans until nothing is left to do; how many plans that took.
    fn heal(&mut self) -> usize {
        for plans in 1..5 {
            self.converge();
            if self.due().is_empty() {
                return plans;
            }
        }
        panic!("still due: {:?}", self.due());
    }

    fn due(&self) -> Vec<String> {
        let steps = plan(&self.observed, &self.wanted);
        steps.iter().map(ToString::to_string).collect()
    }

    /// Where packets to some addresses go, without the numbers of interfaces.
    fn ways(&self) -> BTreeMap<IpAddr, String> {
        let way = |address: IpAddr| {
            let way = match self.node.adjacency(address) {
                Some(Adjacency::Neighbor { out, rewrite, mtu }) => {
                    let tables = self.node.seen.as_ref().unwrap();
                    let name = tables.interface(out).map(|interface| &interface.name);
                    format!("{name:?} {rewrite:?} {mtu}")
                }
                other => format!("{other:?}"),
            };
            (address, way)
        };
        memory::addresses().map(way).collect()
    }

    /// The workloads that workers know.
    fn workloads(&self) -> Vec<String> {
        let tables = self.node.seen.as_ref().unwrap();
        let mut names: Vec<String> = tables
            .interfaces
            .iter()
            .flatten()
            .map(|it| it.name.clone())
            .collect();
        names.sort();
        names
    }
}

fn want(state: &mut State, observed: &Observed, pod_link: PodLink) -> Wanted {
    let desired = desired(&state.resources, "n1");
    let options = Options {
        reset_cut: false,
        pod_link,
        tun: "tunl0".into(),
        bird: false,
        resolver: false,
    };
    Wanted::new(state, desired, &observed.host, &options)
}

/// The plan as a text; of tables, the routes.
fn text(steps: &[Step]) -> Vec<String> {
    let text = |step: &Step| match step {
        Step::Prepare(forwarding) => format!("{:?}", forwarding.routes),
        other => format!("{other:?}"),
    };
    steps.iter().map(text).collect()
}

/// The last edit of each object.
fn last(edits: &[Edit]) -> BTreeMap<usize, Option<usize>> {
    edits.iter().copied().collect()
}

fn compare(world: &World, fresh: &World) {
    assert_eq!(world.node.has, fresh.node.has);
    assert_eq!(world.ways(), fresh.ways());
    assert_eq!(world.workloads(), fresh.workloads());
    assert_eq!(world.node.open.len(), world.node.has.pods.len());
    let places = |world: &World| world.observed.publication.rib().places();
    assert_eq!(places(world), places(fresh));
    assert!(world.observed.closing.is_empty() && world.observed.closed.is_empty());
}

fn fresh(edits: &[Edit]) -> World {
    fresh_on(PodLink::default(), edits)
}

fn fresh_on(pod_link: PodLink, edits: &[Edit]) -> World {
    let mut fresh = World::new();
    fresh.pod_link = pod_link;
    fresh.edit(edits);
    assert_eq!(fresh.converge().problems, [] as [String; 0]);
    assert_eq!(fresh.due(), [] as [String; 0]);
    fresh
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_of_events_gives_the_same_plan(
        edits in edits(),
        order in Just((0..32).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let mut one = World::new();
        one.edit(&edits);
        let mut shuffled: Vec<Edit> = last(&edits).into_iter().collect();
        shuffled.sort_by_key(|(object, _)| order[*object]);
        let mut other = World::new();
        other.edit(&shuffled);
        prop_assert_eq!(&one.wanted.desired, &other.wanted.desired);
        prop_assert_eq!(&one.wanted.problems, &other.wanted.problems);
        let plans = [&one, &other].map(|world| text(&plan(&world.observed, &world.wanted)));
        prop_assert_eq!(&plans[0], &plans[1]);
        one.heal();
        other.heal();
        compare(&one, &other);
    }

    #[test]
    fn a_fault_at_any_step_is_healed_by_the_next_plan(
        before in edits(),
        after in edits(),
        fault in 0usize..40,
        links in prop::array::uniform2(prop::sample::select(vec![PodLink::Tap, PodLink::Veth])),
    ) {
        let mut world = World::new();
        world.pod_link = links[0];
        world.edit(&before);
        world.heal();
        world.pod_link = links[1];
        world.edit(&after);
        world.node.fails_after = Some(fault);
        world.converge();
        world.node.fails_after = None;
        let plans = world.heal();
        prop_assert_eq!(plans, 1);
        let all: Vec<Edit> = before.iter().chain(&after).copied().collect();
        compare(&world, &fresh_on(links[1], &all));
    }

    #[test]
    fn nothing_is_left_of_what_went(
        rounds in prop::collection::vec((edits(), prop::option::of(0usize..30)), 1..5),
    ) {
        let mut world = World::new();
        for (edits, fault) in &rounds {
            world.edit(edits);
            world.node.fails_after = *fault;
            world.converge();
        }
        world.node.fails_after = None;
        let all: Vec<Edit> = (0..OBJECTS.len()).map(|object| (object, None)).collect();
        world.edit(&all);
        world.heal();
        prop_assert!(world.node.has.tunnels.is_empty() && world.node.has.pods.is_empty());
        prop_assert!(world.node.has.addresses.is_empty() && world.node.has.routes.is_empty());
        prop_assert!(world.node.open.is_empty());
        compare(&world, &fresh(&[]));
    }
}

/// Every step of one plan fails once.
#[test]
fn each_step_of_a_plan_fails_once() {
    let all: Vec<Edit> = (0..OBJECTS.len()).map(|object| (object, Some(0))).collect();
    let gone: Vec<Edit> = [3, 7, 8, 9].map(|object| (object, None)).to_vec();
    let mut calls = fresh(&all).node.calls;
    for second in [vec![], gone] {
        for fault in 0..=calls {
            let mut world = World::new();
            world.edit(&all);
            world.node.fails_after = Some(fault).filter(|_| second.is_empty());
            world.converge();
            if !second.is_empty() {
                world.heal();
                world.edit(&second);
                world.node.fails_after = Some(fault);
                world.converge();
            }
            world.node.fails_after = None;
            world.heal();
            let edits: Vec<Edit> = all.iter().chain(&second).copied().collect();
            compare(&world, &fresh(&edits));
        }
        calls = 40;
    }
}

#[test]
fn static_routes_follow_their_nodes_and_leave_nothing() {
    let mut world = World::new();
    let edits: Vec<Edit> = vec![(0, Some(0)), (1, Some(0)), (2, Some(0)), (3, Some(0))];
    world.edit(&edits);
    world.heal();
    let places = world.observed.publication.rib().places();
    let prefix: IpNet = "192.0.2.0/24".parse().unwrap();
    let nodes = vec!["n2".to_owned(), "n3".to_owned()];
    let World {
        observed,
        wanted,
        node,
        ..
    } = &mut world;
    execute::add_routes(observed, wanted, node, &[(prefix, nodes)]).unwrap();
    let hops = |world: &World| {
        world
            .observed
            .publication
            .rib()
            .find(&prefix)
            .unwrap()
            .len()
    };
    assert_eq!(hops(&world), 2);
    // A fault while n3 goes does not lose the change.
    world.edit(&[(2, None)]);
    world.node.fails_after = Some(1);
    world.converge();
    world.node.fails_after = None;
    world.heal();
    assert_eq!(hops(&world), 1);
    world.edit(&[(2, Some(0))]);
    world.heal();
    assert_eq!(hops(&world), 2);
    let World { observed, node, .. } = &mut world;
    assert_eq!(execute::remove_routes(observed, node, &[prefix]), Ok(1));
    assert_eq!(world.observed.publication.rib().places(), places);
}

#[test]
fn a_workload_that_is_lost_is_attached_again_under_another_number() {
    let mut world = World::new();
    world.edit(&[(0, Some(0)), (3, Some(0)), (7, Some(0))]);
    world.heal();
    let key: Key = OBJECTS[7][0].key();
    let before = world
        .observed
        .endpoints
        .find(&key)
        .unwrap()
        .attached
        .unwrap();
    world.node.has.pods.clear();
    assert!(world.observed.lose(&key, "gone"));
    assert!(execute::attach_waiting(
        &mut world.observed,
        &world.wanted,
        &mut world.node
    ));
    let after = world
        .observed
        .endpoints
        .find(&key)
        .unwrap()
        .attached
        .unwrap();
    assert_ne!(before.id, after.id);
    world.heal();
    assert_eq!(world.node.open.len(), 1);
}

/// A workload that needs another TAP and cannot be detached keeps its old one, and is due again.
#[test]
fn a_tap_that_is_not_given_up_is_given_up_later() {
    let mut world = World::new();
    world.edit(&[(7, Some(0))]);
    world.heal();
    world.edit(&[(7, Some(2))]);
    world.node.fails_after = Some(0);
    world.converge();
    assert_eq!(world.heal(), 1);
    compare(&world, &fresh(&[(7, Some(2))]));
}

#[test]
fn a_pod_on_another_link_is_attached_anew() {
    let mut world = World::new();
    world.edit(&[(7, Some(0))]);
    world.heal();
    world.pod_link = PodLink::Tap;
    world.edit(&[]);
    let due = world.due();
    assert!(due[0].starts_with("detach "), "{due:?}");
    assert!(due[1].contains(" by tap "), "{due:?}");
    world.heal();
    compare(&world, &fresh_on(PodLink::Tap, &[(7, Some(0))]));
}
