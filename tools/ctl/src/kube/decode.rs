//! From a message of Kubernetes' API to the JSON that its API server shows.

use serde_json::{Map, Number, Value};

use super::schema::{self, Field, Message, Shape, Type};
use super::wire::{self, Fields, WireError};

/// Messages deeper than this are refused; Kubernetes' own have some fifteen levels.
const DEEPEST: usize = 64;

/// Why a message has no JSON form, and at which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Such as `spec.containers[0].image`; empty for the message itself.
    pub(crate) path: String,
    pub(crate) reason: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) object: Map<String, Value>,
    /// Fields that a newer Kubernetes wrote and this schema does not know.
    pub(crate) unknown: usize,
}

/// Decodes `bytes` as the message called `name`.
pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Option<Decoded>, Fault> {
    let Some(message) = schema::message(name) else {
        return Ok(None);
    };
    let mut decoder = Decoder {
        path: Vec::new(),
        unknown: 0,
    };
    let mut object = Map::new();
    decoder.message(message, bytes, &mut object)?;
    Ok(Some(Decoded {
        object,
        unknown: decoder.unknown,
    }))
}

struct Decoder {
    path: Vec<String>,
    unknown: usize,
}

impl Decoder {
    fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault {
            path: self.path.join("."),
            reason: reason.into(),
        }
    }

    fn wire(&self) -> impl Fn(WireError) -> Fault {
        let path = self.path.join(".");
        move |error| Fault {
            path: path.clone(),
            reason: error.to_string(),
        }
    }

    /// Adds the fields of `bytes` to `object`.
    fn message(
        &mut self,
        message: &Message,
        bytes: &[u8],
        object: &mut Map<String, Value>,
    ) -> Result<(), Fault> {
        if self.path.len() > DEEPEST {
            return Err(self.fault("damaged: nested too deep"));
        }
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next().map_err(self.wire())? {
            let Some(field) = message.get(&number) else {
                self.unknown += 1;
                continue;
            };
            match field.shape {
                Shape::Inline => {
                    self.path.push("(inline)".to_owned());
                    self.inline(field, value, object)?;
                    self.path.pop();
                }
                Shape::One => {
                    self.path.push(field.name.to_owned());
                    if let Some(value) = self.value(field, value)? {
                        object.insert(field.name.to_owned(), value);
                    }
                    self.path.pop();
                }
                Shape::List => self.element(field, value, object)?,
                Shape::Map => {
                    self.path.push(field.name.to_owned());
                    let (key, value) = self.entry(field, value)?;
                    if let Value::Object(map) = object
                        .entry(field.name)
                        .or_insert_with(|| Value::Object(Map::new()))
                    {
                        map.insert(key, value);
                    }
                    self.path.pop();
                }
            }
        }
        Ok(())
    }

    fn inline(
        &mut self,
        field: &Field,
        value: wire::Value<'_>,
        object: &mut Map<String, Value>,
    ) -> Result<(), Fault> {
        let bytes = self.bytes(value)?;
        match field.kind {
            Type::Message(name) => {
                let message = schema::message(name).expect("a test finds every message");
                self.message(message, bytes, object)
            }
            Type::String
            | Type::Integer
            | Type::Boolean
            | Type::Bytes
            | Type::Time
            | Type::Quantity
            | Type::Port
            | Type::Json => Ok(()),
        }
    }

    fn element(
        &mut self,
        field: &Field,
        value: wire::Value<'_>,
        object: &mut Map<String, Value>,
    ) -> Result<(), Fault> {
        let list = object
            .entry(field.name)
            .or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(list) = list else {
            return Ok(());
        };
        self.path.push(format!("{}[{}]", field.name, list.len()));
        let always = Field {
            zero: true,
            ..*field
        };
        // Numbers may come one by one or packed together.
        if let (Type::Integer, wire::Value::Bytes(packed)) = (field.kind, value) {
            let mut numbers = Fields::new(packed);
            while let Some(number) = numbers.packed().map_err(self.wire())? {
                list.push(Value::Number(number.cast_signed().into()));
            }
        } else if let Some(value) = self.value(&always, value)? {
            list.push(value);
        }
        self.path.pop();
        Ok(())
    }

    fn entry(&mut self, field: &Field, value: wire::Value<'_>) -> Result<(String, Value), Fault> {
        let mut fields = Fields::new(self.bytes(value)?);
        let (mut key, mut of) = (String::new(), None);
        while let Some((number, value)) = fields.next().map_err(self.wire())? {
            match number {
                1 => key = self.string(value)?,
                2 => of = Some(value),
                _ => self.unknown += 1,
            }
        }
        let always = Field {
            zero: true,
            ..*field
        };
        let empty = wire::Value::Bytes(&[]);
        let value = self.value(&always, of.unwrap_or(empty))?;
        Ok((key, value.unwrap_or_default()))
    }

    /// The JSON of one value; `None` when it is left out for being zero.
    fn value(&mut self, field: &Field, value: wire::Value<'_>) -> Result<Option<Value>, Fault> {
        let shown = |value, is_zero: bool| (field.zero || !is_zero).then_some(value);
        Ok(match field.kind {
            Type::String => {
                let text = self.string(value)?;
                let empty = text.is_empty();
                shown(Value::String(text), empty)
            }
            Type::Integer => {
                let number = self.number(value)?;
                shown(Value::Number(number.into()), number == 0)
            }
            Type::Boolean => {
                let value = self.number(value)? != 0;
                shown(Value::Bool(value), !value)
            }
            Type::Bytes => {
                let bytes = self.bytes(value)?;
                shown(Value::String(base64(bytes)), bytes.is_empty())
            }
            Type::Time => Some(self.time(value)?),
            Type::Quantity => Some(Value::String(self.single(value)?)),
            Type::Port => Some(self.port(value)?),
            Type::Json => {
                let text = self.single(value)?;
                Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))
            }
            Type::Message(name) => {
                let bytes = self.bytes(value)?;
                let message = schema::message(name).expect("a test finds every message");
                let mut object = Map::new();
                self.message(message, bytes, &mut object)?;
                Some(Value::Object(object))
            }
        })
    }

    fn bytes<'a>(&self, value: wire::Value<'a>) -> Result<&'a [u8], Fault> {
        match value {
            wire::Value::Bytes(bytes) => Ok(bytes),
            other
            @ (wire::Value::Varint(_) | wire::Value::Fixed32(_) | wire::Value::Fixed64(_)) => {
                Err(self.fault(format!("damaged: {} where a string belongs", other.name())))
            }
        }
    }

    fn string(&self, value: wire::Value<'_>) -> Result<String, Fault> {
        let bytes = self.bytes(value)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.fault("damaged: not UTF-8")),
        }
    }

    fn number(&self, value: wire::Value<'_>) -> Result<i64, Fault> {
        match value {
            wire::Value::Varint(number) => Ok(number.cast_signed()),
            other @ (wire::Value::Bytes(_) | wire::Value::Fixed32(_) | wire::Value::Fixed64(_)) => {
                Err(self.fault(format!("damaged: {} where a number belongs", other.name())))
            }
        }
    }

    /// The string in field 1 of a message.
    fn single(&mut self, value: wire::Value<'_>) -> Result<String, Fault> {
        let mut fields = Fields::new(self.bytes(value)?);
        let mut text = String::new();
        while let Some((number, value)) = fields.next().map_err(self.wire())? {
            match number {
                1 => text = self.string(value)?,
                _ => self.unknown += 1,
            }
        }
        Ok(text)
    }

    /// A number or a name: type 0 or 1, number, name.
    fn port(&mut self, value: wire::Value<'_>) -> Result<Value, Fault> {
        let mut fields = Fields::new(self.bytes(value)?);
        let (mut named, mut number, mut name) = (false, 0, String::new());
        while let Some((field, value)) = fields.next().map_err(self.wire())? {
            match field {
                1 => named = self.number(value)? == 1,
                2 => number = self.number(value)?,
                3 => name = self.string(value)?,
                _ => self.unknown += 1,
            }
        }
        Ok(if named {
            Value::String(name)
        } else {
            Value::Number(Number::from(number))
        })
    }

    /// Go's zero time is an empty message and `null` in JSON.
    fn time(&mut self, value: wire::Value<'_>) -> Result<Value, Fault> {
        let bytes = self.bytes(value)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let mut fields = Fields::new(bytes);
        let mut seconds = 0;
        while let Some((field, value)) = fields.next().map_err(self.wire())? {
            match field {
                1 => seconds = self.number(value)?,
                // Kubernetes prints whole seconds.
                2 => {}
                _ => self.unknown += 1,
            }
        }
        match crate::moment::rfc3339(seconds) {
            Some(text) => Ok(Value::String(text)),
            None => Err(self.fault(format!("damaged: {seconds} is no time"))),
        }
    }
}

/// RFC 4648 with padding, as Go's JSON has bytes.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= chunk.len() {
                let index = (group >> (18 - 6 * place)) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_in_base64() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for name in ["Pod", "Node", "EndpointSlice", "NetworkPolicy", "ObjectMeta"] {
                let _ = decode(name, &bytes);
            }
        }
    }
}
