//! `create`, `apply`, `replace`, `delete` and `validate`: one resource after the other, and what
//! calicoctl says at the end.

use std::io::Write;
use std::sync::Arc;

use vrouter_api::{Key, Kind, Resource};
use vrouter_datastore::{Datastore, StoreError};

use super::files;
use crate::args::calico::{FileArgs, WhatArgs};
use crate::failure::Failure;
use crate::output::Output;

/// What is done with each resource, in calicoctl's words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Create { skip_exists: bool },
    Apply,
    Replace,
    Delete { skip_not_exists: bool },
}

impl Action {
    fn verb(self) -> &'static str {
        match self {
            Action::Create { .. } => "create",
            Action::Apply => "apply",
            Action::Replace => "replace",
            Action::Delete { .. } => "delete",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Action::Create { .. } => "created",
            Action::Apply => "applied",
            Action::Replace => "replaced",
            Action::Delete { .. } => "deleted",
        }
    }
}

/// What is to be written or removed.
enum Task {
    Write(Box<Resource>),
    /// With a revision, only what is still at that.
    Remove(Key, Option<String>),
}

impl Task {
    fn key(&self) -> Key {
        match self {
            Task::Write(resource) => resource.key(),
            Task::Remove(key, _) => key.clone(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Task::Write(resource) => resource.kind(),
            Task::Remove(key, _) => key.kind,
        }
    }
}

/// `create`, `apply` and `replace`.
pub(super) fn from_files<W: Write>(
    out: &mut Output<W>,
    open: &dyn Fn() -> Result<Arc<dyn Datastore>, Failure>,
    action: Action,
    from: &FileArgs,
) -> Result<(), Failure> {
    let namespace = from.namespace.as_deref();
    let loaded = files::load(&from.filename, from.how, namespace)?;
    if let Some(reason) = files::misplaced(&loaded.resources, namespace) {
        let kinds: Vec<Kind> = loaded.resources.iter().map(Resource::kind).collect();
        let of = single(&kinds).map(|kind| format!("'{kind}' "));
        return Err(Failure::Calico(format!(
            "failed to {} {}resource: [{reason}]",
            action.verb(),
            of.unwrap_or_default()
        )));
    }
    let tasks = loaded
        .resources
        .into_iter()
        .map(|it| Task::Write(Box::new(it)))
        .collect();
    all(out, &*open()?, action, tasks)
}

/// `delete`.
pub(super) fn delete<W: Write>(
    out: &mut Output<W>,
    store: &dyn Datastore,
    what: &WhatArgs,
    skip_not_exists: bool,
) -> Result<(), Failure> {
    let action = Action::Delete { skip_not_exists };
    let keys = super::keys(what)?;
    all(
        out,
        store,
        action,
        keys.into_iter()
            .map(|(key, revision)| Task::Remove(key, revision))
            .collect(),
    )
}

/// `validate`: no store is asked.
pub(super) fn validate<W: Write>(out: &mut Output<W>, from: &FileArgs) -> Result<(), Failure> {
    let loaded = files::load(&from.filename, from.how, from.namespace.as_deref())?;
    for notice in &loaded.notices {
        out.text(&format!("{notice}\n"))?;
    }
    let kinds: Vec<Kind> = loaded.resources.iter().map(Resource::kind).collect();
    match kinds.len() {
        0 => out.text("No resources specified\n"),
        count => out.text(&format!(
            "Successfully validated {count} {}resource(s)\n",
            single(&kinds)
                .map(|kind| format!("'{kind}' "))
                .unwrap_or_default()
        )),
    }
}

/// The kind, if there is one alone.
fn single(kinds: &[Kind]) -> Option<Kind> {
    let first = *kinds.first()?;
    kinds.iter().all(|kind| *kind == first).then_some(first)
}

fn all<W: Write>(
    out: &mut Output<W>,
    store: &dyn Datastore,
    action: Action,
    tasks: Vec<Task>,
) -> Result<(), Failure> {
    let kinds: Vec<Kind> = tasks.iter().map(Task::kind).collect();
    let of = single(&kinds)
        .map(|kind| format!("'{kind}' "))
        .unwrap_or_default();
    if kinds.is_empty() {
        return out.text("No resources specified\n");
    }
    let total = kinds.len();
    // One fault stops none of the others, as with calicoctl.
    let mut errors: Vec<String> = Vec::new();
    for task in tasks {
        if let Err(error) = one(store, action, task) {
            errors.push(error);
        }
    }
    let (verb, done) = (action.verb(), action.done());
    let succeeded = total - errors.len();
    if errors.is_empty() {
        return out.text(&format!("Successfully {done} {total} {of}resource(s)\n"));
    }
    let all = errors.join(" ");
    Err(Failure::Calico(match action {
        Action::Delete { .. } => {
            if succeeded > 0 {
                out.text(&format!(
                    "Successfully {done} {succeeded} {of}resource(s)\n"
                ))?;
            }
            let lines = errors
                .iter()
                .map(|error| format!("Failed to delete {of}resource: {error}\n"));
            lines.collect()
        }
        Action::Replace => {
            out.text(&format!(
                "Partial success: {done} the first {total} out of {total} {of}resources:\n"
            ))?;
            let last = errors.last().map(String::as_str).unwrap_or_default();
            format!("hit error: {last}")
        }
        Action::Create { .. } | Action::Apply if succeeded == 0 && total == 1 => {
            format!("failed to {verb} {of}resource: [{all}]")
        }
        Action::Create { .. } | Action::Apply if succeeded == 0 => {
            format!("failed to {verb} any {of}resources: [{all}]")
        }
        Action::Create { .. } | Action::Apply => {
            if succeeded > errors.len() {
                out.text(&format!(
                    "Partial success: {done} the first {succeeded} out of {total} {of}resources:\n"
                ))?;
            }
            format!("hit error: [{all}]")
        }
    }))
}

/// The policies that kube-controllers keep, which only the Kubernetes API changes.
const OF_KUBERNETES: &str = "knp.default.";

/// What calicoctl refuses before it asks the store.
fn refused(store: &dyn Datastore, action: Action, key: &Key) -> Option<String> {
    if key.kind == Kind::ClusterInformation {
        return Some(match action {
            Action::Create { .. } => {
                "operation create or apply is not supported on ClusterInformation".to_owned()
            }
            Action::Apply => "operation apply is not supported on ClusterInformation: resource is \
                              readonly"
                .to_owned(),
            Action::Replace => {
                "operation apply or replace is not supported on ClusterInformation".to_owned()
            }
            Action::Delete { .. } => {
                "operation delete is not supported on ClusterInformation".to_owned()
            }
        });
    }
    if key.kind != Kind::NetworkPolicy || !key.name.starts_with(OF_KUBERNETES) {
        return None;
    }
    let operation = match action {
        Action::Create { .. } => "create or apply",
        Action::Apply | Action::Replace => {
            if let Err(missing @ StoreError::NotFound { .. }) = store.get(key) {
                return Some(said(&missing));
            }
            "apply or replace"
        }
        Action::Delete { .. } => "delete",
    };
    Some(format!(
        "operation {operation} is not supported on {key}: kubernetes network policies must be \
         managed through the kubernetes API"
    ))
}

/// Does one of them; what is left out counts as done.
fn one(store: &dyn Datastore, action: Action, task: Task) -> Result<(), String> {
    if let Some(reason) = refused(store, action, &task.key()) {
        return Err(reason);
    }
    let result = match (task, action) {
        (Task::Write(resource), Action::Create { skip_exists }) => match store.create(&resource) {
            Err(StoreError::AlreadyExists { .. }) if skip_exists => return Ok(()),
            other => other,
        },
        (Task::Write(resource), Action::Apply) => apply(store, *resource),
        (Task::Write(resource), Action::Replace) => store.update(&resource),
        (Task::Write(resource), action @ Action::Delete { .. }) => {
            let revision = resource.metadata().resource_version.clone();
            return one(store, action, Task::Remove(resource.key(), revision));
        }
        (Task::Remove(key, revision), action) => {
            match (store.delete(&key, revision.as_deref()), action) {
                (
                    Err(StoreError::NotFound { .. }),
                    Action::Delete {
                        skip_not_exists: true,
                    },
                ) => return Ok(()),
                (other, _) => other,
            }
        }
    };
    result.map(drop).map_err(|error| said(&error))
}

/// An error of the store in calicoctl's words.
pub(super) fn said(error: &StoreError) -> String {
    match error {
        StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } => {
            format!("{error} with error: <nil>")
        }
        // It has no field there: the tier is said not to exist, as any resource.
        StoreError::Refused {
            field: "Spec.Tier",
            reason,
            ..
        } => format!("{reason} with error: <nil>"),
        StoreError::Refused {
            key: _,
            field,
            value,
            reason,
        } => format!("error with field {field} = '{value}' ({reason})"),
        StoreError::NotSupported {
            operation,
            key,
            reason,
        } => format!(
            "operation {operation} is not supported on {}: {reason}",
            key.name
        ),
        other => other.to_string(),
    }
}

/// Creates or replaces; whoever else does the same at the same time decides which.
fn apply(store: &dyn Datastore, mut resource: Resource) -> Result<Resource, StoreError> {
    let mut last = store.update(&resource);
    if let Err(StoreError::NotFound { .. }) = last {
        resource.metadata_mut().resource_version = None;
        last = store.create(&resource);
        if let Err(StoreError::AlreadyExists { .. }) = last {
            last = store.update(&resource);
        }
    }
    last
}
