//! The connectivity check: every kind of traffic on every path of a lab, as one table.

mod paths;
mod probe;
mod servers;

use clap::ValueEnum;

use crate::cli::{CheckOptions, Test};
use crate::error::{LabError, Result};
use crate::status::plain_table;
use crate::topology::Lab;

pub use paths::{Path, paths};
pub use servers::{IPERF_PORT, PAGE, Servers, WEB_PORT};

/// What a test of a path gave: a short text for the table, or why it failed.
pub type Outcome = Result<String, String>;

/// Runs the tests, prints the table (only the failures if asked), and fails if one of them did.
///
/// # Errors
/// [`LabError::ChecksFailed`], or the servers could not be started.
pub fn check(lab: &Lab, options: &CheckOptions) -> Result<()> {
    let mut paths = paths(lab);
    paths.retain(|path| options.paths.is_empty() || options.paths.contains(&path.kind));
    let tests: Vec<Test> = Test::value_variants()
        .iter()
        .copied()
        .filter(|test| options.tests.is_empty() || options.tests.contains(test))
        .collect();
    let directory = lab
        .state_directory
        .join(format!("servers-{}", std::process::id()));
    let places = paths.iter().map(|path| (&path.to, path.address));
    let servers = Servers::start(directory, places)?;
    let mut header = vec!["path".to_owned(), "from".to_owned(), "to".to_owned()];
    header.extend(tests.iter().map(name));
    let mut table = plain_table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut failures, mut total) = (Vec::new(), 0);
    for path in &paths {
        let mut row = vec![
            name(&path.kind),
            path.from_name.clone(),
            path.to_name.clone(),
        ];
        for test in &tests {
            let outcome = probe::probe(path, *test, &servers);
            total += 1;
            row.push(match outcome {
                Ok(text) => text,
                Err(reason) => {
                    failures.push(format!(
                        "{} {} → {}: {}: {reason}",
                        name(&path.kind),
                        path.from_name,
                        path.to_name,
                        name(test)
                    ));
                    "FAILED".to_owned()
                }
            });
        }
        table.add_row(row);
    }
    if !options.quiet {
        println!("{table}");
    }
    for failure in &failures {
        println!("{failure}");
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(LabError::ChecksFailed {
            failed: failures.len(),
            total,
        })
    }
}

fn name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}
