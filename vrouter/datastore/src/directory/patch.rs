//! A changed resource in the text of its document, with the author's comments, order and spelling:
//! only what differs is written anew.
//!
//! What differs between the resource before and after is brought into the text change by change,
//! each at the place that a parser finds for it. The result is read again: when it does not say
//! what it is to say, as in a document with anchors, the caller writes the document anew.

use granit_parser::{Event, Options, Parser, StructureStyle};
use serde_json::{Map, Value};
use vrouter_api::{Resource, parse, to_json};

/// A document deeper than this is written anew.
const DEEPEST: usize = 64;

/// The document that says `new` where it said `before`; `None` when it must be written anew.
pub(super) fn patched(document: &str, before: &Resource, new: &Resource) -> Option<String> {
    let value = |resource: &Resource| serde_json::to_value(resource).ok();
    let mut changes = Vec::new();
    differences(&mut Vec::new(), &value(before)?, &value(new)?, &mut changes);
    let mut text = document.to_owned();
    for change in &changes {
        text = apply(&text, change)?;
    }
    let parsed = parse(text.as_bytes(), "");
    match &parsed.resources[..] {
        [only] if parsed.errors.is_empty() && to_json(&only.value) == to_json(new) => Some(text),
        _ => None,
    }
}

/// A step into a value.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Item(usize),
}

/// One difference: what is to be at a path, nothing if it is to go.
#[derive(Debug)]
struct Change {
    path: Vec<Step>,
    to: Option<Value>,
}

fn differences(path: &mut Vec<Step>, before: &Value, new: &Value, found: &mut Vec<Change>) {
    let mut at = |step: Step, before: Option<&Value>, new: Option<&Value>| {
        path.push(step);
        match (before, new) {
            (Some(before), Some(new)) => differences(path, before, new, found),
            (_, to) => found.push(Change {
                path: path.clone(),
                to: to.cloned(),
            }),
        }
        path.pop();
    };
    match (before, new) {
        _ if before == new => {}
        (Value::Object(before), Value::Object(new)) => {
            for (name, value) in before {
                at(Step::Field(name.clone()), Some(value), new.get(name));
            }
            for (name, value) in new.iter().filter(|(name, _)| !before.contains_key(*name)) {
                at(Step::Field(name.clone()), None, Some(value));
            }
        }
        (Value::Array(before), Value::Array(new)) if before.len() == new.len() => {
            for (index, (before, new)) in before.iter().zip(new).enumerate() {
                at(Step::Item(index), Some(before), Some(new));
            }
        }
        _ => found.push(Change {
            path: path.clone(),
            to: Some(new.clone()),
        }),
    }
}

/// A node of the text: which characters it is, from the first to behind the last.
struct Node {
    start: usize,
    end: usize,
    content: Content,
}

enum Content {
    Scalar,
    Items { flow: bool, items: Vec<Node> },
    Fields { flow: bool, fields: Vec<Field> },
}

struct Field {
    name: String,
    start: usize,
    /// Behind the name, where the colon is to be looked for.
    behind: usize,
    column: usize,
    value: Node,
}

/// The one node of a document without anchors and tags.
fn read(text: &str) -> Option<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut events = Vec::new();
    for next in Parser::new_from_str_with_options(text, options) {
        events.push(next.ok()?);
    }
    let mut events = events.into_iter().filter(|(event, _)| {
        matches!(
            event,
            Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd
                | Event::Alias(_)
        )
    });
    let root = node(&mut events, 0)?;
    events.next().is_none().then_some(root)
}

fn node<'a>(
    events: &mut dyn Iterator<Item = (Event<'a>, granit_parser::Span)>,
    depth: usize,
) -> Option<Node> {
    let (event, span) = events.next()?;
    node_of(&event, span, events, depth)
}

fn node_of<'a>(
    event: &Event<'a>,
    span: granit_parser::Span,
    events: &mut dyn Iterator<Item = (Event<'a>, granit_parser::Span)>,
    depth: usize,
) -> Option<Node> {
    if depth > DEEPEST {
        return None;
    }
    let (start, end) = (span.start.index(), span.end.index());
    match event {
        Event::Scalar(_, _, 0, None) => Some(Node {
            start,
            end,
            content: Content::Scalar,
        }),
        Event::SequenceStart(style, 0, None) => {
            let flow = *style == StructureStyle::Flow;
            let mut items: Vec<Node> = Vec::new();
            let end = loop {
                match events.next()? {
                    (Event::SequenceEnd, span) if flow => break span.end.index(),
                    (Event::SequenceEnd, _) => break items.last().map_or(end, |item| item.end),
                    (event, span) => items.push(node_of(&event, span, events, depth + 1)?),
                }
            };
            Some(Node {
                start,
                end,
                content: Content::Items { flow, items },
            })
        }
        Event::MappingStart(style, 0, None) => {
            let flow = *style == StructureStyle::Flow;
            let mut fields: Vec<Field> = Vec::new();
            let end = loop {
                match events.next()? {
                    (Event::MappingEnd, span) if flow => break span.end.index(),
                    (Event::MappingEnd, _) => {
                        break fields.last().map_or(end, |field| field.value.end);
                    }
                    (Event::Scalar(name, _, 0, None), span) => fields.push(Field {
                        name: name.into_owned(),
                        start: span.start.index(),
                        behind: span.end.index(),
                        column: span.start.col(),
                        value: node(events, depth + 1)?,
                    }),
                    _ => return None,
                }
            };
            // What is absent after its colon ends there.
            Some(Node {
                start,
                end,
                content: Content::Fields { flow, fields },
            })
        }
        _ => None,
    }
}

fn apply(text: &str, change: &Change) -> Option<String> {
    let root = read(text)?;
    let letters: Vec<char> = text.chars().collect();
    let (mut at, mut rest) = (&root, &change.path[..]);
    // The field whose value `at` is.
    let mut of: Option<&Field> = None;
    while let [step, more @ ..] = rest {
        match (&at.content, step) {
            (Content::Fields { flow, fields }, Step::Field(name)) => {
                let Some(index) = fields.iter().position(|field| field.name == *name) else {
                    let to = change.to.as_ref()?;
                    return insert(&letters, at, *flow, fields, name, &within(more, to)?);
                };
                let field = &fields[index];
                if more.is_empty() && change.to.is_none() {
                    return remove(&letters, *flow, fields, index);
                }
                (at, of, rest) = (&field.value, Some(field), more);
            }
            (Content::Items { items, .. }, Step::Item(index)) => {
                (at, of, rest) = (items.get(*index)?, None, more);
            }
            // `metadata:` with nothing behind it.
            (Content::Scalar, Step::Field(_)) if of.is_some() => {
                let to = within(rest, change.to.as_ref()?)?;
                return replace(&letters, at, of, &to);
            }
            _ => return None,
        }
    }
    replace(&letters, at, of, change.to.as_ref()?)
}

/// The value inside of maps for the steps to it.
fn within(steps: &[Step], value: &Value) -> Option<Value> {
    match steps {
        [] => Some(value.clone()),
        [Step::Field(name), rest @ ..] => {
            let mut fields = Map::new();
            fields.insert(name.clone(), within(rest, value)?);
            Some(Value::Object(fields))
        }
        [Step::Item(_), ..] => None,
    }
}

fn spliced(letters: &[char], from: usize, to: usize, with: &str) -> String {
    let mut out: String = letters[..from].iter().collect();
    out.push_str(with);
    out.extend(&letters[to..]);
    out
}

/// JSON is YAML on one line.
fn inline(value: &Value) -> String {
    value.to_string()
}

fn line_start(letters: &[char], at: usize) -> usize {
    let before = letters[..at].iter().rposition(|letter| *letter == '\n');
    before.map_or(0, |newline| newline + 1)
}

/// Behind the line feed of the line, or at the end of the text.
fn line_end(letters: &[char], at: usize) -> usize {
    let after = letters[at..].iter().position(|letter| *letter == '\n');
    after.map_or(letters.len(), |newline| at + newline + 1)
}

fn replace(letters: &[char], at: &Node, of: Option<&Field>, to: &Value) -> Option<String> {
    let block = match &at.content {
        Content::Scalar => false,
        Content::Items { flow, .. } | Content::Fields { flow, .. } => !flow,
    };
    match of {
        // A block stands below its name: what takes its place stands beside it.
        Some(field) if block || at.start == at.end => {
            let colon = letters[field.behind..].iter().position(|it| *it == ':')?;
            let behind = field.behind + colon + 1;
            let (from, end) = (behind, at.end.max(behind));
            let below = rendered(to, field.column)?;
            Some(spliced(letters, from, end, &below))
        }
        Some(_) | None if !block => Some(spliced(letters, at.start, at.end, &inline(to))),
        Some(_) | None => None,
    }
}

/// What stands behind a colon: a scalar beside it, a list or a map below it.
fn rendered(value: &Value, column: usize) -> Option<String> {
    match value {
        Value::Array(items) if !items.is_empty() => {}
        Value::Object(fields) if !fields.is_empty() => {}
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => return Some(format!(" {}", inline(value))),
    }
    let text = serde_saphyr::to_string(value).ok()?;
    let indent = " ".repeat(column + 2);
    let lines = text.lines().map(|line| format!("\n{indent}{line}"));
    Some(lines.collect())
}

fn insert(
    letters: &[char],
    map: &Node,
    flow: bool,
    fields: &[Field],
    name: &str,
    to: &Value,
) -> Option<String> {
    let key = Value::from(name);
    if flow {
        let at = map.end.checked_sub(1)?;
        let comma = if fields.is_empty() { "" } else { ", " };
        return Some(spliced(
            letters,
            at,
            at,
            &format!("{comma}{key}: {}", inline(to)),
        ));
    }
    let (first, last) = (fields.first()?, fields.last()?);
    let end = line_end(letters, last.value.end.max(last.behind));
    let indent = " ".repeat(first.column);
    let newline = if letters[..end].last() == Some(&'\n') {
        ""
    } else {
        "\n"
    };
    let plain = name.chars().all(|letter| letter.is_ascii_alphanumeric());
    let key = if plain {
        name.to_owned()
    } else {
        key.to_string()
    };
    let line = format!("{newline}{indent}{key}:{}\n", rendered(to, first.column)?);
    Some(spliced(letters, end, end, &line))
}

fn remove(letters: &[char], flow: bool, fields: &[Field], index: usize) -> Option<String> {
    let field = &fields[index];
    if flow {
        let (from, to) = match (fields.get(index + 1), index.checked_sub(1)) {
            (Some(next), _) => (field.start, next.start),
            (None, Some(before)) => (fields[before].value.end, field.value.end),
            (None, None) => (field.start, field.value.end),
        };
        return Some(spliced(letters, from, to, ""));
    }
    let from = line_start(letters, field.start);
    // A field that shares its line with what is before it, as the first of a list's item.
    if !letters[from..field.start]
        .iter()
        .all(|letter| *letter == ' ')
    {
        return None;
    }
    let to = line_end(letters, field.value.end.max(field.behind));
    Some(spliced(letters, from, to, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(text: &str) -> Resource {
        let parsed = parse(text.as_bytes(), "f");
        assert_eq!(parsed.errors, [], "{text}");
        parsed.resources[0].value.clone()
    }

    const POOL: &str = "\
# The first pool.
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: p  # its name
  labels: {b: '1'}
spec:
  # Not all of it.
  cidr: 10.1.0.0/16

  vxlanMode: Always # to other nodes
  nodeSelector: \"rack == 'a'\"
";

    fn changed(from: &str, change: impl Fn(&mut Value)) -> Option<String> {
        let before = resource(from);
        let mut value = serde_json::to_value(&before).unwrap();
        change(&mut value);
        patched(from, &before, &resource(&value.to_string()))
    }

    #[test]
    fn what_does_not_change_stays_as_it_was_written() {
        let text = changed(POOL, |pool| {
            pool["spec"]["vxlanMode"] = "CrossSubnet".into();
            pool["spec"]["natOutgoing"] = true.into();
            pool["metadata"]["labels"]["a"] = "2".into();
            pool["metadata"]["resourceVersion"] = "7".into();
            pool["metadata"]["annotations"]["x/y"] = "z".into();
        });
        assert_eq!(
            text.as_deref(),
            Some(
                "\
# The first pool.
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: p  # its name
  labels: {b: '1', \"a\": \"2\"}
  annotations:
    x/y: z
  resourceVersion: \"7\"
spec:
  # Not all of it.
  cidr: 10.1.0.0/16

  vxlanMode: \"CrossSubnet\" # to other nodes
  nodeSelector: \"rack == 'a'\"
  natOutgoing: true
"
            )
        );
    }

    #[test]
    fn what_goes_goes_alone() {
        let text = changed(POOL, |pool| {
            pool["spec"]["nodeSelector"] = "all()".into();
            pool["metadata"].as_object_mut().unwrap().remove("labels");
        });
        let text = text.expect("it can be patched");
        assert!(
            !text.contains("labels") && text.contains("# Not all of it."),
            "{text}"
        );
    }

    #[test]
    fn lists_and_blocks_change_too() {
        let policy = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: n}
spec:
  selector: all()   # everybody
  ingress:
  - action: Allow   # the first
    protocol: TCP
    destination:
      ports: [80]
  - action: Deny
";
        let text = changed(policy, |policy| {
            policy["spec"]["ingress"][0]["destination"]["ports"] = serde_json::json!([80, 443]);
            policy["spec"]["ingress"][1]["protocol"] = "UDP".into();
        });
        let text = text.expect("it can be patched");
        assert!(
            text.contains("ports: [80,443]") && text.contains("# the first"),
            "{text}"
        );
        assert!(
            text.contains("  - action: Deny\n    protocol: \"UDP\"\n"),
            "{text}"
        );
        let text = changed(policy, |policy| {
            let rules = policy["spec"]["ingress"].as_array_mut().unwrap();
            rules.push(serde_json::json!({"action": "Log"}));
        });
        let text = text.expect("it can be patched");
        assert!(
            text.contains("# everybody") && text.contains("action: Log"),
            "{text}"
        );
    }

    #[test]
    fn a_document_with_anchors_is_written_anew() {
        let text = POOL.replace("{b: '1'}", "&l {b: '1'}");
        assert_eq!(
            changed(&text, |pool| pool["spec"]["natOutgoing"] = true.into()),
            None
        );
    }
}
