//! What Calico's clients do around a write, on every store: what is stored, what is there before
//! the first node, and what goes with a node or a pool.
//!
//! `golden/writes.txt` was written from the reference: a resource as an author gives it, the key
//! and the value that Calico's client leaves in etcd.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use encap::Family;
use serde_json::Value;
use support::etcd::Etcd;
use support::store_of;
use vrouter_api::{AllowedUse, Key, Kind, Resource, parse_in, to_value};
use vrouter_datastore::ipam::{Ipam, Request};
use vrouter_datastore::{Datastore, Scope, StoreError};

const RESOURCES: &str = "/calico/resources/v3/projectcalico.org/";
const WRITES: &str = include_str!("golden/writes.txt");

fn read(text: &str) -> Resource {
    let text = format!("apiVersion: projectcalico.org/v3\n{text}\n");
    let mut parsed = parse_in(text.as_bytes(), "test", "default");
    assert_eq!(parsed.errors, [], "{text}");
    parsed.resources.pop().expect("one resource").value
}

fn create(store: &dyn Datastore, text: &str) -> Resource {
    let new = read(text);
    store
        .create(&new)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What the store has, without the built-in profile.
fn keys(store: &dyn Datastore) -> BTreeSet<String> {
    let of_kind = |kind: &Kind| store.list(*kind, Scope::All).expect("a list").resources;
    let all = Kind::ALL.iter().flat_map(of_kind);
    all.map(|resource| resource.key().to_string()).collect()
}

/// The parts that a store chooses, left out.
fn stable(mut value: Value) -> Value {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        for chosen in ["uid", "creationTimestamp", "resourceVersion"] {
            metadata.remove(chosen);
        }
    }
    value
}

struct Case {
    given: String,
    path: String,
    stored: Value,
}

fn cases() -> Vec<Case> {
    let (mut cases, mut given) = (Vec::new(), String::new());
    let mut lines = WRITES.lines();
    while let Some(line) = lines.next() {
        let Some(path) = line.strip_prefix("=> ") else {
            given += line;
            given += "\n";
            continue;
        };
        let stored = lines.next().expect("a value after each path");
        cases.push(Case {
            given: std::mem::take(&mut given),
            path: format!("{RESOURCES}{path}"),
            stored: serde_json::from_str(stored).expect("JSON"),
        });
    }
    cases
}

#[test]
fn etcd_has_what_calicos_client_would_have_left() {
    let etcd = Etcd::start();
    let store = etcd.store();
    let at = |path: &str| {
        let text = etcd.ctl(&["get", "--print-value-only", path]);
        let value: Option<Value> = serde_json::from_str(text.trim()).ok();
        value
    };
    let mut wrong = Vec::new();
    for case in cases() {
        let new = create(&store, &case.given);
        let stored = at(&case.path).unwrap_or_default();
        let metadata = &stored["metadata"];
        assert!(metadata["uid"].is_string() && metadata["creationTimestamp"].is_string());
        assert!(metadata.get("resourceVersion").is_none(), "{stored}");
        let stored = stable(stored);
        if stored != case.stored {
            wrong.push(format!(
                "{}\n  Calico's {}\n  ours     {stored}",
                case.path, case.stored
            ));
        }
        // An update replaces labels and annotations and keeps the rest of the metadata.
        let mut changed = read(&case.given);
        changed
            .metadata_mut()
            .labels
            .insert("added".to_owned(), "yes".to_owned());
        store.update(&changed).expect("it is there");
        let mut updated = at(&case.path).unwrap_or_default();
        assert_eq!(
            updated["metadata"]["uid"].as_str(),
            new.metadata().uid.as_deref()
        );
        let labels = updated["metadata"]["labels"].as_object_mut();
        let labels = labels.expect("it has one");
        assert_eq!(labels.remove("added"), Some("yes".into()));
        if labels.is_empty() {
            updated["metadata"]
                .as_object_mut()
                .expect("it is a map")
                .remove("labels");
        }
        let updated = stable(updated);
        if updated != case.stored {
            wrong.push(format!(
                "{} updated\n  Calico's {}\n  ours     {updated}",
                case.path, case.stored
            ));
        }
        // What is shown is what is stored, but for the store's own annotation.
        let mut shown = stable(to_value(&store.get(&new.key()).expect("it is there")));
        let mut expected = case.stored.clone();
        if let Some(labels) = shown["metadata"]["labels"].as_object_mut() {
            labels.remove("added");
            if labels.is_empty() {
                shown["metadata"].as_object_mut().unwrap().remove("labels");
            }
        }
        let annotations = expected.pointer_mut("/metadata/annotations");
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.remove("projectcalico.org/metadata");
            if annotations.is_empty() {
                expected["metadata"]
                    .as_object_mut()
                    .unwrap()
                    .remove("annotations");
            }
        }
        if shown != expected {
            wrong.push(format!("{} shown\n  {shown}\n  not {expected}", case.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Policies go before their tiers, peers before their filters.
    let mut all = cases();
    all.sort_by_key(|case| case.path.contains("/tiers/") || case.path.contains("/bgpfilters/"));
    for case in all {
        let key = read(&case.given).key();
        // A node takes its endpoints along.
        match store.delete(&key, None) {
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => panic!("{key}: {error}"),
        }
        assert_eq!(at(&case.path), None, "{key}");
    }
}

#[test]
fn what_is_given_is_shown_as_given() {
    for made in support::all() {
        let store = store_of(&made);
        let set = create(
            &*store,
            "kind: GlobalNetworkSet\nmetadata: {name: s}\nspec: {nets: [10.0.0.1, 10.0.0.1/8]}",
        );
        let shown = to_value(&store.get(&set.key()).expect("it is there"));
        assert_eq!(
            shown["spec"]["nets"],
            serde_json::json!(["10.0.0.1", "10.0.0.1/8"])
        );
        let tier = create(
            &*store,
            "kind: Tier\nmetadata: {name: t}\nspec: {order: 100}",
        );
        let shown = to_value(&store.get(&tier.key()).expect("it is there"));
        assert_eq!(shown["spec"]["order"].to_string(), "100");
        let list = store.list(Kind::Tier, Scope::All).expect("a list");
        let revision: u64 = list.revision.parse().expect("a number");
        assert!(revision >= 1);
    }
}

#[test]
fn the_first_node_finds_a_cluster() {
    let etcd = Etcd::start();
    let store = etcd.store();
    create(
        &store,
        "kind: Node\nmetadata: {name: n1}\nspec: {bgp: {ipv4Address: 172.16.1.1/24}}",
    );
    let key = Key::global(Kind::ClusterInformation, "default");
    let information = to_value(&store.get(&key).expect("it was made"));
    let guid = information["spec"]["clusterGUID"].as_str().expect("a text");
    assert!(
        guid.len() == 32 && guid.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{guid}"
    );
    assert_eq!(information["spec"]["datastoreReady"], true);
    let tiers = store
        .list(Kind::Tier, Scope::All)
        .expect("a list")
        .resources;
    let orders: Vec<String> = tiers
        .iter()
        .map(|tier| {
            let value = to_value(tier);
            let spec = &value["spec"];
            let action = spec["defaultAction"].as_str().expect("a text");
            format!("{} {} {action}", value["metadata"]["name"], spec["order"])
        })
        .collect();
    assert_eq!(
        orders,
        [
            "\"default\" 1000000 Deny",
            "\"kube-admin\" 1000 Pass",
            "\"kube-baseline\" 10000000 Pass"
        ]
    );
    // The second node changes nothing of it.
    create(
        &store,
        "kind: Node\nmetadata: {name: n2}\nspec: {bgp: {ipv4Address: 172.16.1.2/24}}",
    );
    assert_eq!(
        to_value(&store.get(&key).expect("it is there")),
        information
    );
}

/// A node with everything a node may have.
fn settle(store: &Arc<dyn Datastore>, node: &str, at: u8) {
    let ipam = Ipam::new(Arc::clone(store));
    let take = |usage, handle: String| {
        let request = Request::new(node, usage, &handle);
        let given = ipam
            .assign(&request, Family::V4, 1)
            .expect("the pool has some");
        given[0]
    };
    let tunnel = take(AllowedUse::Tunnel, format!("vxlan-tunnel-addr-{node}"));
    let pod = take(AllowedUse::Workload, format!("k8s-pod-network.{node}"));
    for text in [
        format!(
            "kind: Node\nmetadata: {{name: {node}}}\n\
             spec: {{bgp: {{ipv4Address: 172.16.1.{at}/24}}, ipv4VXLANTunnelAddr: {tunnel}}}"
        ),
        format!(
            "kind: WorkloadEndpoint\nmetadata: {{namespace: prod}}\nspec: {{orchestrator: k8s, node: {node}, \
             pod: web, endpoint: eth0, ipNetworks: [{pod}/32], interfaceName: cali{at}}}"
        ),
        format!(
            "kind: HostEndpoint\nmetadata: {{name: {node}-all}}\nspec: {{node: {node}, interfaceName: '*'}}"
        ),
        format!(
            "kind: BGPPeer\nmetadata: {{name: {node}-tor}}\nspec: {{node: {node}, peerIP: 172.16.1.1, asNumber: 64512}}"
        ),
        format!(
            "kind: FelixConfiguration\nmetadata: {{name: node.{node}}}\nspec: {{ipv6Support: false}}"
        ),
        format!(
            "kind: BGPConfiguration\nmetadata: {{name: node.{node}}}\nspec: {{logSeverityScreen: Debug}}"
        ),
    ] {
        create(&**store, &text);
    }
}

const POOL: &str = "kind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.1.0.0/24, blockSize: 28}";

#[test]
fn nothing_of_a_deleted_node_remains() {
    for made in support::all() {
        let store = store_of(&made);
        create(&*store, POOL);
        create(
            &*store,
            "kind: BGPPeer\nmetadata: {name: everybody}\nspec: {peerIP: 172.16.1.1, asNumber: 64512}",
        );
        settle(&store, "n2", 2);
        let before = keys(&*store);
        settle(&store, "n1", 1);
        assert!(keys(&*store).len() >= before.len() + 9);
        if let support::Made::Etcd(etcd) = &made {
            etcd.ctl(&["put", "/calico/ipam/v2/host/n1", "{}"]);
        }
        let key = Key::global(Kind::Node, "n1");
        // An older revision takes nothing along.
        let error = store.delete(&key, Some("1")).expect_err("it is newer");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        assert!(keys(&*store).len() >= before.len() + 9);
        store.delete(&key, None).expect("it is there");
        assert_eq!(keys(&*store), before);
        if let support::Made::Etcd(etcd) = &made {
            assert_eq!(
                etcd.ctl(&["get", "--prefix", "/calico/ipam/v2/host/n1"]),
                ""
            );
        }
        // What is left of a node whose resource is gone goes too.
        settle(&store, "n3", 3);
        if let support::Made::Etcd(etcd) = &made {
            etcd.ctl(&["del", &format!("{RESOURCES}nodes/n3")]);
            let error = store.delete(&Key::global(Kind::Node, "n3"), None);
            assert!(matches!(error, Err(StoreError::NotFound { .. })));
            // Nobody knows its tunnel's address any more, which stays held in nobody's block.
            let left: Vec<String> = keys(&*store).difference(&before).cloned().collect();
            assert_eq!(left.len(), 2, "{left:?}");
        } else {
            store
                .delete(&Key::global(Kind::Node, "n3"), None)
                .expect("it is there");
            assert_eq!(keys(&*store), before);
        }
        let problems = Ipam::new(Arc::clone(&store)).check().expect("a check");
        assert!(problems.problems.len() <= 1, "{:?}", problems.problems);
    }
}

#[test]
fn nothing_of_a_deleted_pool_remains_but_addresses_in_use() {
    for made in support::all() {
        let store = store_of(&made);
        create(
            &*store,
            "kind: IPPool\nmetadata: {name: other}\nspec: {cidr: 10.9.0.0/24, blockSize: 28}",
        );
        let before = keys(&*store);
        let pool = create(&*store, POOL);
        let ipam = Ipam::new(Arc::clone(&store));
        for block in ["10.1.0.0/28", "10.1.0.16/28"] {
            assert!(
                ipam.claim("n1", block.parse().expect("a prefix"))
                    .expect("a claim")
            );
        }
        let error = store
            .delete(&pool.key(), Some("1"))
            .expect_err("it is newer");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        let revision = pool.metadata().resource_version.clone();
        store
            .delete(&pool.key(), revision.as_deref())
            .expect("it is as it was");
        assert_eq!(keys(&*store), before);

        // A block in use stays, nobody's; a pool of another size does not fit over it.
        create(&*store, POOL);
        let mut request = Request::new("n1", AllowedUse::Workload, "net.a");
        request.pools = vec!["p".to_owned()];
        let given = ipam
            .assign(&request, Family::V4, 1)
            .expect("there are some");
        store.delete(&pool.key(), None).expect("it is there");
        let held = ipam.holder(given[0]).expect("a look").expect("it is held");
        assert_eq!(held.block_of, None);
        let larger = read(&POOL.replace("28", "26"));
        let error = store
            .create(&larger)
            .expect_err("the block is of another size");
        assert_eq!(
            error.to_string(),
            "IPPool(p): error with field IPPool.Spec.BlockSize = '26' (IPPool blocksSize conflicts \
             with existing allocations that use a different blockSize)"
        );
        create(&*store, POOL);
        ipam.release(given[0], None, None).expect("it is held");
    }
}

#[test]
fn a_peer_has_the_filters_it_names() {
    for made in support::all() {
        let store = store_of(&made);
        let peer = "kind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 172.16.1.1, asNumber: 64512, filters: [f, g]}";
        let error = store.create(&read(peer)).expect_err("there are none");
        assert!(
            error.to_string().ends_with(
                "error with field BGPPeer.Spec.Filters = '[f g]' (BGPFilter(s) not found)"
            ),
            "{error}"
        );
        for name in ["f", "g"] {
            create(
                &*store,
                &format!("kind: BGPFilter\nmetadata: {{name: {name}}}\nspec: {{}}"),
            );
        }
        create(&*store, peer);
        let error = store
            .update(&read(&peer.replace("g]", "h]")))
            .expect_err("h is missing");
        assert!(error.to_string().contains("'[h]'"), "{error}");
    }
}

#[test]
fn a_pool_of_load_balancers_stays_one() {
    for made in support::all() {
        let store = store_of(&made);
        let pool = "kind: IPPool\nmetadata: {name: lb}\nspec: {cidr: 10.3.0.0/24, allowedUses: [LoadBalancer]}";
        create(&*store, pool);
        let other = read(&pool.replace("LoadBalancer", "Workload"));
        let error = store.update(&other).expect_err("it is fixed").to_string();
        assert!(
            error.contains("cannot be changed from LoadBalacer"),
            "{error}"
        );
    }
}
