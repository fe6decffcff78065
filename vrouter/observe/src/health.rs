//! Health in Felix's form: a table of components.

use std::time::Duration;

use vrouter_control::model::HealthReport;

/// The table: what each component says.
pub(crate) fn table(report: &HealthReport) -> String {
    let head = ["COMPONENT", "TIMEOUT", "LIVENESS", "READINESS", "DETAIL"].map(str::to_owned);
    let word = |value: Option<bool>, good: &str, bad: &str| match value {
        Some(true) => format!("reporting {good}"),
        Some(false) => format!("reporting {bad}"),
        None => "-".to_owned(),
    };
    let mut rows = vec![head];
    rows.extend(report.components.iter().map(|one| {
        [
            one.name.clone(),
            one.timeout_ms.map_or_else(|| "-".to_owned(), duration),
            word(one.live, "live", "non-live"),
            word(one.ready, "ready", "non-ready"),
            one.detail.replace(['\r', '\n'], " "),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let ruler: String = widths.iter().map(|w| "-".repeat(w + 2) + "+").collect();
    let ruler = format!("+{ruler}\n");
    let mut text = ruler.clone();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text += &format!("| {cell:width$} ");
        }
        text += "|\n";
        if number == 0 {
            text += &ruler;
        }
    }
    text + &ruler
}

/// As Go writes durations: `1m30s`.
fn duration(ms: u64) -> String {
    let duration = Duration::from_millis(ms);
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    match (minutes, duration.subsec_millis()) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{}s", duration.as_secs_f64()),
        (minutes, _) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrouter_control::model::ComponentHealth;

    #[test]
    fn a_table_as_felix_has_it() {
        let component = |name: &str, timeout_ms, live, ready, detail: &str| ComponentHealth {
            name: name.into(),
            timeout_ms,
            live,
            ready,
            detail: detail.into(),
        };
        let report = HealthReport {
            components: vec![
                component("agent", Some(90_000), Some(true), Some(false), "stopping"),
                component("datastore", None, None, Some(true), ""),
            ],
            ..HealthReport::default()
        };
        let expected = "\
+-----------+---------+----------------+---------------------+----------+
| COMPONENT | TIMEOUT | LIVENESS       | READINESS           | DETAIL   |
+-----------+---------+----------------+---------------------+----------+
| agent     | 1m30s   | reporting live | reporting non-ready | stopping |
| datastore | -       | -              | reporting ready     |          |
+-----------+---------+----------------+---------------------+----------+
";
        assert_eq!(table(&report), expected);
    }
}
