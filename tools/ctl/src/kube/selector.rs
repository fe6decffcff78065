//! Kubernetes' label selectors, as `kubectl -l` takes them: requirements joined by commas.
//!
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>.

use std::str::FromStr;

use serde_json::{Map, Value};

/// Requirements that all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    label: String,
    is: Is,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Is {
    There,
    Missing,
    OneOf(Vec<String>),
    /// True of a missing label too.
    NoneOf(Vec<String>),
}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    pub(crate) fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels
                .and_then(|labels| labels.get(&requirement.label))
                .and_then(Value::as_str);
            let among = |values: &[String]| value.is_some_and(|v| values.iter().any(|w| w == v));
            match &requirement.is {
                Is::There => value.is_some(),
                Is::Missing => value.is_none(),
                Is::OneOf(values) => among(values),
                Is::NoneOf(values) => !among(values),
            }
        })
    }
}

impl FromStr for LabelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut requirements = Vec::new();
        let (mut depth, mut start) = (0_i32, 0);
        for (index, c) in text.char_indices().chain([(text.len(), ',')]) {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                ',' if depth == 0 => {
                    requirements.push(requirement(text[start..index].trim())?);
                    start = index + 1;
                }
                _ => {}
            }
        }
        if depth != 0 {
            return Err("a parenthesis is not closed".to_owned());
        }
        Ok(Self(requirements))
    }
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let of = |label: &str, is| {
        let label = label.trim();
        if label.is_empty() || label.contains(|c: char| c.is_whitespace() || "()!=,".contains(c)) {
            return Err(format!(
                "{text:?} is no requirement such as app=web or !app"
            ));
        }
        let label = label.to_owned();
        Ok(Requirement { label, is })
    };
    let one = |value: &str| {
        let value = value.trim();
        if value.contains(|c: char| c.is_whitespace() || "()!=,".contains(c)) {
            return Err(format!("{value:?} is no value of a label"));
        }
        Ok(vec![value.to_owned()])
    };
    if let Some((label, value)) = text.split_once("!=") {
        return of(label, Is::NoneOf(one(value)?));
    }
    if let Some((label, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return of(label, Is::OneOf(one(value)?));
    }
    if let Some(label) = text.strip_prefix('!') {
        return of(label, Is::Missing);
    }
    if let Some((head, values)) = text.split_once('(') {
        let values = values
            .strip_suffix(')')
            .ok_or_else(|| format!("{text:?} goes on after its values"))?;
        let values = values
            .split(',')
            .map(|value| one(value).map(|mut one| one.remove(0)))
            .collect::<Result<Vec<_>, _>>()?;
        return match head.trim().rsplit_once(char::is_whitespace) {
            Some((label, "in")) => of(label, Is::OneOf(values)),
            Some((label, "notin")) => of(label, Is::NoneOf(values)),
            _ => Err(format!("{text:?} must be LABEL in (…) or LABEL notin (…)")),
        };
    }
    of(text, Is::There)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_selected() {
        let labels = json!({"app": "web", "tier": "front", "empty": ""});
        let labels = labels.as_object();
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=db", false),
            ("app!=db", true),
            ("missing!=db", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("app in (db, web)", true),
            ("app notin (db,web), tier", false),
            ("missing notin (a)", true),
            ("empty=", true),
            ("missing=", false),
        ] {
            let selector: LabelSelector = text.parse().unwrap();
            assert_eq!(selector.matches(labels), expected, "{text}");
        }
        assert!(!"app".parse::<LabelSelector>().unwrap().matches(None));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "app in (a",
            "app of (a)",
            "=web",
            "a b",
            "app=a=b",
            ",",
            "a in (b) c",
            "!",
        ] {
            assert!(text.parse::<LabelSelector>().is_err(), "{text}");
        }
    }
}
