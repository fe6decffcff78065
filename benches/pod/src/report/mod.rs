//! What a run looks like: a table in the terminal, Markdown for a README, a page with charts.

pub mod html;
pub mod markdown;
pub mod svg;
pub mod table;

pub use vrouter_lab::status::plain_table;

use crate::cases::{Case, Test};
use crate::metrics::{self, Metric};
use crate::results::{Results, Sample};
use crate::statistics::Spread;
use crate::summary::Ratio;

/// The conditions of a run in the order of its samples' keys, without steps of scaling.
pub fn conditions(results: &Results) -> Vec<Case> {
    let mut all: Vec<Case> = results
        .samples
        .iter()
        .filter(|sample| sample.case.step.is_none())
        .map(|sample| sample.case.with_test(Test::Ping))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// The tests that were done under these conditions.
pub fn tests_of(results: &Results, conditions: &Case) -> Vec<Test> {
    let mut all: Vec<Test> = results
        .samples
        .iter()
        .filter(|sample| sample.case.with_test(Test::Ping) == *conditions)
        .map(|sample| sample.case.test)
        .collect();
    all.sort();
    all.dedup();
    all
}

/// The spread of a figure, and whether it is too wide.
pub fn spread_of(
    results: &Results,
    subject: &str,
    case: &Case,
    metric: &Metric,
) -> Option<(Spread, bool)> {
    results
        .summary
        .iter()
        .find(|s| s.subject == subject && s.case == *case && s.metric == metric.key)
        .map(|s| (s.spread, s.wide))
}

/// A figure's ratio to the reference's.
pub fn ratio_of<'a>(
    results: &'a Results,
    subject: &str,
    case: &Case,
    metric: &Metric,
) -> Option<&'a Ratio> {
    results
        .ratios
        .iter()
        .find(|r| r.subject == subject && r.case == *case && r.metric == metric.key)
}

/// The subjects other than the reference.
pub fn others(results: &Results) -> impl Iterator<Item = &String> {
    results
        .subjects
        .iter()
        .filter(|subject| **subject != results.reference)
}

/// The figures of a test that tables show: all of latencies, else the first and what it cost.
pub fn shown(test: Test) -> &'static [Metric] {
    metrics::of(test)
}

/// The measurements that failed.
pub fn failures(results: &Results) -> impl Iterator<Item = (&Sample, &String)> {
    results
        .samples
        .iter()
        .filter_map(|sample| Some((sample, sample.error.as_ref()?)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::results::FORMAT;

    /// Results of these samples, with the kernel as reference.
    pub(crate) fn results(samples: Vec<Sample>) -> Results {
        let mut subjects: Vec<String> = samples.iter().map(|s| s.subject.clone()).collect();
        subjects.sort();
        subjects.dedup();
        subjects.reverse();
        let mut results = Results {
            format: FORMAT.to_owned(),
            command: vec!["vrouter-bench".to_owned(), "run".to_owned()],
            started: 1_795_000_000,
            rounds: 5,
            seconds_per_test: 1,
            seed: 1,
            reference: "kernel".to_owned(),
            subjects,
            complete: true,
            environment: Environment::read(0),
            unavailable: Vec::new(),
            samples,
            summary: Vec::new(),
            ratios: Vec::new(),
        };
        results.summarise();
        results
    }
}
