//! Static routes: one by one, or a file of a million in batches.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use ipnet::IpNet;
use vrouter_control::Client;
use vrouter_control::params::{AddRoutes, DeleteRoutes, StaticRoute};

use crate::args::route::RouteCommand;
use crate::failure::Failure;
use crate::output::Output;

/// Routes in one request, well within the protocol's line.
const BATCH: usize = 5000;

pub(crate) fn run(
    client: &mut Client,
    out: &mut Output<impl io::Write>,
    command: &RouteCommand,
) -> Result<(), Failure> {
    match command {
        RouteCommand::Add { prefix, nodes } => {
            let route = StaticRoute {
                prefix: *prefix,
                nodes: nodes.clone(),
            };
            client.call(&AddRoutes {
                routes: vec![route],
            })?;
            Ok(())
        }
        RouteCommand::Delete { prefixes } => {
            let wanted = prefixes.len() as u64;
            let found = client.call(&DeleteRoutes {
                prefixes: prefixes.clone(),
            })?;
            if found.removed == wanted {
                return Ok(());
            }
            let missing = wanted - found.removed;
            Err(Failure::Missing(format!(
                "{missing} of {wanted} prefixes had no static route"
            )))
        }
        RouteCommand::Load { file, nodes } => load(client, out, file, nodes),
    }
}

fn load(
    client: &mut Client,
    out: &mut Output<impl io::Write>,
    file: &Path,
    default: &[String],
) -> Result<(), Failure> {
    let fault = |line: usize, reason: String| {
        Failure::Usage(format!("{}:{line}: {reason}", file.display()))
    };
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened =
            File::open(file).map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?;
        Box::new(BufReader::new(opened))
    };
    let mut batch = Vec::with_capacity(BATCH);
    let mut loaded = 0;
    for (number, line) in input.lines().enumerate() {
        let line = line.map_err(|e| fault(number + 1, e.to_string()))?;
        if let Some(route) = parse(&line, default).map_err(|e| fault(number + 1, e))? {
            batch.push(route);
        }
        if batch.len() == BATCH {
            loaded += send(client, &mut batch)?;
        }
    }
    loaded += send(client, &mut batch)?;
    if out.is_table() {
        out.text(&format!("{loaded} routes\n"))?;
    }
    Ok(())
}

fn send(client: &mut Client, batch: &mut Vec<StaticRoute>) -> Result<usize, Failure> {
    let routes = std::mem::take(batch);
    let count = routes.len();
    if count > 0 {
        client.call(&AddRoutes { routes })?;
    }
    Ok(count)
}

/// A line: a prefix and its nodes; nothing, or a comment.
fn parse(line: &str, default: &[String]) -> Result<Option<StaticRoute>, String> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let Some(prefix) = words.next() else {
        return Ok(None);
    };
    let prefix: IpNet = prefix
        .parse()
        .map_err(|_| format!("{prefix:?} is no prefix such as 192.0.2.0/24"))?;
    let mut nodes: Vec<String> = words.map(str::to_owned).collect();
    if nodes.is_empty() {
        nodes = default.to_vec();
    }
    if nodes.is_empty() {
        return Err(format!("{prefix} names no node, and neither does --via"));
    }
    Ok(Some(StaticRoute { prefix, nodes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let default = ["node2".to_owned()];
        let parsed = parse("10.0.0.0/8 node3 node4 # far", &default)
            .unwrap()
            .unwrap();
        assert_eq!(parsed.nodes, ["node3", "node4"]);
        assert_eq!(parse("fd00::/8", &default).unwrap().unwrap().nodes, default);
        assert_eq!(parse("  # nothing", &default).unwrap(), None);
        assert!(parse("10.0.0.0/8", &[]).unwrap_err().contains("--via"));
        assert!(parse("10/8 node2", &[]).unwrap_err().contains("no prefix"));
    }
}
