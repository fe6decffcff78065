//! Which addresses of services a node tells its neighbors, and which ranges stand for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use vrouter_api::bgp::{EndpointSlice, Range, Service, Switch, TrafficPolicy};

use crate::config::{Family, Static, family_of};
use crate::view::View;

/// Label of nodes that tell nothing of services.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What services are to a node.
#[derive(Debug, Default)]
pub(crate) struct Services {
    told: BTreeMap<IpNet, String>,
    ranges: BTreeSet<IpNet>,
    reflected: BTreeSet<IpNet>,
}

impl Services {
    pub(crate) fn of(view: &View<'_>) -> Services {
        let configuration = view.global();
        let cidrs = |ranges: &[Range]| -> Vec<IpNet> {
            let all = ranges.iter().filter_map(|range| range.cidr);
            all.map(|cidr| cidr.trunc()).collect()
        };
        let cluster = match view.settings.advertise_cluster_ips {
            Some(cidr) => vec![cidr.trunc()],
            None => cidrs(&configuration.service_cluster_ips),
        };
        let asked = AdvertisedServices {
            cluster: !cluster.is_empty(),
            external: cidrs(&configuration.service_external_ips),
            balanced: cidrs(&configuration.service_load_balancer_ips),
            aggregated: configuration.service_load_balancer_aggregation != Some(Switch::Disabled),
        };
        let wide = |net: &&IpNet| net.prefix_len() < net.max_prefix_len();
        let mut services = Services::default();
        let reflected = asked.external.iter().chain(&asked.balanced);
        services.reflected.extend(reflected);
        let mut whys: BTreeMap<IpNet, String> = BTreeMap::new();
        for net in cluster {
            whys.insert(net, format!("serviceClusterIPs {net}"));
        }
        for net in asked.external.iter().filter(wide) {
            whys.insert(*net, format!("serviceExternalIPs {net}"));
        }
        for net in asked.balanced.iter().filter(wide) {
            if asked.aggregated {
                whys.insert(*net, format!("serviceLoadBalancerIPs {net}"));
            }
        }
        services.ranges.extend(whys.keys());
        if view
            .labels
            .0
            .get(EXCLUDED)
            .is_some_and(|value| value == "true")
        {
            return services;
        }
        services.told = whys;
        for ((namespace, name), service) in &view.cluster.services {
            let slices = view.cluster.slices.iter();
            let slices: Vec<&EndpointSlice> = slices
                .filter(|((of, _), (belongs, _))| of == namespace && belongs == name)
                .map(|(_, (_, slice))| slice)
                .collect();
            if !asked.is_told(service, &slices, view.name()) {
                continue;
            }
            for address in asked.addresses(service) {
                let why = format!("Service {namespace}/{name}");
                services.told.entry(address.into()).or_insert(why);
            }
        }
        services
    }

    /// Routes that are told, by prefix.
    pub(crate) fn statics(&self, family: Family) -> Vec<Static> {
        let all = self.told.iter();
        all.filter(|(net, _)| family_of(net) == family)
            .map(|(net, why)| Static {
                prefix: *net,
                gateway: None,
                why: why.clone(),
            })
            .collect()
    }

    /// Ranges that no learned route leads to.
    pub(crate) fn ranges(&self, family: Family) -> Vec<IpNet> {
        let all = self.ranges.iter().copied();
        all.filter(|net| family_of(net) == family).collect()
    }

    /// Ranges that a route reflector passes on.
    pub(crate) fn reflected(&self, family: Family) -> Vec<IpNet> {
        let all = self.reflected.iter().copied();
        all.filter(|net| family_of(net) == family).collect()
    }
}

/// What BGPConfiguration asks of services.
struct AdvertisedServices {
    cluster: bool,
    external: Vec<IpNet>,
    balanced: Vec<IpNet>,
    aggregated: bool,
}

fn within(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

/// Inside a range of one address.
fn alone(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter()
        .any(|net| net.prefix_len() == net.max_prefix_len() && net.addr() == address)
}

fn ingress(service: &Service) -> impl Iterator<Item = IpAddr> {
    let all = service.status.load_balancer.ingress.iter();
    all.filter_map(|ingress| ingress.ip)
}

fn parsed(texts: &[String]) -> impl Iterator<Item = IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok())
}

impl AdvertisedServices {
    /// Whether this node tells of the service's addresses.
    fn is_told(&self, service: &Service, slices: &[&EndpointSlice], node: &str) -> bool {
        let spec = &service.spec;
        let kind = matches!(
            spec.kind.as_str(),
            "" | "ClusterIP" | "NodePort" | "LoadBalancer"
        );
        if !kind || spec.cluster_ip.is_empty() || spec.cluster_ip == "None" {
            return false;
        }
        let families = &spec.ip_families;
        let endpoints: Vec<_> = slices
            .iter()
            .filter(|slice| families.is_empty() || families.contains(&slice.address_type))
            .flat_map(|slice| &slice.endpoints)
            .filter(|endpoint| endpoint.is_ready())
            .collect();
        match spec.external_traffic_policy {
            TrafficPolicy::Local => endpoints
                .iter()
                .any(|endpoint| endpoint.node_name.as_deref() == Some(node)),
            TrafficPolicy::Cluster if self.is_single(service) => true,
            TrafficPolicy::Cluster | TrafficPolicy::Unset => {
                !self.aggregated && !endpoints.is_empty()
            }
        }
    }

    /// Whether a range of one address stands for it.
    fn is_single(&self, service: &Service) -> bool {
        let spec = &service.spec;
        let asked = spec.load_balancer_ip.parse::<IpAddr>().ok();
        let balanced = spec.kind == "LoadBalancer"
            && asked
                .into_iter()
                .chain(ingress(service))
                .any(|address| alone(&self.balanced, address));
        balanced || parsed(&spec.external_ips).any(|address| alone(&self.external, address))
    }

    fn addresses(&self, service: &Service) -> Vec<IpAddr> {
        let spec = &service.spec;
        let mut all = Vec::new();
        if self.cluster {
            all.extend(parsed(&spec.cluster_ips));
            all.extend(spec.cluster_ip.parse::<IpAddr>().ok());
        }
        all.extend(parsed(&spec.external_ips).filter(|it| within(&self.external, *it)));
        all.extend(ingress(service).filter(|it| within(&self.balanced, *it)));
        all
    }
}
