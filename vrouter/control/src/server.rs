//! The server: takes the socket for this process alone, answers each connection in a thread.
//!
//! The socket has mode 0600 from the moment it exists: on Linux the mode of an unbound socket is
//! the mode its file gets (`unix_bind` in net/unix/af_unix.c). A lock file beside it, held for
//! life, decides which of two daemons that start at once may have it.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};

use crate::line::{self, Line, REQUEST_LIMIT};
use crate::message::{ErrorBody, ErrorCode, Request, Response};
use crate::method::Service;

/// Connections served at once. One more takes the place of the client that has been silent
/// longest, for [`YIELD_AFTER`] at least; else it is refused with `unavailable`.
pub const CONNECTIONS: usize = 64;

/// A client that asks nothing for as long is disconnected.
pub const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// A client that asks nothing for as long is disconnected when all places are taken and another
/// one connects. Shorter than a client's [`TIMEOUT`](crate::client::TIMEOUT) and longer than the
/// pause between two requests of a program at work.
pub const YIELD_AFTER: Duration = Duration::from_secs(3);

/// A client that takes no bytes for as long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It belongs to a living daemon.
    #[error("another vrouterd{} serves {}", pid.map(|p| format!(" (pid {p})")).unwrap_or_default(), path.display())]
    Running {
        path: PathBuf,
        /// The other process, where known.
        pid: Option<u32>,
    },
    /// There is something else in its place, which is left alone.
    #[error("{} exists and is no socket; remove it or choose another controlSocket", path.display())]
    NotASocket { path: PathBuf },
    /// The system says no.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// The socket, taken but not answered yet: clients that connect wait.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    place: Place,
}

/// The files of the socket, removed when dropped.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Held for life. Its file stays: removing it would let a third process lock a new one.
    _lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|m| (m.dev(), m.ino()) == (self.device, self.inode));
        if ours {
            // Nothing can be done about a failure; the next start removes a stale socket.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Server {
    /// Takes the socket at `path`. Makes its directory where missing, removes a socket that
    /// nobody answers on.
    ///
    /// # Errors
    /// [`BindError::Running`] if another process answers there; the other variants name the file.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, BindError> {
        let path = path.as_ref();
        let fault = |action, path: &Path| {
            let path = path.to_owned();
            move |source| BindError::System {
                action,
                path,
                source,
            }
        };
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(fault("create", parent))?;
        }
        let lock = lock(path)?;
        remove_stale(path)?;

        let socket = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(|e| fault("open a socket for", path)(e.into()))?;
        // `File` only for its fchmod; the descriptor comes back.
        let socket = File::from(socket);
        socket
            .set_permissions(fs::Permissions::from_mode(0o600))
            .map_err(fault("set the mode of", path))?;
        let socket = OwnedFd::from(socket);
        UnixAddr::new(path)
            .and_then(|address| bind(socket.as_raw_fd(), &address))
            .map_err(|e| fault("bind", path)(e.into()))?;
        let meta = fs::symlink_metadata(path).map_err(fault("read", path))?;
        let place = Place {
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
            _lock: lock,
        };
        listen(&socket, Backlog::MAXCONN).map_err(|e| fault("listen on", path)(e.into()))?;
        Ok(Self {
            listener: UnixListener::from(socket),
            place,
        })
    }

    /// Answers on the socket from now on, in threads of its own.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn serve(self, service: Arc<dyn Service>) -> io::Result<ServerHandle> {
        let Self { listener, place } = self;
        let shared = Arc::new(Shared {
            service,
            connections: Mutex::default(),
            closed: Condvar::new(),
        });
        let listener = Arc::new(listener);
        let acceptor = thread::Builder::new().name("control".into()).spawn({
            let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
            move || accept(&shared, &listener)
        })?;
        Ok(ServerHandle {
            shared,
            listener,
            acceptor: Some(acceptor),
            _place: place,
        })
    }
}

/// Takes the lock file beside the socket and writes our process id into it.
fn lock(path: &Path) -> Result<File, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let fault = |action| {
        let path = name.clone();
        move |source| BindError::System {
            action,
            path,
            source,
        }
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(fault("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message.
            let _ = file.read_to_string(&mut pid);
            return Err(BindError::Running {
                path: path.to_owned(),
                pid: pid.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(e)) => return Err(fault("lock")(e)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(fault("write"))?;
    Ok(file)
}

/// Removes a socket that nobody answers on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(BindError::System {
                action: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    if !meta.file_type().is_socket() {
        return Err(BindError::NotASocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::Running {
            path: path.to_owned(),
            pid: None,
        }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| BindError::System {
                action: "remove",
                path: path.to_owned(),
                source,
            })
        }
        Err(source) => Err(BindError::System {
            action: "probe",
            path: path.to_owned(),
            source,
        }),
    }
}

/// What the threads of a server have in common.
struct Shared {
    service: Arc<dyn Service>,
    connections: Mutex<Connections>,
    closed: Condvar,
}

/// The open connections, by a number that never comes back.
#[derive(Default)]
struct Connections {
    open: Vec<Connection>,
    last: u64,
    /// No new ones, and no new requests on these.
    stopping: bool,
}

/// An open connection.
struct Connection {
    number: u64,
    /// To shut it down from another thread.
    stream: UnixStream,
    /// Since when its next request is waited for; `None` while one is answered.
    silent_since: Option<Instant>,
}

impl Connections {
    /// Disconnects the client that has been silent longest, if it was for [`YIELD_AFTER`]; whether
    /// one was. Its thread ends by itself.
    fn free_a_place(&mut self, now: Instant) -> bool {
        let silent = |c: &Connection| now.saturating_duration_since(c.silent_since.unwrap_or(now));
        let longest = self.open.iter().enumerate().max_by_key(|(_, c)| silent(c));
        let Some((place, connection)) = longest else {
            return false;
        };
        if silent(connection) < YIELD_AFTER {
            return false;
        }
        // An error means that it is closed already.
        let _ = connection.stream.shutdown(Shutdown::Both);
        self.open.swap_remove(place);
        true
    }
}

impl Shared {
    /// A panic elsewhere leaves the list as it is, which is whole at any time.
    fn connections(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.connections().stopping
    }

    fn close(&self, number: u64) {
        self.connections().open.retain(|c| c.number != number);
        self.closed.notify_all();
    }

    /// Notes since when the next request of a connection is waited for.
    fn set_silent_since(&self, number: u64, since: Option<Instant>) {
        let mut connections = self.connections();
        if let Some(connection) = connections.open.iter_mut().find(|c| c.number == number) {
            connection.silent_since = since;
        }
    }
}

/// A server at work. Dropping it stops it.
pub struct ServerHandle {
    shared: Arc<Shared>,
    listener: Arc<UnixListener>,
    acceptor: Option<thread::JoinHandle<()>>,
    _place: Place,
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl ServerHandle {
    /// Stops: no new connections, no new requests; answers under way are given `grace` to reach
    /// their clients. Removes the socket. Not to be called from a [`Service`] function, whose own
    /// answer it would wait for.
    pub fn stop(mut self, grace: Duration) {
        self.shut(grace);
    }

    fn shut(&mut self, grace: Duration) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.shared.connections().stopping = true;
        // Wakes `accept`, which then fails. An error means that it has failed already.
        let _ =
            nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        // The acceptor does not panic: it only accepts and starts threads.
        let _ = acceptor.join();
        let mut connections = self.shared.connections();
        for Connection { stream, .. } in &connections.open {
            // Wakes a reader; answers can still be written. An error means it is closed.
            let _ = stream.shutdown(Shutdown::Read);
        }
        let end = Instant::now() + grace;
        while !connections.open.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            connections = self
                .shared
                .closed
                .wait_timeout(connections, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        for Connection { stream, .. } in &connections.open {
            // The grace is over.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.shut(Duration::from_secs(1));
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    loop {
        let accepted = listener.accept();
        if shared.stopping() {
            return;
        }
        match accepted {
            Ok((stream, _)) => start(shared, stream),
            // Out of descriptors or memory, or the client is gone again. Waiting keeps a lasting
            // fault from burning a core.
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Gives the connection a thread, or says why not.
fn start(shared: &Arc<Shared>, stream: UnixStream) {
    let refuse = |mut stream: UnixStream, why: &str| {
        let response = Response::new(None, Err(ErrorBody::unavailable(why)));
        // Nonblocking: a full buffer must not hold the acceptor up. The client may be gone.
        let _ = stream
            .set_nonblocking(true)
            .and_then(|()| write(&mut stream, &response));
    };
    let mut connections = shared.connections();
    let now = Instant::now();
    if connections.open.len() >= CONNECTIONS && !connections.free_a_place(now) {
        drop(connections);
        return refuse(stream, "too many connections, try again");
    }
    let Ok(copy) = stream.try_clone() else {
        drop(connections);
        return refuse(stream, "out of file descriptors, try again");
    };
    connections.last += 1;
    let number = connections.last;
    connections.open.push(Connection {
        number,
        stream: copy,
        silent_since: Some(now),
    });
    drop(connections);
    let spawned = thread::Builder::new()
        .name(format!("control-{number}"))
        .spawn({
            let shared = Arc::clone(shared);
            move || {
                // The client has gone, or does not read: nobody is left to tell.
                let _ = converse(&shared, number, &stream);
                shared.close(number);
            }
        });
    if spawned.is_err() {
        shared.close(number);
    }
}

/// Answers the requests of one connection until it ends.
fn converse(shared: &Shared, number: u64, mut stream: &UnixStream) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_read_timeout(Some(IDLE_LIMIT))?;
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    loop {
        let line = line::read(&mut reader, &mut buffer, REQUEST_LIMIT)?;
        if line == Line::Full && buffer.trim_ascii().is_empty() {
            continue;
        }
        shared.set_silent_since(number, None);
        let response = match line {
            Line::Full if shared.stopping() => {
                Response::new(None, Err(ErrorBody::unavailable("vrouterd is stopping")))
            }
            Line::Full => answer(&*shared.service, &buffer),
            Line::TooLong => {
                let message = format!("a request has {REQUEST_LIMIT} bytes at most");
                Response::new(None, Err(ErrorBody::new(ErrorCode::BadRequest, message)))
            }
            Line::End => return Ok(()),
        };
        write(&mut stream, &response)?;
        shared.set_silent_since(number, Some(Instant::now()));
    }
}

fn write(stream: &mut impl Write, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// The response to one line.
fn answer(service: &dyn Service, line: &[u8]) -> Response {
    let request = match Request::parse(line) {
        Ok(request) => request,
        Err((id, error)) => return Response::new(id, Err(error)),
    };
    let outcome = request.method().and_then(|method| {
        let name = method.name();
        // A service that panics must not take the connection's other requests with it, nor leave
        // the client without an answer. Its state is behind its own locks and atomics.
        catch_unwind(AssertUnwindSafe(|| method.dispatch(service))).unwrap_or_else(|_| {
            Err(ErrorBody::internal(format!(
                "{name} panicked; the log of vrouterd has the place"
            )))
        })
    });
    Response::new(Some(request.id), outcome)
}
