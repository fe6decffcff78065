//! A verdict allocates nothing: counted by the allocator itself, over a program that is walked
//! and one with an index.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use policy::compile::Graph;
use policy::model::spec::{EntitySpec, PolicySpec, RuleSpec};
use policy::model::{
    Action, Direction, Endpoint, EndpointKey, EndpointSpec, Name, PacketTuple, Policy, PolicyKey,
    PolicyKind, Protocol,
};
use policy::selector::Labels;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator unchanged; the count is this thread's
// own and needs neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn rule(i: u16) -> RuleSpec {
    let app = format!("app == 'app-{}'", i % 7);
    RuleSpec {
        protocol: Some(Protocol::TCP),
        source: EntitySpec {
            selector: Some(app.parse().expect("a selector")),
            ..EntitySpec::default()
        },
        destination: EntitySpec {
            ports: vec![(80 + i).into()],
            ..EntitySpec::default()
        },
        ..RuleSpec::new(if i.is_multiple_of(3) {
            Action::Log
        } else {
            Action::Deny
        })
    }
}

#[test]
fn a_verdict_allocates_nothing() {
    for rules in [3u16, 900] {
        let mut graph = Graph::new(Name::new("n").unwrap());
        for i in 0..10u32 {
            let spec = EndpointSpec {
                node: "n".into(),
                labels: Labels::from_pairs([("app", format!("app-{i}"))]).unwrap(),
                addresses: vec![format!("10.0.0.{i}")],
                ..EndpointSpec::default()
            };
            let key = EndpointKey::workload("ns", &format!("pod-{i}")).unwrap();
            graph.apply(Endpoint::new(key, &spec).unwrap().into());
        }
        let ingress = (0..rules).map(rule).collect();
        let spec = PolicySpec {
            ingress,
            ..PolicySpec::default()
        };
        let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, "p").unwrap();
        graph.apply(Policy::new(key, &spec).unwrap().into());
        graph.flush();
        let tables = graph.snapshot();
        let (endpoint, _) = tables.endpoints().next().unwrap();
        let packet = |from: u32, port: u16| {
            let source = std::net::Ipv4Addr::from_bits(0x0a00_0000 + from % 12);
            let destination = std::net::Ipv4Addr::from_bits(0x0a00_0000);
            PacketTuple::new(source.into(), destination.into(), 6).with_ports(1, port)
        };
        let verdict = |i: u32| {
            let port = 80 + u16::try_from(i % 1_000).unwrap();
            tables.evaluate(endpoint, Direction::Ingress, &packet(i, port))
        };
        let before = ALLOCATIONS.get();
        let denied = (0..10_000).filter(|&i| !verdict(i).allow).count();
        assert_eq!(ALLOCATIONS.get(), before);
        assert_eq!(denied, 10_000);
    }
}
