//! Bytes stay the same whatever the devices do for TCP: every mix of offloads on the pod's, the
//! host's and the underlay's device; and no checksum is wrong on a wire that carries whole packets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use support::TestLab;
use vrouter_lab::netns;

const FEATURES: [&str; 7] = ["tso", "gso", "gro", "tx", "rx", "sg", "tx-udp-segmentation"];

/// A quarter of a MiB without a period that segments could hide in.
fn data(seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(256 << 10)
    .collect()
}

/// Whether the kernel's virtio-net header has a name for VXLAN's super-packets (Linux 6.17). Without,
/// they leave without an outer UDP checksum.
fn names_tunnels() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|text| text.parse().ok());
    (numbers.next().flatten(), numbers.next().flatten()) >= (Some(6), Some(17_u32))
}

/// Sends data from one member to another and back over one connection; both must see the same.
fn transfer(lab: &TestLab, from: &str, to: &str, address: IpAddr, seed: u32) -> Result<(), String> {
    let (from, to) = (
        lab.lab.namespace(from).unwrap(),
        lab.lab.namespace(to).unwrap(),
    );
    let listener = netns::inside(to, || TcpListener::bind(SocketAddr::from((address, 0))))
        .unwrap()
        .map_err(|error| format!("bind: {error}"))?;
    let server = listener.local_addr().unwrap();
    let limit = Duration::from_secs(10);
    let client = netns::inside(from, || TcpStream::connect_timeout(&server, limit))
        .unwrap()
        .map_err(|error| format!("connect: {error}"))?;
    let (peer, _) = listener.accept().map_err(|error| error.to_string())?;
    for stream in [&client, &peer] {
        stream.set_read_timeout(Some(limit)).unwrap();
        stream.set_write_timeout(Some(limit)).unwrap();
    }
    let exchange = |mut stream: &TcpStream, sent: Vec<u8>, wanted: Vec<u8>| {
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                (&mut &*stream).write_all(&sent)?;
                stream.shutdown(Shutdown::Write)
            });
            let mut got = Vec::new();
            let read = stream.read_to_end(&mut got);
            let wrote = writer.join().unwrap();
            wrote.map_err(|error| format!("write: {error}"))?;
            read.map_err(|error| format!("read after {} bytes: {error}", got.len()))?;
            if got == wanted {
                return Ok(());
            }
            let at = got.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
            Err(format!("{} bytes, wrong from byte {at} on", got.len()))
        })
    };
    thread::scope(|scope| {
        let far = scope.spawn(|| exchange(&peer, data(seed + 1), data(seed)));
        exchange(&client, data(seed), data(seed + 1)).and(far.join().unwrap())
    })
}

/// All mixes on one device, a transfer through each path for each.
fn all_mixes(lab: &TestLab, member: &str, device: &str, paths: &[(&str, &str, IpAddr)]) {
    let mut wrong = Vec::new();
    for mix in 0..1u32 << FEATURES.len() {
        let settings: Vec<String> = FEATURES
            .iter()
            .enumerate()
            .map(|(bit, feature)| {
                let state = if mix >> bit & 1 == 1 { "on" } else { "off" };
                format!("{feature} {state}")
            })
            .collect();
        let settings = settings.join(" ");
        // What the device cannot change stays as it is.
        lab.run(member, &format!("ethtool -K {device} {settings}"));
        for (from, to, address) in paths {
            if let Err(reason) = transfer(lab, from, to, *address, mix * 2 + 1) {
                wrong.push(format!(
                    "{member} {device} {settings}: {from} to {to}: {reason}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of 128: {wrong:#?}", wrong.len());
}

#[test]
#[ignore = "needs root"]
fn every_mix_of_offloads_moves_the_same_bytes() {
    let lab = TestLab::up("--encap vxlan --nodes 2 --pods 2 --pod-link tap");
    let address = |node: usize, pod: usize| IpAddr::from(lab.pod(node, pod).ipv4.unwrap());
    let near = ("pod1-1", "pod1-2", address(1, 2));
    let far = ("pod1-1", "pod2-1", address(2, 1));
    let from_host = ("node1", "pod1-1", address(1, 1));
    all_mixes(&lab, "pod1-1", "eth0", &[near, far]);
    all_mixes(&lab, "node1", "tunl0", &[from_host]);
    all_mixes(&lab, "node1", "eth0", &[far]);
    for node in [1, 2] {
        lab.assert_conserved(node);
    }
}

/// The underlay carries whole packets here, so that each checksum on it can be told right or wrong.
#[test]
#[ignore = "needs root"]
fn no_checksum_is_wrong_on_the_wire() {
    for (encap, link) in [("vxlan", "tap"), ("vxlan", "veth"), ("ipip", "veth")] {
        let lab = TestLab::up(&format!(
            "--encap {encap} --nodes 2 --pods 1 --underlay-offload off --pod-link {link}"
        ));
        let file = format!("/tmp/{}-wire.pcap", lab.lab.name);
        let capture = lab.start("node2", &format!("tcpdump -n -i eth0 -s 0 -U -w {file}"));
        thread::sleep(Duration::from_secs(1));
        lab.check("--quiet --paths pod-pod-cross --tests ping,ping-sizes,http,udp");
        let far = IpAddr::from(lab.pod(2, 1).ipv4.unwrap());
        transfer(&lab, "pod1-1", "pod2-1", far, 7).unwrap();
        thread::sleep(Duration::from_millis(300));
        capture.interrupt();
        let count = |filter: &str| {
            let checks = ["ip", "tcp", "udp"].map(|p| format!("-o {p}.check_checksum:TRUE"));
            let command = format!("tshark -r {file} {} -Y {filter}", checks.join(" "));
            lab.ok("node2", &command).lines().count()
        };
        let bad = "ip.checksum.status==0||tcp.checksum.status==0||udp.checksum.status==0";
        let (all, right, wrong) = (
            count("ip"),
            count("tcp.checksum.status==1&&ip.checksum.status==1"),
            count(bad),
        );
        let unsummed = count("vxlan&&udp.checksum==0");
        std::fs::remove_file(&file).unwrap();
        assert!(right > 300, "{encap}: {right} of {all} packets checked");
        assert_eq!(wrong, 0, "{encap}: of {all} packets");
        // Programs leave the outer sum out, as RFC 7348 wants it; sockets cannot.
        if names_tunnels() && link == "tap" {
            assert_eq!(unsummed, 0, "{encap}: of {all} packets");
        }
    }
}
