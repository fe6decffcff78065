//! What a `CalicoNodeStatus` says: BIRD's words in Calico's shape, nothing that BIRD did not say.
//!
//! Source: Calico's API. A BIRD that nobody hears is `NotReady`, and has neither sessions nor
//! routes; a class that nobody asked for is left out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use encap::Family;
use serde_json::{Map, Value, json};

use super::{Request, Sockets};
use vrouter_bgp::bird::{Bird, Origin, Protocol, Route, Status};

/// Calico's word for no gateway.
const NO_GATEWAY: &str = "N/A";
/// The states that a session can have there; BIRD has more.
const STATES: &[&str] = &[
    "Idle",
    "Connect",
    "Active",
    "OpenSent",
    "OpenConfirm",
    "Established",
    "Close",
];

/// What one daemon said.
struct Heard {
    status: Status,
    protocols: Vec<Protocol>,
    routes: Vec<Route>,
}

/// The status as of now.
pub(super) fn status(request: &Request, sockets: &Sockets) -> Value {
    let Request { classes, .. } = request;
    let v4 = connect(&sockets.v4);
    let both = v4.as_ref().is_some_and(Bird::has_both_families);
    let (v4, v6) = (hear(v4, request), hear(connect(&sockets.v6), request));
    let v6 = v6.as_ref().or(v4.as_ref().filter(|_| both));
    let families = [(Family::V4, v4.as_ref()), (Family::V6, v6)];

    let (mut agent, mut bgp, mut routes) = (Map::new(), Map::new(), Map::new());
    for (family, heard) in families {
        let name = format!("V{}", family.number());
        agent.insert(format!("bird{name}"), daemon(heard));
        let sessions = heard.map_or_else(Vec::new, |heard| peers(heard, family));
        let up = sessions.iter().filter(|(up, _)| *up).count();
        bgp.insert(format!("numberEstablished{name}"), up.into());
        let down = sessions.len() - up;
        bgp.insert(format!("numberNotEstablished{name}"), down.into());
        // As Go does: an empty list is left out.
        if !sessions.is_empty() {
            let peers = sessions.into_iter().map(|(_, peer)| peer).collect();
            bgp.insert(format!("peers{name}"), peers);
        }
        let known = heard.map_or_else(Vec::new, |heard| routes_of(heard, family));
        if !known.is_empty() {
            routes.insert(format!("routes{name}"), known.into());
        }
    }
    let mut status = Map::new();
    let now = vrouter_datastore::now();
    status.insert("lastUpdated".to_owned(), now.into());
    for (asked, name, class) in [
        (classes.agent, "agent", agent),
        (classes.bgp, "bgp", bgp),
        (classes.routes, "routes", routes),
    ] {
        if asked {
            status.insert(name.to_owned(), class.into());
        }
    }
    status.into()
}

/// The first that answers.
fn connect(sockets: &[PathBuf]) -> Option<Bird> {
    let mut each = sockets.iter().filter_map(|path| Bird::connect(path).ok());
    each.next()
}

/// What it says of all that is asked; one that stops in the middle has said nothing.
fn hear(bird: Option<Bird>, request: &Request) -> Option<Heard> {
    let mut bird = bird?;
    let classes = request.classes;
    let mut all = || {
        let protocols = if classes.bgp || classes.routes {
            bird.protocols()?
        } else {
            Vec::new()
        };
        let routes = if classes.routes {
            bird.routes()?
        } else {
            Vec::new()
        };
        Ok(Heard {
            status: bird.status()?,
            protocols,
            routes,
        })
    };
    let heard: std::io::Result<Heard> = all();
    heard
        .inspect_err(|error| tracing::warn!("BIRD does not answer: {error}"))
        .ok()
}

fn daemon(heard: Option<&Heard>) -> Value {
    let Some(Heard { status, .. }) = heard.filter(|heard| !heard.status.ending) else {
        return json!({"state": "NotReady"});
    };
    let mut daemon = Map::new();
    daemon.insert("state".to_owned(), "Ready".into());
    for (name, value) in [
        ("version", &status.version),
        ("routerID", &status.router_id),
        ("lastBootTime", &status.boot),
        ("lastReconfigurationTime", &status.reconfiguration),
    ] {
        if !value.is_empty() {
            daemon.insert(name.to_owned(), value.as_str().into());
        }
    }
    daemon.into()
}

/// The sessions of one family, and whether each is up.
fn peers(heard: &Heard, family: Family) -> Vec<(bool, Value)> {
    let peer = |protocol: &Protocol| {
        let session = protocol.session().filter(|it| it.family == family)?;
        let mut peer = Map::new();
        peer.insert("peerIP".to_owned(), session.address.into());
        let kind = match session.origin {
            Origin::Mesh => Some("NodeMesh"),
            Origin::Node => Some("NodePeer"),
            Origin::Global => Some("GlobalPeer"),
            // One that no Calico resource asked for.
            Origin::Other => None,
        };
        if let Some(kind) = kind {
            peer.insert("type".to_owned(), kind.into());
        }
        if STATES.contains(&&*session.state) {
            peer.insert("state".to_owned(), session.state.into());
        }
        if !protocol.since.is_empty() {
            peer.insert("since".to_owned(), protocol.since.as_str().into());
        }
        Some((protocol.state == "up", peer.into()))
    };
    heard.protocols.iter().filter_map(peer).collect()
}

/// The routes of one family.
fn routes_of(heard: &Heard, family: Family) -> Vec<Value> {
    let by_name: BTreeMap<&str, &Protocol> = heard
        .protocols
        .iter()
        .map(|protocol| (&*protocol.name, protocol))
        .collect();
    let of_family = heard.routes.iter();
    let of_family = of_family.filter(|route| family.contains(&route.destination.addr()));
    let route = |route: &Route| {
        json!({
            "type": if route.primary { "FIB" } else { "RIB" },
            "destination": route.destination.to_string(),
            "gateway": route.gateway.as_deref().unwrap_or(NO_GATEWAY),
            "interface": route.interface,
            "learnedFrom": by_name.get(&*route.from).map_or(json!({}), |from| source(from)),
        })
    };
    of_family.map(route).collect()
}

/// Where a protocol's routes come from; Calico has no word for some.
fn source(protocol: &Protocol) -> Value {
    let of = |kind: &str| json!({"sourceType": kind});
    match (&*protocol.kind, protocol.session()) {
        ("Kernel", _) => of("Kernel"),
        ("Static", _) => of("Static"),
        ("Direct", _) => of("Direct"),
        (_, Some(session)) => {
            let kind = match session.origin {
                Origin::Mesh => "NodeMesh",
                Origin::Node | Origin::Global | Origin::Other => "BGPPeer",
            };
            json!({"sourceType": kind, "peerIP": session.address})
        }
        (_, None) => json!({}),
    }
}
