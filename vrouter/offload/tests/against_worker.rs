//! The program at workloads does what the worker does: a short run of the oracle.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod bpffs;
#[path = "../../io/tests/namespace/mod.rs"]
mod namespace;
mod oracle;
#[path = "../../dataplane/tests/world/mod.rs"]
mod world;

#[test]
#[ignore = "needs root"]
fn repeats_what_the_worker_sends() {
    let report = oracle::run(60_000, 1);
    assert!(report.repeated > report.cases / 4, "{report:?}");
    assert!(report.to_user_space > report.cases / 4, "{report:?}");
    assert!(report.dropped > 0, "{report:?}");
}
