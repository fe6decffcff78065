//! Which sessions a node has: the mesh, its peers, the other sides of others' peers, and its
//! workloads.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use vrouter_api::NodeSpec;
use vrouter_api::bgp::{NextHopMode, Peer, ReversePeering, SecretReference, SourceAddress};

use crate::cluster::Annotations;
use crate::config::{Family, NextHop, Password, Session, Static};
use crate::export;
use crate::view::{PORT, PasswordFault, View, address_of};

/// Annotation of a BGPPeer: BFD with so many milliseconds between packets.
pub const BFD_ANNOTATION: &str = "vrouter.io/bfd-interval-ms";
/// The longest that BIRD takes.
const LONGEST_RESTART: u16 = 4095;
const HOLD: u16 = 240;

/// Why there is a session; the order in which duplicates are decided.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Global,
    Node,
    Reverse,
}

/// A neighbor before it is a session.
struct Neighbor {
    rank: Rank,
    address: IpAddr,
    /// The port that somebody asked for; it is part of the name then.
    port: Option<u16>,
    as_number: u32,
    cluster_id: Option<Ipv4Addr>,
    passive: bool,
    /// By address and not by its labels, so that some fields apply.
    by_address: bool,
    why: String,
}

/// What sessions there are, and what is to be said about them.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) sessions: Vec<Session>,
    /// Routes to neighbors that are on no network.
    pub(crate) statics: Vec<Static>,
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn sessions(view: &View<'_>) -> Found {
    let mut found = Found::default();
    mesh(view, &mut found);
    peers(view, &mut found);
    workloads(view, &mut found);
    found.sessions.sort_by(|a, b| a.name.cmp(&b.name));
    found.sessions.dedup_by(|a, b| a.name == b.name);
    found.statics.sort();
    found.statics.dedup_by(|a, b| a.prefix == b.prefix);
    for session in &found.sessions {
        let twice = found.sessions.iter().find(|other| {
            other.name > session.name
                && (other.neighbor, other.neighbor_port)
                    == (session.neighbor, session.neighbor_port)
        });
        if let Some(other) = twice {
            found.warnings.push(format!(
                "{} and {} are two sessions to one neighbor: only one comes up; switch the mesh \
                 off, or remove the BGPPeer",
                session.name, other.name
            ));
        }
    }
    found
}

fn underscored(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "_")
}

/// A session with what all have in common.
fn plain(view: &View<'_>, name: String, address: IpAddr, as_number: u32, why: String) -> Session {
    let family = Family::from(&address);
    Session {
        name,
        family,
        why,
        neighbor: address,
        neighbor_port: PORT,
        neighbor_as: as_number,
        local: view.address(family),
        local_port: view.listen_port(),
        local_as: view.as_of(view.node),
        strict_bind: view.binds_strictly(),
        passive: false,
        password: None,
        keepalive: None,
        restart_time: None,
        ttl_security: None,
        allow_local_as: None,
        next_hop: NextHop::Auto,
        reflector: None,
        bfd: None,
        import: Vec::new(),
        export: Vec::new(),
    }
}

/// One side connects: the one whose address is less as text, as Calico has it.
fn waits(view: &View<'_>, neighbor: IpAddr) -> bool {
    let own = view.address(Family::from(&neighbor));
    own.is_some_and(|own| neighbor.to_string() > own.to_string())
}

fn mesh(view: &View<'_>, found: &mut Found) {
    let global = view.global();
    if global.node_to_node_mesh_enabled == Some(false) || View::cluster_id_of(view.node).is_some() {
        return;
    }
    let mut said = false;
    for (name, (_, node)) in &view.cluster.nodes {
        if name == view.name() || View::cluster_id_of(node).is_some() {
            continue;
        }
        for family in Family::ALL {
            let (Some(_), Some(address)) = (view.address(family), address_of(node, family)) else {
                continue;
            };
            let why = format!("The mesh: node {name}.");
            let called = format!("Mesh_{}", underscored(address));
            let mut session = plain(view, called, address, view.as_of(node), why);
            session.neighbor_port = view.listen_port_of(name).unwrap_or(PORT);
            session.passive = waits(view, address);
            session.restart_time = seconds(global.node_mesh_max_restart_time, 0, LONGEST_RESTART);
            let of = "the mesh's nodeMeshPassword";
            let reference = global.node_mesh_password.as_ref();
            match password(view, reference, of, &mut said, &mut found.warnings) {
                Ok(password) => session.password = password,
                Err(()) => continue,
            }
            export::attach(view, &mut session, &[]);
            found.sessions.push(session);
        }
    }
}

/// `Err`: the session must not be made. A fault is said once for all sessions of its resource.
fn password(
    view: &View<'_>,
    reference: Option<&SecretReference>,
    of: &str,
    said: &mut bool,
    warnings: &mut Vec<String>,
) -> Result<Option<Password>, ()> {
    let (text, result) = match view.password(reference) {
        Ok(password) => return Ok(password),
        Err(PasswordFault::Missing(what)) => (
            format!("{of}: there is no {what}; the session has no password"),
            Ok(None),
        ),
        Err(PasswordFault::Unusable(what)) => (
            format!("{of}: {what}; there is no session until it is another"),
            Err(()),
        ),
    };
    if !*said {
        warnings.push(text);
        *said = true;
    }
    result
}

/// Whole seconds within what BIRD takes.
fn seconds(duration: Option<Duration>, least: u16, most: u16) -> Option<u16> {
    let rounded = duration?.as_secs_f64().round();
    // Saturates at both ends.
    Some((rounded as u16).clamp(least, most))
}

fn peers(view: &View<'_>, found: &mut Found) {
    let mut seen: BTreeMap<(IpAddr, Option<u16>), Rank> = BTreeMap::new();
    let mut ranked: Vec<(&str, &Annotations, &Peer, Neighbor)> = Vec::new();
    for (name, (annotations, peer)) in &view.cluster.peers {
        if peer.local_workload_selector.is_some() {
            continue;
        }
        let neighbors = forward(view, name, peer).into_iter();
        let neighbors = neighbors.chain(reverse(view, name, peer));
        ranked.extend(neighbors.map(|neighbor| (name.as_str(), annotations, peer, neighbor)));
    }
    // Stable: within a rank the order of the BGPPeers' names.
    ranked.sort_by_key(|(.., neighbor)| neighbor.rank);
    let mut said: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, annotations, peer, neighbor) in ranked {
        let family = Family::from(&neighbor.address);
        let own = view.address(family);
        if own.is_none() || own == Some(neighbor.address) {
            continue;
        }
        let key = (neighbor.address, neighbor.port);
        if seen.contains_key(&key) {
            continue;
        }
        seen.insert(key, neighbor.rank);
        let said = said.entry(name).or_default();
        if let Some(session) = session(view, name, annotations, peer, &neighbor, said, found) {
            found.sessions.push(session);
        }
    }
}

fn session(
    view: &View<'_>,
    name: &str,
    annotations: &Annotations,
    peer: &Peer,
    neighbor: &Neighbor,
    said: &mut bool,
    found: &mut Found,
) -> Option<Session> {
    if matches!(neighbor.address, IpAddr::V6(address) if address.is_unicast_link_local()) {
        found.warnings.push(format!(
            "BGPPeer {name}: {} is on a link that no field names: there is no session; give the \
             neighbor an address that is routed",
            neighbor.address
        ));
        return None;
    }
    let kind = match neighbor.rank {
        Rank::Global => "Global",
        Rank::Node | Rank::Reverse => "Node",
    };
    let port = neighbor
        .port
        .map_or_else(String::new, |port| format!("_port_{port}"));
    let called = format!("{kind}_{}{port}", underscored(neighbor.address));
    let (address, number) = (neighbor.address, neighbor.as_number);
    let mut session = plain(view, called, address, number, neighbor.why.clone());
    session.neighbor_port = neighbor.port.unwrap_or(PORT);
    session.passive = neighbor.passive;
    if neighbor.by_address {
        if let Some(number) = peer.local_as_number {
            session.local_as = number;
        }
        let allowed = peer.num_allowed_local_as_numbers.unwrap_or(0);
        session.allow_local_as = u32::try_from(allowed).ok().filter(|times| *times > 0);
        if let Some(gateway) = peer.reachable_by {
            found.statics.push(Static {
                prefix: address.into(),
                gateway: Some(gateway),
                why: format!("BGPPeer {name} is reachable by it"),
            });
        }
    }
    match peer.source_address {
        SourceAddress::UseNodeIP => {}
        // Listening at one address is speaking from it.
        SourceAddress::None if session.strict_bind => found.warnings.push(format!(
            "BGPPeer {name}: sourceAddress None with bindMode NodeIP: the node's address is used"
        )),
        SourceAddress::None => session.local = None,
    }
    let of = format!("BGPPeer {name}");
    session.password =
        password(view, peer.password.as_ref(), &of, said, &mut found.warnings).ok()?;
    session.restart_time = seconds(peer.max_restart_time, 0, LONGEST_RESTART);
    session.keepalive = seconds(peer.keepalive_time, 1, HOLD);
    session.ttl_security = peer.ttl_security.filter(|hops| *hops != 0);
    session.next_hop = match peer.next_hop_mode {
        Some(NextHopMode::Auto) => NextHop::Auto,
        Some(NextHopMode::Myself) => NextHop::Ourselves,
        Some(NextHopMode::Keep) => NextHop::Kept,
        None if peer.keep_original_next_hop && !session.is_internal() => NextHop::Kept,
        None => NextHop::Auto,
    };
    let cluster = View::cluster_id_of(view.node);
    session.reflector = cluster.filter(|_| session.is_internal() && neighbor.cluster_id != cluster);
    if let Some(text) = annotations.get(BFD_ANNOTATION) {
        match text.parse::<u32>() {
            Ok(interval @ 10..=60_000) if session.local.is_some() => session.bfd = Some(interval),
            Ok(10..=60_000) => found.warnings.push(format!(
                "BGPPeer {name}: annotation {BFD_ANNOTATION}: BFD needs an address of ours, and \
                 sourceAddress is None"
            )),
            _ => found.warnings.push(format!(
                "BGPPeer {name}: annotation {BFD_ANNOTATION}: {text:?} is no number of \
                 milliseconds in 10–60000"
            )),
        }
    }
    export::attach(view, &mut session, &peer.filters);
    Some(session)
}

/// Whether a BGPPeer is for this node, and by which rank.
fn applies(view: &View<'_>, peer: &Peer) -> Option<Rank> {
    match (&peer.node, &peer.node_selector) {
        (None, None) => Some(Rank::Global),
        (Some(node), _) => (node == view.name()).then_some(Rank::Node),
        (None, Some(selector)) => view.labels.match_text(selector).then_some(Rank::Node),
    }
}

/// The neighbors a BGPPeer gives this node.
fn forward(view: &View<'_>, name: &str, peer: &Peer) -> Vec<Neighbor> {
    let Some(rank) = applies(view, peer) else {
        return Vec::new();
    };
    if let Some(selector) = &peer.peer_selector {
        let others = view.cluster.nodes.iter();
        let others = others.filter(|(_, (labels, _))| labels.match_text(selector));
        return others
            .flat_map(|(node, (_, spec))| as_neighbors(view, name, rank, node, spec, None))
            .collect();
    }
    let Some((address, port)) = peer.peer_address() else {
        return Vec::new();
    };
    let as_number = peer.as_number.unwrap_or_else(|| view.default_as());
    let family = Family::from(&address);
    let mut nodes = view.cluster.nodes.iter();
    let node = nodes.find(|(_, (_, spec))| address_of(spec, family) == Some(address));
    let port = port.or_else(|| match node {
        Some((node, (_, spec))) if view.as_of(spec) == as_number => view.listen_port_of(node),
        _ => None,
    });
    vec![Neighbor {
        rank,
        address,
        port,
        as_number,
        cluster_id: None,
        passive: rank == Rank::Global && node.is_some() && waits(view, address),
        by_address: true,
        why: format!("BGPPeer {name}."),
    }]
}

/// The neighbors that have this node as theirs by a BGPPeer.
fn reverse(view: &View<'_>, name: &str, peer: &Peer) -> Vec<Neighbor> {
    if peer.reverse_peering == ReversePeering::Manual {
        return Vec::new();
    }
    let only = match &peer.peer_selector {
        Some(selector) if view.labels.match_text(selector) => None,
        Some(_) => return Vec::new(),
        None => {
            let Some((address, port)) = peer.peer_address() else {
                return Vec::new();
            };
            let family = Family::from(&address);
            let as_number = peer.as_number.unwrap_or_else(|| view.default_as());
            let listens = view.listen_port_of(view.name());
            let ours = view.address(family) == Some(address)
                && view.as_of(view.node) == as_number
                && (port.is_none() || listens.is_none() || port == listens);
            if !ours {
                return Vec::new();
            }
            Some(family)
        }
    };
    let others = view.cluster.nodes.iter().filter(|(node, (labels, _))| {
        match (&peer.node, &peer.node_selector) {
            (Some(named), _) => *node == named,
            (None, Some(selector)) => labels.match_text(selector),
            (None, None) => true,
        }
    });
    others
        .flat_map(|(node, (_, spec))| as_neighbors(view, name, Rank::Reverse, node, spec, only))
        .collect()
}

/// Another node as a neighbor, over each family it has.
fn as_neighbors(
    view: &View<'_>,
    name: &str,
    rank: Rank,
    node: &str,
    spec: &NodeSpec,
    only: Option<Family>,
) -> Vec<Neighbor> {
    if node == view.name() {
        return Vec::new();
    }
    let families = Family::ALL
        .into_iter()
        .filter(|family| only.is_none_or(|only| only == *family));
    let direction = match rank {
        Rank::Global | Rank::Node => "",
        Rank::Reverse => ", the other side",
    };
    families
        .filter_map(|family| address_of(spec, family))
        .map(|address| Neighbor {
            rank,
            address,
            port: view.listen_port_of(node),
            as_number: view.as_of(spec),
            cluster_id: View::cluster_id_of(spec),
            passive: false,
            by_address: false,
            why: format!("BGPPeer {name}{direction}: node {node}."),
        })
        .collect()
}

/// Sessions of this node's own workloads: they connect.
fn workloads(view: &View<'_>, found: &mut Found) {
    for ((namespace, name), (labels, endpoint)) in &view.cluster.endpoints {
        if endpoint.node != view.name() {
            continue;
        }
        let peer = view.cluster.peers.iter().find(|(_, (_, peer))| {
            let selector = peer.local_workload_selector.as_ref();
            selector.is_some_and(|selector| labels.match_text(selector))
                && applies(view, peer).is_some()
        });
        let Some((by, (_, peer))) = peer else {
            continue;
        };
        for family in Family::ALL {
            let mut addresses = endpoint.ip_networks.iter().map(|net| net.addr());
            let address = addresses.find(|address| Family::from(address) == family);
            let Some(address) = address.filter(|_| view.address(family).is_some()) else {
                continue;
            };
            let as_number = peer.as_number.unwrap_or_else(|| view.default_as());
            let why = format!("BGPPeer {by}: workload {namespace}/{name}.");
            let called = format!("Local_Workload_{}", underscored(address));
            let mut session = plain(view, called, address, as_number, why);
            session.local = session.local.filter(|_| session.strict_bind);
            session.passive = true;
            if let Some(number) = peer.local_as_number {
                session.local_as = number;
            }
            export::attach(view, &mut session, &peer.filters);
            found.sessions.push(session);
        }
    }
}
