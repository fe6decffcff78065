//! An etcd behind `etcd grpc-proxy` and `etcd gateway`, as Calico's architecture has one on each
//! node, is as good as the etcd itself: watches, leases and transactions, also across a restart of
//! the proxy.

mod support;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::etcd::Etcd;
use support::follower::Follower;
use vrouter_api::{Key, Kind, Resource, parse};
use vrouter_datastore::{Connection, Datastore, EtcdStore, StoreError};

/// A process between us and etcd; ends with its owner.
struct Proxy {
    child: Child,
    kind: &'static str,
    port: u16,
    etcd: String,
}

impl Proxy {
    fn start(kind: &'static str, etcd: &Etcd) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let etcd = etcd.endpoint();
        Proxy {
            child: go(kind, port, &etcd),
            kind,
            port,
            etcd,
        }
    }

    fn restart(&mut self) {
        self.stop();
        self.child = go(self.kind, self.port, &self.etcd);
    }

    fn stop(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    fn store(&self) -> EtcdStore {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let variable = |name: &str| (name == "ETCD_ENDPOINTS").then(|| endpoint.clone());
        match Connection::of_environment(&variable).expect("endpoints") {
            Connection::Etcd(etcd) => EtcdStore::new(etcd, None).expect("threads"),
            _ => unreachable!("endpoints mean etcd"),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn go(kind: &str, port: u16, etcd: &str) -> Child {
    // The gateway takes addresses, the proxy takes either.
    let etcd = etcd.trim_start_matches("http://");
    let child = Command::new("etcd")
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .args([kind, "start"])
        .args(["--endpoints", etcd])
        .args(["--listen-addr", &format!("127.0.0.1:{port}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is installed: see tools/packages");
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the {kind} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

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

fn through(kind: &'static str) {
    let etcd = Etcd::start();
    let direct = etcd.store();
    let mut proxy = Proxy::start(kind, &etcd);
    let store = proxy.store();

    // A watch sees what comes through the proxy and what does not.
    let mut follower = Follower::new(&store);
    follower.until("nothing", |it| it.resources.is_empty());
    store.create(&tier("a", 1)).expect("it is new");
    direct.create(&tier("b", 2)).expect("it is new");
    follower.until("both", |it| {
        order(it, "a") == Some(1.0) && order(it, "b") == Some(2.0)
    });

    // Transactions: what is new, what changed meanwhile, what a rule looked at.
    let error = store.create(&tier("b", 3)).expect_err("it is there");
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
    let read = store
        .get(&Key::global(Kind::Tier, "b"))
        .expect("it is there");
    direct.update(&tier("b", 4)).expect("it is there");
    let error = store.update(&read).expect_err("it changed");
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    let pool = |name: &str| {
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: 10.1.0.0/16}}"
        );
        parse(text.as_bytes(), "test").resources[0].value.clone()
    };
    store.create(&pool("p")).expect("it is alone");
    let error = store.create(&pool("q")).expect_err("it overlaps");
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");

    // A lease is kept through the proxy, and what stood under it goes when it is not.
    let mut lease = None;
    let lasts = Duration::from_secs(2);
    assert!(store.renew(&mut lease, lasts).expect("a lease"));
    let held = lease.as_ref().expect("it was made");
    store.put_under(held, "/test/lives", "yes").expect("a put");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(1));
        assert!(!store.renew(&mut lease, lasts).expect("it is kept"));
    }
    assert_eq!(direct.paths_below("/test/").expect("etcd").len(), 1);
    let deadline = Instant::now() + Duration::from_secs(15);
    while !direct.paths_below("/test/").expect("etcd").is_empty() {
        assert!(Instant::now() < deadline, "the lease does not end");
        std::thread::sleep(Duration::from_millis(200));
    }

    // The proxy is restarted: nothing is lost, nothing told twice.
    proxy.stop();
    direct.create(&tier("c", 5)).expect("it is new");
    direct
        .delete(&Key::global(Kind::Tier, "a"), None)
        .expect("it is there");
    std::thread::sleep(Duration::from_millis(500));
    proxy.restart();
    follower.until("the changes of meanwhile", |it| {
        order(it, "c") == Some(5.0) && order(it, "a").is_none() && it.broken.is_empty()
    });
    store.create(&tier("d", 6)).expect("it is new");
    follower.until("a change after", |it| order(it, "d") == Some(6.0));
    let changes = follower.changes;
    assert_eq!(changes, 7, "a b b p c -a d and nothing twice");
}

#[test]
fn a_grpc_proxy_is_as_good_as_etcd() {
    through("grpc-proxy");
}

#[test]
fn a_gateway_is_as_good_as_etcd() {
    through("gateway");
}
