//! `tap-loop` for two nodes: what the vRouter's own devices give when nothing stands between them,
//! and so the upper bound of pod-to-pod traffic across nodes.
//!
//! One runs on each node and copies between the TAP of its one pod and the node's underlay: the
//! VXLAN socket, or without encapsulation a TUN through which the kernel routes. Devices, buffers
//! and batches are those of `vrouterd`; of its work only tunnel headers, checksums and the sizes of
//! packets are left ([`vxlan`], [`routed`]). No routes, no flows, no policy, no checks. The
//! namespaces need addresses, routes and static neighbours (`vrouter-lab up NAME --nodes 2 --pods 1
//! --backend tap-loop` sets them).
#![forbid(unsafe_code)]

mod link;
mod routed;
mod vxlan;

use std::error::Error;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use vrouter_dataplane::buffer::Pool;
use vrouter_dataplane::device::{Device, Vector};
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::any::AnyDevice;
use vrouter_io::link::Link;
use vrouter_io::netns::Netns;
use vrouter_io::poller::Poller;
use vrouter_io::{tap, tun};

use crate::link::{Mac, mac};
use crate::routed::Routed;
use crate::vxlan::Vxlan;

/// Copies packets between a pod's TAP and its node's underlay; one runs on each node.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The file of the pod's namespace, for example /run/netns/NAME.
    pod: PathBuf,
    /// The file of the node's namespace.
    node: PathBuf,
    /// How packets travel between the nodes.
    #[arg(long, value_enum)]
    encap: Encap,
    /// The node's underlay address.
    #[arg(long, required_if_eq("encap", "vxlan"))]
    local: Option<Ipv4Addr>,
    /// The other node's underlay address.
    #[arg(long, required_if_eq("encap", "vxlan"))]
    peer: Option<Ipv4Addr>,
    /// The node's interface on the underlay.
    #[arg(long, default_value = "eth0")]
    underlay: String,
    /// The name of the TAP in the pod.
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// The name of the TUN in the node, without encapsulation.
    #[arg(long, default_value = "tunl0")]
    tun: String,
    /// The pod's Ethernet address.
    #[arg(long, value_parser = mac)]
    mac: Mac,
    /// Bytes of the pod's largest IP packet.
    #[arg(long, default_value_t = 1450)]
    mtu: u16,
    /// Look for packets this long after the last one, with the core lent to others between two
    /// looks, before sleeping; 0 sleeps at once.
    #[arg(long, default_value_t = 1500, value_name = "MICROSECONDS")]
    spin: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Encap {
    /// VXLAN, VNI 4096, UDP port 4789.
    Vxlan,
    /// Plain routes of the kernel.
    None,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tap-loop-tunnel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (pod, node) = (Netns::open(&arguments.pod)?, Netns::open(&arguments.node)?);
    let mtu = u32::from(arguments.mtu);
    let (wire, underlay) = match (arguments.encap, arguments.local, arguments.peer) {
        (Encap::Vxlan, Some(local), Some(peer)) => {
            let index = Link::open_in(&node)?
                .expect_interface(&arguments.underlay)?
                .index;
            let socket = vxlan::open(&node, local, index)?;
            let takes_tcp = socket.capabilities().tso;
            let wire = Wire::Vxlan(Vxlan::new(peer, takes_tcp, arguments.mac, arguments.mtu));
            (wire, AnyDevice::Vxlan(Box::new(socket)))
        }
        (Encap::Vxlan, _, _) => return Err("--encap vxlan needs --local and --peer".into()),
        (Encap::None, _, _) => {
            let tun = only(tun::open(Some(&node), &arguments.tun, 1, mtu)?)?;
            (
                Wire::Routed(Routed::new(arguments.mac)),
                AnyDevice::Tun(tun),
            )
        }
    };
    // Last of all, so that who waits for it finds everything else there.
    let tap = only(tap::open(
        &pod,
        &arguments.interface,
        1,
        mtu,
        Some(arguments.mac),
    )?)?;
    let copier = Copier {
        devices: [AnyDevice::Tap(tap), underlay],
        wire,
        pool: Pool::new(BUFFERS),
        received: Vector::new(),
        finished: Vector::new(),
    };
    copier.run(Duration::from_micros(arguments.spin))
}

/// The one queue or socket of a device.
fn only<T>(queues: Vec<T>) -> Result<T, &'static str> {
    queues.into_iter().next().ok_or("a device without a queue")
}

/// As many as a worker of `vrouterd` has.
const BUFFERS: usize = 1024;
/// Turns between two looks at a side that was quiet while the other is busy, as a worker does.
const TURNS_PER_LOOK: u32 = 4;
/// Places in [`Copier::devices`], and the names of the two by which they are polled.
const POD: usize = 0;
const UNDERLAY: usize = 1;

/// What becomes of packets between the two devices.
enum Wire {
    Vxlan(Vxlan),
    Routed(Routed),
}

/// Both devices and the buffers on their way between them.
struct Copier {
    devices: [AnyDevice; 2],
    wire: Wire,
    pool: Pool,
    received: Vector,
    finished: Vector,
}

impl Copier {
    fn run(mut self, spin: Duration) -> Result<(), Box<dyn Error>> {
        let (mut poller, _waker) = Poller::new()?;
        for (id, device) in (0..).zip(&self.devices) {
            poller.register(InterfaceId(id), device.as_raw_fd())?;
        }
        let mut ready = [true; 2];
        let mut last_packet = Instant::now();
        let mut turns = 0u32;
        loop {
            turns = turns.wrapping_add(1);
            if ready == [false; 2] || turns.is_multiple_of(TURNS_PER_LOOK) {
                let rests = ready == [false; 2] && last_packet.elapsed() >= spin;
                let timeout = if rests { None } else { Some(Duration::ZERO) };
                for id in poller.wait(timeout)? {
                    ready[id.index()] = true;
                }
            }
            if ready == [false; 2] {
                std::thread::yield_now();
                continue;
            }
            for from in [POD, UNDERLAY] {
                if ready[from] {
                    let (came, drained) = self.copy(from)?;
                    ready[from] = !drained;
                    if came {
                        last_packet = Instant::now();
                    }
                }
            }
        }
    }

    /// Takes one vector from a device to the other: whether anything came, and whether nothing is
    /// left. What the other side has no room for is lost, as on a wire.
    fn copy(&mut self, from: usize) -> std::io::Result<(bool, bool)> {
        let drained = self.devices[from].receive(&mut self.pool, &mut self.received)?;
        if self.received.is_empty() {
            return Ok((false, drained));
        }
        let (received, pool, finished) = (&mut self.received, &mut self.pool, &mut self.finished);
        match (&mut self.wire, from) {
            (Wire::Vxlan(vxlan), POD) => vxlan.encapsulate(received, pool, finished),
            (Wire::Vxlan(vxlan), _) => vxlan.decapsulate(received, pool, finished),
            (Wire::Routed(_), POD) => routed::to_kernel(received, pool, finished),
            (Wire::Routed(routed), _) => routed.to_pod(received, pool, finished),
        }
        let _lost_as_on_a_wire = self.devices[1 - from].transmit(finished);
        finished.drain(..).for_each(|sent| pool.give(sent));
        Ok((true, drained))
    }
}
