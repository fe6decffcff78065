//! The CNI plugin in a lab: its configuration on a node, and its traces in etcd.

use std::sync::Arc;

use serde_json::{Value, json};
use vrouter_api::Kind;
use vrouter_datastore::Scope;
use vrouter_datastore::ipam::Ipam;
use vrouter_lab::etcd;

use super::TestLab;

/// The plugin's configuration for a network on node `node`, from one.
pub(crate) fn config(lab: &TestLab, node: usize, network: &str) -> Value {
    let node = lab.node(node);
    let state = lab.lab.state_directory.join(&node.name);
    json!({
        "cniVersion": "1.1.0",
        "name": network,
        "type": "vrouter",
        "etcd_endpoints": etcd::endpoint(),
        "nodename": node.name,
        "control_socket": node.control_socket,
        "state_directory": state.join("cni"),
        "ipam_lock_file": state.join("ipam.lock"),
        "log_file_path": state.join("cni.log"),
        "policy_setup_timeout_seconds": 60,
        "ipam": { "type": "vrouter-ipam" },
    })
}

/// A GlobalNetworkPolicy as YAML.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {spec}\n"
    )
}

/// All endpoints, the IPAM handles of `networks`, and the problems that `ipam check` finds.
pub(crate) fn left(lab: &TestLab, networks: &[&str]) -> Vec<String> {
    etcd::with_store(&lab.lab, |store| {
        let endpoints = store.list(Kind::WorkloadEndpoint, Scope::All)?.resources;
        let mut left: Vec<String> = endpoints.iter().map(|it| it.key().to_string()).collect();
        let ipam = Ipam::new(Arc::clone(store));
        let handles = ipam.handles()?.into_iter().map(|(name, _)| name);
        left.extend(handles.filter(|handle| {
            let network = handle.split_once('.').map(|(network, _)| network);
            network.is_some_and(|it| networks.contains(&it))
        }));
        let problems = ipam.check()?.problems.into_iter();
        left.extend(problems.map(|it| format!("{it:?}")));
        Ok(left)
    })
    .unwrap()
}
