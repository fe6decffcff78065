//! The MTU of the paths to other nodes, as the kernel knows it: its interfaces, its routes' `mtu`,
//! and what ICMP taught it (RFC 1191, RFC 8201).
//!
//! A connected UDP socket asks the kernel (`IP_MTU`, `IPV6_MTU`); nothing is sent. ICMP errors are
//! received only to know when to ask again: an error the kernel does not believe, because it quotes
//! no packet of an open socket, changes nothing. What ICMP taught expires in the kernel
//! (`net.ipv4.route.mtu_expires`, `net.ipv6.route.mtu_expires`), so a path below its interface's MTU
//! is asked about each second.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use encap::ip::Layers;
use encap::{Family, icmp};
use libc::{BPF_ABS, BPF_B, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::batch;
use crate::error::{Context, Result};
use crate::sys;

/// From an ICMP error until the kernel is asked: the error's copy comes to us before the kernel
/// reads its own, and errors come in crowds.
const SETTLE: Duration = Duration::from_millis(20);
/// Between two questions about paths below their interface's MTU.
const REDUCED: Duration = Duration::from_secs(1);
/// Between two questions about every path.
const ALL: Duration = Duration::from_secs(30);
/// ICMP errors read before the kernel is asked.
const CROWD: usize = 256;
/// The port the probes connect to, discard's; nothing is sent.
const PORT: u16 = 9;

const WAKER: Token = Token(0);
const V4: Token = Token(1);
const V6: Token = Token(2);

/// Paths to ask about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// The node's own address for each remote.
    pub remotes: BTreeMap<IpAddr, IpAddr>,
    /// The MTU of the interface to them.
    pub link_mtu: u32,
}

/// The MTU of the path to each remote: bytes of the longest outer packet. Remotes without a route are
/// left out.
pub type Mtus = BTreeMap<IpAddr, u32>;

/// A running watch of paths; ends when dropped.
#[derive(Debug)]
pub struct PathMtuWatch {
    shared: Arc<Mutex<Shared>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    paths: Paths,
    /// Counts up with each change of `paths` and each request to ask about all of them.
    generation: u64,
    stop: bool,
}

impl PathMtuWatch {
    /// Asks about no path yet. `changed` is called on a thread of its own with all MTUs known, after
    /// one of them changed.
    ///
    /// # Errors
    /// Out of file descriptors, or no thread can be made. Without the right to receive ICMP
    /// (`CAP_NET_RAW`) a path that gets smaller is noticed late.
    pub fn start(changed: impl FnMut(&Mtus) + Send + 'static) -> Result<Self> {
        let action = || "watch the MTU of paths".to_owned();
        let poll = Poll::new().context(action)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).context(action)?);
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut watcher = Watcher {
            shared: Arc::clone(&shared),
            poll,
            errors: Family::ALL.map(|family| IcmpSocket::open(family).ok()),
            probes: Probes::default(),
            known: Mtus::new(),
            changed,
        };
        let thread = std::thread::Builder::new()
            .name("path-mtu".into())
            .spawn(move || watcher.run())
            .context(action)?;
        Ok(Self {
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// Asks about these paths from now on.
    pub fn set_paths(&self, paths: Paths) {
        let mut shared = lock(&self.shared);
        if shared.paths != paths {
            shared.paths = paths;
            shared.generation += 1;
            drop(shared);
            self.wake();
        }
    }

    /// Asks about all paths again: routes or interfaces changed.
    pub fn ask_again(&self) {
        lock(&self.shared).generation += 1;
        self.wake();
    }

    fn wake(&self) {
        // The eventfd is full only when the thread is about to wake anyhow.
        let _ = self.waker.wake();
    }
}

impl Drop for PathMtuWatch {
    fn drop(&mut self) {
        lock(&self.shared).stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// Nothing panics while it holds the lock, so what a poisoned one guards is whole.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watching thread's state.
struct Watcher<F> {
    shared: Arc<Mutex<Shared>>,
    poll: Poll,
    errors: [Option<IcmpSocket>; 2],
    probes: Probes,
    known: Mtus,
    changed: F,
}

impl<F: FnMut(&Mtus)> Watcher<F> {
    fn run(&mut self) {
        for (socket, token) in self.errors.iter().flatten().zip([V4, V6]) {
            // Without it, paths are asked about at intervals only.
            let _ = self.poll.registry().register(
                &mut SourceFd(&socket.as_raw_fd()),
                token,
                Interest::READABLE,
            );
        }
        let mut events = Events::with_capacity(4);
        let mut paths = Paths::default();
        let mut generation = 0;
        let mut due_all = Instant::now() + ALL;
        let mut due_reduced = Instant::now() + REDUCED;
        loop {
            let reduced: BTreeSet<IpAddr> = self.reduced(&paths).collect();
            let mut due = due_all;
            if !reduced.is_empty() {
                due = due.min(due_reduced);
            }
            let timeout = due.saturating_duration_since(Instant::now());
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return;
            }
            let is_error = events.iter().any(|event| event.token() != WAKER);
            if is_error {
                std::thread::sleep(SETTLE);
            }
            let mut ask: BTreeSet<IpAddr> = self.quoted();
            let now = Instant::now();
            {
                let shared = lock(&self.shared);
                if shared.stop {
                    return;
                }
                if shared.generation != generation {
                    generation = shared.generation;
                    paths.clone_from(&shared.paths);
                    due_all = now;
                }
            }
            if now >= due_reduced {
                ask.extend(reduced);
                due_reduced = now + REDUCED;
            }
            if now >= due_all {
                ask.extend(paths.remotes.keys());
                due_all = now + ALL;
            }
            self.ask(&paths, ask);
        }
    }

    /// The remotes whose path is known to be below the interface's MTU.
    fn reduced(&self, paths: &Paths) -> impl Iterator<Item = IpAddr> {
        self.known
            .iter()
            .filter(|(_, mtu)| **mtu < paths.link_mtu)
            .map(|(remote, _)| *remote)
    }

    /// Reads the ICMP errors that wait.
    fn quoted(&mut self) -> BTreeSet<IpAddr> {
        let sockets = self.errors.iter_mut().flatten();
        sockets.flat_map(IcmpSocket::destinations).collect()
    }

    fn ask(&mut self, paths: &Paths, remotes: BTreeSet<IpAddr>) {
        let before = self.known.clone();
        self.known
            .retain(|remote, _| paths.remotes.contains_key(remote));
        self.probes
            .retain(|local| paths.remotes.values().any(|used| used == local));
        for remote in remotes {
            let Some(local) = paths.remotes.get(&remote) else {
                continue;
            };
            match self.probes.mtu(*local, remote) {
                Ok(mtu) => self.known.insert(remote, mtu),
                Err(_) => self.known.remove(&remote),
            };
        }
        if self.known != before {
            (self.changed)(&self.known);
        }
    }
}

/// A socket for each of the node's addresses, connected to one remote after the other.
#[derive(Debug, Default)]
struct Probes(BTreeMap<IpAddr, Socket>);

impl Probes {
    fn retain(&mut self, is_used: impl Fn(&IpAddr) -> bool) {
        self.0.retain(|local, _| is_used(local));
    }

    /// The MTU of the path from `local` to `remote`.
    fn mtu(&mut self, local: IpAddr, remote: IpAddr) -> io::Result<u32> {
        let outcome = self.ask(local, remote);
        if outcome.is_err() {
            // A socket whose address went and came back is of no use.
            self.0.remove(&local);
        }
        outcome
    }

    fn ask(&mut self, local: IpAddr, remote: IpAddr) -> io::Result<u32> {
        let socket = match self.0.entry(local) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => none.insert(Self::open(local)?),
        };
        // Each time anew: the kernel keeps a connected socket's route until it sends.
        socket.connect(&SocketAddr::new(remote, PORT).into())?;
        let mtu = match remote {
            IpAddr::V4(_) => sys::option(socket, libc::IPPROTO_IP, libc::IP_MTU),
            IpAddr::V6(_) => sys::option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU),
        }?;
        u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn open(local: IpAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address((local, 0).into()), Type::DGRAM, None)?;
        batch::deafen(&socket)?;
        batch::ignore_path_errors(&socket, local.into())?;
        socket.bind(&SocketAddr::new(local, 0).into())?;
        Ok(socket)
    }
}

/// A raw socket for errors about the size of packets.
#[derive(Debug)]
struct IcmpSocket {
    socket: Socket,
    family: Family,
}

impl IcmpSocket {
    fn open(family: Family) -> io::Result<Self> {
        let (domain, protocol) = match family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        let step = |code: u32, value: u32| SockFilter::new(code as u16, 0, 0, value);
        let expect = |value: u32, refusal: u8| {
            SockFilter::new((BPF_JMP | BPF_JEQ | BPF_K) as u16, 0, refusal, value)
        };
        let (all, none) = (step(BPF_RET | BPF_K, 2048), step(BPF_RET | BPF_K, 0));
        match family {
            // Type and code stand behind the IP header.
            Family::V4 => socket.attach_filter(&[
                step(BPF_LDX | BPF_B | BPF_MSH, 0),
                step(BPF_LD | BPF_B | BPF_IND, 0),
                expect(3, 3),
                step(BPF_LD | BPF_B | BPF_IND, 1),
                expect(4, 1),
                all,
                none,
            ])?,
            Family::V6 => {
                socket.attach_filter(&[
                    step(BPF_LD | BPF_B | BPF_ABS, 0),
                    expect(2, 1),
                    all,
                    none,
                ])?;
            }
        }
        Ok(Self { socket, family })
    }

    /// The destinations that waiting errors quote.
    fn destinations(&mut self) -> BTreeSet<IpAddr> {
        let mut found = BTreeSet::new();
        let mut bytes = [0; 2048];
        for _ in 0..CROWD {
            let Ok(length) = self.socket.read(&mut bytes) else {
                break;
            };
            let packet = &bytes[..length];
            let message = match self.family {
                Family::V4 => Layers::parse(packet, 0).map_or(&[][..], |at| &packet[at.l4..at.end]),
                Family::V6 => packet,
            };
            found.extend(icmp::too_big_destination(message, self.family));
        }
        found
    }
}

impl AsRawFd for IcmpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
