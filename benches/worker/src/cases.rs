//! The kinds of packets that are measured, each with a worker of its own.

use encap::Family;
use vrouter_dataplane::buffer::Meta;
use vrouter_dataplane::device::{Capabilities, VECTOR};
use vrouter_dataplane::events::Event;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::Frame;
use vrouter_dataplane::trace::Step;
use vrouter_dataplane::worker::{Config, Worker};

use crate::repeating::{Change, Repeating};
use crate::world::packets::{ACK, ethernet, fragmentable, offloaded_frame, tcp, udp};
use crate::world::{HOST, IPIP, Mode, Node, Plan, VXLAN4, VXLAN6};
use crate::world::{a4, a6, mac, mutate, pod, underlay, vtep};

/// Flows that frames of one kind belong to: none has two packets in a vector, which would be merged.
const FLOWS: u16 = VECTOR as u16;

/// One kind of packet.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    worker: Worker<Repeating>,
    /// Holds tables, flows and events.
    node: Node,
    arrival: InterfaceId,
    /// Turns are divided by this, where a turn is long.
    share: u64,
    /// Packets in each frame.
    weight: u64,
    now: u64,
    /// Whether anything must come out.
    passes: bool,
}

impl Case {
    fn new(name: &'static str, arrival: InterfaceId, frames: Vec<Frame>) -> Self {
        Self::changing(name, arrival, frames, Change::Same)
    }

    fn changing(
        name: &'static str,
        arrival: InterfaceId,
        frames: Vec<Frame>,
        change: Change,
    ) -> Self {
        let mut plan = Plan::new(1, Mode::Vxlan4);
        if change != Change::Same {
            plan.flows = 1 << 20;
        }
        let node = plan.build();
        let mut worker = Worker::new(
            &Config::default(),
            node.shared.clone(),
            node.flows.clone(),
            node.events.clone(),
        );
        let mut frames = Some(frames);
        for id in [HOST, VXLAN4, VXLAN6, IPIP, pod(1), pod(2), pod(3)] {
            let capabilities = match id {
                VXLAN4 | VXLAN6 | IPIP => Capabilities::DATAGRAMS,
                _ => Capabilities::OFFLOADS,
            };
            let own = if id == arrival { frames.take() } else { None };
            worker.add_device(
                id,
                Repeating::new(own.unwrap_or_default(), change, capabilities),
            );
        }
        Self {
            name,
            worker,
            node,
            arrival,
            share: 1,
            weight: 1,
            now: 1,
            passes: true,
        }
    }

    fn dropped(mut self) -> Self {
        self.passes = false;
        self
    }

    fn share(mut self, share: u64) -> Self {
        self.share = share;
        self
    }

    fn weight(mut self, weight: u64) -> Self {
        self.weight = weight;
        self
    }

    /// Packets that `turns` turns take through the graph.
    pub(crate) fn packets(&self, turns: u64) -> u64 {
        self.turns(turns) * VECTOR as u64 * self.weight
    }

    fn turns(&self, turns: u64) -> u64 {
        (turns / self.share).max(1)
    }

    pub(crate) fn run(&mut self, turns: u64) {
        for turn in 0..self.turns(turns) {
            if turn % 64 == 0 {
                self.now += 1;
            }
            self.worker.mark_ready(self.arrival);
            self.worker.turn(self.now);
        }
    }

    /// The way of one packet, node by node, once its flow is known.
    pub(crate) fn way(&mut self) -> Vec<Step> {
        self.run(1);
        while self.node.events.pop().is_some() {}
        self.worker.trace(Some(self.arrival), 1);
        self.run(1);
        let events = std::iter::from_fn(|| self.node.events.pop());
        let steps = events.filter_map(|event| match event {
            Event::Traced(step) => Some(step),
            Event::Denied(_) | Event::Dropped(_) | Event::DeviceFailed { .. } => None,
        });
        steps.collect()
    }

    /// That what was measured is what the name says.
    pub(crate) fn check(&self) {
        let balance = self.worker.observer().counters.balance();
        assert!(balance.holds(), "{}: {balance:?}", self.name);
        assert_eq!(
            balance.transmitted > 0,
            self.passes,
            "{}: {balance:?}",
            self.name
        );
        // Ports that change all the time happen to be VXLAN's now and then.
        let lost = self.passes && balance.dropped * 1000 > balance.received;
        assert!(!lost, "{}: {balance:?}", self.name);
    }
}

/// With its checksum open, as a pod's kernel leaves it.
fn of_pod(packet: &[u8]) -> Frame {
    offloaded_frame(mac(1, 1), packet.to_vec(), None)
}

fn datagrams(inner: &[Vec<u8>]) -> Frame {
    let remote = Some(underlay(Family::V4, 2));
    mutate::vxlan(Family::V4, vtep(1, Family::V4), inner, remote)
}

fn bare(packet: Vec<u8>) -> Frame {
    let meta = Meta {
        remote: Some(underlay(Family::V4, 2)),
        ..Meta::default()
    };
    Frame {
        bytes: packet,
        meta,
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let (a, b, far) = (a4(1, 1), a4(1, 2), a4(2, 1));
    let flows = |from, to, length: usize| -> Vec<Vec<u8>> {
        (0..FLOWS)
            .map(|port| udp(from, to, (1000 + port, 53), &vec![1; length]))
            .collect()
    };
    let one_flow = |to| vec![of_pod(&udp(a, to, (1000, 53), &[1; 64]))];
    let of_pods = |packets: &[Vec<u8>]| packets.iter().map(|p| of_pod(p)).collect::<Vec<_>>();
    let segments: Vec<_> = (0..40)
        .map(|i| tcp(far, a, (80, 4000), 1 + i * 1400, ACK, &[1; 1400]))
        .collect();
    let super_packet = |to| {
        let packet = tcp(a, to, (4000, 80), 1, ACK, &vec![1; 42 * 1400]);
        vec![offloaded_frame(mac(1, 1), packet, Some(1400))]
    };
    let whole = udp(a, b, (1, 2), &[1; 2000]);
    let to_cut = fragmentable(udp(a, b, (1, 2), &[1; 1460]));
    vec![
        Case::new("device only", pod(3), vec![of_pod(&flows(a, b, 64)[0])]).dropped(),
        Case::new(
            "hit, pod to pod, 64 bytes",
            pod(1),
            of_pods(&flows(a, b, 64)),
        ),
        Case::new(
            "hit, pod to pod, IPv6",
            pod(1),
            of_pods(&flows(a6(1, 1), a6(1, 2), 64)),
        ),
        Case::new(
            "hit, pod to pod, 1400 bytes",
            pod(1),
            of_pods(&flows(a, b, 1400)),
        ),
        Case::new("hit, pod to pod, one flow, merged", pod(1), one_flow(b)),
        Case::new("super-packet, pod to pod", pod(1), super_packet(b)).share(10),
        Case::changing(
            "miss, pod to pod",
            pod(1),
            vec![of_pod(&flows(a, b, 64)[0])],
            Change::Port(34),
        )
        .share(10),
        Case::new("VXLAN out, 64 bytes", pod(1), of_pods(&flows(a, far, 64))),
        Case::new("VXLAN out, one flow, merged", pod(1), one_flow(far)),
        Case::new(
            "VXLAN out, 1400 bytes",
            pod(1),
            of_pods(&flows(a, far, 1400)),
        ),
        Case::new(
            "VXLAN out, super-packet's segment",
            pod(1),
            super_packet(far),
        )
        .share(10)
        .weight(42),
        Case::new(
            "VXLAN in, 64 bytes, own buffers",
            VXLAN4,
            flows(far, a, 64)
                .into_iter()
                .map(|p| datagrams(&[p]))
                .collect(),
        ),
        Case::new(
            "VXLAN in, TCP 1400, own buffers",
            VXLAN4,
            segments
                .iter()
                .map(|p| datagrams(std::slice::from_ref(p)))
                .collect(),
        ),
        Case::new(
            "VXLAN in, TCP 1400, in trains",
            VXLAN4,
            vec![datagrams(&segments)],
        )
        .share(10)
        .weight(40),
        Case::new(
            "IPIP in, TCP 1400, own buffers",
            IPIP,
            segments.iter().cloned().map(bare).collect(),
        ),
        Case::new(
            "fragment, joined and cut again",
            pod(1),
            mutate::fragments(&whole, 1200)
                .iter()
                .map(|p| Frame::new(ethernet(mac(1, 1), p)))
                .collect(),
        ),
        Case::new("cut in two", pod(1), vec![of_pod(&to_cut)]),
        Case::new(
            "drop, spoofed source",
            pod(1),
            vec![of_pod(&flows(b, a, 64)[0])],
        )
        .dropped(),
        Case::new(
            "drop, blackhole",
            pod(1),
            vec![of_pod(&flows(a, a4(1, 77), 64)[0])],
        )
        .dropped(),
    ]
}
