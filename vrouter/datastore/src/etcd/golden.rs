//! Values as Calico writes them, a path and a line of JSON each, for every kind: read as ours, and
//! written again as the same bytes but for the order of keys.
//!
//! The file was written from the reference: fields, their names and defaults as Calico's clients
//! give them, in the form of Go's JSON (`\u0026` for an ampersand).

use std::collections::BTreeSet;

use serde_json::Value;
use vrouter_api::{Kind, Resource, to_yaml};

use super::layout::{decode, encode, encode_over, key_at, kind_at, path, paths};

const GOLDEN: &str = include_str!("../../tests/golden/etcd.txt");

fn pairs() -> Vec<(&'static str, &'static str)> {
    let lines: Vec<&str> = GOLDEN.lines().collect();
    assert!(lines.len().is_multiple_of(2), "a path and a value each");
    lines.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// The bytes without their order.
fn letters(bytes: &[u8]) -> Vec<u8> {
    let mut letters = bytes.to_vec();
    letters.sort_unstable();
    letters
}

fn read(path: &str, text: &str) -> Resource {
    let (resource, _) = decode(path, text.as_bytes(), 7).unwrap_or_else(|it| panic!("{it:?}"));
    resource
}

#[test]
fn every_kind_has_one() {
    let have: BTreeSet<Kind> = pairs().iter().filter_map(|(at, _)| kind_at(at)).collect();
    let all: BTreeSet<Kind> = Kind::ALL.iter().copied().collect();
    assert_eq!(have, all);
}

#[test]
fn what_calico_wrote_is_written_again() {
    let mut wrong = Vec::new();
    for (at, text) in pairs() {
        let resource = read(at, text);
        assert_eq!(key_at(at), Some(resource.key()), "{at}");
        assert!(paths(&resource.key()).iter().any(|it| it == at), "{at}");
        assert_eq!(path(&resource).as_deref(), Some(at));
        let revision = resource.metadata().resource_version.as_deref();
        assert_eq!(revision, Some("7"), "{at}");
        for written in [
            encode(&resource),
            encode_over(&resource, &resource, text.as_bytes()),
        ] {
            let same = json(&written) == json(text.as_bytes());
            if !same || letters(&written) != letters(text.as_bytes()) {
                let said = String::from_utf8_lossy(&written);
                wrong.push(format!("{at}\n  Calico's {text}\n  ours     {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_printed_for_people_is_written_the_same() {
    for (at, text) in pairs() {
        let resource = read(at, text);
        let printed = to_yaml(&resource);
        let parsed = vrouter_api::parse(printed.as_bytes(), at);
        assert_eq!(parsed.errors, [], "{printed}");
        let [again] = &parsed.resources[..] else {
            panic!("{printed}");
        };
        let (first, second) = (encode(&resource), encode(&again.value));
        assert_eq!(json(&first), json(&second), "{printed}");
    }
}
