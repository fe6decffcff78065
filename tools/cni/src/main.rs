//! `vrouter-cni`: the CNI plugin, and the IPAM plugin, by the name it is called by.
//!
//! Runtimes call it with everything in the environment and the config on stdin; the answer goes to
//! stdout. With arguments it installs itself.
#![forbid(unsafe_code)]

mod add;
mod call;
mod check;
mod config;
mod daemon;
mod del;
mod delegate;
mod endpoint;
mod error;
mod gates;
mod gc;
mod identity;
mod install;
mod ipam;
mod ipam_plugin;
mod json;
mod log;
mod pod;
mod result;
mod status;
mod status_file;
mod store;
mod version;
mod wishes;

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use crate::call::{Call, Operation};
use crate::config::Config;
use crate::error::CniError;
use crate::log::Log;
use crate::version::Version;

/// Which of the two plugins is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plugin {
    /// `vrouter`, `calico`.
    Network,
    /// `vrouter-ipam`, `calico-ipam`.
    Ipam,
}

fn main() -> ExitCode {
    let start = Instant::now();
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    let plugin = if name.to_string_lossy().ends_with("-ipam") {
        Plugin::Ipam
    } else {
        Plugin::Network
    };
    if std::env::args_os().len() > 1 {
        return install::run();
    }
    let mut version = Version::LATEST.name();
    match answer(plugin, start, &mut version) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print(&error.json(version));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) {
    if text.is_empty() {
        return;
    }
    // A runtime that closed the pipe wants no answer.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// What goes to stdout; `version` becomes the config's.
fn answer(plugin: Plugin, start: Instant, version: &mut &'static str) -> Result<String, CniError> {
    let variable = |name: &str| std::env::var(name).ok();
    let call = Call::read(&variable);
    if let Err(error) = &call
        && variable("CNI_COMMAND").is_none_or(|it| it.is_empty())
    {
        // Nobody may be at the other end of stdin.
        return Err(error.clone());
    }
    let mut stdin = Vec::new();
    std::io::stdin()
        .read_to_end(&mut stdin)
        .map_err(|error| CniError::io("stdin cannot be read", error))?;
    if matches!(&call, Ok(call) if call.operation == Operation::Version) {
        let raw = match stdin.trim_ascii() {
            b"" => serde_json::Map::new(),
            text => config::decode(text)?,
        };
        return Ok(Version::report(config::named_version(&raw)));
    }
    let raw = config::decode(&stdin);
    if let Ok(raw) = &raw
        && let Ok(known) = Version::parse(config::named_version(raw))
    {
        *version = known.name();
    }
    let call = call?;
    let config = Config::read(raw?)?;
    let mut log = Log::open(&config.log, context(&call));
    let what = format!("{} {}", call.operation.name(), config.network);
    let outcome = operate(plugin, &call, &config, &mut log);
    let took = start.elapsed().as_millis();
    match &outcome {
        Ok(text) => log.info(&format!("{what} done in {took} ms {text}")),
        Err(error) => log.error(&format!(
            "{what} failed in {took} ms, code {}: {error}",
            error.code
        )),
    }
    outcome
}

fn context(call: &Call) -> String {
    match call.operation {
        Operation::Add | Operation::Del | Operation::Check => format!(
            " ContainerID={:?} Interface={:?} Namespace={:?}",
            call.container_id, call.interface, call.netns
        ),
        Operation::Gc | Operation::Status | Operation::Version => String::new(),
    }
}

fn operate(
    plugin: Plugin,
    call: &Call,
    config: &Config,
    log: &mut Log,
) -> Result<String, CniError> {
    let version = config.version;
    let nothing = |()| String::new();
    match call.operation {
        Operation::Add => {
            let outcome = match plugin {
                Plugin::Network => add::add(call, config, log),
                Plugin::Ipam => ipam_plugin::add(call, config, log),
            };
            outcome.map(|it| it.json(version))
        }
        Operation::Del => match plugin {
            Plugin::Network => del::del(call, config, log),
            Plugin::Ipam => ipam_plugin::del(call, config, log),
        }
        .map(nothing),
        Operation::Check => {
            version.needs(Version::V0_4_0, "CHECK")?;
            match plugin {
                Plugin::Network => check::check(call, config, log),
                Plugin::Ipam => ipam_plugin::check(call, config),
            }
            .map(nothing)
        }
        Operation::Gc => {
            version.needs(Version::V1_1_0, "GC")?;
            match plugin {
                Plugin::Network => gc::gc(call, config, log),
                Plugin::Ipam => ipam_plugin::gc(config, log),
            }
            .map(nothing)
        }
        Operation::Status => {
            version.needs(Version::V1_1_0, "STATUS")?;
            match plugin {
                Plugin::Network => status::status(call, config, log),
                Plugin::Ipam => ipam_plugin::status(config),
            }
            .map(nothing)
        }
        Operation::Version => Ok(Version::report(Some(version.name()))),
    }
}
