//! Publication: from the agent's state to the tables workers read, and routes that clients add.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use encap::Family;
use ipnet::IpNet;
use vrouter_dataplane::tables::{Host as HostTable, Tables};
use vrouter_datastore::EndpointStatuses;

use super::{Agent, ETHERNET_MTU};
use crate::registration::Statuses;
use crate::statics::Nodes;
use crate::tables;
use vrouter_core::desired::{Route, Target};
use vrouter_core::rib::{Change, Way};

/// What the last publication was made from, to leave out those that change nothing.
#[derive(Default, PartialEq)]
pub(super) struct Published {
    pub(super) generation: u32,
    policy: u64,
    interfaces: Vec<Option<Arc<vrouter_dataplane::tables::Interface>>>,
    nodes: rustc_hash::FxHashSet<IpAddr>,
    host: HostTable,
}

impl Agent {
    /// What tables are made from, as it is now.
    pub(super) fn view(&self) -> tables::View<'_> {
        tables::View {
            desired: &self.desired,
            endpoints: &self.endpoints,
            tunnels: &self.tunnels,
            policy: &self.compiled,
            host_endpoints: &self.host_endpoints,
            reset_cut: self.settings.reset_cut_connections,
            host_addresses: &self.host_addresses,
            underlay_mtu: self
                .underlay
                .as_ref()
                .map_or(ETHERNET_MTU, |underlay| underlay.mtu),
            mtu: self.mtu,
            host_name: &self.settings.tunnel_interface,
        }
    }

    /// Publishes tables for the state as it is now, if they differ from the last.
    pub(super) fn publish(&mut self) -> Option<String> {
        let mut routes = self.desired.routes.clone();
        for address in &self.host_addresses {
            let source = "an address of the host".to_owned();
            routes.entry((*address).into()).or_insert(Route {
                target: Target::Host,
                source,
            });
        }
        let view = self.view();
        let adjacencies = view.adjacencies(&routes);
        let next = Published {
            generation: self.published.generation,
            policy: self.compiled.generation(),
            interfaces: view.interfaces(),
            nodes: view.nodes(),
            host: view.host(),
        };
        let change = match self.rib.prepare(&adjacencies) {
            Ok(change) => change,
            Err(error) => return Some(error.to_string()),
        };
        if !change.is_empty() || next != self.published {
            self.published = next;
            self.commit(change);
        }
        if let Some(registrar) = &self.registrar {
            // Now that workers have them.
            registrar.report(self.statuses());
        }
        self.refresh_statics()
    }

    /// Which endpoints are up, if anybody is to know.
    fn statuses(&self) -> Statuses {
        let felix = &self.desired.felix;
        let endpoints = felix.endpoint_reporting_enabled.then(|| EndpointStatuses {
            workloads: self.endpoints.statuses(),
            hosts: self
                .host_endpoints
                .statuses(&self.resources, &self.settings.node),
        });
        Statuses {
            delay: felix.endpoint_reporting_delay,
            endpoints,
        }
    }

    /// Has a prepared change of routes take effect, and every session decided again.
    pub(super) fn commit(&mut self, change: Change) {
        if change.new_adjacencies {
            // Workers must know the new adjacencies before a prefix points to them.
            self.publish_tables();
            self.workers.wait_for(self.published.generation);
        }
        self.rib.commit(change);
        self.publish_tables();
        self.workers.wait_for(self.published.generation);
        self.rib.collect();
    }

    /// Brings static routes to where their nodes are now.
    fn refresh_statics(&mut self) -> Option<String> {
        let mut statics = std::mem::take(&mut self.statics);
        let changed = statics.refresh(&self.view());
        self.statics = statics;
        for (old, new) in changed {
            let prefixes = self.rib.static_by(&old);
            match self
                .rib
                .prepare_static(prefixes.into_iter().map(|prefix| (prefix, &new)))
            {
                Ok(change) => self.commit(change),
                Err(error) => return Some(error.to_string()),
            }
        }
        None
    }

    /// Adds or replaces static routes, all or none.
    ///
    /// # Errors
    /// The first route that cannot be, in words.
    pub(crate) fn add_routes(&mut self, routes: &[(IpNet, Nodes)]) -> Result<(), String> {
        let mut ways: BTreeMap<(Family, Nodes), Way> = BTreeMap::new();
        for (prefix, nodes) in routes {
            if nodes.is_empty() {
                return Err(format!("{prefix}: names no node"));
            }
            if self.rib.is_of_resources(prefix) {
                return Err(format!("{prefix}: is routed by a resource"));
            }
            let family = Family::from(prefix.addr());
            if let Entry::Vacant(vacant) = ways.entry((family, nodes.clone())) {
                let way = match self.statics.way(family, nodes) {
                    Some(way) => way.clone(),
                    None => self
                        .view()
                        .way(nodes, family)
                        .map_err(|reason| format!("{prefix}: {reason}"))?,
                };
                vacant.insert(way);
            }
        }
        let by_way = routes.iter().filter_map(|(prefix, nodes)| {
            let family = Family::from(prefix.addr());
            Some((*prefix, ways.get(&(family, nodes.clone()))?))
        });
        let change = self
            .rib
            .prepare_static(by_way)
            .map_err(|error| error.to_string())?;
        self.commit(change);
        for ((family, nodes), way) in ways {
            self.statics.learn(family, nodes, way);
        }
        Ok(())
    }

    /// Removes static routes; how many of them there were.
    pub(crate) fn remove_routes(&mut self, prefixes: &[IpNet]) -> usize {
        let removed = self.rib.remove_static(prefixes);
        if removed > 0 {
            self.commit(Change::default());
        }
        removed
    }

    fn publish_tables(&mut self) {
        self.published.generation = self.published.generation.wrapping_add(1);
        self.prepare_counters();
        self.workers.publish(Arc::new(Tables {
            generation: self.published.generation,
            interfaces: self.published.interfaces.clone(),
            adjacencies: self.rib.adjacencies(),
            fib: self.rib.fib(),
            policy: Arc::clone(&self.compiled),
            nodes: Arc::new(self.published.nodes.clone()),
            host: Arc::new(self.published.host.clone()),
        }));
    }

    /// Makes counters for the rules of the tables to be published.
    fn prepare_counters(&mut self) {
        let mut before = std::mem::take(&mut self.hits);
        let sources = self.hit_sources();
        sources.reserve(&self.compiled);
        before.notice(&self.compiled, self.endpoints.attached(), &sources);
        self.hits = before;
    }
}
