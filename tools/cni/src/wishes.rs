//! What is asked for one container: from CNI_ARGS, `args.cni`, `runtimeConfig` and the pod's
//! annotations, the later winning.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use vrouter_api::Mac;

use crate::config::{Config, IpamKind};
use crate::error::{CniError, Code};
use crate::json::Fields;

/// Annotations that are understood begin so.
const PREFIX: &str = "cni.projectcalico.org/";
/// The arguments that are no error without `IgnoreUnknown`.
const KNOWN: &[&str] = &[
    "IgnoreUnknown",
    "IP",
    "MAC",
    "K8S_POD_NAME",
    "K8S_POD_NAMESPACE",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
];

/// CNI_ARGS: `K=V;K=V`, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    all: BTreeMap<String, String>,
}

impl Arguments {
    /// Reads CNI_ARGS.
    pub(crate) fn read(text: &str) -> Result<Arguments, CniError> {
        let mut all = BTreeMap::new();
        for pair in text.split(';').filter(|it| !it.trim().is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                let message = format!("CNI_ARGS: {pair:?} is not K=V");
                return Err(CniError::environment(message));
            };
            all.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        let arguments = Arguments { all };
        let ignore = arguments.text("IgnoreUnknown");
        if !ignore.is_some_and(|it| ["1", "true", "yes", "on"].contains(&&*it.to_lowercase())) {
            let mut unknown = arguments.all.keys();
            if let Some(key) = unknown.find(|it| !KNOWN.contains(&it.as_str())) {
                return Err(CniError::environment(format!(
                    "CNI_ARGS: {key} is unknown and IgnoreUnknown=1 is not set"
                )));
            }
        }
        Ok(arguments)
    }

    /// A value that is not empty.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let value = self.all.get(key).map(String::as_str);
        value.filter(|it| !it.is_empty())
    }

    /// Namespace and name of the pod, when it is one of Kubernetes'.
    pub(crate) fn pod(&self) -> Option<(&str, &str)> {
        self.text("K8S_POD_NAMESPACE")
            .zip(self.text("K8S_POD_NAME"))
    }
}

/// What one container asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Addresses it is to have, at most one of a family.
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether those are asked of IPAM.
    pub(crate) without_ipam: bool,
    pub(crate) mac: Option<Mac>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Pools by family, names or CIDRs; the config's when empty.
    pub(crate) pools: [Vec<String>; 2],
    /// Families, when named.
    pub(crate) families: Option<[bool; 2]>,
    /// Names it is to have beside those of its container.
    pub(crate) aliases: Vec<String>,
    /// Sources it may send from beside its addresses.
    pub(crate) source_prefixes: Vec<IpNet>,
}

impl Wishes {
    /// Reads all of them.
    pub(crate) fn read(config: &Config, arguments: &Arguments) -> Result<Wishes, CniError> {
        let mut wishes = Wishes::default();
        let root = Fields::root(&config.raw);
        if let Some(text) = arguments.text("IP") {
            wishes.addresses = addresses("CNI_ARGS: IP", text.split(','))?;
        }
        if let Some(text) = arguments.text("MAC") {
            wishes.mac = Some(mac("CNI_ARGS: MAC", text)?);
        }
        if let Some(Value::Object(of_cni)) = root.fields("args")?.value("cni") {
            let fields = Fields::at(of_cni, "args.cni");
            wishes.take(&fields)?;
            wishes.labels = labels(&fields)?;
        }
        let runtime = root.fields("runtimeConfig")?;
        wishes.take(&runtime)?;
        wishes.aliases = aliases(config, &runtime)?;
        if let Some(Value::Object(map)) = runtime.value("io.kubernetes.cri.pod-annotations") {
            let has = |key: &str| map.contains_key(&format!("{PREFIX}{key}"));
            if has("ipAddrs") && has("ipAddrsNoIpam") {
                let message = "can't have both annotations: ipAddrs and ipAddrsNoIpam";
                return Err(CniError::config(message));
            }
            for (name, value) in map {
                if let Some(text) = value.as_str() {
                    wishes.annotation(config, name, text)?;
                }
            }
        }
        for v6 in [false, true] {
            let count = wishes.addresses.iter().filter(|it| it.is_ipv6() == v6);
            if count.count() > 1 {
                let family = if v6 { "IPv6" } else { "IPv4" };
                return Err(CniError::config(format!(
                    "cannot have more than one {family} address"
                )));
            }
        }
        Ok(wishes)
    }

    /// The conventions that `args.cni` and `runtimeConfig` share.
    fn take(&mut self, fields: &Fields<'_>) -> Result<(), CniError> {
        let ips = fields.texts("ips")?;
        if !ips.is_empty() {
            self.addresses = addresses("ips", ips.into_iter())?;
        }
        if let Some(text) = fields.text("mac")? {
            self.mac = Some(mac("mac", text)?);
        }
        Ok(())
    }

    fn annotation(&mut self, config: &Config, name: &str, text: &str) -> Result<(), CniError> {
        let unsupported = |reason: &str| {
            let message = format!("unsupported annotation {name}: {text:?}");
            Err(CniError::new(Code::UnsupportedField, message).with_details(reason))
        };
        if name.starts_with("qos.projectcalico.org/")
            || ["ingress", "egress"]
                .map(|way| format!("kubernetes.io/{way}-bandwidth"))
                .contains(&name.to_owned())
        {
            return unsupported("there are no rate limits yet: take the annotation away");
        }
        let Some(key) = name.strip_prefix(PREFIX) else {
            return Ok(());
        };
        let list = || -> Result<Vec<String>, CniError> {
            let parsed: Result<Vec<String>, _> = serde_json::from_str(text);
            match parsed {
                Ok(items) if !items.is_empty() => Ok(items),
                Ok(_) => Err(CniError::config(format!("{name}: the list is empty"))),
                Err(error) => Err(CniError::config(format!(
                    "{name}: {text:?} must be a JSON list of strings: {error}"
                ))),
            }
        };
        match key {
            "ipAddrs" | "ipAddrsNoIpam" => {
                let without = key == "ipAddrsNoIpam";
                if without && !config.addresses_without_ipam {
                    return unsupported("it needs feature_control.ip_addrs_no_ipam in the config");
                }
                if !without && config.ipam != Some(IpamKind::Own) {
                    return unsupported("it needs ipam.type calico-ipam or vrouter-ipam");
                }
                self.addresses = addresses(name, list()?.iter().map(String::as_str))?;
                self.without_ipam = without;
            }
            "ipv4pools" => self.pools[0] = list()?,
            "ipv6pools" => self.pools[1] = list()?,
            "ipFamilies" => {
                let mut families = [false; 2];
                for family in list()? {
                    match family.as_str() {
                        "IPv4" => families[0] = true,
                        "IPv6" => families[1] = true,
                        other => {
                            let message = format!("{name}: {other:?} must be IPv4 or IPv6");
                            return Err(CniError::config(message));
                        }
                    }
                }
                self.families = Some(families);
            }
            "hwAddr" => self.mac = Some(mac(name, text)?),
            "floatingIPs" => {
                return unsupported("there is no address translation yet: take it away");
            }
            "allowedSourcePrefixes" => {
                for item in list()? {
                    let prefix: IpNet = item.parse().map_err(|_| {
                        CniError::config(format!("{name}: {item:?} must be a prefix"))
                    })?;
                    self.source_prefixes.push(prefix.trunc());
                }
            }
            // What other parts of Calico keep there.
            _ => {}
        }
        Ok(())
    }
}

fn addresses<'a>(
    name: &str,
    items: impl Iterator<Item = &'a str>,
) -> Result<Vec<IpAddr>, CniError> {
    let mut all = Vec::new();
    for item in items.map(str::trim).filter(|it| !it.is_empty()) {
        // With a prefix length, as some runtimes write it.
        let address = item.split_once('/').map_or(item, |(address, _)| address);
        all.push(
            address
                .parse()
                .map_err(|_| CniError::config(format!("{name}: {item:?} must be an IP address")))?,
        );
    }
    Ok(all)
}

fn mac(name: &str, text: &str) -> Result<Mac, CniError> {
    let mac: Mac = text
        .parse()
        .map_err(|error| CniError::config(format!("{name}: {text:?} {error}")))?;
    if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
        let message = format!("{name}: {text:?} must be the address of one interface");
        return Err(CniError::config(message));
    }
    Ok(mac)
}

/// `aliases` of `runtimeConfig`: a list of names, or one for each network, as podman sends it.
fn aliases(config: &Config, runtime: &Fields<'_>) -> Result<Vec<String>, CniError> {
    let list = match runtime.value("aliases") {
        Some(Value::Object(networks)) => networks.get(&config.network),
        other => other,
    };
    let Some(list) = list else {
        return Ok(Vec::new());
    };
    let texts = list.as_array().and_then(|items| {
        let texts = items.iter().map(|it| it.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<String>>>()
    });
    texts.ok_or_else(|| runtime.error("aliases", "a list of names, or one for each network"))
}

/// `labels` of `args.cni`: pairs of key and value.
fn labels(fields: &Fields<'_>) -> Result<BTreeMap<String, String>, CniError> {
    let wanted = "a list of {\"key\": \"…\", \"value\": \"…\"}";
    let mut labels = BTreeMap::new();
    let Some(value) = fields.value("labels") else {
        return Ok(labels);
    };
    let items = value.as_array();
    for item in items.ok_or_else(|| fields.error("labels", wanted))? {
        let text = |key: &str| item.get(key).and_then(Value::as_str);
        let (Some(key), Some(value)) = (text("key"), text("value")) else {
            return Err(fields.error("labels", wanted));
        };
        vrouter_api::names::check_label_pair(key, value)
            .map_err(|reason| CniError::config(format!("args.cni.labels: {key}: {reason}")))?;
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}
