//! A node of any size: pods, routes, rules, and sessions made by the packet path itself.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use encap::Tunnel;
use encap::vxlan::Vni;
use ipnet::Ipv4Net;
use policy::compile::Graph;
use policy::flow::{self, FlowTable};
use policy::model::spec::{PolicySpec, RuleSpec};
use policy::model::{
    Action, Endpoint, EndpointKey, EndpointSpec, MAX_RULES, Name, Policy, PolicyKey, PolicyKind,
    Protocol,
};
use rustc_hash::FxHashSet;
use vrouter_dataplane::adjacency::{Adjacency, Encap, Mac};
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::events::Event;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::tables::{Fib, Host, Interface, InterfaceKind, Tables, Workload};
use vrouter_dataplane::worker::{Config, Worker};

use super::traffic::Stream;
use crate::world::random::Random;

/// The tunnel, before the pods.
pub(super) const TUNNEL: InterfaceId = InterfaceId(0);
const FIRST_POD: u16 = 1;

/// Other nodes.
const NODES: u32 = 64;

/// Sessions the table has room for, whatever the size: live ones and those of new flows.
const CAPACITY: usize = 1 << 21;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) pods: u16,
    pub(super) routes: usize,
    pub(super) rules: usize,
}

/// What workers share, and where packets can be sent.
pub(super) struct Node {
    shared: Arc<ArcSwap<Tables>>,
    pub(super) flows: Arc<FlowTable>,
    events: Arc<ArrayQueue<Event>>,
    /// Keeps what the FIB reads.
    _routes: lpm::Table4,
    /// An address in each of the routes, in no order.
    pub(super) remote: Vec<u32>,
    pub(super) pods: u16,
}

impl Node {
    pub(super) fn new(size: Size) -> Self {
        let graph = policies(size);
        let prefixes = prefixes(size.routes);
        let mut random = Random::new(2);
        let remote = prefixes
            .iter()
            .map(|net| {
                let host = random.next() as u32 & u32::from(net.hostmask());
                u32::from(net.network()) | host
            })
            .collect();
        let mut routes = lpm::Table4::new();
        let far = prefixes
            .iter()
            .enumerate()
            .map(|(i, net)| (*net, 1 + i as u32 % NODES));
        let near =
            (0..size.pods).map(|pod| (Ipv4Net::from(address(pod)), 1 + NODES + u32::from(pod)));
        routes.load(far.chain(near).map(|(net, adjacency)| {
            let value = lpm::Value::new(adjacency).expect("a few hundred adjacencies");
            (net, value)
        }));
        let tables = tables(
            size,
            &graph,
            Fib::new(routes.reader(), lpm::Table6::new().reader()),
        );
        Self {
            shared: Arc::new(ArcSwap::from_pointee(tables)),
            flows: Arc::new(FlowTable::new(flow::Config {
                capacity: CAPACITY,
                ..flow::Config::default()
            })),
            events: Arc::new(ArrayQueue::new(1024)),
            _routes: routes,
            remote,
            pods: size.pods,
        }
    }

    /// A worker that knows no interface.
    pub(super) fn bare_worker(&self) -> Worker<Stream> {
        let mut tables = Tables::clone(&self.shared.load());
        tables.interfaces.clear();
        Worker::new(
            &Config::default(),
            Arc::new(ArcSwap::from_pointee(tables)),
            Arc::clone(&self.flows),
            Arc::clone(&self.events),
        )
    }

    /// A worker without devices.
    pub(super) fn worker(&self) -> Worker<Stream> {
        Worker::new(
            &Config::default(),
            Arc::clone(&self.shared),
            Arc::clone(&self.flows),
            Arc::clone(&self.events),
        )
    }
}

/// The interface of a pod, from 0.
pub(super) fn tap(pod: u16) -> InterfaceId {
    InterfaceId(FIRST_POD + pod)
}

/// The address of a pod, from 0.
pub(super) fn address(pod: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a41_0001 + u32::from(pod))
}

/// The MAC of a pod, from 0.
pub(super) fn mac(pod: u16) -> Mac {
    let [high, low] = pod.to_be_bytes();
    [2, 0, 0, 0, high, low]
}

fn key(pod: u16) -> EndpointKey {
    EndpointKey::workload("ns", &format!("pod{pod}")).expect("a name")
}

/// One list of rules for all pods, both ways; the last rule allows.
fn policies(size: Size) -> Graph {
    let mut graph = Graph::new(Name::new("node").expect("a name"));
    for pod in 0..size.pods {
        let spec = EndpointSpec {
            node: "node".into(),
            addresses: vec![address(pod).to_string()],
            ..EndpointSpec::default()
        };
        graph.apply(Endpoint::new(key(pod), &spec).expect("an endpoint").into());
    }
    let filler = size.rules.saturating_sub(1);
    let rules = |egress| -> Vec<RuleSpec> {
        (0..filler)
            .map(|i| before(i, egress))
            .chain([RuleSpec::new(Action::Allow)])
            .collect()
    };
    let (ingress, egress) = (rules(false), rules(true));
    let chunks = ingress.chunks(MAX_RULES).zip(egress.chunks(MAX_RULES));
    for (i, (ingress, egress)) in chunks.enumerate() {
        let spec = PolicySpec {
            order: Some(i as f64),
            ingress: ingress.to_vec(),
            egress: egress.to_vec(),
            ..PolicySpec::default()
        };
        let name = format!("policy-{i}");
        let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, &name).expect("a name");
        graph.apply(Policy::new(key, &spec).expect("a policy").into());
    }
    graph.flush();
    graph
}

/// A rule that no packet here matches, for one reason of two.
fn before(i: usize, egress: bool) -> RuleSpec {
    let mut rule = RuleSpec {
        protocol: Some(Protocol::UDP),
        ..RuleSpec::new(Action::Deny)
    };
    if i.is_multiple_of(2) {
        let third = i / 2 % 256 + (i / 512 % 16) * 256;
        let net = Ipv4Addr::from_bits(0xac10_0000 + (third as u32) * 256);
        let nets = vec![Ipv4Net::new_assert(net, 24).into()];
        let other = if egress {
            &mut rule.destination
        } else {
            &mut rule.source
        };
        other.nets = nets;
    } else {
        // Packets go to ports below.
        rule.destination.ports = vec![(10_000 + (i / 2 % 50_000) as u16).into()];
    }
    rule
}

/// Prefixes as long as those of a full table are: three of five are /24.
fn prefixes(count: usize) -> Vec<Ipv4Net> {
    const LENGTHS: [u8; 20] = [
        24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 22, 22, 23, 23, 21, 20, 19, 16,
    ];
    let mut random = Random::new(1);
    let mut seen = FxHashSet::default();
    while seen.len() < count {
        // Outside the pods' 10/8, and nothing that is never forwarded.
        let first = 11 + random.below(100) as u32;
        let bits = first << 24 | random.next() as u32 >> 8;
        let net = Ipv4Net::new(Ipv4Addr::from_bits(bits), *random.pick(&LENGTHS));
        seen.insert(net.expect("a length of IPv4").trunc());
    }
    seen.into_iter().collect()
}

fn tables(size: Size, graph: &Graph, fib: Fib) -> Tables {
    let policy = graph.snapshot();
    let remote = |node: u32| IpAddr::from(Ipv4Addr::from_bits(0xc000_0200 + node));
    let mut adjacencies = vec![Adjacency::Drop(DropReason::NoRoute)];
    adjacencies.extend((1..=NODES).map(|node| Adjacency::Tunnel {
        out: TUNNEL,
        encap: Encap::Vxlan {
            vni: Vni::CALICO,
            source: [0x66, 0, 0, 0, 0, 0],
            destination: [0x66, 0, 0, 0, 0, node as u8],
        },
        remote: remote(node),
        mtu: 1450,
        by_path: false,
    }));
    let mut interfaces = vec![(
        "vxlan.calico".to_owned(),
        InterfaceKind::Tunnel(Tunnel::Vxlan(encap::Family::V4)),
    )];
    for pod in 0..size.pods {
        adjacencies.push(Adjacency::Neighbor {
            out: tap(pod),
            rewrite: Adjacency::neighbor_rewrite(mac(pod)),
            mtu: 1450,
        });
        let workload = Workload {
            mac: mac(pod),
            sources: vec![IpAddr::from(address(pod)).into()],
            policy: policy.endpoint(&key(pod)).expect("it was applied"),
        };
        interfaces.push((format!("cali{pod}"), InterfaceKind::Workload(workload)));
    }
    let interfaces = interfaces.into_iter().zip(0..).map(|((name, kind), id)| {
        let id = InterfaceId(id);
        Some(Arc::new(Interface { id, name, kind }))
    });
    Tables {
        generation: 1,
        interfaces: interfaces.collect(),
        adjacencies: Arc::new(adjacencies),
        fib,
        policy,
        nodes: Arc::new((1..=NODES).map(remote).collect()),
        host: Arc::new(Host::default()),
    }
}
