//! A lab whose nodes share an etcd: it works as one of files does, and goes on when etcd is away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::ping::Train;
use support::store::{
    apply, assert_none_lost, compact, create, cut, delete, deny, etcdctl, heal, lose_node,
    reporting, says_away,
};
use support::{TestLab, eventually};
use vrouter_api::{Key, Kind, Resource};
use vrouter_datastore::ipam::Ipam;
use vrouter_lab::{etcd, vrouter};

#[test]
#[ignore = "needs root"]
fn forwarding_goes_on_whatever_happens_to_etcd() {
    let mut lab = TestLab::up("--datastore etcd --nodes 3 --pods 2 --encap cross-subnet");
    lab.check("--tests ping,tcp --quiet");
    let keys = etcdctl(&lab, "get --prefix /calico --keys-only");
    let path = "/calico/resources/v3/projectcalico.org/workloadendpoints/default/\
                node1-k8s-pod1--1-eth0";
    assert!(keys.contains(path), "{keys}");

    let train = Train::start(&lab, "pod1-1", "10.65.0.65");
    thread::sleep(Duration::from_millis(500));
    let running = lab
        .lab
        .processes
        .iter()
        .find(|it| it.role == "etcd")
        .unwrap();
    running.signal(Signal::SIGKILL);
    assert!(running.wait_ended(Duration::from_secs(5)));
    eventually(15, "the nodes say so", || {
        (1..=3).all(|node| says_away(&lab, node))
    });
    assert!(
        lab.pings("pod1-2", "10.65.0.129"),
        "new flows are forwarded too"
    );

    // A node that starts now starts from its cache.
    let node3 = lab
        .lab
        .processes
        .iter()
        .find(|it| it.role == "vrouterd node3")
        .unwrap();
    node3.signal(Signal::SIGTERM);
    assert!(node3.wait_ended(Duration::from_secs(5)));
    let node3 = vrouter::start(&lab.lab, lab.node(3)).unwrap();
    eventually(10, "pod3-1 is back", || lab.pings("pod1-1", "10.65.0.129"));
    assert!(lab.pings("pod3-2", "10.65.0.65"), "to other nodes too");
    assert!(says_away(&lab, 3), "it had only its cache");

    let process = etcd::start(&lab.lab).unwrap();
    lab.lab.processes.push(process);
    lab.lab.processes.push(node3);
    eventually(15, "etcd is back", || {
        !(1..=3).any(|node| says_away(&lab, node))
    });
    apply(&lab, &deny("pod2-2"));
    eventually(5, "a change arrives", || !lab.pings("pod1-1", "10.65.0.66"));
    delete(&lab, &Key::global(Kind::GlobalNetworkPolicy, "deny"));
    eventually(5, "another one too", || lab.pings("pod1-1", "10.65.0.66"));
    assert_none_lost(&train.finish(), 500);
    for node in 1..=2 {
        lab.assert_conserved(node);
    }
}

#[test]
#[ignore = "needs root"]
fn a_partition_and_a_compaction_lose_no_change() {
    let lab = TestLab::up("--datastore etcd --nodes 2 --pods 2 --encap vxlan");
    let train = Train::start(&lab, "pod1-1", "10.65.0.65");
    thread::sleep(Duration::from_millis(300));
    // Node 1 alone cannot reach etcd: what it sends there goes nowhere.
    cut(&lab, 1);
    assert!(!says_away(&lab, 2));
    let key = Key::namespaced(Kind::WorkloadEndpoint, "default", "node1-k8s-pod1--2-eth0");
    let endpoint = delete(&lab, &key);
    apply(&lab, &deny("pod2-2"));
    compact(&lab);
    assert!(
        lab.pings("pod1-1", "10.65.0.2"),
        "node 1 knows nothing of it"
    );
    heal(&lab, 1);
    eventually(5, "the endpoint is gone", || {
        !lab.pings("pod1-1", "10.65.0.2")
    });
    eventually(5, "the policy is there", || {
        !lab.pings("pod1-1", "10.65.0.66")
    });
    etcd::with_store(&lab.lab, |store| store.create(&endpoint).map(drop)).unwrap();
    eventually(5, "the endpoint is back", || {
        lab.pings("pod1-1", "10.65.0.2")
    });
    assert_none_lost(&train.finish(), 500);
}

#[test]
#[ignore = "needs root"]
fn a_node_registers_itself() {
    let lab = TestLab::up("--datastore etcd --nodes 2 --pods 1 --encap vxlan");
    // Node 2's Node and tunnel address are lost, and it starts anew.
    let running = lab
        .lab
        .processes
        .iter()
        .find(|it| it.role == "vrouterd node2")
        .unwrap();
    running.signal(Signal::SIGTERM);
    assert!(running.wait_ended(Duration::from_secs(5)));
    etcd::with_store(&lab.lab, |store| {
        Ipam::new(Arc::clone(store)).release_handle("vxlan-tunnel-addr-node2")
    })
    .unwrap();
    lose_node(&lab, "node2");
    let process = vrouter::start(&lab.lab, lab.node(2)).unwrap();
    eventually(10, "node 2 is reached", || {
        lab.pings("pod1-1", "10.65.0.65")
    });
    let mut status = String::new();
    eventually(10, "node 2 reports", || {
        status = etcdctl(&lab, "get /calico/felix/v2/no-region/host/node2/status");
        status.contains("\"uptime\"")
    });
    // Nobody asked for its endpoints: then they are told, and no more when nobody asks again.
    let of_endpoints = "get --prefix --keys-only /calico/felix/ --limit 100";
    assert!(!etcdctl(&lab, of_endpoints).contains("/endpoint/"));
    reporting(&lab, true);
    let host = "/calico/felix/v1/host/node2/endpoint/all2";
    let all = "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: all2}\n\
               spec: {node: node2, interfaceName: '*', profiles: [projectcalico-default-allow]}\n";
    apply(&lab, all);
    eventually(10, "the host endpoint is up", || {
        etcdctl(&lab, &format!("get --print-value-only {host}")).trim() == r#"{"status":"up"}"#
    });
    // Its endpoint is up; it goes down with its namespace, and away with its resource.
    let path = "/calico/felix/v2/no-region/host/node2/workload/k8s/default%2fpod2-1/endpoint/eth0";
    let endpoint = || etcdctl(&lab, &format!("get --print-value-only {path}"));
    eventually(10, "the endpoint is up", || {
        endpoint().trim() == r#"{"status":"up"}"#
    });
    let held = etcdctl(&lab, &format!("get {path} -w json"));
    assert!(held.contains("\"lease\":"), "{held}");
    let key = Key::namespaced(Kind::WorkloadEndpoint, "default", "node2-k8s-pod2--1-eth0");
    let mut resource = delete(&lab, &key);
    eventually(10, "its status goes with it", || endpoint().is_empty());
    let annotations = &mut resource.metadata_mut().annotations;
    annotations.insert("vrouter.io/netns".to_owned(), "nowhere".to_owned());
    etcd::with_store(&lab.lab, |store| store.create(&resource).map(drop)).unwrap();
    eventually(10, "the endpoint is down", || {
        endpoint().trim() == r#"{"status":"down"}"#
    });
    reporting(&lab, false);
    eventually(10, "no endpoint is told of any more", || {
        !etcdctl(&lab, of_endpoints).contains("/endpoint/")
    });
    let report = etcd::with_store(&lab.lab, |store| {
        let Resource::Node(node) = store.get(&Key::global(Kind::Node, "node2"))? else {
            panic!("it is a node");
        };
        let bgp = node.spec.bgp.expect("it registered");
        assert_eq!(bgp.ipv4_address.unwrap().to_string(), "172.16.1.12/24");
        let tunnel = node
            .spec
            .ipv4_vxlan_tunnel_addr
            .expect("the pool asks for one");
        let ipam = Ipam::new(Arc::clone(store));
        let held = ipam.holder(tunnel.into())?.expect("it is taken");
        let handle = held.attributes.handle_id;
        assert_eq!(handle.as_deref(), Some("vxlan-tunnel-addr-node2"));
        ipam.check()
    })
    .unwrap();
    assert_eq!(report.problems, []);
    process.signal(Signal::SIGTERM);
    assert!(process.wait_ended(Duration::from_secs(5)));
}

#[test]
#[ignore = "needs root"]
fn nodes_come_and_go_at_run_time() {
    let lab = TestLab::up("--datastore etcd --nodes 2 --pods 1 --encap vxlan");
    let routes = || lab.ok("node1", "ip route show");
    let before = routes();
    let affinity = delete(
        &lab,
        &Key::global(Kind::BlockAffinity, "node2-10-65-0-64-26"),
    );
    let node = lose_node(&lab, "node2");
    eventually(5, "node 2 is gone", || !lab.pings("pod1-1", "10.65.0.65"));
    create(&lab, &[node, affinity]);
    eventually(5, "node 2 is back", || lab.pings("pod1-1", "10.65.0.65"));
    assert_eq!(before, routes(), "the kernel's routes are as before");
    lab.assert_conserved(1);
}
