//! Bytes that nobody meant well, and text that printing has to survive.

use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use vrouter_api::{Resource, parse, to_json, to_yaml};

fn first_error(text: &[u8]) -> String {
    let parsed = parse(text, "f");
    parsed
        .errors
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[test]
fn alias_bombs_are_refused_quickly() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = level - 1;
        let aliases = vec![format!("*a{below}"); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let start = Instant::now();
    assert_eq!(
        first_error(text.as_bytes()),
        "f:4: aliases expand to more than 10000 nodes"
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(
        first_error(b"a: &a [*a]\n"),
        "f:1: an alias must refer to a finished node before it"
    );
    assert!(first_error(b"a: *nobody\n").starts_with("f:1: not valid YAML: "));
}

#[test]
fn useful_aliases_work() {
    let text = b"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: \
                 a}\nspec:\n  ingress: &both\n  - {action: Allow}\n  egress: *both\n";
    let parsed = parse(text, "f");
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
}

#[test]
fn depth_and_size_are_bounded() {
    for open in ["[", "{a: ", "- ", "a:\n "] {
        let error = first_error(open.repeat(100_000).as_bytes());
        assert!(error.starts_with("f:"), "{error}");
    }
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    assert_eq!(
        first_error(deep.as_bytes()),
        "f:1: nested deeper than 64 levels"
    );
    let huge = vec![b'#'; vrouter_api::MAX_FILE_BYTES + 1];
    assert_eq!(
        first_error(&huge),
        "f: larger than 32 MiB, not read: split it"
    );
}

#[test]
fn other_encodings_and_tags_are_refused() {
    assert_eq!(first_error(b"a: 1\nb: \xff\n"), "f:2: not UTF-8");
    assert!(first_error(b"\xff\xfea\0").contains("not UTF-8"));
    assert!(first_error(b"a: !!binary aGk=\n").contains("is not supported"));
    assert!(first_error(b"a: !secret x\n").contains("is not supported"));
    assert_eq!(first_error(b"[1]: 2\n"), "f:1: a key must be a plain word");
}

#[test]
fn nothing_is_no_error() {
    for text in [
        "",
        "\n",
        "---\n---\n",
        "# only a comment\n",
        "\u{feff}",
        "null",
    ] {
        let parsed = parse(text.as_bytes(), "f");
        assert_eq!(
            (parsed.resources.len(), parsed.errors.len()),
            (0, 0),
            "{text:?}"
        );
    }
}

#[test]
fn what_stands_before_a_syntax_error_counts() {
    let text = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\n---\nx: [1\n";
    let parsed = parse(text.as_bytes(), "f");
    assert_eq!(parsed.resources.len(), 1);
    assert_eq!(parsed.errors.len(), 1);
    assert_eq!(parsed.errors[0].key, None);
}

#[test]
fn json_with_tabs_and_escapes() {
    let text = "{\n\t\"apiVersion\":\"projectcalico.org\\/v3\",\n\t\"kind\":\"Tier\",\n\t\
                \"metadata\":{\"name\":\"a\",\"annotations\":{\"n\":\"\\u00e9 \\ud83d\\ude00 \
                \\\"\\n\"}},\n\t\"spec\":{\"order\":1e3}\n}\n";
    let parsed = parse(text.as_bytes(), "f");
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    assert_eq!(
        parsed.resources[0].value.metadata().annotations["n"],
        "é 😀 \"\n"
    );
}

#[test]
fn a_large_file_is_read_in_reasonable_time() {
    let mut text = String::new();
    for n in 0..20_000 {
        writeln!(
            text,
            "---\napiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\nmetadata: {{namespace: \
             default, labels: {{app: web}}}}\nspec: {{node: n, orchestrator: k8s, pod: p{n}, \
             ipNetworks: [10.{}.{}.{}/32], profiles: [kns.default], interfaceName: cali{n}}}",
            n >> 16,
            (n >> 8) & 255,
            n & 255
        )
        .unwrap();
    }
    let start = Instant::now();
    let parsed = parse(text.as_bytes(), "f");
    assert_eq!((parsed.resources.len(), parsed.errors.len()), (20_000, 0));
    eprintln!(
        "20,000 endpoints, {} bytes: {:?}",
        text.len(),
        start.elapsed()
    );
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// Words that make interesting documents when thrown together.
const WORDS: &[&str] = &[
    "apiVersion: projectcalico.org/v3\n",
    "kind: IPPool\n",
    "kind: GlobalNetworkPolicy\n",
    "kind: FelixConfiguration\n",
    "kind: WorkloadEndpoint\n",
    "kind: List\n",
    "kind: Node\n",
    "items:\n",
    "metadata: {name: a}\n",
    "metadata:\n",
    "  name: a\n",
    "  namespace: b\n",
    "spec:\n",
    "  cidr: ",
    "  ingress:\n",
    "  - action: Allow\n",
    "    source: ",
    "10.0.0.0/8",
    "fd00::/8",
    "  blockSize: ",
    "99999999999999999999",
    "-1",
    "~",
    "null",
    "[",
    "]",
    "{",
    "}",
    ": ",
    ", ",
    "- ",
    "&a ",
    "*a",
    "!!str ",
    "|\n",
    "\"",
    "'",
    "#",
    "---\n",
    "...\n",
    "\t",
    "\r\n",
    "  bpfConntrackTimeouts: {udpTimeout: 1h}\n",
    "  ports: [80, a, '1:2']\n",
    "\u{feff}",
    "%YAML 1.2\n",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, "f");
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        let _ = parse(text.as_bytes(), "f");
    }

    #[test]
    fn any_words(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let text = words.concat();
        let parsed = parse(text.as_bytes(), "f");
        let lines = u32::try_from(text.lines().count()).unwrap() + 1;
        for error in &parsed.errors {
            prop_assert!(error.line <= lines, "{error}");
            prop_assert!(!error.to_string().contains('\n'), "{error:?}");
        }
        for located in &parsed.resources {
            for printed in [to_yaml(&located.value), to_json(&located.value)] {
                let again = parse(printed.as_bytes(), "f");
                prop_assert!(again.errors.is_empty(), "{:?}\n{printed}", again.errors);
                prop_assert_eq!(&again.resources[0].value, &located.value);
            }
        }
    }

    /// Free text survives printing, whatever it looks like.
    #[test]
    fn annotations_survive(value in prop_oneof![
        "\\PC{0,40}",
        "[ \\n\\t:#'\"|>&*!%@`,\\[\\]{}?~0-9a-z-]{0,12}",
        Just("yes".to_owned()), Just("1.10".to_owned()), Just("0x1f".to_owned()),
        Just("null".to_owned()), Just("2001-01-01".to_owned()), Just(" a ".to_owned()),
        Just("\u{85}\u{2028}".to_owned()), Just("<<".to_owned()), Just("\r\n".to_owned()),
    ], key in "[a-z]{1,5}") {
        let text = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\n";
        let mut resource = parse(text.as_bytes(), "f").resources.remove(0).value;
        let Resource::Tier(tier) = &mut resource else { panic!() };
        tier.metadata.annotations.insert(key, value);
        for printed in [to_yaml(&resource), to_json(&resource)] {
            let again = parse(printed.as_bytes(), "f");
            prop_assert!(again.errors.is_empty(), "{:?}\n{printed}", again.errors);
            prop_assert_eq!(&again.resources[0].value, &resource, "{}", printed);
        }
    }
}
