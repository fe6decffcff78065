//! The server: one thread, which answers what comes to its sockets.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::answer::{Outcome, answer, failure};
use crate::directory::Directory;
use crate::upstream::{self, Carrier};

/// Askers share this many places where their questions are counted, ...
const PLACES: usize = 64;
/// ... each of which has this many questions under way at most: no container can use up all.
const UNDER_WAY: usize = 32;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// Pause after a socket failed.
const PAUSE: Duration = Duration::from_millis(100);

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    directory: Arc<ArcSwap<Directory>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves sockets that do not block, with nothing in the directory yet. `resolv_conf` names the
    /// resolvers that questions about others go on to.
    ///
    /// # Errors
    /// No thread, or no event loop for it.
    pub fn start(
        udp: Vec<std::net::UdpSocket>,
        tcp: Vec<std::net::TcpListener>,
        resolv_conf: PathBuf,
    ) -> io::Result<Server> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let directory = Arc::new(ArcSwap::from_pointee(Directory::default()));
        let desk = Arc::new(Desk {
            directory: Arc::clone(&directory),
            resolv_conf,
            places: (0..PLACES)
                .map(|_| Arc::new(Semaphore::new(UNDER_WAY)))
                .collect(),
            hasher: RandomState::new(),
        });
        let (stop, stopped) = oneshot::channel();
        {
            let _inside = runtime.enter();
            for socket in udp {
                let socket = Arc::new(UdpSocket::from_std(socket)?);
                runtime.spawn(serve_udp(Arc::clone(&desk), socket));
            }
            for listener in tcp {
                let listener = TcpListener::from_std(listener)?;
                runtime.spawn(serve_tcp(Arc::clone(&desk), listener));
            }
        }
        let thread = std::thread::Builder::new().name("resolver".into());
        let thread = thread.spawn(move || {
            // An error too means that the owner is gone.
            let _stopped = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Server {
            directory,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Puts other names in force.
    pub fn set(&self, directory: Directory) {
        self.directory.store(Arc::new(directory));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// What all questions need.
struct Desk {
    directory: Arc<ArcSwap<Directory>>,
    resolv_conf: PathBuf,
    places: Vec<Arc<Semaphore>>,
    hasher: RandomState,
}

impl Desk {
    fn place(&self, asker: IpAddr) -> Arc<Semaphore> {
        let place = self.hasher.hash_one(asker) as usize % self.places.len();
        Arc::clone(&self.places[place])
    }

    async fn forward(&self, question: &[u8], carrier: Carrier) -> Outcome {
        match upstream::ask(&self.resolv_conf, question, carrier).await {
            Some(answer) => Outcome::Answer(answer),
            None => failure(question),
        }
    }
}

async fn serve_udp(desk: Arc<Desk>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "the resolver's socket");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let question = &buffer[..length];
        let outcome = answer(&desk.directory.load(), from.ip(), question, true);
        match outcome {
            Outcome::Answer(bytes) => send(&socket, &bytes, from).await,
            Outcome::Forward => {
                // An asker that has too many under way is not answered; it asks again.
                let Ok(permit) = desk.place(from.ip()).try_acquire_owned() else {
                    continue;
                };
                let (desk, socket) = (Arc::clone(&desk), Arc::clone(&socket));
                let question = question.to_vec();
                tokio::spawn(async move {
                    let _under_way = permit;
                    if let Outcome::Answer(bytes) = desk.forward(&question, Carrier::Udp).await {
                        send(&socket, &bytes, from).await;
                    }
                });
            }
            Outcome::Nothing => {}
        }
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, to).await {
        tracing::debug!(%error, %to, "an answer is not sent");
    }
}

async fn serve_tcp(desk: Arc<Desk>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Ok(permit) = desk.place(from.ip()).try_acquire_owned() else {
                    continue;
                };
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    let _under_way = permit;
                    if let Err(error) = converse(&desk, stream, from.ip()).await {
                        tracing::trace!(%error, %from, "a connection to the resolver");
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "the resolver's listener");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one connection's questions, one after the other, until it is closed or silent.
async fn converse(desk: &Desk, mut stream: TcpStream, asker: IpAddr) -> io::Result<()> {
    loop {
        let question = timeout(SILENCE, upstream::read(&mut stream)).await??;
        let outcome = answer(&desk.directory.load(), asker, &question, false);
        let outcome = match outcome {
            Outcome::Forward => desk.forward(&question, Carrier::Tcp).await,
            done @ (Outcome::Answer(_) | Outcome::Nothing) => done,
        };
        let Outcome::Answer(bytes) = outcome else {
            return Ok(());
        };
        timeout(SILENCE, upstream::write(&mut stream, &bytes)).await??;
    }
}
