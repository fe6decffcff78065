//! A node in memory: two workloads, the host and every kind of tunnel under the real worker.
//!
//! Node `n` has the underlay addresses 192.0.2.n and 2001:db8::n, the block 10.65.n.0/24 and
//! fd00:65:0:n::/64 with the host at `.0`, and workload `p` at `.p`. Everything of the other node
//! goes by the [`Mode`]; 198.51.100.0/24 and 2001:db8:ff::/48 are routed by the host; nothing else
//! has a route.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "only tests and benches call these")]

pub mod mutate;
pub mod packets;
pub mod random;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use encap::Family;
use encap::Tunnel;
use encap::vxlan::Vni;
use policy::compile::{Chain, Compiled, Graph, Update};
use policy::flow::{self, FlowTable};
use policy::model::{Direction, Endpoint, EndpointKey, EndpointSpec, Name, Profile};
use policy::selector::Labels;
use rustc_hash::FxHashSet;
use vrouter_dataplane::adjacency::{Adjacency, Encap, GATEWAY_MAC, Mac};
use vrouter_dataplane::buffer::{Buffer, Meta, Pool};
use vrouter_dataplane::counters::Counters;
use vrouter_dataplane::device::{
    Capabilities, Device, Shared, Transmitted, Vector, interface_mac, interface_of,
};
use vrouter_dataplane::drop::{DropReason, GenerateReason};
use vrouter_dataplane::events::Event;
use vrouter_dataplane::host_endpoint::{HostEndpoint, HostEndpoints};
use vrouter_dataplane::id::{AdjacencyId, InterfaceId};
use vrouter_dataplane::memory::{Frame, MemoryDevice, Wire};
use vrouter_dataplane::tables::{
    EndpointToHost, Fib, Host, Interface, InterfaceKind, Tables, Workload,
};
use vrouter_dataplane::worker::{Config, Worker};

pub const HOST: InterfaceId = InterfaceId(0);
pub const VXLAN4: InterfaceId = InterfaceId(1);
pub const VXLAN6: InterfaceId = InterfaceId(2);
pub const IPIP: InterfaceId = InterfaceId(3);
pub const ROUTER: InterfaceId = InterfaceId::ROUTER;
const FIRST_POD: u16 = InterfaceId::FIRST_WORKLOAD.0;

/// Adjacencies before those of the workloads.
pub const NO_ROUTE: AdjacencyId = AdjacencyId(0);
pub const TO_HOST: AdjacencyId = AdjacencyId(1);
pub const BY_HOST: AdjacencyId = AdjacencyId(2);
pub const BY_VXLAN4: AdjacencyId = AdjacencyId(3);
pub const BY_VXLAN6: AdjacencyId = AdjacencyId(4);
pub const BY_IPIP: AdjacencyId = AdjacencyId(5);
pub const BLACKHOLE: AdjacencyId = AdjacencyId(6);
const FIRST_NEIGHBOR: u32 = 7;

/// How nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Vxlan4,
    Vxlan6,
    Ipip,
    Routed,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Vxlan4, Self::Vxlan6, Self::Ipip, Self::Routed];

    pub fn mtu(self) -> u16 {
        match self {
            Self::Vxlan4 => 1450,
            Self::Vxlan6 => 1430,
            Self::Ipip => 1480,
            Self::Routed => 1500,
        }
    }

    /// The interface that faces the other node.
    pub fn interface(self) -> InterfaceId {
        match self {
            Self::Vxlan4 => VXLAN4,
            Self::Vxlan6 => VXLAN6,
            Self::Ipip => IPIP,
            Self::Routed => HOST,
        }
    }

    pub fn adjacency(self) -> AdjacencyId {
        match self {
            Self::Vxlan4 => BY_VXLAN4,
            Self::Vxlan6 => BY_VXLAN6,
            Self::Ipip => BY_IPIP,
            Self::Routed => BY_HOST,
        }
    }

    /// Whether it carries IPv6 packets.
    pub fn carries_v6(self) -> bool {
        self != Self::Ipip
    }
}

/// What a node is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub number: u8,
    pub mode: Mode,
    pub workloads: u8,
    /// Of each workload's device.
    pub offloads: Capabilities,
    /// Of each workload's link; the mode's when `None`.
    pub pod_mtu: Option<u16>,
    pub flows: usize,
    pub buffers: usize,
    /// Whether workloads come and go by one device, as on veths, or each by its own.
    pub shared: bool,
}

impl Plan {
    pub fn new(number: u8, mode: Mode) -> Self {
        Self {
            number,
            mode,
            workloads: 2,
            offloads: Capabilities::OFFLOADS,
            pod_mtu: None,
            flows: 4096,
            buffers: 1024,
            shared: false,
        }
    }

    pub fn build(&self) -> Node {
        Node::new(self)
    }
}

/// A device of its own, or that of all workloads.
pub enum AnyDevice {
    Own(MemoryDevice),
    Shared(Shared<MemoryDevice>),
}

impl Device for AnyDevice {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> std::io::Result<bool> {
        match self {
            Self::Own(device) => device.receive(pool, into),
            Self::Shared(device) => device.receive(pool, into),
        }
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        match self {
            Self::Own(device) => device.transmit(packets),
            Self::Shared(device) => device.transmit(packets),
        }
    }

    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Own(device) => device.capabilities(),
            Self::Shared(device) => device.capabilities(),
        }
    }
}

/// A node and the other side of its devices.
pub struct Node {
    pub number: u8,
    pub mode: Mode,
    pub worker: Worker<AnyDevice>,
    pub wires: Vec<Wire>,
    pub shared: Arc<ArcSwap<Tables>>,
    pub flows: Arc<FlowTable>,
    pub events: Arc<ArrayQueue<Event>>,
    pub v4: lpm::Table4,
    pub v6: lpm::Table6,
    pub graph: Graph,
    pub host_endpoints: Chosen,
    pub now: u64,
    shares: bool,
}

/// Names of the host endpoints that stand for all interfaces, the uplink and the tunnel.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    pub all: Option<&'static str>,
    pub uplink: Option<&'static str>,
    pub tunnel: Option<(InterfaceId, &'static str)>,
}

impl Chosen {
    fn compiled(&self, policy: &Compiled) -> HostEndpoints {
        let one = |name: &str| {
            let index = policy.endpoint(&EndpointKey::host(name).unwrap()).unwrap();
            let untracked = |direction| policy.has_policies(index, Chain::Untracked, direction);
            HostEndpoint {
                policy: index,
                untracked: [Direction::Ingress, Direction::Egress].map(untracked),
                pre_dnat: policy.has_policies(index, Chain::PreDnat, Direction::Ingress),
            }
        };
        HostEndpoints::new(
            self.all.map(one),
            self.uplink.or(self.all).map(one),
            self.tunnel
                .map(|(id, name)| (id, one(name)))
                .into_iter()
                .collect(),
        )
    }
}

/// The interface of workload `number`, from 1.
pub fn pod(number: u8) -> InterfaceId {
    InterfaceId(FIRST_POD + u16::from(number) - 1)
}

/// The adjacency of workload `number`, from 1.
pub fn neighbor(number: u8) -> AdjacencyId {
    AdjacencyId(FIRST_NEIGHBOR + u32::from(number) - 1)
}

pub fn mac(node: u8, pod: u8) -> Mac {
    [0x02, 0, 0, 0, node, pod]
}

pub fn vtep(node: u8, family: Family) -> Mac {
    let family = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    [0x66, 0, 0, 0, family, node]
}

/// Address of workload `pod` (0: the host) of a node.
pub fn address(family: Family, node: u8, pod: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 65, node, pod).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x65, 0, node.into(), 0, 0, 0, pod.into()).into(),
    }
}

pub fn a4(node: u8, pod: u8) -> IpAddr {
    address(Family::V4, node, pod)
}

pub fn a6(node: u8, pod: u8) -> IpAddr {
    address(Family::V6, node, pod)
}

/// The node's address on the underlay.
pub fn underlay(family: Family, node: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, node).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, node.into()).into(),
    }
}

pub fn router(family: Family, node: u8) -> IpAddr {
    underlay(family, node)
}

fn other(node: u8) -> u8 {
    3 - node
}

impl Node {
    pub fn new(plan: &Plan) -> Self {
        let graph = policy_graph(plan);
        let (v4, v6) = prefixes(plan);
        let tables = tables(plan, &graph, Fib::new(v4.reader(), v6.reader()));
        let shared = Arc::new(ArcSwap::from_pointee(tables));
        let flows = Arc::new(FlowTable::new(flow::Config {
            capacity: plan.flows,
            ..flow::Config::default()
        }));
        let events = Arc::new(ArrayQueue::new(1024));
        let config = Config {
            buffers: plan.buffers,
            ..Config::default()
        };
        let mut worker = Worker::new(
            &config,
            Arc::clone(&shared),
            Arc::clone(&flows),
            Arc::clone(&events),
        );
        let mut wires = Vec::new();
        for id in 0..FIRST_POD + u16::from(plan.workloads) {
            let capabilities = match id {
                0 => Capabilities::OFFLOADS,
                1..=3 => Capabilities::DATAGRAMS,
                4..FIRST_POD => Capabilities::OFFLOADS,
                FIRST_POD.. => plan.offloads,
            };
            let (device, wire) = MemoryDevice::new(capabilities, 1 << 20);
            let id = InterfaceId(id);
            if plan.shared && id > ROUTER {
                worker.share_device(id);
            } else if id == ROUTER {
                worker.add_device(id, AnyDevice::Shared(Shared(device)));
            } else {
                worker.add_device(id, AnyDevice::Own(device));
            }
            wires.push(wire);
        }
        Self {
            number: plan.number,
            mode: plan.mode,
            worker,
            wires,
            shared,
            flows,
            events,
            v4,
            v6,
            graph,
            host_endpoints: Chosen::default(),
            now: 1,
            shares: plan.shared,
        }
    }

    pub fn wire(&self, id: InterfaceId) -> &Wire {
        &self.wires[id.index()]
    }

    /// Lets a device receive a frame, without a turn.
    pub fn send(&mut self, id: InterfaceId, frame: Frame) {
        let (id, frame) = match self.shares && id > ROUTER {
            true => (ROUTER, to_router(id, frame)),
            false => (id, frame),
        };
        self.wire(id).send(frame);
        self.worker.mark_ready(id);
    }

    /// Turns until nothing is left to read, and holds the counters to their law.
    pub fn settle(&mut self) {
        while self.worker.has_ready() {
            self.worker.turn(self.now);
        }
        self.check();
    }

    pub fn check(&self) {
        let counters = self.counters();
        let balance = counters.balance();
        assert!(balance.holds(), "{balance:?}");
        let entered: u64 = counters
            .node(vrouter_dataplane::graph::NodeId::EthernetInput)
            .value();
        assert!(entered <= balance.received);
        assert_eq!(counters.buffers_in_use.value(), 0, "a buffer was lost");
    }

    /// A frame in by one interface: what comes out, and by which.
    pub fn pass(&mut self, id: InterfaceId, frame: Frame) -> Vec<(InterfaceId, Frame)> {
        self.send(id, frame);
        self.settle();
        self.drain()
    }

    /// An IP packet of workload `number`.
    pub fn pod_sends(&mut self, number: u8, ip: &[u8]) -> Vec<(InterfaceId, Frame)> {
        let frame = packets::ethernet(mac(self.number, number), ip);
        self.pass(pod(number), Frame::new(frame))
    }

    /// An IP packet of the host's stack.
    pub fn host_sends(&mut self, ip: &[u8]) -> Vec<(InterfaceId, Frame)> {
        self.pass(HOST, Frame::new(ip))
    }

    /// All frames devices transmitted, by interface.
    pub fn drain(&self) -> Vec<(InterfaceId, Frame)> {
        let wires = self.wires.iter().enumerate();
        wires
            .flat_map(|(id, wire)| {
                let id = InterfaceId(id as u16);
                wire.drain().into_iter().map(move |frame| match id {
                    ROUTER => from_router(frame),
                    _ => (id, frame),
                })
            })
            .collect()
    }

    pub fn counters(&self) -> Arc<Counters> {
        self.worker.observer().counters
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.counters().dropped(reason).value()
    }

    pub fn generated(&self, reason: GenerateReason) -> u64 {
        self.counters().generated(reason).value()
    }

    /// All drops so far, by name.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        let counters = self.counters();
        DropReason::ALL
            .iter()
            .map(|reason| (reason.name(), counters.dropped(*reason).value()))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Publishes changed tables.
    pub fn publish(&mut self, change: impl FnOnce(&mut Tables)) {
        let mut tables = Tables::clone(&self.shared.load());
        tables.generation += 1;
        change(&mut tables);
        self.shared.store(Arc::new(tables));
    }

    /// Changes a policy resource and publishes the result.
    pub fn policy(&mut self, update: impl Into<Update>) {
        self.graph.apply(update.into());
        self.graph.flush();
        let compiled = self.graph.snapshot();
        let endpoints = self.host_endpoints.clone();
        self.publish(|tables| {
            Arc::make_mut(&mut tables.host).endpoints = endpoints.compiled(&compiled);
            tables.policy = compiled;
        });
    }

    pub fn host(&mut self, change: impl FnOnce(&mut Host)) {
        self.publish(|tables| change(Arc::make_mut(&mut tables.host)));
    }

    /// Points a prefix somewhere else.
    pub fn route(&mut self, prefix: &str, to: AdjacencyId) {
        let value = lpm::Value::new(to.0).unwrap();
        match prefix.parse().unwrap() {
            ipnet::IpNet::V4(net) => self.v4.insert(net, value),
            ipnet::IpNet::V6(net) => self.v6.insert(net, value),
        };
        self.publish(|_| {});
    }
}

/// A workload's frame as the kernel's program hands it over.
fn to_router(id: InterfaceId, mut frame: Frame) -> Frame {
    if let Some(destination) = frame.bytes.first_chunk_mut() {
        *destination = interface_mac(id);
    }
    frame
}

/// Where the kernel's program sends a frame, and as what.
fn from_router(mut frame: Frame) -> (InterfaceId, Frame) {
    let source = &mut frame.bytes[6..12];
    let id = interface_of(source.try_into().unwrap()).unwrap();
    source.copy_from_slice(&GATEWAY_MAC);
    (id, frame)
}

/// The one frame that came out, and that it came out there.
pub fn one(out: Vec<(InterfaceId, Frame)>, by: InterfaceId) -> Frame {
    assert_eq!(
        out.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [by],
        "{out:?}"
    );
    out.into_iter().next().unwrap().1
}

/// What the tunnel's socket of another node would hand over for these transmitted bytes.
pub fn arriving(frame: &Frame, from: IpAddr) -> Frame {
    Frame {
        bytes: frame.bytes.clone(),
        meta: Meta {
            remote: Some(from),
            tos: frame.meta.tos,
            segment: frame.meta.segment,
            ..Meta::default()
        },
    }
}

pub fn endpoint(node: u8, number: u8, labels: &[(&str, &str)], profiles: &[&str]) -> Endpoint {
    let key = EndpointKey::workload("ns", &format!("pod{node}-{number}")).unwrap();
    let addresses = [Family::V4, Family::V6].map(|family| address(family, node, number));
    let spec = EndpointSpec {
        node: format!("node{node}"),
        labels: Labels::from_pairs(labels.iter().copied()).unwrap(),
        profiles: profiles.iter().map(|name| (*name).into()).collect(),
        addresses: addresses.map(|address| address.to_string()).into(),
        ..EndpointSpec::default()
    };
    Endpoint::new(key, &spec).unwrap()
}

fn policy_graph(plan: &Plan) -> Graph {
    let mut graph = Graph::new(Name::new(&format!("node{}", plan.number)).unwrap());
    graph.apply(Profile::allowing("open", Labels::new()).unwrap().into());
    for node in [1, 2] {
        for number in 1..=plan.workloads {
            let name = format!("pod{node}-{number}");
            let labels = [("name", name.as_str())];
            graph.apply(endpoint(node, number, &labels, &["open"]).into());
        }
    }
    graph.flush();
    graph
}

fn prefixes(plan: &Plan) -> (lpm::Table4, lpm::Table6) {
    let (here, there) = (plan.number, other(plan.number));
    let (mut v4, mut v6) = (lpm::Table4::new(), lpm::Table6::new());
    let mut add = |prefix: String, to: AdjacencyId| {
        let value = lpm::Value::new(to.0).unwrap();
        match prefix.parse().unwrap() {
            ipnet::IpNet::V4(net) => v4.insert(net, value),
            ipnet::IpNet::V6(net) => v6.insert(net, value),
        };
    };
    add(format!("10.65.{here}.0/24"), BLACKHOLE);
    add(format!("fd00:65:0:{here}::/64"), BLACKHOLE);
    add(format!("10.65.{there}.0/24"), plan.mode.adjacency());
    let v6_mode = if plan.mode.carries_v6() {
        plan.mode.adjacency()
    } else {
        BY_HOST
    };
    add(format!("fd00:65:0:{there}::/64"), v6_mode);
    add("198.51.100.0/24".into(), BY_HOST);
    add("2001:db8:ff::/48".into(), BY_HOST);
    for family in [Family::V4, Family::V6] {
        let net = |address: IpAddr| ipnet::IpNet::from(address).to_string();
        add(net(underlay(family, here)), TO_HOST);
        add(net(underlay(family, there)), BY_HOST);
        add(net(address(family, here, 0)), TO_HOST);
        for number in 1..=plan.workloads {
            add(net(address(family, here, number)), neighbor(number));
        }
    }
    (v4, v6)
}

fn tables(plan: &Plan, graph: &Graph, fib: Fib) -> Tables {
    let (here, there) = (plan.number, other(plan.number));
    let compiled = graph.snapshot();
    let mtu = plan.mode.mtu();
    let pod_mtu = plan.pod_mtu.unwrap_or(mtu);
    let vxlan = |family| Encap::Vxlan {
        vni: Vni::CALICO,
        source: vtep(here, family),
        destination: vtep(there, family),
    };
    let tunnel = |out, encap, remote, mtu| Adjacency::Tunnel {
        out,
        encap,
        remote,
        mtu,
        by_path: false,
    };
    let mut adjacencies = vec![
        Adjacency::Drop(DropReason::NoRoute),
        Adjacency::Host {
            out: HOST,
            local: true,
            mtu,
        },
        Adjacency::Host {
            out: HOST,
            local: false,
            mtu,
        },
        tunnel(VXLAN4, vxlan(Family::V4), underlay(Family::V4, there), 1450),
        tunnel(VXLAN6, vxlan(Family::V6), underlay(Family::V6, there), 1430),
        tunnel(IPIP, Encap::Ipip, underlay(Family::V4, there), 1480),
        Adjacency::Drop(DropReason::Blackhole),
    ];
    let kinds = [
        ("tunl0", InterfaceKind::Host),
        ("vxlan4", InterfaceKind::Tunnel(Tunnel::Vxlan(Family::V4))),
        ("vxlan6", InterfaceKind::Tunnel(Tunnel::Vxlan(Family::V6))),
        ("ipip", InterfaceKind::Tunnel(Tunnel::Ipip)),
    ];
    let mut interfaces: Vec<_> = kinds
        .into_iter()
        .map(|(name, kind)| Some((name.to_owned(), kind)))
        .collect();
    // The resolver, which a test adds.
    interfaces.push(None);
    // The device shared by workloads, which is in no tables.
    interfaces.push(None);
    for number in 1..=plan.workloads {
        let key = EndpointKey::workload("ns", &format!("pod{here}-{number}")).unwrap();
        let mac = mac(here, number);
        adjacencies.push(Adjacency::Neighbor {
            out: pod(number),
            rewrite: Adjacency::neighbor_rewrite(mac),
            mtu: pod_mtu,
        });
        let sources = [Family::V4, Family::V6].map(|v| address(v, here, number).into());
        let workload = Workload {
            mac,
            sources: sources.into(),
            policy: compiled.endpoint(&key).unwrap(),
        };
        let name = format!("cali{number}");
        interfaces.push(Some((name, InterfaceKind::Workload(workload))));
    }
    let interfaces = interfaces.into_iter().enumerate().map(|(id, interface)| {
        let (name, kind) = interface?;
        let id = InterfaceId(id as u16);
        Some(Arc::new(Interface { id, name, kind }))
    });
    let versions = [Family::V4, Family::V6];
    let addresses = versions.map(|v| [address(v, here, 0), underlay(v, here)]);
    let host = Host {
        addresses: addresses.into_iter().flatten().collect(),
        endpoint_to_host: EndpointToHost::Accept,
        router_v4: Ipv4Addr::new(192, 0, 2, here),
        router_v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, here.into()),
        vtep_v4: vtep(here, Family::V4),
        vtep_v6: vtep(here, Family::V6),
        ..Host::default()
    };
    let nodes: FxHashSet<_> = versions.map(|v| underlay(v, there)).into_iter().collect();
    Tables {
        generation: 1,
        interfaces: interfaces.collect(),
        adjacencies: Arc::new(adjacencies),
        fib,
        policy: compiled,
        nodes: Arc::new(nodes),
        host: Arc::new(host),
    }
}
