//! `show resources`, `reload`.

use std::io::Write;

use vrouter_control::model::{Notice, Reloaded, ResourceReport};

use super::optional;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

pub(super) fn print<W: Write>(out: &mut Output<W>, report: &ResourceReport) -> Result<(), Failure> {
    if out.structured(report)? {
        return Ok(());
    }
    let changed = report
        .changed
        .map(|time| format!(", changed {time}"))
        .unwrap_or_default();
    let synced = if report.synced { "" } else { ", still reading" };
    out.text(&format!(
        "{}: generation {}{changed}{synced}\n\n",
        report.directory, report.generation
    ))?;
    let mut table = Table::new(&["KIND", "COUNT"]);
    for kind in &report.kinds {
        table.row([kind.kind.clone(), kind.count.to_string()]);
    }
    out.table(&mut table)?;
    if !report.notices.is_empty() {
        out.text("\n")?;
        notices(out, &report.notices)?;
    }
    Ok(())
}

fn notices<W: Write>(out: &mut Output<W>, notices: &[Notice]) -> Result<(), Failure> {
    let mut table = Table::new(&["SEVERITY", "PLACE", "RESOURCE", "FIELD", "MESSAGE"]);
    for notice in notices {
        let line = notice
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        let place = notice.file.as_ref().map(|file| format!("{file}{line}"));
        table.row([
            notice.severity.name().to_owned(),
            optional(place.as_ref()),
            optional(notice.resource.as_ref()),
            optional(notice.field.as_ref()),
            notice.message.clone(),
        ]);
    }
    out.table(&mut table)
}

/// What a reload found.
pub(crate) fn reloaded<W: Write>(out: &mut Output<W>, reloaded: &Reloaded) -> Result<(), Failure> {
    if out.structured(reloaded)? {
        return Ok(());
    }
    out.text(&format!("reloaded, generation {}\n", reloaded.generation))?;
    if reloaded.notices.is_empty() {
        Ok(())
    } else {
        notices(out, &reloaded.notices)
    }
}
