//! The resources in force, by kind, and what else of them the agent derives its work from.

use std::collections::BTreeMap;

use vrouter_api::{
    AffinityKind, BlockAffinity, FelixConfiguration, FelixSettings, HostEndpoint, IpPool, Key,
    Kind, Node, Resource, WorkloadEndpoint,
};

/// Every resource, as the datastore last had it in good order.
#[derive(Debug, Default)]
pub struct Resources {
    all: BTreeMap<Key, Resource>,
}

impl Resources {
    /// Takes a new or changed resource.
    pub fn upsert(&mut self, resource: Resource) {
        self.all.insert(resource.key(), resource);
    }

    /// Forgets a resource.
    pub fn delete(&mut self, key: &Key) {
        self.all.remove(key);
    }

    /// One resource.
    pub fn find(&self, key: &Key) -> Option<&Resource> {
        self.all.get(key)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.all.values()
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        match self.all.get(&Key::global(Kind::Node, name)) {
            Some(Resource::Node(node)) => Some(node),
            _ => None,
        }
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.all.values().filter_map(|resource| match resource {
            Resource::Node(node) => Some(node),
            _ => None,
        })
    }

    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = &IpPool> {
        self.all.values().filter_map(|resource| match resource {
            Resource::IpPool(pool) => Some(pool),
            _ => None,
        })
    }

    /// All block affinities.
    pub fn affinities(&self) -> impl Iterator<Item = &BlockAffinity> {
        self.all.values().filter_map(|resource| match resource {
            // What a load balancer claims is on no node.
            Resource::BlockAffinity(affinity) if affinity.spec.kind == AffinityKind::Host => {
                Some(affinity)
            }
            _ => None,
        })
    }

    /// All workload endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &WorkloadEndpoint> {
        self.all.values().filter_map(|resource| match resource {
            Resource::WorkloadEndpoint(endpoint) => Some(endpoint),
            _ => None,
        })
    }

    /// All host endpoints.
    pub fn host_endpoints(&self) -> impl Iterator<Item = &HostEndpoint> {
        self.all.values().filter_map(|resource| match resource {
            Resource::HostEndpoint(endpoint) => Some(endpoint),
            _ => None,
        })
    }

    fn felix_configuration(&self, name: &str) -> Option<&FelixConfiguration> {
        match self.all.get(&Key::global(Kind::FelixConfiguration, name)) {
            Some(Resource::FelixConfiguration(configuration)) => Some(configuration),
            _ => None,
        }
    }

    /// The settings in force on a node: `node.NAME` over `default` over Calico's defaults.
    pub fn felix(&self, node: &str) -> FelixSettings {
        let default = self.felix_configuration("default").map(|found| &found.spec);
        let own = self
            .felix_configuration(&format!("node.{node}"))
            .map(|found| &found.spec);
        FelixSettings::of(default, own)
    }
}
