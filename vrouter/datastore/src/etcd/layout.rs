//! Calico's layout of etcd: which path a resource is at and what is written there.
//!
//! Most kinds are a resource as JSON at `/calico/resources/v3/projectcalico.org/<plural>/…`,
//! without the revision, which is etcd's own. What IPAM keeps has paths and shapes of its own
//! below `/calico/ipam/v2/`; here they are given the shape that Calico gives them where
//! Kubernetes is its store.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};
use vrouter_api::{
    AffinityKind, AffinityState, BlockAffinity, BlockAffinitySpec, Key, Kind, Metadata, Other,
    ParseError, Resource, parse_stored, to_value,
};

use super::keep;
use crate::around;
use crate::fault::whole_file;
use crate::store::Scope;

/// Where resources are.
pub(super) const RESOURCES: &str = "/calico/resources/v3/projectcalico.org/";
/// Where nodes' claims on blocks are, and those of what is no node.
const AFFINITIES: &str = "/calico/ipam/v2/host/";
const VIRTUAL: &str = "/calico/ipam/v2/virtual/";
const BLOCKS: &str = "/calico/ipam/v2/assignment/";
const HANDLES: &str = "/calico/ipam/v2/handle/";
const IPAM_CONFIG: &str = "/calico/ipam/v2/config";

/// The annotation of a policy that keeps the name it was given.
const GIVEN_NAME: &str = "projectcalico.org/metadata";

/// What is at a path.
pub(super) type Decoded = (Resource, Vec<vrouter_api::Notice>);

/// How a kind is called in a path.
fn folder(kind: Kind) -> &'static str {
    match kind {
        Kind::KubernetesNetworkPolicy => "kubernetesnetworkpolicies",
        _ => kind.plural(),
    }
}

/// The prefix below which a list is.
pub(super) fn prefix(kind: Kind, scope: Scope<'_>) -> String {
    match (kind, scope) {
        (Kind::BlockAffinity, Scope::Node(node)) => format!("{AFFINITIES}{node}/"),
        (Kind::BlockAffinity, Scope::All | Scope::Namespace(_)) => AFFINITIES.to_owned(),
        (Kind::IpamBlock, _) => BLOCKS.to_owned(),
        (Kind::IpamHandle, _) => HANDLES.to_owned(),
        (Kind::IpamConfiguration, _) => IPAM_CONFIG.to_owned(),
        (_, Scope::Namespace(namespace)) if kind.namespaced() => {
            format!("{RESOURCES}{}/{namespace}/", folder(kind))
        }
        (_, Scope::All | Scope::Namespace(_) | Scope::Node(_)) => {
            format!("{RESOURCES}{}/", folder(kind))
        }
    }
}

/// The prefixes below which a list is: one but for all claims on blocks.
pub(super) fn prefixes_of(kind: Kind, scope: Scope<'_>) -> Vec<String> {
    let mut all = vec![prefix(kind, scope)];
    if kind == Kind::BlockAffinity && !matches!(scope, Scope::Node(_)) {
        all.push(VIRTUAL.to_owned());
    }
    all
}

/// The few prefixes that hold all these kinds.
pub(super) fn prefixes(kinds: &[Kind]) -> Vec<String> {
    let mut all: Vec<String> = kinds
        .iter()
        .flat_map(|kind| match kind {
            Kind::BlockAffinity | Kind::IpamBlock | Kind::IpamHandle | Kind::IpamConfiguration => {
                prefixes_of(*kind, Scope::All)
            }
            _ => vec![RESOURCES.to_owned()],
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Where the resource of that key is or would be; several where a name can be read in several
/// ways, as that of a block affinity, which is node and block joined by dashes.
pub(super) fn paths(key: &Key) -> Vec<String> {
    match key.kind {
        Kind::BlockAffinity => affinities(&key.name),
        Kind::IpamBlock => block_of_name(&key.name)
            .map(block_path)
            .into_iter()
            .collect(),
        Kind::IpamHandle => vec![format!("{HANDLES}{}", key.name)],
        Kind::IpamConfiguration if key.name == "default" => vec![IPAM_CONFIG.to_owned()],
        Kind::IpamConfiguration => Vec::new(),
        _ => vec![
            prefix(
                key.kind,
                if key.kind.namespaced() {
                    Scope::Namespace(&key.namespace)
                } else {
                    Scope::All
                },
            ) + &key.name,
        ],
    }
}

/// The path of a resource.
pub(super) fn path(resource: &Resource) -> Option<String> {
    match resource {
        Resource::BlockAffinity(affinity) => {
            let spec = &affinity.spec;
            let (folder, holder) = (claims(spec.kind), &spec.node);
            let (family, block) = block_parts(spec.cidr);
            Some(format!("{folder}{holder}/{family}/block/{block}"))
        }
        other => paths(&other.key()).into_iter().next(),
    }
}

/// What IPAM keeps of a node itself.
pub(super) fn host(node: &str) -> String {
    format!("{AFFINITIES}{node}")
}

/// The kind of what is at a path; `None` for what is no resource.
pub(super) fn kind_at(path: &str) -> Option<Kind> {
    if let Some(rest) = path.strip_prefix(RESOURCES) {
        let plural = rest.split('/').next()?;
        return Kind::ALL
            .iter()
            .copied()
            .find(|kind| folder(*kind) == plural);
    }
    [
        (AFFINITIES, Kind::BlockAffinity),
        (VIRTUAL, Kind::BlockAffinity),
        (BLOCKS, Kind::IpamBlock),
        (HANDLES, Kind::IpamHandle),
        (IPAM_CONFIG, Kind::IpamConfiguration),
    ]
    .into_iter()
    .find(|(prefix, _)| path.starts_with(prefix))
    .map(|(_, kind)| kind)
}

/// The key of what is at a path, as far as the path tells.
pub(super) fn key_at(path: &str) -> Option<Key> {
    let kind = kind_at(path)?;
    let mut parts = path.split('/').rev();
    let name = parts.next()?;
    Some(match kind {
        Kind::BlockAffinity => {
            let (_, holder) = holder_at(path)?;
            Key::global(kind, &affinity_name(holder, block_at(path)?))
        }
        Kind::IpamBlock => Key::global(kind, &block_name(block_at(path)?)),
        Kind::IpamConfiguration => Key::global(kind, "default"),
        _ if kind.namespaced() => Key::namespaced(kind, parts.next()?, name),
        _ => Key::global(kind, name),
    })
}

/// The name of a block: `10-0-0-0-26`.
pub(crate) fn block_name(block: IpNet) -> String {
    block.to_string().replace(['.', ':', '/'], "-")
}

/// The name of a node's claim on a block: `node1-10-0-0-0-26`.
pub(crate) fn affinity_name(node: &str, block: IpNet) -> String {
    format!("{node}-{}", block_name(block))
}

fn block_of_name(name: &str) -> Option<IpNet> {
    let (address, length) = name.rsplit_once('-')?;
    let v4 = format!("{}/{length}", address.replace('-', "."));
    let v6 = format!("{}/{length}", address.replace('-', ":"));
    v4.parse().or_else(|_| v6.parse()).ok()
}

/// Where claims of that kind are.
fn claims(kind: AffinityKind) -> &'static str {
    match kind {
        AffinityKind::Host => AFFINITIES,
        AffinityKind::Virtual => VIRTUAL,
    }
}

/// Who claims the block at a path.
fn holder_at(path: &str) -> Option<(AffinityKind, &str)> {
    let of = |kind| Some((kind, path.strip_prefix(claims(kind))?.split('/').next()?));
    of(AffinityKind::Host).or_else(|| of(AffinityKind::Virtual))
}

fn affinities(name: &str) -> Vec<String> {
    let dashes: Vec<usize> = name.match_indices('-').map(|(at, _)| at).collect();
    let mut readings = Vec::new();
    for kind in [AffinityKind::Host, AffinityKind::Virtual] {
        for at in dashes.iter().copied().filter(|at| *at > 0) {
            let (holder, rest) = (&name[..at], &name[at + 1..]);
            if let Some((family, part)) = block_of_name(rest).map(block_parts) {
                let folder = claims(kind);
                readings.push(format!("{folder}{holder}/{family}/block/{part}"));
            }
        }
    }
    readings
}

fn block_parts(block: IpNet) -> (&'static str, String) {
    let family = match block {
        IpNet::V4(_) => "ipv4",
        IpNet::V6(_) => "ipv6",
    };
    (family, block.to_string().replacen('/', "-", 1))
}

fn block_path(block: IpNet) -> String {
    let (family, part) = block_parts(block);
    format!("{BLOCKS}{family}/block/{part}")
}

/// `10.0.0.0-26` at the end of a path.
fn block_at(path: &str) -> Option<IpNet> {
    let (address, length) = path.rsplit('/').next()?.rsplit_once('-')?;
    let address: IpAddr = address.parse().ok()?;
    IpNet::new(address, length.parse().ok()?).ok()
}

/// What is written for a resource.
pub(super) fn encode(resource: &Resource) -> Vec<u8> {
    bytes(&value(resource))
}

/// What is written for a resource in the place of `raw`, which was read as `before`: with what is
/// there that we do not know.
pub(super) fn encode_over(resource: &Resource, before: &Resource, raw: &[u8]) -> Vec<u8> {
    let mut new = value(resource);
    if let Ok(there) = serde_json::from_slice(raw) {
        keep::unknown(&mut new, &there, &value(before));
    }
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        // Never stored: etcd has revisions of its own.
        metadata.remove("resourceVersion");
    }
    bytes(&new)
}

/// As Go writes JSON: what could be taken for HTML, and what ends lines in JavaScript, is escaped.
/// None of it stands outside of strings.
fn bytes(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string(value).expect("JSON values can be written as JSON");
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("\\u0026"),
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out.into_bytes()
}

fn value(resource: &Resource) -> Value {
    match resource {
        Resource::BlockAffinity(affinity) => {
            json!({"state": affinity.spec.state, "deleted": affinity.spec.deleted})
        }
        Resource::Other(other) => match other.kind {
            Kind::IpamBlock => without(
                other,
                &["deleted", "strictAffinity"],
                json!({"deleted": false}),
            ),
            Kind::IpamHandle => without(other, &["handleID", "deleted"], json!({"deleted": false})),
            Kind::IpamConfiguration => {
                let spec = other.content.get("spec");
                let at = |name: &str| spec.and_then(|spec| spec.get(name)).cloned();
                let mut value = Map::new();
                for (name, stored) in IPAM_CONFIG_FIELDS {
                    if let Some(field) =
                        at(name).filter(|it| *it != json!(false) && *it != json!(0))
                    {
                        value.insert((*stored).to_owned(), field);
                    }
                }
                Value::Object(value)
            }
            _ => plain(resource),
        },
        _ => plain(resource),
    }
}

/// As in files and as etcd has them.
const IPAM_CONFIG_FIELDS: &[(&str, &str)] = &[
    ("strictAffinity", "strict_affinity"),
    ("autoAllocateBlocks", "auto_allocate_blocks"),
    ("maxBlocksPerHost", "maxBlocksPerHost"),
    ("ipCooldownSeconds", "ipCooldownSeconds"),
];

fn plain(resource: &Resource) -> Value {
    let mut value = to_value(resource);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        if crate::rules::tier_of(resource).is_some() {
            let name = json!({"name": resource.metadata().name}).to_string();
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(GIVEN_NAME.to_owned(), name.into());
            }
        }
    }
    value
}

/// The spec without what the path says, and with what Calico always writes.
fn without(other: &Other, names: &[&str], always: Value) -> Value {
    let spec = other.content.get("spec").and_then(Value::as_object);
    let mut spec = spec.cloned().unwrap_or_default();
    for name in names {
        spec.remove(*name);
    }
    if let Value::Object(always) = always {
        spec.extend(always);
    }
    Value::Object(spec)
}

/// What is at a path, with its revision.
pub(super) fn decode(path: &str, bytes: &[u8], revision: i64) -> Result<Decoded, Vec<ParseError>> {
    let refuse = |reason: String| vec![whole_file(path, &reason)];
    let Some(kind) = kind_at(path) else {
        return Err(refuse("is of no known kind".to_owned()));
    };
    let (mut resource, notices) = match kind {
        Kind::BlockAffinity | Kind::IpamBlock | Kind::IpamHandle | Kind::IpamConfiguration => {
            let value: Map<String, Value> = serde_json::from_slice(bytes)
                .map_err(|error| refuse(format!("is no JSON object: {error}")))?;
            let resource = ipam(kind, path, value).map_err(refuse)?;
            (resource, Vec::new())
        }
        _ => {
            let mut parsed = parse_stored(bytes, path);
            if !parsed.errors.is_empty() {
                return Err(parsed.errors);
            }
            let Some(located) = parsed
                .resources
                .pop()
                .filter(|_| parsed.resources.is_empty())
            else {
                return Err(refuse("must hold one resource".to_owned()));
            };
            if paths(&located.value.key()).first().map(String::as_str) != Some(path) {
                return Err(refuse(format!("holds {}", located.value.key())));
            }
            (located.value, parsed.notices)
        }
    };
    if crate::rules::tier_of(&resource).is_some() {
        resource.metadata_mut().annotations.remove(GIVEN_NAME);
        resource = around::labelled(&resource);
    }
    resource.metadata_mut().resource_version = Some(revision.to_string());
    Ok((resource, notices))
}

fn ipam(kind: Kind, path: &str, mut value: Map<String, Value>) -> Result<Resource, String> {
    let block = || block_at(path).ok_or_else(|| "the path names no block".to_owned());
    let name = match kind {
        Kind::BlockAffinity => {
            let holder = holder_at(path).ok_or_else(|| "the path names no holder".to_owned())?;
            return affinity(holder, block()?, &value);
        }
        Kind::IpamBlock => block_name(block()?),
        Kind::IpamHandle => {
            let id = path.strip_prefix(HANDLES).unwrap_or_default().to_owned();
            value.insert("handleID".to_owned(), Value::from(id.clone()));
            id
        }
        _ => {
            let mut spec = Map::new();
            for (name, stored) in IPAM_CONFIG_FIELDS {
                let absent = match *name {
                    "maxBlocksPerHost" | "ipCooldownSeconds" => json!(0),
                    _ => json!(false),
                };
                let field = value.remove(*stored).unwrap_or(absent);
                spec.insert((*name).to_owned(), field);
            }
            value = spec;
            "default".to_owned()
        }
    };
    let mut content = Map::new();
    content.insert("spec".to_owned(), Value::Object(value));
    Ok(Resource::Other(Other {
        kind,
        metadata: Metadata::named(&name),
        content,
    }))
}

fn affinity(
    (kind, node): (AffinityKind, &str),
    cidr: IpNet,
    value: &Map<String, Value>,
) -> Result<Resource, String> {
    let state = match value.get("state").and_then(Value::as_str) {
        Some("confirmed") => AffinityState::Confirmed,
        Some("pending") => AffinityState::Pending,
        Some("pendingDeletion") => AffinityState::PendingDeletion,
        Some(other) => return Err(format!("state: {other} is none of Calico's")),
        None => return Err("state: must be set".to_owned()),
    };
    let deleted = value
        .get("deleted")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    Ok(BlockAffinity {
        metadata: Metadata::named(&affinity_name(node, cidr)),
        spec: BlockAffinitySpec {
            state,
            node: node.to_owned(),
            kind,
            cidr,
            deleted,
        },
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_calicos() {
        for (kind, namespace, name, path) in [
            (
                Kind::IpPool,
                "",
                "p",
                "/calico/resources/v3/projectcalico.org/ippools/p",
            ),
            (
                Kind::WorkloadEndpoint,
                "ns",
                "n-k8s-p-eth0",
                "/calico/resources/v3/projectcalico.org/workloadendpoints/ns/n-k8s-p-eth0",
            ),
            (
                Kind::KubernetesNetworkPolicy,
                "ns",
                "x",
                "/calico/resources/v3/projectcalico.org/kubernetesnetworkpolicies/ns/x",
            ),
            (
                Kind::BlockAffinity,
                "",
                "node-1-10-0-0-64-26",
                "/calico/ipam/v2/host/node-1/ipv4/block/10.0.0.64-26",
            ),
            (
                Kind::IpamBlock,
                "",
                "fd00-1---122",
                "/calico/ipam/v2/assignment/ipv6/block/fd00:1::-122",
            ),
            (
                Kind::IpamHandle,
                "",
                "net.abc",
                "/calico/ipam/v2/handle/net.abc",
            ),
            (
                Kind::IpamConfiguration,
                "",
                "default",
                "/calico/ipam/v2/config",
            ),
        ] {
            let key = Key::namespaced(kind, namespace, name);
            assert!(
                paths(&key).iter().any(|it| it == path),
                "{key}: {:?}",
                paths(&key)
            );
            assert_eq!(key_at(path), Some(key), "{path}");
        }
    }

    #[test]
    fn a_v6_affinity_is_among_the_readings_of_its_name() {
        let block: IpNet = "fd00:1:2:3::/122".parse().expect("a prefix");
        let name = affinity_name("n-1", block);
        let wanted = "/calico/ipam/v2/host/n-1/ipv6/block/fd00:1:2:3::-122".to_owned();
        assert!(affinities(&name).contains(&wanted), "{name}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_path() {
        for (path, text) in [
            (
                "/calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-26",
                r#"{"state":"odd"}"#,
            ),
            ("/calico/ipam/v2/handle/x", "not JSON"),
            ("/calico/resources/v3/projectcalico.org/tiers/t", "{}"),
            (
                "/calico/resources/v3/projectcalico.org/tiers/t",
                r#"{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"u"}}"#,
            ),
            ("/calico/resources/v3/projectcalico.org/things/t", "{}"),
        ] {
            let errors = decode(path, text.as_bytes(), 1).expect_err(path);
            assert!(errors.iter().all(|error| error.file == path), "{errors:?}");
        }
    }
}
