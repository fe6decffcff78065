//! A train of pings whose losses can be dated.

use std::collections::BTreeSet;

use super::{Background, TestLab};

/// A running train.
pub(crate) struct Train {
    ping: Background,
}

/// What became of a train.
#[derive(Debug)]
pub(crate) struct Report {
    /// When each answer came, in seconds since the epoch.
    pub(crate) answers: Vec<f64>,
    /// Sequence numbers without an answer, among those sent before the last answer.
    pub(crate) lost: Vec<u64>,
    /// What ping said of lost packets.
    pub(crate) summary: String,
}

impl Train {
    /// A ping every 5 ms.
    pub(crate) fn start(lab: &TestLab, from: &str, to: &str) -> Self {
        Self {
            ping: lab.start(from, &format!("ping -n -D -O -i 0.005 -W 1 {to}")),
        }
    }

    /// Ends the train.
    pub(crate) fn finish(self) -> Report {
        let text = self.ping.interrupt();
        let mut answers = Vec::new();
        let mut seen = BTreeSet::new();
        for line in text.lines().filter(|line| line.contains(" bytes from ")) {
            let time = line.trim_start_matches('[').split(']').next();
            let sequence = line
                .split("icmp_seq=")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            if let (Some(Ok(time)), Some(Ok(sequence))) =
                (time.map(str::parse), sequence.map(str::parse::<u64>))
            {
                answers.push(time);
                seen.insert(sequence);
            }
        }
        let last = seen.last().copied().unwrap_or(0);
        let lost = (1..=last)
            .filter(|sequence| !seen.contains(sequence))
            .collect();
        let summary = text
            .lines()
            .find(|line| line.contains("packet loss"))
            .unwrap_or("")
            .to_owned();
        Report {
            answers,
            lost,
            summary,
        }
    }
}

/// Seconds since the epoch, as ping prints them.
pub(crate) fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970")
        .as_secs_f64()
}
