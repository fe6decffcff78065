//! `get`: columns, whole resources, templates.

use std::io::Write;

use serde_json::{Value, json};
use vrouter_api::{DEFAULT_ALLOW_PROFILE, Key, Kind, Resource, to_value};
use vrouter_datastore::{Datastore, Scope, StoreError};

use super::columns::{self, Cluster};
use super::{go, kinds, template, write};
use crate::args::calico::WhatArgs;
use crate::args::format::Format;
use crate::failure::Failure;
use crate::output::Output;

/// What belongs to one cluster alone.
const LOCAL: &[&str] = &["creationTimestamp", "resourceVersion", "uid"];

/// Resources of one kind, as they are printed together.
struct Group {
    kind: Kind,
    resources: Vec<Value>,
    /// Asked for by name, so that it is printed without a list around it.
    alone: bool,
    /// The store's revision when a whole kind was read.
    revision: Option<String>,
}

pub(super) fn run<W: Write>(
    out: &mut Output<W>,
    store: &dyn Datastore,
    what: &WhatArgs,
    all_namespaces: bool,
    export: bool,
    format: &Format,
) -> Result<(), Failure> {
    let mut groups: Vec<Group> = Vec::new();
    let mut errors = Vec::new();
    if let Some(name) = &what.kind
        && what.names.is_empty()
    {
        let kind = kinds::find(name).map_err(before_reading)?;
        if !kind.namespaced() && (all_namespaces || what.namespace.is_some()) {
            let reason = Failure::Calico(format!("{kind} is not namespaced"));
            return Err(before_reading(reason));
        }
        let namespace = what.namespace.as_deref().unwrap_or("default");
        let scope = if kind.namespaced() && !all_namespaces {
            Scope::Namespace(namespace)
        } else {
            Scope::All
        };
        let list = store.list(kind, scope).map_err(|error| failed(&error))?;
        errors.extend(list.faults.iter().map(ToString::to_string));
        groups.push(Group {
            kind,
            resources: in_order(kind, list.resources).iter().map(value).collect(),
            alone: false,
            revision: Some(list.revision),
        });
    } else {
        if all_namespaces && !what.names.is_empty() {
            return Err(before_reading(Failure::Calico(
                "cannot use --all-namespace flag for getting a single resource".to_owned(),
            )));
        }
        for (key, _) in super::keys(what).map_err(before_reading)? {
            match store.get(&key) {
                Ok(resource) => match groups.iter_mut().find(|group| group.kind == key.kind) {
                    Some(group) => {
                        group.resources.push(value(&resource));
                        group.alone = false;
                    }
                    None => groups.push(Group {
                        kind: key.kind,
                        resources: vec![value(&resource)],
                        alone: true,
                        revision: None,
                    }),
                },
                Err(error @ (StoreError::NotFound { .. } | StoreError::Invalid { .. })) => {
                    errors.push(write::said(&error));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }
    if export {
        for resource in groups.iter_mut().flat_map(|group| &mut group.resources) {
            if let Some(metadata) = resource.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|name, _| !LOCAL.contains(&name.as_str()));
            }
        }
    }
    let cluster = cluster(store, &groups, format);
    print(out, groups, all_namespaces, format, &cluster)?;
    match errors[..] {
        [] => Ok(()),
        _ => Err(Failure::Calico(errors.join("\n"))),
    }
}

fn failed(error: &StoreError) -> Failure {
    Failure::Calico(format!("failed to get resources: {}", write::said(error)))
}

/// What is wrong before anything is read, in calicoctl's words.
fn before_reading(failure: Failure) -> Failure {
    match failure {
        Failure::Calico(reason) if !reason.starts_with("failed to ") => {
            Failure::Calico(format!("failed to get resources: {reason}"))
        }
        other => other,
    }
}

/// The resource as JSON, a policy of the default tier under the name it was given.
pub(super) fn value(resource: &Resource) -> Value {
    let mut value = to_value(resource);
    let policy = matches!(
        resource.kind(),
        Kind::NetworkPolicy
            | Kind::GlobalNetworkPolicy
            | Kind::StagedNetworkPolicy
            | Kind::StagedGlobalNetworkPolicy
    );
    let tier = value.pointer("/spec/tier").and_then(Value::as_str);
    if policy
        && tier.is_none_or(|tier| tier == "default")
        && let Some(name) = resource.metadata().name.strip_prefix("default.")
    {
        value["metadata"]["name"] = name.into();
    }
    value
}

/// Tiers by order, those without one last; the built-in profile at the end; the rest as listed.
fn in_order(kind: Kind, mut resources: Vec<Resource>) -> Vec<Resource> {
    match kind {
        Kind::Tier => resources.sort_by(|one, other| {
            let order = |resource: &Resource| match resource {
                Resource::Tier(tier) => tier.spec.order.unwrap_or(f64::INFINITY),
                _ => f64::INFINITY,
            };
            order(one).total_cmp(&order(other))
        }),
        Kind::Profile => resources.sort_by_key(|it| it.metadata().name == DEFAULT_ALLOW_PROFILE),
        _ => {}
    }
    resources
}

/// The cluster's AS number, where a column shows it.
fn cluster(store: &dyn Datastore, groups: &[Group], format: &Format) -> Cluster {
    let shown = match format {
        Format::Wide => true,
        Format::Columns(columns) => columns.iter().any(|name| name == "ASN"),
        Format::Ps
        | Format::Json
        | Format::Yaml
        | Format::Template(_)
        | Format::TemplateFile(_) => false,
    };
    if !shown || !groups.iter().any(|group| group.kind == Kind::Node) {
        return Cluster::default();
    }
    let key = Key::global(Kind::BgpConfiguration, "default");
    let configured = store.get(&key).ok().map(|resource| value(&resource));
    Cluster {
        as_number: configured
            .as_ref()
            .and_then(|it| it.pointer("/spec/asNumber"))
            .map(go::text),
    }
}

fn print<W: Write>(
    out: &mut Output<W>,
    groups: Vec<Group>,
    all_namespaces: bool,
    format: &Format,
    cluster: &Cluster,
) -> Result<(), Failure> {
    match format {
        Format::Ps | Format::Wide => {
            for group in &groups {
                let names = columns::names(group.kind, *format == Format::Wide);
                table(out, group, names, all_namespaces, cluster)?;
            }
            Ok(())
        }
        Format::Columns(names) => {
            for group in &groups {
                table(out, group, names.clone(), all_namespaces, cluster)?;
            }
            Ok(())
        }
        Format::Json | Format::Yaml => {
            let mut documents: Vec<Value> = groups.into_iter().map(document).collect();
            match (documents.len(), format == &Format::Json) {
                (0, _) => Ok(()),
                (1, true) => out.json(&documents.remove(0)),
                (1, false) => out.yaml(&documents.remove(0)),
                (_, true) => out.json(&documents),
                (_, false) => out.yaml(&documents),
            }
        }
        Format::Template(text) => templated(out, groups, text),
        Format::TemplateFile(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::Calico(format!("{}: {error}", file.display())))?;
            templated(out, groups, &text)
        }
    }
}

fn templated<W: Write>(out: &mut Output<W>, groups: Vec<Group>, text: &str) -> Result<(), Failure> {
    let template = template::parse(text)
        .map_err(|error| Failure::Calico(format!("error parsing template: {error}")))?;
    // As calicoctl has it: a list of lists of resources.
    let lists = groups.into_iter().map(|group| {
        document(Group {
            alone: false,
            ..group
        })
    });
    let text = template::run(&template, &Value::Array(lists.collect()))
        .map_err(|error| Failure::Calico(format!("error executing template: {error}")))?;
    out.text(&text)
}

fn document(mut group: Group) -> Value {
    if group.alone && group.resources.len() == 1 {
        return group.resources.remove(0);
    }
    json!({
        "apiVersion": group.kind.api_version(),
        "kind": format!("{}List", group.kind),
        "metadata": group.revision.map_or(json!({}), |it| json!({"resourceVersion": it})),
        "items": group.resources,
    })
}

fn table<W: Write>(
    out: &mut Output<W>,
    group: &Group,
    mut names: Vec<String>,
    all_namespaces: bool,
    cluster: &Cluster,
) -> Result<(), Failure> {
    if all_namespaces && group.kind.namespaced() && !names.iter().any(|name| name == "NAMESPACE") {
        names.insert(0, "NAMESPACE".to_owned());
    }
    let mut rows = vec![names.clone()];
    for resource in &group.resources {
        let mut row = Vec::new();
        for name in &names {
            let cell = columns::cell(group.kind, name, resource, cluster);
            row.push(cell.ok_or_else(|| {
                let known = columns::names(group.kind, true).join(", ");
                Failure::Calico(format!("unknown heading {name}, valid values are: {known}"))
            })?);
        }
        rows.push(row);
    }
    let mut text = Vec::new();
    go::table(&mut text, &rows)?;
    // A gap after each table.
    text.push(b'\n');
    out.text(&String::from_utf8_lossy(&text))
}
