//! Addresses from Calico's pools, by the rules of calico-ipam.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use encap::Family;
use ipnet::IpNet;
use policy::selector::Labels;
use vrouter_api::{AllowedUse, IpPool};
use vrouter_datastore::Datastore;
use vrouter_datastore::ipam::{Ipam, Request};

use crate::config::Config;
use crate::error::{CniError, Code};
use crate::identity::Identity;
use crate::log::Log;
use crate::result::{Ip, Outcome};
use crate::wishes::Wishes;

/// How long a process waits for others of this host; after that it goes on beside them, as
/// every change is made against a revision.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// Takes the host's lock, so that processes of one host do not get into each other's way.
pub(crate) fn lock(path: &Path, log: &mut Log) -> Option<File> {
    let open = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        File::create(path)
    };
    let file = match open() {
        Ok(file) => file,
        Err(error) => {
            log.debug(&format!("{} is not locked: {error}", path.display()));
            return None;
        }
    };
    let deadline = Instant::now() + LOCK_LIMIT;
    while file.try_lock().is_err() {
        if Instant::now() >= deadline {
            log.warn(&format!(
                "{} is not to be had: going on without it",
                path.display()
            ));
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(file)
}

/// Gives a container its addresses; all of them or none.
pub(crate) fn assign(
    config: &Config,
    store: &Arc<dyn Datastore>,
    identity: &Identity,
    wishes: &Wishes,
    log: &mut Log,
) -> Result<Outcome, CniError> {
    let _locked = lock(&config.ipam_lock_file, log);
    let ipam = Ipam::new(Arc::clone(store));
    let handle = identity.handle(&config.network);
    let given = assign_all(config, &ipam, identity, wishes, &handle);
    if given.is_err()
        && let Err(error) = ipam.release_handle(&handle)
    {
        log.warn(&format!("handle {handle} is not released: {error}"));
    }
    let ips = given?.into_iter().map(|address| Ip {
        address: IpNet::from(address),
        gateway: None,
        interface: None,
    });
    Ok(Outcome {
        ips: ips.collect(),
        ..Outcome::default()
    })
}

fn assign_all(
    config: &Config,
    ipam: &Ipam,
    identity: &Identity,
    wishes: &Wishes,
    handle: &str,
) -> Result<Vec<IpAddr>, CniError> {
    let mut request = Request::new(&identity.node, AllowedUse::Workload, handle);
    let pod = identity.pod.as_ref().unwrap_or(&identity.container_id);
    let secondary = [
        ("namespace", identity.namespace.as_str()),
        ("pod", pod),
        ("network", &config.network),
    ];
    let secondary = secondary.map(|(key, value)| (key.to_owned(), value.to_owned()));
    request.secondary.extend(secondary);
    request.namespace = Some(namespace_labels(&identity.namespace));
    if !wishes.addresses.is_empty() {
        return assign_asked(ipam, &request, &wishes.addresses);
    }
    let families = wishes.families.unwrap_or(config.assign);
    let pools = match [&wishes.pools, &config.pools] {
        [[a, b], of_config] => [
            if a.is_empty() { &of_config[0] } else { a },
            if b.is_empty() { &of_config[1] } else { b },
        ],
    };
    let all = if pools.iter().any(|it| !it.is_empty()) {
        ipam.pools()
            .map_err(|error| CniError::store("the pools cannot be read", &error))?
    } else {
        Vec::new()
    };
    let mut given = Vec::new();
    for ((family, named), wanted) in Family::ALL.into_iter().zip(pools).zip(families) {
        if !wanted {
            continue;
        }
        request.pools = resolve(named, &all, family)?;
        let taken = ipam
            .assign(&request, family, 1)
            .map_err(|error| CniError::store("no address can be taken", &error))?;
        if taken.is_empty() {
            return Err(exhausted(ipam, &request, family));
        }
        given.extend(taken);
    }
    if given.is_empty() {
        let message = "ipam: neither assign_ipv4 nor assign_ipv6 is true: set one of them";
        return Err(CniError::config(message));
    }
    Ok(given)
}

fn assign_asked(
    ipam: &Ipam,
    request: &Request,
    addresses: &[IpAddr],
) -> Result<Vec<IpAddr>, CniError> {
    for &address in addresses {
        let given = ipam
            .assign_address(request, address)
            .map_err(|error| CniError::store("the address cannot be taken", &error))?;
        if !given {
            let reason = match ipam.holder(address) {
                Ok(Some(held)) => {
                    let by = held.attributes.handle_id.unwrap_or_default();
                    format!("it is held by {by}; vrouterctl ipam show --ip={address} has more")
                }
                Ok(None) => "no pool that may be used has it".to_owned(),
                Err(error) => error.to_string(),
            };
            return Err(CniError::new(
                Code::NoAddress,
                format!("address {address} cannot be given"),
            )
            .with_details(reason));
        }
    }
    Ok(addresses.to_vec())
}

/// The names of pools that are given by name or CIDR.
fn resolve(named: &[String], all: &[IpPool], family: Family) -> Result<Vec<String>, CniError> {
    let mut names = Vec::new();
    for text in named {
        let cidr: Option<IpNet> = text.parse().ok();
        let pool = all.iter().find(|pool| {
            pool.metadata.name == *text || cidr.is_some_and(|cidr| pool.spec.cidr == cidr.trunc())
        });
        let key = format!("ipv{}_pools", family.number());
        let bad = |reason: &str| {
            let message = format!("error parsing pool: {key}: {text:?}");
            CniError::config(message).with_details(reason)
        };
        let pool = pool.ok_or_else(|| bad("there is no such IPPool"))?;
        if !family.contains(&pool.spec.cidr.addr()) {
            return Err(bad("it is of the other family"));
        }
        names.push(pool.metadata.name.clone());
    }
    Ok(names)
}

/// The labels that every namespace has.
fn namespace_labels(namespace: &str) -> Labels {
    let mut labels = Labels::new();
    for key in ["kubernetes.io/metadata.name", "projectcalico.org/name"] {
        // A namespace's name is a value that labels may have, or selects nothing.
        let _ = labels.insert(key, namespace);
    }
    labels
}

fn exhausted(ipam: &Ipam, request: &Request, family: Family) -> CniError {
    let pools = match ipam.usage() {
        Ok(usage) => {
            let of_family = usage.iter().filter(|it| {
                family.contains(&it.pool.spec.cidr.addr())
                    && (request.pools.is_empty() || request.pools.contains(&it.pool.metadata.name))
            });
            let rows = of_family.map(|it| {
                let name = &it.pool.metadata.name;
                let state = if it.pool.spec.disabled {
                    ", disabled"
                } else {
                    ""
                };
                format!("{name} {} ({} in use{state})", it.pool.spec.cidr, it.used)
            });
            rows.collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.to_string(),
    };
    let pools = if pools.is_empty() {
        "none".to_owned()
    } else {
        pools
    };
    let message = format!("no {family} address is free for node {}", request.node);
    CniError::new(Code::NoAddress, message).with_details(format!(
        "IPPools: {pools}; enlarge or enable one, or see vrouterctl ipam check for leaks"
    ))
}

/// Whether an ADD would find an address of each family that is asked for.
pub(crate) fn expect_free(config: &Config, store: &Arc<dyn Datastore>) -> Result<(), CniError> {
    let ipam = Ipam::new(Arc::clone(store));
    let usage = ipam
        .usage()
        .map_err(|error| CniError::store("the pools cannot be read", &error))?;
    let pools: Vec<IpPool> = usage.iter().map(|it| it.pool.clone()).collect();
    for (index, family) in Family::ALL.into_iter().enumerate() {
        if !config.assign[index] {
            continue;
        }
        let named = resolve(&config.pools[index], &pools, family)?;
        let free = usage.iter().any(|it| {
            let spec = &it.pool.spec;
            !spec.disabled
                && family.contains(&spec.cidr.addr())
                && spec.allowed_uses.contains(&AllowedUse::Workload)
                && (named.is_empty() || named.contains(&it.pool.metadata.name))
                && (it.used as f64) < it.size
        });
        if !free {
            let request = Request {
                pools: named,
                ..Request::new("this", AllowedUse::Workload, "")
            };
            return Err(exhausted(&ipam, &request, family));
        }
    }
    Ok(())
}

/// Frees what the handles hold; how many addresses that were.
pub(crate) fn release(
    config: &Config,
    store: &Arc<dyn Datastore>,
    handles: &[String],
    log: &mut Log,
) -> Result<usize, vrouter_datastore::StoreError> {
    let _locked = lock(&config.ipam_lock_file, log);
    let ipam = Ipam::new(Arc::clone(store));
    let mut freed = 0;
    for handle in handles {
        freed += ipam.release_handle(handle)?;
    }
    Ok(freed)
}

/// Whether the container still holds these addresses.
pub(crate) fn expect_held(
    config: &Config,
    store: &Arc<dyn Datastore>,
    identity: &Identity,
    addresses: &[IpAddr],
) -> Result<(), CniError> {
    let ipam = Ipam::new(Arc::clone(store));
    let handle = identity.handle(&config.network);
    let held = ipam
        .held_by(&handle)
        .map_err(|error| CniError::store("the addresses cannot be read", &error))?;
    match addresses.iter().find(|it| !held.contains(it)) {
        None => Ok(()),
        Some(address) => Err(CniError::new(
            Code::Differs,
            format!("address {address} is not held by IPAM handle {handle}"),
        )),
    }
}

/// The handles of a network on a node that belong to no container in `valid`.
pub(crate) fn stray_handles(
    network: &str,
    node: &str,
    store: &Arc<dyn Datastore>,
    valid: &dyn Fn(&str) -> bool,
) -> Result<Vec<String>, CniError> {
    let ipam = Ipam::new(Arc::clone(store));
    let held = ipam
        .held()
        .map_err(|error| CniError::store("the addresses cannot be read", &error))?;
    let mut stray = BTreeMap::new();
    for held in held {
        let attributes = held.attributes;
        let of_node = attributes
            .secondary
            .get("node")
            .is_some_and(|it| it == node);
        let Some(handle) = attributes.handle_id.filter(|_| of_node) else {
            continue;
        };
        let Some(container) = handle
            .strip_prefix(network)
            .and_then(|rest| rest.strip_prefix('.'))
        else {
            continue;
        };
        // A network's name may have dots: another network's handle may begin like ours.
        let ours = match attributes.secondary.get("network") {
            Some(name) => name == network,
            None => !container.contains('.'),
        };
        if ours && !valid(container) {
            stray.insert(handle.clone(), ());
        }
    }
    Ok(stray.into_keys().collect())
}
