//! `version`, `show version`.

use std::io::Write;

use serde::Serialize;
use vrouter_control::PROTOCOL;
use vrouter_control::model::Version;

use crate::failure::Failure;
use crate::output::Output;
use crate::units::span;

/// Both sides, for programs.
#[derive(Serialize)]
struct Versions<'a> {
    client: Ours,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<&'a Version>,
}

#[derive(Serialize)]
struct Ours {
    version: &'static str,
    /// Empty where the build knew of none.
    #[serde(skip_serializing_if = "str::is_empty")]
    commit: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    date: &'static str,
    protocol: u32,
}

const OURS: Ours = Ours {
    version: vrouter_cli::RELEASE,
    commit: vrouter_cli::COMMIT,
    date: vrouter_cli::COMMIT_DATE,
    protocol: PROTOCOL,
};

/// Ours alone.
pub(crate) fn client_version<W: Write>(out: &mut Output<W>) -> Result<(), Failure> {
    if !out.structured(&Versions {
        client: OURS,
        daemon: None,
    })? {
        let commit = if OURS.commit.is_empty() {
            "unknown".to_owned()
        } else {
            format!("{} ({})", OURS.commit, OURS.date)
        };
        out.text(&format!(
            "Client Version:    {}\nGit commit:        {commit}\n",
            OURS.version
        ))?;
    }
    Ok(())
}

/// Both; ours even where the daemon does not answer.
pub(crate) fn versions<W: Write>(
    out: &mut Output<W>,
    daemon: Result<Version, Failure>,
) -> Result<(), Failure> {
    let version = match daemon {
        Ok(version) => version,
        Err(failure) => {
            client_version(out)?;
            return Err(failure);
        }
    };
    if out.structured(&Versions {
        client: OURS,
        daemon: Some(&version),
    })? {
        return Ok(());
    }
    client_version(out)?;
    out.text(&format!(
        "Daemon Version:    {}\n\
         Node:              {}\n\
         Process:           {}\n\
         Started:           {} ({} ago)\n\
         Workers:           {}\n\
         Generation:        {}\n",
        version.version,
        version.node,
        version.pid,
        version.started,
        span(version.uptime_ms),
        version.workers,
        version.generation,
    ))?;
    if version.protocol != PROTOCOL {
        out.text(&format!(
            "Protocol:          {}; vrouterctl speaks {PROTOCOL}, use one of the same release\n",
            version.protocol
        ))?;
    }
    Ok(())
}
