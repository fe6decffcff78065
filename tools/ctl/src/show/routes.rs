//! `show routes`, `show neighbors`, `show tunnels`.

use std::io::Write;

use vrouter_control::model::{Encap, Neighbor, NextHop, Route, Traffic, Tunnel};

use super::optional;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;
use crate::units::bytes;

/// The columns; `ps` has all but the last one.
pub(super) fn header(wide: bool) -> &'static [&'static str] {
    const ALL: [&str; 7] = [
        "PREFIX",
        "KIND",
        "NEXT-HOP",
        "INTERFACE",
        "ENCAP",
        "MTU",
        "SOURCE",
    ];
    if wide { &ALL } else { &ALL[..6] }
}

/// A line for each next hop; the further ones leave out what is the same.
pub(super) fn rows(table: &mut Table, routes: &[Route]) {
    for route in routes {
        let prefix = route.prefix.to_string();
        let mut line = |prefix: String, hop: Option<&NextHop>| {
            table.row([
                prefix,
                route.kind.name().to_owned(),
                optional(hop.and_then(|hop| hop.address.as_ref())),
                hop.map(|hop| hop.interface.clone()).unwrap_or_default(),
                hop.map(|hop| encap(hop.encap, hop.vni)).unwrap_or_default(),
                optional(route.mtu.as_ref()),
                optional(route.source.as_ref()),
            ]);
        };
        line(prefix, route.next_hops.first());
        for hop in route.next_hops.iter().skip(1) {
            line("  or".to_owned(), Some(hop));
        }
    }
}

/// `vxlan/4096`; nothing without encapsulation.
fn encap(encap: Encap, vni: Option<u32>) -> String {
    match (encap, vni) {
        (Encap::None, _) => String::new(),
        (_, None) => encap.name().to_owned(),
        (_, Some(vni)) => format!("{}/{vni}", encap.name()),
    }
}

pub(super) fn neighbors<W: Write>(
    out: &mut Output<W>,
    neighbors: &Vec<Neighbor>,
) -> Result<(), Failure> {
    if out.structured(neighbors)? {
        return Ok(());
    }
    let mut table = Table::new(&["ADDRESS", "MAC", "INTERFACE", "ENDPOINT"]);
    for neighbor in neighbors {
        table.row([
            neighbor.address.to_string(),
            optional(neighbor.mac.as_ref()),
            neighbor.interface.clone(),
            optional(neighbor.endpoint.as_ref()),
        ]);
    }
    out.table(&mut table)
}

pub(super) fn tunnels<W: Write>(out: &mut Output<W>, tunnels: &Vec<Tunnel>) -> Result<(), Failure> {
    const ALL: [&str; 14] = [
        "NODE",
        "REMOTE",
        "ENCAP",
        "MTU",
        "PATH-MTU",
        "ROUTES",
        "KNOWN",
        "RX",
        "TX",
        "LOCAL",
        "LOCAL-MAC",
        "REMOTE-MAC",
        "RX-PACKETS",
        "TX-PACKETS",
    ];
    if out.structured(tunnels)? {
        return Ok(());
    }
    let mut table = Table::new(if out.is_wide() { &ALL } else { &ALL[..9] });
    let size = |traffic: Option<Traffic>| traffic.map(|t| bytes(t.bytes)).unwrap_or_default();
    let packets =
        |traffic: Option<Traffic>| traffic.map(|t| t.packets.to_string()).unwrap_or_default();
    for tunnel in tunnels {
        table.row([
            tunnel.node.clone(),
            tunnel.remote.to_string(),
            encap(tunnel.encap, tunnel.vni),
            tunnel.mtu.to_string(),
            optional(tunnel.path_mtu.as_ref()),
            tunnel.routes.to_string(),
            if tunnel.known_source { "yes" } else { "no" }.to_owned(),
            size(tunnel.rx),
            size(tunnel.tx),
            optional(tunnel.local.as_ref()),
            optional(tunnel.local_mac.as_ref()),
            optional(tunnel.remote_mac.as_ref()),
            packets(tunnel.rx),
            packets(tunnel.tx),
        ]);
    }
    out.table(&mut table)
}
