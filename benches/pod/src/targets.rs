//! Places that others set up: two namespaces of this machine, or commands to be put before ours,
//! from a YAML file:
//!
//! ```yaml
//! targets:
//!   - name: calico
//!     client: [kubectl, exec, -i, client, --]
//!     server: [kubectl, exec, -i, server, --]
//!     serverIp: 10.0.0.7
//!     program: /tmp/vrouter-bench        # this program in both; without it its own tests fail
//!     page: http://10.0.0.7/             # without it ab's tests fail
//! ```
//!
//! iperf3 is started behind `server`; fping, iperf3 and ab must be there behind `client`.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use vrouter_lab::check::{IPERF_PORT, PAGE, Servers, WEB_PORT};
use vrouter_lab::names::Netns;

use crate::cli::RunOptions;
use crate::error::{BenchError, Result};
use crate::measure::Target;
use crate::place::{Place, Running, own_program};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    targets: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    client: Vec<String>,
    server: Vec<String>,
    server_ip: IpAddr,
    program: Option<String>,
    page: Option<String>,
}

/// A place with the servers that were started in it; they end with the value.
#[derive(Debug)]
pub struct External {
    pub name: String,
    /// The place.
    pub target: Target,
    namespaces: Option<(Netns, IpAddr)>,
    servers: Option<Servers>,
    iperf: Option<Running>,
}

/// The places that the options name, if they name any.
///
/// # Errors
/// The file cannot be read or is not of that form.
pub fn read(options: &RunOptions) -> Result<Vec<External>> {
    let own = own_program().map_err(BenchError::Invalid)?;
    if let (Some(client), Some(server), Some(address)) =
        (&options.client_ns, &options.server_ns, options.server_ip)
    {
        let (client, server) = (Netns::named(client), Netns::named(server));
        for netns in [&client, &server] {
            if !netns.path().exists() {
                return Err(BenchError::Invalid(format!(
                    "there is no namespace {netns}"
                )));
            }
        }
        return Ok(vec![External {
            name: "external".to_owned(),
            target: Target {
                client: Place::Namespace(client),
                server: Place::Namespace(server.clone()),
                address,
                page: Some(page(address)),
                program: Some(own.display().to_string()),
                forwarders: Vec::new(),
                servers: Vec::new(),
            },
            namespaces: Some((server, address)),
            servers: None,
            iperf: None,
        }]);
    }
    let Some(path) = &options.targets else {
        return Ok(Vec::new());
    };
    let text =
        fs::read_to_string(path).map_err(BenchError::io(format!("reading {}", path.display())))?;
    parse(&text).map_err(|error| BenchError::Invalid(format!("{}: {error}", path.display())))
}

fn parse(text: &str) -> Result<Vec<External>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if file.targets.is_empty() {
        return Err("no targets".to_owned());
    }
    let external = |entry: Entry| External {
        name: entry.name,
        target: Target {
            client: Place::Prefix(entry.client),
            server: Place::Prefix(entry.server),
            address: entry.server_ip,
            page: entry.page,
            program: entry.program,
            forwarders: Vec::new(),
            servers: Vec::new(),
        },
        namespaces: None,
        servers: None,
        iperf: None,
    };
    Ok(file.targets.into_iter().map(external).collect())
}

impl External {
    /// Starts the servers, with their files in `directory`.
    ///
    /// # Errors
    /// They do not start.
    pub fn serve(&mut self, directory: &Path) -> Result<()> {
        if let Some((netns, address)) = &self.namespaces {
            let files = directory.join("servers");
            let servers = Servers::start(files, std::iter::once((netns, *address)))?;
            self.target.servers = servers.processes();
            self.servers = Some(servers);
            return Ok(());
        }
        let port = IPERF_PORT.to_string();
        let words = ["iperf3", "-s", "-p", &port].map(str::to_owned);
        let running = self.target.server.start(&words);
        self.iperf = Some(running.map_err(BenchError::Invalid)?);
        std::thread::sleep(std::time::Duration::from_millis(500));
        Ok(())
    }
}

/// The page that a lab's nginx serves.
pub fn page(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("http://{address}:{WEB_PORT}{PAGE}"),
        IpAddr::V6(address) => format!("http://[{address}]:{WEB_PORT}{PAGE}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_commands_and_an_address() {
        let text = "targets:\n  - name: a\n    client: [kubectl, exec, c, --]\n    \
                    server: [kubectl, exec, s, --]\n    serverIp: 10.0.0.7\n";
        let found = parse(text).unwrap();
        assert_eq!(found[0].name, "a");
        assert_eq!(
            found[0].target.client,
            Place::Prefix(["kubectl", "exec", "c", "--"].map(str::to_owned).to_vec())
        );
        assert_eq!(found[0].target.page, None);
        assert!(parse("targets: []").is_err());
        assert!(parse("targets:\n  - name: a\n    other: 1\n").is_err());
    }
}
