//! `vrouterctl`: manages Calico's resources as calicoctl does; asks a running `vrouterd` what it
//! does, over the control socket, and tells it to reload or stop; reads the etcd of Kubernetes.
//!
//! Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong; 1 for that too where
//! calicoctl has the command.

#![forbid(unsafe_code)]

mod args;
mod bgp;
mod calico;
mod drops;
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
mod status;
mod table;
mod units;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::value::RawValue;
use vrouter_control::Client;
use vrouter_control::params::{GetVersion, Reload, Shutdown};

use args::calico::Verb;
use args::format::Format;
use args::ipam::IpamCommand;
use args::{Cli, Command};
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let format = match format(&cli) {
        Ok(format) => format,
        Err(error) => {
            print_error(&error);
            return wrong_usage(matches!(cli.command, Command::Calico(_)));
        }
    };
    let mut out = Output::new(io::stdout().lock(), format.clone());
    match run(&cli, &mut out, &format).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before the failure belongs before it.
            let _ = out.flush();
            match &failure {
                Failure::Calico(words) => print_error(words),
                other => print_error(&format!("vrouterctl: {other}")),
            }
            failure.exit_code()
        }
    }
}

/// Standard error may be closed too.
fn print_error(words: &str) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

/// calicoctl's code for a command line that is wrong is 1, ours has always been 2.
fn wrong_usage(of_calico: bool) -> ExitCode {
    ExitCode::from(if of_calico { 1 } else { 2 })
}

/// Help and versions go to standard output and are no failure.
fn misused(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.exit_code() == 0 {
        return ExitCode::SUCCESS;
    }
    // Of what stands there the first that is a command, not the value of an option before it.
    let first = std::env::args()
        .skip(1)
        .find(|word| Command::has_subcommand(word));
    wrong_usage(first.is_some_and(|word| Verb::has_subcommand(&word)))
}

/// Templates are for what has resources.
fn format(cli: &Cli) -> Result<Format, String> {
    if cli.context.is_some() {
        return Err("--context is for the kubernetes datastore, which is not supported yet".into());
    }
    if let Command::Calico(Verb::Ipam {
        command: IpamCommand::Check { .. },
    }) = cli.command
    {
        return Ok(Format::Ps);
    }
    let format: Format = cli.output.parse()?;
    match (&format, &cli.command) {
        (
            Format::Columns(_) | Format::Template(_) | Format::TemplateFile(_),
            Command::Calico(Verb::Get { .. }),
        )
        | (Format::Ps | Format::Wide | Format::Json | Format::Yaml, _) => Ok(format),
        (Format::Columns(_) | Format::Template(_) | Format::TemplateFile(_), _) => Err(format!(
            "the output format '{}' is for get alone",
            cli.output
        )),
    }
}

fn connect(cli: &Cli) -> Result<Client, Failure> {
    let timeout = Duration::from_secs(cli.timeout.into());
    Ok(Client::connect_with_timeout(&cli.socket, timeout)?)
}

fn run(cli: &Cli, out: &mut Output<impl Write>, format: &Format) -> Result<(), Failure> {
    match &cli.command {
        Command::Calico(verb) => calico::run(cli, out, verb, format),
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
        Command::Bgp { command } => bgp::run(cli, out, command),
        Command::Policy { command } => {
            policy::run(out, cli.directory.as_deref(), command, || connect(cli))
        }
        Command::Version { client: true } => show::client_version(out),
        Command::Version { client: false } => {
            // Ours is known even where the daemon does not answer.
            let daemon = connect(cli).and_then(|mut c| Ok(c.call(&GetVersion {})?));
            show::versions(out, daemon)
        }
        Command::Status { bird_socket } => {
            status::run(&mut connect(cli)?, out, &cli.socket, bird_socket)
        }
        Command::Drops(arguments) => drops::run(&mut connect(cli)?, out, arguments),
        Command::Diags { dir } => calico::node_diags(out, &cli.socket, dir.as_deref()),
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
        Command::Names { kind, namespace } => calico::names(cli, out, kind, namespace.as_deref()),
        Command::Completion { shell } => manual::completion(out, *shell),
        Command::Man(options) => manual::pages(out, options),
    }
}
