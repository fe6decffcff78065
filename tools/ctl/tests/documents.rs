//! `docs/counters.md` lists every reason and node of the packet path, with its own sentence.
//! `UPDATE_GOLDEN=1 cargo test -p vrouterctl` writes the tables anew.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use vrouter_dataplane::drop::{ConsumeReason, DropReason, GenerateReason};
use vrouter_dataplane::graph::NodeId;

/// A Markdown table of names and sentences.
fn table<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let rows: String = rows
        .map(|(name, text)| format!("| `{name}` | {text} |\n"))
        .collect();
    format!("| Name | Meaning |\n|---|---|\n{rows}")
}

#[test]
fn every_reason_is_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/counters.md");
    let document = fs::read_to_string(&path).unwrap();
    let tables = [
        (
            "drop",
            table(DropReason::ALL.iter().map(|r| (r.name(), r.sentence()))),
        ),
        (
            "generate",
            table(GenerateReason::ALL.iter().map(|r| (r.name(), r.sentence()))),
        ),
        (
            "consume",
            table(ConsumeReason::ALL.iter().map(|r| (r.name(), r.sentence()))),
        ),
    ];
    let mut expected = document.clone();
    for (what, table) in tables {
        let begin = format!("<!-- {what} reasons: ");
        let begin = expected.find(&begin).unwrap();
        let begin = begin + expected[begin..].find('\n').unwrap() + 1;
        let end = begin + expected[begin..].find("<!-- end -->").unwrap();
        expected.replace_range(begin..end, &format!("\n{table}\n"));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(
            document == expected,
            "docs/counters.md is outdated, expected\n{expected}"
        );
    }
    for node in NodeId::ALL {
        assert!(
            expected.contains(&format!("\n| `{}` | ", node.name())),
            "{}",
            node.name()
        );
    }
}

#[test]
fn advice_is_about_reasons_that_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/counters.md");
    let document = fs::read_to_string(path).unwrap();
    let names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
    for line in document.lines().filter(|line| line.starts_with("- `")) {
        let heads = line.split(':').next().unwrap();
        for name in heads.split('`').skip(1).step_by(2) {
            assert!(names.contains(&name), "{name}");
        }
    }
}
