//! GC: removes what this network has on this node and no container does.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use vrouter_api::{Kind, Resource};
use vrouter_datastore::Scope;
use vrouter_datastore::departure::{Departure, Endpoint};

use crate::call::{Call, Operation};
use crate::config::{Config, IpamKind};
use crate::daemon::Daemon;
use crate::error::CniError;
use crate::json::Fields;
use crate::log::Log;
use crate::{delegate, endpoint, identity, ipam, store};

/// How long vrouterd may take to close a device.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// The attachments that stay: today's key, and the one libcni also sends.
const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// Containers and interfaces that stay.
pub(crate) fn valid(config: &Config) -> Result<BTreeSet<(String, String)>, CniError> {
    let fields = Fields::root(&config.raw);
    let key = KEYS.into_iter().find(|key| fields.value(key).is_some());
    let wanted = "a list of {\"containerID\": \"…\", \"ifname\": \"…\"}";
    let key = key.ok_or_else(|| fields.error(KEYS[0], wanted))?;
    let items = fields.value(key).and_then(Value::as_array);
    let mut valid = BTreeSet::new();
    for item in items.ok_or_else(|| fields.error(key, wanted))? {
        let map = item.as_object().ok_or_else(|| fields.error(key, wanted))?;
        let item = Fields::at(map, key);
        let (Some(id), Some(interface)) = (item.text("containerID")?, item.text("ifname")?) else {
            return Err(fields.error(key, wanted));
        };
        valid.insert((id.to_owned(), interface.to_owned()));
    }
    Ok(valid)
}

/// Removes the rest. Goes on after an error; all are told at the end.
pub(crate) fn gc(call: &Call, config: &Config, log: &mut Log) -> Result<(), CniError> {
    let valid = valid(config)?;
    let daemon = Daemon::new(&config.control_socket);
    let node = identity::node_name(config, &daemon)?;
    let store = store::open(config)?;
    store::expect_ready(&*store)?;
    let mut errors: Vec<CniError> = Vec::new();

    let listed = store
        .list(Kind::WorkloadEndpoint, Scope::All)
        .map_err(|error| CniError::store("the endpoints cannot be read", &error))?;
    for resource in listed.resources {
        let Resource::WorkloadEndpoint(found) = resource else {
            continue;
        };
        let spec = &found.spec;
        let stays = valid.contains(&(spec.container_id.clone(), spec.endpoint.clone()));
        if spec.node != node || !endpoint::is_of(&found, &config.network) || stays {
            continue;
        }
        let departure = Departure {
            network: config.network.clone(),
            container_id: spec.container_id.clone(),
            interface: spec.endpoint.clone(),
            endpoint: Endpoint::Named {
                namespace: found.metadata.namespace.clone(),
                name: found.metadata.name.clone(),
            },
            handles: Vec::new(),
        };
        match departure.remove_endpoint(&*store) {
            Ok(_) => {
                log.info(&format!("{} belongs to no container: removed", found.key()));
                let name = format!("{}/{}", found.metadata.namespace, found.metadata.name);
                daemon.await_gone(&name, CLOSE_LIMIT);
            }
            Err(error) => errors.push(CniError::store("an endpoint cannot be removed", &error)),
        }
    }
    match &config.ipam {
        Some(IpamKind::Delegated(plugin)) => {
            if let Err(error) = delegate::run(plugin, Operation::Gc, call, config, log) {
                errors.push(error);
            }
        }
        Some(IpamKind::Own) | None => {
            if let Err(error) = release_stray(config, &node, &valid, &store, log) {
                errors.push(error);
            }
        }
    }
    one_of(errors)
}

/// Frees the addresses of containers that are not valid.
pub(crate) fn release_stray(
    config: &Config,
    node: &str,
    valid: &BTreeSet<(String, String)>,
    store: &std::sync::Arc<dyn vrouter_datastore::Datastore>,
    log: &mut Log,
) -> Result<(), CniError> {
    let known = |id: &str| valid.iter().any(|(container, _)| container == id);
    let stray = ipam::stray_handles(&config.network, node, store, &known)?;
    for handle in &stray {
        log.info(&format!(
            "IPAM handle {handle} belongs to no container: released"
        ));
    }
    ipam::release(config, store, &stray, log)
        .map(drop)
        .map_err(|error| CniError::store("addresses cannot be released", &error))
}

fn one_of(mut errors: Vec<CniError>) -> Result<(), CniError> {
    if errors.is_empty() {
        return Ok(());
    }
    let first = errors.remove(0);
    let rest = errors.iter().map(ToString::to_string);
    let details: Vec<String> = first.details.clone().into_iter().chain(rest).collect();
    Err(CniError {
        details: (!details.is_empty()).then(|| details.join("; ")),
        ..first
    })
}
