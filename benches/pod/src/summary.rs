//! Medians of the rounds, and ratios of figures that were measured one right after the other.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::metrics;
use crate::results::Sample;
use crate::settle::Settle;
use crate::statistics::{Estimate, Spread};

/// A range wider than this part of its median is marked.
pub const WIDE: f64 = 0.25;

/// One figure of one subject over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Who.
    pub subject: String,
    /// Under which conditions.
    pub case: Case,
    /// Which figure.
    pub metric: String,
    /// Its spread.
    pub spread: Spread,
    /// Whether the range is too wide to lean on.
    pub wide: bool,
}

/// One figure of one subject by the reference's of the same round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ratio {
    /// Who.
    pub subject: String,
    /// By whom.
    pub reference: String,
    /// Under which conditions.
    pub case: Case,
    /// Which figure.
    pub metric: String,
    /// The figure to cite, and its confidence interval.
    pub estimate: Estimate,
    /// Whether the interval is as narrow as was asked for; absent where that was not asked.
    pub settled: Option<bool>,
    /// The spread of the rounds' ratios.
    pub spread: Spread,
}

type Key = (Case, String, String);

fn by_round(samples: &[Sample]) -> BTreeMap<Key, BTreeMap<usize, f64>> {
    let mut all: BTreeMap<Key, BTreeMap<usize, f64>> = BTreeMap::new();
    for sample in samples {
        for metric in metrics::of(sample.case.test) {
            if let Some(value) = sample.metrics.get(metric.key) {
                let key = (sample.case, sample.subject.clone(), metric.key.to_owned());
                all.entry(key).or_default().insert(sample.round, *value);
            }
        }
    }
    all
}

/// The figures of one subject and case, by round.
pub fn rounds(
    samples: &[Sample],
    subject: &str,
    case: &Case,
    metric: &str,
) -> BTreeMap<usize, f64> {
    samples
        .iter()
        .filter(|sample| sample.subject == subject && sample.case == *case)
        .filter_map(|sample| Some((sample.round, *sample.metrics.get(metric)?)))
        .collect()
}

/// All medians.
pub fn summaries(samples: &[Sample]) -> Vec<Summary> {
    by_round(samples)
        .into_iter()
        .filter_map(|((case, subject, metric), rounds)| {
            let spread = Spread::of(&rounds.into_values().collect::<Vec<_>>())?;
            Some(Summary {
                subject,
                case,
                metric,
                wide: spread.width() > WIDE,
                spread,
            })
        })
        .collect()
}

/// The figures by the reference's of the same round.
pub fn quotients(own: &BTreeMap<usize, f64>, others: &BTreeMap<usize, f64>) -> Vec<f64> {
    own.iter()
        .filter_map(|(round, value)| {
            let other = others.get(round).filter(|other| **other > 0.0)?;
            Some(value / other)
        })
        .collect()
}

/// All ratios to `reference`.
pub fn ratios(samples: &[Sample], reference: &str, settle: Option<Settle>) -> Vec<Ratio> {
    let all = by_round(samples);
    let asked = |case: &Case, metric: &str| {
        let first = metrics::of(case.test).first();
        Settle::takes(case.test) && first.is_some_and(|first| first.key == metric)
    };
    all.iter()
        .filter(|((_, subject, _), _)| subject != reference)
        .filter_map(|((case, subject, metric), rounds)| {
            let others = all.get(&(*case, reference.to_owned(), metric.clone()))?;
            let quotients = quotients(rounds, others);
            let estimate = Estimate::of(&quotients)?;
            Some(Ratio {
                subject: subject.clone(),
                reference: reference.to_owned(),
                case: *case,
                metric: metric.clone(),
                settled: settle
                    .filter(|_| asked(case, metric))
                    .map(|settle| settle.is_reached(&estimate)),
                estimate,
                spread: Spread::of(&quotients)?,
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cases::{Path, Test};
    use crate::cpu::Cpu;

    /// A sample of a test's first figure.
    pub(crate) fn sample(subject: &str, test: Test, round: usize, value: f64) -> Sample {
        Sample {
            subject: subject.to_owned(),
            case: Case {
                path: Path::PodPodSame,
                encap: None,
                rules: Some(8),
                family: 4,
                step: None,
                test,
            },
            round,
            at: 0.0,
            metrics: BTreeMap::from([(metrics::of(test)[0].key.to_owned(), value)]),
            cpu: Cpu::default(),
            latency: None,
            error: None,
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine doubles its speed between the rounds; the ratio does not.
        let samples = [
            sample("vrouter", Test::Tcp, 1, 12.0),
            sample("kernel", Test::Tcp, 1, 10.0),
            sample("vrouter", Test::Tcp, 2, 24.0),
            sample("kernel", Test::Tcp, 2, 20.0),
            sample("vrouter", Test::Tcp, 3, 24.0),
        ];
        let found = ratios(&samples, "kernel", None);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].spread.count, 2);
        assert!((found[0].spread.min - 1.2).abs() < 1e-9);
        assert!((found[0].spread.max - 1.2).abs() < 1e-9);
        assert!((found[0].estimate.value - 1.2).abs() < 1e-9);
        let medians = summaries(&samples);
        let ours = medians.iter().find(|s| s.subject == "vrouter").unwrap();
        assert_eq!((ours.spread.median, ours.wide), (24.0, true));
    }
}
