//! Running commands in a lab: one in a namespace, or a script that is told about the whole lab.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use crate::error::{LabError, Result};
use crate::topology::Lab;
use encap::Family;

/// Becomes a command inside a namespace of the lab; returns only when that fails.
pub fn exec(lab: &Lab, member: &str, command: &[String]) -> LabError {
    let namespace = match lab.namespace(member) {
        Ok(namespace) => namespace,
        Err(error) => return error,
    };
    let error = Command::new("ip")
        .args(["netns", "exec", namespace.as_str()])
        .args(command)
        .envs(environment(lab))
        .exec();
    LabError::Io {
        what: format!("starting a command in {namespace}"),
        source: error,
    }
}

/// Starts a command where this program runs, with the lab described in its environment.
///
/// # Errors
/// It could not be started.
pub fn script(lab: &Lab, command: &[String]) -> Result<Child> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| LabError::Invalid("there is no command to run".to_owned()))?;
    Command::new(program)
        .args(arguments)
        .envs(environment(lab))
        .spawn()
        .map_err(LabError::io(format!("starting {program}")))
}

/// The lab in environment variables:
/// `LAB_NAME`, `LAB_STATE`, `LAB_RESOURCES`, `LAB_JSON`, `LAB_PROGRAM`, and for each node and pod
/// `LAB_NODE1_NETNS`, `LAB_NODE1_IPV4`, `LAB_NODE1_IPV6`, `LAB_NODE1_TUNNEL_IPV4`,
/// `LAB_NODE1_TUNNEL_IPV6`, `LAB_NODE1_SOCKET`, `LAB_POD1_1_NETNS`, `LAB_POD1_1_IPV4`,
/// `LAB_POD1_1_IPV6`, as far as they exist.
pub fn environment(lab: &Lab) -> Vec<(String, String)> {
    let path = |path: &std::path::Path| path.display().to_string();
    let mut variables = vec![
        ("LAB_NAME".to_owned(), lab.name.to_string()),
        ("LAB_STATE".to_owned(), path(&lab.state_directory)),
        ("LAB_RESOURCES".to_owned(), path(&lab.resource_directory)),
        (
            "LAB_JSON".to_owned(),
            path(&lab.state_directory.join("lab.json")),
        ),
    ];
    if let Ok(own) = std::env::current_exe() {
        variables.push(("LAB_PROGRAM".to_owned(), path(&own)));
    }
    let mut add = |owner: &str, what: &str, value: Option<String>| {
        if let Some(value) = value {
            let owner = owner.to_uppercase().replace('-', "_");
            variables.push((format!("LAB_{owner}_{what}"), value));
        }
    };
    for node in &lab.nodes {
        let text = |address: Option<std::net::IpAddr>| address.map(|address| address.to_string());
        add(&node.name, "NETNS", Some(node.namespace.to_string()));
        add(&node.name, "IPV4", text(node.address(Family::V4)));
        add(&node.name, "IPV6", text(node.address(Family::V6)));
        add(
            &node.name,
            "TUNNEL_IPV4",
            text(node.tunnel_address(Family::V4)),
        );
        add(
            &node.name,
            "TUNNEL_IPV6",
            text(node.tunnel_address(Family::V6)),
        );
        add(
            &node.name,
            "SOCKET",
            node.control_socket.as_deref().map(path),
        );
        for pod in &node.pods {
            add(&pod.name, "NETNS", Some(pod.namespace.to_string()));
            add(&pod.name, "IPV4", text(pod.address(Family::V4)));
            add(&pod.name, "IPV6", text(pod.address(Family::V6)));
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;

    #[test]
    fn the_environment_names_every_pod() {
        let lab = Lab::plan(&"t".parse().unwrap(), &spec("--family dual")).unwrap();
        let environment = environment(&lab);
        let value = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(value("LAB_POD2_1_IPV4"), Some("10.65.0.65"));
        assert_eq!(value("LAB_POD2_1_NETNS"), Some("t-pod2-1"));
        assert_eq!(value("LAB_NODE1_TUNNEL_IPV6"), Some("fd00:65::"));
    }
}
