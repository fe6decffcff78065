//! Sessions of workload 1: with workload 2, or with another node's.

use encap::{Family, Tunnel, protocol};
use policy::flow::FlowKey as SessionKey;
use vrouter_dataplane::adjacency::{Adjacency, Encap};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::Frame;
use vrouter_dataplane::tables::Tables;
use vrouter_offload::{FlowEntry, FlowKey, Sender, Target};

use crate::world::packets::{self, ACK, SYN};
use crate::world::random::Random;
use crate::world::{self, Mode, Node, address, mac, neighbor, pod};

/// The number that stands for the underlay's interface, and for the host's TUN: nothing is sent there.
const SOMEWHERE: u32 = 1;
/// Outer ports of VXLAN.
pub(super) const PORTS: (u16, u16) = (40_001, 4_789);

/// A session begun by workload 1.
pub(super) struct Session {
    pub(super) family: Family,
    pub(super) protocol: u8,
    ports: (u16, u16),
    /// The other end is the workload of another node.
    pub(super) is_far: bool,
    mode: Mode,
    /// Packets and bytes of each direction when the kernel took it.
    pub(super) before: [(u32, u64); 2],
}

impl Session {
    /// Begins one in the worker, with packets both ways.
    pub(super) fn begin(node: &mut Node, random: &mut Random, index: u16) -> Self {
        let mode = node.mode;
        let is_far = random.once_in(2);
        let carries_v6 = !is_far || mode.carries_v6();
        let family = if carries_v6 && random.once_in(2) {
            Family::V6
        } else {
            Family::V4
        };
        let echo = match family {
            Family::V4 => protocol::ICMP,
            Family::V6 => protocol::ICMPV6,
        };
        let protocol = *random.pick(&[protocol::TCP, protocol::TCP, protocol::UDP, echo]);
        let port = 1_000 + index;
        let far = random.next() as u16 | 1;
        let mut session = Self {
            family,
            protocol,
            ports: (port, if protocol == echo { port } else { far }),
            is_far,
            mode,
            before: [(0, 0); 2],
        };
        for (direction, flags) in [(0, SYN), (1, SYN | ACK), (0, ACK)] {
            let packet = session.packet(direction, flags, &[]);
            let out = match session.sender(direction) {
                Some(number) => node.pod_sends(number, &packet),
                None => match mode {
                    Mode::Routed => node.host_sends(&packet),
                    Mode::Vxlan4 | Mode::Vxlan6 | Mode::Ipip => {
                        let payload = session.payload(&packet);
                        let remote = world::underlay(Family::V4, 2);
                        let frame = world::arriving(&Frame::new(payload), remote);
                        node.pass(mode.interface(), frame)
                    }
                },
            };
            assert_eq!(out.len(), 1);
            assert_eq!(out[0].0, session.receiver(direction));
        }
        session.before = [0, 1].map(|direction| session.counted(node, direction));
        session
    }

    /// The workload of this node that sends in a direction.
    pub(super) fn sender(&self, direction: usize) -> Option<u8> {
        match direction {
            0 => Some(1),
            _ => (!self.is_far).then_some(2),
        }
    }

    /// The interface by which a direction's packets leave.
    pub(super) fn receiver(&self, direction: usize) -> InterfaceId {
        match (direction, self.is_far) {
            (0, true) => self.mode.interface(),
            (0, false) => pod(2),
            _ => pod(1),
        }
    }

    /// A packet of a direction.
    pub(super) fn packet(&self, direction: usize, flags: u8, payload: &[u8]) -> Vec<u8> {
        let key = self.key(direction);
        let (from, to) = (key.source, key.destination);
        let ports = (key.source_port, key.destination_port);
        match self.protocol {
            protocol::TCP => packets::tcp(from, to, ports, 1, flags, payload),
            protocol::UDP => packets::udp(from, to, ports, payload),
            _ => packets::echo(from, to, ports.0, direction == 1, payload),
        }
    }

    /// What stands behind the outer IP and UDP header of a packet that comes from the other node.
    pub(super) fn payload(&self, packet: &[u8]) -> Vec<u8> {
        if self.mode == Mode::Ipip {
            return packet.to_vec();
        }
        let kind = match self.family {
            Family::V4 => 0x0800,
            Family::V6 => 0x86dd,
        };
        let [to, from] = [1, 2].map(|node| world::vtep(node, Family::V4));
        let mut bytes = vec![8, 0, 0, 0];
        bytes.extend((encap::vxlan::Vni::CALICO.number() << 8).to_be_bytes());
        bytes.extend(packets::link(from, to, kind, packet));
        bytes
    }

    /// As the program sees a direction's packets.
    pub(super) fn key(&self, direction: usize) -> FlowKey {
        let far = if self.is_far {
            address(self.family, 2, 1)
        } else {
            address(self.family, 1, 2)
        };
        let near = address(self.family, 1, 1);
        let (a, b) = self.ports;
        let ((source, source_port), (destination, destination_port)) = match direction {
            0 => ((near, a), (far, b)),
            _ => ((far, b), (near, a)),
        };
        FlowKey {
            interface: match self.sender(direction) {
                Some(number) => pod(number),
                None => self.mode.interface(),
            },
            source,
            destination,
            protocol: self.protocol,
            source_port,
            destination_port,
        }
    }

    /// As the agent gives a direction to the kernel.
    pub(super) fn entry(&self, tables: &Tables, direction: usize, generation: u32) -> FlowEntry {
        let to_workload = |number: u8| {
            let Some(&Adjacency::Neighbor { out, mtu, .. }) = tables.adjacency(neighbor(number))
            else {
                panic!("a workload has a neighbor's adjacency");
            };
            let mac = mac(1, number);
            (Target::Workload { out, mac }, mtu)
        };
        let [local, remote] = [1, 2].map(|node| [192, 0, 2, node].into());
        let (target, mtu) = match (direction, self.is_far) {
            (0, false) => to_workload(2),
            (0, true) => match tables.adjacency(self.mode.adjacency()) {
                Some(&Adjacency::Tunnel { encap, mtu, .. }) => {
                    let ports = match encap {
                        Encap::Ipip => (0, 0),
                        Encap::Vxlan { .. } => PORTS,
                    };
                    let target = Target::Node {
                        underlay: SOMEWHERE,
                        encap,
                        local,
                        remote,
                        ports,
                    };
                    (target, mtu)
                }
                Some(&Adjacency::Host { mtu, .. }) => (Target::Host { tun: SOMEWHERE }, mtu),
                other => panic!("{other:?}"),
            },
            _ => to_workload(1),
        };
        FlowEntry {
            generation,
            sender: match self.sender(direction) {
                Some(number) => Sender::Workload(mac(1, number)),
                None => match self.mode {
                    Mode::Routed => Sender::Host,
                    Mode::Vxlan4 | Mode::Vxlan6 | Mode::Ipip => Sender::Node(remote),
                },
            },
            target,
            mtu,
            original: direction == 0,
        }
    }

    /// The worker's counts of a direction.
    pub(super) fn counted(&self, node: &Node, direction: usize) -> (u32, u64) {
        let key = self.key(direction);
        let (source, destination) = (key.source_port, key.destination_port);
        let key = SessionKey::new(
            key.source,
            key.destination,
            key.protocol,
            source,
            destination,
        );
        let hit = node.flows.lookup(&key.unwrap()).unwrap();
        let flow = node.flows.flow(hit.session, node.now).unwrap();
        (flow.packets[direction], flow.bytes[direction])
    }

    /// The tunnel of its node's mode.
    pub(super) fn tunnel(&self) -> Option<Tunnel> {
        match self.mode {
            Mode::Vxlan4 => Some(Tunnel::Vxlan(Family::V4)),
            Mode::Vxlan6 => Some(Tunnel::Vxlan(Family::V6)),
            Mode::Ipip => Some(Tunnel::Ipip),
            Mode::Routed => None,
        }
    }
}
