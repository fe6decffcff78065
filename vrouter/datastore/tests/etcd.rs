//! A real etcd: started, killed, compacted, filled by `etcdctl`.

mod support;

use std::time::{Duration, Instant};

use support::etcd::Etcd;
use support::follower::Follower;
use vrouter_api::{Key, Kind, Resource, parse};
use vrouter_datastore::{Connection, Datastore, EtcdStore, StoreError};

const TIERS: &str = "/calico/resources/v3/projectcalico.org/tiers";

fn tier(name: &str, order: u32) -> Resource {
    let text = format!(
        "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {{name: {name}}}\nspec: {{order: {order}}}"
    );
    parse(text.as_bytes(), "test").resources[0].value.clone()
}

fn order(follower: &Follower, name: &str) -> Option<f64> {
    match follower.resources.get(&Key::global(Kind::Tier, name)) {
        Some(Resource::Tier(tier)) => tier.spec.order,
        _ => None,
    }
}

#[test]
fn keys_of_etcdctl_are_picked_up_and_faults_are_told() {
    let etcd = Etcd::start();
    let store = etcd.store();
    let mut follower = Follower::new(&store);
    follower.until("nothing", |it| it.resources.is_empty());
    let put = |name: &str, value: &str| etcd.ctl(&["put", &format!("{TIERS}/{name}"), value]);
    let good = r#"{"kind":"Tier","apiVersion":"projectcalico.org/v3","metadata":{"name":"a","creationTimestamp":null},"spec":{"order":5,"newField":1}}"#;
    put("a", good);
    follower.until("a", |it| order(it, "a") == Some(5.0));
    // A field of a newer Calico is no fault.
    assert!(matches!(
        store.get(&Key::global(Kind::Tier, "a")),
        Ok(Resource::Tier(_))
    ));

    put("a", "{");
    follower.until("a is broken", |it| {
        it.broken.values().any(|errors| !errors.is_empty())
    });
    assert_eq!(
        order(&follower, "a"),
        Some(5.0),
        "the last good version stays"
    );
    let error = store
        .get(&Key::global(Kind::Tier, "a"))
        .expect_err("it is no JSON");
    assert!(error.to_string().contains("tiers/a"), "{error}");
    let list = store
        .list(Kind::Tier, vrouter_datastore::Scope::All)
        .expect("etcd is there");
    assert_eq!((list.resources.len(), list.faults.len()), (0, 1));

    put("a", &good.replace('5', "6"));
    follower.until("a is mended", |it| order(it, "a") == Some(6.0));
    etcd.ctl(&["del", &format!("{TIERS}/a")]);
    follower.until("a is gone", |it| {
        it.resources.is_empty() && it.broken.is_empty()
    });

    // What is no resource, or of an unknown kind, is left alone.
    etcd.ctl(&["put", "/calico/resources/v3/projectcalico.org/odds/x", "{}"]);
    etcd.ctl(&[
        "put",
        "/calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-26",
        r#"{"state":"confirmed","deleted":false}"#,
    ]);
    follower.until("the block", |it| it.resources.len() == 1);
    let key = Key::global(Kind::BlockAffinity, "n1-10-0-0-0-26");
    assert!(follower.resources.contains_key(&key));
    assert!(store.get(&key).is_ok());
}

#[test]
fn what_a_newer_calico_wrote_survives_our_change() {
    let etcd = Etcd::start();
    let store = etcd.store();
    let path = "/calico/resources/v3/projectcalico.org/nodes/n1";
    let there = r#"{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"n1","uid":"u","creationTimestamp":"2026-01-01T00:00:00Z","labels":{"a":"1","b":"2"},"generation":3},"spec":{"bgp":{"ipv4Address":"172.16.1.11/24","asNumber":64513,"newer":"x"},"addresses":[{"address":"172.16.1.11/24","type":"CalicoNodeIP","newer":1}],"newest":{"y":[1]}},"status":{"wireguardPublicKey":"k="}}"#;
    etcd.ctl(&["put", path, there]);
    let key = Key::global(Kind::Node, "n1");
    let Ok(Resource::Node(mut node)) = store.get(&key) else {
        panic!("it is a node");
    };
    // With a revision and without one: something new, something changed, something gone.
    node.spec.ipv4_vxlan_tunnel_addr = Some([10, 0, 0, 1].into());
    let bgp = node.spec.bgp.as_mut().expect("it has one");
    (bgp.as_number, bgp.ipv4_ipip_tunnel_addr) = (None, Some([10, 0, 0, 2].into()));
    store.update(&node.clone().into()).expect("etcd is there");
    node.metadata.resource_version = None;
    node.metadata.labels.remove("b");
    store.update(&node.into()).expect("etcd is there");
    let wanted = there
        .replace(r#","b":"2""#, "")
        .replace(r#""asNumber":64513"#, r#""ipv4IPIPTunnelAddr":"10.0.0.2""#)
        .replace(
            r#""newest":"#,
            r#""ipv4VXLANTunnelAddr":"10.0.0.1","newest":"#,
        );
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).expect("JSON") };
    let now = etcd.ctl(&["get", path, "--print-value-only"]);
    assert_eq!(json(&now), json(&wanted));
}

#[test]
fn a_watch_outlives_etcd_and_compaction() {
    let mut etcd = Etcd::start();
    let store = etcd.store();
    store.create(&tier("a", 1)).expect("etcd is there");
    store.create(&tier("b", 1)).expect("etcd is there");
    let mut follower = Follower::new(&store);
    follower.until("a and b", |it| it.resources.len() == 2);

    etcd.kill();
    follower.until("etcd is away", |it| {
        it.broken.values().any(|e| e[0].contains("stays in force"))
    });
    assert_eq!(follower.resources.len(), 2);
    let since = Instant::now();
    let error = store
        .get(&Key::global(Kind::Tier, "a"))
        .expect_err("it was killed");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(
        since.elapsed() < Duration::from_secs(15),
        "{:?}",
        since.elapsed()
    );

    // Changed, removed and made while the follower did not look, and the history compacted.
    etcd.go();
    let other = etcd.store();
    other.update(&tier("a", 2)).expect("etcd is back");
    other
        .delete(&Key::global(Kind::Tier, "b"), None)
        .expect("etcd is back");
    other.create(&tier("c", 3)).expect("etcd is back");
    let status = etcd.ctl(&["get", "x", "-w", "json"]);
    let revision = status
        .split("\"revision\":")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    etcd.ctl(&["compact", revision.expect("etcdctl tells the revision")]);
    follower.until("back", |it| {
        it.broken.is_empty() && order(it, "a") == Some(2.0) && order(it, "c") == Some(3.0)
    });
    assert_eq!(follower.resources.len(), 2, "b is gone");
    assert_eq!(follower.changes, 5, "each change was told once");

    // And the watch goes on.
    other.update(&tier("c", 4)).expect("etcd is there");
    follower.until("c", |it| order(it, "c") == Some(4.0));
    assert_eq!(follower.changes, 6);
}

#[test]
fn a_node_starts_from_its_cache_while_etcd_is_away() {
    let mut etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let cache = Some(folder.path().join("cache.json"));
    let store = etcd.cached(cache.clone());
    store.create(&tier("a", 1)).expect("etcd is there");
    store.create(&tier("b", 1)).expect("etcd is there");
    let mut follower = Follower::new(&store);
    follower.until("a and b", |it| it.resources.len() == 2);
    // The end of a watch writes what is not written yet.
    drop(follower);

    etcd.kill();
    let mut follower = Follower::new(&etcd.cached(cache));
    follower.until("a and b", |it| {
        it.resources.len() == 2 && !it.broken.is_empty()
    });
    etcd.go();
    store
        .delete(&Key::global(Kind::Tier, "b"), None)
        .expect("etcd is back");
    follower.until("b is gone", |it| {
        it.resources.len() == 1 && it.broken.is_empty()
    });
    assert_eq!(follower.changes, 3, "a is not told again");
}

#[test]
fn a_dead_endpoint_is_passed_over() {
    let etcd = Etcd::start();
    let endpoints = format!("http://127.0.0.1:1,{}", etcd.endpoint());
    let variable = |name: &str| (name == "ETCD_ENDPOINTS").then(|| endpoints.clone());
    let connection = Connection::of_environment(&variable).expect("endpoints");
    let store = connection.open().expect("threads");
    let since = Instant::now();
    store
        .create(&tier("a", 1))
        .expect("the second endpoint is there");
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn users_are_believed_with_their_password_alone() {
    let etcd = Etcd::start();
    etcd.ctl(&["user", "add", "root:secret"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    let open = |user: Option<&str>| {
        let endpoint = etcd.endpoint();
        let variable = |name: &str| match name {
            "ETCD_ENDPOINTS" => Some(endpoint.clone()),
            "ETCD_USERNAME" => user.map(|_| "root".to_owned()),
            "ETCD_PASSWORD" => user.map(str::to_owned),
            _ => None,
        };
        let connection = Connection::of_environment(&variable).expect("endpoints");
        connection.open().expect("threads")
    };
    open(Some("secret"))
        .create(&tier("a", 1))
        .expect("the password is right");
    for wrong in [Some("wrong"), None] {
        let error = open(wrong).create(&tier("b", 1)).expect_err("not allowed");
        assert!(
            matches!(error, StoreError::Unauthorized { .. }),
            "{wrong:?}: {error:?}"
        );
    }
}

#[test]
fn leased_keys_vanish_with_their_writer() {
    let etcd = Etcd::start();
    let store: EtcdStore = etcd.store();
    let (mut lease, path) = (None, "/calico/felix/v2/no-region/host/n1/status");
    let lasts = Duration::from_secs(2);
    for turn in 0..3 {
        let anew = store.renew(&mut lease, lasts).expect("etcd is there");
        assert_eq!(anew, turn == 0);
        if let Some(lease) = &lease {
            store.put_under(lease, path, "{}").expect("etcd is there");
        }
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(etcd.ctl(&["get", path, "--print-value-only"]).trim(), "{}");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !etcd.ctl(&["get", path]).is_empty() {
        assert!(Instant::now() < deadline, "the key stays");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(store.renew(&mut lease, lasts).expect("etcd is there"));
    let lease = lease.expect("it was made anew");
    store.put_under(&lease, path, "{}").expect("etcd is there");
    store.delete_raw(path).expect("etcd is there");
    assert_eq!(etcd.ctl(&["get", path]), "");
}

/// A certificate of `ca`, or of itself, with its key beside.
fn certificate(folder: &std::path::Path, name: &str, ca: Option<&str>) {
    let at = |name: &str, end: &str| folder.join(format!("{name}.{end}"));
    let mut command = std::process::Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(at(name, "key"))
        .arg("-out")
        .arg(at(name, "pem"));
    if let Some(ca) = ca {
        command
            .arg("-CA")
            .arg(at(ca, "pem"))
            .arg("-CAkey")
            .arg(at(ca, "key"));
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    let output = command
        .output()
        .expect("openssl is installed: see tools/packages");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn both_sides_show_certificates() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name).display().to_string();
    certificate(folder.path(), "ca", None);
    certificate(folder.path(), "server", Some("ca"));
    certificate(folder.path(), "client", Some("ca"));
    certificate(folder.path(), "stranger", None);
    let flag = |flag: &str, value: String| [flag.to_owned(), value];
    let flags = [
        flag("--cert-file", at("server.pem")),
        flag("--key-file", at("server.key")),
        flag("--trusted-ca-file", at("ca.pem")),
    ];
    let mut flags = flags.concat();
    flags.push("--client-cert-auth".to_owned());
    let etcd = Etcd::with(flags);
    let (ca, wrong) = (at("ca.pem"), at("stranger.pem"));
    let (certificate, key) = (at("client.pem"), at("client.key"));
    let identity = [("ETCD_CERT_FILE", &*certificate), ("ETCD_KEY_FILE", &*key)];
    let store = |ca: &str, identity: &[(&str, &str)]| {
        etcd.store_with(&[&[("ETCD_CA_CERT_FILE", ca)], identity].concat(), None)
    };
    store(&ca, &identity)
        .create(&tier("a", 1))
        .expect("both are known");
    let since = Instant::now();
    let error = store(&wrong, &identity)
        .create(&tier("b", 1))
        .expect_err("an authority that did not sign theirs");
    assert!(since.elapsed() < Duration::from_secs(5), "at once: {error}");
    let said = error.to_string();
    assert!(said.contains("invalid peer certificate"), "{said}");
    assert!(
        matches!(error, StoreError::Unauthorized { .. }),
        "{error:?}"
    );
    // The server closes after its alert: when the close is seen first each time, nobody knows why.
    let error = store(&ca, &[])
        .create(&tier("b", 1))
        .expect_err("no certificate of ours");
    let refused = match &error {
        StoreError::Unauthorized { reason } => reason.contains("BadCertificate"),
        StoreError::Unreachable { .. } => true,
        _ => false,
    };
    assert!(refused, "{error:?}");
}
