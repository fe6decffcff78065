//! The published schema is that of the program, and results are of it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p vrouter-bench --test schema` writes the file anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use serde_json::json;
use vrouter_bench::results::schema;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/results.schema.json");

#[test]
fn the_published_schema_is_the_program_s() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(Path::new(FILE), schema()).unwrap();
    }
    let published = fs::read_to_string(FILE).unwrap();
    assert_eq!(
        published,
        schema(),
        "write it anew: UPDATE_GOLDEN=1 cargo test -p vrouter-bench --test schema"
    );
}

#[test]
fn the_schema_refuses_what_is_no_result() {
    let schema = serde_json::from_str(&schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(!validator.is_valid(&json!({})));
    assert!(!validator.is_valid(&json!({ "format": 1 })));
}
