//! Pods on veths in real namespaces.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod namespace;

use namespace::Namespace;
use vrouter_io::link::Link;
use vrouter_io::pod::{self, Pod};
use vrouter_io::veth;

fn pod() -> Pod {
    Pod {
        name: "eth0".into(),
        mac: Some([2, 0, 0, 0, 0, 7]),
        mtu: 1450,
        addresses: vec![[10, 0, 0, 7].into()],
    }
}

#[test]
#[ignore = "needs root"]
fn a_veth_is_made_once_and_taken_over() {
    let [node, inside] = ["vn", "vp"].map(Namespace::new);
    let link = Link::open_in(&node.netns).unwrap();
    let open = |pod: &Pod| {
        let opened = node
            .netns
            .run(|| veth::open(&link, "cali7", &inside.netns, pod));
        opened.unwrap()
    };
    let end = open(&pod()).unwrap();
    let shown = node.exec("ip -o link show cali7");
    assert!(!shown.contains(",UP"), "nothing passes yet: {shown}");
    link.set_up(end).unwrap();
    assert_eq!(
        pod::configure(&inside.netns, &pod()).unwrap(),
        [2, 0, 0, 0, 0, 7]
    );
    let shown = node.exec("ip -o link show cali7");
    for word in ["link/ether ee:ee:ee:ee:ee:ee", "mtu 65535", ",UP"] {
        assert!(shown.contains(word), "{shown}");
    }
    assert_eq!(node.exec("ip -6 addr show dev cali7"), "");
    assert!(inside.exec("ip addr show dev eth0").contains("10.0.0.7/32"));
    assert!(inside.exec("ip -o link show eth0").contains("mtu 1450"));
    // Taken over, as it should be.
    node.exec("ip link set cali7 mtu 1450");
    assert_eq!(open(&pod()).unwrap(), end);
    assert!(node.exec("ip -o link show cali7").contains("mtu 65535"));
    // The pod lost its end, and the pair with it.
    inside.exec("ip link del eth0");
    let again = open(&pod()).unwrap();
    assert_ne!(again, end);
    assert!(link.remove_interface(again).unwrap());
    assert!(!link.remove_interface(again).unwrap());
}

#[test]
#[ignore = "needs root"]
fn what_is_anothers_is_left_alone() {
    let [node, inside, other] = ["vn", "vp", "vo"].map(Namespace::new);
    let link = Link::open_in(&node.netns).unwrap();
    let open = || {
        let opened = node
            .netns
            .run(|| veth::open(&link, "cali7", &inside.netns, &pod()));
        opened.unwrap()
    };
    node.exec("ip tuntap add cali7 mode tap");
    let error = open().unwrap_err().to_string();
    assert!(
        error.contains("cali7") && error.contains("interfaceName"),
        "{error}"
    );
    node.exec("ip link del cali7");
    // A pair whose other end is in another namespace was left behind.
    let elsewhere = &other.name;
    node.exec(&format!(
        "ip link add cali7 address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {elsewhere}"
    ));
    open().unwrap();
    assert!(!other.try_exec("ip link show eth0").status.success());
    // The pod's name is taken.
    inside.exec("ip link del eth0");
    inside.exec("ip tuntap add eth0 mode tap");
    let error = open().unwrap_err().to_string();
    assert!(error.contains("eth0"), "{error}");
    assert!(!node.try_exec("ip link show cali7").status.success());
}
