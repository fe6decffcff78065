//! YAML (and JSON, which is YAML 1.2) into trees that remember the line of everything.
//!
//! Scalars stay text: the type is decided where a field is read, so `1.10` as a label stays
//! `1.10`. What a hostile file could do is bounded: nesting, nodes made by aliases, tags.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};

/// Deepest nesting; no resource needs a third of it.
const MAX_DEPTH: usize = 64;
/// How many nodes all aliases of a file may copy together.
const MAX_ALIASED_NODES: usize = 10_000;

/// One node of a document.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Line in the file, from 1.
    pub(crate) line: u32,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `plain` when written without quotes, so that it may be a number, boolean or null.
    Scalar {
        text: Box<str>,
        plain: bool,
    },
    Sequence(Vec<Tree>),
    Mapping(Vec<Entry>),
}

/// One `key: value`; duplicates are kept, for the reader to name.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Box<str>,
    pub(crate) line: u32,
    pub(crate) value: Tree,
}

impl Tree {
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    fn nodes(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::Sequence(items) => 1 + items.iter().map(Tree::nodes).sum::<usize>(),
            Value::Mapping(entries) => 1 + entries.iter().map(|e| e.value.nodes()).sum::<usize>(),
        }
    }

    fn depth(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 0,
            Value::Sequence(items) => 1 + items.iter().map(Tree::depth).max().unwrap_or(0),
            Value::Mapping(entries) => {
                1 + entries.iter().map(|e| e.value.depth()).max().unwrap_or(0)
            }
        }
    }

    /// The line of the field at a path such as `spec.ingress[2].source`, or of the innermost part
    /// of the path that is there.
    pub(crate) fn line_at(&self, path: &str) -> u32 {
        let (mut line, mut tree) = (self.line, self);
        let steps = path
            .split(['.', '['])
            .map(|step| step.trim_end_matches(']'));
        for step in steps.filter(|step| !step.is_empty()) {
            let next = match &tree.value {
                Value::Scalar { .. } => None,
                Value::Sequence(items) => step
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get(index))
                    .map(|t| (t.line, t)),
                Value::Mapping(entries) => entries
                    .iter()
                    .find(|e| &*e.key == step)
                    .map(|e| (e.line, &e.value)),
            };
            let Some(next) = next else { break };
            (line, tree) = next;
        }
        line
    }

    /// The same as JSON, scalars resolved by YAML's core schema; for what is kept verbatim.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Scalar { .. } if self.is_null() => Json::Null,
            Value::Scalar { text, plain } => {
                if *plain {
                    if let Some(value) = boolean(text) {
                        return Json::Bool(value);
                    }
                    if let Ok(value) = text.parse::<i64>() {
                        return Json::from(value);
                    }
                    if let Some(number) = number(text).and_then(serde_json::Number::from_f64) {
                        return Json::Number(number);
                    }
                }
                Json::String(text.to_string())
            }
            Value::Sequence(items) => items.iter().map(Tree::to_json).collect(),
            Value::Mapping(entries) => Json::Object(
                entries
                    .iter()
                    .map(|e| (e.key.to_string(), e.value.to_json()))
                    .collect(),
            ),
        }
    }
}

/// A plain scalar as a boolean.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A plain scalar as a boolean of YAML 1.1, which has more words for them.
pub(crate) fn boolean_of_yaml_1_1(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => boolean(text),
    }
}

/// A plain scalar as a finite number; not `inf`, `nan` or other words Rust would take.
pub(crate) fn number(text: &str) -> Option<f64> {
    let numeric = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse::<f64>()
        .ok()
        .filter(|value| numeric && value.is_finite())
}

/// Where and why a file stopped being YAML we accept.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) line: u32,
    pub(crate) reason: String,
}

/// The documents of a file, up to the first syntax error.
pub(crate) fn documents(text: &str) -> (Vec<Tree>, Option<SyntaxError>) {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => builder.event(event, clamp(span.start.line())),
            Err(error) => Err(SyntaxError {
                line: clamp(error.marker().line()),
                reason: format!("not valid YAML: {}", error.info()),
            }),
        };
        if let Err(error) = step {
            return (builder.documents, Some(error));
        }
    }
    (builder.documents, None)
}

fn clamp(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// A collection being filled.
struct Open {
    line: u32,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Tree>),
    Mapping {
        entries: Vec<Entry>,
        key: Option<(Box<str>, u32)>,
    },
}

#[derive(Default)]
struct Builder {
    documents: Vec<Tree>,
    open: Vec<Open>,
    anchors: HashMap<usize, Tree>,
    aliased: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: u32) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !check_tag(tag.as_deref(), line)?;
                let value = Value::Scalar {
                    text: text.into(),
                    plain,
                };
                self.complete(Tree { line, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), line)?;
                self.begin(line, anchor, OpenKind::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), line)?;
                self.begin(
                    line,
                    anchor,
                    OpenKind::Mapping {
                        entries: Vec::new(),
                        key: None,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { line, anchor, kind }) = self.open.pop() else {
                    return Err(SyntaxError {
                        line,
                        reason: "unbalanced collection".into(),
                    });
                };
                let value = match kind {
                    OpenKind::Sequence(items) => Value::Sequence(items),
                    OpenKind::Mapping { entries, .. } => Value::Mapping(entries),
                };
                self.complete(Tree { line, value }, anchor)
            }
            Event::Alias(anchor) => self.alias(anchor, line),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            // Foreign enum, growing: comments are switched off, and the rest is no node.
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: u32, anchor: usize, kind: OpenKind) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            let reason = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(SyntaxError { line, reason });
        }
        self.open.push(Open { line, anchor, kind });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, line: u32) -> Result<(), SyntaxError> {
        let Some(tree) = self.anchors.get(&anchor) else {
            let reason = "an alias must refer to a finished node before it".to_owned();
            return Err(SyntaxError { line, reason });
        };
        self.aliased += tree.nodes();
        if self.aliased > MAX_ALIASED_NODES {
            let reason = format!("aliases expand to more than {MAX_ALIASED_NODES} nodes");
            return Err(SyntaxError { line, reason });
        }
        if self.open.len() + tree.depth() > MAX_DEPTH {
            let reason = format!("aliases nest deeper than {MAX_DEPTH} levels");
            return Err(SyntaxError { line, reason });
        }
        let tree = tree.clone();
        self.complete(tree, 0)
    }

    /// Puts a finished node where it belongs.
    fn complete(&mut self, tree: Tree, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.anchors.insert(anchor, tree.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(tree);
            return Ok(());
        };
        match &mut open.kind {
            OpenKind::Sequence(items) => items.push(tree),
            OpenKind::Mapping { entries, key } => match key.take() {
                Some((key, line)) => entries.push(Entry {
                    key,
                    line,
                    value: tree,
                }),
                None => match tree.value {
                    Value::Scalar { text, .. } => *key = Some((text, tree.line)),
                    Value::Sequence(_) | Value::Mapping(_) => {
                        let reason = "a key must be a plain word".to_owned();
                        return Err(SyntaxError {
                            line: tree.line,
                            reason,
                        });
                    }
                },
            },
        }
        Ok(())
    }
}

/// Whether the tag makes the scalar a string (`!!str`); unknown tags are refused.
fn check_tag(tag: Option<&Tag>, line: u32) -> Result<bool, SyntaxError> {
    let Some(tag) = tag else { return Ok(false) };
    match (tag.handle(), tag.suffix()) {
        ("tag:yaml.org,2002:", "str") | ("", "!") | ("!", "") => Ok(true),
        ("tag:yaml.org,2002:", "int" | "float" | "bool" | "null" | "map" | "seq") => Ok(false),
        (handle, suffix) => {
            let reason = format!("the YAML tag {handle}{suffix} is not supported");
            Err(SyntaxError { line, reason })
        }
    }
}
