//! The server over a real socket: framing, errors, limits, the socket file, stopping.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vrouter_control::model::*;
use vrouter_control::params::*;
use vrouter_control::*;

/// A service that knows its version, counts, sleeps and panics.
#[derive(Default)]
struct Fake {
    calls: AtomicU64,
    stopped: AtomicBool,
}

type Answer<T> = Result<T, ErrorBody>;

fn absent<T>() -> Answer<T> {
    Err(ErrorBody::unavailable("not in this test"))
}

impl Service for Fake {
    fn version(&self, _: GetVersion) -> Answer<Version> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Version {
            version: "0.1.0".into(),
            protocol: PROTOCOL,
            node: "node1".into(),
            pid: 1,
            started: Timestamp(0),
            uptime_ms: 5,
            workers: 1,
            generation: calls,
        })
    }
    fn interfaces(&self, params: ShowInterfaces) -> Answer<Vec<Interface>> {
        match params.name {
            Some(name) => Err(ErrorBody::not_found(format!(
                "no interface or endpoint {name:?}"
            ))),
            None => Ok(Vec::new()),
        }
    }
    fn routes(&self, params: ShowRoutes) -> Answer<Page<Route>> {
        let after = params.after.map_or(Ok(0), |after| after.parse::<u32>());
        let after = after.map_err(|e| ErrorBody::bad_params(format!("after: {e}")))?;
        let list = (after..2500).map(|n| Route {
            prefix: ipnet::Ipv4Net::new(n.into(), 32).unwrap().into(),
            kind: RouteKind::Drop,
            next_hops: Vec::new(),
            mtu: None,
            source: None,
        });
        let mut seen = after;
        let list = list.inspect(|_| seen += 1);
        let page = Page::collect(rows(params.limit), list, |_| "cursor".into());
        let next = page
            .next
            .map(|_| (after + u32::try_from(page.items.len()).unwrap()).to_string());
        Ok(Page { next, ..page }.with_total(2500))
    }
    fn neighbors(&self, _: ShowNeighbors) -> Answer<Vec<Neighbor>> {
        thread::sleep(Duration::from_millis(300));
        Ok(Vec::new())
    }
    fn tunnels(&self, _: ShowTunnels) -> Answer<Vec<Tunnel>> {
        panic!("on purpose")
    }
    fn flows(&self, _: ShowFlows) -> Answer<Page<Flow>> {
        absent()
    }
    fn policy(&self, _: ShowPolicy) -> Answer<Page<EndpointPolicy>> {
        absent()
    }
    fn hits(&self, _: ShowHits) -> Answer<Vec<PolicyHits>> {
        absent()
    }
    fn health(&self, _: ShowHealth) -> Answer<HealthReport> {
        absent()
    }
    fn drops(&self, _: ShowDrops) -> Answer<DropReport> {
        absent()
    }
    fn workers(&self, _: ShowWorkers) -> Answer<Vec<Worker>> {
        absent()
    }
    fn resources(&self, _: ShowResources) -> Answer<ResourceReport> {
        absent()
    }
    fn counters(&self, _: ShowCounters) -> Answer<CounterReport> {
        Ok(CounterReport::default())
    }
    fn explain(&self, params: Explain) -> Answer<Explanation> {
        let explanation = serde_json::json!({ "source": params.source });
        Explanation::new(&explanation).map_err(|e| ErrorBody::internal(e.to_string()))
    }
    fn await_endpoint(&self, _: AwaitEndpoint) -> Answer<EndpointState> {
        absent()
    }
    fn add_routes(&self, _: AddRoutes) -> Answer<Done> {
        absent()
    }
    fn delete_routes(&self, _: DeleteRoutes) -> Answer<Removed> {
        absent()
    }
    fn reload(&self, _: Reload) -> Answer<Reloaded> {
        absent()
    }
    fn shutdown(&self, _: Shutdown) -> Answer<Done> {
        self.stopped.store(true, Ordering::SeqCst);
        Ok(Done {})
    }
}

struct Fixture {
    dir: TempDir,
    service: Arc<Fake>,
    handle: ServerHandle,
}

impl Fixture {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let service = Arc::new(Fake::default());
        let path = dir.path().join("run/vrouterd.sock");
        let handle = Server::bind(path).unwrap().serve(service.clone()).unwrap();
        Self {
            dir,
            service,
            handle,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("run/vrouterd.sock")
    }

    fn client(&self) -> Client {
        Client::connect(self.path()).unwrap()
    }

    /// Sends bytes, ends the sending side, returns all that comes back.
    fn raw(&self, bytes: &[u8]) -> Vec<serde_json::Value> {
        let mut stream = UnixStream::connect(self.path()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn typed_calls_share_a_connection() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    for generation in 1..=100 {
        let version = client.call(&GetVersion {}).unwrap();
        assert_eq!(
            (version.generation, version.protocol),
            (generation, PROTOCOL)
        );
    }
    let name = Some("default/web".to_owned());
    let refused = client
        .call(&ShowInterfaces {
            name,
            per_worker: true,
        })
        .unwrap_err();
    let ClientError::Refused(error) = refused else {
        panic!("{refused}")
    };
    assert_eq!(error.code, ErrorCode::NotFound);
    assert_eq!(error.message, "no interface or endpoint \"default/web\"");
    // A refusal leaves the connection as it was.
    assert_eq!(client.call(&ShowInterfaces::default()).unwrap(), Vec::new());
    let explain = Explain {
        source: "10.0.0.1".into(),
        destination: "10.0.0.2".into(),
        protocol: Protocol::TCP,
        port: Some(80),
        source_port: None,
        icmp: None,
        family: None,
    };
    assert_eq!(
        client.call(&explain).unwrap().json().get(),
        r#"{"source":"10.0.0.1"}"#
    );
}

#[test]
fn pages_join_to_the_whole() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let (mut after, mut sizes, mut all) = (None, Vec::new(), Vec::new());
    loop {
        let page = client
            .call(&ShowRoutes {
                after,
                ..ShowRoutes::default()
            })
            .unwrap();
        assert_eq!(page.total, Some(2500));
        sizes.push(page.items.len());
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [1000, 1000, 500]);
    assert!(all.is_sorted_by(|a, b| a.prefix < b.prefix));
    let wrong = ShowRoutes {
        after: Some("x".into()),
        ..ShowRoutes::default()
    };
    assert!(matches!(
        client.call(&wrong),
        Err(ClientError::Refused(ErrorBody {
            code: ErrorCode::BadParams,
            ..
        }))
    ));
}

#[test]
fn every_line_is_answered_in_order() {
    let fixture = Fixture::new();
    let answers = fixture.raw(
        b"{\"id\":1,\"method\":\"version\"}\n\
          garbage\n\
          \n\
          {\"id\":3,\"method\":\"show.nothing\"}\n\
          {\"id\":4,\"method\":\"show.routes\",\"params\":{\"wrong\":1}}\n\
          {\"id\":5,\"method\":\"show.routes\",\"params\":{\"prefix\":\"10.0.0.0/33\"}}\n\
          {\"id\":6}\n\
          {\"id\":-1,\"method\":\"version\"}\n\
          \xff\xfe\n\
          {\"id\":9,\"method\":\"show.interfaces\",\"params\":{\"name\":\"x\"}}\r\n\
          {\"id\":10,\"method\":\"version\",\"params\":{}}",
    );
    let seen: Vec<_> = answers
        .iter()
        .map(|a| {
            (
                a["id"].as_u64(),
                a["error"]["code"].as_str().unwrap_or("ok"),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some(1), "ok"),
            (None, "bad_request"),
            (Some(3), "unknown_method"),
            (Some(4), "bad_params"),
            (Some(5), "bad_params"),
            (Some(6), "bad_request"),
            (None, "bad_request"),
            (None, "bad_request"),
            (Some(9), "not_found"),
            (Some(10), "ok"),
        ]
    );
}

#[test]
fn an_oversized_line_is_refused_and_the_next_one_served() {
    let fixture = Fixture::new();
    let pad = |n: usize| {
        let mut line = br#"{"id":1,"method":"version","params":{}}"#.to_vec();
        line.resize(n, b' ');
        line.push(b'\n');
        line
    };
    let lines = [
        pad(line::REQUEST_LIMIT),
        pad(line::REQUEST_LIMIT + 1),
        pad(64),
        vec![b'x'; 3 << 20],
    ];
    let answers = fixture.raw(&lines.concat());
    let codes: Vec<_> = answers
        .iter()
        .map(|a| a["error"]["code"].as_str().unwrap_or("ok"))
        .collect();
    assert_eq!(codes, ["ok", "bad_request", "ok", "bad_request"]);
}

#[test]
fn deep_nesting_is_an_error() {
    let fixture = Fixture::new();
    let mut line = br#"{"id":1,"method":"version","params":"#.to_vec();
    line.extend(std::iter::repeat_n(b'[', 500_000));
    let answers = fixture.raw(&line);
    assert_eq!(answers[0]["error"]["code"], "bad_request");
}

#[test]
fn a_panic_is_an_internal_error() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    let error = client.call(&ShowTunnels::default()).unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(body) if body.code == ErrorCode::Internal),
        "{error}"
    );
    assert!(client.call(&GetVersion {}).is_ok());
}

#[test]
fn many_clients_at_once() {
    let fixture = Fixture::new();
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let mut client = fixture.client();
                for _ in 0..50 {
                    client.call(&GetVersion {}).unwrap();
                }
            });
        }
    });
    assert_eq!(fixture.service.calls.load(Ordering::Relaxed), 32 * 50);
}

#[test]
fn too_many_connections_are_refused_until_one_ends() {
    let fixture = Fixture::new();
    let mut clients: Vec<_> = (0..server::CONNECTIONS)
        .map(|_| {
            let mut client = fixture.client();
            client.call(&GetVersion {}).unwrap();
            client
        })
        .collect();
    let error = fixture.client().call(&GetVersion {}).unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(body) if body.code == ErrorCode::Unavailable),
        "{error}"
    );
    clients.pop();
    let end = Instant::now() + Duration::from_secs(5);
    while fixture.client().call(&GetVersion {}).is_err() {
        assert!(Instant::now() < end, "no place became free");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn silent_clients_give_way_to_one_that_asks() {
    let fixture = Fixture::new();
    // Connections that never ask, one that sends half a request, and one that sends empty lines.
    let mut silent: Vec<_> = (0..server::CONNECTIONS)
        .map(|_| UnixStream::connect(fixture.path()).unwrap())
        .collect();
    silent[0].write_all(b"{\"id\":1,").unwrap();
    thread::sleep(server::YIELD_AFTER + Duration::from_millis(200));
    silent[1].write_all(b"\n\n").unwrap();
    let mut clients: Vec<_> = (0..server::CONNECTIONS)
        .map(|_| {
            let mut client = fixture.client();
            client.call(&GetVersion {}).unwrap();
            client
        })
        .collect();
    // Those that asked keep their places.
    for client in &mut clients {
        client.call(&GetVersion {}).unwrap();
    }
    // The silent ones were told that they are disconnected.
    for stream in &mut silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
}

#[test]
fn a_client_that_vanishes_disturbs_nobody() {
    let fixture = Fixture::new();
    for _ in 0..200 {
        let mut stream = UnixStream::connect(fixture.path()).unwrap();
        stream
            .write_all(b"{\"id\":1,\"method\":\"show.routes\"}\n{\"id\":2,")
            .unwrap();
    }
    let end = Instant::now() + Duration::from_secs(5);
    while fixture.client().call(&GetVersion {}).is_err() {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_socket_is_private_and_goes_away() {
    let fixture = Fixture::new();
    let path = fixture.path();
    let meta = fs::symlink_metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    fixture.client().call(&Shutdown {}).unwrap();
    assert!(fixture.service.stopped.load(Ordering::SeqCst));
    let Fixture {
        dir: _dir, handle, ..
    } = fixture;
    handle.stop(Duration::from_secs(1));
    assert!(!path.exists());
    let error = Client::connect(&path).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
}

#[test]
fn a_second_daemon_is_refused_and_a_stale_socket_replaced() {
    let fixture = Fixture::new();
    let path = fixture.path();
    let error = Server::bind(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "another vrouterd (pid {}) serves {}",
            std::process::id(),
            path.display()
        )
    );
    // Even when somebody has removed the socket file.
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        Server::bind(&path),
        Err(BindError::Running { .. })
    ));
    drop(fixture.handle);

    // A listener that was not closed in order leaves its file.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = Server::bind(&path).unwrap();
    drop(server);
    assert!(!path.exists());

    // One that lives, without our lock.
    let other = UnixListener::bind(&path).unwrap();
    assert!(matches!(
        Server::bind(&path),
        Err(BindError::Running { pid: None, .. })
    ));
    drop(other);
    fs::remove_file(&path).unwrap();

    // No socket at all: not ours to remove.
    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Server::bind(&path),
        Err(BindError::NotASocket { .. })
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn of_many_that_start_at_once_one_wins() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vrouterd.sock");
    drop(UnixListener::bind(&path).unwrap());
    let won: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| Server::bind(&path).ok()))
            .collect();
        starts
            .into_iter()
            .filter_map(|start| start.join().unwrap())
            .collect()
    });
    assert_eq!(won.len(), 1);
}

#[test]
fn a_path_too_long_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x".repeat(120));
    let message = Server::bind(&path).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot bind ") && message.contains("xxx"),
        "{message}"
    );
}

#[test]
fn clients_wait_while_the_daemon_starts() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vrouterd.sock");
    let server = Server::bind(&path).unwrap();
    thread::scope(|scope| {
        let version = scope.spawn(|| Client::connect(&path).unwrap().call(&GetVersion {}));
        thread::sleep(Duration::from_millis(50));
        let handle = server.serve(Arc::new(Fake::default())).unwrap();
        assert_eq!(version.join().unwrap().unwrap().node, "node1");
        drop(handle);
    });
}

#[test]
fn stopping_lets_an_answer_out_and_waits_for_nobody_else() {
    let fixture = Fixture::new();
    let _idle = fixture.client();
    let mut half = UnixStream::connect(fixture.path()).unwrap();
    half.write_all(b"{\"id\":1,").unwrap();
    let stream = UnixStream::connect(fixture.path()).unwrap();
    (&stream)
        .write_all(b"{\"id\":8,\"method\":\"show.neighbors\"}\n")
        .unwrap();
    thread::sleep(Duration::from_millis(100));
    let begin = Instant::now();
    let Fixture {
        dir: _dir, handle, ..
    } = fixture;
    handle.stop(Duration::from_secs(5));
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert_eq!(line, "{\"id\":8,\"result\":[]}\n");
}

#[test]
fn a_silent_daemon_is_given_up() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vrouterd.sock");
    let _server = Server::bind(&path).unwrap();
    let mut client = Client::connect_with_timeout(&path, Duration::from_millis(50)).unwrap();
    let error = client.call(&GetVersion {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection to the daemon broke: no answer came in time"
    );
}

#[test]
fn random_bytes_break_nothing() {
    let fixture = Fixture::new();
    // xorshift: the same bytes each time.
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let alphabet = b"{}[]\":,\n0123456789idmethodparamsversionshow.\\ \xff\x00";
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..20_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                alphabet[usize::try_from(state % alphabet.len() as u64).unwrap()]
            })
            .collect();
        let lines = bytes
            .split(|&b| b == b'\n')
            .filter(|l| !l.trim_ascii().is_empty())
            .count();
        assert_eq!(fixture.raw(&bytes).len(), lines);
    }
    assert!(fixture.client().call(&GetVersion {}).is_ok());
}
