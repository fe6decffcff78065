//! Instructions a packet, by kind: the same turns under valgrind's callgrind, which counts what a
//! processor without counters does not tell. Each kind runs in a process of its own; only its
//! turns after warming up are counted.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use serde_json::json;

use crate::cases::{self, Case};
use crate::{Common, Output};

/// What callgrind is told to count: see [`counted_turns`].
const TOGGLE: &str = "--toggle-collect=*counted_turns*";

/// Counts instructions.
#[derive(Args, Debug)]
pub(crate) struct Instructions {
    /// Keeps callgrind's profiles in this directory, for callgrind_annotate(1).
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
    /// Runs one kind, by its whole name; what this program starts under valgrind.
    #[arg(long, hide = true, value_name = "NAME")]
    counted: Option<String>,
}

/// See the module.
pub(crate) fn run(arguments: &Instructions, common: &Common) -> ExitCode {
    if let Some(name) = &arguments.counted {
        return run_counted(name, common.turns);
    }
    let mut rows = Vec::new();
    for (name, packets) in cases::all()
        .iter()
        .map(|case| (case.name, case.packets(common.turns)))
        .filter(|(name, _)| name.contains(&common.only))
    {
        match count(name, common.turns, arguments.profiles.as_deref()) {
            Ok(instructions) => rows.push((name, instructions as f64 / packets as f64)),
            Err(error) => {
                eprintln!("worker-bench: {name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    match common.output {
        Output::Table => {
            println!("{:<34} {:>12}", "packet", "instructions");
            for (name, each) in &rows {
                println!("{name:<34} {each:>12.0}");
            }
        }
        Output::Json => {
            let rows: Vec<_> = rows
                .iter()
                .map(|(name, each)| json!({ "packet": name, "instructions": each }))
                .collect();
            println!("{}", json!({ "turns": common.turns, "packets": rows }));
        }
    }
    ExitCode::SUCCESS
}

/// What valgrind says of one kind.
fn count(name: &str, turns: u64, profiles: Option<&Path>) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let file = profiles.map_or_else(
        || "/dev/null".into(),
        |directory| {
            let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            directory.join(format!("callgrind.{name}"))
        },
    );
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", TOGGLE])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(own)
        .args(["instructions", "--counted", name])
        .args(["--turns", &turns.to_string()])
        .output()
        .map_err(|error| format!("valgrind (Debian package valgrind): {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // "==123== Collected : 4567"
    let collected = said.lines().find_map(|line| {
        let (_, number) = line.split_once("Collected :")?;
        number.trim().parse().ok()
    });
    match collected {
        Some(number) if output.status.success() && number > 0 => Ok(number),
        Some(_) | None => Err(format!("{}: {said}", output.status)),
    }
}

fn run_counted(name: &str, turns: u64) -> ExitCode {
    let Some(mut case) = cases::all().into_iter().find(|case| case.name == name) else {
        eprintln!("worker-bench: no kind of packet is called {name}");
        return ExitCode::FAILURE;
    };
    case.run(turns / 10);
    counted_turns(&mut case, turns);
    case.check();
    ExitCode::SUCCESS
}

/// A function of its own, so that callgrind finds its beginning and end.
#[inline(never)]
fn counted_turns(case: &mut Case, turns: u64) {
    case.run(turns);
    // Or the call above could become a jump, and the end of this would not be seen.
    black_box(case);
}
