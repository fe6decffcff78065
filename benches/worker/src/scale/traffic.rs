//! Flows, how often each of them has a packet, and the device that brings these packets.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use policy::flow::{FlowKey, protocol};
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Transmitted, VECTOR, Vector};

use super::node::{Node, address, mac};
use crate::world::packets::{ethernet, udp};
use crate::world::random::Random;

/// Makes frames of 64 bytes.
const PAYLOAD: [u8; 22] = [0; 22];

/// How often flows have packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Popularity {
    /// All equally often.
    Uniform,
    /// The n-th most popular one with a frequency of 1/n (Zipf's law).
    Zipf,
}

impl Popularity {
    /// A flow of `count`, which is a power of two. Popular ones lie anywhere.
    fn draw(self, count: usize, random: &mut Random) -> usize {
        let rank = match self {
            Self::Uniform => random.below(count),
            Self::Zipf => {
                // The inverse of ln(rank) / ln(count), the share of all ranks below.
                let share = random.below(1 << 52) as f64 / (1u64 << 52) as f64;
                (count as f64).powf(share) as usize - 1
            }
        };
        rank.wrapping_mul(0x9e37_79b1) & (count - 1)
    }
}

/// A flow, by its number: of which pod, and what of its packets differs from the pod's others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pod: u16,
    packet: Differing,
}

#[derive(Clone, Copy, Debug)]
struct Differing {
    destination: u32,
    ports: [u16; 2],
    /// Of the IP header.
    checksum: u16,
}

impl Flow {
    /// Half of them go to another pod, half to other nodes.
    pub(super) fn new(node: &Node, number: usize) -> Self {
        let pods = usize::from(node.pods);
        let pod = number % pods;
        let mut random = Random::new(number as u64);
        let destination = if random.once_in(2) {
            let other = (pod + 1 + random.below(pods - 1)) % pods;
            address(other as u16).to_bits()
        } else {
            *random.pick(&node.remote)
        };
        let (from, to) = (address(pod as u16), Ipv4Addr::from_bits(destination));
        let ports = [1024 + (number & 0x7fff) as u16, 1 + (number >> 15) as u16];
        let packet = udp(from.into(), to.into(), (ports[0], ports[1]), &PAYLOAD);
        Self {
            pod: pod as u16,
            packet: Differing {
                destination,
                ports,
                checksum: u16::from_be_bytes([packet[10], packet[11]]),
            },
        }
    }

    pub(super) fn key(&self) -> FlowKey {
        let Differing {
            destination,
            ports: [from_port, to_port],
            ..
        } = self.packet;
        let to = Ipv4Addr::from_bits(destination);
        let from = address(self.pod);
        FlowKey::new(from.into(), to.into(), protocol::UDP, from_port, to_port)
            .expect("both are of one version")
    }
}

/// Packets in the order they come, for each pod.
#[derive(Clone, Debug)]
pub(super) struct Schedule(Vec<Arc<[Differing]>>);

impl Schedule {
    /// One packet of each of these flows.
    pub(super) fn of(pods: u16, flows: impl Iterator<Item = Flow>) -> Self {
        let mut lists = vec![Vec::new(); usize::from(pods)];
        for flow in flows {
            lists[usize::from(flow.pod)].push(flow.packet);
        }
        Self(lists.into_iter().map(Into::into).collect())
    }

    /// `packets` packets of the flows with these numbers.
    pub(super) fn drawn(
        node: &Node,
        numbers: &[usize],
        popularity: Popularity,
        packets: usize,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        let draws = (0..packets).map(|_| numbers[popularity.draw(numbers.len(), &mut random)]);
        Self::of(node.pods, draws.map(|number| Flow::new(node, number)))
    }

    /// The device of a pod.
    pub(super) fn device(&self, pod: u16, burst: usize) -> Stream {
        let list = Arc::clone(&self.0[usize::from(pod)]);
        Stream {
            left: 0,
            frame: ethernet(mac(pod), &udp_of(pod)),
            list,
            next: 0,
            burst: burst.min(VECTOR),
            capabilities: Capabilities::OFFLOADS,
        }
    }
}

/// A pod's packet as far as all have it in common; a UDP checksum of zero is none (RFC 768).
fn udp_of(pod: u16) -> Vec<u8> {
    let mut packet = udp(address(pod).into(), address(pod).into(), (0, 0), &PAYLOAD);
    packet[26..28].fill(0);
    packet
}

/// A device that brings the packets of a pod, each as often as it is told to, and only counts
/// what it sends.
#[derive(Debug)]
pub(super) struct Stream {
    /// Packets still to come.
    pub(super) left: usize,
    frame: Vec<u8>,
    list: Arc<[Differing]>,
    next: usize,
    /// Packets that come at once.
    burst: usize,
    capabilities: Capabilities,
}

impl Stream {
    /// The other side of the tunnel, from which nothing comes.
    pub(super) fn tunnel() -> Self {
        Self {
            left: 0,
            frame: Vec::new(),
            list: Arc::new([]),
            next: 0,
            burst: 0,
            capabilities: Capabilities::DATAGRAMS,
        }
    }

    /// Packets of its whole schedule.
    pub(super) fn scheduled(&self) -> usize {
        self.list.len()
    }
}

impl Device for Stream {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        for _ in 0..self.burst.min(self.left) {
            let Some(mut buffer) = pool.take() else { break };
            if !buffer.set(&self.frame) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let Some(packet) = self.list.get(self.next) else {
                break;
            };
            self.next = (self.next + 1) % self.list.len();
            let bytes = buffer.bytes_mut();
            bytes[24..26].copy_from_slice(&packet.checksum.to_be_bytes());
            bytes[30..34].copy_from_slice(&packet.destination.to_be_bytes());
            bytes[34..36].copy_from_slice(&packet.ports[0].to_be_bytes());
            bytes[36..38].copy_from_slice(&packet.ports[1].to_be_bytes());
            self.left -= 1;
            into.push(buffer);
        }
        Ok(true)
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        Transmitted {
            sent: packets.len(),
            ..Transmitted::default()
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}
