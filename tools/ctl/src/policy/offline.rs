//! Resources from a directory, explained without a daemon and without privileges.

use std::path::{Path, PathBuf};

use vrouter_control::ErrorBody;
use vrouter_control::model::Explanation;
use vrouter_control::params::Explain;
use vrouter_core::policies;
use vrouter_core::resources::Resources;
use vrouter_datastore::{Directory, Event};
use vrouter_explain::Question;

use crate::failure::Failure;

/// What a directory says.
pub(super) struct Offline {
    resources: Resources,
    policies: policies::Reference,
    node: Option<String>,
}

impl Offline {
    /// Reads a directory as `vrouterd` does. A faulty file is refused: an answer that leaves it
    /// out would be about something else than what was written.
    pub(super) fn read(directory: &Path, node: Option<String>) -> Result<Self, Failure> {
        let cannot = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
        let events = Directory::open(PathBuf::from(directory))
            .and_then(|directory| directory.load())
            .map_err(|error| cannot(&error))?;
        let mut resources = Resources::default();
        let mut faults = Vec::new();
        for event in events {
            match event {
                Event::Upsert(resource) => resources.upsert(resource),
                Event::Delete(key) => resources.delete(&key),
                Event::Fault { errors, .. } => faults.extend(errors),
                // What has no effect on packets has none on their explanation.
                Event::Notice(_)
                | Event::Mended { .. }
                | Event::Away { .. }
                | Event::Back
                | Event::InSync => {}
            }
        }
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        if !faults.is_empty() {
            return Err(Failure::Usage(faults.join("\n")));
        }
        let policies = policies::reference(&resources);
        Ok(Self {
            resources,
            policies,
            node,
        })
    }

    pub(super) fn explain(&self, packet: &Explain) -> Result<Explanation, ErrorBody> {
        let walk = Question {
            resources: &self.resources,
            reference: &self.policies,
            node: self.node.as_deref(),
            host_addresses: &[],
            underlay: None,
            names: None,
        }
        .explain(packet)?;
        Explanation::new(&walk).map_err(|error| ErrorBody::internal(error.to_string()))
    }
}
