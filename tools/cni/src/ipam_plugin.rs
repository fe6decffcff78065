//! The IPAM plugin: addresses alone, for any plugin that delegates to it.

use vrouter_datastore::departure::{Departure, Endpoint};

use crate::call::Call;
use crate::check::previous;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::error::{CniError, Code};
use crate::identity::{self, Identity};
use crate::log::Log;
use crate::result::Outcome;
use crate::wishes::{Arguments, Wishes};
use crate::{del, gc, ipam, store};

fn identity(call: &Call, config: &Config, arguments: &Arguments) -> Result<Identity, CniError> {
    let daemon = Daemon::new(&config.control_socket);
    let node = identity::node_name(config, &daemon)?;
    Ok(Identity::new(node, call, arguments))
}

/// Gives addresses.
pub(crate) fn add(call: &Call, config: &Config, log: &mut Log) -> Result<Outcome, CniError> {
    config.accept()?;
    let arguments = Arguments::read(&call.arguments)?;
    let wishes = Wishes::read(config, &arguments)?;
    let identity = identity(call, config, &arguments)?;
    let store = store::open(config)?;
    store::expect_ready(&*store)?;
    ipam::assign(config, &store, &identity, &wishes, log)
}

/// Frees them.
pub(crate) fn del(call: &Call, config: &Config, log: &mut Log) -> Result<(), CniError> {
    let arguments = Arguments::read(&call.arguments).unwrap_or_default();
    let identity = Identity::new(String::new(), call, &arguments);
    let departure = Departure {
        network: config.network.clone(),
        container_id: call.container_id.clone(),
        interface: call.interface.clone(),
        endpoint: Endpoint::None,
        handles: identity.handles(&config.network),
    };
    let daemon = Daemon::new(&config.control_socket);
    del::depart(config, &daemon, &departure, log)
}

/// Sees that they are still held.
pub(crate) fn check(call: &Call, config: &Config) -> Result<(), CniError> {
    config.accept()?;
    let arguments = Arguments::read(&call.arguments)?;
    let identity = identity(call, config, &arguments)?;
    let store = store::open(config)?;
    store::expect_ready(&*store)?;
    let previous = previous(config)?;
    let addresses: Vec<_> = previous.ips.iter().map(|ip| ip.address.addr()).collect();
    ipam::expect_held(config, &store, &identity, &addresses)
}

/// Frees those of containers that are gone.
pub(crate) fn gc(config: &Config, log: &mut Log) -> Result<(), CniError> {
    let valid = gc::valid(config)?;
    let daemon = Daemon::new(&config.control_socket);
    let node = identity::node_name(config, &daemon)?;
    let store = store::open(config)?;
    store::expect_ready(&*store)?;
    gc::release_stray(config, &node, &valid, &store, log)
}

/// Says whether there is one to give.
pub(crate) fn status(config: &Config) -> Result<(), CniError> {
    let ready = || {
        config.accept()?;
        let store = store::open(config)?;
        store::expect_ready(&*store)?;
        ipam::expect_free(config, &store)
    };
    ready().map_err(|error| {
        CniError::new(Code::NotAvailable, "an ADD would fail").with_details(error.to_string())
    })
}
