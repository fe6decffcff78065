//! TAPs, TUNs and pods in real namespaces.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod namespace;

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use namespace::Namespace;
use vrouter_dataplane::buffer::Pool;
use vrouter_dataplane::device::{Device, Vector};
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::any::AnyDevice;
use vrouter_io::link::Link;
use vrouter_io::pod::{self, Pod};
use vrouter_io::poller::Poller;
use vrouter_io::{Error, tap, tun};

/// Copies frames between two devices until told to stop; returns how many each way.
fn copy(mut devices: [AnyDevice; 2], stop: &AtomicBool, mut poller: Poller) -> [usize; 2] {
    for (index, device) in devices.iter().enumerate() {
        poller
            .register(InterfaceId(index as u16), device.as_raw_fd())
            .unwrap();
    }
    let mut pool = Pool::new(256);
    let mut vector = Vector::new();
    let mut counts = [0; 2];
    while !stop.load(Ordering::Relaxed) {
        let ready: Vec<_> = poller.wait(Some(Duration::from_secs(1))).unwrap().collect();
        for interface in ready {
            let from = interface.index();
            let mut empty = false;
            while !empty {
                empty = devices[from].receive(&mut pool, &mut vector).unwrap();
                assert!(vector.iter().all(|buffer| !buffer.meta.malformed));
                let done = devices[1 - from].transmit(&mut vector);
                assert_eq!(done.sent + done.full + done.refused, vector.len());
                assert_eq!(done.refused, 0);
                counts[from] += done.sent;
                vector.drain(..).for_each(|buffer| pool.give(buffer));
            }
        }
    }
    assert_eq!(pool.available(), 256);
    counts
}

fn with_tap_pair(test: impl FnOnce(&Namespace, &Namespace)) -> [usize; 2] {
    let [a, b] = ["a", "b"].map(Namespace::new);
    let open = |side: &Namespace, address: &str| {
        let mut queues = tap::open(&side.netns, "eth0", 1, 1500, None).unwrap();
        let link = Link::open_in(&side.netns).unwrap();
        let interface = link.expect_interface("eth0").unwrap();
        assert_eq!(interface.mtu, 1500);
        link.set_up(interface.index).unwrap();
        assert!(
            link.add_address(interface.index, address.parse().unwrap())
                .unwrap()
        );
        assert!(
            !link
                .add_address(interface.index, address.parse().unwrap())
                .unwrap()
        );
        AnyDevice::Tap(queues.remove(0))
    };
    let devices = [open(&a, "10.0.0.1/24"), open(&b, "10.0.0.2/24")];
    for device in &devices {
        assert!(device.capabilities().checksum && device.capabilities().tso);
    }
    let (poller, waker) = Poller::new().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let loop_stop = Arc::clone(&stop);
    let thread = std::thread::spawn(move || copy(devices, &loop_stop, poller));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&a, &b)));
    stop.store(true, Ordering::Relaxed);
    waker.wake().unwrap();
    let counts = thread.join().unwrap();
    outcome.unwrap();
    counts
}

#[test]
#[ignore = "needs root"]
fn pings_through_a_copy_loop() {
    let counts = with_tap_pair(|a, _| {
        a.exec("ping -c 20 -i 0.01 -W 2 10.0.0.2");
        a.exec("ping -c 5 -i 0.01 -W 2 -s 1472 -M do 10.0.0.2");
    });
    assert!(counts.iter().all(|&count| count >= 25), "{counts:?}");
}

#[test]
#[ignore = "needs root"]
fn several_queues_and_a_taken_name() {
    let pod = Namespace::new("q");
    let mac = [2, 0, 0, 0, 0, 9];
    let queues = tap::open(&pod.netns, "eth0", 3, 1450, Some(mac)).unwrap();
    assert_eq!(queues.len(), 3);
    let link = Link::open_in(&pod.netns).unwrap();
    let interface = link.expect_interface("eth0").unwrap();
    assert_eq!((interface.mtu, interface.mac), (1450, Some(mac)));

    for queues in [1, 3] {
        let error = tap::open(&pod.netns, "eth0", queues, 1450, None).unwrap_err();
        assert!(matches!(error, Error::NameTaken { .. }), "{error}");
    }
    let error = tun::open(Some(&pod.netns), "eth0", 1, 1500).unwrap_err();
    assert!(error.to_string().contains("--tunnel-interface"), "{error}");
    let error = tun::open(Some(&pod.netns), "lo", 1, 1500).unwrap_err();
    assert!(matches!(error, Error::NameTaken { .. }), "{error}");
    let error = tap::open(&pod.netns, "far-too-long-a-name", 1, 1450, None).unwrap_err();
    assert!(error.to_string().contains("far-too-long-a-name"), "{error}");

    drop(queues);
    assert_eq!(link.interface("eth0").unwrap(), None);
    assert!(
        link.expect_interface("eth0")
            .unwrap_err()
            .to_string()
            .contains(&pod.name)
    );
}

#[test]
#[ignore = "needs root"]
fn a_pod_is_configured_as_calico_does() {
    let pod_ns = Namespace::new("pod");
    let queues = tap::open(&pod_ns.netns, "eth0", 1, 1450, None).unwrap();
    let mut wanted = Pod {
        name: "eth0".into(),
        mac: Some([0x0a, 1, 2, 3, 4, 5]),
        mtu: 1450,
        addresses: vec!["10.65.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
    };
    assert_eq!(
        pod::configure(&pod_ns.netns, &wanted).unwrap(),
        [0x0a, 1, 2, 3, 4, 5]
    );
    // Again: nothing to complain about.
    pod::configure(&pod_ns.netns, &wanted).unwrap();

    let v4 = pod_ns.exec("ip -4 route show");
    assert!(v4.contains("default via 169.254.1.1 dev eth0"), "{v4}");
    assert!(
        v4.contains("169.254.1.1 dev eth0") && v4.contains("scope link"),
        "{v4}"
    );
    let v6 = pod_ns.exec("ip -6 route show");
    assert!(
        v6.contains("default via fe80::ecee:eeff:feee:eeee dev eth0"),
        "{v6}"
    );
    let addresses = pod_ns.exec("ip addr show dev eth0");
    assert!(addresses.contains("inet 10.65.0.2/32 "), "{addresses}");
    assert!(addresses.contains("inet6 fd00::2/128 "), "{addresses}");
    assert!(!addresses.contains("tentative"), "{addresses}");
    assert!(addresses.contains("mtu 1450"), "{addresses}");
    assert_eq!(
        pod_ns
            .exec("cat /proc/sys/net/ipv6/conf/eth0/accept_ra")
            .trim(),
        "0"
    );

    wanted.addresses = vec!["10.65.0.3".parse().unwrap()];
    wanted.mtu = 1440;
    pod::configure(&pod_ns.netns, &wanted).unwrap();
    let addresses = pod_ns.exec("ip addr show dev eth0");
    assert!(addresses.contains("inet 10.65.0.3/32 "), "{addresses}");
    assert!(
        !addresses.contains("10.65.0.2") && !addresses.contains("fd00::2"),
        "{addresses}"
    );
    assert!(addresses.contains("mtu 1440"), "{addresses}");

    drop(queues);
    let error = pod::configure(&pod_ns.netns, &wanted).unwrap_err();
    assert!(error.to_string().contains("eth0"), "{error}");
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_vanishes_is_noticed() {
    let first = Namespace::new("gone");
    let netns = first.netns.clone();
    assert!(netns.exists());
    let name = first.name.clone();
    drop(first);
    assert!(!netns.exists());
    // Its name used again is still another namespace.
    let again = std::process::Command::new("ip")
        .args(["netns", "add", &name])
        .status();
    assert!(again.unwrap().success());
    let still_gone = !netns.exists();
    let _ = std::process::Command::new("ip")
        .args(["netns", "del", &name])
        .status();
    assert!(still_gone);
}

#[test]
#[ignore = "needs root"]
fn a_tun_carries_packets_of_the_node() {
    let node = Namespace::new("tun");
    let mut queues = tun::open(Some(&node.netns), "tunl0", 1, 1480).unwrap();
    node.exec("ip addr add 10.9.0.1/32 dev tunl0");
    node.exec("ip link set tunl0 up");
    node.exec("ip route add 10.9.1.0/24 dev tunl0");
    let _ = node.try_exec("ping -c 1 -W 1 10.9.1.7");
    let (mut pool, mut vector) = (Pool::new(64), Vector::new());
    assert!(queues[0].receive(&mut pool, &mut vector).unwrap());
    let echo = vector
        .iter()
        .find(|b| b.bytes()[0] == 0x45 && b.bytes()[9] == 1)
        .unwrap();
    assert_eq!(echo.bytes()[16..20], [10, 9, 1, 7]);
    assert_eq!(echo.len(), 84);
}
