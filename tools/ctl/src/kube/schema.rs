//! Which fields the messages of Kubernetes' API have, read from `schema.txt` once.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Integer,
    Boolean,
    Bytes,
    /// Seconds and nanoseconds; printed as RFC 3339 to the second.
    Time,
    /// A message of one string, printed as that string.
    Quantity,
    /// A number or a name of a port.
    Port,
    /// A message of one field of JSON text.
    Json,
    Message(&'static str),
}

/// How often a field may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    Map,
    /// Fields stand in the enclosing object.
    Inline,
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Type,
    pub(crate) shape: Shape,
    /// Shown although it is zero.
    pub(crate) zero: bool,
}

/// The fields of a message by number.
pub(crate) type Message = BTreeMap<u32, Field>;

/// The message of that name.
pub(crate) fn message(name: &str) -> Option<&'static Message> {
    static SCHEMA: OnceLock<HashMap<&str, Message>> = OnceLock::new();
    SCHEMA
        .get_or_init(|| read(include_str!("schema.txt")).unwrap_or_default())
        .get(name)
}

/// Reads the text; `None` when a line is malformed, which a test rules out.
fn read(text: &'static str) -> Option<HashMap<&'static str, Message>> {
    let mut schema: HashMap<&str, Message> = HashMap::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields = if line.starts_with(' ') {
            line
        } else {
            let (name, fields) = line.split_once(':')?;
            current = name;
            fields
        };
        let message = schema.entry(current).or_default();
        for field in fields.split_whitespace() {
            let (number, rest) = field.split_once('=')?;
            let (name, kind) = rest.split_once(':')?;
            message.insert(number.parse().ok()?, read_field(name, kind)?);
        }
    }
    Some(schema)
}

fn read_field(name: &'static str, text: &'static str) -> Option<Field> {
    let inside = |open, close| {
        text.strip_prefix(open)
            .and_then(|text| text.strip_suffix(close))
    };
    let (shape, bare) = if name == "-" {
        (Shape::Inline, text)
    } else if let Some(bare) = inside('[', ']') {
        (Shape::List, bare)
    } else if let Some(bare) = inside('{', '}') {
        (Shape::Map, bare)
    } else {
        (Shape::One, text)
    };
    let kind = bare.trim_end_matches(['!', '?']);
    Some(Field {
        name,
        shape,
        zero: kind != bare,
        kind: match kind {
            "s" => Type::String,
            "i" => Type::Integer,
            "o" => Type::Boolean,
            "b" => Type::Bytes,
            "@time" => Type::Time,
            "@quantity" => Type::Quantity,
            "@port" => Type::Port,
            "@json" => Type::Json,
            message if message.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                Type::Message(message)
            }
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_there() {
        let schema = read(include_str!("schema.txt")).unwrap();
        assert!(schema.len() > 150);
        for (name, message) in &schema {
            assert!(!message.is_empty(), "{name}");
            for field in message.values() {
                if let Type::Message(of) = field.kind {
                    assert!(schema.contains_key(of), "{name}.{}: {of}", field.name);
                }
            }
        }
    }
}
