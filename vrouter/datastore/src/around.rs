//! What Calico's clients do around a write: labels they set, what is there before the first node,
//! and what goes with a node or a pool. Every store does the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use vrouter_api::{
    BUILT_IN_TIERS, IpPool, Key, Kind, Metadata, Other, Resource, TierDefault, TierSpec,
};

use crate::error::StoreError;
use crate::ipam::Ipam;
use crate::rules::tier_of;
use crate::store::{Datastore, Scope};

/// The label that names a policy's tier.
const TIER: &str = "projectcalico.org/tier";
/// The labels of a workload's endpoint that say where it comes from.
const NAMESPACE: &str = "projectcalico.org/namespace";
const ORCHESTRATOR: &str = "projectcalico.org/orchestrator";
/// The order of a tier that has none.
const DEFAULT_TIER_ORDER: f64 = 1_000_000.0;
/// The time that nodes have to learn that a pool is disabled, before its blocks go.
const DISABLED_FOR: Duration = Duration::from_millis(500);

/// The resource with the labels that Calico's clients set, whatever is given.
pub(crate) fn labelled(resource: &Resource) -> Resource {
    let mut resource = resource.clone();
    let labels = match &resource {
        Resource::WorkloadEndpoint(endpoint) => vec![
            (NAMESPACE, endpoint.metadata.namespace.clone()),
            (ORCHESTRATOR, endpoint.spec.orchestrator.clone()),
        ],
        other => tier_of(other)
            .map(|tier| (TIER, tier.to_owned()))
            .into_iter()
            .collect(),
    };
    let stored = &mut resource.metadata_mut().labels;
    for (name, value) in labels {
        stored.insert(name.to_owned(), value);
    }
    resource
}

/// The resource with the values that Calico's clients store where none is given.
pub(crate) fn completed(resource: &Resource) -> Resource {
    let mut resource = labelled(resource);
    match &mut resource {
        Resource::Tier(tier) => {
            tier.spec.order.get_or_insert(DEFAULT_TIER_ORDER);
        }
        Resource::FelixConfiguration(configuration) => felix(&mut configuration.spec.other),
        Resource::Other(other) => {
            if let Some(Value::Object(spec)) = other.content.get_mut("spec") {
                defaults_of(other.kind, spec);
            }
        }
        Resource::Node(_)
        | Resource::IpPool(_)
        | Resource::WorkloadEndpoint(_)
        | Resource::HostEndpoint(_)
        | Resource::BlockAffinity(_)
        | Resource::NetworkPolicy(_)
        | Resource::GlobalNetworkPolicy(_)
        | Resource::StagedNetworkPolicy(_)
        | Resource::StagedGlobalNetworkPolicy(_)
        | Resource::StagedKubernetesNetworkPolicy(_)
        | Resource::KubernetesNetworkPolicy(_)
        | Resource::NetworkSet(_)
        | Resource::GlobalNetworkSet(_)
        | Resource::Profile(_) => {}
    }
    resource
}

/// What every FelixConfiguration has; the switch of older releases decides two of them.
fn felix(keys: &mut BTreeMap<String, Value>) {
    let switch = keys.get("bpfConnectTimeLoadBalancingEnabled");
    if let Some(enabled) = switch.and_then(Value::as_bool) {
        let mode = if enabled { "Enabled" } else { "Disabled" };
        for (name, value) in [
            ("bpfConnectTimeLoadBalancing", mode),
            ("bpfHostNetworkedNATWithoutCTLB", "Disabled"),
        ] {
            keys.insert(name.to_owned(), value.into());
        }
    }
    for (name, value) in [
        ("bpfConnectTimeLoadBalancing", "TCP"),
        ("bpfHostNetworkedNATWithoutCTLB", "Enabled"),
        ("bpfLogLevel", ""),
        ("floatingIPs", "Disabled"),
        ("nftablesFlowTableOffload", "Disabled"),
        ("nftablesMode", "Auto"),
    ] {
        let key = keys.entry(name.to_owned());
        key.or_insert_with(|| value.into());
    }
}

/// What is stored of the kinds that are kept as they are.
fn defaults_of(kind: Kind, spec: &mut Map<String, Value>) {
    let mut set = |at: &[&str], name: &str, value: Value| {
        let mut fields = Some(&mut *spec);
        for step in at {
            fields = fields
                .and_then(|fields| fields.get_mut(*step))
                .and_then(Value::as_object_mut);
        }
        if let Some(fields) = fields {
            fields.entry(name).or_insert(value);
        }
    };
    match kind {
        Kind::BgpConfiguration => {
            set(&[], "logSeverityScreen", "Info".into());
            set(&[], "serviceLoadBalancerAggregation", "Enabled".into());
        }
        Kind::KubeControllersConfiguration => {
            set(&[], "healthChecks", "Enabled".into());
            set(&[], "prometheusMetricsPort", 9094.into());
            set(&[], "controllers", json!({}));
            set(&["controllers", "node"], "leakGracePeriod", "15m0s".into());
            let balancer = ["controllers", "loadBalancer"];
            set(&balancer, "assignIPs", "AllServices".into());
            let migration = ["controllers", "migration"];
            set(&migration, "policyNameMigrator", "Enabled".into());
        }
        _ => {}
    }
}

/// Sees to it that a cluster has what Calico's clients find in each: `ClusterInformation/default`
/// with its identity, and the built-in tiers.
///
/// # Errors
/// The store's.
pub fn initialize(store: &dyn Datastore) -> Result<(), StoreError> {
    let key = Key::global(Kind::ClusterInformation, "default");
    let fresh = || uuid::Uuid::new_v4().simple().to_string();
    match store.get(&key) {
        Ok(Resource::Other(mut information)) => {
            let spec = information
                .content
                .entry("spec")
                .or_insert_with(|| json!({}));
            let Some(spec) = spec.as_object_mut() else {
                return Ok(());
            };
            let named = spec.get("clusterGUID").and_then(Value::as_str);
            let unnamed = named.is_none_or(str::is_empty);
            let unsaid = !spec.contains_key("datastoreReady");
            if unnamed {
                spec.insert("clusterGUID".to_owned(), fresh().into());
            }
            if unsaid {
                spec.insert("datastoreReady".to_owned(), true.into());
            }
            if unnamed || unsaid {
                store.update(&Resource::Other(information))?;
            }
        }
        Ok(_) => {}
        Err(StoreError::NotFound { .. }) => {
            let spec = json!({"clusterGUID": fresh(), "datastoreReady": true});
            there(store.create(&Resource::Other(Other {
                kind: Kind::ClusterInformation,
                metadata: Metadata::named("default"),
                content: [("spec".to_owned(), spec)].into_iter().collect(),
            })))?;
        }
        Err(error) => return Err(error),
    }
    for (name, order, default_action) in BUILT_IN_TIERS {
        if let Err(StoreError::NotFound { .. }) = store.get(&Key::global(Kind::Tier, name)) {
            there(store.create(&tier(name, *order, *default_action)))?;
        }
    }
    Ok(())
}

fn tier(name: &str, order: f64, default_action: TierDefault) -> Resource {
    let spec = TierSpec {
        order: Some(order),
        default_action,
    };
    vrouter_api::Tier {
        metadata: Metadata::named(name),
        spec,
    }
    .into()
}

/// What somebody else made meanwhile is there as well.
fn there<T>(made: Result<T, StoreError>) -> Result<(), StoreError> {
    match made {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is absent need not be removed.
fn gone<T>(removed: Result<T, StoreError>) -> Result<(), StoreError> {
    match removed {
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what goes with a node or a pool, before the resource itself: the revision at which that
/// is to be removed then.
pub(crate) fn before_delete<S: Datastore + Clone + 'static>(
    store: &S,
    key: &Key,
    revision: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let kept = || revision.map(str::to_owned);
    if key.kind != Kind::Node && key.kind != Kind::IpPool {
        return Ok(kept());
    }
    let shared: Arc<dyn Datastore> = Arc::new(store.clone());
    let there = store.get(key);
    if let (Ok(there), Some(revision)) = (&there, revision)
        && there.metadata().resource_version.as_deref() != Some(revision)
    {
        // Nothing of a newer node is taken away for an older one.
        return Err(StoreError::Conflict { key: key.clone() });
    }
    match there {
        Ok(Resource::IpPool(pool)) => {
            let disabled = !pool.spec.disabled;
            pool_leaves(&shared, pool)?;
            Ok(kept().filter(|_| !disabled))
        }
        Ok(node) => {
            node_leaves(&shared, &key.name, Some(&node))?;
            Ok(kept())
        }
        Err(StoreError::NotFound { .. }) if key.kind == Kind::Node => {
            node_leaves(&shared, &key.name, None)?;
            Ok(kept())
        }
        // Said by the removal itself.
        Err(_) => Ok(kept()),
    }
}

/// Disables a pool, so that nobody takes another block of it, and gives its blocks up.
fn pool_leaves(store: &Arc<dyn Datastore>, mut pool: IpPool) -> Result<(), StoreError> {
    let cidr = pool.spec.cidr;
    if !pool.spec.disabled {
        pool.spec.disabled = true;
        store.update(&pool.into())?;
        std::thread::sleep(DISABLED_FOR);
    }
    Ipam::new(Arc::clone(store)).release_pool(cidr)
}

/// Removes what a node leaves behind, as Calico's clients do, in their order.
fn node_leaves(
    store: &Arc<dyn Datastore>,
    name: &str,
    node: Option<&Resource>,
) -> Result<(), StoreError> {
    let ipam = Ipam::new(Arc::clone(store));
    let all = |kind| Ok::<_, StoreError>(store.list(kind, Scope::All)?.resources);
    let of_node = |resource: &Resource| text(resource, "/spec/node").as_deref() == Some(name);
    let mut endpoints = all(Kind::WorkloadEndpoint)?;
    endpoints.retain(&of_node);
    let own = endpoints.iter().chain(node);
    for address in own.flat_map(addresses_of) {
        ipam.release(address, None, None)?;
    }
    for endpoint in &endpoints {
        gone(store.delete(&endpoint.key(), None))?;
    }
    ipam.release_node(name)?;
    for kind in [Kind::BgpPeer, Kind::HostEndpoint] {
        for resource in all(kind)?.iter().filter(|it| of_node(it)) {
            gone(store.delete(&resource.key(), None))?;
        }
    }
    for kind in [Kind::FelixConfiguration, Kind::BgpConfiguration] {
        gone(store.delete(&Key::global(kind, &format!("node.{name}")), None))?;
    }
    Ok(())
}

fn text(resource: &Resource, path: &str) -> Option<String> {
    let value = serde_json::to_value(resource).ok()?;
    Some(value.pointer(path)?.as_str()?.to_owned())
}

/// The addresses that IPAM gave to an endpoint, or to the tunnels of a node.
fn addresses_of(resource: &Resource) -> Vec<std::net::IpAddr> {
    match resource {
        Resource::WorkloadEndpoint(endpoint) => {
            let networks = endpoint.spec.ip_networks.iter();
            networks.map(|network| network.addr()).collect()
        }
        node => [
            "/spec/bgp/ipv4IPIPTunnelAddr",
            "/spec/ipv4VXLANTunnelAddr",
            "/spec/ipv6VXLANTunnelAddr",
            "/spec/wireguard/interfaceIPv4Address",
            "/spec/wireguard/interfaceIPv6Address",
        ]
        .iter()
        .filter_map(|path| text(node, path)?.parse().ok())
        .collect(),
    }
}
