//! Executing a template.

use serde_json::Value;

use super::{Expression, Piece};
use crate::calico::go;

/// Executes a template.
pub(in crate::calico) fn run(pieces: &[Piece], root: &Value) -> Result<String, String> {
    let mut out = String::new();
    execute(pieces, root, root, &mut out)?;
    Ok(out)
}

fn execute(pieces: &[Piece], dot: &Value, root: &Value, out: &mut String) -> Result<(), String> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Print(of) => out.push_str(&go::text(&value(of, dot, root)?)),
            Piece::If(of, yes, no) => {
                let pieces = if truth(&value(of, dot, root)?) {
                    yes
                } else {
                    no
                };
                execute(pieces, dot, root, out)?;
            }
            Piece::With(of, yes, no) => {
                let of = value(of, dot, root)?;
                if truth(&of) {
                    execute(yes, &of, root, out)?;
                } else {
                    execute(no, dot, root, out)?;
                }
            }
            Piece::Range(of, each, none) => match value(of, dot, root)? {
                Value::Array(items) if !items.is_empty() => {
                    for item in &items {
                        execute(each, item, root, out)?;
                    }
                }
                Value::Object(pairs) if !pairs.is_empty() => {
                    for item in pairs.values() {
                        execute(each, item, root, out)?;
                    }
                }
                Value::Array(_) | Value::Object(_) | Value::Null => {
                    execute(none, dot, root, out)?;
                }
                other => return Err(format!("range can't iterate over {}", go::text(&other))),
            },
        }
    }
    Ok(())
}

fn value(of: &Expression, dot: &Value, root: &Value) -> Result<Value, String> {
    match of {
        Expression::Literal(value) => Ok(value.clone()),
        Expression::Field(from_root, path) => {
            let mut at = if *from_root { root } else { dot };
            for name in path {
                at = match at {
                    Value::Object(pairs) => field(pairs, name),
                    Value::Null => &Value::Null,
                    Value::Array(_) => {
                        return Err(format!("can't evaluate field {name} in a list; use range"));
                    }
                    Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                        return Err(format!("can't evaluate field {name} in {}", go::text(at)));
                    }
                };
            }
            Ok(at.clone())
        }
        Expression::Call(name, arguments) => {
            let values = arguments.iter().map(|of| value(of, dot, root));
            call(name, &values.collect::<Result<Vec<_>, _>>()?)
        }
    }
}

/// In the resource's spelling, or in Go's: `.ObjectMeta.Name`, `.Spec.CIDR`.
fn field<'a>(pairs: &'a serde_json::Map<String, Value>, name: &str) -> &'a Value {
    let name = if name == "ObjectMeta" || name == "ListMeta" {
        "metadata"
    } else {
        name
    };
    let found = pairs.get(name).or_else(|| {
        pairs
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|it| it.1)
    });
    found.unwrap_or(&Value::Null)
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(pairs) => !pairs.is_empty(),
    }
}

fn call(name: &str, values: &[Value]) -> Result<Value, String> {
    let wrong = || Err(format!("wrong arguments for {name}"));
    let texts = || values.iter().map(go::text).collect::<Vec<_>>();
    Ok(match (name, values) {
        ("not", [of]) => (!truth(of)).into(),
        ("and", [first, ..]) => values
            .iter()
            .find(|it| !truth(it))
            .unwrap_or(values.last().unwrap_or(first))
            .clone(),
        ("or", [first, ..]) => values
            .iter()
            .find(|it| truth(it))
            .unwrap_or(values.last().unwrap_or(first))
            .clone(),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => rest
            .iter()
            .any(|other| go::text(first) == go::text(other))
            .into(),
        ("ne", [first, second]) => (go::text(first) != go::text(second)).into(),
        ("len", [Value::Array(items)]) => items.len().into(),
        ("len", [Value::Object(pairs)]) => pairs.len().into(),
        ("len", [Value::String(text)]) => text.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("index", [of, keys @ ..]) => {
            let mut at = of;
            for key in keys {
                at = match (at, key) {
                    (Value::Object(pairs), Value::String(key)) => {
                        pairs.get(key).unwrap_or(&Value::Null)
                    }
                    (Value::Array(items), Value::Number(number)) => number
                        .as_u64()
                        .and_then(|index| items.get(usize::try_from(index).ok()?))
                        .ok_or_else(|| format!("index out of range: {number}"))?,
                    (Value::Null, _) => &Value::Null,
                    _ => return wrong(),
                };
            }
            at.clone()
        }
        ("join", [Value::Array(items), Value::String(between)]) => {
            let items: Vec<String> = items.iter().map(go::text).collect();
            items.join(between).into()
        }
        ("join", [Value::Null, _]) => "".into(),
        ("print", _) => texts().concat().into(),
        ("println", _) => format!("{}\n", texts().join(" ")).into(),
        ("printf", [Value::String(format), rest @ ..]) => printf(format, rest)?.into(),
        _ => return wrong(),
    })
}

fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('s' | 'v' | 'd') => match values.next() {
                Some(value) => out.push_str(&go::text(value)),
                None => return Err("printf has too few values".to_owned()),
            },
            Some('q') => match values.next() {
                Some(value) => out.push_str(&format!("{:?}", go::text(value))),
                None => return Err("printf has too few values".to_owned()),
            },
            other => {
                let verb = other.map(String::from).unwrap_or_default();
                return Err(format!("printf: %{verb} is not supported"));
            }
        }
    }
    Ok(out)
}
