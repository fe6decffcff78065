//! Pods whose link promises more than the tunnel carries, and nodes whose link promises more than a
//! router between them: path MTU discovery where ICMP gets through, and connections that do without
//! it where it does not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use encap::Family;
use support::stream::Stream;
use support::{TestLab, eventually, lab_command, said, scapy};
use vrouter_control::params::ShowTunnels;
use vrouter_lab::{netns, vrouter};

/// The pods believe in 1500 bytes a packet; the tunnel of each family carries what is given, and
/// the whole path `fits`.
fn too_wide(flags: &str, families: &[(u8, usize)], fits: usize) {
    let lab = TestLab::up(&format!("{flags} --nodes 2 --pods 1"));
    for pod in ["pod1-1", "pod2-1"] {
        lab.ok(pod, "ip link set dev eth0 mtu 1500");
    }
    for (family, mtu) in families {
        let pod = lab.pod(2, 1);
        let (address, headers) = match family {
            4 => (pod.ipv4.unwrap().to_string(), 28),
            _ => (pod.ipv6.unwrap().to_string(), 48),
        };
        // Discovery: the first packet is refused with the size that fits, which the pod then keeps to.
        let size = 1500 - headers;
        let ping = format!("ping -n -c 3 -i 0.05 -W 1 -M do -s {size} {address}");
        let said = lab.run("pod1-1", &ping);
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said).to_lowercase();
        let told = ["mtu = ", "mtu=", "mtu: "].map(|word| format!("{word}{mtu}"));
        assert!(told.iter().any(|told| said.contains(told)), "{said}");
        lab.ok(
            "pod1-1",
            &format!(
                "ping -n -c 3 -i 0.05 -W 1 -M do -s {} {address}",
                fits - headers
            ),
        );
    }
    let check = "--quiet --paths pod-pod-cross --tests tcp,tcp-reverse,tcp-streams,http";
    lab.check(check);
    // No ICMP any more, and nothing remembered: connections keep below the tunnel's size by
    // themselves.
    for pod in ["pod1-1", "pod2-1"] {
        lab.ok(pod, "iptables -I INPUT -p icmp -j DROP");
        lab.ok(
            pod,
            "ip6tables -I INPUT -p icmpv6 --icmpv6-type packet-too-big -j DROP",
        );
        lab.ok(pod, "ip route flush cache");
        lab.ok(pod, "ip -6 route flush cache");
    }
    let before = [1, 2].map(|node| lab.drops(node, "too-big"));
    lab.check(check);
    assert_eq!([1, 2].map(|node| lab.drops(node, "too-big")), before);
    for node in [1, 2] {
        lab.assert_conserved(node);
    }
}

#[test]
#[ignore = "needs root"]
fn connections_fit_a_vxlan_tunnel() {
    too_wide("--encap vxlan --family dual", &[(4, 1450), (6, 1430)], 1430);
}

#[test]
#[ignore = "needs root"]
fn connections_fit_an_ipip_tunnel() {
    too_wide("--encap ipip", &[(4, 1480)], 1480);
}

/// Two nodes in different subnets, and what stands between their pods.
struct Between {
    lab: TestLab,
    address: IpAddr,
    /// Bytes of an IP header and an ICMP header.
    headers: usize,
    /// Bytes of the tunnel's headers.
    overhead: usize,
}

impl Between {
    fn up(flags: &str, family: Family, overhead: usize) -> Self {
        let lab = TestLab::up(&format!("{flags} --nodes 2 --pods 1"));
        for member in ["node1", "node2", "pod1-1", "pod2-1"] {
            for family in [4, 6] {
                let setting = format!("net.ipv{family}.route.mtu_expires={EXPIRES}");
                lab.ok(member, &format!("sysctl -q -w {setting}"));
            }
        }
        let address = lab.pod(2, 1).address(family).unwrap();
        let headers = if family.is_v6() { 48 } else { 28 };
        Self {
            lab,
            address,
            headers,
            overhead,
        }
    }

    /// The router's links have this MTU from now on.
    fn set_mtu(&self, mtu: usize) {
        for bridge in ["br1", "br2"] {
            self.lab
                .ok("net", &format!("ip link set dev {bridge} mtu {mtu}"));
        }
    }

    /// The largest packet between pods over a path with this MTU.
    fn inner(&self, mtu: usize) -> usize {
        let least = if self.address.is_ipv6() { 1280 } else { 0 };
        (mtu - self.overhead).max(least)
    }

    /// What ping says of a packet of `length` bytes that is not to be fragmented.
    fn ping(&self, length: usize) -> (bool, String) {
        let (size, address) = (length - self.headers, self.address);
        let ping = format!("ping -n -c 1 -W 1 -M do -s {size} {address}");
        let output = self.lab.run("pod1-1", &ping);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).to_lowercase();
        (output.status.success(), said)
    }

    fn large_datagram_arrives(&self) -> bool {
        let socket = |member: &str, address: IpAddr| {
            let namespace = self.lab.lab.namespace(member).unwrap();
            netns::inside(namespace, || UdpSocket::bind((address, 0)))
                .unwrap()
                .unwrap()
        };
        let own = self.lab.pod(1, 1).address(self.address.into());
        let sender = socket("pod1-1", own.unwrap());
        let receiver = socket("pod2-1", self.address);
        receiver
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let to = receiver.local_addr().unwrap();
        // Refused while the sender's own path MTU is news to it.
        let sent = sender.send_to(&[7; 8000], to);
        sent.is_ok()
            && receiver
                .recv(&mut [0; 8000])
                .is_ok_and(|length| length == 8000)
    }

    /// The path's MTU as node 1 shows it.
    fn shown(&self) -> Option<u32> {
        let tunnels = vrouter::ask(self.lab.node(1), &ShowTunnels::default()).unwrap();
        let family = Family::from(self.address);
        let tunnel = tunnels
            .iter()
            .find(|t| Family::from(t.remote) == family)
            .unwrap();
        tunnel.path_mtu
    }
}

/// Seconds for which the kernels remember what ICMP taught them.
const EXPIRES: u64 = 4;
/// Seconds in which traffic goes on.
const RECOVERS: u64 = 2;

/// The router's MTU falls twice and rises again, under TCP, iperf3, pings that are not to be
/// fragmented and large datagrams. `tells`: whether pods hear of a tunnel's path.
fn follows(between: &Between, tells: bool, mtus: &[usize]) {
    let (lab, address) = (&between.lab, between.address);
    let server = lab.start("pod2-1", "iperf3 -s -1");
    lab.ok("pod2-1", "sleep 0.3");
    let client = lab.start("pod1-1", &format!("iperf3 -c {address} -t 16 -i 1 -J"));
    let stream = Stream::start(lab, "pod1-1", "pod2-1", address, 7000);
    let mut before = 1500;
    for &mtu in mtus {
        let fits = between.inner(mtu);
        let pause = stream.longest_pause(|| {
            between.set_mtu(mtu);
            if tells && mtu < before {
                let told = ["mtu = ", "mtu=", "mtu: "].map(|word| format!("{word}{fits}"));
                eventually(RECOVERS, &format!("{mtu}: the pod hears of {fits}"), || {
                    let (_, said) = between.ping(between.inner(before).min(lab.lab.pod_mtu));
                    told.iter().any(|told| said.contains(told))
                });
            }
            eventually(RECOVERS, &format!("{mtu}: a ping of {fits}"), || {
                mtu > before || between.ping(fits).0
            });
            eventually(RECOVERS, &format!("{mtu}: a large datagram"), || {
                between.large_datagram_arrives()
            });
        });
        assert!(pause < Duration::from_secs(RECOVERS), "{mtu}: {pause:?}");
        if lab.node(1).control_socket.is_some() && tells && between.overhead > 0 {
            let wait = if mtu < before { RECOVERS } else { EXPIRES + 4 };
            eventually(wait, &format!("{mtu} is shown"), || {
                between.shown() == u32::try_from(mtu).ok()
            });
        }
        if mtu > before {
            eventually(EXPIRES + 4, &format!("{mtu}: a ping of {fits}"), || {
                between.ping(fits.min(lab.lab.pod_mtu)).0
            });
        }
        before = mtu;
    }
    drop(stream);
    let report: serde_json::Value = serde_json::from_str(&client.finish()).unwrap();
    let seconds: Vec<u64> = report["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|interval| interval["sum"]["bytes"].as_u64())
        .collect();
    let is_still = seconds.windows(2).any(|two| two == [0, 0]);
    assert!(seconds.len() >= 15 && !is_still, "{seconds:?}");
    drop(server);
}

/// The same for nodes with the vRouter, whose counters say why packets were lost.
fn node_follows(flags: &str, family: Family, overhead: usize) {
    let between = Between::up(flags, family, overhead);
    follows(&between, true, &[1400, 1300, 1500]);
    if overhead > 0 {
        assert!(between.lab.drops(1, "path-too-big") > 0);
    }
    for node in [1, 2] {
        assert_eq!(between.lab.drops(node, "tx-error"), 0);
        between.lab.assert_conserved(node);
    }
}

#[test]
#[ignore = "needs root"]
fn vxlan_follows_the_path() {
    node_follows("--encap vxlan --two-subnets", Family::V4, 50);
}

#[test]
#[ignore = "needs root"]
fn vxlan_over_ipv6_follows_the_path() {
    node_follows("--encap vxlan --two-subnets --family 6", Family::V6, 70);
}

#[test]
#[ignore = "needs root"]
fn ipip_follows_the_path() {
    node_follows("--encap ipip --two-subnets", Family::V4, 20);
}

#[test]
#[ignore = "needs root"]
fn cross_subnet_follows_the_path() {
    node_follows("--encap cross-subnet --family dual", Family::V4, 50);
}

#[test]
#[ignore = "needs root"]
fn cross_subnet_over_ipv6_follows_the_path() {
    node_follows("--encap cross-subnet --family dual", Family::V6, 70);
}

#[test]
#[ignore = "needs root"]
fn routes_follow_the_path() {
    node_follows("--encap none --two-subnets", Family::V4, 0);
}

#[test]
#[ignore = "needs root"]
fn routes_over_ipv6_follow_the_path() {
    node_follows("--encap none --two-subnets --family 6", Family::V6, 0);
}

#[test]
#[ignore = "needs root"]
fn kernel_nodes_follow_the_path() {
    let flags = "--backend kernel --encap cross-subnet --family dual";
    follows(
        &Between::up(flags, Family::V4, 50),
        false,
        &[1400, 1300, 1500],
    );
    // A kernel tunnel over IPv6 loses IPv6's 1280 bytes where the path carries 1300.
    follows(&Between::up(flags, Family::V6, 70), false, &[1400, 1500]);
}

#[test]
#[ignore = "needs root"]
fn forged_errors_change_nothing() {
    for (flags, family, overhead) in [
        ("--encap cross-subnet --family dual", Family::V4, 50),
        ("--encap cross-subnet --family dual", Family::V6, 70),
        ("--encap ipip --two-subnets", Family::V4, 20),
    ] {
        let between = Between::up(flags, family, overhead);
        let lab = &between.lab;
        let frames = format!("{}/forged.pcap", lab.lab.state_directory.display());
        let made = scapy(&["forged", &frames]);
        assert!(made.status.success(), "{}", said(&made));
        let inject = format!("inject {} --at node1 --frames {frames}", lab.lab.name);
        let sent = lab_command(&inject);
        assert!(sent.status.success(), "{}", said(&sent));
        lab.ok("node1", "sleep 1");
        assert_eq!(between.shown(), Some(1500), "{flags}");
        let (is_whole, said) = between.ping(lab.lab.pod_mtu);
        assert!(is_whole, "{flags}: {said}");
        assert_eq!(lab.drops(1, "too-big"), 0, "{flags}");
    }
}
