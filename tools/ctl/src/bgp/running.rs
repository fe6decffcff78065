//! The BIRD that runs: its sessions and its routes.

use std::io::Write;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;
use vrouter_bgp::bird::{Bird, Details, Protocol, Route, SOCKETS, SOCKETS_V6};

use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

/// A session, for programs.
#[derive(Serialize)]
struct Peer {
    name: String,
    neighbor: String,
    state: String,
    since: String,
    info: String,
}

/// A route, for programs.
#[derive(Serialize)]
struct Row {
    destination: IpNet,
    gateway: String,
    interface: String,
    from: String,
    used: bool,
}

/// Asks every BIRD that listens; that none does is a failure.
fn ask<T>(
    sockets: &[PathBuf],
    question: impl Fn(&mut Bird) -> std::io::Result<Vec<T>>,
) -> Result<Vec<T>, Failure> {
    let known = || SOCKETS.iter().chain(SOCKETS_V6).map(PathBuf::from);
    let sockets: Vec<PathBuf> = match sockets {
        [] => known().collect(),
        named => named.to_vec(),
    };
    let mut all: Option<Vec<T>> = None;
    let mut faults = Vec::new();
    for socket in &sockets {
        match Bird::connect(socket).and_then(|mut bird| question(&mut bird)) {
            Ok(found) => all.get_or_insert_default().extend(found),
            Err(error) => faults.push(format!("{}: {error}", socket.display())),
        }
    }
    all.ok_or_else(|| {
        Failure::Missing(format!(
            "no BIRD answers: is it running? --bird-socket names another socket\n{}",
            faults.join("\n")
        ))
    })
}

pub(super) fn peers<W: Write>(out: &mut Output<W>, sockets: &[PathBuf]) -> Result<(), Failure> {
    let protocols: Vec<Protocol> = ask(sockets, Bird::protocols)?;
    let peers = protocols.into_iter().filter_map(|protocol| {
        let session = protocol.session()?;
        Some(Peer {
            name: protocol.name,
            neighbor: session.address,
            state: session.state,
            since: protocol.since,
            info: protocol.info,
        })
    });
    let peers: Vec<Peer> = peers.collect();
    if out.structured(&peers)? {
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "NEIGHBOR", "STATE", "SINCE", "INFO"]);
    for peer in peers {
        table.row([peer.name, peer.neighbor, peer.state, peer.since, peer.info]);
    }
    out.table(&mut table)
}

pub(super) fn routes<W: Write>(
    out: &mut Output<W>,
    prefix: Option<IpNet>,
    sockets: &[PathBuf],
) -> Result<(), Failure> {
    let routes: Vec<Route> = ask(sockets, Bird::routes)?;
    let wanted = |route: &Route| prefix.is_none_or(|prefix| route.destination == prefix);
    let rows = routes.into_iter().filter(wanted).map(|route| Row {
        destination: route.destination,
        gateway: route.gateway.unwrap_or_default(),
        interface: route.interface,
        from: route.from,
        used: route.primary,
    });
    let rows: Vec<Row> = rows.collect();
    if out.structured(&rows)? {
        return Ok(());
    }
    let mut table = Table::new(&["DESTINATION", "GATEWAY", "INTERFACE", "FROM", "USED"]);
    for row in rows {
        let used = if row.used { "yes" } else { "no" };
        let destination = row.destination.to_string();
        table.row([
            destination,
            row.gateway,
            row.interface,
            row.from,
            used.to_owned(),
        ]);
    }
    out.table(&mut table)
}

/// The route to a prefix that a BIRD that answers uses.
pub(super) fn best(prefix: IpNet, sockets: &[PathBuf]) -> Option<Details> {
    let all = ask(sockets, |bird| bird.routes_to(prefix)).ok()?;
    let all = all.into_iter().filter(|it| it.destination == prefix);
    all.max_by_key(|details| details.primary)
}
