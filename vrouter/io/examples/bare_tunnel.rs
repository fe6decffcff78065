//! What the devices give without a router between them: TUN → tunnel socket → TUN over a veth, one
//! thread a node, no lookup and no policy. The upper bound for `vrouterd` across two nodes.
//!
//! `bare_tunnel vxlan|ipip|ipip-kernel [--offloads off] [--gro on] [--spin MICROSECONDS] [--seconds N]` as root.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement ends where something fails"
)]

#[path = "../tests/namespace/mod.rs"]
mod namespace;

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use encap::coalesce::{Fate, Growing, InPlace, Rules, Span, vector};
use encap::offload::Offload;
use encap::segment::Plan;
use namespace::Namespace;
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Device, Transmitted, Vector};
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::any::AnyDevice;
use vrouter_io::link::Link;
use vrouter_io::poller::Poller;
use vrouter_io::{ipip, tun, vxlan};

const TUN: InterfaceId = InterfaceId(0);
const UNDERLAY: InterfaceId = InterfaceId(1);

/// VXLAN and Ethernet headers before an inner packet, or nothing.
fn prefix(kind: &str) -> &'static [u8] {
    const VXLAN: [u8; 22] = [
        8, 0, 0, 0, 0, 16, 0, 0, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
    ];
    if kind == "vxlan" { &VXLAN } else { &[] }
}

/// A packet out of the tunnel.
struct Inner(Buffer);

impl Growing for Inner {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    fn offload(&self) -> Offload {
        self.0.meta.offload
    }

    fn append(&mut self, payload: &[u8]) -> bool {
        self.0.append(payload)
    }
}

#[derive(Debug, Default)]
struct Counts {
    out: Transmitted,
    into: Transmitted,
    turns: usize,
}

struct Node {
    tun: AnyDevice,
    underlay: AnyDevice,
    peer: IpAddr,
    prefix: &'static [u8],
    pool: Pool,
    received: Vector,
    ready: Vector,
    counts: Counts,
}

impl Node {
    /// TUN to tunnel; whether anything came.
    fn encapsulate(&mut self) -> bool {
        self.tun
            .receive(&mut self.pool, &mut self.received)
            .unwrap();
        let came = !self.received.is_empty();
        for mut packet in self.received.drain(..) {
            let offload = packet.meta.offload;
            if offload.gso().is_some() && self.underlay.capabilities().tso {
                packet.meta.remote = Some(self.peer);
                self.ready.push(packet);
                continue;
            }
            if offload.gso().is_none() {
                encap::checksum::complete(packet.bytes_mut(), offload).unwrap();
                packet
                    .prepend(self.prefix.len())
                    .unwrap()
                    .copy_from_slice(self.prefix);
                packet.meta.remote = Some(self.peer);
                self.ready.push(packet);
                continue;
            }
            let plan = Plan::new(packet.bytes(), 0, offload).unwrap();
            let mut first = 0;
            while first < plan.count() {
                let batch = plan.batch(first, self.prefix.len(), 64, 65_000);
                first = batch.end;
                let Some(mut buffer) = self.pool.take() else {
                    break;
                };
                let several = batch.len() > 1;
                let out = buffer.blank();
                let written = plan
                    .write_all(batch, packet.bytes(), self.prefix, out)
                    .unwrap();
                buffer.received(written.bytes);
                buffer.meta.remote = Some(self.peer);
                buffer.meta.segment = if several {
                    written.segment_size as u16
                } else {
                    0
                };
                self.ready.push(buffer);
            }
            self.pool.give(packet);
        }
        add(
            &mut self.counts.out,
            self.underlay.transmit(&mut self.ready),
        );
        self.ready.drain(..).for_each(|done| self.pool.give(done));
        came
    }

    /// Tunnel to TUN; whether anything came.
    fn decapsulate(&mut self) -> bool {
        self.underlay
            .receive(&mut self.pool, &mut self.received)
            .unwrap();
        let came = !self.received.is_empty();
        let mut spans: Vec<Span> = Vec::new();
        let mut inner: Vec<Inner> = Vec::new();
        for mut packet in self.received.drain(..) {
            let skip = self.prefix.len();
            if packet.meta.segment == 0 {
                if packet.strip(skip) {
                    inner.push(Inner(packet));
                }
                continue;
            }
            let size = usize::from(packet.meta.segment);
            let mut merge = InPlace::new(Rules::TCP_AND_UDP);
            let (mut at, end) = (0, packet.len());
            while at < end {
                let next = end.min(at + size);
                let span = Span {
                    range: at + skip..next,
                    offload: Offload::None,
                };
                spans.extend(merge.push(packet.bytes_mut(), span));
                at = next;
            }
            spans.extend(merge.finish(packet.bytes_mut()));
            for span in spans.drain(..) {
                let Some(mut buffer) = self.pool.take() else {
                    break;
                };
                assert!(buffer.set(&packet.bytes()[span.range]));
                buffer.meta.offload = span.offload;
                self.ready.push(buffer);
            }
            self.pool.give(packet);
        }
        let mut fates = vec![Fate::Absorbed; inner.len()];
        vector(&mut inner, Rules::TCP_AND_UDP, &mut fates);
        for (Inner(mut packet), fate) in inner.into_iter().zip(fates) {
            match fate {
                Fate::Kept(offload) => {
                    packet.meta.offload = offload;
                    self.ready.push(packet);
                }
                Fate::Absorbed => self.pool.give(packet),
            }
        }
        add(&mut self.counts.into, self.tun.transmit(&mut self.ready));
        self.ready.drain(..).for_each(|done| self.pool.give(done));
        came
    }

    fn run(mut self, mut poller: Poller, stop: &AtomicBool, spin: Duration) -> Counts {
        poller.register(TUN, self.tun.as_raw_fd()).unwrap();
        poller
            .register(UNDERLAY, self.underlay.as_raw_fd())
            .unwrap();
        let mut busy_until = Instant::now() + spin;
        while !stop.load(Ordering::Relaxed) {
            self.counts.turns += 1;
            let came = self.encapsulate() | self.decapsulate();
            if came {
                busy_until = Instant::now() + spin;
            } else if Instant::now() >= busy_until {
                poller
                    .wait(Some(Duration::from_millis(500)))
                    .unwrap()
                    .for_each(drop);
            }
        }
        self.counts
    }
}

fn add(sum: &mut Transmitted, more: Transmitted) {
    sum.sent += more.sent;
    sum.bytes += more.bytes;
    sum.full += more.full;
    sum.refused += more.refused;
}

fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.next().and_then(|_| arguments.next())
}

fn main() {
    let kind = std::env::args().nth(1).unwrap_or_else(|| "vxlan".into());
    let spin = Duration::from_micros(option("--spin").map_or(50, |text| text.parse().unwrap()));
    let seconds = option("--seconds").unwrap_or_else(|| "4".into());
    let [a, b] = ["ta", "tb"].map(Namespace::new);
    a.connect(&b, "eth0", "192.0.2.1/24", "192.0.2.2/24");
    for side in [&a, &b] {
        if option("--offloads").as_deref() == Some("off") {
            side.exec("ethtool -K eth0 tso off gso off gro off tx-udp-segmentation off");
        }
        if option("--gro").as_deref() == Some("on") {
            side.exec("ethtool -K eth0 gro on");
        }
    }
    a.exec("ping -c 1 192.0.2.2");
    let stop = Arc::new(AtomicBool::new(false));
    let mtu = if kind == "vxlan" { 1450 } else { 1480 };
    let mut threads = Vec::new();
    for (side, number) in [(&a, 1), (&b, 2)] {
        let tun = tun::open(Some(&side.netns), "tunl0", 1, mtu)
            .unwrap()
            .remove(0);
        side.exec(&format!("ip addr add 10.9.0.{number}/24 dev tunl0"));
        side.exec("ip link set tunl0 up");
        let address = std::net::Ipv4Addr::new(192, 0, 2, number);
        let underlay = if kind == "vxlan" {
            let sockets = vxlan::open(Some(&side.netns), address.into(), vxlan::PORT, 1);
            AnyDevice::Vxlan(Box::new(sockets.unwrap().remove(0)))
        } else {
            let mut sockets = ipip::open(Some(&side.netns), address, 1500, 1).unwrap();
            if kind == "ipip-kernel" {
                let link = Link::open_in(&side.netns).unwrap();
                let underlay = link.expect_interface("eth0").unwrap().index;
                let netns = Some(&side.netns);
                ipip::segment_in_kernel(&mut sockets, netns, "vr-ipip", underlay).unwrap();
            }
            AnyDevice::Ipip(Box::new(sockets.remove(0)))
        };
        let node = Node {
            tun: AnyDevice::Tun(tun),
            underlay,
            peer: IpAddr::from([192, 0, 2, 3 - number]),
            prefix: prefix(&kind),
            pool: Pool::new(512),
            received: Vector::new(),
            ready: Vector::new(),
            counts: Counts::default(),
        };
        let (poller, waker) = Poller::new().unwrap();
        let stop = Arc::clone(&stop);
        let name = format!("node{number}");
        let thread = std::thread::Builder::new().name(name);
        let thread = thread.spawn(move || node.run(poller, &stop, spin)).unwrap();
        threads.push((thread, waker));
    }
    print!(
        "{}",
        a.exec("ping -q -c 500 -i 0.001 10.9.0.2")
            .lines()
            .last()
            .unwrap_or_default()
    );
    println!();
    let mut server = Command::new("ip")
        .args(["netns", "exec", &b.name, "iperf3", "-s"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    for arguments in ["-P 1", "-P 4", "-u -b 0 -l 64"] {
        let command = format!("iperf3 -c 10.9.0.2 -t {seconds} {arguments}");
        let text = a.exec(&command);
        for line in text
            .lines()
            .filter(|line| line.contains("sender") || line.contains("receiver"))
        {
            if !arguments.contains("-P 4") || line.contains("SUM") {
                println!("{arguments:14} {line}");
            }
        }
    }
    let _ = server.kill();
    let _ = server.wait();
    stop.store(true, Ordering::Relaxed);
    for (thread, waker) in threads {
        waker.wake().unwrap();
        println!("{:?}", thread.join().unwrap());
    }
}
