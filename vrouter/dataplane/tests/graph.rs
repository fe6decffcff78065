//! ARCHITECTURE.md shows the graph that the nodes declare.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

use std::path::Path;

use vrouter_dataplane::graph;

#[test]
fn architecture_shows_the_graph() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let picture = graph::picture();
    assert!(
        text.contains(&format!("```text\n{picture}```")),
        "ARCHITECTURE.md is outdated, expected\n{picture}"
    );
}

#[test]
fn every_node_is_reached_and_leads_on() {
    let entries = ["ethernet-input", "tunnel-input", "ip-input"];
    for node in graph::nodes() {
        let reached = graph::nodes().iter().any(|n| n.next.contains(&node.id));
        let name = node.id.name();
        assert!(
            reached || entries.contains(&name),
            "{name} is never reached"
        );
        assert!(
            !node.next.is_empty() || name == "transmit",
            "{name} leads nowhere"
        );
    }
}
