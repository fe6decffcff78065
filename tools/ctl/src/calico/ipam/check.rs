//! `ipam check`, its report, and `ipam release --from-report`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vrouter_datastore::Datastore;
use vrouter_datastore::ipam::{Ipam, Problem, Released};

use super::{failed, lock};
use crate::calico::files;
use crate::failure::Failure;
use crate::output::Output;

/// What `check -o` writes and `release --from-report` reads.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Findings {
    version: String,
    #[serde(rename = "clusterGUID")]
    cluster: String,
    datastore_locked: bool,
    #[serde(rename = "clusterInformationRevision")]
    revision: String,
    /// By handle.
    allocations: BTreeMap<String, Vec<Allocation>>,
    #[serde(default)]
    problems: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allocation {
    ip: IpAddr,
    handle: String,
    sequence_number: Option<u64>,
    in_use: bool,
}

pub(super) fn run<W: Write>(
    out: &mut Output<W>,
    ipam: &Ipam,
    store: &dyn Datastore,
    all: bool,
    bad: bool,
    report: Option<&Path>,
) -> Result<(), Failure> {
    out.text("Checking IPAM for inconsistencies...\n\n")?;
    let found = ipam.check().map_err(failed)?;
    out.text("Loading all IPAM blocks...\n")?;
    let blocks = ipam.blocks().map_err(failed)?;
    out.text(&format!("Found {} IPAM blocks.\n", blocks.len()))?;
    for block in &blocks {
        let affinity = block.affinity.as_deref().unwrap_or("<none>");
        out.text(&format!(
            " IPAM block {} affinity={affinity}:\n",
            block.cidr
        ))?;
    }
    out.text(&format!(
        "IPAM blocks record {} allocations.\n\nLoading all IPAM pools...\n",
        found.held.len()
    ))?;
    let pools = ipam.pools().map_err(failed)?;
    for pool in &pools {
        out.text(&format!("  {}\n", pool.spec.cidr))?;
    }
    out.text(&format!(
        "Found {} active IP pools.\n\nWorkloads and nodes are using {} IPs.\n\n",
        pools.len(),
        found.used.len()
    ))?;
    if all {
        for (address, users) in &found.used {
            out.text(&format!("  {address} is used by {}\n", users.join(", ")))?;
        }
    }
    let leaked: BTreeSet<IpAddr> = found
        .problems
        .iter()
        .filter_map(|problem| match problem {
            Problem::Leaked { address, .. } => Some(*address),
            _ => None,
        })
        .collect();
    let missing: Vec<IpAddr> = found
        .problems
        .iter()
        .filter_map(|problem| match problem {
            Problem::NotGiven { address, .. } => Some(*address),
            _ => None,
        })
        .collect();
    let inside = |address: &&IpAddr| pools.iter().any(|pool| pool.spec.cidr.contains(*address));
    let in_pools = missing.iter().filter(inside).count();
    let sentences: Vec<String> = found.problems.iter().map(sentence).collect();
    if bad || sentences.len() > leaked.len() + missing.len() {
        for (problem, sentence) in found.problems.iter().zip(&sentences) {
            let of_address = matches!(problem, Problem::Leaked { .. } | Problem::NotGiven { .. });
            if bad || !of_address {
                out.text(&format!("  {sentence}\n"))?;
            }
        }
    }
    out.text(&format!(
        "Scanning for IPs that are allocated but not actually in use...\n\
         Found {} IPs that are allocated in IPAM but not actually in use.\n\
         Scanning for IPs that are in use by a workload or node but not allocated in IPAM...\n\
         Found {} in-use IPs that are not in active IP pools.\n\
         Found {in_pools} in-use IPs that are in active IP pools but have no corresponding IPAM \
         allocation.\n\n\
         Check complete; found {} problems.\n",
        leaked.len(),
        missing.len() - in_pools,
        found.problems.len()
    ))?;
    let Some(path) = report else {
        return Ok(());
    };
    let (locked, information) = lock(store)?;
    let text = |path: &str| {
        let value = information
            .pointer(path)
            .and_then(serde_json::Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let mut findings = Findings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: text("/spec/clusterGUID"),
        datastore_locked: locked,
        revision: text("/metadata/resourceVersion"),
        problems: sentences,
        ..Findings::default()
    };
    for held in &found.held {
        let handle = held.attributes.handle_id.clone().unwrap_or_default();
        let of_handle = findings.allocations.entry(handle.clone()).or_default();
        of_handle.push(Allocation {
            ip: held.address,
            handle,
            sequence_number: held.sequence,
            in_use: !leaked.contains(&held.address),
        });
    }
    let text = serde_json::to_string_pretty(&findings).map_err(std::io::Error::from)?;
    fs::write(path, text + "\n")
        .map_err(|error| Failure::Calico(format!("{}: {error}", path.display())))
}

fn sentence(problem: &Problem) -> String {
    match problem {
        Problem::Block { block, reason } => format!("block {block}: {reason}"),
        Problem::Overlap { block, other } => format!("block {block} overlaps with {other}"),
        Problem::NoPool { block } => format!("block {block} is in no pool"),
        Problem::Affinity { name, reason } => format!("affinity {name}: {reason}"),
        Problem::Handle {
            handle,
            block,
            counts,
            held,
        } => format!("handle {handle} counts {counts} in {block}, which has {held}"),
        Problem::NotGiven { address, user } => {
            format!("{address} in use by {user} and not allocated")
        }
        Problem::Leaked { address, handle } => {
            format!("{address} leaked; handle {handle}")
        }
        Problem::UsedTwice { address, users } => {
            format!("{address} is used by {}", users.join(" and "))
        }
    }
}

/// Releases what every report calls not in use, unless it was given anew meanwhile.
pub(super) fn release<W: Write>(
    out: &mut Output<W>,
    ipam: &Ipam,
    store: &dyn Datastore,
    reports: &[PathBuf],
    force: bool,
) -> Result<(), Failure> {
    let (locked, information) = lock(store)?;
    if !locked && !force {
        return Err(Failure::Calico(
            "datastore is not locked: lock it with `calicoctl datastore migrate lock`, or give \
             --force"
                .to_owned(),
        ));
    }
    let cluster = information.pointer("/spec/clusterGUID");
    let cluster = cluster
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    let mut idle: Option<BTreeMap<IpAddr, (String, Option<u64>)>> = None;
    for path in reports {
        let bad = |reason: String| Failure::Calico(format!("{}: {reason}", path.display()));
        let bytes = files::read(path).map_err(|error| bad(error.to_string()))?;
        let findings: Findings =
            serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if findings.cluster != cluster {
            return Err(bad("is a report of another cluster".to_owned()));
        }
        let here: BTreeMap<_, _> = findings
            .allocations
            .into_values()
            .flatten()
            .filter(|it| !it.in_use)
            .map(|it| (it.ip, (it.handle, it.sequence_number)))
            .collect();
        // Only what no report saw in use.
        match &mut idle {
            Some(idle) => idle.retain(|address, it| here.get(address) == Some(it)),
            None => idle = Some(here),
        }
    }
    let (mut done, mut kept) = (0, 0);
    for (address, (handle, sequence)) in idle.unwrap_or_default() {
        let handle = Some(handle.as_str()).filter(|handle| !handle.is_empty());
        match ipam.release(address, handle, sequence).map_err(failed)? {
            Released::Done => done += 1,
            Released::NotHeld => {}
            Released::NotTheirs => kept += 1,
        }
    }
    out.text(&format!("Released {done} IPs successfully\n"))?;
    if kept > 0 {
        out.text(&format!(
            "{kept} IPs were given to others meanwhile and stay\n"
        ))?;
    }
    Ok(())
}
