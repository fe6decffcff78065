//! The table in the terminal.

use std::fmt::Write as _;

use crate::cases::name;
use crate::metrics::Metric;
use crate::report::{
    cited, conditions, count_of, failures, plain_table, ratio_of, settling, shown, spread_of,
    tests_of,
};
use crate::results::Results;
use crate::statistics::Spread;
use crate::summary::WIDE;

/// Medians with ranges, and ratios to the reference.
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    for place in conditions(results) {
        let mut header = vec!["test".to_owned(), "figure".to_owned()];
        for subject in &results.subjects {
            header.push(subject.clone());
            if *subject != results.reference {
                header.push(format!(": {}", results.reference));
            }
        }
        let words: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut table = plain_table(&words);
        for test in tests_of(results, &place) {
            let case = place.with_test(test);
            for metric in shown(test) {
                let mut row = vec![name(&test), format!("{}, {}", metric.title, metric.unit)];
                for subject in &results.subjects {
                    let spread = spread_of(results, subject, &case, metric);
                    row.push(spread.map_or("-".to_owned(), |(spread, wide)| {
                        let count = count_of(results, &spread);
                        cell(metric, &spread, wide, count)
                    }));
                    if *subject != results.reference {
                        let ratio = ratio_of(results, subject, &case, metric);
                        row.push(
                            ratio.map_or(String::new(), |ratio| {
                                format!("{}×", cited(ratio, metric))
                            }),
                        );
                    }
                }
                table.add_row(row);
            }
        }
        let _infallible = writeln!(text, "\n{}\n{table}", place.conditions());
    }
    let _infallible = write!(text, "{}", super::markdown::scaling(results));
    for missing in &results.unavailable {
        let _infallible = writeln!(
            text,
            "not measured: {}: {}: {}",
            missing.subject, missing.conditions, missing.reason
        );
    }
    for (sample, error) in failures(results) {
        let _infallible = writeln!(
            text,
            "failed: round {}: {}: {}: {error}",
            sample.round, sample.subject, sample.case
        );
    }
    let _infallible = writeln!(
        text,
        "\nMedians (least–most) of {} rounds; × are ratios to {}, more than 1 is better: Hodges \
         and Lehmann's estimates from the ratios of each round. ~ marks a range wider than {:.0} % of the median. {}",
        results.rounds,
        results.reference,
        WIDE * 100.0,
        settling(results),
    );
    text
}

fn cell(metric: &Metric, spread: &Spread, wide: bool, count: Option<String>) -> String {
    let mark = if wide { "~" } else { "" };
    let range = (spread.count > 1).then(|| {
        let (least, most) = (metric.show(spread.min), metric.show(spread.max));
        format!("{least}–{most}")
    });
    let beside: Vec<String> = range.into_iter().chain(count).collect();
    let figure = format!("{mark}{}", metric.show(spread.median));
    if beside.is_empty() {
        figure
    } else {
        format!("{figure} ({})", beside.join(", "))
    }
}
