//! `policy explain` and `policy test`: asked of a running `vrouterd`, or of files alone.

mod offline;
mod test;
mod text;

use std::io::Write;
use std::path::Path;

use serde::Deserialize;
use vrouter_control::model::Explanation;
use vrouter_control::params::Explain;
use vrouter_control::{Client, ErrorBody};

use crate::args::policy::{OfflineArgs, PolicyCommand};
use crate::explain;
use crate::failure::Failure;
use crate::output::Output;
use offline::Offline;

/// Who answers.
enum Source {
    Daemon(Box<Client>),
    Files(Box<Offline>),
}

/// What `policy test` reads of an explanation.
#[derive(Deserialize)]
struct Outcome {
    verdict: String,
    because: String,
}

impl Source {
    fn open(
        directory: Option<&Path>,
        from: &OfflineArgs,
        connect: impl FnOnce() -> Result<Client, Failure>,
    ) -> Result<Self, Failure> {
        match directory.or(from.dir.as_deref()) {
            None if from.node.is_some() => Err(Failure::Usage(
                "--node is for resources of a directory: name it with --directory".to_owned(),
            )),
            Some(directory) => Offline::read(directory, from.node.clone())
                .map(|offline| Self::Files(Box::new(offline))),
            None => connect().map(|client| Self::Daemon(Box::new(client))),
        }
    }

    /// The explanation of one packet.
    fn explain(&mut self, packet: &Explain) -> Result<Explanation, Failure> {
        match self {
            Self::Daemon(client) => Ok(client.call(packet)?),
            Self::Files(offline) => offline.explain(packet).map_err(refused),
        }
    }
}

fn refused(error: ErrorBody) -> Failure {
    Failure::Daemon(vrouter_control::ClientError::Refused(error))
}

/// A file as it is called in messages.
fn cannot_read(file: &Path, error: &impl std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {error}", file.display()))
}

pub(crate) fn run<W: Write>(
    out: &mut Output<W>,
    directory: Option<&Path>,
    command: &PolicyCommand,
    connect: impl FnOnce() -> Result<Client, Failure>,
) -> Result<(), Failure> {
    match command {
        PolicyCommand::Explain { packet, from } => {
            let asked = packet.params();
            let explanation = Source::open(directory, from, connect)?.explain(&asked)?;
            let json = explanation.json();
            if !out.is_table() {
                return explain::print(out, json);
            }
            let walk = serde_json::from_str(json.get())
                .map_err(|e| crate::failure::nonsense(&e.to_string()))?;
            out.text(&text::lines(&asked, &walk))
        }
        PolicyCommand::Test { file, from } => {
            let expectations = test::read(file)?;
            let mut source = Source::open(directory, from, connect)?;
            test::run(out, &expectations, |packet| {
                let explanation = source.explain(packet)?;
                serde_json::from_str(explanation.json().get())
                    .map_err(|e| crate::failure::nonsense(&e.to_string()))
            })
        }
    }
}
