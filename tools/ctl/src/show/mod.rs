//! `vrouterctl show`: one function a command, each asking one method.

mod counters;
mod flows;
mod interfaces;
mod policy;
mod resources;
mod routes;
mod version;
mod workers;

use std::io::Write;

use vrouter_control::Client;
use vrouter_control::params::{
    GetVersion, ShowCounters, ShowDrops, ShowFlows, ShowInterfaces, ShowNeighbors, ShowPolicy,
    ShowResources, ShowRoutes, ShowTunnels, ShowWorkers,
};

use crate::args::show::{Destination, Show};
use crate::failure::Failure;
use crate::output::Output;
use crate::page;
use crate::table::Table;

pub(crate) use flows::ends;
pub(crate) use resources::reloaded;
pub(crate) use version::{client_version, versions};

/// Asks and prints.
pub(crate) fn run<W: Write>(
    client: &mut Client,
    out: &mut Output<W>,
    what: &Show,
) -> Result<(), Failure> {
    match what {
        Show::Interfaces { name, per_worker } => {
            let params = ShowInterfaces {
                name: name.clone(),
                per_worker: *per_worker,
            };
            interfaces::print(out, &client.call(&params)?)
        }
        Show::Routes {
            destination,
            family,
            page,
        } => {
            let (address, prefix) = match destination {
                Some(Destination::Address(address)) => (Some(*address), None),
                Some(Destination::Prefix(prefix)) => (None, Some(*prefix)),
                None => (None, None),
            };
            let call = |after, limit| ShowRoutes {
                family: *family,
                prefix,
                address,
                after,
                limit,
            };
            let mut table = Table::new(routes::header(out.is_wide()));
            page::print(client, out, page, call, |out, routes| {
                routes::rows(&mut table, routes);
                out.table(&mut table)
            })
        }
        Show::Neighbors { name } => {
            routes::neighbors(out, &client.call(&ShowNeighbors { name: name.clone() })?)
        }
        Show::Tunnels { node } => {
            routes::tunnels(out, &client.call(&ShowTunnels { node: node.clone() })?)
        }
        Show::Flows {
            address,
            port,
            protocol,
            endpoint,
            page,
        } => {
            let call = |after, limit| ShowFlows {
                address: address.map(Destination::prefix),
                port: *port,
                protocol: *protocol,
                endpoint: endpoint.clone(),
                after,
                limit,
            };
            let mut table = Table::new(flows::header(out.is_wide()));
            page::print(client, out, page, call, |out, flows| {
                flows::rows(&mut table, flows);
                out.table(&mut table)
            })
        }
        Show::Policy { endpoint, page } => {
            let call = |after, limit| ShowPolicy {
                endpoint: endpoint.clone(),
                after,
                limit,
            };
            let mut first = true;
            page::print(client, out, page, call, |out, endpoints| {
                endpoints.iter().try_for_each(|endpoint| {
                    if !std::mem::take(&mut first) {
                        out.text("\n")?;
                    }
                    policy::print(out, endpoint)
                })
            })
        }
        Show::Drops { recent, all } => counters::drops(
            out,
            &client.call(&ShowDrops { recent: *recent })?,
            *recent,
            *all,
        ),
        Show::Workers => workers::print(out, &client.call(&ShowWorkers {})?),
        Show::Version => {
            let daemon = client.call(&GetVersion {}).map_err(Failure::from);
            versions(out, daemon)
        }
        Show::Resources => resources::print(out, &client.call(&ShowResources {})?),
        Show::Counters { all } => counters::print(out, &client.call(&ShowCounters {})?, *all),
    }
}

/// The text of what may be missing; an empty cell is printed as a dash.
fn optional<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}
