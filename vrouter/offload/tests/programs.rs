//! The programs in real namespaces: two workloads on veths, `vrouter0`, and user space between.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod bpffs;
#[path = "../../io/tests/namespace/mod.rs"]
mod namespace;

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bpffs::Bpffs;
use encap::{ethernet, protocol};
use namespace::Namespace;
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Device, Vector, interface_mac, interface_of};
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::link::Link;
use vrouter_io::poller::Poller;
use vrouter_io::tap::{self, Tap};
use vrouter_offload::{Attachment, FlowEntry, FlowKey, Offload, Outcome, Sender, Target};

/// A workload `10.0.0.NUMBER` whose host end is `caliNUMBER`, with the MAC `02:00:00:00:00:NUMBER`.
struct Workload {
    namespace: Namespace,
    id: InterfaceId,
    ifindex: u32,
}

/// The router's number of workload NUMBER.
fn id(number: u8) -> InterfaceId {
    InterfaceId(InterfaceId::FIRST_WORKLOAD.0 + u16::from(number))
}

impl Workload {
    fn new(node: &Namespace, number: u8) -> Self {
        let namespace = Namespace::new("w");
        let peer = &namespace.name;
        node.exec(&format!(
            "ip link add cali{number} address ee:ee:ee:ee:ee:ee mtu 1500 type veth peer name eth0 \
             address 02:00:00:00:00:0{number} netns {peer}"
        ));
        node.exec(&format!("ip link set cali{number} up"));
        for command in [
            "ip link set eth0 up",
            &format!("ip addr add 10.0.0.{number}/32 dev eth0"),
            "ip neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0",
            "ip route add default via 169.254.1.1 dev eth0 onlink",
        ] {
            namespace.exec(command);
        }
        let link = Link::open_in(&node.netns).unwrap();
        let ifindex = link.expect_interface(&format!("cali{number}")).unwrap();
        Self {
            namespace,
            id: id(number),
            ifindex: ifindex.index,
        }
    }
}

/// What user space saw on `vrouter0`.
#[derive(Debug, Default)]
struct Seen {
    frames: u64,
    /// The largest frame of each workload.
    largest: [usize; 3],
}

/// Sends a workload's frame on to the workload that has its destination, 10.0.0.NUMBER.
fn route(frame: &mut Buffer, seen: &mut Seen) -> bool {
    let len = frame.len();
    let bytes = frame.bytes_mut();
    let Some(header) = ethernet::Repr::parse(bytes) else {
        return false;
    };
    // The host's own chatter there names none.
    let Some(from) = interface_of(header.destination) else {
        return false;
    };
    if header.kind != ethernet::EtherType::Ipv4 {
        return false;
    }
    let number = header.source[5];
    assert_eq!(id(number), from);
    seen.frames += 1;
    let largest = &mut seen.largest[usize::from(number)];
    *largest = len.max(*largest);
    let to = bytes[ethernet::HEADER_LEN + 19];
    let header = ethernet::Repr {
        destination: [2, 0, 0, 0, 0, to],
        source: interface_mac(id(to)),
        kind: header.kind,
    };
    header.emit(bytes.first_chunk_mut().unwrap());
    true
}

fn user_space(mut tap: Tap, stop: &AtomicBool) -> Seen {
    let (mut poller, _waker) = Poller::new().unwrap();
    poller.register(InterfaceId(0), tap.as_raw_fd()).unwrap();
    let mut pool = Pool::new(256);
    let mut vector = Vector::new();
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let _ = poller
            .wait(Some(Duration::from_millis(100)))
            .unwrap()
            .count();
        while !tap.receive(&mut pool, &mut vector).unwrap() || !vector.is_empty() {
            let mut known: Vector = Vec::new();
            for mut frame in vector.drain(..) {
                if route(&mut frame, &mut seen) {
                    known.push(frame);
                } else {
                    pool.give(frame);
                }
            }
            tap.transmit(&mut known);
            known.into_iter().for_each(|frame| pool.give(frame));
        }
    }
    seen
}

/// A node with two workloads, `vrouter0` and user space behind it while `test` runs.
fn with_node(test: impl FnOnce(&Namespace, &[Workload; 2], u32)) -> Seen {
    let node = Namespace::new("n");
    let workloads = [1, 2].map(|number| Workload::new(&node, number));
    let mut queues = tap::open(&node.netns, "vrouter0", 1, 1500, None).unwrap();
    let link = Link::open_in(&node.netns).unwrap();
    let router = link.expect_interface("vrouter0").unwrap().index;
    link.set_up(router).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let thread_stop = Arc::clone(&stop);
    let tap = queues.remove(0);
    let thread = std::thread::spawn(move || user_space(tap, &thread_stop));
    let body = std::panic::AssertUnwindSafe(|| test(&node, &workloads, router));
    let outcome = std::panic::catch_unwind(body);
    stop.store(true, Ordering::Relaxed);
    let seen = thread.join().unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    seen
}

fn attach(
    node: &Namespace,
    directory: &Path,
    workloads: &[Workload],
    router: u32,
    attachment: Attachment,
) -> Offload {
    let open = || {
        let mut offload = Offload::open(directory, attachment).unwrap();
        offload.attach_router(router).unwrap();
        for workload in workloads {
            offload
                .attach_workload(workload.ifindex, workload.id, true)
                .unwrap();
        }
        offload
    };
    node.netns.run(open).unwrap()
}

fn bulk(workloads: &[Workload; 2]) {
    let [a, b] = workloads;
    b.namespace.exec("iperf3 -s -1 -D");
    std::thread::sleep(Duration::from_millis(300));
    a.namespace.exec("iperf3 -c 10.0.0.2 -n 20M");
    b.namespace.exec("iperf3 -s -1 -D");
    std::thread::sleep(Duration::from_millis(300));
    a.namespace.exec("iperf3 -c 10.0.0.2 -n 20M -R");
}

/// Everything that was received went somewhere.
fn assert_conserved(offload: &Offload) {
    let counts = offload.outcomes().unwrap();
    let sum = |wanted: fn(Outcome) -> bool| -> u64 {
        let of = counts.iter().filter(|(outcome, _)| wanted(*outcome));
        of.map(|(_, packets)| packets).sum()
    };
    let received = sum(Outcome::is_arrival);
    assert!(received > 0);
    assert_eq!(received, sum(|outcome| !outcome.is_arrival()), "{counts:?}");
}

#[test]
#[ignore = "needs root"]
fn frames_pass_by_user_space_both_ways_whole() {
    let bpffs = Bpffs::new("miss");
    let seen = with_node(|node, workloads, router| {
        let offload = attach(node, &bpffs.node(), workloads, router, Attachment::Any);
        workloads[0]
            .namespace
            .exec("ping -c 5 -i 0.01 -W 2 10.0.0.2");
        bulk(workloads);
        assert_conserved(&offload);
    });
    let [_, a, b] = seen.largest;
    assert!(a > 20_000 && b > 20_000, "super-packets were cut: {seen:?}");
}

/// Has the kernel carry a session between workloads 1 and 2, both ways.
fn carry(offload: &mut Offload, protocol: u8, ports: (u16, u16)) -> [FlowKey; 2] {
    [(1, 2, ports), (2, 1, (ports.1, ports.0))].map(|(from, to, ports): (u8, u8, _)| {
        let key = FlowKey {
            interface: id(from),
            source: [10, 0, 0, from].into(),
            destination: [10, 0, 0, to].into(),
            protocol,
            source_port: ports.0,
            destination_port: ports.1,
        };
        let entry = FlowEntry {
            generation: 7,
            sender: Sender::Workload([2, 0, 0, 0, 0, from]),
            target: Target::Workload {
                out: id(to),
                mac: [2, 0, 0, 0, 0, to],
            },
            mtu: 1500,
            original: from == 1,
        };
        offload.insert(&key, &entry).unwrap();
        key
    })
}

#[test]
#[ignore = "needs root"]
fn a_flow_in_the_kernel_needs_no_user_space() {
    let bpffs = Bpffs::new("hit");
    let seen = with_node(|node, workloads, router| {
        let [a, b] = workloads;
        let mut offload = attach(node, &bpffs.node(), workloads, router, Attachment::Any);
        offload.set_generation(7).unwrap();
        let ping = carry(&mut offload, protocol::ICMP, (77, 77));
        a.namespace.exec("ping -c 100 -i 0.002 -W 2 -e 77 10.0.0.2");
        let data = carry(&mut offload, protocol::TCP, (40_000, 5_201));
        b.namespace.exec("iperf3 -s -1 -D");
        std::thread::sleep(Duration::from_millis(300));
        a.namespace.exec("iperf3 -c 10.0.0.2 --cport 40000 -n 50M");
        for key in ping {
            let counted = offload.counted(&key).unwrap().unwrap();
            assert_eq!((counted.packets, counted.bytes), (100, 8_400));
            assert!(counted.last_seen.is_some());
        }
        let [there, back] = data.map(|key| offload.remove(&key).unwrap().unwrap());
        // iperf3 ends before the last of it has left the sender.
        assert!(there.bytes > 40 << 20, "{there:?}");
        assert!(back.packets > 0, "{back:?}");
        assert_eq!(there.tcp_flags & 0x10, 0x10, "{there:?}");
        assert_eq!(offload.remove(&data[0]).unwrap(), None);
        // Decided under other tables: user space carries it again.
        offload.set_generation(8).unwrap();
        a.namespace.exec("ping -c 10 -i 0.01 -W 2 -e 77 10.0.0.2");
        let counted = offload.remove(&ping[0]).unwrap().unwrap();
        assert_eq!(counted.packets, 100);
        assert_conserved(&offload);
    });
    // The last pings, and what iperf3 says beside its data.
    assert!((20..200).contains(&seen.frames), "{seen:?}");
}

#[test]
#[ignore = "needs root"]
fn pins_outlive_the_process_and_go_with_detach_all() {
    outlives_the_process(Attachment::Any);
}

#[test]
#[ignore = "needs root"]
fn filters_do_where_there_is_no_tcx() {
    outlives_the_process(Attachment::Filters);
}

fn outlives_the_process(attachment: Attachment) {
    let bpffs = Bpffs::new("pins");
    let directory = bpffs.node();
    let links = directory.join("links");
    let count = || std::fs::read_dir(&links).unwrap().count();
    with_node(|node, workloads, router| {
        let ping = |works: bool| {
            let command = "ping -c 2 -i 0.01 -W 1 10.0.0.2";
            let output = workloads[0].namespace.try_exec(command);
            assert_eq!(output.status.success(), works, "{output:?}");
        };
        let mut offload = attach(node, &directory, workloads, router, attachment);
        offload.set_generation(7).unwrap();
        let keys = carry(&mut offload, protocol::UDP, (1_000, 2_000));
        drop(offload);
        assert_eq!(count(), 3);
        ping(true);
        // A second process takes over, one of another layout goes.
        let other = directory.join("maps-of-another-version");
        std::fs::create_dir(&other).unwrap();
        let mut offload = attach(node, &directory, workloads, router, attachment);
        assert!(!other.exists());
        assert_eq!(count(), 3);
        ping(true);
        // With what the first one had in the kernel.
        assert_eq!(offload.generation().unwrap(), 7);
        let mut flows = offload.adopt().unwrap();
        flows.sort_by_key(|flow| flow.key.interface.0);
        for (flow, key) in flows.iter().zip(keys) {
            assert_eq!((flow.key, flow.generation), (key, 7));
            let from_first = key.interface == id(1);
            assert_eq!(flow.original, from_first);
            assert_eq!(flow.to, Some(id(if from_first { 2 } else { 1 })));
        }
        assert_eq!(flows.len(), 2);
        // As a workload that went and one that has its number.
        let [a, _] = workloads;
        node.netns
            .run(|| offload.detach_workload(a.ifindex).unwrap())
            .unwrap();
        assert_eq!(count(), 2);
        assert_eq!(offload.adopt().unwrap(), [], "flows from it and to it");
        ping(false);
        node.netns
            .run(|| offload.attach_workload(a.ifindex, a.id, true).unwrap())
            .unwrap();
        ping(true);
        drop(offload);
        node.netns
            .run(|| Offload::detach_all(&directory).unwrap())
            .unwrap();
        assert!(!directory.exists());
        ping(false);
        let shown = node.exec("bpftool net show");
        assert!(!shown.contains("from_"), "{shown}");
        for device in ["vrouter0", "cali1", "cali2"] {
            let shown = node.exec(&format!("tc filter show dev {device} ingress"));
            assert_eq!(shown, "");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_directory_that_is_no_bpffs_is_refused_in_one_line() {
    let directory = std::env::temp_dir().join(format!("voff-plain-{}", std::process::id()));
    let error = Offload::open(&directory, Attachment::Any)
        .unwrap_err()
        .to_string();
    let _ = std::fs::remove_dir_all(&directory);
    assert!(!error.contains('\n'), "{error}");
    assert!(error.contains("bpffs"), "{error}");
}
