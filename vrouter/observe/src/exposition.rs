//! Prometheus' text format, version 0.0.4.
//!
//! Written here because the client library names every counter `…_total`, which Felix's are not.

use std::fmt::{Display, Write};

/// Metrics of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    pub kind: Type,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// What a family's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// It only grows, and its name ends in `_total`.
    Counter,
    Gauge,
    /// Sum and count of observations.
    Summary,
    /// A counter whose name Felix gave, without `_total`.
    Untyped,
}

impl Type {
    /// As the format has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

/// The text of a scrape.
#[derive(Default)]
pub(crate) struct Page {
    text: String,
}

/// The samples of one family, in a page.
pub(crate) struct Samples<'a> {
    page: &'a mut Page,
    family: &'a Family,
}

impl Page {
    /// Begins a family.
    pub(crate) fn family<'a>(&'a mut self, family: &'a Family) -> Samples<'a> {
        let Family {
            name, kind, help, ..
        } = family;
        let kind = kind.name();
        self.add(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Samples { page: self, family }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("a String takes whatever is written");
    }
}

impl Samples<'_> {
    /// A sample, with the values of the family's labels.
    pub(crate) fn value(&mut self, labels: &[&str], value: impl Display) -> &mut Self {
        self.suffixed("", labels, value)
    }

    /// The sample of a family without labels.
    pub(crate) fn one(&mut self, value: impl Display) {
        self.value(&[], value);
    }

    /// Sum and count of a summary.
    pub(crate) fn summary(&mut self, sum: impl Display, count: u64) {
        self.suffixed("_sum", &[], sum);
        self.suffixed("_count", &[], count);
    }

    fn suffixed(&mut self, suffix: &str, labels: &[&str], value: impl Display) -> &mut Self {
        let family = self.family;
        debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
        self.page.add(format_args!("{}{suffix}", family.name));
        let mut mark = '{';
        for (name, value) in family.labels.iter().zip(labels) {
            let value = Escaped(value);
            self.page.add(format_args!("{mark}{name}=\"{value}\""));
            mark = ',';
        }
        let end = if mark == ',' { "}" } else { "" };
        self.page.add(format_args!("{end} {value}\n"));
        self
    }
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_families() {
        const COUNTS: Family = Family {
            name: "a_total",
            kind: Type::Counter,
            labels: &["x", "y"],
            help: "A's.",
        };
        const TIMES: Family = Family {
            name: "t_seconds",
            kind: Type::Summary,
            labels: &[],
            help: "T.",
        };
        let mut page = Page::default();
        page.family(&COUNTS).value(&["1", "a\"\\\nb"], 7);
        page.family(&TIMES).summary(1.5, 3);
        let expected = "# HELP a_total A's.\n# TYPE a_total counter\na_total{x=\"1\",y=\"a\\\"\\\\\\nb\"} 7\n\
                        # HELP t_seconds T.\n# TYPE t_seconds summary\nt_seconds_sum 1.5\nt_seconds_count 3\n";
        assert_eq!(page.into_text(), expected);
    }
}
