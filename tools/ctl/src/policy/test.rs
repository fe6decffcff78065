//! A file of expectations against what policy says.
//!
//! ```yaml
//! - name: clients reach the web      # optional
//!   source: default/client           # an endpoint or an address, as for `policy explain`
//!   destination: default/web
//!   to: tcp/80                       # PROTOCOL[/PORT], icmp[/TYPE[/CODE]]
//!   sourcePort: 1024                 # optional
//!   family: 4                        # optional
//!   expect: Allow
//! ```

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vrouter_control::model::Family;
use vrouter_control::params::Explain;

use super::{Outcome, cannot_read};
use crate::args::policy::Destined;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

/// What is to become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
enum Expect {
    #[serde(alias = "allow")]
    Allow,
    #[serde(alias = "deny")]
    Deny,
}

impl Expect {
    fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// One line of the table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    name: Option<String>,
    source: String,
    destination: String,
    to: String,
    #[serde(default)]
    source_port: Option<u16>,
    #[serde(default)]
    family: Option<Family>,
    expect: Expect,
}

/// An expectation whose packet was understood.
pub(super) struct Expectation {
    name: Option<String>,
    to: String,
    packet: Explain,
    expect: Expect,
}

/// How one of them came out, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    source: &'a str,
    destination: &'a str,
    to: &'a str,
    expect: Expect,
    verdict: String,
    because: String,
    ok: bool,
}

pub(super) fn read(file: &Path) -> Result<Vec<Expectation>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| cannot_read(file, &e))?;
    parse(&text).map_err(|error| cannot_read(file, &error))
}

fn parse(text: &str) -> Result<Vec<Expectation>, String> {
    let written: Vec<Written> = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if written.is_empty() {
        return Err("there is no expectation in it".to_owned());
    }
    let understood = |(at, written): (usize, Written)| {
        let to: Destined = written
            .to
            .parse()
            .map_err(|e: String| format!("[{at}].to: {e}"))?;
        Ok(Expectation {
            packet: to.packet(
                written.source,
                written.destination,
                written.source_port,
                written.family,
            ),
            name: written.name,
            to: written.to,
            expect: written.expect,
        })
    };
    written.into_iter().enumerate().map(understood).collect()
}

pub(super) fn run<W: Write>(
    out: &mut Output<W>,
    expectations: &[Expectation],
    mut ask: impl FnMut(&Explain) -> Result<Outcome, Failure>,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for expectation in expectations {
        let Expectation {
            name,
            to,
            packet,
            expect,
        } = expectation;
        // A name nobody has is a difference like any other: the table is judged to its end.
        let (verdict, because) = match ask(packet) {
            Ok(Outcome { verdict, because }) => (verdict, because),
            Err(Failure::Daemon(vrouter_control::ClientError::Refused(error))) => {
                ("Error".to_owned(), error.to_string())
            }
            Err(failure) => return Err(failure),
        };
        rows.push(Row {
            name: name.as_deref(),
            source: &packet.source,
            destination: &packet.destination,
            to,
            expect: *expect,
            ok: verdict == expect.name(),
            verdict,
            because,
        });
    }
    if !out.structured(&rows)? {
        print(out, &rows)?;
    }
    let (all, wrong) = (rows.len(), rows.iter().filter(|row| !row.ok).count());
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::Differs(format!(
            "{wrong} of {all} expectations do not hold"
        ))),
    }
}

fn print<W: Write>(out: &mut Output<W>, rows: &[Row<'_>]) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "RESULT",
        "SOURCE",
        "DESTINATION",
        "TO",
        "EXPECTED",
        "FOUND",
        "NAME",
        "BECAUSE",
    ]);
    for row in rows {
        table.row([
            if row.ok { "ok" } else { "WRONG" }.to_owned(),
            row.source.to_owned(),
            row.destination.to_owned(),
            row.to.to_owned(),
            row.expect.name().to_owned(),
            row.verdict.clone(),
            row.name.unwrap_or_default().to_owned(),
            row.because.clone(),
        ]);
    }
    out.table(&mut table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::format::Format;

    const FILE: &str = "
- {name: web, source: a/b, destination: 10.0.0.1, to: tcp/80, expect: Allow}
- {source: a/b, destination: 10.0.0.1, to: icmp, family: 4, expect: deny}
";

    #[test]
    fn files() {
        let read = parse(FILE).unwrap();
        assert_eq!(read[0].packet.port, Some(80));
        assert_eq!(read[1].expect, Expect::Deny);
        assert_eq!(read[1].packet.family, Some(Family::V4));
        for wrong in [
            "",
            "[]",
            "- {source: a, destination: b, to: tcp/80}",
            "- {source: a, destination: b, to: tcp/x, expect: Allow}",
            "- {source: a, destination: b, to: tcp/80, expect: Pass}",
            "- {source: a, destination: b, to: tcp/80, expect: Allow, port: 80}",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_expectation_is_judged_and_one_that_fails_fails_all() {
        let read = parse(FILE).unwrap();
        let mut asked = 0;
        let mut judge = |verdict: &str, format| {
            let mut text = Vec::new();
            let mut out = Output::new(&mut text, format);
            let outcome = run(&mut out, &read, |packet| {
                asked += 1;
                Ok(Outcome {
                    verdict: if packet.port == Some(80) {
                        "Allow"
                    } else {
                        verdict
                    }
                    .to_owned(),
                    because: "so".to_owned(),
                })
            });
            out.flush().unwrap();
            drop(out);
            (
                outcome.map_err(|e| e.to_string()),
                String::from_utf8(text).unwrap(),
            )
        };
        let (outcome, text) = judge("Deny", Format::Ps);
        assert_eq!(outcome, Ok(()));
        assert_eq!(text.matches("ok").count(), 2, "{text}");
        let (outcome, text) = judge("Allow", Format::Json);
        assert_eq!(outcome, Err("1 of 2 expectations do not hold".to_owned()));
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(rows[1]["ok"], false);
        assert_eq!(asked, 4);
    }
}
