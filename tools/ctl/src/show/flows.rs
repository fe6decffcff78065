//! `show flows`.

use std::net::{IpAddr, SocketAddr};

use vrouter_control::model::{Flow, Protocol, Tuple};

use super::optional;
use crate::table::Table;
use crate::units::{bytes, span};

/// The columns; `ps` has the first seven.
pub(super) fn header(wide: bool) -> &'static [&'static str] {
    const ALL: [&str; 17] = [
        "PROTO",
        "SOURCE",
        "DESTINATION",
        "STATE",
        "IDLE",
        "SENT",
        "REPLIED",
        "AGE",
        "TIMEOUT",
        "SENT-PACKETS",
        "REPLIED-PACKETS",
        "FROM",
        "TO",
        "REPLY",
        "GENERATION",
        "OFFLOAD",
        "RULES",
    ];
    if wide { &ALL } else { &ALL[..7] }
}

pub(super) fn rows(table: &mut Table, flows: &[Flow]) {
    for flow in flows {
        let (source, destination) = ends(flow.protocol, &flow.original);
        let rules: Vec<_> = flow.rules.iter().map(ToString::to_string).collect();
        table.row([
            flow.protocol.to_string(),
            source,
            destination,
            flow.state.clone(),
            span(flow.idle_ms),
            bytes(flow.original_traffic.bytes),
            bytes(flow.reply_traffic.bytes),
            span(flow.age_ms),
            span(flow.timeout_ms),
            flow.original_traffic.packets.to_string(),
            flow.reply_traffic.packets.to_string(),
            optional(flow.source_endpoint.as_ref()),
            optional(flow.destination_endpoint.as_ref()),
            translated(flow),
            flow.generation.to_string(),
            optional(flow.offload.as_ref()),
            rules.join("; "),
        ]);
    }
}

/// Source and destination; an ICMP echo has one identifier instead of two ports.
pub(crate) fn ends(protocol: Protocol, tuple: &Tuple) -> (String, String) {
    if protocol.is_icmp() {
        let id = tuple
            .source_port
            .map(|id| format!(" id {id}"))
            .unwrap_or_default();
        return (
            tuple.source.to_string(),
            format!("{}{id}", tuple.destination),
        );
    }
    (
        end(tuple.source, tuple.source_port),
        end(tuple.destination, tuple.destination_port),
    )
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

/// The reply's tuple where it is not simply the other way round.
fn translated(flow: &Flow) -> String {
    let Tuple {
        source: from,
        destination: to,
        ..
    } = flow.reply;
    let turned = (from, to) == (flow.original.destination, flow.original.source);
    let ports = !flow.protocol.has_ports()
        || (flow.reply.source_port, flow.reply.destination_port)
            == (flow.original.destination_port, flow.original.source_port);
    if turned && ports {
        String::new()
    } else {
        let (source, destination) = ends(flow.protocol, &flow.reply);
        format!("{source}->{destination}")
    }
}
