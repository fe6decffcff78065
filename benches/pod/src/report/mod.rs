//! What a run looks like: a table in the terminal, Markdown for a README, a page with charts.

pub mod html;
pub mod markdown;
pub mod svg;
pub mod table;

pub use vrouter_lab::status::plain_table;

use crate::cases::{Case, Test};
use crate::metrics::{self, Metric};
use crate::results::{Results, Sample};
use crate::statistics::{Estimate, Spread};
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

/// How often a figure was measured, where that is not as often as everything: `n=14`.
pub fn count_of(results: &Results, spread: &Spread) -> Option<String> {
    (spread.count != results.rounds).then(|| format!("n={}", spread.count))
}

/// The mark of a ratio that did not settle.
pub fn mark_of(ratio: &Ratio) -> &'static str {
    match ratio.settled {
        Some(false) => "?",
        Some(true) | None => "",
    }
}

/// A ratio turned so that more than 1 is better, whichever way the figure goes.
pub fn gain(ratio: &Ratio, metric: &Metric) -> Estimate {
    if metric.more_is_better {
        ratio.estimate
    } else {
        ratio.estimate.inverse()
    }
}

/// A gain as it is cited, with its mark.
pub fn cited(ratio: &Ratio, metric: &Metric) -> String {
    format!("{:.2}{}", gain(ratio, metric).value, mark_of(ratio))
}

/// What captions say about the number of rounds, beyond that of all.
pub fn settling(results: &Results) -> String {
    let counts = "n= tells how many rounds a figure has where it has more or fewer";
    match results.settle {
        Some(settle) => format!(
            "{counts}: some were added while the 95 % confidence interval of a ratio of TCP or \
             packet rate reached further than {} % from it, up to {} rounds; ? marks those that \
             it still does.",
            settle.percent, settle.max_rounds
        ),
        None => format!("{counts}."),
    }
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
    use crate::settle::Settle;
    use crate::summary::tests::sample;

    #[test]
    fn what_differs_in_rounds_or_did_not_settle_is_marked() {
        let mut samples = Vec::new();
        for round in 1..=7 {
            let value = if round % 2 == 0 { 11.0 } else { 13.0 };
            samples.push(sample("kernel", Test::Tcp, round, 10.0));
            samples.push(sample("vrouter", Test::Tcp, round, value));
            if round <= 5 {
                samples.push(sample("kernel", Test::Ab, round, 10.0));
                samples.push(sample("vrouter", Test::Ab, round, 20.0));
            }
        }
        let mut results = results(samples);
        results.settle = Some(Settle {
            percent: 5.0,
            max_rounds: 7,
        });
        results.summarise();
        for (page, uneven, even) in [
            (table::render(&results), "(11.00–13.00, n=7)", " 2.00×"),
            (
                markdown::render(&results),
                "13.00 (1.20?, n=7)",
                "20 (2.00) |",
            ),
            (
                html::render(&results),
                "<b>1.20?</b> <small>(1.10–1.30, n=7)",
                "<b>2.00</b>",
            ),
        ] {
            assert!(page.contains(uneven) && page.contains(even), "{page}");
            assert!(page.contains("further than 5 %"), "{page}");
        }
    }

    #[test]
    fn half_the_latency_is_twice_as_good() {
        let results = results(vec![
            sample("kernel", Test::Ping, 1, 10.0),
            sample("vrouter", Test::Ping, 1, 5.0),
        ]);
        for (page, ratio) in [
            (table::render(&results), " 2.00×"),
            (markdown::render(&results), "(2.00, n=1)"),
            (html::render(&results), "<b>2.00</b>"),
        ] {
            assert!(page.contains(ratio), "{page}");
            assert!(
                page.to_lowercase().contains("more than 1 is better"),
                "{page}"
            );
        }
    }

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
            settle: None,
            seconds_per_test: 1,
            seed: 1,
            reference: "kernel".to_owned(),
            subjects,
            complete: true,
            environment: Environment::read(0, None),
            unavailable: Vec::new(),
            samples,
            summary: Vec::new(),
            ratios: Vec::new(),
        };
        results.summarise();
        results
    }
}
