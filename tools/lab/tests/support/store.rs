//! Resources in a lab's etcd, and what nodes say of it.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use vrouter_api::{Key, Kind, Resource, parse};
use vrouter_control::params::ShowResources;
use vrouter_lab::process::{Process, wait_until};
use vrouter_lab::{etcd, vrouter};

use super::ping::Report;
use super::{TestLab, eventually};

/// Makes resources in the lab's etcd.
pub(crate) fn apply(lab: &TestLab, text: &str) {
    let parsed = parse(text.as_bytes(), "test");
    assert_eq!(parsed.errors, []);
    let resources: Vec<Resource> = parsed.resources.into_iter().map(|it| it.value).collect();
    create(lab, &resources);
}

/// Makes resources again that were there.
pub(crate) fn create(lab: &TestLab, resources: &[Resource]) {
    etcd::with_store(&lab.lab, |store| {
        resources
            .iter()
            .try_for_each(|it| store.create(it).map(drop))
    })
    .expect("etcd is there");
}

/// Removes a resource from the lab's etcd.
pub(crate) fn delete(lab: &TestLab, key: &Key) -> Resource {
    etcd::with_store(&lab.lab, |store| store.delete(key, None)).expect("etcd has it")
}

/// Removes the key of a Node from the lab's etcd and nothing else: a client's delete would also
/// remove the node's endpoints.
pub(crate) fn lose_node(lab: &TestLab, name: &str) -> Resource {
    let key = Key::global(Kind::Node, name);
    let node = etcd::with_store(&lab.lab, |store| store.get(&key)).expect("etcd has it");
    let path = format!("/calico/resources/v3/projectcalico.org/nodes/{name}");
    assert_eq!(etcdctl(lab, &format!("del {path}")).trim(), "1");
    node
}

/// Whether nodes say in etcd which of their endpoints are up.
pub(crate) fn reporting(lab: &TestLab, enabled: bool) {
    etcd::with_store(&lab.lab, |store| {
        let key = Key::global(Kind::FelixConfiguration, "default");
        let Resource::FelixConfiguration(mut felix) = store.get(&key)? else {
            panic!("it is a FelixConfiguration");
        };
        felix.spec.endpoint_reporting_enabled = Some(enabled);
        store.update(&felix.into()).map(drop)
    })
    .expect("etcd has it");
}

/// A policy that closes one pod.
pub(crate) fn deny(pod: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: deny}}\n\
         spec: {{order: 1, selector: \"pod == '{pod}'\", types: [Ingress], ingress: [{{action: Deny}}]}}\n"
    )
}

/// Whether a node says that etcd is away.
pub(crate) fn says_away(lab: &TestLab, node: usize) -> bool {
    let report = vrouter::ask(lab.node(node), &ShowResources {}).expect("the vRouter answers");
    let said = |text: &str| text.contains("etcd cannot be reached");
    report.notices.iter().any(|notice| said(&notice.message))
}

#[track_caller]
pub(crate) fn assert_none_lost(report: &Report, least: usize) {
    assert!(report.answers.len() > least, "{}", report.summary);
    assert!(
        report.lost.is_empty(),
        "{:?}: {}",
        report.lost,
        report.summary
    );
}

pub(crate) fn etcdctl(lab: &TestLab, arguments: &str) -> String {
    lab.ok(
        "etcd",
        &format!(
            "env ETCDCTL_API=3 etcdctl --endpoints {} {arguments}",
            etcd::endpoint()
        ),
    )
}

/// Forgets all of etcd's history.
pub(crate) fn compact(lab: &TestLab) {
    let answer = etcdctl(lab, "get x -w json");
    let revision = answer.split("\"revision\":").nth(1);
    let revision = revision.and_then(|rest| rest.split(',').next());
    let revision = revision.expect("etcdctl tells the revision");
    etcdctl(lab, &format!("compact {revision}"));
}

/// The process of the lab with that role that was started last.
pub(crate) fn process<'a>(lab: &'a TestLab, role: &str) -> &'a Process {
    let of_role = |it: &&Process| it.role == role;
    let found = lab.lab.processes.iter().rev().find(of_role);
    found.expect("the lab has it")
}

/// Ends a process of the lab.
pub(crate) fn end(lab: &TestLab, role: &str, signal: Signal) {
    let running = process(lab, role);
    running.signal(signal);
    // The kernel waits for its readers (RCU) with each device and program that goes.
    let patience = Duration::from_secs(60);
    assert!(running.wait_ended(patience), "{role}");
    // Its threads may still hold its locks and sockets for a moment.
    let tasks = format!("/proc/{}/task", running.pid);
    let threads = || fs::read_dir(&tasks).map_or(0, Iterator::count);
    assert!(wait_until(patience, || threads() < 2), "{role}");
}

/// Starts the lab's etcd again.
pub(crate) fn start_etcd(lab: &mut TestLab) {
    let process = etcd::start(&lab.lab).expect("etcd starts on its data");
    lab.lab.processes.push(process);
}

/// Starts a node's vRouter again.
pub(crate) fn start_vrouterd(lab: &mut TestLab, node: usize) {
    let process = vrouter::start(&lab.lab, lab.node(node)).expect("it starts");
    lab.lab.processes.push(process);
}

/// What a node sends to etcd goes nowhere.
pub(crate) fn cut(lab: &TestLab, node: usize) {
    let member = lab.node(node).name.clone();
    lab.ok(
        &member,
        &format!("ip route add blackhole {}", etcd::ADDRESS),
    );
    eventually(25, "the node says so", || says_away(lab, node));
}

/// It arrives again.
pub(crate) fn heal(lab: &TestLab, node: usize) {
    let member = lab.node(node).name.clone();
    lab.ok(
        &member,
        &format!("ip route del blackhole {}", etcd::ADDRESS),
    );
    eventually(25, "the node has etcd back", || !says_away(lab, node));
}
