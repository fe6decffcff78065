//! `docs/metrics.md` lists every metric; dashboards and alerts name none but those.
//! `UPDATE_GOLDEN=1 cargo test -p vrouter-observe` writes the table anew.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use vrouter_observe::{Type, families};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_metric_is_listed() {
    let path = root().join("docs/metrics.md");
    let document = fs::read_to_string(&path).unwrap();
    let mut table = "| Name | Type | Labels | Meaning |\n|---|---|---|---|\n".to_owned();
    for family in families::ALL {
        let labels: Vec<_> = family.labels.iter().map(|it| format!("`{it}`")).collect();
        let (name, kind, help) = (family.name, family.kind.name(), family.help);
        table += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(" "));
    }
    let mark = "<!-- metrics: written by a test of vrouter-observe, UPDATE_GOLDEN=1 -->\n";
    let (before, rest) = document.split_once(mark).unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let expected = format!("{before}{mark}\n{table}\n<!-- end -->{after}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(
            document == expected,
            "docs/metrics.md is outdated:\n{table}"
        );
    }
}

#[test]
fn names_follow_the_conventions() {
    for family in families::ALL {
        let total = family.name.ends_with("_total");
        assert_eq!(total, family.kind == Type::Counter, "{}", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
        let same = families::ALL.iter().filter(|it| it.name == family.name);
        assert_eq!(same.count(), 1, "{}", family.name);
    }
}

/// The words of a text that look like metrics of ours.
fn metrics(text: &str) -> Vec<&str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let ours = |name: &&str| {
        ["vrouter_", "felix_", "process_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    text.split(word).filter(ours).collect()
}

#[test]
fn dashboards_and_alerts_name_metrics_that_exist() {
    let directory = root().join("deploy/monitoring");
    let mut seen = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|it| it == "json") {
            let _: serde_json::Value = serde_json::from_str(&text).unwrap();
        }
        for name in metrics(&text) {
            let plain = name.strip_suffix("_sum").or(name.strip_suffix("_count"));
            let known = families::ALL.iter().any(|family| {
                family.name == name || (family.kind == Type::Summary && Some(family.name) == plain)
            });
            assert!(known, "{}: {name}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
