//! A value of Kubernetes' etcd: what is around an object, and the object in it.
//!
//! Kubernetes' own kinds are `k8s\0` and a `runtime.Unknown` (k8s.io/apimachinery): apiVersion
//! and kind in field 1, the object's message in field 2. Custom resources are plain JSON.

use serde_json::{Map, Value, json};

use super::decode::{Decoded, decode};
use super::wire::{self, Fields};

const MAGIC: &[u8] = b"k8s\0";
/// What `EncryptionConfiguration` puts before a value.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// CBOR's self-described tag.
const CBOR: &[u8] = &[0xd9, 0xd9, 0xf7];

/// The kinds that are decoded, and their messages.
const KINDS: &[(&str, &str, &str)] = &[
    ("v1", "Namespace", "Namespace"),
    ("v1", "Pod", "Pod"),
    ("v1", "Node", "Node"),
    ("v1", "Service", "Service"),
    ("v1", "Endpoints", "Endpoints"),
    ("v1", "ServiceAccount", "ServiceAccount"),
    ("discovery.k8s.io/v1", "EndpointSlice", "EndpointSlice"),
    ("networking.k8s.io/v1", "NetworkPolicy", "NetworkPolicy"),
];

/// What a value turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// The object; of a kind that is not decoded its metadata, group, version and size.
    pub(crate) object: Value,
    /// Fields of a newer Kubernetes that were left out.
    pub(crate) unknown: usize,
}

/// Opens the envelope.
///
/// # Errors
/// One line that says what is wrong with the value.
pub(crate) fn open(value: &[u8]) -> Result<Stored, String> {
    if let Some(message) = value.strip_prefix(MAGIC) {
        return unknown(message);
    }
    if value.is_empty() {
        return Err("empty".to_owned());
    }
    if let Some(rest) = value.strip_prefix(ENCRYPTED) {
        let name: String = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .map(|&byte| char::from(byte))
            .collect();
        return Err(format!("encrypted at rest ({name}): not decoded"));
    }
    if value.starts_with(CBOR) {
        return Err("CBOR: not decoded".to_owned());
    }
    if MAGIC.starts_with(value) {
        return Err("truncated inside the envelope's first four bytes".to_owned());
    }
    match serde_json::from_slice::<Value>(value) {
        Ok(Value::Object(object)) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
            Ok(Stored {
                api_version: text("apiVersion").to_owned(),
                kind: text("kind").to_owned(),
                object: Value::Object(object),
                unknown: 0,
            })
        }
        Ok(_) => Err("JSON, but not an object".to_owned()),
        Err(error) if value.trim_ascii_start().starts_with(b"{") => {
            Err(format!("damaged JSON: {error}"))
        }
        Err(_) => Err(format!(
            "{} bytes that are neither Kubernetes' protobuf envelope nor JSON",
            value.len()
        )),
    }
}

/// Opens what `etcdctl get --print-value-only` wrote, which adds a line feed.
pub(crate) fn open_file(value: &[u8]) -> Result<Stored, String> {
    open(value).or_else(|error| match value.strip_suffix(b"\n") {
        Some(value) => open(value).map_err(|_| error),
        None => Err(error),
    })
}

fn unknown(message: &[u8]) -> Result<Stored, String> {
    let bad = |error: &dyn std::fmt::Display| format!("envelope: {error}");
    let (mut api_version, mut kind) = (String::new(), String::new());
    let mut raw: &[u8] = &[];
    let mut encoding: &[u8] = &[];
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next().map_err(|error| bad(&error))? {
        match (number, value) {
            (1, wire::Value::Bytes(of)) => {
                (api_version, kind) = type_of(of).map_err(|error| bad(&error))?;
            }
            (2, wire::Value::Bytes(bytes)) => raw = bytes,
            (3, wire::Value::Bytes(bytes)) => encoding = bytes,
            _ => {}
        }
    }
    if kind.is_empty() || api_version.is_empty() {
        return Err("envelope: damaged: it names no apiVersion and kind".to_owned());
    }
    if !encoding.is_empty() {
        let encoding = String::from_utf8_lossy(encoding);
        return Err(format!("envelope: encoded as {encoding:?}: not decoded"));
    }
    let head = |object: &mut Map<String, Value>| {
        object.insert("apiVersion".to_owned(), api_version.clone().into());
        object.insert("kind".to_owned(), kind.clone().into());
    };
    let known = KINDS
        .iter()
        .find(|(version, name, _)| *version == api_version && *name == kind);
    if let Some((_, _, message)) = known {
        let decoded = decode(message, raw).map_err(|fault| format!("{kind}: {fault}"))?;
        let Decoded {
            mut object,
            unknown,
        } = decoded.expect("the schema has the message of every kind, a test decodes each");
        head(&mut object);
        return Ok(Stored {
            object: Value::Object(object),
            unknown,
            api_version,
            kind,
        });
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let mut object = Map::new();
    head(&mut object);
    object.insert("group".to_owned(), group.into());
    object.insert("version".to_owned(), version.into());
    object.insert("rawBytes".to_owned(), json!(raw.len()));
    // Whatever the kind, its metadata is field 1.
    if let Some(metadata) = metadata(raw) {
        object.insert("metadata".to_owned(), Value::Object(metadata));
    }
    Ok(Stored {
        object: Value::Object(object),
        unknown: 0,
        api_version,
        kind,
    })
}

/// apiVersion and kind.
fn type_of(bytes: &[u8]) -> Result<(String, String), wire::WireError> {
    let (mut api_version, mut kind) = (String::new(), String::new());
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        if let wire::Value::Bytes(text) = value {
            let text = String::from_utf8_lossy(text).into_owned();
            match number {
                1 => api_version = text,
                2 => kind = text,
                _ => {}
            }
        }
    }
    Ok((api_version, kind))
}

fn metadata(raw: &[u8]) -> Option<Map<String, Value>> {
    let Ok(Some((1, wire::Value::Bytes(bytes)))) = Fields::new(raw).next() else {
        return None;
    };
    let decoded = decode("ObjectMeta", bytes).ok()??;
    decoded
        .object
        .contains_key("name")
        .then_some(decoded.object)
}
