//! Values of BGP's kinds as they are written: communities, AS numbers, durations, secrets' names.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A community: standard `a:b`, or large `a:b:c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// Two halves of 16 bits.
    Standard(u16, u16),
    /// Three parts of 32 bits.
    Large(u32, u32, u32),
}

impl FromStr for Community {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Community, &'static str> {
        const NARROW: &str = "invalid community value, expected 16 bit value";
        const WIDE: &str = "invalid community value, expected 32 bit value";
        let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let parts: Vec<&str> = text.split(':').collect();
        let all = parts.iter().all(digits);
        match parts[..] {
            [a, b] if all => {
                let half = |text: &str| text.parse().map_err(|_| NARROW);
                Ok(Community::Standard(half(a)?, half(b)?))
            }
            [a, b, c] if all => {
                let part = |text: &str| text.parse().map_err(|_| WIDE);
                Ok(Community::Large(part(a)?, part(b)?, part(c)?))
            }
            _ => Err("invalid community value or format used."),
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Community::Standard(a, b) => write!(f, "{a}:{b}"),
            Community::Large(a, b, c) => write!(f, "{a}:{b}:{c}"),
        }
    }
}

impl<'de> Deserialize<'de> for Community {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Community, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An AS number as a number, or as a text that may be dotted.
pub(super) fn as_number(text: &str) -> Option<u32> {
    match text.split_once('.') {
        Some((high, low)) => {
            let half = |text: &str| text.parse::<u16>().ok().map(u32::from);
            Some(half(high)? << 16 | half(low)?)
        }
        None => text.parse().ok(),
    }
}

fn as_number_value(value: &Value) -> Result<u32, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    as_number(&text).ok_or_else(|| format!("{text} is no AS number"))
}

/// Zero is as good as none.
pub(super) fn optional_as<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let number = as_number_value(&Value::deserialize(from)?).map_err(serde::de::Error::custom)?;
    Ok((number != 0).then_some(number))
}

pub(super) fn as_numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    let values = Vec::<Value>::deserialize(from)?;
    let numbers: Result<Vec<u32>, String> = values.iter().map(as_number_value).collect();
    numbers.map_err(serde::de::Error::custom)
}

/// Whatever scalar, as text: a name may look like a number.
pub(super) fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match Value::deserialize(from)? {
        Value::String(text) => Ok(text),
        other @ (Value::Number(_) | Value::Bool(_)) => Ok(other.to_string()),
        other => Err(serde::de::Error::custom(format!("{other} is no text"))),
    }
}

pub(super) fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Word(#[serde(deserialize_with = "word")] String);
    Ok(Vec::<Word>::deserialize(from)?
        .into_iter()
        .map(|word| word.0)
        .collect())
}

/// A text; an empty one is as good as none.
pub(super) fn optional_word<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<String>, D::Error> {
    Ok(Some(word(from)?).filter(|text| !text.is_empty()))
}

/// Go's durations: `120s`, `1h30m`.
pub(super) fn optional_duration<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    let text = word(from)?;
    match duration(&text) {
        Some(duration) => Ok(Some(duration)),
        None => Err(serde::de::Error::custom(format!("{text} is no duration"))),
    }
}

/// Numbers with units, whatever their order; `0` needs none.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let unit = rest[number..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| number + at);
        let scale = match &rest[number..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += rest[..number].parse::<f64>().ok()? * scale;
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretReference {
    /// Of which Secret, in the agent's own namespace.
    pub secret_key_ref: Option<SecretKey>,
}

/// A Secret's name and one of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub struct SecretKey {
    /// The Secret.
    #[serde(deserialize_with = "word")]
    pub name: String,
    /// The key in it.
    #[serde(deserialize_with = "word")]
    pub key: String,
}
