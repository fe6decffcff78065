//! The servers: one thread, which listens as the settings in force say and answers by the service.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle as Task, JoinSet, spawn, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use vrouter_api::Observability;
use vrouter_control::Service;
use vrouter_control::params::ShowHealth;

use crate::settings::{self, Listen};
use crate::{health, samples, tls};

/// Connections of one server at once; more wait.
const CONNECTIONS: usize = 16;
/// A connection is closed after as long, whatever it does.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// A client takes no longer for a handshake or a request's head.
const HEAD: Duration = Duration::from_secs(30);
/// Until an address that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(10);

type Answer = Response<Full<Bytes>>;

/// The thread that serves metrics and health; it ends with the value.
pub struct Observer {
    settings: watch::Sender<Option<Observability>>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Starts it; it serves nothing before it is told to.
    ///
    /// # Errors
    /// No thread or no epoll instance can be made.
    pub fn start(service: Arc<dyn Service>) -> io::Result<Self> {
        let (settings, changes) = watch::channel(Some(Observability::default()));
        // Health has a place of its own when two scrapes wait for a busy agent.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .thread_name("observe-ask")
            .build()?;
        let thread = std::thread::Builder::new()
            .name("observe".into())
            .spawn(move || {
                runtime.block_on(follow(service, changes));
                runtime.shutdown_background();
            })?;
        Ok(Self {
            settings,
            thread: Some(thread),
        })
    }

    /// What to call with the settings in force.
    pub fn settings(&self) -> impl FnMut(&Observability) + Send + use<> {
        let sender = self.settings.clone();
        move |new: &Observability| {
            sender.send_if_modified(|old| match old {
                Some(old) if old != new => {
                    old.clone_from(new);
                    true
                }
                Some(_) | None => false,
            });
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.settings.send_replace(None);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that serves metrics and health panicked");
        }
    }
}

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Metrics,
    Health,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Health => "health",
        }
    }

    fn listen(self, settings: &Observability) -> Result<Option<Listen>, String> {
        match self {
            Self::Metrics => settings::metrics(settings),
            Self::Health => settings::health(settings),
        }
    }
}

/// A server as it is wanted, and its task.
struct Serving {
    subject: Subject,
    wanted: Result<Option<Listen>, String>,
    task: Option<Task<()>>,
}

async fn follow(service: Arc<dyn Service>, mut changes: watch::Receiver<Option<Observability>>) {
    let mut servers = [Subject::Metrics, Subject::Health].map(|subject| Serving {
        subject,
        wanted: Ok(None),
        task: None,
    });
    loop {
        // `None` is the end.
        let Some(settings) = changes.borrow_and_update().clone() else {
            return;
        };
        for server in &mut servers {
            let wanted = server.subject.listen(&settings);
            if wanted == server.wanted {
                continue;
            }
            if let Some(task) = server.task.take() {
                task.abort();
                // Its listener is closed when it has ended.
                let _ = task.await;
            }
            match &wanted {
                Ok(Some(listen)) => {
                    let serve = keep_serving(server.subject, listen.clone(), Arc::clone(&service));
                    server.task = Some(spawn(serve));
                }
                Ok(None) => {}
                Err(reason) => {
                    tracing::error!("{}: not served: {reason}", server.subject.name());
                }
            }
            server.wanted = wanted;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Listens, and tries again where that fails.
async fn keep_serving(subject: Subject, listen: Listen, service: Arc<dyn Service>) {
    let name = subject.name();
    let mut reported = String::new();
    loop {
        let problem = match prepare(&listen).await {
            Ok((listener, tls)) => {
                match listener.local_addr() {
                    Ok(address) => tracing::info!(%address, "{name}: served"),
                    Err(error) => tracing::info!(%error, "{name}: served"),
                }
                accept(subject, &listener, tls, &service).await
            }
            Err(problem) => problem,
        };
        if problem != reported {
            tracing::error!("{name}: not served: {problem}");
            reported = problem;
        }
        sleep(RETRY).await;
    }
}

async fn prepare(listen: &Listen) -> Result<(TcpListener, Option<TlsAcceptor>), String> {
    let tls = listen.tls.as_ref().map(tls::acceptor).transpose()?;
    let Listen { host, port, .. } = listen;
    let addresses = addresses(host, *port)
        .await
        .map_err(|error| format!("{host}: {error}"))?;
    let mut failure = format!("{host}: no address");
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok((listener, tls)),
            Err(error) => failure = format!("{address}: {error}"),
        }
    }
    Err(failure)
}

/// Where to listen, the first that works; as Go does it: nothing means all addresses of both families,
/// and of a name's addresses IPv4 comes first.
async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.is_empty() {
        let all: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        return Ok(all.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut found: Vec<SocketAddr> = lookup_host((bare, port)).await?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(found)
}

/// Serves connections; the reason why it cannot any more.
async fn accept(
    subject: Subject,
    listener: &TcpListener,
    tls: Option<TlsAcceptor>,
    service: &Arc<dyn Service>,
) -> String {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let scrapes = Arc::new(Semaphore::new(2));
    // They end with the server.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return "no more connections are taken".to_owned();
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return error.to_string(),
        };
        let (tls, service, scrapes) = (tls.clone(), Arc::clone(service), Arc::clone(&scrapes));
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let served = serve(subject, stream, tls, service, scrapes);
            if timeout(CONNECTION_LIFE, served).await.is_err() {
                tracing::debug!("a connection of {} is closed for its age", subject.name());
            }
            drop(place);
        });
    }
}

async fn serve(
    subject: Subject,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: Arc<dyn Service>,
    scrapes: Arc<Semaphore>,
) {
    let Some(tls) = tls else {
        return requests(subject, stream, service, scrapes).await;
    };
    match timeout(HEAD, tls.accept(stream)).await {
        Ok(Ok(stream)) => requests(subject, stream, service, scrapes).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client's TLS handshake failed"),
        Err(_) => tracing::debug!("a client's TLS handshake took too long"),
    }
}

async fn requests(
    subject: Subject,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Arc<dyn Service>,
    scrapes: Arc<Semaphore>,
) {
    let respond = service_fn(|request: Request<Incoming>| {
        let (service, scrapes) = (Arc::clone(&service), Arc::clone(&scrapes));
        async move { Ok::<_, Infallible>(answer(subject, &request, service, scrapes).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), respond);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of {} ended", subject.name());
    }
}

async fn answer(
    subject: Subject,
    request: &Request<Incoming>,
    service: Arc<dyn Service>,
    scrapes: Arc<Semaphore>,
) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET alone\n".into());
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    match (subject, request.uri().path()) {
        (Subject::Metrics, "/metrics") => {
            let Ok(_turn) = scrapes.acquire().await else {
                return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
            };
            match spawn_blocking(move || samples::scrape(&*service)).await {
                Ok(Ok(samples)) => text(StatusCode::OK, samples),
                Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "it panicked\n".into()),
            }
        }
        (Subject::Health, path @ ("/liveness" | "/readiness")) => {
            let liveness = path == "/liveness";
            match spawn_blocking(move || service.health(ShowHealth {})).await {
                Ok(Ok(report)) => {
                    let good = if liveness { report.live } else { report.ready };
                    let status = if good {
                        StatusCode::OK
                    } else {
                        StatusCode::SERVICE_UNAVAILABLE
                    };
                    text(status, health::table(&report))
                }
                Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "it panicked\n".into()),
            }
        }
        (Subject::Metrics, _) => text(StatusCode::NOT_FOUND, "there is /metrics\n".into()),
        (Subject::Health, _) => {
            let pages = "there are /liveness and /readiness\n";
            text(StatusCode::NOT_FOUND, pages.into())
        }
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
