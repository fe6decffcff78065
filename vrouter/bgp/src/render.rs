//! From a cluster's resources to one node's configuration of BIRD: a pure function.

use ipnet::IpNet;

use crate::cluster::Cluster;
use crate::config::{Config, Family, Logging, Routes, Static, family_of};
use crate::export;
use crate::services::Services;
use crate::sessions;
use crate::view::{Impossible, Settings, View};

/// What a node's BIRD must be told.
///
/// # Errors
/// Without such a node, or without a router ID, there is nothing BIRD would take.
pub fn render(cluster: &Cluster, settings: &Settings) -> Result<Config, Impossible> {
    let view = View::new(cluster, settings)?;
    let router_id = view.router_id()?;
    let services = Services::of(&view);
    let found = sessions::sessions(&view);
    let mut warnings = found.warnings;
    warnings.extend(unread(&view));
    warnings.sort();
    warnings.dedup();
    let routes = Family::ALL.map(|family| Routes {
        family,
        statics: statics(&view, &services, &found.statics, family),
        from_kernel: export::from_kernel(),
        to_kernel: export::to_kernel(&view, &services, family),
    });
    Ok(Config {
        node: view.name().to_owned(),
        router_id,
        logging: logging(view.log_severity()),
        ignored_interfaces: view.global().ignored_interfaces.clone(),
        routes: routes.into(),
        functions: export::functions(&view, &services),
        sessions: found.sessions,
        warnings,
    })
}

fn logging(severity: &str) -> Logging {
    match severity.to_ascii_lowercase().as_str() {
        "debug" => Logging::Debug,
        "info" => Logging::Info,
        _ => Logging::Quiet,
    }
}

/// What the resources say to nobody.
fn unread(view: &View<'_>) -> Vec<String> {
    let mut all = Vec::new();
    for (key, reason) in &view.cluster.faults {
        all.push(format!("{key}: {reason}"));
    }
    for name in view.cluster.configurations.keys() {
        if name != "default" && !name.starts_with("node.") {
            all.push(format!(
                "BGPConfiguration {name}: only default and node.NAME have a meaning"
            ));
        }
    }
    for (name, (_, peer)) in &view.cluster.peers {
        let missing = peer.filters.iter();
        for filter in missing.filter(|it| !view.cluster.filters.contains_key(*it)) {
            all.push(format!(
                "BGPPeer {name}: there is no BGPFilter {filter}: it filters nothing"
            ));
        }
    }
    all
}

/// The routes of a family that come from here.
fn statics(
    view: &View<'_>,
    services: &Services,
    gateways: &[Static],
    family: Family,
) -> Vec<Static> {
    let whole = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
    let mut blocks = view.blocks(family);
    blocks.retain(|block| !whole(block));
    let blackhole = |prefix, why| Static {
        prefix,
        gateway: None,
        why,
    };
    let mut all: Vec<Static> = gateways
        .iter()
        .filter(|route| family_of(&route.prefix) == family)
        .cloned()
        .collect();
    all.extend(services.statics(family));
    let block = |net: &IpNet| blackhole(*net, "A block of this node".to_owned());
    all.extend(blocks.iter().map(block));
    // Whatever is in a block is told as the block.
    let addresses = view.addresses(family).into_iter();
    let outside = addresses.filter(|(it, _)| !blocks.iter().any(|block| block.contains(it)));
    all.extend(outside.map(|(address, of)| {
        blackhole(
            address.into(),
            format!("Outside of the node's blocks: {of}"),
        )
    }));
    // The first reason is as good as any; a gateway is more than none.
    all.sort_by_key(|route| (route.prefix, route.gateway.is_none()));
    all.dedup_by(|a, b| a.prefix == b.prefix);
    all
}
