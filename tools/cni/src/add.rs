//! ADD: addresses, endpoint, device, and no return before policy is in force.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vrouter_api::{Mac, WorkloadEndpoint};
use vrouter_datastore::Datastore;
use vrouter_datastore::departure::{Departure, Endpoint, Notes};
use vrouter_io::link::{Link, PROTOCOL};
use vrouter_io::netns::Netns;

use crate::call::{Call, Operation};
use crate::config::{Config, IpamKind};
use crate::daemon::Daemon;
use crate::error::{CniError, Code};
use crate::identity::{self, Identity};
use crate::log::Log;
use crate::result::{Interface, Ip, Outcome};
use crate::wishes::{Arguments, Wishes};
use crate::{delegate, endpoint, gates, ipam, pod, status_file, store};

/// How long a device that a failed ADD leaves is waited for.
const REMOVAL_LIMIT: Duration = Duration::from_secs(2);
/// Where Felix says how large packets may be.
const MTU_FILE: &str = "/var/lib/calico/mtu";

/// One ADD under way.
struct Addition<'a> {
    call: &'a Call,
    config: &'a Config,
    daemon: Daemon,
    store: Arc<dyn Datastore>,
    identity: Identity,
    wishes: Wishes,
    netns: Netns,
    log: &'a mut Log,
}

/// Puts the container on the network.
pub(crate) fn add(call: &Call, config: &Config, log: &mut Log) -> Result<Outcome, CniError> {
    config.accept()?;
    refuse_previous(config)?;
    let netns = pod::open(call)?;
    pod::expect_none(&netns, &call.interface)?;
    let arguments = Arguments::read(&call.arguments)?;
    let wishes = Wishes::read(config, &arguments)?;
    let daemon = Daemon::new(&config.control_socket);
    let node = expect_node(config, &daemon)?;
    let identity = Identity::new(node, call, &arguments);
    identity.check()?;
    let store = store::open(config)?;
    store::expect_ready(&*store)?;
    gates::wait(&config.readiness_gates, log)?;
    let addition = Addition {
        call,
        config,
        daemon,
        store,
        identity,
        wishes,
        netns,
        log,
    };
    addition.run()
}

/// The node's name, on which vrouterd must agree: an endpoint of another node would never be live
/// here.
pub(crate) fn expect_node(config: &Config, daemon: &Daemon) -> Result<String, CniError> {
    let running = daemon.version(config.setup_limit)?.node;
    let name = identity::node_name(config, daemon)?;
    if running == name {
        return Ok(name);
    }
    Err(CniError::config(format!(
        "nodename: {name:?} is not the node of the vrouterd that answers on {}, which is {running:?}",
        config.control_socket.display()
    ))
    .with_details(format!(
        "make nodename, {} and vrouterd's nodeName the same",
        config.node_name_file.display()
    )))
}

/// A plugin before us in the chain has made an interface: ours must be the first.
fn refuse_previous(config: &Config) -> Result<(), CniError> {
    let previous = crate::json::Fields::root(&config.raw).value("prevResult");
    let made = previous.map(Outcome::read).transpose()?;
    if made.is_some_and(|it| !it.interfaces.is_empty()) {
        return Err(CniError::config(
            "prevResult: there is an interface already: this plugin must be the first of its list",
        ));
    }
    Ok(())
}

impl Addition<'_> {
    fn run(mut self) -> Result<Outcome, CniError> {
        self.settle_note()?;
        let before = endpoint::find(&*self.store, &self.identity)?;
        self.release_earlier(before.as_ref())?;
        let given = self.assign()?;
        let addresses: Vec<IpAddr> = given.ips.iter().map(|ip| ip.address.addr()).collect();
        self.log.debug(&format!("addresses {addresses:?}"));
        let mut written = None;
        let outcome = self.attach(&given, &addresses, before.as_ref(), &mut written);
        if outcome.is_err() {
            self.undo(written.as_ref(), before.as_ref());
        }
        outcome
    }

    /// A DEL of the same container that waits for the store is carried out first.
    fn settle_note(&mut self) -> Result<(), CniError> {
        let notes = Notes::new(&self.config.state_directory);
        let failed = |error| CniError::io("state_directory: a note cannot be carried out", error);
        let (network, call) = (&self.config.network, self.call);
        let find = || notes.find(network, &call.container_id, &call.interface);
        if find().map_err(failed)?.is_none() {
            return Ok(());
        }
        let lock = notes.lock().map_err(failed)?;
        // vrouterd may have been quicker.
        let Some(departure) = find().map_err(failed)? else {
            return Ok(());
        };
        let removed = departure
            .remove_endpoint(&*self.store)
            .and_then(|_| departure.release(&self.store));
        removed.map_err(|error| CniError::store("an earlier DEL cannot be completed", &error))?;
        notes.remove(&departure, &lock).map_err(failed)
    }

    /// What an ADD of this container that died holds; and, where certain addresses are asked for,
    /// what the pod's earlier container holds.
    fn release_earlier(&mut self, before: Option<&WorkloadEndpoint>) -> Result<(), CniError> {
        if self.config.ipam != Some(IpamKind::Own) {
            return Ok(());
        }
        let network = &self.config.network;
        let mut handles = vec![self.identity.handle(network)];
        if let Some(before) = before
            && !self.wishes.addresses.is_empty()
        {
            handles.push(format!("{network}.{}", before.spec.container_id));
        }
        ipam::release(self.config, &self.store, &handles, self.log)
            .map(drop)
            .map_err(|error| CniError::store("earlier addresses cannot be released", &error))
    }

    fn assign(&mut self) -> Result<Outcome, CniError> {
        if self.wishes.without_ipam {
            let ips = self.wishes.addresses.iter().map(|address| Ip {
                address: (*address).into(),
                gateway: None,
                interface: None,
            });
            return Ok(Outcome {
                ips: ips.collect(),
                ..Outcome::default()
            });
        }
        match &self.config.ipam {
            Some(IpamKind::Delegated(plugin)) => {
                let plugin = plugin.clone();
                let given =
                    delegate::run(&plugin, Operation::Add, self.call, self.config, self.log)?
                        .unwrap_or_default();
                let checked = self.check_delegated(&plugin, &given);
                if checked.is_err() {
                    self.release();
                }
                checked.map(|()| given)
            }
            Some(IpamKind::Own) | None => ipam::assign(
                self.config,
                &self.store,
                &self.identity,
                &self.wishes,
                self.log,
            ),
        }
    }

    fn check_delegated(&self, plugin: &str, given: &Outcome) -> Result<(), CniError> {
        if given.ips.is_empty() {
            let message = format!("ipam.type: {plugin} gave no address");
            return Err(CniError::config(message));
        }
        for v6 in [false, true] {
            let of_family = given
                .ips
                .iter()
                .filter(|it| it.address.addr().is_ipv6() == v6);
            if of_family.count() > 1 {
                let message = format!("ipam.type: {plugin} gave several addresses of one family");
                return Err(CniError::config(message));
            }
        }
        let has_default = given.routes.iter().any(|it| it.prefix_len() == 0);
        if !given.routes.is_empty() && !has_default && !self.config.include_default_routes {
            return Err(CniError::new(
                Code::UnsupportedField,
                "unsupported value of ipam.routes: no default route",
            )
            .with_details(
                "containers always have a default route: add 0.0.0.0/0 to ipam.routes, or set \
                 include_default_routes",
            ));
        }
        Ok(())
    }

    fn attach(
        &mut self,
        given: &Outcome,
        addresses: &[IpAddr],
        before: Option<&WorkloadEndpoint>,
        written: &mut Option<WorkloadEndpoint>,
    ) -> Result<Outcome, CniError> {
        let (config, identity) = (self.config, &self.identity);
        expect_no_route(addresses, &identity.host_interface())?;
        endpoint::ensure_profile(&*self.store, config, identity)?;
        let mac = self.wishes.mac.unwrap_or_else(random_mac);
        let wanted = endpoint::build(
            config,
            identity,
            &self.wishes,
            before,
            &self.call.netns,
            mac,
            addresses,
        );
        *written = Some(endpoint::write(&*self.store, &wanted)?);
        let name = format!("{}/{}", identity.namespace, identity.endpoint_name());
        let state = self.daemon.await_live(
            &name,
            &self.call.netns,
            vrouter_control::model::Mac(mac.0),
            config.setup_limit,
        )?;
        let of_daemon = state.mtu.unwrap_or(1500);
        let mtu = match wanted_mtu(config)? {
            Some(mtu) if mtu > of_daemon => {
                let text = format!("mtu: {mtu} is more than the {of_daemon} that vrouterd allows");
                self.log.warn(&text);
                of_daemon
            }
            Some(mtu) => mtu,
            None => of_daemon,
        };
        let smaller = (mtu < of_daemon).then_some(mtu);
        let forwarding = config.allow_ip_forwarding;
        pod::settle(&self.netns, &self.call.interface, forwarding, smaller)?;
        if let Some(directory) = &config.endpoint_status_directory
            && let Err(error) = status_file::write(directory, identity)
        {
            let directory = directory.display();
            self.log
                .warn(&format!("endpoint_status_dir: {directory}: {error}"));
        }
        let ips = given.ips.iter().map(|ip| Ip {
            address: ip.address.addr().into(),
            gateway: None,
            interface: Some(1),
        });
        let dns = crate::json::Fields::root(&config.raw).value("dns");
        let dns = dns.filter(|it| matches!(it, Value::Object(map) if !map.is_empty()));
        let dns = dns.cloned().or_else(|| given.dns.clone());
        let dns = with_nameservers(dns, identity, &state.nameservers);
        Ok(Outcome {
            interfaces: vec![
                Interface {
                    name: identity.host_interface(),
                    ..Interface::default()
                },
                Interface {
                    name: self.call.interface.clone(),
                    mac: Some(mac.to_string()),
                    mtu: Some(mtu),
                    sandbox: Some(self.call.netns.clone()),
                },
            ],
            ips: ips.collect(),
            routes: Vec::new(),
            dns,
        })
    }

    /// Takes back what a failed ADD did; the earlier container's endpoint and addresses stay.
    fn undo(&mut self, written: Option<&WorkloadEndpoint>, before: Option<&WorkloadEndpoint>) {
        if let Some(written) = written {
            if let Err(error) = endpoint::restore(&*self.store, written, before) {
                self.log.warn(&format!("the endpoint stays: {error}"));
                self.leave_note();
                return;
            }
            let name = format!("{}/{}", written.metadata.namespace, written.metadata.name);
            if before.is_none() && !self.daemon.await_gone(&name, REMOVAL_LIMIT) {
                self.log.warn(&format!("vrouterd still has {name}"));
            }
        }
        self.release();
    }

    fn release(&mut self) {
        match &self.config.ipam {
            Some(IpamKind::Delegated(plugin)) => {
                let (plugin, call) = (plugin.clone(), self.call);
                let outcome = delegate::run(&plugin, Operation::Del, call, self.config, self.log);
                if let Err(error) = outcome {
                    self.log
                        .warn(&format!("the addresses are not released: {error}"));
                }
            }
            Some(IpamKind::Own) | None => {
                let handles = [self.identity.handle(&self.config.network)];
                let freed = ipam::release(self.config, &self.store, &handles, self.log);
                if let Err(error) = freed {
                    self.log
                        .warn(&format!("the addresses are not released: {error}"));
                    self.leave_note();
                }
            }
        }
    }

    /// What cannot be taken back now is, when the store is there again.
    fn leave_note(&mut self) {
        let departure = Departure {
            network: self.config.network.clone(),
            container_id: self.call.container_id.clone(),
            interface: self.call.interface.clone(),
            endpoint: Endpoint::Named {
                namespace: self.identity.namespace.clone(),
                name: self.identity.endpoint_name(),
            },
            handles: vec![self.identity.handle(&self.config.network)],
        };
        if let Err(error) = Notes::new(&self.config.state_directory).leave(&departure) {
            self.log
                .error(&format!("state_directory: no note is left: {error}"));
        }
    }
}

/// A route of the host to exactly an address of the container would take its packets elsewhere.
fn expect_no_route(addresses: &[IpAddr], interface: &str) -> Result<(), CniError> {
    let failed = |error| CniError::io("the host's routes cannot be read", error);
    let link = Link::open().map_err(failed)?;
    for &address in addresses {
        let found = link.longest_match(address).map_err(failed)?;
        let Some(route) = found.filter(|it| it.destination == address.into()) else {
            continue;
        };
        // vrouterd's are of blocks, which may be as small as an address.
        if route.protocol == PROTOCOL {
            continue;
        }
        let device = match route.interface {
            Some(index) => link.interface_at(index).map_err(failed)?,
            None => None,
        };
        let device = device.map_or_else(|| "no interface".to_owned(), |it| it.name);
        let message = format!(
            "route {address} exists already for an interface other than {interface}: {device}"
        );
        let cure = format!(
            "remove it (ip route del {}), or the container it is of",
            route.destination
        );
        return Err(CniError::new(Code::ForeignRoute, message).with_details(cure));
    }
    Ok(())
}

/// `dns` of the result: resolvers that the config or IPAM names, else vrouterd's own for containers that
/// are no pods of Kubernetes'.
fn with_nameservers(
    dns: Option<Value>,
    identity: &Identity,
    nameservers: &[IpAddr],
) -> Option<Value> {
    if nameservers.is_empty() || identity.pod.is_some() {
        return dns;
    }
    let mut dns = dns.unwrap_or_else(|| json!({}));
    if let Value::Object(map) = &mut dns {
        let named = map.entry("nameservers");
        named.or_insert_with(|| json!(nameservers));
    }
    Some(dns)
}

/// The MTU that config or Felix's file ask for.
fn wanted_mtu(config: &Config) -> Result<Option<u32>, CniError> {
    if config.mtu.is_some() {
        return Ok(config.mtu);
    }
    match std::fs::read_to_string(MTU_FILE) {
        Ok(text) => match text.trim().parse() {
            Ok(mtu @ 68..=65_535) => Ok(Some(mtu)),
            _ => Err(CniError::config(format!(
                "{MTU_FILE}: {:?} is no MTU: remove the file, or set mtu",
                text.trim()
            ))),
        },
        Err(_) if !config.mtu_file_required => Ok(None),
        Err(error) => Err(CniError::config(format!(
            "require_mtu_file: {MTU_FILE}: {error}: set mtu, or leave require_mtu_file out"
        ))),
    }
}

/// An address of our own making: locally administered, of one interface.
fn random_mac() -> Mac {
    let random = uuid::Uuid::new_v4();
    let mut mac = [0; 6];
    mac.copy_from_slice(&random.as_bytes()[10..]);
    mac[0] = (mac[0] & 0xfc) | 0x02;
    Mac(mac)
}
