//! `report.html`: one file that needs nothing else. The ratios come first, then charts of every
//! test, latency curves, scaling lines, what it ran on, what failed.

use std::fmt::Write as _;

use crate::cases::{Case, Dimension, Test, name};
use crate::metrics::{self, Metric, grouped};
use crate::report::markdown::series;
use crate::report::svg::{Bar, Curve, Ordinate, bars, curves, escape};
use crate::report::{
    conditions, count_of, failures, gain, mark_of, others, ratio_of, settling, spread_of, tests_of,
};
use crate::results::Results;
use crate::statistics::Estimate;
use crate::summary::{Ratio, WIDE};

const STYLE: &str = include_str!("report.css");

/// The page.
pub fn render(results: &Results) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\"><title>vrouter-bench</title><style>",
    );
    page.push_str(STYLE);
    page.push_str("</style></head><body><main><h1>vrouter-bench</h1>\n");
    introduction(&mut page, results);
    ratio_table(&mut page, results);
    for place in conditions(results) {
        charts(&mut page, results, &place);
    }
    scaling(&mut page, results);
    troubles(&mut page, results);
    environment(&mut page, results);
    page.push_str("</main></body></html>\n");
    page
}

macro_rules! put {
    ($page:expr, $($what:tt)*) => {{ let _infallible = writeln!($page, $($what)*); }};
}

fn introduction(page: &mut String, results: &Results) {
    let words: Vec<&str> = results.command.iter().skip(1).map(String::as_str).collect();
    put!(
        page,
        "<p>Medians of {} rounds of {} s a test, the subjects in turns. Lines on bars reach from \
         the least to the most of the rounds; <b>~</b> marks a range wider than {:.0} % of its \
         median, which is not to be leaned on. Ratios are taken round by round, to <b>{}</b>; what is given \
         is Hodges and Lehmann's estimate from them. {}{}</p>\
         <pre>vrouter-bench {}</pre>",
        results.rounds,
        results.seconds_per_test,
        WIDE * 100.0,
        escape(&results.reference),
        escape(&settling(results)),
        if results.complete {
            ""
        } else {
            " <b>The run was interrupted.</b>"
        },
        escape(&words.join(" "))
    );
    page.push_str("<p class=\"legend\">");
    for (class, subject) in results.subjects.iter().enumerate() {
        put!(
            page,
            "<span><svg viewBox=\"0 0 12 12\" class=\"key\"><rect width=\"12\" height=\"12\" \
             class=\"s{class}\"/></svg>{}</span>",
            escape(subject)
        );
    }
    page.push_str("</p>\n");
}

fn ratio_table(page: &mut String, results: &Results) {
    if results.ratios.is_empty() {
        return;
    }
    put!(
        page,
        "<h2>Ratios to {}</h2><p>More than 1 is better, whichever way the figure goes: latencies \
         are divided the other way round. Hodges and Lehmann's estimate from the ratios of the rounds; \
         in brackets its confidence interval (Wilcoxon's signed ranks): 95 %, from the least round \
         to the most where there are fewer than six. Green and red where all of it is on one side.\
         </p>\
         <div class=\"wide\"><table id=\"ratios\"><thead><tr><th>path</th><th>test</th>",
        escape(&results.reference)
    );
    for subject in others(results) {
        put!(page, "<th>{}</th>", escape(subject));
    }
    page.push_str("</tr></thead><tbody>\n");
    let all = conditions(results);
    let steps = series(results).into_iter().flat_map(|(.., steps)| steps);
    let cases = all
        .iter()
        .flat_map(|place| {
            tests_of(results, place)
                .into_iter()
                .map(|test| place.with_test(test))
        })
        .chain(steps);
    for case in cases {
        let Some(metric) = metrics::of(case.test).first() else {
            continue;
        };
        let cells: Vec<Option<&Ratio>> = others(results)
            .map(|subject| ratio_of(results, subject, &case, metric))
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        put!(
            page,
            "<tr><td>{}</td><td>{}: {}</td>",
            escape(&case.conditions()),
            name(&case.test),
            metric.title
        );
        for cell in cells {
            page.push_str(&ratio_cell(results, cell, metric));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn ratio_cell(results: &Results, ratio: Option<&Ratio>, metric: &Metric) -> String {
    let Some(ratio) = ratio else {
        return "<td>–</td>".to_owned();
    };
    let Estimate {
        value, low, high, ..
    } = gain(ratio, metric);
    let class = if low > 1.02 {
        "good"
    } else if high < 0.98 {
        "bad"
    } else {
        "even"
    };
    let mark = mark_of(ratio);
    let count = count_of(results, &ratio.spread)
        .map(|count| format!(", {count}"))
        .unwrap_or_default();
    format!(
        "<td class=\"{class}\"><b>{value:.2}{mark}</b> <small>({low:.2}–{high:.2}{count})</small>\
         </td>"
    )
}

fn charts(page: &mut String, results: &Results, place: &Case) {
    put!(page, "<h2>{}</h2>", escape(&place.conditions()));
    for test in tests_of(results, place) {
        let case = place.with_test(test);
        for metric in metrics::of(test) {
            let bars_of: Vec<Bar> = results
                .subjects
                .iter()
                .enumerate()
                .filter_map(|(class, subject)| {
                    let (spread, wide) = spread_of(results, subject, &case, metric)?;
                    let mark = if wide { "~" } else { "" };
                    let count = count_of(results, &spread)
                        .map(|count| format!(" {count}"))
                        .unwrap_or_default();
                    Some(Bar {
                        class,
                        label: subject.clone(),
                        value: spread.median,
                        range: (spread.min, spread.max),
                        text: format!("{mark}{}{count}", metric.show(spread.median)),
                    })
                })
                .collect();
            if bars_of.is_empty() {
                continue;
            }
            let title = format!("{}: {}, {}", name(&test), metric.title, metric.unit);
            let better = if metric.more_is_better {
                "more is better"
            } else {
                "less is better"
            };
            put!(
                page,
                "<figure class=\"bars\"><figcaption>{} <small>{better}</small></figcaption>{}\
                 </figure>",
                escape(&title),
                bars(&title, &bars_of)
            );
        }
        latency(page, results, &case);
    }
}

/// The curves of the median round of each subject.
fn latency(page: &mut String, results: &Results, case: &Case) {
    let all: Vec<Curve> = results
        .subjects
        .iter()
        .enumerate()
        .filter_map(|(class, subject)| {
            let mut rounds: Vec<_> = results
                .samples
                .iter()
                .filter(|sample| sample.subject == *subject && sample.case == *case)
                .filter_map(|sample| sample.latency.as_ref())
                .collect();
            rounds.sort_by(|a, b| a.p50.total_cmp(&b.p50));
            Some(Curve {
                class,
                label: subject.clone(),
                points: rounds.get(rounds.len() / 2)?.cdf.clone(),
            })
        })
        .collect();
    if all.is_empty() {
        return;
    }
    let title = format!(
        "{}: part of all that took at most so long",
        name(&case.test)
    );
    put!(
        page,
        "<figure class=\"curves\"><figcaption>{title}</figcaption>{}</figure>",
        curves(&title, "µs, logarithmic", Ordinate::Parts, &all)
    );
}

fn scaling(page: &mut String, results: &Results) {
    let mut last: Option<Dimension> = None;
    for (dimension, test, metric, steps) in series(results) {
        if last != Some(dimension) {
            put!(page, "<h2>Growing {}</h2>", name(&dimension));
            last = Some(dimension);
        }
        scaling_chart(page, results, dimension, test, metric, &steps);
    }
}

fn scaling_chart(
    page: &mut String,
    results: &Results,
    dimension: Dimension,
    test: Test,
    metric: &Metric,
    steps: &[Case],
) {
    let all: Vec<Curve> = results
        .subjects
        .iter()
        .enumerate()
        .map(|(class, subject)| Curve {
            class,
            label: subject.clone(),
            points: steps
                .iter()
                .filter_map(|case| {
                    let (spread, _) = spread_of(results, subject, case, metric)?;
                    Some((case.step?.value as f64, spread.median))
                })
                .collect(),
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    let title = format!("{}: {}, {}", name(&test), metric.title, metric.unit);
    put!(
        page,
        "<figure class=\"curves\"><figcaption>{title}</figcaption>{}</figure>",
        curves(&title, &name(&dimension), Ordinate::Figures, &all)
    );
    page.push_str("<div class=\"wide\"><table><thead><tr><th></th>");
    for subject in &results.subjects {
        put!(page, "<th>{}</th>", escape(subject));
    }
    page.push_str("</tr></thead><tbody>\n");
    for case in steps {
        let value = case.step.map_or(0, |step| step.value);
        put!(
            page,
            "<tr><td>{} {}</td>",
            grouped(value as f64, 0),
            name(&dimension)
        );
        for subject in &results.subjects {
            let text = spread_of(results, subject, case, metric).map_or(
                "–".to_owned(),
                |(spread, wide)| {
                    let mark = if wide { "~" } else { "" };
                    format!("{mark}{}", metric.show(spread.median))
                },
            );
            put!(page, "<td>{text}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn troubles(page: &mut String, results: &Results) {
    if results.unavailable.is_empty() && failures(results).next().is_none() {
        return;
    }
    page.push_str("<h2>Not measured</h2><ul>\n");
    for missing in &results.unavailable {
        put!(
            page,
            "<li>{}: {}: {}</li>",
            escape(&missing.subject),
            escape(&missing.conditions),
            escape(&missing.reason)
        );
    }
    for (sample, error) in failures(results) {
        put!(
            page,
            "<li>round {}: {}: {}: {}</li>",
            sample.round,
            escape(&sample.subject),
            escape(&sample.case.to_string()),
            escape(error)
        );
    }
    page.push_str("</ul>\n");
}

fn environment(page: &mut String, results: &Results) {
    let e = &results.environment;
    page.push_str("<h2>Measured on</h2><div class=\"wide\"><table><tbody>\n");
    let mut row = |what: &str, value: &str| {
        put!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            escape(what),
            escape(value)
        );
    };
    row("kernel", &e.kernel);
    row("processor", &format!("{}, {} cores", e.processor, e.cores));
    row("memory", &format!("{} MiB", grouped(e.memory as f64, 0)));
    row(
        "governor",
        e.governor.as_deref().unwrap_or("none to be seen"),
    );
    row(
        "congestion control",
        e.congestion_control.as_deref().unwrap_or("unknown"),
    );
    row("busy before the start", &format!("{} %", e.load_before));
    row("vrouter-bench", &e.version);
    row("commit", e.commit.as_deref().unwrap_or("unknown"));
    for (tool, version) in &e.tools {
        row(tool, version);
    }
    for (subject, on) in &e.offloads {
        row(&format!("offloads of {subject}'s client"), on);
    }
    page.push_str("</tbody></table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::results;
    use crate::summary::tests::sample;

    #[test]
    fn latencies_are_better_when_they_are_less() {
        let half = |test| {
            results(vec![
                sample("kernel", test, 1, 10.0),
                sample("vrouter", test, 1, 5.0),
            ])
        };
        for (test, class) in [(Test::Ping, "good"), (Test::Ab, "bad")] {
            let metric = &metrics::of(test)[0];
            let results = half(test);
            assert!(ratio_cell(&results, results.ratios.first(), metric).contains(class));
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = render(&results(vec![
            sample("kernel", Test::Tcp, 1, 10.0),
            sample("vrouter", Test::Tcp, 1, 12.0),
        ]));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("<b>1.20</b>"), "{page}");
    }
}
