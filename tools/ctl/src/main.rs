//! `vrouterctl`: asks a running `vrouterd` what it does, over the control socket, and tells it
//! to reload or stop.
//!
//! Exit codes: 0 done, 1 the daemon said no or cannot be reached, 2 the command line is wrong.

#![forbid(unsafe_code)]

mod args;
mod explain;
mod failure;
mod kube;
mod manual;
mod moment;
mod output;
mod page;
mod policy;
mod route;
mod show;
mod table;
mod units;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde_json::value::RawValue;
use vrouter_control::Client;
use vrouter_control::params::{GetVersion, Reload, Shutdown};

use args::{Cli, Command};
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = match cli.output.parse() {
        Ok(format) => format,
        Err(error) => {
            eprintln!("vrouterctl: {error}");
            return ExitCode::from(2);
        }
    };
    let mut out = Output::new(io::stdout().lock(), format);
    match run(&cli, &mut out).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before the failure belongs before it.
            let _ = out.flush();
            eprintln!("vrouterctl: {failure}");
            failure.exit_code()
        }
    }
}

fn connect(cli: &Cli) -> Result<Client, Failure> {
    let timeout = Duration::from_secs(cli.timeout.into());
    Ok(Client::connect_with_timeout(&cli.socket, timeout)?)
}

fn run(cli: &Cli, out: &mut Output<impl io::Write>) -> Result<(), Failure> {
    match &cli.command {
        Command::Kube { command } => {
            kube::run(out, command, Duration::from_secs(cli.timeout.into()))
        }
        Command::Show { what, watch: None } => show::run(&mut connect(cli)?, out, what),
        Command::Show {
            what,
            watch: Some(seconds),
        } => {
            let clear = io::stdout().is_terminal();
            let mut client = connect(cli)?;
            loop {
                if clear {
                    out.text("\x1b[H\x1b[2J")?;
                }
                show::run(&mut client, out, what)?;
                if !clear && out.is_table() {
                    out.text("\n")?;
                }
                out.flush()?;
                thread::sleep(Duration::from_secs((*seconds).into()));
            }
        }
        Command::Policy { command } => policy::run(out, command, || connect(cli)),
        Command::Version { client: true } => show::client_version(out),
        Command::Version { client: false } => {
            // Ours is known even where the daemon does not answer.
            let daemon = connect(cli).and_then(|mut c| Ok(c.call(&GetVersion {})?));
            show::versions(out, daemon)
        }
        Command::Route { command } => route::run(&mut connect(cli)?, out, command),
        Command::Reload => {
            let reloaded = connect(cli)?.call(&Reload {})?;
            show::reloaded(out, &reloaded)
        }
        Command::Shutdown => {
            connect(cli)?.call(&Shutdown {})?;
            Ok(())
        }
        Command::Call { method, params } => {
            let params = match params {
                Some(text) => Some(
                    RawValue::from_string(text.clone())
                        .map_err(|e| Failure::Usage(format!("the parameters are not JSON: {e}")))?,
                ),
                None => None,
            };
            let result = connect(cli)?.call_raw(method, params)?;
            explain::print_raw(out, &result)
        }
        Command::Completion { shell } => manual::completion(out, *shell),
        Command::Man { dir } => manual::pages(out, dir.as_deref()),
    }
}
