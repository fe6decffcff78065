//! Reading JSON as Go's plugins do: keys without regard to case, with errors that name the key.

use serde_json::{Map, Value};

use crate::error::CniError;

/// An object and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// The whole config.
    pub(crate) fn root(map: &'a Map<String, Value>) -> Fields<'a> {
        Fields {
            map: Some(map),
            path: "",
        }
    }

    /// An object at a path.
    pub(crate) fn at(map: &'a Map<String, Value>, path: &'a str) -> Fields<'a> {
        Fields {
            map: Some(map),
            path,
        }
    }

    fn name(&self, key: &str) -> String {
        match self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// The value of a key; `null` is as good as none.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        let map = self.map?;
        let of_any_case = || map.iter().find(|(it, _)| it.eq_ignore_ascii_case(key));
        let found = map.get(key).or_else(|| of_any_case().map(|(_, it)| it));
        found.filter(|it| !it.is_null())
    }

    /// An error about a key.
    pub(crate) fn error(&self, key: &str, wanted: &str) -> CniError {
        let name = self.name(key);
        match self.value(key) {
            Some(value) => CniError::config(format!("{name}: {value} must be {wanted}")),
            None => CniError::config(format!("{name}: must be {wanted}")),
        }
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, CniError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, "a string")),
        }
    }

    /// A Boolean, or a text that says one.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, CniError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(_) => Err(self.error(key, "true or false")),
        }
    }

    /// A whole number, or a text that is one.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, CniError> {
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        number
            .map(Some)
            .ok_or_else(|| self.error(key, "a whole number"))
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&'a str>, CniError> {
        let wanted = "a list of strings";
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|it| it.as_str());
                texts
                    .collect::<Option<_>>()
                    .ok_or_else(|| self.error(key, wanted))
            }
            Some(_) => Err(self.error(key, wanted)),
        }
    }

    /// An object; an empty one where there is none.
    pub(crate) fn fields(&self, key: &'a str) -> Result<Fields<'a>, CniError> {
        match self.value(key) {
            None => Ok(Fields {
                map: None,
                path: key,
            }),
            Some(Value::Object(map)) => Ok(Fields {
                map: Some(map),
                path: key,
            }),
            Some(_) => Err(self.error(key, "an object")),
        }
    }
}
