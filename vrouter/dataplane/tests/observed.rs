//! What is seen of packets from outside: samples of lost ones, the way of marked ones, and devices
//! wrapped to be watched or to fail.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::cell::RefCell;
use std::rc::Rc;

use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{
    Capabilities, Chances, Device, FaultInjector, LinkType, Passage, PcapWriter, Tracer,
};
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::events::{Denial, Event};
use vrouter_dataplane::graph::{Next, NodeId};
use vrouter_dataplane::memory::{Frame, MemoryDevice};
use vrouter_dataplane::trace::Step;

use world::packets::{echo, ethernet, udp};
use world::{Mode, Node, Plan, a4, mac, pod};

fn samples(node: &Node) -> Vec<Denial> {
    let events = std::iter::from_fn(|| node.events.pop());
    let samples = events.filter_map(|event| match event {
        Event::Dropped(sample) => Some(sample),
        Event::Denied(_) | Event::Traced(_) | Event::DeviceFailed { .. } => None,
    });
    samples.collect()
}

fn steps(node: &Node) -> Vec<Step> {
    let events = std::iter::from_fn(|| node.events.pop());
    let steps = events.filter_map(|event| match event {
        Event::Traced(step) => Some(step),
        Event::Denied(_) | Event::Dropped(_) | Event::DeviceFailed { .. } => None,
    });
    steps.collect()
}

#[test]
fn every_reason_is_sampled_and_a_flood_is_not_told_packet_by_packet() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let spoofed = udp(a4(1, 2), a4(2, 1), (7, 8), b"x");
    for _ in 0..50 {
        node.pod_sends(1, &spoofed);
    }
    let short = Frame::new(vec![1; 10]);
    node.pass(pod(1), short);
    let told = samples(&node);
    let reasons: Vec<_> = told.iter().map(|sample| sample.reason).collect();
    assert_eq!(
        reasons,
        [DropReason::SpoofedSource, DropReason::EthernetTruncated]
    );
    let tuple = told[0].tuple.unwrap();
    assert_eq!((tuple.source, tuple.destination_port), (a4(1, 2), 8));
    assert_eq!(told[0].arrival, Some(pod(1)));
    assert_eq!(told[1].tuple, None);
    // Later there is another sample.
    node.now += 1000;
    node.pod_sends(1, &spoofed);
    assert_eq!(samples(&node).len(), 1);
}

#[test]
fn what_policy_refused_is_told_once() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    node.pod_sends(1, &udp(a4(1, 1), a4(1, 77), (7, 8), b"x"));
    let mut denied = 0;
    while let Some(event) = node.events.pop() {
        match event {
            Event::Denied(_) => denied += 1,
            Event::Dropped(_) | Event::Traced(_) | Event::DeviceFailed { .. } => {
                panic!("{event:?}")
            }
        }
    }
    assert_eq!(denied, 1);
}

#[test]
fn a_marked_packet_is_told_node_by_node_and_no_other() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let packet = udp(a4(1, 1), a4(2, 1), (7, 8), b"x");
    node.pod_sends(2, &udp(a4(1, 2), a4(2, 1), (7, 8), b"x"));
    assert_eq!(steps(&node), []);
    node.worker.trace(Some(pod(1)), 1);
    node.pod_sends(2, &udp(a4(1, 2), a4(2, 1), (7, 9), b"x"));
    node.pod_sends(1, &packet);
    node.pod_sends(1, &packet);
    let told = steps(&node);
    let way: Vec<_> = told.iter().map(|step| step.node.name()).collect();
    let expected = "ethernet-input ip-input flow classify forward tunnel-output transmit";
    assert_eq!(way.join(" "), expected);
    assert!(told.iter().all(|step| step.mark == told[0].mark));
    assert_eq!(told[1].next, Next::To(NodeId::Merge));
    assert_eq!(
        told[1].to_string(),
        "#1 ip-input (10.65.1.1:7 > 10.65.2.1:8 udp ttl 60 length 29) ─▶ merge"
    );
    // What is made from a marked packet is marked.
    node.worker.trace(Some(pod(1)), 1);
    let gateway = [169, 254, 1, 1].into();
    node.pod_sends(1, &echo(a4(1, 1), gateway, 9, false, b"ping"));
    let told = steps(&node);
    assert_eq!(told.last().unwrap().node, NodeId::Transmit);
    assert_eq!(told.first().unwrap().mark.get(), 2);
    assert_eq!(told.last().unwrap().mark.get(), 2);
}

#[test]
fn a_tracer_shows_and_captures_both_ways() {
    let (device, wire) = MemoryDevice::new(Capabilities::OFFLOADS, 8);
    let capture = Rc::new(RefCell::new(
        PcapWriter::new(Vec::new(), LinkType::Ethernet).unwrap(),
    ));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (file, ways) = (Rc::clone(&capture), Rc::clone(&seen));
    let mut traced = Tracer::new(device, move |way: Passage, buffer: &Buffer| {
        ways.borrow_mut().push((way, buffer.len()));
        file.borrow_mut().write(1_500_000, buffer.bytes()).unwrap();
    });
    let frame = ethernet(mac(1, 1), &udp(a4(1, 1), a4(1, 2), (1, 2), b"abc"));
    wire.send(Frame::new(frame.clone()));
    let (mut pool, mut vector) = (Pool::new(4), Vec::new());
    assert!(traced.receive(&mut pool, &mut vector).unwrap());
    assert_eq!(traced.transmit(&mut vector).sent, 1);
    assert_eq!(
        *seen.borrow(),
        [
            (Passage::Received, frame.len()),
            (Passage::Transmitted, frame.len())
        ]
    );
    assert_eq!(wire.take().unwrap().bytes, frame);
    drop(traced);
    let bytes = Rc::into_inner(capture).unwrap().into_inner().into_inner();
    assert_eq!(bytes.len(), 24 + 2 * (16 + frame.len()));
    assert_eq!(bytes[..4], 0xa1b2_c3d4u32.to_le_bytes());
    assert_eq!(bytes[24..32], [1, 0, 0, 0, 0x20, 0xa1, 7, 0]);
}

#[test]
fn a_bad_link_loses_and_damages_and_the_law_holds() {
    let (device, wire) = MemoryDevice::new(Capabilities::OFFLOADS, 1000);
    let mut state = 1u32;
    let random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let chances = Chances {
        loss: 64,
        damage: 64,
    };
    let mut bad = FaultInjector::new(device, chances, random);
    let (mut pool, mut vector) = (Pool::new(1024), Vec::new());
    let frame = vec![0; 100];
    let (mut received, mut damaged) = (0, 0);
    for _ in 0..10 {
        (0..60).for_each(|_| wire.send(Frame::new(frame.clone())));
        bad.receive(&mut pool, &mut vector).unwrap();
        received += vector.len();
        damaged += vector.iter().filter(|b| b.bytes() != frame).count();
        let done = bad.transmit(&mut vector);
        assert_eq!(done.sent, vector.len());
        vector.drain(..).for_each(|buffer| pool.give(buffer));
    }
    assert_eq!(pool.available(), pool.limit());
    assert!((400..500).contains(&received), "{received}");
    assert!((60..160).contains(&damaged), "{damaged}");
    let sent = wire.drain().len();
    assert!(
        sent < received && sent > received / 2,
        "{sent} of {received}"
    );
}
