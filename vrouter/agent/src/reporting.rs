//! What this node reports to the datastore: itself, its endpoints, and its BIRD.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use vrouter_core::observed::Observed;
use vrouter_core::state::State;
use vrouter_core::wanted::Wanted;
use vrouter_datastore::{Datastore, EndpointStatuses};

use crate::node_status::{self, NodeStatuses};
use crate::registration::{Registrar, Statuses};
use crate::settings::Settings;

/// The threads that report; they end with the value.
pub struct Reporting {
    registrar: Option<Registrar>,
    node_statuses: NodeStatuses,
}

impl Reporting {
    /// Starts them.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        settings: &Settings,
        store: &Arc<dyn Datastore>,
        start: Instant,
    ) -> std::io::Result<Reporting> {
        let (node, own) = (&settings.node, || Arc::clone(store));
        Ok(Reporting {
            registrar: Registrar::start(node, own(), &settings.registration, start)?,
            node_statuses: NodeStatuses::start(node, own(), settings.bird.clone())?,
        })
    }

    /// Has the status of every endpoint reported, if anybody is to know.
    pub fn report_endpoints(&self, state: &State, wanted: &Wanted, observed: &Observed) {
        let Some(registrar) = &self.registrar else {
            return;
        };
        let felix = &wanted.desired.felix;
        let workloads = || -> BTreeMap<_, _> {
            let each = observed.endpoints.iter();
            each.map(|e| (e.local.id.clone(), e.attached.is_some()))
                .collect()
        };
        let endpoints = felix.endpoint_reporting_enabled.then(|| EndpointStatuses {
            workloads: workloads(),
            hosts: wanted
                .host_endpoints
                .statuses(&state.resources, &state.node),
        });
        registrar.report(Statuses {
            delay: felix.endpoint_reporting_delay,
            endpoints,
        });
    }

    /// Has every `CalicoNodeStatus` of this node filled in.
    pub fn request_node_statuses(&mut self, state: &State) {
        let requests = node_status::requests(&state.resources, &state.node);
        self.node_statuses.request(requests);
    }
}
