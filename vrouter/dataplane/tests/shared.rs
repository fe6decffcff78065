//! Workloads behind one device, as on veths: every packet fares as behind a device of its own.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use encap::Family;
use encap::ethernet::HEADER_LEN;
use vrouter_dataplane::adjacency::GATEWAY_MAC;
use vrouter_dataplane::device::interface_mac;
use vrouter_dataplane::drop::{ConsumeReason, DropReason};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::Frame;
use world::mutate::Mutator;
use world::packets::{ethernet, udp};
use world::{Mode, Node, Plan, ROUTER, VXLAN4, a4, address, mac, one, pod};

fn node(mode: Mode, shared: bool) -> Node {
    let plan = Plan {
        shared,
        ..Plan::new(1, mode)
    };
    plan.build()
}

#[test]
fn random_frames_fare_alike() {
    for mode in Mode::ALL {
        let (mut own, mut shared) = (node(mode, false), node(mode, true));
        let mut mutator = Mutator::new(7);
        for _ in 0..4_000 {
            let (id, frame) = mutator.next();
            // The kernel's program drops what is cut short or for another, and says no more of a group.
            let is_ours = frame.bytes.first_chunk() == Some(&GATEWAY_MAC);
            if id > ROUTER && (!is_ours || frame.bytes.len() < HEADER_LEN) {
                continue;
            }
            let [own_out, shared_out] = [&mut own, &mut shared].map(|node| {
                let mut out = node.pass(id, frame.clone());
                out.sort_by_key(|(id, _)| *id);
                format!("{out:?}")
            });
            assert_eq!(own_out, shared_out);
        }
        assert_eq!(own.drops(), shared.drops());
        assert!(own.counters().balance().transmitted > 500);
        let count = |node: &Node| {
            let counters = node.counters();
            [1, 2].map(|number| {
                let of = counters.interface(pod(number));
                [&of.rx_packets, &of.rx_bytes, &of.tx_packets, &of.tx_bytes].map(|it| it.value())
            })
        };
        assert_eq!(count(&own), count(&shared));
    }
}

#[test]
fn a_vector_of_several_workloads_is_told_apart() {
    let mut node = node(Mode::Vxlan4, true);
    let here = |number| address(Family::V4, 1, number);
    // A session each, so that all later packets are of known flows.
    for (number, ports) in [(1, (1, 9)), (2, (2, 9))] {
        let packet = udp(here(number), a4(2, 1), ports, b"first");
        one(node.pod_sends(number, &packet), VXLAN4);
    }
    for number in [1, 1, 2, 2, 1, 2] {
        let packet = udp(here(number), a4(2, 1), (number.into(), 9), b"data");
        node.send(pod(number), Frame::new(ethernet(mac(1, number), &packet)));
    }
    node.settle();
    let counters = node.counters();
    for number in [1, 2] {
        assert_eq!(counters.interface(pod(number)).rx_packets.value(), 4);
    }
    // Pairs that came one after the other.
    assert_eq!(counters.consumed(ConsumeReason::Coalesced).value(), 2);
    assert_eq!(node.drops(), []);
}

#[test]
fn who_names_anothers_interface_is_a_spoofer() {
    let mut node = node(Mode::Vxlan4, true);
    let packet = udp(a4(1, 1), a4(1, 2), (1, 2), b"x");
    let frame = Frame::new(ethernet(mac(1, 1), &packet));
    assert!(node.pass(pod(2), frame).is_empty());
    assert_eq!(node.dropped(DropReason::SpoofedMac), 1);
}

#[test]
fn a_frame_that_names_no_workload_is_dropped_by_name() {
    let mut node = node(Mode::Vxlan4, true);
    let packet = udp(a4(1, 1), a4(1, 2), (1, 2), b"x");
    let strangers = [0, 1, 4, 5, 8, 4095, u16::MAX].map(|id| interface_mac(InterfaceId(id)));
    for (destination, count) in strangers.into_iter().chain([[0xff; 6]]).zip(1..) {
        let mut bytes = ethernet(mac(1, 1), &packet);
        bytes[..6].copy_from_slice(&destination);
        node.wire(ROUTER).send(Frame::new(bytes));
        node.worker.mark_ready(ROUTER);
        node.settle();
        assert!(node.drain().is_empty());
        assert_eq!(node.dropped(DropReason::InterfaceUnnamed), count);
    }
    // One that goes is no stranger's, and nothing goes out to it.
    node.worker.remove_device(pod(2));
    assert!(node.pod_sends(1, &packet).is_empty());
    assert_eq!(node.dropped(DropReason::InterfaceDown), 1);
    node.worker.share_device(pod(2));
    one(node.pod_sends(1, &packet), pod(2));
}
