//! Objects as Kubernetes stores them, and the JSON its API server shows of them.

use std::collections::BTreeMap;

use k8s_pb::api::core::v1 as core;
use k8s_pb::api::discovery::v1 as discovery;
use k8s_pb::api::networking::v1 as networking;
use k8s_pb::apimachinery::pkg::api::resource::Quantity;
use k8s_pb::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_pb::apimachinery::pkg::runtime::{TypeMeta, Unknown};
use k8s_pb::apimachinery::pkg::util::intstr::IntOrString;
use prost::Message;
use serde_json::{Value, json};

/// An object, where it is and what it must look like.
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) json: Value,
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    pairs.collect()
}

fn metadata(namespace: &str, name: &str) -> Option<meta::ObjectMeta> {
    Some(meta::ObjectMeta {
        name: text(name),
        // Go writes empty strings too; JSON leaves them out.
        generate_name: text(""),
        namespace: text(namespace),
        uid: text("0b1e9b0c-0000-4000-8000-000000000001"),
        generation: Some(0),
        creation_timestamp: Some(meta::Time {
            seconds: Some(1_700_000_000),
            nanos: Some(0),
        }),
        labels: map(&[("app", "web"), ("tier", "front")]),
        annotations: map(&[("note", "a \"quoted\" ünïcode\n")]),
        finalizers: vec!["example.com/keep".to_owned()],
        ..Default::default()
    })
}

fn metadata_json(namespace: &str, name: &str) -> Value {
    let mut json = json!({
        "name": name,
        "uid": "0b1e9b0c-0000-4000-8000-000000000001",
        "creationTimestamp": "2023-11-14T22:13:20Z",
        "labels": {"app": "web", "tier": "front"},
        "annotations": {"note": "a \"quoted\" ünïcode\n"},
        "finalizers": ["example.com/keep"],
    });
    if !namespace.is_empty() {
        json["namespace"] = namespace.into();
    }
    json
}

/// The envelope around a message.
pub(crate) fn envelope(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: text(api_version),
            kind: text(kind),
        }),
        raw: Some(raw),
        content_encoding: text(""),
        content_type: text(""),
    };
    [b"k8s\0".to_vec(), unknown.encode_to_vec()].concat()
}

/// A kind that nobody here knows.
pub(crate) fn unknown() -> Vec<u8> {
    // Field 1 is metadata: name and one label.
    let metadata = meta::ObjectMeta {
        name: text("w1"),
        labels: map(&[("app", "web")]),
        ..Default::default()
    };
    let namespace = core::Namespace {
        metadata: Some(metadata),
        ..Default::default()
    };
    envelope(
        "example.com/v2",
        "Widget",
        [namespace.encode_to_vec(), vec![0x18, 7]].concat(),
    )
}

fn object(key: &str, api_version: &str, kind: &str, message: &impl Message, json: Value) -> Object {
    let mut json = json;
    json["apiVersion"] = api_version.into();
    json["kind"] = kind.into();
    let (namespace, name) = match key.rsplit('/').collect::<Vec<_>>()[..] {
        [name, "namespaces" | "minions", ..] => ("", name),
        [name, namespace, ..] => (namespace, name),
        [] | [_] => panic!("a key has slashes"),
    };
    json["metadata"] = metadata_json(namespace, name);
    Object {
        key: key.to_owned(),
        value: envelope(api_version, kind, message.encode_to_vec()),
        json,
    }
}

/// One of each kind, and a custom resource.
pub(crate) fn all() -> Vec<Object> {
    let custom = json!({
        "apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool",
        "metadata": {"name": "default"}, "spec": {"cidr": "10.65.0.0/16", "natOutgoing": false},
    });
    vec![
        namespace(),
        pod(),
        node(),
        service(),
        endpoint_slice(),
        endpoints(),
        network_policy(),
        service_account(),
        Object {
            key: "/registry/crd.projectcalico.org/ippools/default".to_owned(),
            value: format!("{custom}\n").into_bytes(),
            json: custom,
        },
    ]
}

fn namespace() -> Object {
    let message = core::Namespace {
        metadata: metadata("", "prod"),
        spec: Some(core::NamespaceSpec {
            finalizers: vec!["kubernetes".to_owned()],
        }),
        status: Some(core::NamespaceStatus {
            phase: text("Active"),
            conditions: Vec::new(),
        }),
    };
    let json = json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    object(
        "/registry/namespaces/prod",
        "v1",
        "Namespace",
        &message,
        json,
    )
}

fn pod() -> Object {
    let container = core::Container {
        name: text("nginx"),
        image: text("nginx:1.29"),
        args: vec!["-g".to_owned(), String::new()],
        ports: vec![core::ContainerPort {
            name: text("http"),
            host_port: Some(0),
            container_port: Some(80),
            protocol: text("TCP"),
            host_ip: text(""),
        }],
        resources: Some(core::ResourceRequirements {
            requests: [(
                "cpu".to_owned(),
                Quantity {
                    string: text("100m"),
                },
            )]
            .into(),
            ..Default::default()
        }),
        readiness_probe: Some(core::Probe {
            handler: Some(core::ProbeHandler {
                http_get: Some(core::HttpGetAction {
                    path: text("/ready"),
                    port: Some(IntOrString {
                        r#type: Some(0),
                        int_val: Some(80),
                        str_val: text(""),
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            period_seconds: Some(10),
            ..Default::default()
        }),
        security_context: Some(core::SecurityContext {
            run_as_user: Some(0),
            privileged: Some(false),
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = core::Pod {
        metadata: metadata("prod", "web-0"),
        spec: Some(core::PodSpec {
            volumes: vec![core::Volume {
                name: text("data"),
                volume_source: Some(core::VolumeSource {
                    host_path: Some(core::HostPathVolumeSource {
                        path: text("/data"),
                        r#type: text(""),
                    }),
                    ..Default::default()
                }),
            }],
            containers: vec![container],
            node_name: text("node-1"),
            host_network: Some(false),
            enable_service_links: Some(false),
            priority: Some(0),
            tolerations: vec![core::Toleration {
                operator: text("Exists"),
                toleration_seconds: Some(300),
                ..Default::default()
            }],
            ..Default::default()
        }),
        status: Some(core::PodStatus {
            phase: text("Running"),
            host_ip: text("192.0.2.1"),
            pod_ip: text("10.65.0.1"),
            pod_ips: vec![
                core::PodIp {
                    ip: text("10.65.0.1"),
                },
                core::PodIp {
                    ip: text("fd00::1"),
                },
            ],
            container_statuses: vec![core::ContainerStatus {
                name: text("nginx"),
                ready: Some(false),
                restart_count: Some(0),
                image: text("nginx:1.29"),
                image_id: text(""),
                ..Default::default()
            }],
            conditions: vec![core::PodCondition {
                r#type: text("Ready"),
                status: text("True"),
                last_probe_time: Some(meta::Time::default()),
                ..Default::default()
            }],
            ..Default::default()
        }),
    };
    let json = json!({
        "spec": {
            "volumes": [{"name": "data", "hostPath": {"path": "/data"}}],
            "containers": [{
                "name": "nginx", "image": "nginx:1.29", "args": ["-g", ""],
                "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "100m"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 80}, "periodSeconds": 10},
                "securityContext": {"runAsUser": 0, "privileged": false},
            }],
            "nodeName": "node-1",
            "enableServiceLinks": false,
            "priority": 0,
            "tolerations": [{"operator": "Exists", "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.65.0.1",
            "podIPs": [{"ip": "10.65.0.1"}, {"ip": "fd00::1"}],
            "containerStatuses": [{
                "name": "nginx", "ready": false, "restartCount": 0, "image": "nginx:1.29",
                "imageID": "",
            }],
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}],
        },
    });
    object("/registry/pods/prod/web-0", "v1", "Pod", &message, json)
}

fn node() -> Object {
    let message = core::Node {
        metadata: metadata("", "node-1"),
        spec: Some(core::NodeSpec {
            pod_cidr: text("10.65.0.0/24"),
            pod_cid_rs: vec!["10.65.0.0/24".to_owned()],
            taints: vec![core::Taint {
                key: text("dedicated"),
                effect: text("NoSchedule"),
                ..Default::default()
            }],
            ..Default::default()
        }),
        status: Some(core::NodeStatus {
            capacity: [(
                "pods".to_owned(),
                Quantity {
                    string: text("110"),
                },
            )]
            .into(),
            addresses: vec![core::NodeAddress {
                r#type: text("InternalIP"),
                address: text("192.0.2.1"),
            }],
            ..Default::default()
        }),
    };
    let json = json!({
        "spec": {
            "podCIDR": "10.65.0.0/24", "podCIDRs": ["10.65.0.0/24"],
            "taints": [{"key": "dedicated", "effect": "NoSchedule"}],
        },
        "status": {
            "capacity": {"pods": "110"},
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        },
    });
    object("/registry/minions/node-1", "v1", "Node", &message, json)
}

fn service() -> Object {
    let message = core::Service {
        metadata: metadata("prod", "web"),
        spec: Some(core::ServiceSpec {
            ports: vec![core::ServicePort {
                port: Some(80),
                protocol: text("TCP"),
                target_port: Some(IntOrString {
                    r#type: Some(1),
                    int_val: Some(0),
                    str_val: text("http"),
                }),
                node_port: Some(0),
                ..Default::default()
            }],
            selector: map(&[("app", "web")]),
            cluster_ip: text("10.96.0.10"),
            cluster_ips: vec!["10.96.0.10".to_owned()],
            external_ips: vec!["198.51.100.7".to_owned()],
            ..Default::default()
        }),
        status: Some(core::ServiceStatus {
            load_balancer: Some(core::LoadBalancerStatus::default()),
            conditions: Vec::new(),
        }),
    };
    let json = json!({
        "spec": {
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
            "selector": {"app": "web"}, "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
            "externalIPs": ["198.51.100.7"],
        },
        "status": {"loadBalancer": {}},
    });
    object(
        "/registry/services/specs/prod/web",
        "v1",
        "Service",
        &message,
        json,
    )
}

fn endpoint_slice() -> Object {
    let message = discovery::EndpointSlice {
        metadata: metadata("prod", "web-abc12"),
        address_type: text("IPv4"),
        endpoints: vec![discovery::Endpoint {
            addresses: vec!["10.65.0.1".to_owned()],
            conditions: Some(discovery::EndpointConditions {
                ready: Some(true),
                serving: Some(true),
                terminating: Some(false),
            }),
            node_name: text("node-1"),
            ..Default::default()
        }],
        ports: vec![discovery::EndpointPort {
            name: text(""),
            port: Some(80),
            protocol: text("TCP"),
            app_protocol: None,
        }],
    };
    let json = json!({
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": ["10.65.0.1"], "nodeName": "node-1",
            "conditions": {"ready": true, "serving": true, "terminating": false},
        }],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    });
    let key = "/registry/endpointslices/prod/web-abc12";
    object(key, "discovery.k8s.io/v1", "EndpointSlice", &message, json)
}

fn endpoints() -> Object {
    let message = core::Endpoints {
        metadata: metadata("prod", "web"),
        subsets: vec![core::EndpointSubset {
            addresses: vec![core::EndpointAddress {
                ip: text("10.65.0.1"),
                target_ref: Some(core::ObjectReference {
                    kind: text("Pod"),
                    name: text("web-0"),
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ports: vec![core::EndpointPort {
                port: Some(80),
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let target = json!({"kind": "Pod", "name": "web-0"});
    let json = json!({"subsets": [{
        "addresses": [{"ip": "10.65.0.1", "targetRef": target}], "ports": [{"port": 80}],
    }]});
    object(
        "/registry/services/endpoints/prod/web",
        "v1",
        "Endpoints",
        &message,
        json,
    )
}

fn network_policy() -> Object {
    let selector = |pairs| {
        Some(meta::LabelSelector {
            match_labels: map(pairs),
            match_expressions: Vec::new(),
        })
    };
    let message = networking::NetworkPolicy {
        metadata: metadata("prod", "web"),
        spec: Some(networking::NetworkPolicySpec {
            pod_selector: selector(&[]),
            ingress: vec![networking::NetworkPolicyIngressRule {
                ports: vec![networking::NetworkPolicyPort {
                    protocol: text("TCP"),
                    port: Some(IntOrString {
                        r#type: Some(1),
                        int_val: Some(0),
                        str_val: text("http"),
                    }),
                    end_port: None,
                }],
                from: vec![
                    networking::NetworkPolicyPeer {
                        namespace_selector: selector(&[("team", "a")]),
                        ..Default::default()
                    },
                    networking::NetworkPolicyPeer {
                        ip_block: Some(networking::IpBlock {
                            cidr: text("10.0.0.0/8"),
                            except: vec!["10.1.0.0/16".to_owned()],
                        }),
                        ..Default::default()
                    },
                ],
            }],
            policy_types: vec!["Ingress".to_owned(), "Egress".to_owned()],
            ..Default::default()
        }),
    };
    let json = json!({"spec": {
        "podSelector": {},
        "ingress": [{
            "ports": [{"protocol": "TCP", "port": "http"}],
            "from": [
                {"namespaceSelector": {"matchLabels": {"team": "a"}}},
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
            ],
        }],
        "policyTypes": ["Ingress", "Egress"],
    }});
    let key = "/registry/networkpolicies/prod/web";
    object(key, "networking.k8s.io/v1", "NetworkPolicy", &message, json)
}

fn service_account() -> Object {
    let message = core::ServiceAccount {
        metadata: metadata("prod", "web"),
        image_pull_secrets: vec![core::LocalObjectReference {
            name: text("registry"),
        }],
        automount_service_account_token: Some(false),
        ..Default::default()
    };
    let json = json!({
        "imagePullSecrets": [{"name": "registry"}], "automountServiceAccountToken": false,
    });
    object(
        "/registry/serviceaccounts/prod/web",
        "v1",
        "ServiceAccount",
        &message,
        json,
    )
}
