//! Devices with few packets share a vector: what comes out of it is sent together, in order.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::io;
use std::sync::{Arc, Mutex};

use encap::Family;
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Transmitted, Vector};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::{Frame, MemoryDevice, Wire};
use vrouter_dataplane::worker::{Config, Worker};
use world::packets::{
    ACK, datagrams, ethernet, offloaded_frame, on_the_wire, sums_are_right, tcp, udp,
};
use world::random::Random;
use world::{Mode, Plan, VXLAN4, a4, mac, mutate, pod, underlay, vtep};

/// A device that notes how many packets each of its calls sent.
struct Noting {
    device: MemoryDevice,
    calls: Arc<Mutex<Vec<usize>>>,
}

impl Device for Noting {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        self.device.receive(pool, into)
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        self.calls.lock().unwrap().push(packets.len());
        self.device.transmit(packets)
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }
}

/// A worker with `pods` pods and a tunnel, and what each turn of it sent through the tunnel.
struct Scene {
    worker: Worker<Noting>,
    wires: Vec<(InterfaceId, Wire)>,
    calls: Arc<Mutex<Vec<usize>>>,
}

impl Scene {
    fn new(pods: u8) -> Self {
        Self::of(pods, Capabilities::OFFLOADS)
    }

    fn of(pods: u8, offloads: Capabilities) -> Self {
        let mut plan = Plan::new(1, Mode::Vxlan4);
        plan.workloads = pods;
        let node = plan.build();
        let mut worker = Worker::new(&Config::default(), node.shared, node.flows, node.events);
        let calls = Arc::default();
        let mut wires = Vec::new();
        for id in (1..=pods).map(pod).chain([VXLAN4]) {
            let (capabilities, calls) = if id == VXLAN4 {
                (Capabilities::DATAGRAMS, Arc::clone(&calls))
            } else {
                (offloads, Arc::default())
            };
            let (device, wire) = MemoryDevice::new(capabilities, 1 << 20);
            worker.add_device(id, Noting { device, calls });
            wires.push((id, wire));
        }
        let mut scene = Self {
            worker,
            wires,
            calls,
        };
        scene.worker.turn(1);
        scene
    }

    fn wire(&self, id: InterfaceId) -> &Wire {
        &self.wires.iter().find(|(at, _)| *at == id).unwrap().1
    }

    fn send(&mut self, id: InterfaceId, frame: Frame) {
        self.wire(id).send(frame);
        self.worker.mark_ready(id);
    }

    /// Packets that each call sent through the tunnel in one turn.
    fn turn(&mut self) -> Vec<usize> {
        self.calls.lock().unwrap().clear();
        self.worker.turn(2);
        assert!(self.worker.observer().counters.balance().holds());
        self.calls.lock().unwrap().clone()
    }
}

fn far(pod: u8, payload: &[u8]) -> Frame {
    far_from(pod, 1000, payload)
}

fn far_from(pod: u8, port: u16, payload: &[u8]) -> Frame {
    let packet = udp(a4(1, pod), a4(2, 1), (port, 2000), payload);
    Frame::new(ethernet(mac(1, pod), &packet))
}

#[test]
fn quiet_pods_are_sent_together() {
    let mut scene = Scene::new(40);
    for number in 1..=40 {
        scene.send(pod(number), far(number, &[number]));
    }
    assert_eq!(scene.turn(), [32, 8]);
    let sent: Vec<u8> = scene
        .wire(VXLAN4)
        .drain()
        .iter()
        .flat_map(datagrams)
        .map(|datagram| *datagram.last().unwrap())
        .collect();
    assert_eq!(sent, (1..=40).collect::<Vec<u8>>());
}

#[test]
fn a_busy_pod_does_not_wait_for_others() {
    let mut scene = Scene::new(3);
    for port in 0..40 {
        scene.send(pod(1), far_from(1, port, b"a"));
    }
    scene.send(pod(2), far(2, b"b"));
    scene.send(pod(3), far(3, b"c"));
    assert_eq!(scene.turn(), [40, 2]);
}

#[test]
fn super_packets_do_not_wait_for_others() {
    let mut scene = Scene::new(2);
    let big = tcp(a4(1, 1), a4(2, 1), (4000, 80), 1, ACK, &[1; 40_000]);
    scene.send(pod(1), offloaded_frame(mac(1, 1), big, Some(1400)));
    scene.send(pod(2), far(2, b"b"));
    let calls = scene.turn();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(calls[1], 1);
}

/// A sender hands its datagrams over one by one; they go on as super-packets, and come apart as
/// they were.
#[test]
fn a_pod_s_datagrams_travel_together() {
    let mut random = Random::new(1);
    for _ in 0..200 {
        let mut scene = Scene::new(2);
        let mut sent = vec![Vec::new(); 4];
        for number in 0..=random.below(63) {
            let flow = random.below(4);
            let far = flow % 2 == 1;
            let size = *random.pick(&[1, 64, 64, 64, 700]);
            let payload: Vec<u8> = (0..size).map(|_| number as u8).collect();
            let to = if far { a4(2, 1) } else { a4(1, 2) };
            let packet = udp(a4(1, 1), to, (flow as u16, 2000), &payload);
            let frame = if random.once_in(2) {
                offloaded_frame(mac(1, 1), packet, None)
            } else {
                Frame::new(ethernet(mac(1, 1), &packet))
            };
            sent[flow].push(payload);
            scene.send(pod(1), frame);
        }
        let many = sent.iter().any(|payloads| payloads.len() > 20);
        scene.turn();
        let near = scene.wire(pod(2)).drain();
        let through_tunnel = scene.wire(VXLAN4).drain();
        let total = sent.iter().map(Vec::len).sum::<usize>();
        assert!(!many || near.len() + through_tunnel.len() < total);
        let near = near.iter().flat_map(|frame| on_the_wire(frame, 14));
        let through_tunnel = through_tunnel.iter().flat_map(datagrams);
        let mut got = vec![Vec::new(); 4];
        for frame in near
            .map(|f| f[14..].to_vec())
            .chain(through_tunnel.map(|f| f[22..].to_vec()))
        {
            assert!(sums_are_right(&frame));
            let flow = usize::from(u16::from_be_bytes([frame[20], frame[21]]));
            got[flow].push(frame[28..].to_vec());
        }
        assert_eq!(got, sent);
    }
}

/// Where no device takes UDP super-packets, none are made.
#[test]
fn datagrams_stay_apart_without_uso() {
    let capabilities = Capabilities {
        uso: false,
        ..Capabilities::OFFLOADS
    };
    let mut scene = Scene::of(2, capabilities);
    for n in 0..3 {
        let packet = udp(a4(1, 1), a4(1, 2), (1, 2), &[n]);
        scene.send(pod(1), offloaded_frame(mac(1, 1), packet, None));
    }
    scene.turn();
    assert_eq!(scene.wire(pod(2)).drain().len(), 3);
}

/// Merging sees the tunnel's packets alone, whoever was read before it.
#[test]
fn a_tunnel_s_packets_are_merged_among_themselves() {
    let mut scene = Scene::new(2);
    scene.send(
        pod(2),
        Frame::new(ethernet(
            mac(1, 2),
            &udp(a4(1, 2), a4(1, 1), (1, 2), b"local"),
        )),
    );
    for n in 0..4 {
        let segment = tcp(
            a4(2, 1),
            a4(1, 1),
            (80, 4000),
            1 + n * 1000,
            ACK,
            &[1; 1000],
        );
        let datagram = mutate::vxlan(
            Family::V4,
            vtep(1, Family::V4),
            &[segment],
            Some(underlay(Family::V4, 2)),
        );
        scene.send(VXLAN4, datagram);
    }
    scene.turn();
    let lengths: Vec<usize> = scene
        .wire(pod(1))
        .drain()
        .iter()
        .map(|frame| frame.bytes.len())
        .collect();
    let header = 14 + 20;
    assert_eq!(lengths, [header + 8 + 5, header + 20 + 4000]);
}
