//! Tables for a README: one for each path, a row for each test, and the ratios.

use std::fmt::Write as _;

use crate::cases::{Case, name};
use crate::metrics::{self, Metric};
use crate::report::{
    cited, conditions, count_of, failures, others, ratio_of, settling, spread_of, tests_of,
};
use crate::results::Results;
use crate::summary::WIDE;

/// All tables, with what they were measured on and the command that made them.
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    let environment = &results.environment;
    let program = results.command.iter().skip(1);
    let command: Vec<&str> = program.map(String::as_str).collect();
    let _infallible = writeln!(
        text,
        "`vrouter-bench {}`{}: {}, {} cores, Linux {}, {}{}. Medians of {} rounds of {} s a test, \
         subjects in turns; `~`: range wider than {:.0} % of the median. In brackets: the ratio to \
         {}, more than 1 is better: Hodges and Lehmann's estimate from the rounds' ratios. {}\n",
        command.join(" "),
        environment
            .commit
            .as_ref()
            .map(|commit| format!(", commit {commit}"))
            .unwrap_or_default(),
        environment.processor,
        environment.cores,
        environment.kernel,
        environment
            .tools
            .get("iperf3")
            .map_or("iperf3", |version| version
                .split('(')
                .next()
                .unwrap_or(version)
                .trim()),
        environment
            .congestion_control
            .as_ref()
            .map(|name| format!(", {name}"))
            .unwrap_or_default(),
        results.rounds,
        results.seconds_per_test,
        WIDE * 100.0,
        results.reference,
        settling(results),
    );
    for place in conditions(results) {
        let mut head = vec![place.conditions(), results.reference.clone()];
        head.extend(others(results).cloned());
        if head[1].is_empty() {
            head.remove(1);
        }
        line(&mut text, &head);
        line(&mut text, &vec!["---".to_owned(); head.len()]);
        for test in tests_of(results, &place) {
            let case = place.with_test(test);
            for metric in in_short(&case) {
                let mut row = vec![format!(
                    "{}: {}, {}",
                    name(&test),
                    metric.title,
                    metric.unit
                )];
                row.push(cell(results, &results.reference, &case, metric));
                for subject in others(results) {
                    row.push(cell(results, subject, &case, metric));
                }
                line(&mut text, &row);
            }
        }
        text.push('\n');
    }
    text.push_str(&scaling(results));
    for missing in &results.unavailable {
        let _infallible = writeln!(
            text,
            "Not measured: {}: {}: {}\n",
            missing.subject, missing.conditions, missing.reason
        );
    }
    let failed = failures(results).count();
    if failed > 0 {
        let _infallible = writeln!(text, "{failed} measurements failed.");
    }
    text
}

/// The figures of a test that a short table has.
fn in_short(case: &Case) -> impl Iterator<Item = &'static Metric> {
    metrics::of(case.test).iter().filter(|metric| {
        !matches!(
            metric.key,
            "requestsPerCpuSecond" | "connectionsPerCpuSecond" | "transactionsPerSecond"
        )
    })
}

fn cell(results: &Results, subject: &str, case: &Case, metric: &Metric) -> String {
    let Some((spread, wide)) = spread_of(results, subject, case, metric) else {
        return "–".to_owned();
    };
    let mark = if wide { "~" } else { "" };
    let ratio = ratio_of(results, subject, case, metric).map(|ratio| cited(ratio, metric));
    let beside: Vec<String> = ratio
        .into_iter()
        .chain(count_of(results, &spread))
        .collect();
    let figure = format!("{mark}{}", metric.show(spread.median));
    if beside.is_empty() {
        figure
    } else {
        format!("{figure} ({})", beside.join(", "))
    }
}

fn line(text: &mut String, cells: &[String]) {
    let _infallible = writeln!(text, "| {} |", cells.join(" | "));
}

/// The tables of a scaling run: a row for each step.
pub fn scaling(results: &Results) -> String {
    let mut text = String::new();
    for (dimension, test, metric, steps) in series(results) {
        let mut head = vec![format!(
            "{}: {}, {}",
            name(&test),
            metric.title,
            metric.unit
        )];
        head.extend(results.subjects.iter().cloned());
        line(&mut text, &head);
        line(&mut text, &vec!["---".to_owned(); head.len()]);
        for case in steps {
            let value = case.step.map_or(0, |step| step.value);
            let mut row = vec![format!("{value} {}", name(&dimension))];
            for subject in &results.subjects {
                row.push(cell(results, subject, &case, metric));
            }
            line(&mut text, &row);
        }
        text.push('\n');
    }
    text
}

/// One line of a scaling run's charts: what was varied, the test, its first figure, the steps.
pub type Series = (
    crate::cases::Dimension,
    crate::cases::Test,
    &'static Metric,
    Vec<Case>,
);

/// What a scaling run measured, by dimension and test.
pub fn series(results: &Results) -> Vec<Series> {
    let mut all: std::collections::BTreeMap<_, Vec<Case>> = std::collections::BTreeMap::new();
    for sample in &results.samples {
        if let Some(step) = sample.case.step {
            let steps = all.entry((step.dimension, sample.case.test)).or_default();
            if !steps.contains(&sample.case) {
                steps.push(sample.case);
            }
        }
    }
    all.into_iter()
        .filter_map(|((dimension, test), mut steps)| {
            steps.sort_by_key(|case| case.step.map(|step| step.value));
            Some((dimension, test, metrics::of(test).first()?, steps))
        })
        .collect()
}
