//! `docs/control.md` says what the code does: every method is described, every example parses.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;
use vrouter_control::message::Response;
use vrouter_control::params::*;
use vrouter_control::{Call, ErrorCode, Method, Request, line, params, server};

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/control.md");
    fs::read_to_string(path).unwrap()
}

/// The lines of the JSON examples.
fn examples(document: &str) -> Vec<&str> {
    document
        .split("```json\n")
        .skip(1)
        .flat_map(|rest| rest.split("```").next().unwrap().lines())
        .collect()
}

/// Parses a result as its type and writes it again: nothing of the example may be lost.
fn same<P: Call>(result: &RawValue) {
    let typed: P::Output = serde_json::from_str(result.get())
        .unwrap_or_else(|e| panic!("result of {}: {e}", P::METHOD));
    let written = serde_json::to_value(&typed).unwrap();
    let example: Value = serde_json::from_str(result.get()).unwrap();
    assert_eq!(written, example, "{}", P::METHOD);
}

#[test]
fn every_method_has_its_section() {
    let document = document();
    for name in Method::NAMES {
        assert!(
            document.contains(&format!("### `{name}`\n")),
            "{name} is not described"
        );
    }
    assert_eq!(document.matches("\n### `").count(), Method::NAMES.len());
}

#[test]
fn every_error_code_is_explained() {
    let document = document();
    for code in [
        ErrorCode::BadRequest,
        ErrorCode::UnknownMethod,
        ErrorCode::BadParams,
        ErrorCode::NotFound,
        ErrorCode::Unavailable,
        ErrorCode::Internal,
    ] {
        assert!(
            document.contains(&format!("| `{}` |", code.name())),
            "{}",
            code.name()
        );
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    assert_eq!(line::REQUEST_LIMIT, 1 << 20);
    assert_eq!((params::DEFAULT_LIMIT, params::MAX_LIMIT), (1000, 10_000));
    assert_eq!(server::CONNECTIONS, 64);
}

#[test]
fn every_example_parses() {
    let document = document();
    let mut asked: Option<(u64, Method)> = None;
    let mut seen = Vec::new();
    for line in examples(&document) {
        if line.contains("\"method\":") {
            let request = Request::parse(line.as_bytes()).unwrap_or_else(|(_, e)| panic!("{e}"));
            let method = request.method().unwrap_or_else(|e| panic!("{line}: {e}"));
            seen.push(method.name());
            asked = Some((request.id, method));
            continue;
        }
        let response: Response = serde_json::from_str(line).unwrap();
        let (id, method) = asked.take().unwrap();
        assert_eq!(response.id, Some(id));
        let Some(result) = response.result else {
            assert!(response.error.is_some());
            continue;
        };
        match method {
            Method::GetVersion(_) => same::<GetVersion>(&result),
            Method::ShowInterfaces(_) => same::<ShowInterfaces>(&result),
            Method::ShowRoutes(_) => same::<ShowRoutes>(&result),
            Method::ShowNeighbors(_) => same::<ShowNeighbors>(&result),
            Method::ShowTunnels(_) => same::<ShowTunnels>(&result),
            Method::ShowFlows(_) => same::<ShowFlows>(&result),
            Method::ShowPolicy(_) => same::<ShowPolicy>(&result),
            Method::ShowHits(_) => same::<ShowHits>(&result),
            Method::ShowHealth(_) => same::<ShowHealth>(&result),
            Method::ShowDrops(_) => same::<ShowDrops>(&result),
            Method::ShowWorkers(_) => same::<ShowWorkers>(&result),
            Method::ShowResources(_) => same::<ShowResources>(&result),
            Method::ShowCounters(_) => same::<ShowCounters>(&result),
            Method::Explain(_) => same::<Explain>(&result),
            Method::AwaitEndpoint(_) => same::<AwaitEndpoint>(&result),
            Method::AddRoutes(_) => same::<AddRoutes>(&result),
            Method::DeleteRoutes(_) => same::<DeleteRoutes>(&result),
            Method::Reload(_) => same::<Reload>(&result),
            Method::Shutdown(_) => same::<Shutdown>(&result),
        }
    }
    seen.sort_unstable();
    seen.dedup();
    let mut names = Method::NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(seen, names, "methods without an example");
}
