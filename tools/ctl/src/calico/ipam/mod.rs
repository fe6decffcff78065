//! `ipam`: which addresses are given to whom, in calicoctl's tables.

mod check;

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use vrouter_api::{Key, Kind};
use vrouter_datastore::ipam::{Block, Configuration, Held, Ipam, Released, split};
use vrouter_datastore::{Datastore, StoreError};

use super::boxed::boxed;
use super::go::five_digits;
use crate::args::ipam::IpamCommand;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn run<W: Write>(
    out: &mut Output<W>,
    store: &Arc<dyn Datastore>,
    command: &IpamCommand,
    report: Option<&Path>,
) -> Result<(), Failure> {
    let ipam = Ipam::new(Arc::clone(store));
    match command {
        IpamCommand::Show { ip: Some(ip), .. } => holder(out, &ipam, *ip),
        IpamCommand::Show {
            show_configuration: true,
            ..
        } => configuration(out, &ipam),
        IpamCommand::Show {
            show_borrowed: true,
            ..
        } => borrowed(out, &ipam),
        IpamCommand::Show { show_blocks, .. } => usage(out, &ipam, *show_blocks),
        IpamCommand::Check {
            show_all_ips,
            show_problem_ips,
        } => check::run(
            out,
            &ipam,
            &**store,
            *show_all_ips,
            *show_problem_ips,
            report,
        ),
        IpamCommand::Release {
            ip: Some(address), ..
        } => match ipam.release(*address, None, None).map_err(failed)? {
            Released::Done => out.text(&format!("Successfully released IP address {address}\n")),
            Released::NotHeld => Err(Failure::Calico(format!(
                "IP address {address} is not assigned"
            ))),
            Released::NotTheirs => Err(Failure::Calico(format!(
                "IP address {address} was given to somebody else meanwhile"
            ))),
        },
        IpamCommand::Release {
            ip: None,
            from_report,
            force,
        } => check::release(out, &ipam, &**store, from_report, *force),
        IpamCommand::Split { number, cidr, name } => {
            let named = match (name, cidr) {
                (Some(name), _) => Some(name.clone()),
                (None, Some(cidr)) => {
                    let pools = ipam.pools().map_err(failed)?;
                    let found = pools.iter().find(|pool| pool.spec.cidr == cidr.trunc());
                    found.map(|pool| pool.metadata.name.clone())
                }
                (None, None) => None,
            };
            let Some(name) = named else {
                return Err(Failure::Calico(
                    "Unable to find IP pool matching the CIDR".to_owned(),
                ));
            };
            let pools = split(&**store, &name, *number).map_err(failed)?;
            out.text(&format!(
                "Successfully split IP pool {name} into {} pools\n",
                pools.len()
            ))
        }
        IpamCommand::Configure {
            strictaffinity,
            max_blocks_per_host,
        } => {
            ipam.configure(|settings| {
                settings.strict_affinity = strictaffinity.unwrap_or(settings.strict_affinity);
                settings.max_blocks_per_host =
                    max_blocks_per_host.unwrap_or(settings.max_blocks_per_host);
            })
            .map_err(failed)?;
            if let Some(strict) = strictaffinity {
                out.text(&format!("Successfully set StrictAffinity to: {strict}\n"))?;
            }
            if let Some(most) = max_blocks_per_host {
                out.text(&format!("Successfully set MaxBlocksPerHost to: {most}\n"))?;
            }
            Ok(())
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is for map_err")]
fn failed(error: StoreError) -> Failure {
    Failure::Calico(error.to_string())
}

fn holder<W: Write>(out: &mut Output<W>, ipam: &Ipam, address: IpAddr) -> Result<(), Failure> {
    let held = ipam.holder(address).map_err(failed)?;
    let value = held.as_ref().map(|held| {
        json!({
            "ip": held.address, "block": held.block.to_string(), "blockOwner": held.block_of,
            "handle": held.attributes.handle_id, "attributes": held.attributes.secondary,
        })
    });
    if out.structured(&value)? {
        return Ok(());
    }
    let Some(held) = held else {
        return out.text(&format!("{address} is not assigned\n"));
    };
    out.text(&format!("IP {address} is in use\nAttributes:\n"))?;
    for (name, value) in &held.attributes.secondary {
        out.text(&format!("  {name}: {value}\n"))?;
    }
    Ok(())
}

fn configuration<W: Write>(out: &mut Output<W>, ipam: &Ipam) -> Result<(), Failure> {
    let settings: Configuration = ipam.configuration().map_err(failed)?;
    if out.structured(&settings)? {
        return Ok(());
    }
    let rows = [
        ("StrictAffinity", settings.strict_affinity.to_string()),
        (
            "AutoAllocateBlocks",
            settings.auto_allocate_blocks.to_string(),
        ),
        ("MaxBlocksPerHost", settings.max_blocks_per_host.to_string()),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    out.text(&boxed(&["PROPERTY", "VALUE"], &rows))
}

fn borrowed<W: Write>(out: &mut Output<W>, ipam: &Ipam) -> Result<(), Failure> {
    let held = ipam.held().map_err(failed)?;
    let attribute = |held: &Held, name: &str| {
        let secondary = &held.attributes.secondary;
        secondary.get(name).cloned().unwrap_or_default()
    };
    let rows: Vec<Vec<String>> = held
        .iter()
        .filter(|held| held.is_borrowed())
        .map(|held| {
            let (kind, owner) = match attribute(held, "type").as_str() {
                "" => {
                    let of = [attribute(held, "namespace"), attribute(held, "pod")];
                    ("pod".to_owned(), of.join("/"))
                }
                kind => (kind.to_owned(), attribute(held, "node")),
            };
            vec![
                held.address.to_string(),
                attribute(held, "node"),
                held.block.to_string(),
                held.block_of.clone().unwrap_or_default(),
                kind,
                owner,
            ]
        })
        .collect();
    let header = [
        "IP",
        "BORROWING-NODE",
        "BLOCK",
        "BLOCK OWNER",
        "TYPE",
        "ALLOCATED-TO",
    ];
    let list: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "ip": row[0], "borrowingNode": row[1], "block": row[2], "blockOwner": row[3],
                "type": row[4], "allocatedTo": row[5],
            })
        })
        .collect();
    if out.structured(&list)? {
        return Ok(());
    }
    out.text(&boxed(&header, &rows))
}

fn usage<W: Write>(out: &mut Output<W>, ipam: &Ipam, blocks: bool) -> Result<(), Failure> {
    let pools = ipam.usage().map_err(failed)?;
    let block = |block: &Block| {
        let size = block.allocations.len();
        (block.cidr.to_string(), size as f64, block.held().count())
    };
    let list: Vec<_> = pools
        .iter()
        .map(|pool| {
            let inside: Vec<_> = pool
                .blocks
                .iter()
                .map(|it| {
                    let (cidr, size, used) = block(it);
                    json!({"cidr": cidr, "owner": it.host(), "total": size, "inUse": used})
                })
                .collect();
            let mut value = json!({
                "cidr": pool.pool.spec.cidr.to_string(), "total": pool.size, "inUse": pool.used,
            });
            if blocks {
                value["blocks"] = inside.into();
            }
            value
        })
        .collect();
    if out.structured(&list)? {
        return Ok(());
    }
    let mut rows = Vec::new();
    for pool in &pools {
        let cidr = pool.pool.spec.cidr.to_string();
        rows.push(row("IP Pool", cidr, pool.size, pool.used));
        for it in pool.blocks.iter().filter(|_| blocks) {
            let (cidr, size, used) = block(it);
            rows.push(row("Block", cidr, size, used));
        }
    }
    let header = ["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"];
    out.text(&boxed(&header, &rows))
}

fn row(grouping: &str, cidr: String, size: f64, used: usize) -> Vec<String> {
    let used = used as f64;
    let part = |of: f64| format!("{} ({:.0}%)", five_digits(of), 100.0 * of / size);
    vec![
        grouping.to_owned(),
        cidr,
        five_digits(size),
        part(used),
        part(size - used),
    ]
}

/// Whether the datastore is locked, its identity and the revision that says so.
fn lock(store: &dyn Datastore) -> Result<(bool, serde_json::Value), Failure> {
    match store.get(&Key::global(Kind::ClusterInformation, "default")) {
        Ok(resource) => {
            let value = super::get::value(&resource);
            let locked = value.pointer("/spec/datastoreReady") == Some(&json!(false));
            Ok((locked, value))
        }
        Err(StoreError::NotFound { .. }) => Ok((false, json!({}))),
        Err(error) => Err(failed(error)),
    }
}
