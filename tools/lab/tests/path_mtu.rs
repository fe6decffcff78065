//! Pods whose link promises more than the tunnel carries: path MTU discovery where ICMP gets
//! through, and connections that do without it where it does not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::TestLab;

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
