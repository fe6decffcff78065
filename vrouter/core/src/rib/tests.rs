//! The routing table, row by row.

use super::*;
use vrouter_dataplane::id::InterfaceId;

fn host(out: u16) -> Adjacency {
    Adjacency::Host {
        out: InterfaceId(out),
        local: true,
        mtu: 1500,
    }
}

fn wanted(routes: &[(&str, Adjacency)]) -> BTreeMap<IpNet, Adjacency> {
    routes
        .iter()
        .map(|(p, a)| (p.parse().unwrap(), a.clone()))
        .collect()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn places_are_reused_only_after_collection() {
    let mut rib = Rib::new();
    let change = rib
        .prepare(&wanted(&[("10.0.0.0/8", host(1)), ("fd00::/8", host(1))]))
        .unwrap();
    assert!(change.new_adjacencies);
    rib.commit(change);
    let first = rib.fib().lookup("10.1.1.1".parse().unwrap()).unwrap();
    assert_eq!(rib.fib().lookup("fd00::1".parse().unwrap()), Some(first));
    // Replaced: the old place is not given to the new adjacency yet.
    let change = rib.prepare(&wanted(&[("10.0.0.0/8", host(2))])).unwrap();
    rib.commit(change);
    let second = rib.fib().lookup("10.1.1.1".parse().unwrap()).unwrap();
    assert_ne!(first, second);
    assert_eq!(rib.fib().lookup("fd00::1".parse().unwrap()), None);
    rib.collect();
    let change = rib.prepare(&wanted(&[("10.0.0.0/8", host(3))])).unwrap();
    rib.commit(change);
    assert_eq!(rib.fib().lookup("10.1.1.1".parse().unwrap()), Some(first));
    // The same again changes nothing.
    assert!(
        rib.prepare(&wanted(&[("10.0.0.0/8", host(3))]))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn groups_hold_their_members_and_let_them_go() {
    let mut rib = Rib::new();
    let both = NextHops::several(vec![host(2), host(1), host(2)]);
    assert_eq!(both.0.len(), 2);
    let routes = ["10.0.0.0/24", "10.0.1.0/24"].map(net);
    let change = rib
        .prepare_static(routes.iter().map(|p| (*p, &both)))
        .unwrap();
    assert!(change.new_adjacencies);
    rib.commit(change);
    assert_eq!(rib.len(), 2);
    assert_eq!(rib.find(&routes[0]).unwrap().len(), 2);
    assert_eq!(rib.static_by(&both), routes);
    // A resource's route takes the prefix over, and static ones do not touch it.
    let change = rib.prepare(&wanted(&[("10.0.0.0/24", host(9))])).unwrap();
    rib.commit(change);
    assert_eq!(rib.find(&routes[0]).unwrap(), [&host(9)]);
    assert!(rib.prepare_static([(routes[0], &both)]).unwrap().is_empty());
    assert_eq!(rib.remove_static(&routes), 1);
    rib.collect();
    // Only "no route" and the resource's adjacency are left; the group's three places are free.
    assert_eq!(rib.free.len(), 3);
    assert_eq!(rib.places.len(), 2);
    assert_eq!(rib.len(), 1);
}

#[test]
fn learned_routes_stand_behind_the_others_and_come_back() {
    let mut rib = Rib::new();
    let prefix = net("10.0.0.0/24");
    let learn = |rib: &mut Rib, metric, way: &NextHops| {
        let change = rib.prepare_learned([(prefix, metric, way)]).unwrap();
        rib.commit(change);
    };
    let (old, new) = (NextHops::single(host(1)), NextHops::single(host(2)));
    learn(&mut rib, 7, &old);
    assert!(rib.is_learned(&prefix));
    // The same again is no change.
    assert!(rib.prepare_learned([(prefix, 7, &old)]).unwrap().is_empty());
    // A resource has the prefix meanwhile; what is learned then is kept.
    let change = rib.prepare(&wanted(&[("10.0.0.0/24", host(9))])).unwrap();
    rib.commit(change);
    learn(&mut rib, 8, &new);
    assert_eq!(rib.find(&prefix).unwrap(), [&host(9)]);
    let change = rib.prepare(&wanted(&[])).unwrap();
    rib.commit(change);
    assert_eq!(rib.find(&prefix).unwrap(), [&host(2)]);
    // So does a client's route.
    let change = rib
        .prepare_static([(prefix, &NextHops::single(host(5)))])
        .unwrap();
    rib.commit(change);
    learn(&mut rib, 8, &old);
    assert_eq!(rib.find(&prefix).unwrap(), [&host(5)]);
    assert_eq!(rib.remove_static(&[prefix]), 1);
    assert_eq!(rib.find(&prefix).unwrap(), [&host(1)]);
    assert_eq!(rib.remove_static(&[prefix]), 0);
    // One of another metric that goes is not this one.
    assert_eq!(rib.remove_learned([(prefix, 7)]), 0);
    assert_eq!(rib.remove_learned([(prefix, 8)]), 1);
    assert_eq!((rib.len(), rib.find(&prefix)), (0, None));
    assert_eq!(rib.places(), 1);
}

#[test]
fn shares_are_members_of_a_group() {
    let mut rib = Rib::new();
    let prefix = net("10.0.0.0/24");
    let way = NextHops::weighted(vec![(host(1), 3), (host(2), 1)]);
    let change = rib.prepare_learned([(prefix, 1, &way)]).unwrap();
    rib.commit(change);
    let id = rib.fib().lookup("10.0.0.1".parse().unwrap()).unwrap();
    let adjacencies = rib.adjacencies();
    let Adjacency::Group(members) = &adjacencies[id.index()] else {
        panic!("{:?}", adjacencies[id.index()]);
    };
    assert_eq!(members.len(), 4);
    assert_eq!(rib.find(&prefix).unwrap().len(), 2);
    assert_eq!(rib.learned_by(&way), [(prefix, 1)]);
    let mut count = 0;
    for flow in 0..10_000u64 {
        let chosen = vrouter_dataplane::adjacency::choose(members, flow << 20).unwrap();
        count += usize::from(adjacencies[chosen.index()] == host(1));
    }
    assert!((7_300..7_700).contains(&count), "{count}");
    assert_eq!(rib.remove_learned([(prefix, 1)]), 1);
    assert_eq!(rib.places(), 1);
}
