//! `datastore migrate`: everything out of one datastore and into another.
//!
//! The lock is Calico's: `datastoreReady: false` in the ClusterInformation `default`.

use std::io::Write;

use serde_json::{Value, json};
use vrouter_api::{BUILT_IN_TIERS, DEFAULT_ALLOW_PROFILE, Key, Kind, Resource, parse};
use vrouter_datastore::{Datastore, Scope, StoreError};

use super::{files, get};
use crate::args::calico::FileOptions;
use crate::args::node::MigrateCommand;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn run<W: Write>(
    out: &mut Output<W>,
    store: &dyn Datastore,
    command: &MigrateCommand,
) -> Result<(), Failure> {
    match command {
        MigrateCommand::Lock => {
            set_ready(store, false)?;
            out.text("Datastore locked.\n")
        }
        MigrateCommand::Unlock => {
            set_ready(store, true)?;
            out.text("Datastore unlocked.\n")
        }
        MigrateCommand::Export => {
            locked(store)?;
            let mut items = Vec::new();
            for (kind, resources) in everything(store)? {
                if kind != Kind::ClusterInformation {
                    items.extend(resources.iter().map(exported));
                }
            }
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            if out.is_json() {
                out.json(&list)
            } else {
                out.yaml(&list)
            }
        }
        MigrateCommand::Import { filename } => {
            locked(store)?;
            let there = everything(store)?;
            if let Some((kind, _)) = there.iter().find(|(kind, found)| {
                *kind != Kind::ClusterInformation && found.iter().any(|it| !built_in(&it.key()))
            }) {
                return Err(Failure::Calico(format!(
                    "Datastore already has {kind} resources: it must be empty to import into"
                )));
            }
            let how = FileOptions {
                recursive: false,
                skip_empty: true,
            };
            let loaded = files::load(filename, how, None)?;
            let count = loaded.resources.len();
            for (index, resource) in loaded.resources.iter().enumerate() {
                let made = match store.create(resource) {
                    Err(StoreError::AlreadyExists { key }) if built_in(&key) => Ok(()),
                    made => made.map(drop),
                };
                made.map_err(|error| {
                    Failure::Calico(format!(
                        "Failed to import {}, {index} of {count} resources are imported: {error}",
                        resource.key()
                    ))
                })?;
            }
            out.text(&format!(
                "Successfully imported {count} resource(s). Unlock the datastore with \
                 `calicoctl datastore migrate unlock`.\n"
            ))
        }
    }
}

/// What every cluster has is no reason not to import into it.
fn built_in(key: &Key) -> bool {
    key.kind == Kind::Tier && BUILT_IN_TIERS.iter().any(|(name, ..)| *name == key.name)
}

fn failed(error: &StoreError) -> Failure {
    Failure::Calico(error.to_string())
}

/// All stored resources of all kinds; a faulty one is not silently left behind.
fn everything(store: &dyn Datastore) -> Result<Vec<(Kind, Vec<Resource>)>, Failure> {
    let mut all = Vec::new();
    for &kind in Kind::ALL {
        let list = store
            .list(kind, Scope::All)
            .map_err(|error| failed(&error))?;
        if !list.faults.is_empty() {
            let faults: Vec<String> = list.faults.iter().map(ToString::to_string).collect();
            return Err(Failure::Calico(faults.join("\n")));
        }
        let mut resources = list.resources;
        // Every store has it, and none takes it.
        resources.retain(|it| kind != Kind::Profile || it.metadata().name != DEFAULT_ALLOW_PROFILE);
        all.push((kind, resources));
    }
    Ok(all)
}

/// Without what another store will choose anew.
fn exported(resource: &Resource) -> Value {
    let mut value = get::value(resource);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| {
            !matches!(
                name.as_str(),
                "creationTimestamp" | "resourceVersion" | "uid"
            )
        });
    }
    value
}

fn locked(store: &dyn Datastore) -> Result<(), Failure> {
    let ready = match information(store)? {
        Some(value) => value.pointer("/spec/datastoreReady") != Some(&json!(false)),
        None => true,
    };
    if ready {
        return Err(Failure::Calico(
            "Datastore is not locked. Run the `calicoctl datastore migrate lock` command in order \
             to begin migration."
                .to_owned(),
        ));
    }
    Ok(())
}

fn information(store: &dyn Datastore) -> Result<Option<Value>, Failure> {
    match store.get(&Key::global(Kind::ClusterInformation, "default")) {
        Ok(resource) => Ok(Some(get::value(&resource))),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

fn set_ready(store: &dyn Datastore, ready: bool) -> Result<(), Failure> {
    let before = information(store)?;
    let is_new = before.is_none();
    let mut value = before.unwrap_or_else(|| {
        json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": "ClusterInformation",
            "metadata": {"name": "default"},
            "spec": {},
        })
    });
    value["spec"]["datastoreReady"] = ready.into();
    let mut parsed = parse(value.to_string().as_bytes(), "ClusterInformation(default)");
    let Some(changed) = parsed.resources.pop() else {
        let faults: Vec<String> = parsed.errors.iter().map(ToString::to_string).collect();
        return Err(Failure::Calico(faults.join("\n")));
    };
    let written = if is_new {
        store.create(&changed.value)
    } else {
        store.update(&changed.value)
    };
    written.map(|_| ()).map_err(|error| failed(&error))
}
