//! `show drops`, `show counters`.

use std::io::Write;

use vrouter_control::model::{CounterReport, DeniedPair, DropReport, NamedCount, Protocol};

use super::{flows, optional};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;
use crate::units::bytes;

/// Who is refused most, by whom it wanted to reach.
fn pairs<W: Write>(out: &mut Output<W>, pairs: &[DeniedPair]) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "REFUSED",
        "REASON",
        "PROTO",
        "SOURCE",
        "DESTINATION",
        "PORT",
    ]);
    for pair in pairs {
        table.row([
            pair.packets.to_string(),
            pair.reason.clone(),
            pair.protocol.to_string(),
            pair.source.to_string(),
            pair.destination.to_string(),
            optional(pair.port.as_ref()),
        ]);
    }
    out.table(&mut table)
}

pub(super) fn drops<W: Write>(
    out: &mut Output<W>,
    report: &DropReport,
    recent: bool,
    all: bool,
) -> Result<(), Failure> {
    if out.structured(report)? {
        return Ok(());
    }
    out.table(&mut named("REASON", &report.reasons, all))?;
    if recent {
        out.text("\n")?;
        let mut table = Table::new(&[
            "TIME",
            "REASON",
            "INTERFACE",
            "PROTO",
            "SOURCE",
            "DESTINATION",
            "LENGTH",
            "CUT",
            "RULE",
        ]);
        for sample in &report.recent {
            let protocol = sample.protocol.unwrap_or(Protocol(0));
            let (source, destination) = sample
                .tuple
                .as_ref()
                .map(|tuple| flows::ends(protocol, tuple))
                .unwrap_or_default();
            table.row([
                sample.time.to_string(),
                sample.reason.clone(),
                sample.interface.clone(),
                optional(sample.protocol.as_ref()),
                source,
                destination,
                sample.length.to_string(),
                if sample.cut { "cut" } else { "-" }.to_owned(),
                optional(sample.rule.as_ref()),
            ]);
        }
        out.table(&mut table)?;
        if !report.pairs.is_empty() {
            out.text("\n")?;
            pairs(out, &report.pairs)?;
        }
        if report.samples_lost > 0 {
            out.text(&format!(
                "{} more samples found no room\n",
                report.samples_lost
            ))?;
        }
    }
    Ok(())
}

/// Counters with their sentences, those above 0 or all.
fn named(title: &str, counts: &[NamedCount], all: bool) -> Table {
    let mut table = Table::new(&[title, "PACKETS", "MEANING"]);
    for count in counts.iter().filter(|count| all || count.packets > 0) {
        table.row([
            count.reason.clone(),
            count.packets.to_string(),
            count.sentence.clone(),
        ]);
    }
    table
}

pub(super) fn print<W: Write>(
    out: &mut Output<W>,
    report: &CounterReport,
    all: bool,
) -> Result<(), Failure> {
    if out.structured(report)? {
        return Ok(());
    }
    let balance = &report.balance;
    let mut table = Table::new(&["BALANCE", "PACKETS", "MEANING"]);
    for (name, count, meaning) in [
        ("received", balance.received.into(), "read from interfaces"),
        ("generated", balance.generated.into(), "made by the router"),
        (
            "transmitted",
            balance.transmitted.into(),
            "taken by interfaces",
        ),
        (
            "consumed",
            balance.consumed.into(),
            "ended here without loss",
        ),
        (
            "dropped",
            balance.dropped.into(),
            "lost, by the reasons below",
        ),
        (
            "difference",
            balance.difference(),
            "in flight; 0 when nothing moves",
        ),
    ] {
        let count: i128 = count;
        table.row([name.to_owned(), count.to_string(), meaning.to_owned()]);
    }
    out.table(&mut table)?;
    for (title, counts) in [
        ("GENERATED", &report.generated),
        ("CONSUMED", &report.consumed),
        ("DROPPED", &report.dropped),
    ] {
        if all || counts.iter().any(|count| count.packets > 0) {
            out.text("\n")?;
            out.table(&mut named(title, counts, all))?;
        }
    }

    out.text("\n")?;
    let mut table = Table::new(&["NODE", "PACKETS"]);
    for node in report.nodes.iter().filter(|node| all || node.packets > 0) {
        table.row([node.node.clone(), node.packets.to_string()]);
    }
    out.table(&mut table)?;

    out.text("\n")?;
    let flows = &report.flows;
    let mut table = Table::new(&[
        "FLOWS", "SIZE", "MEMORY", "CREATED", "EXPIRED", "CUT", "EVICTED", "REFUSED", "LIMITED",
    ]);
    table.row([
        flows.used.to_string(),
        flows.size.to_string(),
        bytes(flows.bytes),
        flows.created.to_string(),
        flows.expired.to_string(),
        flows.cut.to_string(),
        flows.evicted.to_string(),
        flows.refused.to_string(),
        flows.limited.to_string(),
    ]);
    out.table(&mut table)?;
    if report.events_lost > 0 {
        out.text(&format!("\n{} events found no room\n", report.events_lost))?;
    }
    Ok(())
}
