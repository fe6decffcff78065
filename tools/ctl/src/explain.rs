//! Results whose shape is not ours: printed as they come, in the order they come.

use std::fmt;
use std::io::Write;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::failure::{Failure, nonsense};
use crate::output::Output;

/// Prints JSON as an indented outline (which is YAML) for people.
pub(crate) fn print<W: Write>(out: &mut Output<W>, json: &RawValue) -> Result<(), Failure> {
    let outline = parse(json)?;
    if out.is_table() {
        out.yaml(&outline)
    } else {
        out.structured(&outline).map(|_| ())
    }
}

/// Prints JSON as JSON, unless YAML is wanted.
pub(crate) fn print_raw<W: Write>(out: &mut Output<W>, json: &RawValue) -> Result<(), Failure> {
    let outline = parse(json)?;
    if out.is_table() {
        out.json(&outline)
    } else {
        out.structured(&outline).map(|_| ())
    }
}

fn parse(json: &RawValue) -> Result<Outline, Failure> {
    serde_json::from_str(json.get()).map_err(|e| nonsense(&e.to_string()))
}

/// Any JSON value that keeps the order of its members.
#[derive(Debug, PartialEq)]
pub(crate) enum Outline {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Outline>),
    Members(Vec<(String, Outline)>),
}

impl Serialize for Outline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                for item in list {
                    sequence.serialize_element(item)?;
                }
                sequence.end()
            }
            Self::Members(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Outline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Outline, E> {
                Ok(Outline::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Outline, E> {
                Ok(Outline::Bool(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Outline, E> {
                Ok(Outline::Unsigned(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Outline, E> {
                Ok(Outline::Signed(value))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Outline, E> {
                Ok(Outline::Float(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Outline, E> {
                Ok(Outline::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Outline, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Outline::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Outline::Members(members))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_values_are_kept() {
        let text = r#"{"z":[1,-2,0.5,null,true],"a":{"y":"x\n","b":[]}}"#;
        let outline: Outline = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&outline).unwrap(), text);
    }
}
