//! The oracle: the programs at workloads and at the underlay beside the dataplane's worker, on the same
//! packets.
//!
//! Sessions are begun in a worker over in-memory devices and given to the kernel. Of each frame a program
//! either leaves all to user space, or sends on, byte for byte, what the worker sends. At the end both have
//! counted the same of each session.

mod outer;
mod session;

use aya::programs::{TestRun, TestRunOptions};
use encap::{Family, Tunnel, protocol};
use vrouter_dataplane::buffer::Meta;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::Frame;
use vrouter_io::link::Link;
use vrouter_offload::{Attachment, Offload, Outcome, Place, Underlay, VxlanEnd};

use self::outer::FromNode;
use self::session::{PORTS, Session};
use crate::bpffs::Bpffs;
use crate::namespace::Namespace;
use crate::world::packets::{self, ACK, FIN, PSH, RST, SYN};
use crate::world::random::Random;
use crate::world::{Mode, Node, Plan, mac, pod};

/// Frames after which a node is made anew, with another MTU, other ways and other sessions.
const ROUND: u64 = 20_000;
const SESSIONS: u16 = 24;
/// Return values of the programs.
const SHOT: u32 = 2;
const REDIRECT: u32 = 7;
const UNSPEC: u32 = u32::MAX;
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
            round.try_one(&offload, indices, &mut random, &mut report);
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

/// A node and its sessions.
struct Round {
    node: Node,
    sessions: Vec<Session>,
}

impl Round {
    fn new(random: &mut Random, offload: &mut Offload) -> Self {
        let mode = *random.pick(&[Mode::Vxlan4, Mode::Ipip, Mode::Routed]);
        let plan = Plan {
            pod_mtu: Some(1280 + random.below(300) as u16),
            ..Plan::new(1, mode)
        };
        let mut node = plan.build();
        let sessions = (0..SESSIONS).map(|index| Session::begin(&mut node, random, index));
        let sessions: Vec<_> = sessions.collect();
        let tables = node.shared.load_full();
        offload.set_generation(tables.generation).unwrap();
        let local = [192, 0, 2, 1].into();
        let ours = Underlay {
            vxlan: Some(VxlanEnd {
                local,
                vni: tables.host.vni,
                port: PORTS.1,
                vtep: tables.host.vtep_v4,
            }),
            ipip: Some(local),
        };
        offload.attach_underlay(None, &ours).unwrap();
        for session in &sessions {
            // One in eight was decided under other tables.
            let generation = tables.generation + u32::from(random.once_in(8));
            for direction in [0, 1] {
                let entry = session.entry(&tables, direction, generation);
                offload.insert(&session.key(direction), &entry).unwrap();
            }
        }
        Self { node, sessions }
    }

    /// A frame of a session, whatever is odd about it, where it comes in.
    fn try_one(
        &mut self,
        offload: &Offload,
        indices: [u32; 2],
        random: &mut Random,
        report: &mut Report,
    ) {
        let at = random.below(self.sessions.len());
        let session = &self.sessions[at];
        let direction = random.below(2);
        match (session.sender(direction), session.tunnel()) {
            (Some(from), _) => {
                let frame = frame(session, direction, from, random);
                let ifindex = indices[usize::from(from) - 1];
                self.workload_sends(offload, (from, ifindex), (at, direction), &frame, report);
            }
            (None, Some(tunnel)) => {
                let frame = frame(session, direction, 1, random);
                if frame.meta.offload.gso().is_none() {
                    let payload = session.payload(&frame.bytes[ETHERNET..]);
                    let packet = FromNode::new(tunnel, payload, random);
                    self.node_sends(offload, session.receiver(direction), &packet, report);
                }
            }
            // The kernel runs no program on packets without a link's header.
            (None, None) => {}
        }
    }

    fn workload_sends(
        &mut self,
        offload: &Offload,
        (from, ifindex): (u8, u32),
        (session, direction): (usize, usize),
        frame: &Frame,
        report: &mut Report,
    ) {
        let gso = frame.meta.offload.gso();
        let size = gso.map_or(0, |gso| u32::from(gso.size.get()));
        let ran = run_program(offload, Place::Workload, ifindex, &frame.bytes, size);
        let Some((verdict, sent)) = ran else {
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
                let session = &self.sessions[session];
                let receiver = session.receiver(direction);
                assert!(
                    !out.is_empty() && out.iter().all(|(id, _)| *id == receiver),
                    "repeated {frame:02x?}, but the worker sends {out:02x?}"
                );
                if receiver == pod(1) || receiver == pod(2) || receiver == InterfaceId::HOST {
                    let [(_, by_worker)] = &out[..] else {
                        panic!("{out:02x?}");
                    };
                    // The TUN takes no link's header.
                    let skip = if receiver == InterfaceId::HOST {
                        ETHERNET
                    } else {
                        0
                    };
                    assert_eq!(by_worker.bytes, sent[skip..], "of {frame:02x?}");
                    let size = |frame: &Frame| frame.meta.offload.gso().map(|gso| gso.size);
                    assert_eq!(size(by_worker), size(frame));
                } else {
                    let tunnel = session.tunnel().unwrap();
                    let by_worker: Vec<_> = out.iter().map(|(_, frame)| frame.clone()).collect();
                    same_datagrams(tunnel, &sent, frame, &by_worker);
                }
            }
            other => panic!("verdict {other} of {frame:02x?}"),
        }
    }

    fn node_sends(
        &mut self,
        offload: &Offload,
        receiver: InterfaceId,
        packet: &FromNode,
        report: &mut Report,
    ) {
        let ran = run_program(offload, Place::Underlay, 0, &packet.frame, 0);
        let Some((verdict, sent)) = ran else {
            return;
        };
        match verdict {
            UNSPEC => {
                assert_eq!(sent, packet.frame);
                // Packets for another address or port are not ours, and not counted.
                if packet.frame[33] == 1 {
                    report.cases += 1;
                    report.to_user_space += 1;
                }
            }
            REDIRECT => {
                report.cases += 1;
                report.repeated += 1;
                let frame = Frame {
                    bytes: packet.payload.clone(),
                    meta: Meta {
                        remote: Some(packet.source.into()),
                        tos: packet.tos,
                        ..Meta::default()
                    },
                };
                let out = self.node.pass(self.node.mode.interface(), frame);
                let [(id, by_worker)] = &out[..] else {
                    panic!(
                        "repeated {:02x?}, but the worker sends {out:02x?}",
                        packet.frame
                    );
                };
                assert_eq!(*id, receiver);
                assert_eq!(by_worker.bytes, sent, "of {:02x?}", packet.frame);
            }
            other => panic!("verdict {other} of {:02x?}", packet.frame),
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

/// The program put into a tunnel what the worker's datagrams hold.
fn same_datagrams(tunnel: Tunnel, sent: &[u8], frame: &Frame, by_worker: &[Frame]) {
    let ip = &frame.bytes[ETHERNET..];
    let (tos, hops) = if ip[0] >> 4 == 4 {
        (ip[1], ip[8])
    } else {
        (ip[0] << 4 | ip[1] >> 4, ip[7])
    };
    let payload = outer::read(tunnel, &sent[ETHERNET..], (ip.len(), tos, hops - 1));
    let prefix = payload.len() - ip.len();
    let offload = frame
        .meta
        .offload
        .shift(prefix as isize - ETHERNET as isize);
    let whole = Frame {
        bytes: payload.to_vec(),
        meta: Meta {
            offload: offload.unwrap(),
            ..Meta::default()
        },
    };
    let datagrams: Vec<_> = by_worker.iter().flat_map(packets::datagrams).collect();
    assert_eq!(
        packets::on_the_wire(&whole, prefix),
        datagrams,
        "of {frame:02x?}"
    );
    for frame in by_worker {
        assert_eq!(frame.meta.remote, Some([192, 0, 2, 2].into()));
    }
}

/// A frame of a session from workload `from`, whatever is odd about it.
fn frame(session: &Session, direction: usize, from: u8, random: &mut Random) -> Frame {
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
    // A super-packet of this kind of run has no type, and cannot be encapsulated.
    let may_be_whole = session.receiver(direction) >= InterfaceId::FIRST_WORKLOAD;
    if may_be_whole
        && random.once_in(4)
        && payload.len() > 600
        && session.protocol != protocol::ICMP
    {
        let segment = 500 + random.below(1_000) as u16;
        if session.protocol != protocol::ICMPV6 && usize::from(segment) < payload.len() {
            return packets::offloaded_frame(mac(1, from), ip, Some(segment));
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
    Frame::new(bytes)
}

/// Runs a program on a frame of an interface; its verdict, and the frame then. `None` for a frame
/// that ends within its IP header: the kernel runs no program on it.
fn run_program(
    offload: &Offload,
    place: Place,
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
    let mut sent = vec![0; frame.len() + 128];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut sent),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let done = match offload.loaded(place).unwrap().test_run(options) {
        Err(_) if frame.len() < ETHERNET + 40 => return None,
        done => done.unwrap(),
    };
    sent.truncate(done.data_size_out as usize);
    Some((done.return_value, sent))
}
