//! Ways to send and to receive tunnel packets, each alone, between two namespaces on a veth: what
//! decided how `vrouter_io` does it.
//!
//! `underlay_methods [--rounds N] [--milliseconds N] [--only TEXT]` as root. The sender is on one
//! core, the receiver on another. Sending is measured towards a MAC address that is nobody's;
//! receiving with the fastest sender there is, so that a receiver has always more than it can
//! take. Super-packets are TCP over IPv4, and are cut and summed for methods that do not take them
//! whole. Units: thousand inner packets a second, and Gbit/s of inner packets.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement ends where something fails"
)]

mod frames;
#[path = "../../tests/namespace/mod.rs"]
mod namespace;
mod sys;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use frames::{Size, VXLAN, cut, outer};
use namespace::Namespace;
use sys::{BATCH, FRAME, PacketRing, PacketSocket, XdpSocket};
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Device, Vector};
use vrouter_io::cpu;
use vrouter_io::ipip::{self, IpipSocket};
use vrouter_io::link::Link;
use vrouter_io::vxlan::{self, VxlanSocket};

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 9, 1], [2, 0, 0, 0, 9, 2]];
const NOBODY: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// A way to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    /// The product's raw socket.
    RawSendmmsg,
    /// The product's VXLAN socket with `UDP_SEGMENT`.
    UdpSendmmsg,
    /// The product's TAP with an eBPF program behind it: IPIP.
    EncapsulatorIpip,
    /// The same for VXLAN.
    EncapsulatorVxlan,
    PacketSendmmsg,
    PacketRing,
    Xdp,
}

/// A way to receive, and the tunnel it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    /// The product's packet socket, with the virtio header, as all on packet sockets.
    PacketRecvmmsg,
    /// The product's VXLAN socket with `UDP_GRO`.
    UdpRecvmmsg,
    RawRecvmmsg,
    PacketRing2,
    PacketRing3,
    Xdp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Send(Out),
    Receive(In),
}

const METHODS: [Method; 13] = [
    Method::Send(Out::RawSendmmsg),
    Method::Send(Out::UdpSendmmsg),
    Method::Send(Out::EncapsulatorIpip),
    Method::Send(Out::EncapsulatorVxlan),
    Method::Send(Out::PacketSendmmsg),
    Method::Send(Out::PacketRing),
    Method::Send(Out::Xdp),
    Method::Receive(In::PacketRecvmmsg),
    Method::Receive(In::UdpRecvmmsg),
    Method::Receive(In::RawRecvmmsg),
    Method::Receive(In::PacketRing2),
    Method::Receive(In::PacketRing3),
    Method::Receive(In::Xdp),
];

#[allow(clippy::large_enum_variant, reason = "there is one")]
enum Sender {
    Ipip(IpipSocket, bool),
    Vxlan(VxlanSocket, bool),
    Packet(PacketSocket),
    Ring(PacketRing),
    Xdp(Box<XdpSocket>),
}

impl Sender {
    fn open(out: Out, a: &Namespace, interface: u32) -> Self {
        let netns = Some(&a.netns);
        match out {
            Out::RawSendmmsg | Out::EncapsulatorIpip => {
                let mut sockets = ipip::open(netns, A, 1500, 1).unwrap();
                let whole = out == Out::EncapsulatorIpip;
                if whole {
                    ipip::segment_in_kernel(&mut sockets, netns, "vr-ipip", interface).unwrap();
                }
                Self::Ipip(sockets.remove(0), whole)
            }
            Out::UdpSendmmsg | Out::EncapsulatorVxlan => {
                let mut sockets = vxlan::open(netns, A.into(), vxlan::PORT, 1).unwrap();
                let whole = out == Out::EncapsulatorVxlan;
                if whole {
                    vxlan::segment_in_kernel(&mut sockets, netns, "vr-vxlan", interface).unwrap();
                }
                Self::Vxlan(sockets.remove(0), whole)
            }
            Out::PacketSendmmsg => {
                let open = || PacketSocket::open(interface, false, false);
                Self::Packet(a.netns.run(open).unwrap().unwrap())
            }
            Out::PacketRing => {
                let open = || PacketRing::transmit(interface);
                Self::Ring(a.netns.run(open).unwrap().unwrap())
            }
            Out::Xdp => {
                let open = || XdpSocket::open(interface, false);
                Self::Xdp(Box::new(a.netns.run(open).unwrap().unwrap()))
            }
        }
    }

    /// Sends until `stop`; inner packets sent.
    fn run(&mut self, size: Size, to_vxlan: bool, mac: [u8; 6], stop: &AtomicBool) -> usize {
        let mut sent = 0;
        match self {
            Self::Ipip(socket, whole) => {
                let mut packets = products(size, *whole, &[]);
                while !stop.load(Ordering::Relaxed) {
                    renew(size, *whole, &[], &mut packets);
                    sent += socket.transmit(&mut packets).sent;
                }
            }
            Self::Vxlan(socket, whole) => {
                let mut packets = products(size, *whole, &VXLAN);
                while !stop.load(Ordering::Relaxed) {
                    renew(size, *whole, &VXLAN, &mut packets);
                    sent += socket.transmit(&mut packets).sent;
                }
            }
            Self::Packet(_) | Self::Ring(_) | Self::Xdp(_) => {
                let inner = size.inner(B);
                let prefix = outer(to_vxlan, [MACS[0], mac], inner.len().min(1450));
                let mut cut_up = Buffer::new();
                let len = cut(&inner, &prefix, &mut cut_up);
                while !stop.load(Ordering::Relaxed) {
                    if size == Size::Super {
                        cut(&inner, &prefix, &mut cut_up);
                        let all: Vec<&[u8]> = cut_up.bytes().chunks(len).collect();
                        let mut at = 0;
                        while at < all.len() && !stop.load(Ordering::Relaxed) {
                            at += self.frames(&all[at..]);
                        }
                        sent += 1;
                    } else {
                        sent += self.frames(&[cut_up.bytes(); BATCH]);
                    }
                }
            }
        }
        sent
    }

    fn frames(&mut self, frames: &[&[u8]]) -> usize {
        match self {
            Self::Packet(socket) => socket.send(frames),
            Self::Ring(ring) => ring.send(frames),
            Self::Xdp(socket) => socket.send(frames),
            Self::Ipip(..) | Self::Vxlan(..) => 0,
        }
    }
}

/// A batch for one of the product's devices.
fn products(size: Size, whole: bool, prefix: &[u8]) -> Vec<Buffer> {
    let count = if size == Size::Super { 4 } else { BATCH };
    let one = || {
        let inner = size.inner(B);
        let mut out = Buffer::new();
        if !whole {
            cut(&inner, prefix, &mut out);
            return out;
        }
        // The VXLAN header goes before a packet that stays whole, too.
        assert!(out.set(inner.bytes()));
        out.meta = inner.meta;
        if !prefix.is_empty() {
            out.prepend(prefix.len()).unwrap().copy_from_slice(prefix);
            out.meta.offload = out.meta.offload.shift(prefix.len() as isize).unwrap();
        }
        out
    };
    std::iter::repeat_with(one).take(count).collect()
}

/// Cutting is part of the work.
fn renew(size: Size, whole: bool, prefix: &[u8], packets: &mut [Buffer]) {
    if size == Size::Super && !whole {
        let inner = size.inner(B);
        for packet in packets {
            cut(&inner, prefix, packet);
        }
    }
}

#[allow(clippy::large_enum_variant, reason = "there is one")]
enum Receiver {
    Ipip(IpipSocket),
    Vxlan(VxlanSocket),
    Raw(PacketSocket),
    Ring2(PacketRing),
    Ring3(PacketRing),
    Xdp(Box<XdpSocket>),
}

impl Receiver {
    fn open(method: In, b: &Namespace, interface: u32) -> Self {
        let netns = Some(&b.netns);
        let ring = |version| {
            let open = || PacketRing::receive(interface, version);
            b.netns.run(open).unwrap().unwrap()
        };
        match method {
            In::PacketRecvmmsg => Self::Ipip(ipip::open(netns, B, 1500, 1).unwrap().remove(0)),
            In::UdpRecvmmsg => Self::Vxlan(
                vxlan::open(netns, B.into(), vxlan::PORT, 1)
                    .unwrap()
                    .remove(0),
            ),
            In::RawRecvmmsg => Self::Raw(b.netns.run(PacketSocket::ipip).unwrap().unwrap()),
            In::PacketRing2 => Self::Ring2(ring(2)),
            In::PacketRing3 => Self::Ring3(ring(3)),
            In::Xdp => {
                let open = || XdpSocket::open(interface, true);
                Self::Xdp(Box::new(b.netns.run(open).unwrap().unwrap()))
            }
        }
    }

    /// Receives until `stop`; packets and bytes, with outer headers where the method gives them.
    fn run(&mut self, stop: &AtomicBool) -> (usize, usize) {
        let (mut packets, mut bytes) = (0, 0);
        let mut pool = Pool::new(256);
        let mut received = Vector::new();
        let mut areas = vec![vec![0; FRAME]; BATCH];
        while !stop.load(Ordering::Relaxed) {
            let mut each = |len: usize| {
                packets += 1;
                bytes += len;
            };
            match self {
                Self::Ipip(socket) => drop(socket.receive(&mut pool, &mut received).unwrap()),
                Self::Vxlan(socket) => drop(socket.receive(&mut pool, &mut received).unwrap()),
                Self::Raw(socket) => socket.receive(&mut areas, &mut each),
                Self::Ring2(ring) => ring.receive2(&mut areas[0], &mut each),
                Self::Ring3(ring) => ring.receive3(&mut areas[0], &mut each),
                Self::Xdp(socket) => socket.receive(&mut areas[0], &mut each),
            }
            for packet in received.drain(..) {
                match usize::from(packet.meta.segment) {
                    0 => each(packet.len()),
                    size => packet
                        .bytes()
                        .chunks(size)
                        .for_each(|part| each(part.len())),
                }
                pool.give(packet);
            }
        }
        (packets, bytes)
    }
}

struct Topology {
    a: Namespace,
    b: Namespace,
    interfaces: [u32; 2],
}

impl Topology {
    fn new() -> Self {
        let [a, b] = ["ua", "ub"].map(Namespace::new);
        a.connect(&b, "eth0", "192.0.2.1/24", "192.0.2.2/24");
        let interfaces = [(&a, MACS[0]), (&b, MACS[1])].map(|(side, mac)| {
            let mac = text(mac);
            side.exec(&format!("ip link set eth0 address {mac}"));
            let link = Link::open_in(&side.netns).unwrap();
            link.expect_interface("eth0").unwrap().index
        });
        Self { a, b, interfaces }
    }

    /// The method's rate, in inner packets a second and Gbit/s; `None` for what it cannot do.
    fn measure(&self, method: Method, size: Size, time: Duration) -> Option<(f64, f64)> {
        let (out, mac, vxlan) = match (method, size) {
            (Method::Send(out), _) => (out, NOBODY, false),
            // Not with single packets: the encapsulator takes only what is unfinished.
            // veth takes no super-packet while there is an XDP program.
            (Method::Receive(In::Xdp), Size::Super) => return None,
            (Method::Receive(In::UdpRecvmmsg), Size::Super) => {
                (Out::EncapsulatorVxlan, MACS[1], true)
            }
            (Method::Receive(In::PacketRecvmmsg | In::RawRecvmmsg), Size::Super) => {
                (Out::EncapsulatorIpip, MACS[1], false)
            }
            (Method::Receive(_), Size::Super) => (Out::EncapsulatorIpip, NOBODY, false),
            (Method::Receive(In::UdpRecvmmsg), _) => (Out::PacketSendmmsg, MACS[1], true),
            (Method::Receive(In::PacketRecvmmsg | In::RawRecvmmsg), _) => {
                (Out::PacketSendmmsg, MACS[1], false)
            }
            (Method::Receive(_), _) => (Out::PacketSendmmsg, NOBODY, false),
        };
        let neighbor = text(mac);
        self.a.exec(&format!(
            "ip neigh replace 192.0.2.2 lladdr {neighbor} dev eth0 nud permanent"
        ));
        let mut receiver = match method {
            Method::Receive(method) => Some(Receiver::open(method, &self.b, self.interfaces[1])),
            Method::Send(_) => None,
        };
        let mut sender = Sender::open(out, &self.a, self.interfaces[0]);
        let stop = AtomicBool::new(false);
        let start = Instant::now();
        let (sent, received) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                cpu::pin(0).unwrap();
                sender.run(size, vxlan, mac, &stop)
            });
            let receiving = scope.spawn(|| {
                cpu::pin(1).unwrap();
                receiver.as_mut().map(|receiver| receiver.run(&stop))
            });
            std::thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
            (sending.join().unwrap(), receiving.join().unwrap())
        });
        let packets = received.map_or(sent, |(packets, _)| packets) as f64;
        let seconds = start.elapsed().as_secs_f64();
        let bits = packets * size.bytes() as f64 * 8.0;
        Some((packets / seconds / 1e3, bits / seconds / 1e9))
    }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.next().and_then(|_| arguments.next())
}

/// Median (least–most).
fn spread(values: &mut [f64], digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return "–".into();
    };
    let median = values[values.len() / 2];
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

fn main() {
    let number = |name, default| option(name).map_or(default, |text| text.parse().unwrap());
    let rounds: usize = number("--rounds", 5);
    let time = Duration::from_millis(number("--milliseconds", 400) as u64);
    let only = option("--only").unwrap_or_default();
    let methods: Vec<Method> = METHODS
        .into_iter()
        .filter(|method| format!("{method:?}").contains(&only))
        .collect();
    let topology = Topology::new();
    let mut figures = vec![[const { Vec::new() }; 3]; methods.len()];
    for _ in 0..rounds {
        for (method, row) in methods.iter().zip(&mut figures) {
            for (size, cell) in Size::ALL.into_iter().zip(row) {
                cell.extend(topology.measure(*method, size, time));
            }
        }
    }
    println!("| method | 60 bytes, k/s | 1,450 bytes, k/s | TCP super-packets, k/s | Gbit/s |");
    println!("|---|---|---|---|---|");
    for (method, row) in methods.iter().zip(&mut figures) {
        let mut cells = row.each_ref().map(|cell| {
            let mut rates: Vec<f64> = cell.iter().map(|(rate, _): &(f64, f64)| *rate).collect();
            spread(&mut rates, 0)
        });
        let mut bits: Vec<f64> = row[2].iter().map(|(_, bits)| *bits).collect();
        println!(
            "| {method:?} | {} | {} |",
            std::mem::take(&mut cells).join(" | "),
            spread(&mut bits, 1)
        );
    }
}
