//! `patch`, `label` and `convert`.

use std::io::Write;
use std::path::Path;

use serde_json::Value;
use vrouter_api::{Key, Kind, Resource, parse_in};
use vrouter_datastore::{Datastore, StoreError};

use super::{files, get, write};
use crate::args::calico::{FileOptions, PatchType};
use crate::failure::Failure;
use crate::output::Output;

/// How often a change is tried again when somebody else was faster.
const TRIES: usize = 5;

/// `patch`.
pub(super) fn patch<W: Write>(
    out: &mut Output<W>,
    store: &dyn Datastore,
    key: &Key,
    text: &str,
    how: PatchType,
) -> Result<(), Failure> {
    let failed = |reason: String| Failure::Calico(format!("hit error: {reason}"));
    if key.kind == Kind::ClusterInformation {
        let reason = "operation apply or replace is not supported on ClusterInformation";
        return Err(failed(reason.to_owned()));
    }
    let patch: Value = serde_saphyr::from_str(text)
        .map_err(|error| failed(format!("the patch is neither JSON nor YAML: {error}")))?;
    change(store, key, |document| {
        match how {
            // Calico's kinds have no lists that merge by key.
            PatchType::Strategic | PatchType::Merge => {
                if !patch.is_object() {
                    return Err("the patch must be an object".to_owned());
                }
                json_patch::merge(document, &patch);
            }
            PatchType::Json => {
                let patch: json_patch::Patch = serde_json::from_value(patch.clone())
                    .map_err(|error| format!("the patch is no RFC 6902 list: {error}"))?;
                json_patch::patch(document, &patch).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    })
    .map_err(failed)?;
    out.text(&format!("Successfully patched 1 '{}' resource\n", key.kind))
}

/// Reads, changes and writes a resource; again when somebody else changed it meanwhile.
fn change(
    store: &dyn Datastore,
    key: &Key,
    edit: impl Fn(&mut Value) -> Result<(), String>,
) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let before = store.get(key).map_err(|error| write::said(&error))?;
        let mut document = get::value(&before);
        edit(&mut document)?;
        let after = resource(&document, key)?;
        match store.update(&after) {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { key }) => last = StoreError::Conflict { key }.to_string(),
            Err(error) => return Err(write::said(&error)),
        }
    }
    Err(last)
}

/// The resource that a document says, which is still the one of that key.
fn resource(document: &Value, key: &Key) -> Result<Resource, String> {
    let namespace = if key.namespace.is_empty() {
        "default"
    } else {
        &key.namespace
    };
    let mut parsed = parse_in(document.to_string().as_bytes(), "patched", namespace);
    if !parsed.errors.is_empty() {
        let errors: Vec<String> = parsed.errors.iter().map(ToString::to_string).collect();
        return Err(errors.join("\n"));
    }
    let resource = parsed.resources.pop().map(|located| located.value);
    match resource.filter(|resource| resource.key() == *key) {
        Some(resource) => Ok(resource),
        None => Err("kind, namespace and name cannot be changed".to_owned()),
    }
}

/// What `label` does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    Set { overwrite: bool },
    Remove,
}

/// `label`.
pub(super) fn label<W: Write>(
    out: &mut Output<W>,
    store: &dyn Datastore,
    key: &Key,
    kind: &str,
    labels: &[String],
    how: Labels,
) -> Result<(), Failure> {
    let name = &key.name;
    let mut said = String::new();
    let mut pairs = Vec::new();
    for label in labels {
        match (label.split_once('='), how) {
            (Some((label, value)), Labels::Set { .. }) => pairs.push((label, value)),
            (None, Labels::Remove) => pairs.push((label.as_str(), "")),
            (None, Labels::Set { .. }) => {
                return Err(Failure::Calico(format!(
                    "invalid label {label}: must be KEY=VALUE"
                )));
            }
            (Some(_), Labels::Remove) => {
                return Err(Failure::Calico(format!(
                    "invalid label {label}: must be the key alone beside --remove"
                )));
            }
        }
    }
    // The words are made before the change, from what was there.
    let before = store.get(key).map_err(|error| match error {
        StoreError::NotFound { .. } => Failure::Calico(format!("{kind} {name} not found")),
        other => Failure::Calico(format!(
            "failed to get {kind} {name}, error {}",
            write::said(&other)
        )),
    })?;
    let there = &before.metadata().labels;
    for (label, value) in &pairs {
        let words = match (there.get(*label), how) {
            (Some(old), Labels::Set { overwrite: false }) if old != value => {
                return Err(Failure::Calico(format!(
                    "failed to update label of {kind} {name}, key {label} is already present. \
                     please use '--overwrite' to set a new value"
                )));
            }
            (Some(_), Labels::Set { .. }) => "updated label",
            (None, Labels::Set { .. }) => "set label",
            (Some(_), Labels::Remove) => {
                said += &format!("Successfully removed label {label} from {kind} {name}\n");
                continue;
            }
            (None, Labels::Remove) => {
                return Err(Failure::Calico(format!(
                    "cannot remove label of {kind} {name}, key {label} does not exist"
                )));
            }
        };
        said += &format!("Successfully {words} {label} on {kind} {name}\n");
    }
    change(store, key, |document| {
        let metadata = document.get_mut("metadata").and_then(Value::as_object_mut);
        let Some(metadata) = metadata else {
            return Err("it has no metadata".to_owned());
        };
        let labels = metadata
            .entry("labels")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        let Some(labels) = labels.as_object_mut() else {
            return Err("its labels are no map".to_owned());
        };
        for (label, value) in &pairs {
            match how {
                Labels::Set { .. } => {
                    labels.insert((*label).to_owned(), Value::String((*value).to_owned()));
                }
                Labels::Remove => {
                    labels.remove(*label);
                }
            }
        }
        Ok(())
    })
    .map_err(|reason| {
        Failure::Calico(format!(
            "failed to update {kind} {name}, label not changed: {reason}"
        ))
    })?;
    out.text(&said)
}

/// `convert`: every resource in its canonical form, a document each.
pub(super) fn convert<W: Write>(out: &mut Output<W>, file: &Path) -> Result<(), Failure> {
    let how = FileOptions {
        recursive: false,
        skip_empty: false,
    };
    let loaded = files::load(file, how, None)?;
    let mut values: Vec<Value> = loaded.resources.iter().map(get::value).collect();
    let document = match values.len() {
        1 => values.remove(0),
        _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": values}),
    };
    if out.is_json() {
        out.json(&document)
    } else {
        out.yaml(&document)
    }
}
