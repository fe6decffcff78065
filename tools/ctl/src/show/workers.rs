//! `show workers`.

use std::io::Write;

use vrouter_control::model::Worker;

use super::optional;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;
use crate::units::percent;

pub(super) fn print<W: Write>(out: &mut Output<W>, workers: &Vec<Worker>) -> Result<(), Failure> {
    if out.structured(workers)? {
        return Ok(());
    }
    const ALL: [&str; 9] = [
        "ID",
        "CPU",
        "PACKETS",
        "TURNS",
        "BUSY",
        "SLEEPS",
        "BUFFERS",
        "USED",
        "GENERATION",
    ];
    let mut table = Table::new(&ALL);
    for worker in workers {
        let turns = worker.busy_turns.saturating_add(worker.idle_turns);
        table.row([
            worker.id.to_string(),
            optional(worker.cpu.as_ref()),
            worker.packets.to_string(),
            turns.to_string(),
            percent(worker.busy_turns, turns),
            worker.sleeps.to_string(),
            worker.pool_size.to_string(),
            worker.pool_used.to_string(),
            worker.generation.to_string(),
        ]);
    }
    out.table(&mut table)
}
