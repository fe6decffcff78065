//! Others on the wire: the kernel's own VXLAN on the other node, scapy as an IPIP peer, tshark as
//! the judge of what we send.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use support::{TestLab, lab_command, said, scapy};

#[test]
#[ignore = "needs root"]
fn kernel_vxlan_on_the_other_node() {
    for flags in [
        "--mixed --encap vxlan --family dual --underlay-offload off",
        "--mixed --encap vxlan --family dual",
        "--mixed --encap cross-subnet --family dual --nodes 3",
        "--mixed --encap none --family dual",
    ] {
        let lab = TestLab::up(flags);
        lab.check("--quiet");
        lab.assert_conserved(1);
    }
}

/// The ICMP sequence numbers in a capture file, one for each packet.
fn sequences(lab: &TestLab, file: &str) -> Vec<u32> {
    let fields = lab.ok(
        "net",
        &format!("tshark -r {file} -T fields -e icmp.seq -Y icmp.type==8"),
    );
    fields
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

/// Sends what frames.py makes for a `peer`, and gives the sequence numbers that reach pod 1-1.
fn peer_frames(lab: &TestLab) -> Vec<u32> {
    let state = lab.lab.state_directory.display().to_string();
    let (frames, capture) = (format!("{state}/peer.pcap"), format!("{state}/pod.pcap"));
    let made = scapy(&["peer", &frames]);
    assert!(made.status.success(), "{}", said(&made));
    let dump = lab.start(
        "pod1-1",
        &format!("tcpdump -n -U -i eth0 -w {capture} icmp"),
    );
    thread::sleep(Duration::from_millis(700));
    let name = &lab.lab.name;
    let sent = lab_command(&format!("inject {name} --at node1 --frames {frames}"));
    assert!(sent.status.success(), "{}", said(&sent));
    thread::sleep(Duration::from_millis(500));
    dump.interrupt();
    sequences(lab, &capture)
}

#[test]
#[ignore = "needs root"]
fn ipip_made_by_scapy_is_delivered_and_strangers_are_not() {
    let lab = TestLab::up("--encap ipip");
    let got = peer_frames(&lab);
    for sequence in (1..=10).chain([501]) {
        let count = got.iter().filter(|seq| **seq == sequence).count();
        assert_eq!(
            count, 1,
            "packet {sequence} of node 2 came {count} times: {got:?}"
        );
    }
    assert!(!got.contains(&101), "a stranger's packet was delivered");
    assert!(
        !got.contains(&401),
        "a packet that claims a pod of this node was delivered"
    );
    assert!(
        lab.drops(1, "tunnel") + lab.drops(1, "source") > 0,
        "the stranger is counted"
    );
    lab.assert_conserved(1);
}

#[test]
#[ignore = "needs root"]
fn vxlan_made_by_scapy_is_delivered_and_strangers_are_not() {
    let lab = TestLab::up("--encap vxlan");
    let got = peer_frames(&lab);
    for sequence in 201..=205 {
        assert!(
            got.contains(&sequence),
            "packet {sequence} of node 2: {got:?}"
        );
    }
    assert!(!got.contains(&301), "a stranger's packet was delivered");
    assert!(
        lab.drops(1, "tunnel") + lab.drops(1, "source") > 0,
        "the stranger is counted"
    );
    lab.assert_conserved(1);
}

/// Captures node 1's wire while pods talk across, and gives the file.
fn wire(lab: &TestLab) -> String {
    let capture = format!("{}/wire.pcap", lab.lab.state_directory.display());
    // The bridge's port to node 1; what node 1 sends arrives there.
    let dump = lab.start(
        "net",
        &format!("tcpdump -n -U -s 0 -B 16384 -i node1 -w {capture}"),
    );
    thread::sleep(Duration::from_millis(700));
    lab.check("--quiet --paths pod-pod-cross,node-pod-cross --tests ping,ping-sizes,http,udp");
    thread::sleep(Duration::from_millis(300));
    dump.interrupt();
    capture
}

/// tshark's view of a capture: these fields of the packets that match.
fn decoded(lab: &TestLab, file: &str, filter: &str, fields: &str) -> Vec<Vec<String>> {
    let mut command = format!("tshark -n -r {file} -T fields -E occurrence=f");
    for protocol in ["ip", "udp", "tcp"] {
        command.push_str(&format!(" -o {protocol}.check_checksum:TRUE"));
    }
    for field in fields.split(',') {
        command.push_str(&format!(" -e {field}"));
    }
    command.push_str(&format!(" -Y {filter}"));
    let text = lab.ok("net", &command);
    text.lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn assert_no_bad_checksum(lab: &TestLab, file: &str) {
    // Status 0 is a checksum that is there and wrong. Cut fragments have none to check.
    for layer in ["ip", "udp", "tcp", "icmp", "icmpv6"] {
        let filter = format!("{layer}.checksum.status==0");
        let bad = decoded(
            lab,
            file,
            &filter,
            "frame.number,ip.src,ip.dst,_ws.col.Info",
        );
        assert!(
            bad.is_empty(),
            "{layer}: {} bad checksums, first {:?}",
            bad.len(),
            bad.first()
        );
    }
}

#[test]
#[ignore = "needs root"]
fn our_ipip_as_tshark_sees_it() {
    let lab = TestLab::up("--encap ipip --underlay-offload off");
    let file = wire(&lab);
    assert_no_bad_checksum(&lab, &file);
    let packets = decoded(
        &lab,
        &file,
        "ip.proto==4&&ip.src==172.16.1.11",
        "ip.dst,ip.ttl,ip.len,ip.flags.df",
    );
    assert!(packets.len() > 50, "{} IPIP packets", packets.len());
    for packet in &packets {
        assert_eq!(packet[0], "172.16.1.12", "{packet:?}");
        let ttl: u32 = packet[1].parse().unwrap();
        assert!(ttl >= 32, "outer TTL {ttl}");
        let length: usize = packet[2].parse().unwrap();
        assert!(length <= 1500, "{packet:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn our_vxlan_as_tshark_sees_it() {
    let lab = TestLab::up("--encap vxlan --family dual --underlay-offload off");
    let file = wire(&lab);
    assert_no_bad_checksum(&lab, &file);
    for (filter, destination) in [
        (
            "vxlan&&ip.src==172.16.1.11&&!ipv6.src==fd00:16:1::11",
            "172.16.1.12",
        ),
        ("vxlan&&ipv6.src==fd00:16:1::11", "fd00:16:1::12"),
    ] {
        let address = if destination.contains(':') {
            "ipv6.dst"
        } else {
            "ip.dst"
        };
        let fields =
            format!("{address},udp.srcport,udp.dstport,vxlan.vni,vxlan.flags,eth.dst,frame.len");
        let packets = decoded(&lab, &file, filter, &fields);
        assert!(packets.len() > 50, "{} packets of {filter}", packets.len());
        let mut ports = HashSet::new();
        for packet in &packets {
            assert_eq!(packet[0], destination, "{packet:?}");
            assert_eq!(
                (packet[2].as_str(), packet[3].as_str()),
                ("4789", "4096"),
                "{packet:?}"
            );
            assert_eq!(packet[4], "0x0800", "{packet:?}");
            assert!(packet[6].parse::<usize>().unwrap() <= 1514, "{packet:?}");
            ports.insert(packet[1].clone());
        }
        assert!(
            ports.len() > 3,
            "source ports carry the inner flow's entropy: {ports:?}"
        );
    }
}
