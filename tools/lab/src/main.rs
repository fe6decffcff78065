//! `vrouter-lab`: the command line of the labs. Errors go to standard error, one line and its
//! details; the exit code is 1 for them, 2 for a wrong command line, and otherwise that of the
//! command that was run.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use vrouter_lab::cli::{Cli, Output, Verb};
use vrouter_lab::{LabError, Result, check, doctor, exec, inject, lifecycle, state, status};

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vrouter-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints; that nobody reads it any more is no failure.
fn show(text: &str) {
    let _nobody_reads = io::stdout().write_all(text.as_bytes());
}

fn act(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up { name, spec } => {
            let lab = lifecycle::up(&name, &spec)?;
            show(&status::text(&lab));
        }
        Verb::Down { name } => {
            lifecycle::require_root()?;
            lifecycle::down(&name)?;
        }
        Verb::Run {
            name,
            spec,
            command,
        } => {
            let status = lifecycle::run(&name, &spec, &command)?;
            return Ok(ExitCode::from(lifecycle::exit_code(status)));
        }
        Verb::Exec {
            name,
            member,
            command,
        } => {
            lifecycle::require_root()?;
            return Err(exec::exec(&state::load(&name)?, &member, &command));
        }
        Verb::Status { name, output } => {
            let lab = state::load(&name)?;
            match output {
                Output::Table => show(&status::text(&lab)),
                Output::Json => show(&format!("{:#}\n", status::json(&lab))),
            }
        }
        Verb::Man(options) => options
            .write(Cli::command(), &mut io::stdout())
            .map_err(LabError::io("writing the manual"))?,
        Verb::List => show(&(status::list()? + "\n")),
        Verb::Check { name, options } => {
            lifecycle::require_root()?;
            check::check(&state::load(&name)?, &options)?;
        }
        Verb::Inject { name, at, frames } => {
            lifecycle::require_root()?;
            let sent = inject::inject(&state::load(&name)?, &at, &frames)?;
            show(&format!("{sent} frames sent\n"));
        }
        Verb::Doctor => {
            let (report, can_build) = doctor::report();
            show(&(report + "\n"));
            return Ok(if can_build {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Verb::Guard { name } => lifecycle::guard(&name)?,
    }
    Ok(ExitCode::SUCCESS)
}
