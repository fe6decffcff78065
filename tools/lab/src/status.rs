//! What `status` and `list` print.

use comfy_table::{ContentArrangement, Table, presets};
use encap::Family;
use serde_json::{Value, json};

use crate::error::Result;
use crate::spec::Backend;
use crate::state;
use crate::topology::Lab;

/// A lab as a readable text.
pub fn text(lab: &Lab) -> String {
    let mut table = plain_table(&["member", "namespace", "IPv4", "IPv6", "tunnel", "runs"]);
    for node in &lab.nodes {
        let tunnels: Vec<String> = Family::ALL
            .into_iter()
            .filter_map(|family| node.tunnel_address(family))
            .map(|address| address.to_string())
            .collect();
        table.add_row([
            node.name.clone(),
            node.namespace.to_string(),
            node.ipv4
                .map(|prefix| prefix.to_string())
                .unwrap_or_default(),
            node.ipv6
                .map(|prefix| prefix.to_string())
                .unwrap_or_default(),
            tunnels.join(" "),
            runs(lab, &node.name, node.backend),
        ]);
        for pod in &node.pods {
            table.add_row([
                pod.name.clone(),
                pod.namespace.to_string(),
                pod.ipv4
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
                pod.ipv6
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
                String::new(),
                String::new(),
            ]);
        }
    }
    let mut text = format!("{table}\n");
    for process in &lab.processes {
        let state = if process.is_alive() {
            "running"
        } else {
            "ended"
        };
        text.push_str(&format!(
            "process    {} (pid {}, {state})\n",
            process.role, process.pid
        ));
    }
    for socket in lab
        .nodes
        .iter()
        .filter_map(|node| node.control_socket.as_ref())
    {
        text.push_str(&format!("control    {}\n", socket.display()));
    }
    text.push_str(&format!(
        "resources  {}\n",
        lab.resource_directory.display()
    ));
    text.push_str(&format!("logs       {}\n", lab.state_directory.display()));
    text
}

/// A lab as JSON: what `lab.json` holds, and for each process whether it runs.
///
/// # Errors
/// Never in practice: a lab has only string keys.
pub fn json(lab: &Lab) -> Value {
    let mut value = serde_json::to_value(lab).expect("a lab has only string keys");
    if let Some(processes) = value.get_mut("processes").and_then(Value::as_array_mut) {
        for (entry, process) in processes.iter_mut().zip(&lab.processes) {
            entry["alive"] = json!(process.is_alive());
        }
    }
    value
}

/// The labs that are up.
///
/// # Errors
/// The state directories cannot be read.
pub fn list() -> Result<String> {
    let mut table = plain_table(&["lab", "nodes", "pods", "encap", "family", "backend"]);
    for name in state::names()? {
        match state::load(&name) {
            Ok(lab) => {
                let json = serde_json::to_value(&lab.spec).expect("a spec has only string keys");
                let field = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
                table.add_row([
                    name.to_string(),
                    lab.nodes.len().to_string(),
                    lab.pods().count().to_string(),
                    field("encap"),
                    field("family"),
                    if lab.spec.mixed {
                        "vrouter, kernel".to_owned()
                    } else {
                        field("backend")
                    },
                ]);
            }
            Err(error) => {
                table.add_row([name.to_string(), error.to_string()]);
            }
        }
    }
    Ok(table.to_string())
}

/// A table without lines between rows, fit for terminals and logs.
pub fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}

fn runs(lab: &Lab, node: &str, backend: Backend) -> String {
    match backend {
        Backend::Kernel => "kernel".to_owned(),
        Backend::Direct => "veth".to_owned(),
        Backend::TapLoop => "tap-loop".to_owned(),
        Backend::Vrouter => lab
            .processes
            .iter()
            .rev()
            .find(|process| process.role.ends_with(node))
            .map_or_else(
                || "vrouterd".to_owned(),
                |process| format!("vrouterd {}", process.pid),
            ),
    }
}
