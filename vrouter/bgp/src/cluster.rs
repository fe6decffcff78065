//! The resources that BGP is made from, typed and by name.
//!
//! Whoever folds a datastore's events into a [`Cluster`] has all that the renderer reads. A
//! resource that cannot be read as its kind is left out and said so.

use std::collections::BTreeMap;

use policy::selector::{LABEL_NAMESPACE, LabelSource, Selector};
use vrouter_api::WorkloadEndpointSpec;
use vrouter_api::bgp::{
    Configuration, EndpointSlice, Filter, Peer, Secret, Service, read, read_whole, slice_service,
};
use vrouter_api::{BlockAffinitySpec, IpPoolSpec, Key, Kind, Metadata, NodeSpec, Resource};

/// The kinds that BGP is made from.
pub const KINDS: &[Kind] = &[
    Kind::Node,
    Kind::IpPool,
    Kind::WorkloadEndpoint,
    Kind::BlockAffinity,
    Kind::BgpConfiguration,
    Kind::BgpPeer,
    Kind::BgpFilter,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Secret,
];

/// Namespace and name.
pub(crate) type Name = (String, String);

/// The resources of a cluster that matter to BGP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    pub(crate) nodes: BTreeMap<String, (Labels, NodeSpec)>,
    pub(crate) pools: BTreeMap<String, IpPoolSpec>,
    pub(crate) affinities: BTreeMap<String, BlockAffinitySpec>,
    pub(crate) endpoints: BTreeMap<Name, (Labels, WorkloadEndpointSpec)>,
    pub(crate) configurations: BTreeMap<String, Configuration>,
    pub(crate) peers: BTreeMap<String, (Annotations, Peer)>,
    pub(crate) filters: BTreeMap<String, Filter>,
    pub(crate) services: BTreeMap<Name, Service>,
    /// With the name of the Service each belongs to.
    pub(crate) slices: BTreeMap<Name, (String, EndpointSlice)>,
    pub(crate) secrets: BTreeMap<Name, Secret>,
    /// What could not be read, and why.
    pub(crate) faults: BTreeMap<Key, String>,
}

/// A resource's annotations.
pub(crate) type Annotations = BTreeMap<String, String>;

/// A resource's labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(pub(crate) BTreeMap<String, String>);

impl LabelSource for Labels {
    fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl Labels {
    /// Whether a selector, which its kind's checks have parsed, selects what has these labels.
    pub(crate) fn match_text(&self, selector: &str) -> bool {
        Selector::parse(selector).is_ok_and(|selector| selector.matches(self))
    }
}

impl Cluster {
    /// The cluster that these resources are.
    #[must_use]
    pub fn of(resources: impl IntoIterator<Item = Resource>) -> Cluster {
        let mut cluster = Cluster::default();
        resources
            .into_iter()
            .for_each(|resource| cluster.upsert(resource));
        cluster
    }

    /// Adds a resource, or replaces the one of its key; those of other kinds are nothing.
    pub fn upsert(&mut self, resource: Resource) {
        let key = resource.key();
        self.faults.remove(&key);
        match resource {
            Resource::Node(node) => {
                let labels = Labels(node.metadata.labels);
                self.nodes.insert(node.metadata.name, (labels, node.spec));
            }
            Resource::IpPool(pool) => {
                self.pools.insert(pool.metadata.name, pool.spec);
            }
            Resource::BlockAffinity(affinity) => {
                self.affinities
                    .insert(affinity.metadata.name, affinity.spec);
            }
            Resource::WorkloadEndpoint(endpoint) => {
                let labels = endpoint_labels(&endpoint.metadata);
                let name = (endpoint.metadata.namespace, endpoint.metadata.name);
                self.endpoints.insert(name, (labels, endpoint.spec));
            }
            Resource::Other(other) => {
                let name = (
                    other.metadata.namespace.clone(),
                    other.metadata.name.clone(),
                );
                let metadata = &other.metadata;
                let done = match other.kind {
                    Kind::BgpConfiguration => read(&other).map(|it| {
                        self.configurations.insert(name.1, it);
                    }),
                    Kind::BgpPeer => read(&other).map(|it| {
                        let annotations = metadata.annotations.clone();
                        self.peers.insert(name.1, (annotations, it));
                    }),
                    Kind::BgpFilter => read(&other).map(|it| {
                        self.filters.insert(name.1, it);
                    }),
                    Kind::Service => read_whole(&other).map(|it| {
                        self.services.insert(name, it);
                    }),
                    Kind::EndpointSlice => {
                        read_whole(&other).map(|it| match slice_service(metadata) {
                            Some(service) => {
                                self.slices.insert(name, (service.to_owned(), it));
                            }
                            None => {
                                self.slices.remove(&name);
                            }
                        })
                    }
                    Kind::Secret => read_whole(&other)
                        .map(|it| {
                            self.secrets.insert(name, it);
                        })
                        // The reason may have a value in it.
                        .map_err(|_| "its data is no map of texts".to_owned()),
                    _ => Ok(()),
                };
                if let Err(reason) = done {
                    self.delete(&key);
                    self.faults.insert(key, reason);
                }
            }
            _ => {}
        }
    }

    /// Removes the resource of a key.
    pub fn delete(&mut self, key: &Key) {
        self.faults.remove(key);
        let name = (key.namespace.clone(), key.name.clone());
        match key.kind {
            Kind::Node => drop(self.nodes.remove(&key.name)),
            Kind::IpPool => drop(self.pools.remove(&key.name)),
            Kind::BlockAffinity => drop(self.affinities.remove(&key.name)),
            Kind::WorkloadEndpoint => drop(self.endpoints.remove(&name)),
            Kind::BgpConfiguration => drop(self.configurations.remove(&key.name)),
            Kind::BgpPeer => drop(self.peers.remove(&key.name)),
            Kind::BgpFilter => drop(self.filters.remove(&key.name)),
            Kind::Service => drop(self.services.remove(&name)),
            Kind::EndpointSlice => drop(self.slices.remove(&name)),
            Kind::Secret => drop(self.secrets.remove(&name)),
            _ => {}
        }
    }

    /// The names of the nodes.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }
}

/// Calico's selectors see an endpoint's namespace as a label.
fn endpoint_labels(metadata: &Metadata) -> Labels {
    let mut labels = metadata.labels.clone();
    labels
        .entry(LABEL_NAMESPACE.to_owned())
        .or_insert_with(|| metadata.namespace.clone());
    Labels(labels)
}
