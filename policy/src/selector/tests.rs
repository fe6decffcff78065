//! Tests of the selector language: examples, and properties of the canonical form.

use proptest::prelude::*;

use super::*;
use crate::model::Name;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

fn check(text: &str, pairs: &[(&str, &str)]) -> bool {
    Selector::parse(text).unwrap().matches(&labels(pairs))
}

#[test]
fn operators() {
    let l = [("a", "b"), ("long/er.key-x_1", "hello world")];
    for yes in [
        "",
        " \t",
        "all()",
        "all( )",
        "global()",
        "a == 'b'",
        "a==\"b\"",
        "has(a)",
        "has( a )",
        "a in {'b','c'}",
        "a in{'b',}",
        "a not in {'c'}",
        "a != 'c'",
        "missing != 'x'",
        "missing not in {'x'}",
        "!has(missing)",
        "!!has(a)",
        "a == 'b' && has(a)",
        "a == 'c' || has(a)",
        "long/er.key-x_1 contains 'lo w'",
        "long/er.key-x_1 starts  with 'he'",
        "long/er.key-x_1 ends with 'ld'",
        "(a == 'b')",
        "! (a == 'c' && has(a))",
        "a not in {}",
        "a == 'x' && a == 'y' || a == 'b'",
    ] {
        assert!(check(yes, &l), "{yes}");
    }
    for no in [
        "a == 'c'",
        "missing == 'b'",
        "a in {}",
        "missing in {'b'}",
        "missing contains ''",
        "missing starts with ''",
        "missing ends with ''",
        "!all()",
        "a != 'b'",
        "a not in {'b'}",
        "a == 'b' && (a == 'x' || a == 'y')",
    ] {
        assert!(!check(no, &l), "{no}");
    }
}

#[test]
fn errors_name_the_place() {
    for (text, position) in [
        ("a", 1),
        ("a = 'b'", 2),
        ("a == b", 5),
        ("a == 'b", 5),
        ("a in 'b'", 5),
        ("a in {'b'", 9),
        ("has(a", 5),
        ("has()", 4),
        ("(a == 'b'", 9),
        ("a == 'b' c", 9),
        ("a == 'b' &&", 11),
        ("a starts 'b'", 9),
        ("%", 0),
        ("all(", 4),
        ("a == 'b')", 8),
        ("!", 1),
        ("a & b", 2),
        ("é == 'b'", 0),
        ("has (a)", 4),
    ] {
        let error = Selector::parse(text).unwrap_err();
        assert_eq!(error.position, position, "{text}: {error}");
    }
    let deep = "(".repeat(100_000) + "all()";
    assert!(Selector::parse(&deep).is_err());
}

#[test]
fn canonical_form() {
    for (text, canonical) in [
        ("a=='b'", "a == \"b\""),
        ("a == 'say \"x\"'", "a == 'say \"x\"'"),
        ("a in {'z','b','z'}", "a in {\"b\", \"z\"}"),
        (
            "a=='1'&&b=='2'||!c=='3'",
            "((a == \"1\" && b == \"2\") || !c == \"3\")",
        ),
        ("", "all()"),
    ] {
        assert_eq!(Selector::parse(text).unwrap().to_string(), canonical);
    }
}

#[test]
fn inheritance() {
    let own = labels(&[("a", "own")]);
    let first = labels(&[("a", "p1"), ("b", "p1")]);
    let second = labels(&[("b", "p2"), ("c", "p2")]);
    let all = Inherited::new(&own, [&first, &second]);
    assert_eq!(all.value("a"), Some("own"));
    assert_eq!(all.value("b"), Some("p1"));
    assert_eq!(all.value("c"), Some("p2"));
    assert_eq!(all.value("d"), None);
}

#[test]
fn policy_selectors_as_libcalico_writes_them() {
    let s = |text: &str| Selector::parse(text).unwrap();
    let ns = Name::new("prod").unwrap();
    let policy = |ns: Option<&Name>, sel: Option<&str>, nss: Option<&str>, sas: Option<&str>| {
        let (sel, nss, sas) = (sel.map(s), nss.map(s), sas.map(s));
        effective_policy_selector(ns, sel.as_ref(), nss.as_ref(), sas.as_ref()).to_string()
    };
    assert_eq!(policy(None, None, None, None), "all()");
    assert_eq!(
        policy(Some(&ns), None, None, None),
        "projectcalico.org/namespace == \"prod\""
    );
    assert_eq!(
        policy(Some(&ns), Some("a=='b'"), None, Some("r=='x'")),
        "(a == \"b\" && projectcalico.org/namespace == \"prod\" && pcsa.r == \"x\")"
    );
    assert_eq!(
        policy(None, Some("all()"), Some("env=='x'"), None),
        "(has(projectcalico.org/namespace) && pcns.env == \"x\")"
    );
    assert_eq!(
        policy(None, None, Some("global()"), None),
        "!has(projectcalico.org/namespace)"
    );
    assert_eq!(
        policy(None, None, None, Some("all()")),
        "has(projectcalico.org/serviceaccount)"
    );
}

#[test]
fn entity_selectors_as_libcalico_writes_them() {
    let s = |text: &str| Selector::parse(text).unwrap();
    let ns = Name::new("prod").unwrap();
    let entity = |ns: Option<&Name>, nss: Option<&str>, sel: Option<&str>, not: bool| {
        let (sel, nss) = (sel.map(s), nss.map(s));
        effective_entity_selector(ns, nss.as_ref(), sel.as_ref(), &[], None, not)
            .map(|s| s.to_string())
    };
    let own = "projectcalico.org/namespace == \"prod\"";
    assert_eq!(entity(None, None, None, false), None);
    assert_eq!(entity(None, None, None, true), None);
    assert_eq!(entity(Some(&ns), None, None, false), None);
    assert_eq!(entity(Some(&ns), None, None, true).as_deref(), Some(own));
    assert_eq!(
        entity(Some(&ns), None, Some("a=='b'"), false).unwrap(),
        format!("({own} && a == \"b\")")
    );
    assert_eq!(
        entity(None, None, Some("a=='b'"), false).as_deref(),
        Some("a == \"b\"")
    );
    assert_eq!(
        entity(Some(&ns), Some("all()"), Some("a=='b'"), false).as_deref(),
        Some("(has(projectcalico.org/namespace) && a == \"b\")")
    );
    assert_eq!(
        entity(Some(&ns), Some("!global()"), None, false).as_deref(),
        Some("has(projectcalico.org/namespace)")
    );
    let names = [Name::new("z").unwrap(), Name::new("b").unwrap()];
    let with_accounts = effective_entity_selector(
        None,
        None,
        Some(&s("a=='b'")),
        &names,
        Some(&s("r=='x'")),
        false,
    );
    assert_eq!(
        with_accounts.unwrap().to_string(),
        "(pcsa.r == \"x\" && projectcalico.org/serviceaccount in {\"b\", \"z\"} && a == \"b\")"
    );
}

fn arbitrary_expr() -> impl Strategy<Value = Expr> {
    let key = "[a-c]{1,2}".prop_map(|k| LabelKey::new(&k).unwrap());
    let value = prop_oneof!["[xyz' ]{0,3}", "[xyz\" ]{0,3}"].prop_map(|v| Value::new(&v).unwrap());
    let set =
        prop::collection::btree_set(value.clone(), 0..3).prop_map(|s| s.into_iter().collect());
    let leaf = prop_oneof![
        Just(Expr::All),
        Just(Expr::Global),
        key.clone().prop_map(Expr::Has),
        (key.clone(), value.clone()).prop_map(|(k, v)| Expr::Equal(k, v)),
        (key.clone(), value.clone()).prop_map(|(k, v)| Expr::NotEqual(k, v)),
        (key.clone(), set.clone()).prop_map(|(k, v): (_, Vec<_>)| Expr::In(k, v)),
        (key.clone(), set).prop_map(|(k, v): (_, Vec<_>)| Expr::NotIn(k, v)),
        (key.clone(), value.clone()).prop_map(|(k, v)| Expr::Contains(k, v)),
        (key.clone(), value.clone()).prop_map(|(k, v)| Expr::StartsWith(k, v)),
        (key, value).prop_map(|(k, v)| Expr::EndsWith(k, v)),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|e| match e {
                Expr::Not(inner) => *inner,
                other => Expr::Not(Box::new(other)),
            }),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner, 2..4).prop_map(Expr::Or),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_form_reparses_to_the_same(expr in arbitrary_expr()) {
        let printed = expr.to_string();
        prop_assert_eq!(parse::parse(&printed).unwrap(), expr, "{}", printed);
    }

    #[test]
    fn no_text_panics(text in "[ahsgl()!=&|{}'\", in]{0,40}|.{0,20}") {
        let _ = Selector::parse(&text);
    }
}
