//! `vrouterctl drops`: dropped packets, a line each, as they come.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use vrouter_control::Client;
use vrouter_control::model::{DropReport, DropSample, Protocol};
use vrouter_control::params::ShowDrops;

use crate::args::drops::DropsArgs;
use crate::failure::{Failure, nonsense};
use crate::output::Output;
use crate::show::ends;

/// Between two questions.
const PERIOD: Duration = Duration::from_millis(500);

pub(crate) fn run<W: Write>(
    client: &mut Client,
    out: &mut Output<W>,
    arguments: &DropsArgs,
) -> Result<(), Failure> {
    let mut known: Vec<DropSample> = Vec::new();
    let mut lost = None;
    loop {
        let report = client.call(&ShowDrops { recent: true })?;
        if let Some(reason) = &arguments.reason {
            let mut reasons = report.reasons.iter();
            if !reasons.any(|it| it.reason == *reason) {
                return Err(Failure::Usage(format!(
                    "--reason: no reason {reason:?}; show drops --all lists them"
                )));
            }
        }
        for sample in fresh(&known, &report) {
            if arguments.matches(sample) {
                print(out, sample, &report)?;
            }
        }
        let before = lost.replace(report.samples_lost);
        let more = before.map_or(0, |before| report.samples_lost.saturating_sub(before));
        if more > 0 && out.is_table() {
            out.text(&format!("{more} more samples found no room\n"))?;
        }
        out.flush()?;
        if !arguments.follow {
            return Ok(());
        }
        known = report.recent;
        sleep(PERIOD);
    }
}

/// The samples that were not among those known, the earliest first.
fn fresh<'a>(known: &[DropSample], report: &'a DropReport) -> Vec<&'a DropSample> {
    let mut known: Vec<&DropSample> = known.iter().collect();
    let mut fresh: Vec<_> = report.recent.iter().collect();
    fresh.retain(|sample| match known.iter().position(|it| it == sample) {
        // Two packets may look the same: each known one hides one.
        Some(at) => {
            known.swap_remove(at);
            false
        }
        None => true,
    });
    fresh.reverse();
    fresh
}

fn print<W: Write>(
    out: &mut Output<W>,
    sample: &DropSample,
    report: &DropReport,
) -> Result<(), Failure> {
    if !out.is_table() {
        let line = serde_json::to_string(sample)
            .map_err(|error| nonsense(&format!("it cannot be written as JSON: {error}")))?;
        return out.text(&format!("{line}\n"));
    }
    let protocol = sample.protocol.map_or("-".to_owned(), |it| it.to_string());
    let between = sample.tuple.as_ref().map_or("-".to_owned(), |tuple| {
        let protocol = sample.protocol.unwrap_or(Protocol(0));
        let (source, destination) = ends(protocol, tuple);
        format!("{source} > {destination}")
    });
    let why = match &sample.rule {
        Some(rule) => format!(": {rule}"),
        None => {
            let mut reasons = report.reasons.iter();
            let named = reasons.find(|it| it.reason == sample.reason);
            named.map_or_else(String::new, |it| format!(": {}", it.sentence))
        }
    };
    let cut = if sample.cut { " cut" } else { "" };
    let DropSample {
        time,
        reason,
        interface,
        length,
        ..
    } = sample;
    let line =
        format!("{time} {reason} {interface} {protocol} {between} length {length}{cut}{why}");
    out.text(&format!("{line}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrouter_control::model::Timestamp;

    #[test]
    fn each_sample_is_printed_once() {
        let sample = |time| DropSample {
            time: Timestamp(time),
            reason: "no-route".into(),
            interface: "-".into(),
            protocol: None,
            tuple: None,
            length: 60,
            rule: None,
            cut: false,
        };
        let report = |times: &[u64]| DropReport {
            recent: times.iter().map(|time| sample(*time)).collect(),
            ..DropReport::default()
        };
        let times = |known: &[u64], now: &[u64]| -> Vec<u64> {
            let (known, now) = (report(known), report(now));
            fresh(&known.recent, &now)
                .iter()
                .map(|it| it.time.0)
                .collect()
        };
        assert_eq!(times(&[], &[2, 1]), [1, 2]);
        assert_eq!(times(&[2, 1], &[4, 3, 2]), [3, 4]);
        assert_eq!(times(&[2], &[2, 2]), [2]);
    }
}
