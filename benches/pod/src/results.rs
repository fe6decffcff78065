//! `results.json`: everything that a run measured, in a form with a published schema
//! (`benches/pod/schema/results.schema.json`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrouter_lab::state::write_whole;

use crate::cases::Case;
use crate::cpu::Cpu;
use crate::environment::Environment;
use crate::error::{BenchError, Result};
use crate::settle::Settle;
use crate::statistics::Distribution;
use crate::summary::{Ratio, Summary};

/// What [`Results::format`] says.
pub const FORMAT: &str = "vrouter-bench/1";
/// The file's name.
pub const FILE: &str = "results.json";

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// Which form this is.
    pub format: String,
    /// The command line.
    pub command: Vec<String>,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// Rounds that were asked for of everything.
    pub rounds: usize,
    /// Until when more rounds were added to what scatters, where they were.
    pub settle: Option<Settle>,
    /// The length of a test.
    pub seconds_per_test: u64,
    /// Of the order of tests.
    pub seed: u64,
    /// Who is compared with: ratios are others by this one.
    pub reference: String,
    /// Who is measured, in the order of tables.
    pub subjects: Vec<String>,
    /// Whether all that was planned was tried.
    pub complete: bool,
    /// What it ran on.
    pub environment: Environment,
    /// What could not be measured at all.
    pub unavailable: Vec<Unavailable>,
    /// Each measurement.
    pub samples: Vec<Sample>,
    /// Medians of the rounds.
    pub summary: Vec<Summary>,
    /// Figures by the reference's of the same round.
    pub ratios: Vec<Ratio>,
}

/// Something that cannot be measured here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unavailable {
    /// Who.
    pub subject: String,
    /// Under which conditions.
    pub conditions: String,
    /// Why.
    pub reason: String,
    /// Whether it was to be there and was not, rather than that there is no such thing here.
    #[serde(default)]
    pub failed: bool,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Who was measured.
    pub subject: String,
    /// What was done.
    pub case: Case,
    /// In which round, from one.
    pub round: usize,
    /// Seconds since the start of the run.
    pub at: f64,
    /// The figures; empty when it failed.
    pub metrics: BTreeMap<String, f64>,
    /// The CPU time spent.
    pub cpu: Cpu,
    /// The latencies, where they are what was measured.
    pub latency: Option<Distribution>,
    /// Why there is no figure.
    pub error: Option<String>,
}

impl Results {
    /// Reads the results of a run from its directory, or from the file itself.
    ///
    /// # Errors
    /// There are none, or not of this form.
    pub fn read(place: &Path) -> Result<Self> {
        let file = if place.is_dir() {
            place.join(FILE)
        } else {
            place.to_owned()
        };
        let text = fs::read_to_string(&file)
            .map_err(BenchError::io(format!("reading {}", file.display())))?;
        let refused = |error| BenchError::Invalid(format!("{}: {error}", file.display()));
        let mut written: serde_json::Value = serde_json::from_str(&text).map_err(refused)?;
        // Worked out anew from the samples: an older program worked out less.
        for derived in ["summary", "ratios"] {
            if let Some(list) = written.get_mut(derived) {
                *list = serde_json::Value::Array(Vec::new());
            }
        }
        let mut results: Self = serde_json::from_value(written).map_err(refused)?;
        if results.format == FORMAT {
            results.summarise();
            Ok(results)
        } else {
            Err(BenchError::Invalid(format!(
                "{}: its format is {:?}, and this program reads {FORMAT:?}",
                file.display(),
                results.format
            )))
        }
    }

    /// Writes them into a run's directory, whole or not at all.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| BenchError::Invalid(format!("results: {error}")))?;
        Ok(write_whole(&directory.join(FILE), &(text + "\n"))?)
    }

    /// Works out the medians and ratios anew.
    pub fn summarise(&mut self) {
        self.summary = crate::summary::summaries(&self.samples);
        self.ratios = crate::summary::ratios(&self.samples, &self.reference, self.settle);
    }
}

/// The schema of `results.json`, as text.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Results);
    serde_json::to_string_pretty(&schema).expect("a schema has only string keys") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Test;
    use crate::report::tests::results;
    use crate::summary::tests::sample;

    #[test]
    fn results_of_an_older_program_are_read() {
        let written = results(vec![
            sample("kernel", Test::Tcp, 1, 10.0),
            sample("vrouter", Test::Tcp, 1, 12.0),
        ]);
        let mut older = serde_json::to_value(&written).unwrap();
        for ratio in older["ratios"].as_array_mut().unwrap() {
            ratio.as_object_mut().unwrap().remove("estimate").unwrap();
            ratio.as_object_mut().unwrap().remove("settled").unwrap();
        }
        older.as_object_mut().unwrap().remove("settle").unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), older.to_string()).unwrap();
        assert_eq!(Results::read(directory.path()).unwrap(), written);
    }
}
