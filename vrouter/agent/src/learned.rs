//! Routes that the host's routing daemon learned, from the kernel to the FIB.

use crossbeam::channel::{Receiver, never, unbounded};
use vrouter_core::learned::{Changes, Exit, Hops};
use vrouter_io::learned::{Learned, LearnedWatch, RouteReport};

/// `rtm_protocol` of BIRD's routes (`linux/rtnetlink.h`).
const BIRD: u8 = 12;
/// Changes that workers are told of at once.
const AT_ONCE: usize = 65_536;

/// Watches BIRD's routes, if there are any to be.
///
/// # Errors
/// See [`LearnedWatch::start`].
pub(crate) fn watch(
    bird: bool,
) -> vrouter_io::Result<(Option<LearnedWatch>, Receiver<RouteReport>)> {
    if !bird {
        return Ok((None, never()));
    }
    let (change, changes) = unbounded();
    // The agent is gone when it ends.
    let watch = LearnedWatch::start(BIRD, move |told| drop(change.send(told)))?;
    Ok((Some(watch), changes))
}

/// What was told, with what was told meanwhile, in this node's terms: `tun` leads to tunnels.
pub(crate) fn gather(first: RouteReport, more: &Receiver<RouteReport>, tun: u32) -> Changes {
    let mut changes = Changes::default();
    let mut next = Some(first);
    while let Some(told) = next {
        let routes = match told {
            RouteReport::All(routes) => {
                changes = Changes {
                    all: true,
                    ..Changes::default()
                };
                routes
            }
            RouteReport::Changes(routes) => routes,
        };
        for route in routes {
            let hops = hops(&route, tun);
            changes.push(route.destination, route.metric, hops);
        }
        let few = changes.set.len() + changes.gone.len() < AT_ONCE;
        next = few.then(|| more.try_recv().ok()).flatten();
    }
    changes
}

/// Where a route leads; `None`: nowhere.
fn hops(route: &Learned, tun: u32) -> Option<Hops> {
    let exits = route.hops.iter().filter_map(|hop| {
        let exit = match hop.via {
            Some(via) if hop.interface == tun => Exit::Node(via),
            // It would come back to us.
            None if hop.interface == tun => return None,
            Some(_) | None => Exit::Host,
        };
        Some((exit, hop.weight))
    });
    let hops = Hops::new(exits);
    (hops != Hops::default()).then_some(hops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrouter_io::learned::Hop;

    #[test]
    fn what_is_told_meanwhile_is_done_at_once() {
        let learned = |prefix: &str, interface, via: Option<&str>| Learned {
            destination: prefix.parse().unwrap(),
            metric: 1,
            hops: vec![Hop {
                via: via.map(|via| via.parse().unwrap()),
                interface,
                weight: 1,
            }],
        };
        let gone = |prefix: &str| Learned {
            hops: Vec::new(),
            ..learned(prefix, 1, None)
        };
        let (tell, more) = unbounded();
        let first = RouteReport::Changes(vec![learned("10.0.0.0/24", 2, None)]);
        let all = vec![
            learned("10.0.1.0/24", 7, Some("172.16.0.2")),
            learned("10.0.2.0/24", 2, Some("172.16.0.1")),
            // By the TUN to nobody.
            learned("10.0.3.0/24", 7, None),
        ];
        tell.send(RouteReport::All(all)).unwrap();
        tell.send(RouteReport::Changes(vec![gone("10.0.2.0/24")]))
            .unwrap();
        let changes = gather(first, &more, 7);
        assert!(changes.all);
        let node = Exit::Node("172.16.0.2".parse().unwrap());
        let set: Vec<_> = changes.set.into_iter().collect();
        let wanted = ("10.0.1.0/24".parse().unwrap(), (1, Hops::new([(node, 1)])));
        assert_eq!(set, [wanted]);
    }
}
