//! calicoctl's commands over a datastore: what someone with `alias calicoctl=vrouterctl` types.
//!
//! Texts, columns and flags are calicoctl's (Calico v3.33).

mod boxed;
mod columns;
mod diags;
pub(crate) use diags::node as node_diags;
mod edit;
mod files;
mod get;
mod go;
mod ipam;
pub(crate) mod kinds;
mod migrate;
mod node;
mod template;
mod write;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use vrouter_api::{Key, Kind};
use vrouter_datastore::{Connection, Datastore, Scope, StoreError, initialize};

use crate::args::Cli;
use crate::args::calico::{Verb, WhatArgs};
use crate::args::format::Format;
use crate::args::node::{ClusterCommand, DatastoreCommand, NodeCommand};
use crate::failure::Failure;
use crate::output::Output;
use write::Action;

pub(crate) fn run<W: Write>(
    cli: &Cli,
    out: &mut Output<W>,
    verb: &Verb,
    format: &Format,
) -> Result<(), Failure> {
    match verb {
        Verb::Create { from, skip_exists } => {
            let skip_exists = *skip_exists;
            write::from_files(out, &|| written(cli), Action::Create { skip_exists }, from)
        }
        Verb::Apply { from } => write::from_files(out, &|| written(cli), Action::Apply, from),
        Verb::Replace { from } => write::from_files(out, &|| written(cli), Action::Replace, from),
        Verb::Validate { from } => write::validate(out, from),
        Verb::Delete {
            what,
            skip_not_exists,
        } => write::delete(out, &*open(cli)?, what, *skip_not_exists),
        Verb::Get {
            what,
            all_namespaces,
            export,
        } => get::run(out, &*open(cli)?, what, *all_namespaces, *export, format),
        Verb::Patch {
            kind,
            name,
            patch,
            r#type,
            namespace,
        } => {
            let key = key(kinds::find(kind)?, namespace.as_deref(), name)?;
            edit::patch(out, &*open(cli)?, &key, patch, *r#type)
        }
        Verb::Label {
            kind,
            name,
            labels,
            overwrite,
            remove,
            namespace,
        } => {
            let key = key(kinds::find(kind)?, namespace.as_deref(), name)?;
            let how = if *remove {
                edit::Labels::Remove
            } else {
                edit::Labels::Set {
                    overwrite: *overwrite,
                }
            };
            edit::label(out, &*open(cli)?, &key, kind, labels, how)
        }
        Verb::Convert { filename } => edit::convert(out, filename),
        Verb::Node { command } => match command {
            NodeCommand::Status { bird_socket } => node::status(out, &cli.socket, bird_socket),
            NodeCommand::Diags { dir } => diags::node(out, &cli.socket, dir.as_deref()),
            NodeCommand::Checksystem => node::check(out),
        },
        Verb::Ipam { command } => {
            // With calicoctl, -o of `ipam check` is the report's file.
            let report = (cli.output != "ps").then(|| Path::new(&cli.output));
            ipam::run(out, &open(cli)?, command, report)
        }
        Verb::Datastore {
            command: DatastoreCommand::Migrate { command },
        } => migrate::run(out, &*open(cli)?, command),
        Verb::Cluster {
            command: ClusterCommand::Diags { dir },
        } => diags::cluster(out, &*open(cli)?, dir.as_deref()),
    }
}

/// The names of a kind's resources, a line each, for shells; they want no faults.
pub(crate) fn names<W: Write>(
    cli: &Cli,
    out: &mut Output<W>,
    kind: &str,
    namespace: Option<&str>,
) -> Result<(), Failure> {
    let kind = kinds::find(kind)?;
    let scope = match namespace {
        _ if !kind.namespaced() => Scope::All,
        namespace => Scope::Namespace(namespace.unwrap_or("default")),
    };
    let list = open(cli)?.list(kind, scope);
    let list = list.map_err(|error| Failure::Calico(error.to_string()))?;
    for resource in &list.resources {
        out.text(&format!("{}\n", resource.metadata().name))?;
    }
    Ok(())
}

/// The datastore that file or environment name.
pub(crate) fn open(cli: &Cli) -> Result<Arc<dyn Datastore>, Failure> {
    connection(cli)
        .and_then(|it| it.open())
        .map_err(|error| no_client(&error))
}

/// The datastore of the command line, else that of the file, else that of the environment.
fn connection(cli: &Cli) -> Result<Connection, StoreError> {
    match &cli.directory {
        Some(directory) => Ok(Connection::Directory(directory.clone())),
        None => Connection::of_process(cli.config.as_deref()),
    }
}

/// The same to be written to: in an etcd, what every Calico cluster has is there first. As with
/// calicoctl, a store that does not let us says so at the write itself.
fn written(cli: &Cli) -> Result<Arc<dyn Datastore>, Failure> {
    let connection = connection(cli).map_err(|error| no_client(&error))?;
    let store = connection.open().map_err(|error| no_client(&error))?;
    if !matches!(connection, Connection::Directory(_)) {
        let _ = initialize(&*store);
    }
    Ok(store)
}

/// As calicoctl begins, with the flag and the variables that name another store.
fn no_client(error: &StoreError) -> Failure {
    let cure = match error {
        StoreError::Open { .. } | StoreError::NotADirectory { .. } => {
            ": make it, or name another by --directory or VROUTER_DIRECTORY, or an etcd by \
             ETCD_ENDPOINTS"
        }
        _ => "",
    };
    Failure::Calico(format!("Failed to create Calico API client: {error}{cure}"))
}

/// The key of a resource; namespaced ones are in `default` unless told otherwise.
fn key(kind: Kind, namespace: Option<&str>, name: &str) -> Result<Key, Failure> {
    match namespace {
        _ if kind.namespaced() => Ok(Key::namespaced(kind, namespace.unwrap_or("default"), name)),
        None => Ok(Key::global(kind, name)),
        Some(_) => Err(Failure::Calico(format!("{kind} is not namespaced"))),
    }
}

/// The resources that a command line or a file names, with the revisions that the file names.
fn keys(what: &WhatArgs) -> Result<Vec<(Key, Option<String>)>, Failure> {
    let namespace = what.namespace.as_deref();
    match (&what.kind, &what.filename) {
        (Some(kind), _) => {
            let kind = kinds::find(kind)?;
            if what.names.is_empty() || what.names.iter().any(String::is_empty) {
                return Err(Failure::Calico("resource name may not be empty".to_owned()));
            }
            let names = what.names.iter();
            names
                .map(|name| Ok((key(kind, namespace, name)?, None)))
                .collect()
        }
        (None, Some(file)) => {
            let loaded = files::load(file, what.how, namespace)?;
            if let Some(reason) = files::misplaced(&loaded.resources, namespace) {
                return Err(Failure::Calico(reason));
            }
            let resources = loaded.resources.into_iter();
            Ok(resources
                .map(|it| (it.key(), it.metadata().resource_version.clone()))
                .collect())
        }
        (None, None) => Ok(Vec::new()),
    }
}
