//! Results: what ADD made, in the form of the config's version.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::error::{CniError, Code};
use crate::json::Fields;
use crate::version::Version;

/// An interface that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) mac: Option<String>,
    pub(crate) mtu: Option<u32>,
    /// The namespace it is in; none for the host's.
    pub(crate) sandbox: Option<String>,
}

/// An address that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) address: IpNet,
    pub(crate) gateway: Option<IpAddr>,
    /// Index into the interfaces.
    pub(crate) interface: Option<u64>,
}

/// The result of ADD; of an IPAM plugin it has no interfaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) ips: Vec<Ip>,
    /// Destinations of routes that an IPAM plugin named.
    pub(crate) routes: Vec<IpNet>,
    pub(crate) dns: Option<Value>,
}

impl Outcome {
    /// As it stands on stdout.
    pub(crate) fn json(&self, version: Version) -> String {
        let ips: Vec<Value> = self.ips.iter().map(|ip| ip.json(version)).collect();
        let mut result = json!({ "cniVersion": version.name(), "ips": ips });
        if !self.interfaces.is_empty() {
            let all = self.interfaces.iter().map(|it| it.json(version));
            result["interfaces"] = all.collect();
        }
        if !self.routes.is_empty() {
            let routes = self.routes.iter().map(|dst| json!({ "dst": dst }));
            result["routes"] = routes.collect();
        }
        if let Some(dns) = &self.dns {
            result["dns"] = dns.clone();
        }
        result.to_string()
    }

    /// Reads a result of any of our versions; of 0.2.0 and before too, which old IPAM plugins
    /// still write.
    pub(crate) fn read(value: &Value) -> Result<Outcome, CniError> {
        let bad = |what: &str| {
            CniError::new(Code::Decode, "a plugin's result cannot be understood")
                .with_details(format!("{what}: {value}"))
        };
        let map = value.as_object().ok_or_else(|| bad("not an object"))?;
        let fields = Fields::root(map);
        let list = |key: &str| -> Vec<Map<String, Value>> {
            let items = fields.value(key).and_then(Value::as_array);
            let objects = items.into_iter().flatten().filter_map(Value::as_object);
            objects.cloned().collect()
        };
        let text = |map: &Map<String, Value>, key: &str| {
            let value = Fields::root(map).value(key);
            value.and_then(Value::as_str).map(str::to_owned)
        };
        let number = |map: &Map<String, Value>, key: &str| {
            Fields::root(map).value(key).and_then(Value::as_u64)
        };
        let mut ips = Vec::new();
        let old = ["ip4", "ip6"].map(|key| fields.value(key).and_then(Value::as_object).cloned());
        for (ip, key) in list("ips")
            .into_iter()
            .map(|it| (it, "address"))
            .chain(old.into_iter().flatten().map(|it| (it, "ip")))
        {
            let address = text(&ip, key).and_then(|it| it.parse().ok());
            ips.push(Ip {
                address: address.ok_or_else(|| bad(key))?,
                gateway: text(&ip, "gateway").and_then(|it| it.parse().ok()),
                interface: number(&ip, "interface"),
            });
        }
        let interfaces = list("interfaces").into_iter().map(|it| Interface {
            name: text(&it, "name").unwrap_or_default(),
            mac: text(&it, "mac").filter(|mac| !mac.is_empty()),
            mtu: number(&it, "mtu").and_then(|mtu| u32::try_from(mtu).ok()),
            sandbox: text(&it, "sandbox").filter(|path| !path.is_empty()),
        });
        let mut routes = Vec::new();
        for route in list("routes") {
            let dst = text(&route, "dst").and_then(|it| it.parse().ok());
            routes.push(dst.ok_or_else(|| bad("routes"))?);
        }
        Ok(Outcome {
            interfaces: interfaces.collect(),
            ips,
            routes,
            dns: fields.value("dns").cloned(),
        })
    }
}

impl Interface {
    fn json(&self, version: Version) -> Value {
        let mut value = json!({ "name": self.name });
        if let Some(mac) = &self.mac {
            value["mac"] = json!(mac);
        }
        if let (Some(mtu), true) = (self.mtu, version >= Version::V1_1_0) {
            value["mtu"] = json!(mtu);
        }
        if let Some(sandbox) = &self.sandbox {
            value["sandbox"] = json!(sandbox);
        }
        value
    }
}

impl Ip {
    fn json(&self, version: Version) -> Value {
        let mut value = json!({ "address": self.address });
        if version < Version::V1_0_0 {
            value["version"] = match self.address {
                IpNet::V4(_) => json!("4"),
                IpNet::V6(_) => json!("6"),
            };
        }
        if let Some(gateway) = self.gateway {
            value["gateway"] = json!(gateway);
        }
        if let Some(interface) = self.interface {
            value["interface"] = json!(interface);
        }
        value
    }
}
