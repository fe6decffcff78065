//! IPPool: a range of addresses, and how its packets travel between nodes.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use policy::selector::Selector;
use serde::Serialize;

use crate::key::Kind;
use crate::kinds::rule::selector;
use crate::metadata::Metadata;
use crate::object::{Object, Read, Spec};
use crate::place::{Fields, Place};
use crate::written::Written;

/// A range of pod addresses.
pub type IpPool = Object<IpPoolSpec>;

/// What a pool asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpPoolSpec {
    /// The range; no host bits.
    pub cidr: IpNet,
    /// Prefix length of the blocks nodes claim; 26 for IPv4, 122 for IPv6.
    pub block_size: u8,
    /// When packets to this pool are carried in IPIP. At most one of the two modes is not Never.
    pub ipip_mode: EncapsulationMode,
    /// When packets to this pool are carried in VXLAN.
    pub vxlan_mode: EncapsulationMode,
    /// Whether packets leaving the pools are source-NATed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nat_outgoing: bool,
    /// No new addresses are taken from it; it still counts as a pool.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// BGP does not announce it.
    #[serde(
        rename = "disableBGPExport",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub disable_bgp_export: bool,
    /// Which nodes take blocks from it.
    pub node_selector: Written<Selector>,
    /// Which namespaces' pods take addresses from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Written<Selector>>,
    /// Who takes addresses from it.
    pub allowed_uses: Vec<AllowedUse>,
    /// Whether addresses are taken from it unasked.
    pub assignment_mode: AssignmentMode,
}

/// When an encapsulation is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum EncapsulationMode {
    /// Never.
    #[default]
    Never,
    /// To every other node.
    Always,
    /// To nodes of another underlay subnet only.
    CrossSubnet,
}

/// Who takes addresses from a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum AllowedUse {
    /// Pods.
    Workload,
    /// Tunnel devices of nodes.
    Tunnel,
    /// Host secondary interfaces (Calico Enterprise's name; kept).
    HostSecondaryInterface,
    /// Services of type LoadBalancer.
    LoadBalancer,
}

/// Whether addresses are taken from a pool unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum AssignmentMode {
    /// Yes.
    #[default]
    Automatic,
    /// Only when a pod names the pool.
    Manual,
}

const MODES: &[(&str, EncapsulationMode)] = &[
    ("Never", EncapsulationMode::Never),
    ("Always", EncapsulationMode::Always),
    ("CrossSubnet", EncapsulationMode::CrossSubnet),
    ("", EncapsulationMode::Never),
];

const USES: &[(&str, AllowedUse)] = &[
    ("Workload", AllowedUse::Workload),
    ("Tunnel", AllowedUse::Tunnel),
    ("HostSecondaryInterface", AllowedUse::HostSecondaryInterface),
    ("LoadBalancer", AllowedUse::LoadBalancer),
];

impl Spec for IpPoolSpec {
    const KIND: Kind = Kind::IpPool;
}

impl Read for IpPoolSpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<IpPoolSpec> {
        let cidr = fields.required("cidr").and_then(|place| pool_cidr(&place));
        let mode = |name| fields.optional(name).and_then(|place| place.choice(MODES));
        let ipip_mode = mode("ipipMode").unwrap_or_default();
        let vxlan_mode = mode("vxlanMode").unwrap_or_default();
        let never = EncapsulationMode::Never;
        if ipip_mode != never && vxlan_mode != never {
            fields.error_at(
                "vxlanMode",
                "must be Never when ipipMode is set: a pool has one",
            );
        }
        if ipip_mode != never && matches!(cidr, Some(IpNet::V6(_))) {
            fields.error_at(
                "ipipMode",
                "must be Never for an IPv6 pool: IPIP carries IPv4 only",
            );
        }
        let allowed_uses = match fields.optional("allowedUses") {
            Some(place) => place.list(|item| item.choice(USES)),
            None => Vec::new(),
        };
        check_uses(fields, &allowed_uses);
        let assignment = fields.optional("assignmentMode").and_then(|place| {
            place.choice(&[
                ("Automatic", AssignmentMode::Automatic),
                ("Manual", AssignmentMode::Manual),
            ])
        });
        let block_size = block_size(fields, cidr);
        let tunnels = allowed_uses.is_empty() || allowed_uses.contains(&AllowedUse::Tunnel);
        if tunnels
            && let Some(place) = fields.optional("namespaceSelector")
            && place.text() != Some("")
        {
            place.fault("IP Pool with AllowedUse Tunnel cannot have namespaceSelector");
        }
        if allowed_uses.contains(&AllowedUse::LoadBalancer) {
            for_balancers(fields, ipip_mode, vxlan_mode);
        }
        let spec = IpPoolSpec {
            block_size,
            ipip_mode,
            vxlan_mode,
            nat_outgoing: noticed(fields, "natOutgoing", "there is no source NAT yet"),
            disabled: fields.boolean("disabled", false),
            disable_bgp_export: noticed(fields, "disableBGPExport", "there is no BGP speaker yet"),
            node_selector: fields
                .optional("nodeSelector")
                .and_then(|place| selector(&place))
                .unwrap_or_else(|| Selector::all().into()),
            namespace_selector: fields
                .optional("namespaceSelector")
                .and_then(|place| selector(&place)),
            allowed_uses: if allowed_uses.is_empty() {
                vec![AllowedUse::Workload, AllowedUse::Tunnel]
            } else {
                allowed_uses
            },
            assignment_mode: assignment.unwrap_or_default(),
            cidr: cidr?,
        };
        Some(spec)
    }
}

/// What a pool of load balancers' addresses cannot have.
fn for_balancers(fields: &Fields<'_>, ipip: EncapsulationMode, vxlan: EncapsulationMode) {
    let never = EncapsulationMode::Never;
    let encapsulated = if ipip == never {
        "vxlanMode"
    } else {
        "ipipMode"
    };
    if (ipip != never || vxlan != never)
        && let Some(place) = fields.optional(encapsulated)
    {
        place.fault("LoadBalancer IP pool cannot have IPIP or VXLAN enabled");
    }
    if let Some(place) = fields.optional("disableBGPExport")
        && place.boolean() == Some(true)
    {
        place.fault("LoadBalancer IP pools cannot disable BGP export");
    }
    if let Some(place) = fields.optional("nodeSelector")
        && !matches!(place.text(), Some("" | "all()"))
    {
        place.fault("IP Pool with AllowedUse LoadBalancer must have nodeSelector set to all()");
    }
}

/// A boolean that has no effect when true.
fn noticed(fields: &Fields<'_>, name: &'static str, why: &str) -> bool {
    let Some(place) = fields.optional(name) else {
        return false;
    };
    let value = place.boolean() == Some(true);
    if value {
        place.not_acted_on(why);
    }
    value
}

fn pool_cidr(place: &Place<'_>) -> Option<IpNet> {
    // Calico stores the masked prefix whatever the author wrote.
    let cidr = place.prefix()?.trunc();
    let link_local = match cidr {
        IpNet::V4(net) => overlap4(net, Ipv4Addr::new(169, 254, 0, 0), 16),
        IpNet::V6(net) => overlap6(net, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    };
    if link_local {
        place.error("must not overlap the link-local range 169.254.0.0/16 or fe80::/10");
        return None;
    }
    Some(cidr)
}

fn overlap4(net: Ipv4Net, address: Ipv4Addr, length: u8) -> bool {
    Ipv4Net::new(address, length)
        .is_ok_and(|range| range.contains(&net.network()) || net.contains(&range.network()))
}

fn overlap6(net: Ipv6Net, address: Ipv6Addr, length: u8) -> bool {
    Ipv6Net::new(address, length)
        .is_ok_and(|range| range.contains(&net.network()) || net.contains(&range.network()))
}

fn block_size(fields: &Fields<'_>, cidr: Option<IpNet>) -> u8 {
    let Some(cidr) = cidr else {
        fields.ignore("blockSize");
        return 0;
    };
    let (default, range, family) = match cidr {
        IpNet::V4(_) => (26, 20..=32, "IPv4"),
        IpNet::V6(_) => (122, 116..=128, "IPv6"),
    };
    let size = match fields.optional("blockSize") {
        None => default,
        Some(place) => {
            let text = place.text().unwrap_or_default();
            match text.parse::<u8>() {
                Ok(0) => default,
                Ok(size) if range.contains(&size) => size,
                _ => {
                    let (low, high) = (range.start(), range.end());
                    place.error(format!("must be {low}–{high} for an {family} pool"));
                    return default;
                }
            }
        }
    };
    if cidr.prefix_len() > size {
        let reason = format!("must hold at least one block: /{size} or shorter");
        fields.error_at("cidr", reason);
    }
    size
}

fn check_uses(fields: &Fields<'_>, uses: &[AllowedUse]) {
    let balancer = uses.contains(&AllowedUse::LoadBalancer);
    if balancer && uses.iter().any(|used| *used != AllowedUse::LoadBalancer) {
        fields.error_at(
            "allowedUses",
            "LoadBalancer cannot stand beside another use",
        );
    }
    if balancer && let Some(place) = fields.optional("allowedUses") {
        place.not_acted_on("there are no Services yet");
    }
}
