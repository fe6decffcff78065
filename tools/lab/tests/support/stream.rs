//! A TCP stream between two members of a lab whose progress can be watched.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vrouter_lab::netns;

use super::TestLab;

/// A running stream: one side sends as fast as it can, the other counts.
pub(crate) struct Stream {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Connects `from` to an address of `to` and starts sending.
    pub(crate) fn start(lab: &TestLab, from: &str, to: &str, address: IpAddr, port: u16) -> Self {
        let (from, to) = (
            lab.lab.namespace(from).expect("the lab has it"),
            lab.lab.namespace(to).expect("the lab has it"),
        );
        let address = SocketAddr::from((address, port));
        let listener = netns::inside(to, || TcpListener::bind(address))
            .expect("the namespace exists")
            .expect("the address is there and the port free");
        let sender = netns::inside(from, || {
            TcpStream::connect_timeout(&address, Duration::from_secs(5))
        })
        .expect("the namespace exists")
        .expect("the stream connects");
        let (receiver, _) = listener.accept().expect("the connection is there");
        let tick = Some(Duration::from_millis(50));
        sender.set_write_timeout(tick).expect("not zero");
        receiver.set_read_timeout(tick).expect("not zero");

        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        // Sockets stay in the namespace they were made in; the threads need not be there.
        let threads = vec![
            thread::spawn({
                let stop = Arc::clone(&stop);
                let mut sender = sender;
                move || {
                    let block = [0x5a; 16 * 1024];
                    while !stop.load(Ordering::Relaxed) {
                        let _blocked_or_cut = sender.write(&block);
                        // Traffic to watch, not a benchmark: leaves the machine to others.
                        thread::sleep(Duration::from_micros(500));
                    }
                }
            }),
            thread::spawn({
                let (stop, received) = (Arc::clone(&stop), Arc::clone(&received));
                let mut receiver = receiver;
                move || {
                    let mut block = vec![0; 64 * 1024];
                    while !stop.load(Ordering::Relaxed) {
                        if let Ok(length) = receiver.read(&mut block) {
                            received.fetch_add(length as u64, Ordering::Relaxed);
                        }
                    }
                }
            }),
        ];
        Self {
            received,
            stop,
            threads,
        }
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The longest time without a received byte while `work` runs.
    pub(crate) fn longest_pause(&self, work: impl FnOnce()) -> Duration {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let (mut last, mut since) = (self.received(), Instant::now());
                let mut longest = Duration::ZERO;
                while !done.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(2));
                    let now = self.received();
                    if now == last {
                        longest = longest.max(since.elapsed());
                    } else {
                        (last, since) = (now, Instant::now());
                    }
                }
                longest
            });
            // What `work` panics with goes on once the watch has ended; else the scope waits for it.
            let worked = panic::catch_unwind(AssertUnwindSafe(work));
            done.store(true, Ordering::Relaxed);
            let longest = watch.join().expect("the watch does not panic");
            worked.unwrap_or_else(|panicked| panic::resume_unwind(panicked));
            longest
        })
    }

    /// Whether nothing arrives for a while.
    pub(crate) fn is_still(&self, for_: Duration) -> bool {
        let before = self.received();
        thread::sleep(for_);
        self.received() == before
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _told_elsewhere = thread.join();
        }
    }
}
