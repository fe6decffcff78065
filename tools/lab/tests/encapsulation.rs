//! Real traffic through every encapsulation and family: ping, sizes around the MTU, iperf3 over TCP
//! and UDP both ways and with eight streams, curl, traceroute, on every kind of path.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::TestLab;

fn all_traffic(flags: &str) {
    let lab = TestLab::up(flags);
    lab.check("--quiet");
    lab.assert_no_netfilter();
    for node in 1..=lab.lab.nodes.len() {
        lab.assert_conserved(node);
    }
}

#[test]
#[ignore = "needs root"]
fn vxlan_both_families() {
    all_traffic("--encap vxlan --family dual");
}

#[test]
#[ignore = "needs root"]
fn vxlan_ipv6_alone_without_underlay_offloads() {
    all_traffic("--encap vxlan --family 6 --underlay-offload off");
}

#[test]
#[ignore = "needs root"]
fn vxlan_two_workers() {
    all_traffic("--encap vxlan --family 4 --workers 2");
}

#[test]
#[ignore = "needs root"]
fn ipip_with_routed_ipv6() {
    all_traffic("--encap ipip --family dual");
}

#[test]
#[ignore = "needs root"]
fn ipip_without_underlay_offloads() {
    all_traffic("--encap ipip --family 4 --underlay-offload off");
}

#[test]
#[ignore = "needs root"]
fn routed_both_families() {
    all_traffic("--encap none --family dual");
}

#[test]
#[ignore = "needs root"]
fn cross_subnet_both_families() {
    all_traffic("--encap cross-subnet --family dual --nodes 3");
}

#[test]
#[ignore = "needs root"]
fn ipip_cross_subnet() {
    all_traffic("--encap ipip-cross-subnet --family dual --nodes 3");
}

#[test]
#[ignore = "needs root"]
fn pods_on_taps_by_vxlan_and_by_routes() {
    all_traffic("--pod-link tap --encap vxlan --family dual");
    all_traffic("--pod-link tap --encap none");
}

#[test]
#[ignore = "needs root"]
fn thousand_rules() {
    let lab = TestLab::up("--encap vxlan --rules 1000 --nodes 2");
    lab.check("--quiet --paths pod-pod-same,pod-pod-cross --tests ping,tcp,http");
}
