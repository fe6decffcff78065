//! The join in front of `flow`: what comes to it while a vector is on its way is not lost.

use std::net::Ipv4Addr;

use encap::ip::{Ends, Repr};
use encap::{protocol, udp};
use policy::compile::Graph;
use policy::flow;
use policy::model::Name;

use super::*;
use crate::adjacency::Adjacency;
use crate::memory::{Frame, MemoryDevice, Wire};
use crate::tables::{Fib, Host, Interface, InterfaceKind};

/// A node with the host's stack alone, and no route.
fn node() -> (Worker<MemoryDevice>, Wire) {
    let (v4, v6) = (lpm::Table4::new(), lpm::Table6::new());
    let host = Interface {
        id: InterfaceId::HOST,
        name: "tunl0".into(),
        kind: InterfaceKind::Host,
    };
    let tables = Tables {
        generation: 1,
        interfaces: vec![Some(Arc::new(host))],
        adjacencies: Arc::new(vec![Adjacency::Drop(DropReason::NoRoute)]),
        fib: Fib::new(v4.reader(), v6.reader()),
        policy: Graph::new(Name::new("n").unwrap()).snapshot(),
        nodes: Arc::default(),
        host: Arc::new(Host::default()),
    };
    let tables = Arc::new(ArcSwap::from_pointee(tables));
    let flows = Arc::new(FlowTable::new(flow::Config::default()));
    let events = Arc::new(ArrayQueue::new(64));
    let mut worker = Worker::new(&Config::default(), tables, flows, events);
    let (device, wire) = MemoryDevice::new(Capabilities::OFFLOADS, 64);
    worker.add_device(InterfaceId::HOST, device);
    (worker, wire)
}

fn datagram(port: u16) -> Vec<u8> {
    let ends = Ends::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let header = Repr::new(ends, protocol::UDP, udp::HEADER_LEN);
    let transport = udp::Repr {
        source: port,
        destination: 53,
        payload_len: 0,
        checksum: 0,
    };
    let mut bytes = vec![0; header.buffer_len() + udp::HEADER_LEN];
    header.emit(&mut bytes);
    transport.emit(bytes.last_chunk_mut().unwrap());
    bytes
}

#[test]
fn what_comes_behind_forward_waits_for_the_next_vector() {
    let (mut worker, wire) = node();
    let counters = worker.observer().counters;
    let tables = Arc::clone(worker.tables.load());
    wire.send(Frame::new(datagram(1)));
    worker.devices[0]
        .as_mut()
        .unwrap()
        .receive(&mut worker.core.pool, &mut worker.vector)
        .unwrap();
    worker.enter(&tables, InterfaceId::HOST);
    // As a node behind `forward` would: a packet that is to be looked up, made during the look-up.
    let arrival = Arrival::by(&tables, InterfaceId::HOST).unwrap();
    let mut buffer = worker.core.pool.take().unwrap();
    assert!(buffer.set(&datagram(2)));
    let mut second = Packet::new(buffer, arrival);
    // It went through `flow` before, as another packet.
    second.key = node::flow_key(&crate::packet::Headers::parse(&datagram(1)).unwrap());
    worker.core.spawn(second, NodeId::IpInput);
    worker.finish(&tables);
    assert_eq!(counters.node(NodeId::Flow).value(), 2);
    assert_eq!(counters.dropped(DropReason::NoRoute).value(), 2);
    let pool = &worker.core.pool;
    assert_eq!(pool.available(), pool.limit(), "a buffer vanished");
}

#[test]
fn a_sleeping_worker_knows_when_fragments_expire() {
    let (mut worker, wire) = node();
    assert_eq!(worker.next_timer(), None);
    let mut fragment = datagram(1);
    fragment[6] |= 0x20;
    let sum = encap::checksum::ipv4_header(&fragment[..20]);
    fragment[10..12].copy_from_slice(&sum.to_be_bytes());
    wire.send(Frame::new(fragment));
    worker.mark_ready(InterfaceId::HOST);
    worker.turn(5);
    let due = worker.next_timer().unwrap();
    assert_eq!(due, 5 + encap::reassemble::TIMEOUT_MS);
    let counters = worker.observer().counters;
    worker.tick(due - 1);
    assert_eq!(counters.dropped(DropReason::FragmentTimeout).value(), 0);
    worker.tick(due);
    assert_eq!(counters.dropped(DropReason::FragmentTimeout).value(), 1);
    assert!(counters.balance().holds(), "{:?}", counters.balance());
    assert_eq!(worker.next_timer(), None);
}
