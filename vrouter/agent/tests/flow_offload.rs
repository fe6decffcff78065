//! Sessions of a real worker over in-memory devices, and a kernel that is a table in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../dataplane/tests/world/mod.rs"]
mod world;

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use encap::{Family, Tunnel, protocol};
use policy::flow::{self, Flow, State};
use vrouter_agent::flow_offload::{KernelFlows, Moment, Repeated, Ways};
use vrouter_core::observed::Socket;
use vrouter_dataplane::hits::Hits;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::repeat;
use vrouter_dataplane::tables::Tables;
use vrouter_offload::{Counted, FlowEntry, FlowKey, Grant, OffloadError, Sender, Target};
use world::packets::{self, ACK, FIN, RST, SYN};
use world::{Mode, Node, Plan, address, mac, pod};

/// Flows with what was counted of each.
#[derive(Default)]
struct Kernel {
    generation: u32,
    flows: HashMap<FlowKey, (FlowEntry, Counted)>,
    room: Option<usize>,
    grants: Vec<Grant>,
    admitted: VecDeque<(FlowKey, u32)>,
}

impl Kernel {
    /// What the program does with a connection's first packet; whether it sends it on.
    fn opens(&mut self, key: &FlowKey, at: Duration) -> bool {
        let pair = |it: &FlowKey| (it.interface, it.source, it.destination, it.destination_port);
        let grant = self
            .grants
            .iter()
            .rev()
            .find(|it| pair(&it.key) == pair(key));
        let Some(grant) = grant.filter(|it| it.forward.generation == self.generation) else {
            return false;
        };
        let reply = FlowKey {
            interface: grant.reply_interface,
            source: key.destination,
            destination: key.source,
            source_port: key.destination_port,
            destination_port: key.source_port,
            ..*key
        };
        self.flows.insert(*key, (grant.forward, Counted::default()));
        self.flows.insert(reply, (grant.reply, Counted::default()));
        self.admitted.push_back((*key, self.generation));
        self.passes(key, 60, at)
    }

    /// What the program does with an ordinary packet; whether it sends it on.
    fn passes(&mut self, key: &FlowKey, bytes: u64, at: Duration) -> bool {
        let Some((entry, counted)) = self.flows.get_mut(key) else {
            return false;
        };
        if entry.generation != self.generation {
            return false;
        }
        counted.packets += 1;
        counted.bytes += bytes;
        counted.last_seen = Some(at);
        counted.tcp_flags |= ACK;
        true
    }
}

impl KernelFlows for Kernel {
    fn generation(&mut self) -> Result<u32, OffloadError> {
        Ok(self.generation)
    }

    fn insert(&mut self, key: &FlowKey, entry: &FlowEntry) -> Result<(), OffloadError> {
        if self.room == Some(self.flows.len()) && !self.flows.contains_key(key) {
            return Err(OffloadError::NotAttached(0));
        }
        self.flows.insert(*key, (*entry, Counted::default()));
        Ok(())
    }

    fn grant(&mut self, grant: &Grant) -> Result<(), OffloadError> {
        self.grants.push(*grant);
        Ok(())
    }

    fn say_alive(&mut self) -> Result<(), OffloadError> {
        Ok(())
    }

    fn admitted(&mut self) -> Result<Option<(FlowKey, u32)>, OffloadError> {
        Ok(self.admitted.pop_front())
    }

    fn counted(&mut self, key: &FlowKey) -> Result<Option<Counted>, OffloadError> {
        Ok(self.flows.get(key).map(|(_, counted)| *counted))
    }

    fn remove(&mut self, key: &FlowKey) -> Result<Option<Counted>, OffloadError> {
        Ok(self.flows.remove(key).map(|(_, counted)| counted))
    }
}

/// A worker, the kernel beside it, and what is repeated.
struct Bench {
    node: Node,
    kernel: Kernel,
    repeated: Repeated,
    ways: Ways,
    rules: Hits,
}

impl Bench {
    fn new() -> Self {
        Self::of(Mode::Routed)
    }

    fn of(mode: Mode) -> Self {
        let node = Plan::new(1, mode).build();
        let mut bench = Self {
            node,
            kernel: Kernel::default(),
            repeated: Repeated::new(true),
            ways: Ways::new(9),
            rules: Hits::default(),
        };
        bench.believe();
        bench
    }

    fn believe(&mut self) {
        self.kernel.generation = self.tables().generation;
    }

    fn tables(&self) -> std::sync::Arc<Tables> {
        self.node.shared.load_full()
    }

    fn moment(&self) -> Moment {
        Moment {
            ms: self.node.now,
            since_boot: Duration::from_millis(1_000_000 + self.node.now),
        }
    }

    fn look(&mut self) {
        let (tables, now) = (self.tables(), self.moment());
        self.rules.reserve(tables.policy.rule_count());
        let (flows, told) = (&self.node.flows, (&self.ways, &self.rules));
        self.repeated
            .look(&mut self.kernel, &tables, flows, told, now)
            .unwrap();
    }

    /// Workload 1 sends to workload 2, or the other way round; whether it arrived.
    fn tcp(&mut self, from: u8, flags: u8) -> bool {
        let to = 3 - from;
        let ports = if from == 1 {
            (40_000, 80)
        } else {
            (80, 40_000)
        };
        let ends = [from, to].map(|number| address(Family::V4, 1, number));
        let packet = packets::tcp(ends[0], ends[1], ports, 1, flags, b"data");
        !self.node.pod_sends(from, &packet).is_empty()
    }

    /// The session is settled, and worth it.
    fn establish(&mut self) {
        for (from, flags) in [(1, SYN), (2, SYN | ACK), (1, ACK), (1, ACK), (2, ACK)] {
            assert!(self.tcp(from, flags));
        }
    }

    fn session(&self) -> Option<Flow> {
        self.session_of(&Self::key(1))
    }

    /// As the programs see its packets.
    fn key(from: u8) -> FlowKey {
        let (source_port, destination_port) = if from == 1 {
            (40_000, 80)
        } else {
            (80, 40_000)
        };
        FlowKey {
            interface: pod(from),
            source: address(Family::V4, 1, from),
            destination: address(Family::V4, 1, 3 - from),
            protocol: protocol::TCP,
            source_port,
            destination_port,
        }
    }
}

#[test]
fn a_session_is_repeated_once_both_sides_have_spoken_and_it_is_worth_it() {
    let mut bench = Bench::new();
    for (from, flags) in [(1, SYN), (2, SYN | ACK), (1, ACK)] {
        assert!(bench.tcp(from, flags));
        bench.look();
        assert!(bench.kernel.flows.is_empty());
    }
    assert!(bench.tcp(2, ACK));
    bench.look();
    let mtu = Mode::Routed.mtu();
    for from in [1, 2] {
        let (entry, _) = bench.kernel.flows[&Bench::key(from)];
        let expected = FlowEntry {
            generation: bench.tables().generation,
            sender: Sender::Workload(mac(1, from)),
            target: Target::Workload {
                out: pod(3 - from),
                mac: mac(1, 3 - from),
            },
            mtu,
            original: from == 1,
        };
        assert_eq!(entry, expected);
    }
    assert_eq!(bench.kernel.flows.len(), 2);
    let session = bench.session().unwrap();
    assert!(bench.repeated.repeats(&session).is_some());
}

/// Datagrams both ways between workload 1 and node 2's.
fn exchange(bench: &mut Bench, mode: Mode, family: Family) {
    let ends = [address(family, 1, 1), address(family, 2, 1)];
    for index in 0..4 {
        let out = if index % 2 == 0 {
            let packet = packets::udp(ends[0], ends[1], (5_000, 53), b"x");
            bench.node.pod_sends(1, &packet)
        } else {
            let packet = packets::udp(ends[1], ends[0], (53, 5_000), b"x");
            let mut other = Plan::new(2, mode).build();
            let sent = other.pod_sends(1, &packet);
            let (by, frame) = &sent[0];
            match mode {
                Mode::Routed => bench.node.host_sends(&packet),
                Mode::Vxlan4 | Mode::Vxlan6 | Mode::Ipip => {
                    let outer = world::underlay(Family::V4, 2);
                    bench.node.pass(*by, world::arriving(frame, outer))
                }
            }
        };
        assert_eq!(out.len(), 1);
        bench.look();
    }
}

#[test]
fn a_session_with_another_node_goes_by_its_tunnel() {
    let local = Ipv4Addr::new(192, 0, 2, 1);
    let remote = Ipv4Addr::new(192, 0, 2, 2);
    for (mode, tunnel, family) in [
        (Mode::Vxlan4, Tunnel::Vxlan(Family::V4), Family::V4),
        (Mode::Vxlan4, Tunnel::Vxlan(Family::V4), Family::V6),
        (Mode::Ipip, Tunnel::Ipip, Family::V4),
    ] {
        let mut bench = Bench::of(mode);
        exchange(&mut bench, mode, family);
        assert!(bench.kernel.flows.is_empty(), "the tunnel is not open");
        let socket = Socket {
            local: local.into(),
            port: 4789,
            mtu: 1500,
            underlay: Some(7),
        };
        let ports = [40_001, 40_002].into();
        bench.ways.opened(tunnel, &socket, ports);
        bench.look();
        let flows = &bench.kernel.flows;
        assert_eq!(flows.len(), 2, "{mode:?} {family:?}");
        for (key, (entry, _)) in flows {
            if key.interface == pod(1) {
                assert_eq!(entry.sender, Sender::Workload(mac(1, 1)));
                let Target::Node {
                    underlay,
                    local: from,
                    remote: to,
                    ports,
                    ..
                } = entry.target
                else {
                    panic!("{entry:?}");
                };
                assert_eq!((underlay, from, to), (7, local, remote));
                match tunnel {
                    Tunnel::Ipip => assert_eq!(ports, (0, 0)),
                    Tunnel::Vxlan(_) => assert_eq!((ports.0 / 10, ports.1), (4_000, 4789)),
                }
                assert_eq!(entry.mtu, mode.mtu());
            } else {
                assert_eq!(key.interface, InterfaceId::tunnel(tunnel));
                assert_eq!(entry.sender, Sender::Node(remote));
                let (out, mac) = (pod(1), mac(1, 1));
                assert_eq!(entry.target, Target::Workload { out, mac });
            }
            assert_eq!(entry.original, key.interface == pod(1));
        }
        bench.ways.closed(tunnel);
        bench.node.publish(|_| {});
        bench.believe();
        exchange(&mut bench, mode, family);
        let stale = bench.kernel.flows.values();
        let generation = bench.tables().generation;
        assert!(stale.into_iter().all(|(it, _)| it.generation < generation));
    }
}

#[test]
fn a_session_by_the_hosts_routes_goes_by_its_stack() {
    for family in [Family::V4, Family::V6] {
        let mut bench = Bench::of(Mode::Routed);
        exchange(&mut bench, Mode::Routed, family);
        bench.look();
        assert_eq!(bench.kernel.flows.len(), 2);
        for (key, (entry, _)) in &bench.kernel.flows {
            let (out, there) = (pod(1), mac(1, 1));
            if key.interface == out {
                let expected = (Sender::Workload(there), Target::Host { tun: 9 });
                assert_eq!((entry.sender, entry.target), expected);
            } else {
                assert_eq!(key.interface, InterfaceId::HOST);
                let expected = (Sender::Host, Target::Workload { out, mac: there });
                assert_eq!((entry.sender, entry.target), expected);
            }
        }
    }
}

#[test]
fn what_a_policy_has_to_see_packet_by_packet_stays_in_user_space() {
    let mut bench = Bench::of(Mode::Routed);
    bench.node.host(|host| host.endpoints.untracked = true);
    bench.believe();
    exchange(&mut bench, Mode::Routed, Family::V4);
    bench.look();
    assert!(bench.kernel.flows.is_empty());
    bench.establish();
    bench.look();
    assert_eq!(
        bench.kernel.flows.len(),
        2,
        "within the node none sees them"
    );
}

#[test]
fn what_the_kernel_counts_is_the_sessions_and_keeps_it_young() {
    let mut bench = Bench::new();
    bench.establish();
    bench.look();
    let before = bench.session().unwrap();
    bench.node.now += 10_000;
    let at = bench.moment().since_boot;
    for _ in 0..5 {
        assert!(bench.kernel.passes(&Bench::key(1), 1_000, at));
    }
    assert!(bench.kernel.passes(&Bench::key(2), 52, at));
    // More than one addition to the table holds.
    let entry = bench.kernel.flows.get_mut(&Bench::key(1)).unwrap();
    entry.1.bytes += 5 << 32;
    bench.node.now += 2_000;
    bench.look();
    bench.look();
    let after = bench.session().unwrap();
    let [there, back] = [0, 1].map(|side| {
        let packets = after.packets[side] - before.packets[side];
        (packets, after.bytes[side] - before.bytes[side])
    });
    assert_eq!((there, back), ((5, 5_000 + (5 << 32)), (1, 52)));
    assert!(after.idle_ms.abs_diff(2_000) <= 256, "{}", after.idle_ms);
}

#[test]
fn other_tables_have_user_space_decide_again() {
    let mut bench = Bench::new();
    bench.establish();
    bench.look();
    let at = bench.moment().since_boot;
    assert!(bench.kernel.passes(&Bench::key(1), 100, at));
    let counted = bench.session().unwrap().packets[0] + 1;
    bench.node.publish(|_| {});
    // Workers have them before the kernel believes them.
    bench.look();
    bench.believe();
    bench.look();
    assert!(!bench.kernel.passes(&Bench::key(1), 100, at), "stale");
    assert!(bench.tcp(1, ACK));
    bench.look();
    assert!(bench.kernel.passes(&Bench::key(1), 100, at), "decided");
    bench.look();
    // One by the worker, one by each entry of the kernel.
    assert_eq!(bench.session().unwrap().packets[0], counted + 2);
}

#[test]
fn a_session_that_ended_is_not_repeated() {
    for (ends, state) in [
        ([(1, RST | ACK)].as_slice(), State::Reset),
        (&[(1, FIN | ACK), (2, FIN | ACK)], State::FinsSeen),
    ] {
        let mut bench = Bench::new();
        bench.establish();
        bench.look();
        assert_eq!(bench.kernel.flows.len(), 2);
        for (from, flags) in ends {
            assert!(bench.tcp(*from, *flags));
        }
        assert_eq!(bench.session().unwrap().state, state);
        bench.look();
        assert!(bench.kernel.flows.is_empty(), "{state:?}");
    }
    // Nor one that is forgotten.
    let mut bench = Bench::new();
    bench.establish();
    bench.look();
    let id = bench.session().unwrap().id;
    assert!(bench.node.flows.remove(id));
    bench.look();
    assert!(bench.kernel.flows.is_empty());
}

#[test]
fn a_full_kernel_leaves_whole_sessions_to_user_space() {
    for room in [0, 1] {
        let mut bench = Bench::new();
        bench.kernel.room = Some(room);
        bench.establish();
        bench.look();
        assert!(bench.kernel.flows.is_empty());
        let session = bench.session().unwrap();
        assert_eq!(bench.repeated.repeats(&session), None);
        bench.kernel.room = None;
        bench.look();
        assert_eq!(bench.kernel.flows.len(), 2);
    }
}

#[test]
fn a_session_of_an_earlier_process_goes_on_from_either_side() {
    for from in [1, 2] {
        let mut bench = Bench::new();
        let key = flow::FlowKey::new(
            address(Family::V4, 1, 1),
            address(Family::V4, 1, 2),
            protocol::TCP,
            40_000,
            80,
        );
        let earlier = bench.tables().generation.wrapping_sub(1);
        let flows = &bench.node.flows;
        repeat::adopt(flows, key.unwrap(), pod(1), Some(pod(2)), earlier, 0).unwrap();
        assert_eq!(bench.session().unwrap().state, State::Established);
        bench.look();
        assert!(bench.kernel.flows.is_empty(), "it is not decided yet");
        (0..4).for_each(|_| assert!(bench.tcp(from, ACK)));
        let session = bench.session().unwrap();
        let owners = [pod(1), pod(2)].map(|id| u32::from(id.0));
        assert_eq!(session.owners, owners);
        bench.look();
        assert_eq!(bench.kernel.flows.len(), 2);
    }
}

/// Another connection of the pair.
fn another(port: u16) -> FlowKey {
    FlowKey {
        source_port: port,
        ..Bench::key(1)
    }
}

impl Bench {
    fn session_of(&self, key: &FlowKey) -> Option<Flow> {
        let key = flow::FlowKey::new(
            key.source,
            key.destination,
            key.protocol,
            key.source_port,
            key.destination_port,
        );
        let hit = self.node.flows.lookup(&key.unwrap())?;
        self.node.flows.flow(hit.session, self.node.now)
    }
}

#[test]
fn a_grant_begins_further_connections_that_are_adopted_and_counted() {
    let mut bench = Bench::new();
    let at = bench.moment().since_boot;
    let key = another(41_000);
    assert!(
        !bench.kernel.opens(&key, at),
        "nothing is known of the pair"
    );
    assert!(bench.tcp(1, SYN));
    bench.look();
    assert!(bench.kernel.opens(&key, at));
    let other_port = FlowKey {
        destination_port: 81,
        ..key
    };
    assert!(!bench.kernel.opens(&other_port, at));
    assert_eq!(bench.session_of(&key), None);
    bench.look();
    bench.look();
    let session = bench.session_of(&key).unwrap();
    assert_eq!(session.packets, [1, 0]);
    assert_eq!(session.state, State::HalfOpen);
    assert_eq!(session.owners, [pod(1), pod(2)].map(|id| u32::from(id.0)));
    let by_worker = bench.session().unwrap();
    assert_eq!(
        (session.rules, session.paths),
        (by_worker.rules, by_worker.paths)
    );
    for rule in session.rules {
        let hit = bench.rules.of(rule).unwrap();
        assert_eq!(hit.flows.value(), 1);
    }
    assert!(bench.repeated.repeats(&session).is_some());
    // The connection ends in the kernel.
    for key in bench.kernel.flows.keys().copied().collect::<Vec<_>>() {
        bench.kernel.flows.get_mut(&key).unwrap().1.tcp_flags |= FIN | ACK | SYN;
        assert!(bench.kernel.passes(&key, 52, at));
    }
    bench.look();
    bench.look();
    assert_eq!(bench.session_of(&key).unwrap().state, State::FinsSeen);
    assert!(bench.kernel.flows.is_empty());
}

#[test]
fn a_grant_ends_with_its_tables_and_what_it_let_in_meanwhile_is_cut() {
    let mut bench = Bench::new();
    let at = bench.moment().since_boot;
    assert!(bench.tcp(1, SYN));
    bench.look();
    let key = another(41_000);
    assert!(bench.kernel.opens(&key, at));
    // Tables that deny it came before it was adopted.
    bench.node.policy(world::endpoint(1, 2, &[], &["nobody"]));
    bench.look();
    assert!(bench.kernel.flows.is_empty(), "not let in");
    assert_eq!(bench.session_of(&key), None);
    bench.believe();
    assert!(!bench.kernel.opens(&another(42_000), at));
}
