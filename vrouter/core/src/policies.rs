//! Resources to the policy compiler: which update each of them is.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::compile::{Applied, Compiled, Failsafe, Failsafes, Graph, Update};
use policy::model::{Direction, EndpointKey, Invalid, Name, Profile, TieBreak};
pub use policy::reference::Resources as Reference;
use policy::selector::Labels;
use vrouter_api::{FailsafePort, FelixSettings, Key, Kind, Resource};

use crate::resources::Resources;

/// The profile Calico serves without anybody having written it: allow everything.
pub const DEFAULT_ALLOW: &str = "projectcalico-default-allow";

/// The compiler and what it would not take.
pub struct Policies {
    graph: Graph,
    /// The same resources for the evaluator that explains, once somebody has asked it.
    reference: Option<Box<Reference>>,
    failsafes: Failsafes,
    tie_break: TieBreak,
    problems: BTreeMap<Key, String>,
}

impl Policies {
    /// An empty compiler for a node.
    ///
    /// # Errors
    /// The node's name is no name.
    pub fn new(node: &str) -> Result<Self, Invalid> {
        let mut graph = Graph::new(Name::new(node)?);
        graph.apply(default_allow()?);
        Ok(Self {
            graph,
            reference: None,
            failsafes: Failsafes::default(),
            tie_break: TieBreak::default(),
            problems: BTreeMap::new(),
        })
    }

    /// Takes a new or changed resource. One the compiler refuses leaves what was there in force.
    pub fn upsert(&mut self, resource: &Resource) {
        let key = resource.key();
        match resource.update() {
            Ok(Some(update)) => {
                self.problems.remove(&key);
                self.apply(update);
            }
            Ok(None) => {}
            Err(problem) => {
                self.problems.insert(key, problem.to_string());
            }
        }
    }

    /// Forgets a resource.
    pub fn delete(&mut self, key: &Key) {
        self.problems.remove(key);
        // A key the model cannot hold never was in the compiler.
        if let Ok(Some(update)) = removal(key) {
            self.apply(update);
        }
    }

    fn apply(&mut self, update: Update) {
        if let Some(reference) = &mut self.reference {
            reference.apply(update.clone());
        }
        self.graph.apply(update);
    }

    /// Takes the ports that host endpoints never close.
    pub fn set_failsafes(&mut self, failsafes: Failsafes) {
        if failsafes != self.failsafes {
            self.failsafes = failsafes.clone();
            self.apply(Update::Failsafes(failsafes));
        }
    }

    /// Chooses the text that orders policies of equal order.
    pub fn set_tie_break(&mut self, by: TieBreak) {
        self.tie_break = by;
        self.apply(Update::TieBreak(by));
    }

    /// Compiles what changed; the tables now.
    pub fn compile(&mut self) -> Arc<Compiled> {
        self.graph.flush();
        self.graph.snapshot()
    }

    /// What is evaluated for a local workload, as of the last [`Self::compile`].
    pub fn applied(&self, endpoint: &EndpointKey, direction: Direction) -> Option<Applied> {
        self.graph.applied(endpoint, direction)
    }

    /// The evaluator that explains, over the same resources; made when first asked for.
    pub fn reference(&mut self, resources: &Resources) -> &Reference {
        self.reference.get_or_insert_with(|| {
            let mut reference = reference(resources);
            reference.apply(Update::Failsafes(self.failsafes.clone()));
            reference.apply(Update::TieBreak(self.tie_break));
            Box::new(reference)
        })
    }

    /// Resources the compiler refused, in words.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.problems
            .iter()
            .map(|(key, problem)| format!("{key}: {problem}"))
    }
}

/// The settings' failsafe ports in the compiler's form.
pub fn failsafes(settings: &FelixSettings) -> Failsafes {
    let list = |ports: &[FailsafePort]| {
        let one = |port: &FailsafePort| Failsafe {
            protocol: port.protocol,
            port: port.port,
            net: port.net,
        };
        ports.iter().map(one).collect()
    };
    Failsafes {
        inbound: list(&settings.failsafe_inbound_host_ports),
        outbound: list(&settings.failsafe_outbound_host_ports),
    }
}

/// The evaluator that explains, over resources, with the failsafe ports of all nodes. Those that
/// the model refuses are left out.
pub fn reference(resources: &Resources) -> Reference {
    let mut reference = Reference::new();
    reference.apply(Update::Failsafes(failsafes(&resources.felix(""))));
    let updates = resources.iter().filter_map(|r| r.update().ok().flatten());
    for update in default_allow().into_iter().chain(updates) {
        reference.apply(update);
    }
    reference
}

fn default_allow() -> Result<Update, Invalid> {
    Ok(Profile::allowing(DEFAULT_ALLOW, Labels::default())?.into())
}

fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
    // The static profile shows again when one that replaced it goes.
    if key.kind == Kind::Profile && key.name == DEFAULT_ALLOW {
        return default_allow().map(Some);
    }
    key.removal()
}

/// The compiler's name for a workload endpoint.
///
/// # Errors
/// Its name or namespace is none; the parser of resources lets no such name through.
pub fn endpoint_key(key: &Key) -> Result<EndpointKey, Invalid> {
    EndpointKey::workload(&key.namespace, &key.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::model::PacketTuple;

    /// The resources of a file.
    pub(crate) fn parsed(text: &str) -> Vec<Resource> {
        let parsed = vrouter_api::parse(text.as_bytes(), "t.yaml");
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        parsed.resources.into_iter().map(|r| r.value).collect()
    }

    const PODS: &str = "
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: n1-k8s-web-eth0
  namespace: default
  labels: {app: web, projectcalico.org/orchestrator: k8s, projectcalico.org/namespace: default}
spec: {node: n1, orchestrator: k8s, pod: web, endpoint: eth0, ipNetworks: [10.0.0.1/32],
  profiles: [projectcalico-default-allow]}
";

    const STAGED: &str = "
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: s}
spec: {stagedAction: ACTION, types: [Ingress]}
";

    const KUBERNETES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{ports: [{port: 80}]}]
";

    fn allows(policies: &mut Policies, port: u16) -> bool {
        let compiled = policies.compile();
        let key = EndpointKey::workload("default", "n1-k8s-web-eth0").unwrap();
        let packet =
            PacketTuple::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into(), 6).with_ports(1, port);
        let index = compiled.endpoint(&key).unwrap();
        compiled.evaluate(index, Direction::Ingress, &packet).allow
    }

    #[test]
    fn kubernetes_policies_are_enforced_and_go() {
        let mut policies = Policies::new("n1").unwrap();
        for resource in parsed(PODS) {
            policies.upsert(&resource);
        }
        assert!(allows(&mut policies, 81));
        let policy = parsed(KUBERNETES).remove(0);
        policies.upsert(&policy);
        assert!(allows(&mut policies, 80));
        assert!(!allows(&mut policies, 81));
        policies.delete(&policy.key());
        assert!(allows(&mut policies, 81));
        assert_eq!(policies.problems().count(), 0);
    }

    #[test]
    fn a_staged_policy_that_would_go_is_not_evaluated() {
        let mut policies = Policies::new("n1").unwrap();
        for resource in parsed(PODS) {
            policies.upsert(&resource);
        }
        let key = EndpointKey::workload("default", "n1-k8s-web-eth0").unwrap();
        for (action, tiers) in [("Set", 1), ("Delete", 0), ("Set", 1)] {
            policies.upsert(&parsed(&STAGED.replace("ACTION", action)).remove(0));
            policies.compile();
            let applied = policies.applied(&key, Direction::Ingress).unwrap();
            assert_eq!(applied.tiers.len(), tiers, "{action}");
        }
    }
}
