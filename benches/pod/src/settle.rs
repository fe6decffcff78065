//! Rounds until ratios are settled: which cases go on after the rounds that all cases have.
//!
//! Throughput and packet rates of one machine scatter far more from round to round than latencies
//! do, some of them more than others, so a fixed number of rounds is too few here and a waste
//! there. Whether a case goes on is worked out from the samples of earlier rounds alone: a run that
//! is resumed decides as it did before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cases::{Case, Test};
use crate::metrics;
use crate::order::Shuffler;
use crate::plan::{Group, Plan};
use crate::results::Sample;
use crate::statistics::Estimate;
use crate::summary::{quotients, rounds};

/// A narrow interval is not believed below this confidence, which takes six rounds.
const SURE: f64 = 0.95;
/// The rounds that this confidence takes.
pub const FEWEST: usize = 6;

/// Until when rounds are added.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settle {
    /// How far the ends of a ratio's confidence interval may be from it, in per cent of it.
    pub percent: f64,
    /// The most rounds that a case may have.
    pub max_rounds: usize,
}

impl Settle {
    /// Whether rounds are added to a test at all.
    pub fn takes(test: Test) -> bool {
        match test {
            Test::Tcp | Test::Tcp4 | Test::TcpRev | Test::UdpPps => true,
            Test::Ping
            | Test::UdpSizes
            | Test::Rr
            | Test::RrLoad
            | Test::Ab
            | Test::AbKeepalive
            | Test::NewConns => false,
        }
    }

    /// Whether a ratio is as sure as was asked for.
    pub fn is_reached(&self, estimate: &Estimate) -> bool {
        let part = self.percent / 100.0;
        estimate.confidence >= SURE
            && estimate.low >= estimate.value * (1.0 - part)
            && estimate.high <= estimate.value * (1.0 + part)
    }
}

impl Plan {
    /// The cases that have this round, in its order. After the rounds of all, those that go on.
    pub fn cases_of_round(&self, group: &Group, round: usize, samples: &[Sample]) -> Vec<Case> {
        let mut cases = group.cases.clone();
        Shuffler::new(self.seed.wrapping_add(round as u64)).shuffle(&mut cases);
        if round > self.rounds {
            cases.retain(|case| self.goes_on(case, round, samples));
        }
        cases
    }

    /// Whether rounds may be added to a case: there is a ratio, and it is asked how sure it is.
    pub fn may_go_on(&self, case: &Case) -> bool {
        let is_reference = |name: &str| name == self.reference;
        self.settle.is_some()
            && Settle::takes(case.test)
            && self.subjects_of(case).any(|s| is_reference(&s.name))
            && self.subjects_of(case).any(|s| !is_reference(&s.name))
    }

    /// Whether a case has this round after those of all: somebody's ratio is not settled by the
    /// rounds before it. A case that failed with somebody ends there, so as not to fail on.
    pub fn goes_on(&self, case: &Case, round: usize, samples: &[Sample]) -> bool {
        let Some(settle) = self.settle.filter(|settle| round <= settle.max_rounds) else {
            return false;
        };
        let Some(metric) = metrics::of(case.test).first() else {
            return false;
        };
        let failed = samples
            .iter()
            .any(|s| s.case == *case && s.round < round && s.error.is_some());
        if failed || !self.may_go_on(case) {
            return false;
        }
        let earlier = |subject: &str| {
            let mut figures = rounds(samples, subject, case, metric.key);
            figures.split_off(&round);
            figures
        };
        let reference = earlier(&self.reference);
        let estimates: Option<Vec<Estimate>> = self
            .subjects_of(case)
            .filter(|subject| subject.name != self.reference)
            .map(|subject| Estimate::of(&quotients(&earlier(&subject.name), &reference)))
            .collect();
        // Where somebody has no ratio, it has no lab.
        estimates.is_some_and(|all| all.iter().any(|estimate| !settle.is_reached(estimate)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::cases::Backend;
    use crate::compare::tests::Noise;
    use crate::plan::Subject;
    use crate::report::tests::results;
    use crate::results::Results;
    use crate::summary::tests::sample;
    use vrouter_lab::spec::Encap;

    const SETTLE: Settle = Settle {
        percent: 5.0,
        max_rounds: 12,
    };

    fn plan(tests: &[Test], settle: Option<Settle>) -> Plan {
        let subject = |name: &str, backend| Subject {
            name: name.to_owned(),
            backend: Some(backend),
            workers: None,
        };
        Plan {
            subjects: vec![
                subject("vrouter", Backend::Vrouter),
                subject("kernel", Backend::Kernel),
            ],
            groups: vec![Group {
                encap: Encap::None,
                rules: 8,
                family: 4,
                pods: None,
                routes: 0,
                cases: tests
                    .iter()
                    .map(|test| sample("", *test, 1, 0.0).case)
                    .collect(),
            }],
            rounds: 3,
            seconds: 1,
            seed: 1,
            reference: "kernel".to_owned(),
            settle,
            congestion: None,
        }
    }

    /// Measures what the plan asks for, with ours by the kernel's as `source` has it.
    fn measured(plan: &Plan, source: impl Fn(Test, usize) -> Option<f64>) -> Results {
        let mut samples = Vec::new();
        for round in 1.. {
            let cases = plan.cases_of_round(&plan.groups[0], round, &samples);
            if cases.is_empty() {
                break;
            }
            for case in cases {
                samples.push(sample("kernel", case.test, round, 10.0));
                let found = source(case.test, round);
                let mut ours = sample("vrouter", case.test, round, 10.0 * found.unwrap_or(1.0));
                if found.is_none() {
                    ours.metrics.clear();
                    ours.error = Some("no".to_owned());
                }
                samples.push(ours);
            }
        }
        let mut results = results(samples);
        results.rounds = plan.rounds;
        results.settle = plan.settle;
        results.summarise();
        results
    }

    /// The rounds that a test had, and whether its ratio is settled.
    fn end(results: &Results, test: Test) -> (usize, Option<bool>) {
        let had = results.samples.iter().filter(|s| s.case.test == test);
        let last = had.map(|s| s.round).max().unwrap();
        let key = metrics::of(test)[0].key;
        let mut ratios = results.ratios.iter();
        let ratio = ratios.find(|r| r.case.test == test && r.metric == key);
        (last, ratio.unwrap().settled)
    }

    /// Above and below one in turns, by this part.
    fn noise(part: f64, round: usize) -> f64 {
        if round.is_multiple_of(2) {
            1.0 + part
        } else {
            1.0 / (1.0 + part)
        }
    }

    #[test]
    fn cases_go_on_until_their_ratio_is_settled() {
        let tests = [Test::Tcp, Test::Tcp4, Test::UdpPps, Test::Ping, Test::Ab];
        let plan = plan(&tests, Some(SETTLE));
        let found = measured(&plan, |test, round| {
            Some(match test {
                Test::Tcp => noise(0.01, round),
                // It calms down.
                Test::UdpPps => noise(if round <= 3 { 0.08 } else { 0.01 }, round),
                _ => noise(0.3, round),
            })
        });
        // Not before an interval of 95 % is possible.
        assert_eq!(end(&found, Test::Tcp), (FEWEST, Some(true)));
        let (rounds, settled) = end(&found, Test::UdpPps);
        assert!(
            settled == Some(true) && (FEWEST + 1..SETTLE.max_rounds).contains(&rounds),
            "{rounds}"
        );
        assert_eq!(end(&found, Test::Tcp4), (SETTLE.max_rounds, Some(false)));
        // Others have the rounds of all, however they scatter.
        for test in [Test::Ping, Test::Ab] {
            assert_eq!(end(&found, test), (plan.rounds, None));
        }
        // Nothing is left out and nothing is measured twice.
        for test in tests {
            let count = found.samples.iter().filter(|s| s.case.test == test).count();
            assert_eq!(count, 2 * end(&found, test).0, "{test:?}");
        }
    }

    #[test]
    fn two_runs_of_a_noisy_machine_agree_within_a_tenth() {
        let settle = Settle {
            percent: 5.0,
            max_rounds: 25,
        };
        let plan = Plan {
            rounds: 5,
            ..plan(&[Test::Tcp], Some(settle))
        };
        let noise = RefCell::new(Noise(3));
        // What single streams were seen to scatter.
        let source = |_: Test, _: usize| Some(noise.borrow_mut().factor(0.12));
        let mut agree = 0;
        for _ in 0..100 {
            let [one, other] = [0, 0].map(|_| measured(&plan, source).ratios[0].estimate.value);
            agree += usize::from((one / other).ln().abs() < 1.1_f64.ln());
        }
        assert!(agree >= 95, "{agree} of 100 pairs of runs agree");
    }

    #[test]
    fn a_run_that_is_resumed_decides_as_before() {
        let plan = plan(&[Test::Tcp, Test::Tcp4], Some(SETTLE));
        let calm = |test| if test == Test::Tcp { 0.01 } else { 0.3 };
        let whole = measured(&plan, |test, round| Some(noise(calm(test), round)));
        for round in 1..=SETTLE.max_rounds + 1 {
            let before: Vec<Sample> = whole
                .samples
                .iter()
                .filter(|s| s.round < round)
                .cloned()
                .collect();
            let [known, unknown] = [&whole.samples, &before]
                .map(|samples| plan.cases_of_round(&plan.groups[0], round, samples));
            assert_eq!(known, unknown, "{round}");
        }
    }

    #[test]
    fn what_fails_or_has_nobody_to_be_compared_with_does_not_go_on() {
        let tcp = [Test::Tcp];
        let failing = measured(&plan(&tcp, Some(SETTLE)), |_, round| {
            (round != 2).then(|| noise(0.3, round))
        });
        assert_eq!(end(&failing, Test::Tcp), (3, Some(false)));
        let late = measured(&plan(&tcp, Some(SETTLE)), |_, round| {
            (round != 8).then(|| noise(0.3, round))
        });
        assert_eq!(end(&late, Test::Tcp), (8, Some(false)));
        let off = measured(&plan(&tcp, None), |_, round| Some(noise(0.3, round)));
        assert_eq!(end(&off, Test::Tcp), (3, None));

        let mut alone = plan(&tcp, Some(SETTLE));
        alone.reference = "direct".to_owned();
        let case = alone.groups[0].cases[0];
        let samples = [1, 2, 3].map(|round| sample("vrouter", Test::Tcp, round, 1.0));
        assert!(!alone.may_go_on(&case) && !alone.goes_on(&case, 4, &samples));
        // A lab that did not come up left no figure of the kernel's.
        let missing = plan(&tcp, Some(SETTLE));
        assert!(missing.may_go_on(&case) && !missing.goes_on(&case, 4, &samples));
    }
}
