//! `show interfaces`.

use std::io::Write;

use vrouter_control::model::{Interface, InterfaceCounters};

use super::optional;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;
use crate::units::bytes;

const PS: [&str; 8] = [
    "NAME", "ENDPOINT", "ADDRESS", "MTU", "STATE", "RX", "TX", "DROPPED",
];
const WIDE: [&str; 21] = [
    "ID",
    "NAME",
    "KIND",
    "ENDPOINT",
    "ADDRESSES",
    "MAC",
    "MTU",
    "STATE",
    "REASON",
    "DEVICE",
    "LINK",
    "NETNS",
    "QUEUES",
    "OFFLOADS",
    "RX-PACKETS",
    "RX-BYTES",
    "TX-PACKETS",
    "TX-BYTES",
    "DROPPED",
    "RX-SIZE",
    "TX-SIZE",
];

pub(super) fn print<W: Write>(
    out: &mut Output<W>,
    interfaces: &Vec<Interface>,
) -> Result<(), Failure> {
    if out.structured(interfaces)? {
        return Ok(());
    }
    let wide = out.is_wide();
    let mut table = Table::new(if wide { &WIDE } else { &PS });
    for interface in interfaces {
        if wide {
            table.row(wide_row(interface));
        } else {
            table.row(ps_row(interface));
        }
        for worker in &interface.workers {
            let name = format!("  worker {}", worker.worker);
            let mut cells = vec![String::new(); if wide { WIDE.len() - 7 } else { PS.len() - 3 }];
            cells[usize::from(wide)] = name;
            cells.extend(traffic(&worker.counters, wide));
            table.row(cells);
        }
    }
    out.table(&mut table)
}

fn ps_row(interface: &Interface) -> Vec<String> {
    // The first address: a workload's prefix is always its one address.
    let first = interface
        .addresses
        .first()
        .map(|a| a.addr().to_string())
        .unwrap_or_default();
    let address = match interface.addresses.len() {
        0 | 1 => first,
        n => format!("{first} +{}", n - 1),
    };
    let mut row = vec![
        interface.name.clone(),
        optional(interface.endpoint.as_ref()),
        address,
        interface.mtu.to_string(),
        interface.state.name().to_owned(),
    ];
    row.extend(traffic(&interface.counters, false));
    row
}

fn wide_row(interface: &Interface) -> Vec<String> {
    let addresses: Vec<_> = interface
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut row = vec![
        interface.id.to_string(),
        interface.name.clone(),
        interface.kind.name().to_owned(),
        optional(interface.endpoint.as_ref()),
        addresses.join(","),
        optional(interface.mac.as_ref()),
        interface.mtu.to_string(),
        interface.state.name().to_owned(),
        optional(interface.reason.as_ref()),
        optional(interface.device.as_ref()),
        link(interface),
        optional(interface.netns.as_ref()),
        interface.queues.to_string(),
        interface.offloads.join(","),
    ];
    row.extend(traffic(&interface.counters, true));
    row
}

/// What a workload hangs on, and why not on what was asked for.
fn link(interface: &Interface) -> String {
    match (&interface.link, &interface.link_reason) {
        (Some(link), Some(reason)) => format!("{link} ({reason})"),
        (link, _) => optional(link.as_ref()),
    }
}

fn traffic(counters: &InterfaceCounters, wide: bool) -> Vec<String> {
    let InterfaceCounters {
        rx_packets,
        rx_bytes,
        rx_dropped,
        tx_packets,
        tx_bytes,
    } = *counters;
    let (rx, tx) = (bytes(rx_bytes), bytes(tx_bytes));
    if wide {
        let exact = [rx_packets, rx_bytes, tx_packets, tx_bytes, rx_dropped];
        exact
            .iter()
            .map(ToString::to_string)
            .chain([rx, tx])
            .collect()
    } else {
        vec![rx, tx, rx_dropped.to_string()]
    }
}
