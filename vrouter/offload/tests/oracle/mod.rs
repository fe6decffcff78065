//! The oracle: the program at workloads beside the dataplane's worker, on the same packets.
//!
//! Sessions are begun in a worker over in-memory devices and given to the kernel. Of each frame the
//! program either hands all of it to user space, or sends on, byte for byte, what the worker sends. At the
//! end both have counted the same of each session.

use aya::programs::{TestRun, TestRunOptions};
use encap::Family;
use encap::protocol;
use policy::flow::FlowKey as SessionKey;
use vrouter_dataplane::adjacency::Adjacency;
use vrouter_dataplane::memory::Frame;
use vrouter_io::link::Link;
use vrouter_offload::{Attachment, FlowEntry, FlowKey, Offload, Outcome, Sender, Target};

use crate::bpffs::Bpffs;
use crate::namespace::Namespace;
use crate::world::packets::{self, ACK, FIN, PSH, RST, SYN};
use crate::world::random::Random;
use crate::world::{Mode, Node, Plan, address, mac, neighbor, pod};

/// Frames after which a node is made anew, with another MTU and other sessions.
const ROUND: u64 = 20_000;
const SESSIONS: u16 = 24;
/// Return values of the program.
const SHOT: u32 = 2;
const REDIRECT: u32 = 7;
const ETHERNET: usize = 14;

/// How frames fared.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) cases: u64,
    pub(crate) repeated: u64,
    pub(crate) to_user_space: u64,
    pub(crate) dropped: u64,
}

/// Runs `cases` frames in a namespace and a bpffs of their own; root is needed.
pub(crate) fn run(cases: u64, seed: u64) -> Report {
    let node = Namespace::new("oracle");
    let bpffs = Bpffs::new("oracle");
    node.exec("ip link add cali1 type veth peer name cali2");
    let netns = &node.netns;
    netns.run(|| compare(&bpffs, cases, seed)).unwrap()
}

fn compare(bpffs: &Bpffs, cases: u64, seed: u64) -> Report {
    let mut offload = Offload::open(&bpffs.node(), Attachment::Any).unwrap();
    let link = Link::open().unwrap();
    let indices = [1, 2].map(|number| {
        let name = format!("cali{number}");
        let index = link.expect_interface(&name).unwrap().index;
        offload.attach_workload(index, pod(number), true).unwrap();
        index
    });
    let mut report = Report::default();
    let mut random = Random::new(seed);
    while report.cases < cases {
        let mut round = Round::new(&mut random, &mut offload);
        for _ in 0..ROUND.min(cases - report.cases) {
            let (from, frame) = round.frame(&mut random);
            let ifindex = indices[usize::from(from) - 1];
            round.pass(&offload, ifindex, from, &frame, &mut report);
        }
        round.finish(&mut offload);
    }
    let counts = offload.outcomes().unwrap();
    let sum = |arrival: bool| -> u64 {
        let of = counts
            .iter()
            .filter(|(outcome, _)| outcome.is_arrival() == arrival);
        of.map(|(_, packets)| packets).sum()
    };
    assert_eq!(sum(true), sum(false), "{counts:?}");
    assert_eq!(sum(true), report.cases);
    let repeated = counts
        .iter()
        .find(|(outcome, _)| *outcome == Outcome::Repeated);
    assert_eq!(repeated.map(|(_, packets)| *packets), Some(report.repeated));
    report
}

/// A session between workloads 1 and 2, begun by 1.
struct Session {
    family: Family,
    protocol: u8,
    ports: (u16, u16),
    /// Packets and bytes of each direction when the kernel took it.
    before: [(u32, u64); 2],
}

impl Session {
    /// Where a direction's packets come from and go to, and their ports; 0 is the first packet's.
    fn ends(&self, direction: usize) -> (u8, u8, (u16, u16)) {
        let (a, b) = self.ports;
        if direction == 0 {
            (1, 2, (a, b))
        } else {
            (2, 1, (b, a))
        }
    }

    fn packet(&self, direction: usize, flags: u8, payload: &[u8]) -> Vec<u8> {
        let (from, to, ports) = self.ends(direction);
        let [from, to] = [from, to].map(|number| address(self.family, 1, number));
        match self.protocol {
            protocol::TCP => packets::tcp(from, to, ports, 1, flags, payload),
            protocol::UDP => packets::udp(from, to, ports, payload),
            _ => packets::echo(from, to, ports.0, direction == 1, payload),
        }
    }

    fn key(&self, direction: usize) -> FlowKey {
        let (from, to, ports) = self.ends(direction);
        FlowKey {
            interface: pod(from),
            source: address(self.family, 1, from),
            destination: address(self.family, 1, to),
            protocol: self.protocol,
            source_port: ports.0,
            destination_port: ports.1,
        }
    }

    fn counted(&self, node: &Node, direction: usize) -> (u32, u64) {
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
}

/// A node and its sessions.
struct Round {
    node: Node,
    sessions: Vec<Session>,
}

impl Round {
    fn new(random: &mut Random, offload: &mut Offload) -> Self {
        let plan = Plan {
            pod_mtu: Some(1280 + random.below(300) as u16),
            ..Plan::new(1, Mode::Routed)
        };
        let mut node = plan.build();
        let sessions = (0..SESSIONS).map(|index| begin(&mut node, random, index));
        let sessions: Vec<_> = sessions.collect();
        let tables = node.shared.load_full();
        offload.set_generation(tables.generation).unwrap();
        for session in &sessions {
            // One in eight was decided under other tables.
            let generation = tables.generation + u32::from(random.once_in(8));
            for direction in [0, 1] {
                let (from, to, _) = session.ends(direction);
                let Some(&Adjacency::Neighbor { out, mtu, .. }) = tables.adjacency(neighbor(to))
                else {
                    panic!("a workload has a neighbor's adjacency");
                };
                let entry = FlowEntry {
                    generation,
                    sender: Sender::Workload(mac(1, from)),
                    target: Target::Workload {
                        out,
                        mac: mac(1, to),
                    },
                    mtu,
                    original: direction == 0,
                };
                offload.insert(&session.key(direction), &entry).unwrap();
            }
        }
        Self { node, sessions }
    }

    /// A frame of a session, whatever is odd about it, and the workload it comes from.
    fn frame(&self, random: &mut Random) -> (u8, Frame) {
        let session = random.pick(&self.sessions);
        let direction = random.below(2);
        let (from, _, _) = session.ends(direction);
        let flags = *random.pick(&[ACK, ACK, ACK | PSH, ACK | PSH, ACK, 0, FIN | ACK, RST, SYN]);
        let most = *random.pick(&[1, 64, 64, 1_300, 1_700, 3_000]);
        let size = random.below(most);
        let payload = random.bytes(size);
        let mut ip = session.packet(direction, flags, &payload);
        if random.once_in(8) {
            let ttl = *random.pick(&[0, 1, 2, 64, 255]);
            ip = packets::with_ttl(ip, ttl);
        }
        if random.once_in(8) {
            ip = packets::with_tos(ip, random.next() as u8);
        }
        if random.once_in(8) && session.family == Family::V4 {
            ip = packets::fragmentable(ip);
        }
        if random.once_in(4) && payload.len() > 600 && session.protocol != protocol::ICMP {
            let segment = 500 + random.below(1_000) as u16;
            if session.protocol != protocol::ICMPV6 && usize::from(segment) < payload.len() {
                return (
                    from,
                    packets::offloaded_frame(mac(1, from), ip, Some(segment)),
                );
            }
        }
        let repair = random.once_in(2);
        let mut bytes = packets::ethernet(mac(1, from), &ip);
        if random.once_in(3) {
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len().min(ETHERNET + 64));
                bytes[at] = match random.below(3) {
                    0 => random.next() as u8,
                    1 => bytes[at] ^ 1 << random.below(8),
                    _ => bytes[at].wrapping_add(1),
                };
            }
            if repair && bytes[ETHERNET] == 0x45 {
                let ip = packets::change(bytes[ETHERNET..].to_vec(), |_| {});
                bytes.truncate(ETHERNET);
                bytes.extend(ip);
            }
        }
        match random.below(24) {
            0 => bytes.truncate(ETHERNET + 40 + random.below(60)),
            1 => bytes.extend(random.bytes(7)),
            2 => bytes[6..12].copy_from_slice(&mac(1, 3 - from)),
            3 => bytes[..6].copy_from_slice(&mac(1, 3 - from)),
            4 => bytes[..6].fill(0xff),
            _ => {}
        }
        (from, Frame::new(bytes))
    }

    fn pass(
        &mut self,
        offload: &Offload,
        ifindex: u32,
        from: u8,
        frame: &Frame,
        report: &mut Report,
    ) {
        let gso = frame.meta.offload.gso();
        let size = gso.map_or(0, |gso| u32::from(gso.size.get()));
        let Some((verdict, sent)) = run_program(offload, ifindex, &frame.bytes, size) else {
            return;
        };
        report.cases += 1;
        match verdict {
            SHOT => {
                report.dropped += 1;
                let out = self.node.pass(pod(from), frame.clone());
                assert!(
                    out.is_empty(),
                    "dropped {frame:02x?}, but the worker sends {out:02x?}"
                );
            }
            REDIRECT if sent.starts_with(&[0x02, 0x76, 0x72, 0x00]) => {
                report.to_user_space += 1;
                assert_eq!(u16::from_be_bytes([sent[4], sent[5]]), pod(from).0);
                assert_eq!(sent[6..], frame.bytes[6..]);
            }
            REDIRECT => {
                report.repeated += 1;
                let out = self.node.pass(pod(from), frame.clone());
                let [(id, by_worker)] = &out[..] else {
                    panic!("repeated {frame:02x?}, but the worker sends {out:02x?}");
                };
                assert_eq!(*id, pod(3 - from));
                assert_eq!(by_worker.bytes, sent, "of {frame:02x?}");
                assert_eq!(
                    by_worker.meta.offload.gso().map(|gso| gso.size),
                    gso.map(|gso| gso.size)
                );
            }
            other => panic!("verdict {other} of {frame:02x?}"),
        }
    }

    /// Takes the sessions from the kernel, which has counted what the worker has.
    fn finish(self, offload: &mut Offload) {
        for session in &self.sessions {
            for direction in [0, 1] {
                let by_kernel = offload.remove(&session.key(direction)).unwrap().unwrap();
                let (packets, bytes) = session.counted(&self.node, direction);
                let (packets_before, bytes_before) = session.before[direction];
                let by_worker = (packets - packets_before, bytes - bytes_before);
                let packets = by_kernel.packets as u32;
                assert_eq!((packets, by_kernel.bytes), by_worker);
            }
        }
        assert_eq!(offload.adopt().unwrap(), []);
    }
}

/// Begins a session in the worker, with packets both ways.
fn begin(node: &mut Node, random: &mut Random, index: u16) -> Session {
    let family = *random.pick(&[Family::V4, Family::V6]);
    let echo = match family {
        Family::V4 => protocol::ICMP,
        Family::V6 => protocol::ICMPV6,
    };
    let protocol = *random.pick(&[protocol::TCP, protocol::TCP, protocol::UDP, echo]);
    let port = 1_000 + index;
    let far = random.next() as u16 | 1;
    let ports = (port, if protocol == echo { port } else { far });
    let mut session = Session {
        family,
        protocol,
        ports,
        before: [(0, 0); 2],
    };
    for (direction, flags) in [(0, SYN), (1, SYN | ACK), (0, ACK)] {
        let packet = session.packet(direction, flags, &[]);
        let (from, to, _) = session.ends(direction);
        let out = node.pod_sends(from, &packet);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].0, pod(to));
    }
    session.before = [0, 1].map(|direction| session.counted(node, direction));
    session
}

/// Runs the program on a frame of an interface; its verdict, and the frame then. `None` for a frame
/// that ends within its IP header: the kernel runs no program on it.
fn run_program(
    offload: &Offload,
    ifindex: u32,
    frame: &[u8],
    segment: u32,
) -> Option<(u32, Vec<u8>)> {
    // Of struct __sk_buff.
    const IFINDEX: usize = 40;
    const GSO_SIZE: usize = 176;
    let mut context = [0; 192];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    context[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&segment.to_ne_bytes());
    let mut sent = vec![0; frame.len() + 64];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut sent),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let done = match offload.workload_program().unwrap().test_run(options) {
        Err(_) if frame.len() < ETHERNET + 40 => return None,
        done => done.unwrap(),
    };
    sent.truncate(done.data_size_out as usize);
    Some((done.return_value, sent))
}
