//! DEL: takes a container off the network, as often as it is asked, with whatever is still there.

use std::sync::Arc;
use std::time::Duration;

use vrouter_datastore::departure::{Departure, Endpoint, Notes, is_ready};
use vrouter_datastore::{Datastore, StoreError};

use crate::call::{Call, Operation};
use crate::config::{Config, IpamKind};
use crate::daemon::Daemon;
use crate::error::CniError;
use crate::identity::{self, Identity};
use crate::log::Log;
use crate::wishes::Arguments;
use crate::{delegate, ipam, status_file, store};

/// How long vrouterd may take to close the device before the addresses are given to others.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Takes the container off the network.
pub(crate) fn del(call: &Call, config: &Config, log: &mut Log) -> Result<(), CniError> {
    let arguments = Arguments::read(&call.arguments).unwrap_or_else(|error| {
        log.warn(&error.to_string());
        Arguments::default()
    });
    let daemon = Daemon::new(&config.control_socket);
    let node = identity::node_name(config, &daemon);
    if let Err(error) = &node {
        log.warn(&format!("the endpoint is looked for by container: {error}"));
    }
    let known = node.is_ok();
    let identity = Identity::new(node.unwrap_or_default(), call, &arguments);
    let departure = Departure {
        network: config.network.clone(),
        container_id: call.container_id.clone(),
        interface: call.interface.clone(),
        endpoint: if known {
            Endpoint::Named {
                namespace: identity.namespace.clone(),
                name: identity.endpoint_name(),
            }
        } else {
            Endpoint::OfContainer
        },
        handles: match config.ipam {
            Some(IpamKind::Own) | None => identity.handles(&config.network),
            Some(IpamKind::Delegated(_)) => Vec::new(),
        },
    };
    depart(config, &daemon, &departure, log)?;
    if let Some(IpamKind::Delegated(plugin)) = &config.ipam {
        delegate::run(plugin, Operation::Del, call, config, log)?;
    }
    if let Some(directory) = &config.endpoint_status_directory
        && let Err(error) = status_file::remove(directory, &identity)
    {
        log.warn(&format!("endpoint_status_dir: {error}"));
    }
    Ok(())
}

/// Carries a departure out, or leaves a note of it when the store is away or locked.
pub(crate) fn depart(
    config: &Config,
    daemon: &Daemon,
    departure: &Departure,
    log: &mut Log,
) -> Result<(), CniError> {
    let notes = Notes::new(&config.state_directory);
    let connection = config.connection()?;
    let carried = connection
        .open()
        .and_then(|store| carry_out(config, &store, daemon, departure, log));
    let reason = match carried {
        Ok(true) => {
            forget(&notes, departure, log);
            return Ok(());
        }
        Ok(false) => "datastoreReady of the ClusterInformation default is false".to_owned(),
        Err(error) if store::is_absence(&error) => error.to_string(),
        Err(error) => return Err(CniError::store("the container cannot be removed", &error)),
    };
    notes.leave(departure).map_err(|error| {
        let what = format!("{reason}; and state_directory takes no note of it");
        CniError::io(&what, error)
    })?;
    let place = notes.directory().display();
    log.warn(&format!(
        "{reason}: vrouterd removes endpoint and addresses later, by the note in {place}"
    ));
    Ok(())
}

/// Removes endpoint, then device, then addresses; `false` when the store is locked.
fn carry_out(
    config: &Config,
    store: &Arc<dyn Datastore>,
    daemon: &Daemon,
    departure: &Departure,
    log: &mut Log,
) -> Result<bool, StoreError> {
    if !is_ready(&**store)? {
        return Ok(false);
    }
    if let Some(key) = departure.remove_endpoint(&**store)? {
        let name = format!("{}/{}", key.namespace, key.name);
        if !daemon.await_gone(&name, CLOSE_LIMIT) {
            log.warn(&format!("vrouterd still has {name}"));
        }
    }
    let freed = ipam::release(config, store, &departure.handles, log)?;
    log.debug(&format!("{freed} addresses are free again"));
    Ok(true)
}

/// An earlier DEL's note says what is done by now.
fn forget(notes: &Notes, departure: &Departure, log: &mut Log) {
    let find = || {
        notes.find(
            &departure.network,
            &departure.container_id,
            &departure.interface,
        )
    };
    let outcome = find().and_then(|found| match found {
        None => Ok(()),
        Some(_) => {
            let lock = notes.lock()?;
            match find()? {
                Some(note) => notes.remove(&note, &lock),
                None => Ok(()),
            }
        }
    });
    if let Err(error) = outcome {
        log.warn(&format!("state_directory: {error}"));
    }
}
