//! Broken frames at every entry: nothing panics, nothing loses its name, no buffer is lost.
//!
//! `worker-bench --fuzz N` runs the same for as long as wanted.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use world::mutate::Mutator;
use world::{Mode, Plan};

fn run(mode: Mode, seed: u64) {
    let mut node = Plan::new(1, mode).build();
    Mutator::new(seed).run(&mut node, 50_000);
    let balance = node.counters().balance();
    // If nearly nothing passed, the mutations would test nothing but the first parser.
    assert!(balance.transmitted * 10 > balance.received, "{balance:?}");
    assert!(node.drops().len() > 25, "{:?}", node.drops());
}

#[test]
fn broken_frames_over_vxlan() {
    run(Mode::Vxlan4, 1);
}

#[test]
fn broken_frames_over_vxlan6() {
    run(Mode::Vxlan6, 2);
}

#[test]
fn broken_frames_over_ipip() {
    run(Mode::Ipip, 3);
}

#[test]
fn broken_frames_routed() {
    run(Mode::Routed, 4);
}
