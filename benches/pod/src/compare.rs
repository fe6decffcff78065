//! What became better or worse between two runs.
//!
//! A machine's speed may change by a factor from one hour to the next, so where both runs measured
//! the same reference, ratios to it of the same round are compared, not the figures themselves. A
//! change counts when it is significant over all comparisons together (Welch's test on logarithms,
//! corrected after Holm) and larger than a threshold, because also what is significant may be the
//! mood of the machine.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::cases::Case;
use crate::error::{BenchError, Result};
use crate::metrics::{self, Metric};
use crate::report::plain_table;
use crate::results::Results;
use crate::statistics::{difference, holm};
use crate::summary::{quotients, rounds};

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The least change, as a part.
    pub threshold: f64,
    /// The accepted chance of any false alarm.
    pub significance: f64,
    /// Figures rather than ratios.
    pub absolute: bool,
}

/// One figure of both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Whose.
    pub subject: String,
    /// Under which conditions.
    pub case: Case,
    pub metric: Metric,
    /// Whether it is that figure by the reference's.
    pub is_ratio: bool,
    /// New by old, so that more than one is better, whichever way the figure goes.
    pub gain: f64,
    /// The corrected chance that nothing changed.
    pub p: f64,
    pub verdict: Verdict,
}

/// What a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Worse.
    Regression,
    /// Better.
    Improvement,
    /// Neither.
    Same,
}

/// All changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The reference whose ratios are compared, if they are.
    pub reference: Option<String>,
    /// The changes, worst first.
    pub changes: Vec<Change>,
    /// Figures that only one of the runs has, or with fewer than two rounds.
    pub left_out: usize,
}

/// Compares the first figure of every test that both runs did.
///
/// # Errors
/// They have nothing in common.
pub fn compare(old: &Results, new: &Results, options: Options) -> Result<Comparison> {
    let same_reference = old.reference == new.reference
        && old.subjects.contains(&old.reference)
        && new.subjects.contains(&new.reference)
        && new.subjects.len() > 1;
    let reference = (same_reference && !options.absolute).then(|| new.reference.clone());
    let keys = |results: &Results| -> BTreeSet<(Case, String)> {
        results
            .samples
            .iter()
            .map(|sample| (sample.case, sample.subject.clone()))
            .collect()
    };
    let (in_old, in_new) = (keys(old), keys(new));
    let mut changes = Vec::new();
    let mut left_out = in_old.symmetric_difference(&in_new).count();
    for (case, subject) in in_old.intersection(&in_new) {
        if Some(subject) == reference.as_ref() {
            continue;
        }
        let Some(metric) = metrics::of(case.test).first() else {
            continue;
        };
        let (before, as_ratio) = figures(old, subject, case, metric, reference.as_deref());
        let (after, also_ratio) = figures(new, subject, case, metric, reference.as_deref());
        let found = difference(&before, &after).filter(|_| as_ratio == also_ratio);
        match found {
            Some(found) => changes.push(Change {
                subject: subject.clone(),
                case: *case,
                metric: *metric,
                is_ratio: as_ratio,
                gain: if metric.more_is_better {
                    found.factor
                } else {
                    1.0 / found.factor
                },
                p: found.p,
                verdict: Verdict::Same,
            }),
            None => left_out += 1,
        }
    }
    if changes.is_empty() {
        return Err(BenchError::Invalid(
            "the runs have nothing in common to compare: the same subjects and tests with at \
             least two rounds in each are needed"
                .to_owned(),
        ));
    }
    let corrected = holm(&changes.iter().map(|change| change.p).collect::<Vec<_>>());
    for (change, p) in changes.iter_mut().zip(corrected) {
        change.p = p;
        change.verdict = if p > options.significance {
            Verdict::Same
        } else if change.gain < 1.0 - options.threshold {
            Verdict::Regression
        } else if change.gain > 1.0 / (1.0 - options.threshold) {
            Verdict::Improvement
        } else {
            Verdict::Same
        };
    }
    changes.sort_by(|a, b| a.gain.total_cmp(&b.gain));
    Ok(Comparison {
        reference,
        changes,
        left_out,
    })
}

/// The figures of the rounds, or their ratios to the reference's where it was measured too.
fn figures(
    results: &Results,
    subject: &str,
    case: &Case,
    metric: &Metric,
    reference: Option<&str>,
) -> (Vec<f64>, bool) {
    let own = rounds(&results.samples, subject, case, metric.key);
    let other = reference
        .map(|reference| rounds(&results.samples, reference, case, metric.key))
        .filter(|other| !other.is_empty());
    match other {
        Some(other) => (quotients(&own, &other), true),
        None => (own.into_values().collect(), false),
    }
}

impl Comparison {
    /// Whether something became worse.
    pub fn has_regression(&self) -> bool {
        self.changes
            .iter()
            .any(|change| change.verdict == Verdict::Regression)
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let mut table = plain_table(&["subject", "case", "figure", "change", "p", ""]);
        for change in &self.changes {
            table.add_row([
                change.subject.clone(),
                change.case.to_string(),
                format!(
                    "{}{}",
                    change.metric.title,
                    if change.is_ratio { ", ratio" } else { "" }
                ),
                format!("{:+.1} %", (change.gain - 1.0) * 100.0),
                format!("{:.4}", change.p),
                match change.verdict {
                    Verdict::Regression => "WORSE",
                    Verdict::Improvement => "better",
                    Verdict::Same => "",
                }
                .to_owned(),
            ]);
        }
        let mut text = format!("{table}\n");
        let basis = match &self.reference {
            Some(reference) => format!("ratios to {reference} of the same round"),
            None => "the figures themselves".to_owned(),
        };
        let _infallible = writeln!(
            text,
            "Compared: {basis}; + is better. {} figures are in one run only or have fewer than \
             two rounds.",
            self.left_out
        );
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cases::Test;
    use crate::report::tests::results;
    use crate::summary::tests::sample;

    const OPTIONS: Options = Options {
        threshold: 0.1,
        significance: 0.01,
        absolute: false,
    };
    const TESTS: [Test; 8] = [
        Test::Ping,
        Test::Tcp,
        Test::Tcp4,
        Test::UdpPps,
        Test::Rr,
        Test::Ab,
        Test::AbKeepalive,
        Test::NewConns,
    ];

    /// Noise that is about normal, from uniform numbers.
    pub(crate) struct Noise(pub(crate) u64);

    impl Noise {
        fn uniform(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        pub(crate) fn factor(&mut self, deviation: f64) -> f64 {
            let normal = (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0;
            (normal * deviation).exp()
        }
    }

    /// A run whose machine is `speed` as fast and whose vRouter is `gain` as good.
    fn run(noise: &mut Noise, deviation: f64, speed: f64, gain: f64) -> Results {
        let mut samples = Vec::new();
        for test in TESTS {
            let less = matches!(test, Test::Ping | Test::Rr);
            for round in 1..=5 {
                for (subject, own) in [("kernel", 1.0), ("vrouter", 1.2 * gain)] {
                    let good = 100.0 * speed * own * noise.factor(deviation);
                    let value = if less { 1e4 / good } else { good };
                    samples.push(sample(subject, test, round, value));
                }
            }
        }
        results(samples)
    }

    #[test]
    fn noise_alone_is_not_flagged() {
        let mut noise = Noise(7);
        let mut alarms = 0;
        for _ in 0..120 {
            let old = run(&mut noise, 0.08, 1.0, 1.0);
            // The machine itself has half its speed; that is not the vRouter's doing.
            let new = run(&mut noise, 0.08, 0.5, 1.0);
            alarms += usize::from(compare(&old, &new, OPTIONS).unwrap().has_regression());
        }
        // At 1 % a comparison, more than 7 of 120 is a chance of one in 30,000; the seed is fixed.
        assert!(
            alarms <= 7,
            "{alarms} of 120 comparisons of noise raise alarm"
        );
    }

    #[test]
    fn a_slowdown_is_caught() {
        let mut noise = Noise(11);
        for _ in 0..30 {
            let old = run(&mut noise, 0.03, 1.0, 1.0);
            let new = run(&mut noise, 0.03, 0.7, 0.75);
            let found = compare(&old, &new, OPTIONS).unwrap();
            assert!(found.has_regression(), "{}", found.text());
            let back = compare(&new, &old, OPTIONS).unwrap();
            assert!(!back.has_regression(), "{}", back.text());
        }
    }

    #[test]
    fn one_round_is_not_enough_to_tell() {
        let old = results(vec![sample("vrouter", Test::Tcp, 1, 10.0)]);
        let error = compare(&old, &old, OPTIONS).unwrap_err();
        assert!(error.to_string().contains("two rounds"), "{error}");
    }
}
