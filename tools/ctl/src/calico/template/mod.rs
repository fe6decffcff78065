//! The part of Go's `text/template` that people use with `-o go-template`.
//!
//! Fields (`.Spec.CIDR`, in Go's spelling or the resource's), `range`, `if`, `else`, `with`,
//! `end`, literals, `index`, `len`, `join`, `eq`, `ne`, `not`, `and`, `or`, `print`, `println`,
//! `printf` with `%s`, `%v`, `%d`, and `{{-` `-}}`. Everything else is refused by name.

mod run;

use serde_json::Value;

pub(super) use run::run;

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
