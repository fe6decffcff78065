//! Names: of the node, of the endpoint, of its interface on the node's side.

use std::fs;
use std::io::ErrorKind;

use vrouter_api::names::{check_subdomain, host_interface_name};

use crate::call::Call;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::error::CniError;
use crate::wishes::Arguments;

/// The namespace of containers that are no pods of Kubernetes'.
const DEFAULT_NAMESPACE: &str = "default";

/// The node's name: the first of the config's `nodename`, its file, the config's `hostname`, the
/// host's own. Without the file, what vrouterd says counts; without vrouterd too, the missing file
/// is an error unless it is optional.
pub(crate) fn node_name(config: &Config, daemon: &Daemon) -> Result<String, CniError> {
    let path = &config.node_name_file;
    let of_file = match fs::read_to_string(path) {
        Ok(text) => Some(text.trim().to_owned()).filter(|it| !it.is_empty()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            let what = format!("nodename_file: {} cannot be read", path.display());
            return Err(CniError::io(&what, error));
        }
    };
    if let Some(name) = config.node_name.clone().or(of_file) {
        return checked(&name, "nodename_file");
    }
    if let Some(name) = daemon.node_name() {
        return Ok(name);
    }
    if !config.node_name_file_optional {
        return Err(CniError::config(format!(
            "stat {}: no such file or directory",
            path.display()
        ))
        .with_details(format!(
            "check that vrouterd is running and answers on {}, or that the calico/node container \
             is running and has mounted /var/lib/calico/, or set nodename",
            config.control_socket.display()
        )));
    }
    if let Some(name) = &config.host_name {
        return Ok(name.clone());
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .map_err(|error| CniError::io("the host has no name", error))?
        .trim()
        .to_lowercase();
    checked(&name, "the host's name")
}

fn checked(name: &str, source: &str) -> Result<String, CniError> {
    match check_subdomain(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(reason) => Err(CniError::config(format!("{source}: {name:?} {reason}"))),
    }
}

/// What a container is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: String,
    /// `k8s` or `cni`.
    pub(crate) orchestrator: &'static str,
    pub(crate) namespace: String,
    /// The pod, for `k8s`.
    pub(crate) pod: Option<String>,
    /// The container's name, for `cni`, where the runtime says it.
    pub(crate) container_name: Option<String>,
    pub(crate) container_id: String,
    /// The interface in the container.
    pub(crate) interface: String,
}

impl Identity {
    pub(crate) fn new(node: String, call: &Call, arguments: &Arguments) -> Identity {
        let pod = arguments.pod();
        Identity {
            node,
            orchestrator: if pod.is_some() { "k8s" } else { "cni" },
            namespace: pod
                .map_or(DEFAULT_NAMESPACE, |(namespace, _)| namespace)
                .to_owned(),
            pod: pod.map(|(_, name)| name.to_owned()),
            container_name: arguments
                .text("K8S_POD_NAME")
                .filter(|_| pod.is_none())
                .map(str::to_owned),
            container_id: call.container_id.clone(),
            interface: call.interface.clone(),
        }
    }

    /// `<node>-<orchestrator>-<pod or container>-<interface>`, every `-` inside a part doubled.
    pub(crate) fn endpoint_name(&self) -> String {
        let workload = self.pod.as_ref().unwrap_or(&self.container_id);
        let parts = [&self.node, self.orchestrator, workload, &self.interface];
        parts.map(|part| part.replace('-', "--")).join("-")
    }

    /// Refuses identities that no endpoint can have.
    pub(crate) fn check(&self) -> Result<(), CniError> {
        let name = self.endpoint_name();
        check_subdomain(&name).map_err(|reason| {
            CniError::environment(format!(
                "CNI_CONTAINERID, K8S_POD_NAME and CNI_IFNAME make the endpoint's name {name:?}"
            ))
            .with_details(format!("which {reason}"))
        })
    }

    /// The interface's name on the node's side: `cali` and 11 characters.
    pub(crate) fn host_interface(&self) -> String {
        if let Some(pod) = &self.pod {
            return host_interface_name(&self.namespace, pod);
        }
        let id = &self.container_id;
        // Identities that are not random, as ctr's, begin alike.
        if id.len() > 11 && !(id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit())) {
            return host_interface_name(&self.namespace, id);
        }
        let first: String = id.chars().take(11).collect();
        format!("cali{first}")
    }

    /// What others of its network may call it: its name, its host name where the runtime chose it (the
    /// first digits of a long random identity), and `aliases`. Kubernetes names its pods itself.
    pub(crate) fn names(&self, aliases: &[String]) -> Vec<String> {
        if self.pod.is_some() {
            return Vec::new();
        }
        let id = &self.container_id;
        let is_random = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        let host_name = if is_random { &id[..12] } else { id };
        let mut names: Vec<String> = Vec::new();
        let own = self.container_name.iter().cloned();
        for name in own.chain([host_name.to_owned()]).chain(aliases.to_vec()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// What its addresses are held by.
    pub(crate) fn handle(&self, network: &str) -> String {
        format!("{network}.{}", self.container_id)
    }

    /// All handles that may hold its addresses: the older form too, which a pod had.
    pub(crate) fn handles(&self, network: &str) -> Vec<String> {
        let old = self.pod.as_ref();
        let old = old.map(|pod| format!("{}.{pod}", self.namespace));
        [self.handle(network)].into_iter().chain(old).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(id: &str, pod: Option<&str>) -> Identity {
        Identity {
            node: "node-1".to_owned(),
            orchestrator: if pod.is_some() { "k8s" } else { "cni" },
            namespace: "default".to_owned(),
            pod: pod.map(str::to_owned),
            container_name: None,
            container_id: id.to_owned(),
            interface: "eth0".to_owned(),
        }
    }

    #[test]
    fn names_are_calicos() {
        let pod = identity("c0ffee", Some("web"));
        assert_eq!(pod.endpoint_name(), "node--1-k8s-web-eth0");
        assert_eq!(pod.host_interface(), "cali68caf03a5f4");
        assert_eq!(pod.handles("net"), ["net.c0ffee", "default.web"]);
        let long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let container = identity(long, None);
        assert_eq!(
            container.endpoint_name(),
            format!("node--1-cni-{long}-eth0")
        );
        assert_eq!(container.host_interface(), "cali0123456789a");
        assert_eq!(container.handles("net"), [format!("net.{long}")]);
        let (one, two) = (
            identity("default-container1", None),
            identity("default-container2", None),
        );
        assert_ne!(one.host_interface(), two.host_interface());
        assert!(identity("Upper", None).check().is_err());
    }

    #[test]
    fn containers_have_names_and_pods_have_none() {
        let long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let mut podmans = identity(long, None);
        podmans.container_name = Some("web".to_owned());
        let aliases = ["0123456789ab", "www"].map(str::to_owned);
        assert_eq!(podmans.names(&aliases), ["web", "0123456789ab", "www"]);
        assert_eq!(identity("default-web", None).names(&[]), ["default-web"]);
        assert!(identity(long, Some("web")).names(&aliases).is_empty());
    }
}
