//! The record of a run while it is under way: the plan and each sample, a line each, so that
//! whatever happens what was measured is kept and the run can be resumed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::error::{BenchError, Result};
use crate::plan::Plan;
use crate::results::Sample;

const FILE: &str = "samples.jsonl";

/// The record, open for more.
#[derive(Debug)]
pub struct Record {
    file: File,
}

impl Record {
    /// Starts a record in `directory`, or goes on with the one there: then with its samples that
    /// are of use.
    ///
    /// # Errors
    /// The files refuse, or the record there is of another plan.
    pub fn open(directory: &Path, plan: &Plan, resume: bool) -> Result<(Self, Vec<Sample>)> {
        let path = directory.join(FILE);
        let what = || format!("opening {}", path.display());
        fs::create_dir_all(directory)
            .map_err(BenchError::io(format!("making {}", directory.display())))?;
        if resume && path.exists() {
            let text = fs::read_to_string(&path).map_err(BenchError::io(what()))?;
            let mut lines = text.lines();
            let before: Option<Plan> = lines
                .next()
                .and_then(|line| serde_json::from_str(line).ok());
            if before.as_ref() != Some(plan) {
                return Err(BenchError::Invalid(format!(
                    "--resume: the run in {} had other options; give those again, or leave \
                     --resume out to start anew",
                    directory.display()
                )));
            }
            // The last line may have been cut off; a failed test is tried again.
            let samples = lines
                .filter_map(|line| serde_json::from_str::<Sample>(line).ok())
                .filter(|sample| sample.error.is_none())
                .collect::<Vec<_>>();
            let mut record = Self {
                file: File::create(&path).map_err(BenchError::io(what()))?,
            };
            record.line(plan)?;
            for sample in &samples {
                record.line(sample)?;
            }
            return Ok((record, samples));
        }
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)
            .map_err(BenchError::io(what()))?;
        let mut record = Self { file };
        record.line(plan)?;
        Ok((record, Vec::new()))
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, sample: &Sample) -> Result<()> {
        self.line(sample)
    }

    fn line(&mut self, value: &impl serde::Serialize) -> Result<()> {
        let line = serde_json::to_string(value)
            .map_err(|error| BenchError::Invalid(format!("the record: {error}")))?;
        writeln!(self.file, "{line}").map_err(BenchError::io("writing the record"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Test;
    use crate::summary::tests::sample;

    fn plan(rounds: usize) -> Plan {
        Plan {
            subjects: Vec::new(),
            groups: Vec::new(),
            rounds,
            seconds: 1,
            seed: 1,
            reference: "kernel".to_owned(),
            settle: None,
            congestion: None,
        }
    }

    #[test]
    fn a_record_goes_on_where_it_was_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let (mut record, none) = Record::open(directory.path(), &plan(3), false).unwrap();
        assert!(none.is_empty());
        let good = sample("vrouter", Test::Tcp, 1, 5.0);
        let mut failed = sample("vrouter", Test::Tcp, 2, 5.0);
        failed.error = Some("no".to_owned());
        record.add(&good).unwrap();
        record.add(&failed).unwrap();
        write!(record.file, "{{\"subject\":\"cut").unwrap();
        drop(record);
        let (_, samples) = Record::open(directory.path(), &plan(3), true).unwrap();
        assert_eq!(samples, std::slice::from_ref(&good));
        let (_, again) = Record::open(directory.path(), &plan(3), true).unwrap();
        assert_eq!(again, [good]);
        assert!(Record::open(directory.path(), &plan(4), true).is_err());
    }
}
