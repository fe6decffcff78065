//! BGPFilter: which routes are told to a neighbor and believed of it, and how they change.

use ipnet::IpNet;
use serde::Deserialize;

use super::check;
use super::text::{Community, as_numbers, word};
use crate::kinds::stored::Shape::{self, Check, Choice, List};
use crate::place::{Fields, Place};

const ACTIONS: Shape = Choice(&["Accept", "Reject"]);
const OPERATORS: Shape = Choice(&["Equal", "NotEqual", "In", "NotIn"]);

macro_rules! rules {
    ($net:path, $lengths:path) => {
        List(&Shape::Together(
            &[
                ("action", ACTIONS),
                ("cidr", Check($net)),
                ("matchOperator", OPERATORS),
                ("prefixLength", Check($lengths)),
                ("source", Choice(&["RemotePeers"])),
                ("interface", Check(check::interface_pattern)),
                ("peerType", Choice(&["eBGP", "iBGP"])),
                ("communities", Check(communities)),
                ("asPathPrefix", Check(check::as_number_list)),
                ("priority", Check(check::priority)),
                ("operations", Check(operations)),
            ],
            check_rule,
        ))
    };
}

/// What each field must look like.
pub(in crate::kinds) const FILTER: &[(&str, Shape)] = &[
    ("importV4", rules!(net4, lengths4)),
    ("importV6", rules!(net6, lengths6)),
    ("exportV4", rules!(net4, lengths4)),
    ("exportV6", rules!(net6, lengths6)),
];

/// What a rule's fields say about each other.
fn check_rule(fields: &Fields<'_>) {
    let set = |name: &str| fields.unread(name).is_some_and(|it| it.tree_is_set());
    if !fields.peek("action") {
        fields.error_at("action", "must be set");
    }
    if set("cidr") != set("matchOperator") {
        fields.error("cidr and matchOperator must both be set or both be empty");
    }
    if set("prefixLength") && !set("cidr") {
        fields.error_at("prefixLength", "cidr is required when prefixLength is set");
    }
    let accepts = fields
        .unread("action")
        .is_some_and(|action| action.written() == "Accept");
    if set("operations") && !accepts {
        fields.error_at(
            "operations",
            "operations may only be used with action Accept",
        );
    }
}

fn net4(place: &Place<'_>) {
    if let Some(IpNet::V6(_)) = check::net(place) {
        place.error("must be an IPv4 CIDR");
    }
}

fn net6(place: &Place<'_>) {
    if let Some(IpNet::V4(_)) = check::net(place) {
        place.error("must be an IPv6 CIDR");
    }
}

fn lengths4(place: &Place<'_>) {
    lengths(place, 32);
}

fn lengths6(place: &Place<'_>) {
    lengths(place, 128);
}

fn lengths(place: &Place<'_>, most: u8) {
    let Some(fields) = place.fields() else { return };
    for name in ["min", "max"] {
        if let Some(length) = fields.optional(name) {
            let _ = length.integer(0..=most);
        }
    }
    check::rest(&fields);
}

fn communities(place: &Place<'_>) {
    let Some(fields) = place.fields() else { return };
    if let Some(values) = fields.required("values") {
        let items = values.items();
        if items.len() != 1 {
            values.error("must have exactly one community");
        }
        items.iter().for_each(check::plain_community);
    }
    check::rest(&fields);
}

fn operations(place: &Place<'_>) {
    let items = place.items();
    if items.is_empty() || items.len() > 10 {
        place.error("must have 1–10 operations");
    }
    for item in items {
        let Some(fields) = item.fields() else {
            continue;
        };
        let names = ["addCommunity", "prependASPath", "setPriority"];
        let set = names.iter().filter(|name| fields.peek(name)).count();
        if set > 1 {
            item.error("must be one operation: addCommunity, prependASPath or setPriority");
        }
        let inner = |name: &'static str, field: &'static str, check: fn(&Place<'_>)| {
            if let Some(fields) = fields.optional(name).and_then(|place| place.fields()) {
                if let Some(value) = fields.required(field) {
                    check(&value);
                }
                check::rest(&fields);
            }
        };
        inner("addCommunity", "value", check::plain_community);
        inner("prependASPath", "prefix", |place| {
            if !(1..=10).contains(&place.items().len()) {
                place.error("must have 1–10 AS numbers");
            }
            check::as_number_list(place);
        });
        inner("setPriority", "value", check::priority);
        check::rest(&fields);
    }
}

/// What a BGPFilter says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// IPv4 routes that are learned.
    #[serde(rename = "importV4")]
    pub import_v4: Vec<Rule>,
    /// IPv6 routes that are learned.
    #[serde(rename = "importV6")]
    pub import_v6: Vec<Rule>,
    /// IPv4 routes that are told.
    #[serde(rename = "exportV4")]
    pub export_v4: Vec<Rule>,
    /// IPv6 routes that are told.
    #[serde(rename = "exportV6")]
    pub export_v6: Vec<Rule>,
}

/// A rule: for routes that meet all its conditions, what is done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub action: Action,
    /// The prefix that the route's is compared with.
    #[serde(default)]
    pub cidr: Option<IpNet>,
    /// How it is compared.
    #[serde(default)]
    pub match_operator: Option<Operator>,
    /// Which lengths In and NotIn mean.
    #[serde(default)]
    pub prefix_length: Option<Lengths>,
    /// Only routes that a neighbor told us.
    #[serde(default)]
    pub source: Option<Source>,
    /// The interface the route leaves by, `*` for anything.
    #[serde(default, deserialize_with = "optional_pattern")]
    pub interface: Option<String>,
    /// Only neighbors of our AS, or of others.
    #[serde(default)]
    pub peer_type: Option<PeerType>,
    /// Communities of which the route has one.
    #[serde(default)]
    pub communities: Option<Communities>,
    /// AS numbers that the path begins with.
    #[serde(default, deserialize_with = "as_numbers")]
    pub as_path_prefix: Vec<u32>,
    /// The route's priority.
    #[serde(default)]
    pub priority: Option<u32>,
    /// How an accepted route changes.
    #[serde(default)]
    pub operations: Vec<Operation>,
}

fn optional_pattern<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Some(word(from)?).filter(|text| !text.is_empty()))
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Action {
    /// The route goes, whatever else there is.
    Accept,
    Reject,
}

/// How prefixes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Operator {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// Inside, or the same.
    In,
    /// Neither.
    NotIn,
}

/// Lengths of prefixes, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lengths {
    /// At least.
    pub min: Option<u8>,
    /// At most.
    pub max: Option<u8>,
}

/// Where a route is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Source {
    /// Neighbors told it.
    RemotePeers,
}

/// Whether a neighbor is of our AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PeerType {
    #[serde(rename = "eBGP")]
    External,
    #[serde(rename = "iBGP")]
    Internal,
}

/// Communities of which a route must have one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Communities {
    /// The one.
    pub values: Vec<Community>,
}

/// A change of an accepted route; one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// It carries a community more.
    pub add_community: Option<AddCommunity>,
    /// Path begins with these.
    #[serde(rename = "prependASPath")]
    pub prepend_as_path: Option<PrependAsPath>,
    pub set_priority: Option<SetPriority>,
}

/// A community to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct AddCommunity {
    /// The community.
    pub value: Community,
}

/// AS numbers to begin a path with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PrependAsPath {
    /// In the order the path has them then.
    #[serde(deserialize_with = "as_numbers")]
    pub prefix: Vec<u32>,
}

/// A priority to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct SetPriority {
    /// The priority.
    pub value: u32,
}
