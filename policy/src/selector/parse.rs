//! Recursive descent over the text of a selector. Whitespace is space and tab, as in Calico.

use super::{Expr, LabelKey, SelectorError, Value};

/// Parentheses deeper than this are refused, so that no text can exhaust the stack.
const MAX_DEPTH: usize = 64;

/// Longest label name a selector may use, as in Calico's tokenizer.
const MAX_LABEL: usize = 512;

pub(super) fn parse(text: &str) -> Result<Expr, SelectorError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    parser.skip_space();
    if parser.at_end() {
        return Ok(Expr::All);
    }
    let expr = parser.or()?;
    if parser.at_end() {
        Ok(expr)
    } else {
        Err(parser.fail("an operator or the end was expected"))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn at_end(&self) -> bool {
        self.rest().is_empty()
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    /// Consumes `token` and the space behind it, if it is what comes next.
    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
            self.skip_space();
        }
        found
    }

    fn fail(&self, reason: &str) -> SelectorError {
        SelectorError {
            position: self.at,
            reason: reason.into(),
        }
    }

    fn or(&mut self) -> Result<Expr, SelectorError> {
        let mut operands = vec![self.and()?];
        while self.eat("||") {
            operands.push(self.and()?);
        }
        Ok(single_or(operands, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, SelectorError> {
        let mut operands = vec![self.operation()?];
        while self.eat("&&") {
            operands.push(self.operation()?);
        }
        Ok(single_or(operands, Expr::And))
    }

    fn operation(&mut self) -> Result<Expr, SelectorError> {
        let mut negated = false;
        while self.eat("!") {
            negated = !negated;
        }
        let operand = self.operand()?;
        Ok(if negated {
            Expr::Not(Box::new(operand))
        } else {
            operand
        })
    }

    fn operand(&mut self) -> Result<Expr, SelectorError> {
        if self.eat("(") {
            if self.depth == MAX_DEPTH {
                return Err(self.fail("more than 64 nested parentheses"));
            }
            self.depth += 1;
            let inner = self.or()?;
            self.depth -= 1;
            self.close()?;
            return Ok(inner);
        }
        if self.eat("has(") {
            let key = self.label()?;
            self.close()?;
            return Ok(Expr::Has(key));
        }
        if self.eat("all(") {
            self.close()?;
            return Ok(Expr::All);
        }
        if self.eat("global(") {
            self.close()?;
            return Ok(Expr::Global);
        }
        let key = self.label()?;
        self.comparison(key)
    }

    fn comparison(&mut self, key: LabelKey) -> Result<Expr, SelectorError> {
        if self.eat("==") {
            return Ok(Expr::Equal(key, self.value()?));
        }
        if self.eat("!=") {
            return Ok(Expr::NotEqual(key, self.value()?));
        }
        if self.eat("contains") {
            return Ok(Expr::Contains(key, self.value()?));
        }
        if self.eat("starts") && self.eat("with") {
            return Ok(Expr::StartsWith(key, self.value()?));
        }
        if self.eat("ends") && self.eat("with") {
            return Ok(Expr::EndsWith(key, self.value()?));
        }
        if self.eat("not") && self.eat("in") {
            return Ok(Expr::NotIn(key, self.set()?));
        }
        if self.eat("in") {
            return Ok(Expr::In(key, self.set()?));
        }
        Err(self.fail(
            "==, !=, in, not in, contains, starts with or ends with was expected after a label",
        ))
    }

    fn close(&mut self) -> Result<(), SelectorError> {
        if self.eat(")") {
            Ok(())
        } else {
            Err(self.fail("a closing ')' was expected"))
        }
    }

    fn label(&mut self) -> Result<LabelKey, SelectorError> {
        let rest = self.rest();
        let len = rest.find(|c| !LabelKey::is_legal(c)).unwrap_or(rest.len());
        if len == 0 {
            return Err(self.fail("a label, has(…), all(), global() or '(' was expected"));
        }
        if len > MAX_LABEL {
            return Err(self.fail("a label has at most 512 characters"));
        }
        let key = LabelKey::new(&rest[..len])
            .map_err(|_| self.fail("a label is made of [a-zA-Z0-9_./-]"))?;
        self.at += len;
        self.skip_space();
        Ok(key)
    }

    fn value(&mut self) -> Result<Value, SelectorError> {
        let quote = match self.rest().as_bytes().first() {
            Some(b'"') => '"',
            Some(b'\'') => '\'',
            _ => return Err(self.fail("a quoted value was expected")),
        };
        let inner = &self.rest()[1..];
        let end = inner
            .find(quote)
            .ok_or_else(|| self.fail("the value's quote is never closed"))?;
        let value = Value::new(&inner[..end])
            .ok_or_else(|| self.fail("a value cannot hold both kinds of quotes"))?;
        self.at += end + 2;
        self.skip_space();
        Ok(value)
    }

    fn set(&mut self) -> Result<Vec<Value>, SelectorError> {
        if !self.eat("{") {
            return Err(self.fail("a set in braces was expected"));
        }
        let mut values = Vec::new();
        while self.rest().starts_with(['"', '\'']) {
            values.push(self.value()?);
            if !self.eat(",") {
                break;
            }
        }
        if !self.eat("}") {
            return Err(self.fail("a closing '}' was expected"));
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

fn single_or(mut operands: Vec<Expr>, many: fn(Vec<Expr>) -> Expr) -> Expr {
    match operands.len() {
        1 => operands.remove(0),
        _ => many(operands),
    }
}
