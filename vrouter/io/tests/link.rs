//! Routes, addresses, neighbors and their announcements in real namespaces.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod namespace;

use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use namespace::Namespace;
use vrouter_io::link::{Link, PROTOCOL, Route, RouteKind, Scope};
use vrouter_io::sysctl::{self, Changed};
use vrouter_io::watch::{Change, Watch};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
#[ignore = "needs root"]
fn routes_are_added_listed_and_removed() {
    let [a, b] = ["ra", "rb"].map(Namespace::new);
    a.connect(&b, "eth0", "192.0.2.1/24", "192.0.2.2/24");
    a.exec("ip addr add 2001:db8::1/64 dev eth0 nodad");
    let link = Link::open_in(&a.netns).unwrap();
    let (interface, held) = link.holder(ip("192.0.2.1")).unwrap().unwrap();
    assert_eq!((interface.name.as_str(), interface.mtu), ("eth0", 1500));
    assert_eq!(held.address, "192.0.2.1/24".parse().unwrap());
    assert_eq!(link.holder(ip("192.0.2.99")).unwrap(), None);
    let dev = interface.index;

    let through = Route {
        onlink: true,
        source: Some(ip("192.0.2.1")),
        metric: Some(7),
        ..Route::via("10.1.0.0/16".parse().unwrap(), ip("203.0.113.9"), dev)
    };
    let routes = [
        through.clone(),
        Route::on_link("10.2.0.0/16".parse().unwrap(), dev),
        Route::blackhole("10.3.0.0/16".parse().unwrap()),
        Route {
            kind: RouteKind::Unreachable,
            ..Route::to("10.4.0.0/16".parse().unwrap())
        },
        Route::via("2001:db8:1::/48".parse().unwrap(), ip("2001:db8::2"), dev),
        Route::on_link("2001:db8:2::/48".parse().unwrap(), dev),
        Route::blackhole("2001:db8:3::/48".parse().unwrap()),
    ];
    for route in &routes {
        assert!(link.add_route(route).unwrap(), "{route}");
        assert!(!link.add_route(route).unwrap(), "{route}");
    }
    let ours = link.routes(Some(PROTOCOL)).unwrap();
    assert_eq!(ours.len(), routes.len(), "{ours:?}");
    assert!(ours.contains(&through), "{ours:?}");
    assert!(
        ours.contains(&routes[1]) && ours[1].scope == Scope::Link,
        "{ours:?}"
    );
    assert!(
        ours.iter()
            .filter(|route| route.kind == RouteKind::Blackhole)
            .count()
            == 2
    );
    let all = link.routes(None).unwrap();
    assert!(all.len() > ours.len(), "the kernel's own are listed too");

    let found = link.route_to(ip("10.1.2.3")).unwrap().unwrap();
    assert_eq!(
        (found.via, found.interface),
        (Some(ip("203.0.113.9")), Some(dev))
    );
    assert_eq!(link.route_to(ip("172.16.0.1")).unwrap(), None);

    // Replacing changes the next hop and makes no second route.
    let moved = Route {
        via: Some(ip("192.0.2.2")),
        onlink: false,
        ..through
    };
    link.replace_route(&moved).unwrap();
    let ours = link.routes(Some(PROTOCOL)).unwrap();
    assert!(
        ours.len() == routes.len() && ours.contains(&moved),
        "{ours:?}"
    );

    // A foreign route to the same place is not ours to remove.
    a.exec("ip route add 10.5.0.0/16 dev eth0");
    let foreign = Route::on_link("10.5.0.0/16".parse().unwrap(), dev);
    assert!(!link.remove_route(&foreign).unwrap());
    for route in &ours {
        assert!(link.remove_route(route).unwrap(), "{route}");
        assert!(!link.remove_route(route).unwrap(), "{route}");
    }
    assert_eq!(link.routes(Some(PROTOCOL)).unwrap(), []);
    assert!(a.exec("ip route").contains("10.5.0.0/16"));

    let error = link.add_route(&Route::via(
        "10.6.0.0/16".parse().unwrap(),
        ip("8.8.8.8"),
        dev,
    ));
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("10.6.0.0/16 via 8.8.8.8") && text.contains(&a.name),
        "{text}"
    );
}

#[test]
#[ignore = "needs root"]
fn addresses_neighbors_and_links_change() {
    let [a, b] = ["na", "nb"].map(Namespace::new);
    a.connect(&b, "eth0", "192.0.2.1/24", "192.0.2.2/24");
    let link = Link::open_in(&a.netns).unwrap();
    let dev = link.expect_interface("eth0").unwrap().index;

    for address in ["198.51.100.1/32", "2001:db8::7/128"] {
        let address = address.parse().unwrap();
        assert!(link.add_address(dev, address).unwrap());
        assert!(
            link.addresses()
                .unwrap()
                .iter()
                .any(|held| held.address == address)
        );
        assert!(link.remove_address(dev, address).unwrap());
        assert!(!link.remove_address(dev, address).unwrap());
    }
    for neighbor in [ip("192.0.2.77"), ip("2001:db8::77")] {
        link.set_neighbor(dev, neighbor, [2, 0, 0, 0, 0, 7])
            .unwrap();
        let known = link.neighbors().unwrap();
        let entry = known
            .iter()
            .find(|entry| entry.address == neighbor)
            .unwrap();
        assert!(entry.mac == [2, 0, 0, 0, 0, 7] && entry.permanent && entry.interface == dev);
        assert!(link.remove_neighbor(dev, neighbor).unwrap());
        assert!(
            !link
                .neighbors()
                .unwrap()
                .iter()
                .any(|entry| entry.address == neighbor)
        );
    }
    link.set_mtu(dev, 1400).unwrap();
    link.set_mac(dev, [2, 0, 0, 0, 0, 8]).unwrap();
    link.set_down(dev).unwrap();
    let now = link.interface_at(dev).unwrap().unwrap();
    assert_eq!(
        (now.mtu, now.mac, now.up),
        (1400, Some([2, 0, 0, 0, 0, 8]), false)
    );
    assert!(link.set_up(9999).is_err());
}

#[test]
#[ignore = "needs root"]
fn changes_are_announced() {
    let node = Namespace::new("w");
    let (send, told) = mpsc::channel();
    let watch = Watch::start(Some(&node.netns), move |change| drop(send.send(change))).unwrap();
    let expect = |what: &dyn Fn(&Change) -> bool| {
        while !what(&told.recv_timeout(Duration::from_secs(5)).unwrap()) {}
    };
    node.exec("ip link add d0 type veth peer name d1");
    expect(&|change| matches!(change, Change::Interface(i) if i.name == "d0"));
    node.exec("ip link set d0 up mtu 1300");
    expect(&|change| matches!(change, Change::Interface(i) if i.up && i.mtu == 1300));
    node.exec("ip addr add 192.0.2.5/24 dev d0");
    expect(&|change| matches!(change, Change::Address(a) if a.address.addr() == ip("192.0.2.5")));
    node.exec("ip route add 10.0.0.0/8 dev d0 proto 99");
    expect(&|change| *change == Change::Route { protocol: 99 });
    node.exec("ip link del d0");
    expect(&|change| matches!(change, Change::InterfaceGone(i) if i.name == "d0"));
    drop(watch);
    let end = std::iter::repeat_with(|| told.recv_timeout(Duration::from_secs(5)))
        .find_map(Result::err)
        .unwrap();
    assert_eq!(
        end,
        mpsc::RecvTimeoutError::Disconnected,
        "the watch has ended"
    );
}

#[test]
#[ignore = "needs root"]
fn sysctls_are_put_back() {
    let node = Namespace::new("s");
    node.netns
        .run(|| {
            let mut changed = Changed::new();
            changed.enable_forwarding().unwrap();
            assert_eq!(sysctl::read("net/ipv4/ip_forward").unwrap(), "1");
            changed.restore().unwrap();
            assert_eq!(sysctl::read("net/ipv4/ip_forward").unwrap(), "0");
            let error = changed.set("net/ipv4/no_such_thing", "1").unwrap_err();
            assert!(error.to_string().contains("no_such_thing"), "{error}");
        })
        .unwrap();
}

#[test]
#[ignore = "needs root"]
fn sysctls_of_a_killed_process_are_put_back_by_the_next() {
    let node = Namespace::new("k");
    let name = format!("vrouter-io-{}.sysctls", std::process::id());
    let record = std::env::temp_dir().join(name);
    node.netns
        .run(|| {
            let forward = || sysctl::read("net/ipv4/ip_forward").unwrap();
            let mut killed = Changed::recorded(&record);
            killed.enable_forwarding().unwrap();
            // It has no time to restore anything.
            drop(killed);
            assert_eq!(forward(), "1");
            let mut next = Changed::recorded(&record);
            next.enable_forwarding().unwrap();
            next.restore().unwrap();
            assert_eq!(forward(), "0");
            assert!(!record.exists());
            // Where nothing was left behind, nothing is changed.
            Changed::recorded(&record).restore().unwrap();
            assert_eq!(forward(), "0");
        })
        .unwrap();
}
