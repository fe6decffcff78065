//! Two whole nodes, two workloads each with smoltcp's TCP, and an underlay that loses, reorders
//! and duplicates: what arrives is what was sent.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::collections::VecDeque;

use encap::Family;
use encap::segment::Plan as Segments;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::{Frame, Wire};
use vrouter_dataplane::tables::{GATEWAY_V4, GATEWAY_V6};
use world::random::Random;
use world::{HOST, Mode, Node, Plan, address, arriving, mac, pod, underlay};

/// A workload's link as smoltcp sees it: frames on a wire, super-packets cut on the way in.
struct Link {
    wire: Wire,
    inbound: VecDeque<Vec<u8>>,
    mtu: usize,
    own: [u8; 4],
}

struct Inbound(Vec<u8>);
struct Outbound<'a>(&'a Wire, [u8; 4]);

impl phy::RxToken for Inbound {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Outbound<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        // smoltcp asks for its gateway from the address on the gateway's network.
        if bytes[12..14] == [8, 6] {
            bytes[28..32].copy_from_slice(&self.1);
        }
        self.0.send(Frame::new(bytes));
        result
    }
}

impl phy::Device for Link {
    type RxToken<'a> = Inbound;
    type TxToken<'a> = Outbound<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Inbound, Outbound<'_>)> {
        while let Some(frame) = self.wire.take() {
            let plan = Segments::new(&frame.bytes, 14, frame.meta.offload).unwrap();
            for i in 0..plan.count() {
                let mut out = vec![0; plan.segment_len(i)];
                plan.write(i, &frame.bytes, &mut out).unwrap();
                assert!(out.len() <= self.mtu + 14, "larger than the link");
                self.inbound.push_back(out);
            }
        }
        let frame = self.inbound.pop_front()?;
        Some((Inbound(frame), Outbound(&self.wire, self.own)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outbound<'_>> {
        Some(Outbound(&self.wire, self.own))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        // Both ways: what arrives with a wrong sum is thrown away, and would be seen as loss.
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

/// A workload with one TCP connection.
struct Stack {
    link: Link,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    to_send: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
}

impl Stack {
    fn new(node: &Node, number: u8, family: Family, seed: u64) -> Self {
        let wire = node.wire(pod(number)).clone();
        let mtu = usize::from(node.mode.mtu());
        let mut link = Link {
            wire,
            inbound: VecDeque::new(),
            mtu,
            own: [10, 65, node.number, number],
        };
        let mac = EthernetAddress(mac(node.number, number));
        let mut config = smoltcp::iface::Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut link, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // As in a workload, its own prefix is one address long. smoltcp believes a gateway
            // only on a network of its own, hence the second one, which nothing is sent from.
            let (len, link) = match family {
                Family::V4 => (32, "169.254.1.2/24"),
                Family::V6 => (128, "fe80::1/64"),
            };
            let own = address(family, node.number, number).into();
            addresses.push(IpCidr::new(own, len)).unwrap();
            addresses.push(link.parse().unwrap()).unwrap();
        });
        let routes = interface.routes_mut();
        routes.add_default_ipv4_route(GATEWAY_V4).unwrap();
        routes.add_default_ipv6_route(GATEWAY_V6).unwrap();
        let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 16]);
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        let mut random = Random::new(seed);
        Self {
            link,
            interface,
            sockets,
            handle,
            to_send: random.bytes(1 << 20),
            sent: 0,
            received: Vec::new(),
        }
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn poll(&mut self, now: u64) {
        let at = Instant::from_millis(i64::try_from(now).unwrap());
        self.interface.poll(at, &mut self.link, &mut self.sockets);
        let socket: &mut tcp::Socket<'_> = self.sockets.get_mut(self.handle);
        if socket.may_send() && self.sent < self.to_send.len() {
            self.sent += socket.send_slice(&self.to_send[self.sent..]).unwrap_or(0);
            if self.sent == self.to_send.len() {
                socket.close();
            }
        }
        while socket.can_recv() {
            let received = &mut self.received;
            let _ = socket.recv(|bytes| {
                received.extend_from_slice(bytes);
                (bytes.len(), ())
            });
        }
        self.interface.poll(at, &mut self.link, &mut self.sockets);
    }
}

/// What the underlay does to datagrams.
struct Underlay {
    random: Random,
    /// On their way: when they arrive, at which node, by which interface.
    flying: Vec<(u64, usize, InterfaceId, Frame)>,
    lost: u64,
    doubled: u64,
}

impl Underlay {
    fn take(&mut self, now: u64, to: usize, id: InterfaceId, frame: &Frame) {
        if self.random.once_in(100) {
            self.lost += 1;
            return;
        }
        let copies = 1 + usize::from(self.random.once_in(100));
        self.doubled += copies as u64 - 1;
        for _ in 0..copies {
            // One in fifty takes a way that is longer, and arrives behind others.
            let delay = if self.random.once_in(50) { 12 } else { 5 };
            self.flying.push((now + delay, to, id, frame.clone()));
        }
    }

    /// Splits a train: each datagram has its own fate, and UDP's receive coalescing is played by
    /// handing runs of equal size over together.
    fn carry(&mut self, now: u64, nodes: &mut [Node; 2], from: usize, mode: Mode) {
        let id = mode.interface();
        let family = match mode {
            Mode::Vxlan6 => Family::V6,
            Mode::Vxlan4 | Mode::Ipip | Mode::Routed => Family::V4,
        };
        for frame in nodes[from].wire(id).drain() {
            let mut sent = arriving(&frame, underlay(family, from as u8 + 1));
            if mode == Mode::Routed {
                // The host's own interface segments what it is given.
                sent.meta.remote = None;
                for packet in world::packets::on_the_wire(&frame, 0) {
                    sent.bytes = packet;
                    self.take(now, 1 - from, id, &sent);
                }
                continue;
            }
            assert_eq!(frame.meta.remote, Some(underlay(family, 2 - from as u8)));
            for datagram in world::packets::datagrams(&frame) {
                sent.bytes = datagram;
                sent.meta.segment = 0;
                self.take(now, 1 - from, id, &sent);
            }
        }
    }

    fn deliver(&mut self, now: u64, nodes: &mut [Node; 2]) {
        let mut train: Option<(usize, InterfaceId, Frame)> = None;
        let mut still = Vec::new();
        for (at, to, id, frame) in self.flying.drain(..) {
            if at > now {
                still.push((at, to, id, frame));
                continue;
            }
            let coalesces = !matches!(id, HOST | world::IPIP);
            if let Some((last_to, last_id, last)) = &mut train
                && coalesces
                && (*last_to, *last_id) == (to, id)
                && last.meta.remote == frame.meta.remote
                && (last.meta.segment == 0
                    || last.bytes.len() % usize::from(last.meta.segment) == 0)
                && last.bytes.len() + frame.bytes.len() < 60_000
            {
                let each = match last.meta.segment {
                    0 => last.bytes.len(),
                    each => each.into(),
                };
                if frame.bytes.len() <= each {
                    last.meta.segment = each as u16;
                    last.bytes.extend(&frame.bytes);
                    continue;
                }
            }
            if let Some((to, id, frame)) = train.replace((to, id, frame)) {
                nodes[to].send(id, frame);
            }
        }
        if let Some((to, id, frame)) = train {
            nodes[to].send(id, frame);
        }
        self.flying = still;
    }
}

/// Two connections across the nodes, one begun from each, each moving a mebibyte both ways.
fn exchange(mode: Mode, family: Family, seed: u64) {
    let mut nodes = [1, 2].map(|number| Plan::new(number, mode).build());
    // Pairs of (node, workload): client, server.
    let pairs = [((0, 1), (1, 1)), ((1, 2), (0, 2))];
    let mut stacks: Vec<Vec<Stack>> = (0..2)
        .map(|n| {
            (1..=2)
                .map(|p| Stack::new(&nodes[n], p, family, seed + 10 * n as u64 + u64::from(p)))
                .collect()
        })
        .collect();
    for (client, server) in pairs {
        stacks[server.0][server.1 as usize - 1]
            .socket()
            .listen(80)
            .unwrap();
        let to = address(family, server.0 as u8 + 1, server.1);
        let stack = &mut stacks[client.0][client.1 as usize - 1];
        let context = stack.interface.context();
        let socket: &mut tcp::Socket<'_> = stack.sockets.get_mut(stack.handle);
        let from = address(family, client.0 as u8 + 1, client.1);
        socket.connect(context, (to, 80), (from, 40_000)).unwrap();
    }
    let mut underlay = Underlay {
        random: Random::new(seed),
        flying: Vec::new(),
        lost: 0,
        doubled: 0,
    };
    let mut now = 1;
    loop {
        for (node, stacks) in nodes.iter_mut().zip(&mut stacks) {
            node.now = now;
            for (number, stack) in (1..).zip(stacks.iter_mut()) {
                stack.poll(now);
                node.worker.mark_ready(pod(number));
            }
            node.settle();
        }
        for from in 0..2 {
            underlay.carry(now, &mut nodes, from, mode);
        }
        underlay.deliver(now, &mut nodes);
        for node in &mut nodes {
            node.settle();
        }
        let done = |stack: &Stack| stack.received.len() >= 1 << 20;
        if stacks.iter().flatten().all(done) {
            break;
        }
        now += 1;
        assert!(
            now < 40_000,
            "no end in sight: {:?}",
            nodes.each_ref().map(Node::drops)
        );
    }
    for (client, server) in pairs {
        let client = &stacks[client.0][client.1 as usize - 1];
        let server = &stacks[server.0][server.1 as usize - 1];
        assert!(client.to_send == server.received, "client to server");
        assert!(server.to_send == client.received, "server to client");
    }
    assert!(underlay.lost > 10 && underlay.doubled > 10);
    for node in &nodes {
        node.check();
        // Nothing was dropped but by the underlay, and what smoltcp says to all routers.
        for (name, count) in node.drops() {
            assert!(
                matches!(name, "multicast" | "nd-unanswered"),
                "{count} {name}"
            );
        }
    }
}

#[test]
fn across_vxlan() {
    exchange(Mode::Vxlan4, Family::V4, 1);
    exchange(Mode::Vxlan4, Family::V6, 2);
}

#[test]
fn across_vxlan_over_ipv6() {
    exchange(Mode::Vxlan6, Family::V4, 3);
    exchange(Mode::Vxlan6, Family::V6, 4);
}

#[test]
fn across_ipip() {
    exchange(Mode::Ipip, Family::V4, 5);
}

#[test]
fn routed_by_the_host() {
    exchange(Mode::Routed, Family::V4, 6);
    exchange(Mode::Routed, Family::V6, 7);
}
