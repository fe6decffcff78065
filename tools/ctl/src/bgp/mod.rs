//! `bgp`: what a node's BIRD is told and does, from resources alone; and what one that runs says.

mod explain;
mod running;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use vrouter_api::{Resource, parse_in};
use vrouter_bgp::{Cluster, Config, KINDS, Passwords, Plan, Settings, render};
use vrouter_datastore::Scope;

use crate::args::Cli;
use crate::args::bgp::{BgpCommand, NodeArgs};
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn run<W: Write>(
    cli: &Cli,
    out: &mut Output<W>,
    command: &BgpCommand,
) -> Result<(), Failure> {
    match command {
        BgpCommand::Render {
            from,
            show_passwords,
        } => {
            let config = rendered(&cluster(cli)?, from)?;
            out.text(&config.text(if *show_passwords {
                Passwords::Shown
            } else {
                Passwords::Hidden
            }))
        }
        BgpCommand::Plan {
            from,
            filename,
            delete,
        } => {
            let before = cluster(cli)?;
            let mut after = before.clone();
            for resource in file(filename)? {
                if *delete {
                    after.delete(&resource.key());
                } else {
                    after.upsert(resource);
                }
            }
            // A node that is new, or one that goes, has one side alone.
            let old = rendered(&before, from);
            match (old, rendered(&after, from)) {
                (old, Ok(new)) => print_plan(out, &Plan::new(old.ok().as_ref(), &new), &new),
                (Ok(_), Err(reason)) => Err(Failure::Usage(format!(
                    "after the change there is no configuration: {reason}"
                ))),
                (Err(_), Err(reason)) => Err(reason),
            }
        }
        BgpCommand::Explain {
            prefix,
            peer,
            from,
            bird,
        } => {
            let config = rendered(&cluster(cli)?, from)?;
            explain::run(out, &config, *prefix, peer.as_deref(), &bird.bird_socket)
        }
        BgpCommand::Peers { bird } => running::peers(out, &bird.bird_socket),
        BgpCommand::Routes { prefix, bird } => running::routes(out, *prefix, &bird.bird_socket),
    }
}

/// The resources that BGP is made from; a faulty one is refused: an answer without it would be
/// about something else than what was written.
fn cluster(cli: &Cli) -> Result<Cluster, Failure> {
    let fault = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
    let store = crate::calico::open(cli)?;
    let mut faults = Vec::new();
    let mut cluster = Cluster::default();
    for kind in KINDS {
        let list = store
            .list(*kind, Scope::All)
            .map_err(|error| fault(&error))?;
        faults.extend(list.faults.iter().map(ToString::to_string));
        list.resources
            .into_iter()
            .for_each(|resource| cluster.upsert(resource));
    }
    faults.sort();
    faults.dedup();
    if faults.is_empty() {
        Ok(cluster)
    } else {
        Err(Failure::Usage(faults.join("\n")))
    }
}

fn rendered(cluster: &Cluster, from: &NodeArgs) -> Result<Config, Failure> {
    let router_id = from.router_id.as_deref().filter(|text| !text.is_empty());
    let router_id = router_id.map(|text| {
        text.parse().map_err(|reason| {
            Failure::Usage(format!(
                "the router ID {text:?} (--router-id, CALICO_ROUTER_ID) {reason}"
            ))
        })
    });
    let settings = Settings {
        node: from.node.clone(),
        router_id: router_id.transpose()?,
        advertise_cluster_ips: from.advertise_cluster_ips,
        namespace: from.secret_namespace.clone(),
    };
    render(cluster, &settings).map_err(|reason| Failure::Usage(reason.to_string()))
}

fn file(path: &Path) -> Result<Vec<Resource>, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    let parsed = parse_in(&bytes, &name, "default");
    if parsed.errors.is_empty() {
        let resources = parsed.resources.into_iter();
        return Ok(resources.map(|located| located.value).collect());
    }
    let errors: Vec<String> = parsed.errors.iter().map(ToString::to_string).collect();
    Err(Failure::Usage(errors.join("\n")))
}

fn print_plan<W: Write>(out: &mut Output<W>, plan: &Plan, after: &Config) -> Result<(), Failure> {
    if out.structured(plan)? {
        return Ok(());
    }
    let mut text = String::new();
    let whys: BTreeMap<&str, &str> = after
        .sessions
        .iter()
        .map(|session| (session.name.as_str(), session.why.as_str()))
        .collect();
    for name in &plan.added {
        text += &format!(
            "+ session {name}  ({})\n",
            whys.get(name.as_str()).unwrap_or(&"")
        );
    }
    for name in &plan.removed {
        text += &format!("- session {name}\n");
    }
    for (name, why) in &plan.restarted {
        let why = why.join(", ");
        text += &format!("! session {name} restarts, its routes are away for seconds: {why}\n");
    }
    for name in &plan.reloaded {
        text += &format!("~ session {name} stays up; its filters see all routes again\n");
    }
    for prefix in &plan.routes_added {
        text += &format!("+ route {prefix}\n");
    }
    for prefix in &plan.routes_removed {
        text += &format!("- route {prefix}\n");
    }
    if plan.kernel {
        text += "~ which learned routes become the host's\n";
    }
    if plan.is_empty() {
        text += "Nothing changes for BIRD.\n";
    }
    for warning in &after.warnings {
        text += &format!("Not done: {warning}\n");
    }
    out.text(&text)
}
