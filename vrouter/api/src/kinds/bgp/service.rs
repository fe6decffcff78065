//! What BGP reads of Kubernetes' Services, EndpointSlices and Secrets: addresses, where endpoints
//! are, passwords.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use crate::metadata::Metadata;

/// A Service, as far as its addresses are told to neighbors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Service {
    pub spec: ServiceSpec,
    pub status: ServiceStatus,
}

/// What a Service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP` when empty.
    #[serde(rename = "type")]
    pub kind: String,
    /// First address, or `None`.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// All its addresses.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Addresses somebody else leads here.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// The load balancer's address that is asked for.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    /// Which nodes take packets from outside.
    pub external_traffic_policy: TrafficPolicy,
    /// `IPv4`, `IPv6`.
    pub ip_families: Vec<String>,
}

/// Which nodes take packets from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TrafficPolicy {
    /// Not said.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// All.
    Cluster,
    /// Those with an endpoint.
    Local,
}

/// What a Service was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// By a load balancer.
    pub load_balancer: LoadBalancer,
}

/// What a load balancer gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    pub ingress: Vec<Ingress>,
}

/// An address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// Absent where it has a name only.
    pub ip: Option<IpAddr>,
}

/// An EndpointSlice: some endpoints of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Where it is.
    pub node_name: Option<String>,
    /// Whether it serves.
    pub conditions: Conditions,
}

/// The state of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Absent is ready.
    pub ready: Option<bool>,
}

impl Endpoint {
    /// Whether it takes packets.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.conditions.ready != Some(false)
    }
}

/// The name of the Service a slice belongs to.
#[must_use]
pub fn slice_service(metadata: &Metadata) -> Option<&str> {
    let name = metadata.labels.get("kubernetes.io/service-name");
    name.map(String::as_str).filter(|name| !name.is_empty())
}

/// A Secret. Its values are shown nowhere.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// Base64.
    data: BTreeMap<String, String>,
    /// Plain.
    string_data: BTreeMap<String, String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.data.keys().chain(self.string_data.keys()).collect();
        f.debug_struct("Secret").field("keys", &keys).finish()
    }
}

impl Secret {
    /// The bytes under a key; what is no base64 has none.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        match self.string_data.get(key) {
            Some(plain) => Some(plain.clone().into_bytes()),
            None => base64(self.data.get(key)?),
        }
    }
}

/// RFC 4648's alphabet, with or without padding; white space is skipped.
fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0u32);
    let text = text.trim_end_matches(|c: char| c == '=' || c.is_ascii_whitespace());
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_and_not_shown() {
        let secret: Secret = serde_json::from_value(serde_json::json!({
            "data": {"a": "aHVudGVyMg==", "b": "aHVu\ndGVyMjI", "c": "!"},
            "stringData": {"a": "plain"},
        }))
        .unwrap();
        assert_eq!(secret.value("a").unwrap(), b"plain");
        assert_eq!(secret.value("b").unwrap(), b"hunter22");
        assert_eq!(secret.value("c"), None);
        assert_eq!(secret.value("d"), None);
        let shown = format!("{secret:?}");
        assert!(
            !shown.contains("plain") && !shown.contains("aHV"),
            "{shown}"
        );
    }
}
