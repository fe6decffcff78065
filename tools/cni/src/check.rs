//! CHECK: everything that ADD's result says is still there.

use std::net::IpAddr;

use crate::add::expect_node;
use crate::call::{Call, Operation};
use crate::config::{Config, IpamKind};
use crate::daemon::Daemon;
use crate::error::{CniError, Code};
use crate::identity::Identity;
use crate::json::Fields;
use crate::log::Log;
use crate::result::Outcome;
use crate::wishes::{Arguments, Wishes};
use crate::{delegate, endpoint, ipam, pod, store};

fn differs(message: String) -> CniError {
    CniError::new(Code::Differs, message)
}

/// What ADD printed.
pub(crate) fn previous(config: &Config) -> Result<Outcome, CniError> {
    let fields = Fields::root(&config.raw);
    let previous = fields.value("prevResult");
    Outcome::read(previous.ok_or_else(|| fields.error("prevResult", "the result of ADD"))?)
}

/// Compares.
pub(crate) fn check(call: &Call, config: &Config, log: &mut Log) -> Result<(), CniError> {
    config.accept()?;
    let previous = previous(config)?;
    let netns = pod::open(call)?;
    let arguments = Arguments::read(&call.arguments)?;
    let wishes = Wishes::read(config, &arguments)?;
    let daemon = Daemon::new(&config.control_socket);
    let identity = Identity::new(expect_node(config, &daemon)?, call, &arguments);
    let store = store::open(config)?;
    store::expect_ready(&*store)?;

    let own = previous.interfaces.iter().position(|it| {
        it.name == call.interface && it.sandbox.as_deref() == Some(call.netns.as_str())
    });
    let Some(own) = own else {
        return Err(differs(format!(
            "prevResult has no interface {} in {}",
            call.interface, call.netns
        )));
    };
    let of_own = previous
        .ips
        .iter()
        .filter(|ip| ip.interface.is_none_or(|it| it == own as u64));
    let addresses: Vec<IpAddr> = of_own.map(|ip| ip.address.addr()).collect();

    let name = format!("{}/{}", identity.namespace, identity.endpoint_name());
    let found = endpoint::find(&*store, &identity)?;
    let Some(found) = found.filter(|it| it.spec.container_id == call.container_id) else {
        let message = format!(
            "there is no endpoint {name} of container {}",
            call.container_id
        );
        return Err(CniError::new(Code::UnknownContainer, message));
    };
    let stored: Vec<IpAddr> = found.spec.ip_networks.iter().map(|it| it.addr()).collect();
    if !same(&stored, &addresses) {
        return Err(differs(format!(
            "endpoint {name} has {stored:?}, prevResult {addresses:?}"
        )));
    }
    match &config.ipam {
        Some(IpamKind::Own) if !wishes.without_ipam => {
            ipam::expect_held(config, &store, &identity, &addresses)?;
        }
        Some(IpamKind::Delegated(plugin)) => {
            delegate::run(plugin, Operation::Check, call, config, log)?;
        }
        Some(IpamKind::Own) | None => {}
    }
    let interface = &call.interface;
    let Some(device) = pod::find(&netns, interface)? else {
        return Err(differs(format!(
            "there is no interface {interface} in {netns}"
        )));
    };
    if !device.up {
        return Err(differs(format!("{interface} in {netns} is down")));
    }
    let mac = device.mac.map(|it| vrouter_api::Mac(it).to_string());
    let wanted = &previous.interfaces[own].mac;
    if wanted.is_some() && mac != *wanted {
        return Err(differs(format!(
            "{interface} in {netns} has the MAC {mac:?}, prevResult {wanted:?}"
        )));
    }
    for address in &addresses {
        if !device.addresses.contains(address) {
            return Err(differs(format!("{interface} in {netns} lacks {address}")));
        }
        if !device.default_routes[usize::from(address.is_ipv6())] {
            let message = format!("{interface} in {netns} has no default route for {address}");
            return Err(differs(message));
        }
    }
    let state = daemon.state(&name)?;
    if !state.live {
        let message = format!("endpoint {name} is not live");
        return Err(differs(message).with_details(state.reason.unwrap_or_default()));
    }
    Ok(())
}

fn same(one: &[IpAddr], other: &[IpAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|it| other.contains(it))
}
