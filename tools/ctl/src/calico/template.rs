//! The part of Go's `text/template` that people use with `-o go-template`.
//!
//! Fields (`.Spec.CIDR`, in Go's spelling or the resource's), `range`, `if`, `else`, `with`,
//! `end`, literals, `index`, `len`, `join`, `eq`, `ne`, `not`, `and`, `or`, `print`, `println`,
//! `printf` with `%s`, `%v`, `%d`, and `{{-` `-}}`. Everything else is refused by name.

use serde_json::Value;

use super::go;

/// Blocks inside blocks, at most.
const DEEPEST: usize = 32;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Print(Expression),
    If(Expression, Vec<Piece>, Vec<Piece>),
    Range(Expression, Vec<Piece>, Vec<Piece>),
    With(Expression, Vec<Piece>, Vec<Piece>),
}

/// What has a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// From `.`, or from `$` when the first is true.
    Field(bool, Vec<String>),
    Literal(Value),
    Call(String, Vec<Expression>),
}

const FUNCTIONS: &[&str] = &[
    "index", "len", "join", "eq", "ne", "not", "and", "or", "print", "println", "printf",
];

/// Text and actions in turns.
enum Token {
    Text(String),
    Action(String),
}

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Vec<Piece>, String> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let (pieces, end) = block(&mut tokens, 0)?;
    match end {
        Ended::Over => Ok(pieces),
        Ended::ByElse(_) => Err("unexpected {{else}}".to_owned()),
        Ended::ByEnd => Err("unexpected {{end}}".to_owned()),
    }
}

fn tokens(mut text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut trim = false;
    while let Some(open) = text.find("{{") {
        let (mut before, rest) = (&text[..open], &text[open + 2..]);
        let close = closing(rest).ok_or("unclosed action")?;
        let (mut action, after) = (&rest[..close], &rest[close + 2..]);
        if trim {
            before = before.trim_start();
        }
        if let Some(inner) = action.strip_prefix("- ") {
            action = inner;
            before = before.trim_end();
        }
        trim = false;
        if let Some(inner) = action.strip_suffix(" -") {
            action = inner;
            trim = true;
        }
        tokens.push(Token::Text(before.to_owned()));
        tokens.push(Token::Action(action.trim().to_owned()));
        text = after;
    }
    let rest = if trim { text.trim_start() } else { text };
    tokens.push(Token::Text(rest.to_owned()));
    Ok(tokens)
}

/// Where `}}` is, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[index..].starts_with("}}") => return Some(index),
            None => {}
        }
    }
    None
}

/// How a block ended.
enum Ended {
    Over,
    /// With the rest of an `else if`.
    ByElse(String),
    ByEnd,
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

fn block(tokens: &mut Tokens, depth: usize) -> Result<(Vec<Piece>, Ended), String> {
    if depth > DEEPEST {
        return Err("nested too deep".to_owned());
    }
    let mut pieces = Vec::new();
    while let Some(token) = tokens.next() {
        let action = match token {
            Token::Text(text) => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(text));
                }
                continue;
            }
            Token::Action(action) => action,
        };
        let (word, rest) = action
            .split_once(char::is_whitespace)
            .unwrap_or((action.as_str(), ""));
        match word {
            "end" => return Ok((pieces, Ended::ByEnd)),
            "else" => return Ok((pieces, Ended::ByElse(rest.trim().to_owned()))),
            "if" | "range" | "with" => pieces.push(branch(word, rest, tokens, depth)?),
            "template" | "define" | "block" | "break" | "continue" => {
                return Err(format!("{{{{{word}}}}} is not supported"));
            }
            _ if action.starts_with("/*") => {}
            _ => pieces.push(Piece::Print(expression(&action)?)),
        }
    }
    Ok((pieces, Ended::Over))
}

fn branch(word: &str, of: &str, tokens: &mut Tokens, depth: usize) -> Result<Piece, String> {
    let of = expression(of)?;
    let (yes, end) = block(tokens, depth + 1)?;
    let no = match end {
        Ended::Over => return Err(format!("{{{{{word}}}}} has no {{{{end}}}}")),
        Ended::ByEnd => Vec::new(),
        Ended::ByElse(rest) if rest.is_empty() => match block(tokens, depth + 1)? {
            (no, Ended::ByEnd) => no,
            (_, Ended::Over | Ended::ByElse(_)) => {
                return Err("{{else}} has no {{end}}".to_owned());
            }
        },
        Ended::ByElse(rest) => match rest.split_once(char::is_whitespace) {
            // What follows has its {{end}} for both.
            Some((next @ ("if" | "with"), of)) => vec![branch(next, of, tokens, depth + 1)?],
            _ => return Err(format!("unexpected {rest:?} after else")),
        },
    };
    Ok(match word {
        "if" => Piece::If(of, yes, no),
        "range" => Piece::Range(of, yes, no),
        _ => Piece::With(of, yes, no),
    })
}

fn expression(text: &str) -> Result<Expression, String> {
    let mut words = words(text)?;
    if words.is_empty() {
        return Err("missing value".to_owned());
    }
    let first = words.remove(0);
    if FUNCTIONS.contains(&first.as_str()) {
        let arguments = words
            .iter()
            .map(|word| operand(word))
            .collect::<Result<_, _>>()?;
        return Ok(Expression::Call(first, arguments));
    }
    if words.is_empty() {
        return operand(&first);
    }
    Err(format!("function {first:?} is not supported"))
}

/// Words between blanks; quotes and parentheses hold them together.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut escaped, mut depth) = (None, false, 0_usize);
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if c == '(' => depth += 1,
            None if c == ')' => depth = depth.checked_sub(1).ok_or("unexpected )")?,
            None if c == '|' && depth == 0 => {
                return Err(format!("pipelines are not supported: {text:?}"));
            }
            None if c.is_whitespace() && depth == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None => {}
        }
        word.push(c);
    }
    if quote.is_some() || depth > 0 {
        return Err(format!("unterminated quote or parenthesis in {text:?}"));
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

fn operand(text: &str) -> Result<Expression, String> {
    let path = |root, rest: &str| {
        let parts = rest.split('.').filter(|part| !part.is_empty());
        Expression::Field(root, parts.map(str::to_owned).collect())
    };
    if let Some(inner) = text.strip_prefix('(').and_then(|it| it.strip_suffix(')')) {
        return expression(inner);
    }
    if let Some(rest) = text.strip_prefix('.') {
        return Ok(path(false, rest));
    }
    if text == "$" || text.starts_with("$.") {
        return Ok(path(true, &text[1..]));
    }
    if text.starts_with('$') {
        return Err(format!("variables are not supported: {text}"));
    }
    if let Some(raw) = text.strip_prefix('`').and_then(|it| it.strip_suffix('`')) {
        return Ok(Expression::Literal(raw.into()));
    }
    match serde_json::from_str(text) {
        Ok(value) => Ok(Expression::Literal(value)),
        Err(_) if text == "nil" => Ok(Expression::Literal(Value::Null)),
        Err(_) => Err(format!("function {text:?} is not supported")),
    }
}

/// Executes a template.
pub(super) fn run(pieces: &[Piece], root: &Value) -> Result<String, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn shown(text: &str) -> Result<String, String> {
        let root = json!([{"items": [
            {"metadata": {"name": "a", "labels": {"x/y": "1"}}, "spec": {"cidr": "10.0.0.0/8", "nets": ["n", "m"]}},
            {"metadata": {"name": "b"}, "spec": {"cidr": "fd00::/8", "natOutgoing": true, "order": 1e6}},
        ]}]);
        run(&parse(text)?, &root)
    }

    #[test]
    fn what_people_write() {
        for (inner, expected) in [
            ("{{.ObjectMeta.Name}},", "a,b,"),
            (
                "{{.metadata.name}} {{.Spec.CIDR}}\n",
                "a 10.0.0.0/8\nb fd00::/8\n",
            ),
            ("{{if .Spec.NATOutgoing}}yes{{else}}no{{end}} ", "no yes "),
            (
                "{{if eq .metadata.name \"a\"}}1{{else if .spec.order}}{{.spec.order}}{{end}}",
                "11e+06",
            ),
            (
                "{{range .Spec.Nets}}<{{.}}>{{else}}none{{end}}",
                "<n><m>none",
            ),
            ("{{join .Spec.Nets \",\"}};", "n,m;;"),
            ("{{index .metadata.labels \"x/y\"}}.", "1.."),
            ("{{len .Spec.Nets}}", "20"),
            ("{{with .metadata.labels}}{{len .}}{{end}}", "1"),
            ("  {{- .metadata.name -}}  ", "ab"),
            (
                "{{printf \"%s=%v%%\" .metadata.name (len .Spec.Nets)}} ",
                "a=2% b=0% ",
            ),
            ("{{\"}}\"}}{{/* nothing */}}", "}}}}"),
            (
                "{{if and .metadata.labels (not .Spec.NATOutgoing)}}x{{end}}",
                "x",
            ),
        ] {
            let text = format!("{{{{range .}}}}{{{{range .Items}}}}{inner}{{{{end}}}}{{{{end}}}}");
            assert_eq!(shown(&text).as_deref(), Ok(expected), "{inner}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        for text in [
            "{{",
            "{{range .}}",
            "{{end}}",
            "{{else}}",
            "{{$x := .a}}",
            "{{.a | len}}",
            "{{template \"x\"}}",
            "{{html .}}",
            "{{index . 7}}",
            "{{.items}}",
            "{{}}",
            "{{\"a}}",
            "{{printf \"%x\" 1}}",
            "{{(len .}}",
            "{{if .}}{{else}}{{else}}{{end}}",
        ] {
            assert!(shown(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_is_refused(text in "[a-z{}().$\"` |%-]{0,60}") {
            let _ = shown(&text);
            let _ = shown(&format!("{{{{{text}}}}}"));
        }
    }
}
