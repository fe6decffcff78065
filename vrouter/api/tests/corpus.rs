//! One file of every kind: read, printed, read again; then damaged in every which way.

use std::collections::BTreeSet;

use proptest::prelude::*;
use vrouter_api::{Kind, Parsed, parse, to_json, to_yaml};

const CORPUS: &str = include_str!("corpus.yaml");

/// Values that are wrong nearly everywhere, and right somewhere.
const VALUES: &[&str] = &[
    "",
    "null",
    "true",
    "'true'",
    "-1",
    "0",
    "1",
    "65536",
    "1.5",
    "1e400",
    "x",
    "X Y",
    "[]",
    "{}",
    "[x]",
    "{x: y}",
    "[[1]]",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "fd00::/8",
    "169.254.0.0/16",
    "0.0.0.0/0",
    "'!has('",
    "all()",
    "'*'",
    "80:70",
    "1:2",
    "Always",
    "|\n      text",
    "&a [1]",
    "\"\\0\"",
    "'€'",
    "99999999999999999999999",
];

fn reprints(parsed: &Parsed) -> Result<(), TestCaseError> {
    for located in &parsed.resources {
        prop_assert!(located.value.update().is_ok());
        for printed in [to_yaml(&located.value), to_json(&located.value)] {
            let again = parse(printed.as_bytes(), "again");
            prop_assert!(again.errors.is_empty(), "{:?}\n{}", again.errors, printed);
            prop_assert_eq!(&again.resources[0].value, &located.value, "{}", printed);
        }
    }
    Ok(())
}

#[test]
fn the_corpus_is_faultless_and_complete() {
    let parsed = parse(CORPUS.as_bytes(), "corpus.yaml");
    assert!(parsed.errors.is_empty(), "{:#?}", parsed.errors);
    reprints(&parsed).expect("it reprints");
    let there: BTreeSet<Kind> = parsed.resources.iter().map(|r| r.value.kind()).collect();
    let stored = |kind: &&Kind| **kind >= Kind::BgpConfiguration;
    for kind in Kind::ALL.iter().filter(|kind| !stored(kind)) {
        assert!(there.contains(kind), "{kind}");
    }
    let notices = parsed
        .notices
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let kinds = [": stored, not acted on: ", ": acted on in part: "];
    assert!(
        notices
            .iter()
            .all(|notice| kinds.iter().any(|kind| notice.contains(kind)))
    );
    assert_eq!(notices.len(), 20, "{notices:#?}");
}

/// One damage to the lines of the corpus.
#[derive(Clone, Debug)]
enum Damage {
    Remove(prop::sample::Index),
    Double(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Value(prop::sample::Index, usize),
    Indent(prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let line = any::<prop::sample::Index>;
    prop_oneof![
        1 => line().prop_map(Damage::Remove),
        1 => line().prop_map(Damage::Double),
        1 => (line(), line()).prop_map(|(a, b)| Damage::Swap(a, b)),
        4 => (line(), 0..VALUES.len()).prop_map(|(at, value)| Damage::Value(at, value)),
        1 => (line(), 0..4usize).prop_map(|(at, by)| Damage::Indent(at, by)),
        1 => line().prop_map(Damage::Cut),
    ]
}

fn damaged(damages: &[Damage], from: prop::sample::Index) -> String {
    // One document and its neighbour are enough, and quicker to read.
    let documents: Vec<&str> = CORPUS.split("---\n").collect();
    let first = from.index(documents.len());
    let text = documents[first..]
        .iter()
        .take(2)
        .copied()
        .collect::<Vec<_>>()
        .join("---\n");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for damage in damages {
        let count = lines.len();
        if count == 0 {
            break;
        }
        match damage {
            Damage::Remove(at) => drop(lines.remove(at.index(count))),
            Damage::Double(at) => lines.insert(at.index(count), lines[at.index(count)].clone()),
            Damage::Swap(a, b) => lines.swap(a.index(count), b.index(count)),
            Damage::Value(at, value) => {
                let line = &mut lines[at.index(count)];
                let colon = line.rfind(": ").map_or(line.len(), |colon| colon + 2);
                // Inside a flow map the closing brackets stay.
                let tail: String = line
                    .chars()
                    .rev()
                    .take_while(|c| "]}".contains(*c))
                    .collect();
                line.truncate(colon);
                line.push_str(VALUES[*value]);
                line.extend(tail.chars().rev());
            }
            Damage::Indent(at, by) => lines[at.index(count)].insert_str(0, &" ".repeat(*by)),
            Damage::Cut(at) => {
                let line = &mut lines[at.index(count)];
                let middle = line.len() / 2;
                if line.is_char_boundary(middle) {
                    line.truncate(middle);
                }
            }
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn damaged_resources_are_named_or_still_good(
        damages in prop::collection::vec(damage(), 1..5),
        from in any::<prop::sample::Index>(),
    ) {
        let text = damaged(&damages, from);
        let parsed = parse(text.as_bytes(), "f");
        let lines = u32::try_from(text.lines().count()).expect("it is short") + 1;
        for error in &parsed.errors {
            prop_assert!((1..=lines).contains(&error.line), "{error}\n{text}");
            prop_assert!(!error.reason.is_empty());
            prop_assert!(!error.to_string().contains('\n'), "{error:?}");
        }
        reprints(&parsed)?;
    }
}
