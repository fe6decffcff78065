//! Our own traffic, run inside the client's and the server's place as subcommands of this program.
//!
//! A server writes `ready` when it listens, serves until its standard input ends, and writes what
//! it saw as one line of JSON. So it also ends with whoever started it.

pub mod connections;
pub mod round_trips;
pub mod udp;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

/// One side of a kind of traffic.
#[derive(Debug, Subcommand)]
pub enum Traffic {
    /// Counts the datagrams that arrive.
    UdpSink {
        /// Where to listen.
        listen: SocketAddr,
    },
    /// Sends datagrams as fast as it can.
    UdpBlast {
        /// Where to.
        to: SocketAddr,
        /// Bytes of payload.
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// For how many milliseconds.
        #[arg(long, default_value_t = 1000)]
        milliseconds: u64,
        /// How many flows the datagrams belong to.
        #[arg(long, default_value_t = 1)]
        flows: usize,
    },
    /// Answers each byte with a byte.
    RrServe {
        /// Where to listen.
        listen: SocketAddr,
    },
    /// Sends a byte, waits for one, and so on.
    RrAsk {
        /// Where to.
        to: SocketAddr,
        /// For how many milliseconds.
        #[arg(long, default_value_t = 1000)]
        milliseconds: u64,
    },
    /// Accepts connections and closes them.
    Accept {
        /// Where to listen.
        listen: SocketAddr,
    },
    /// Opens connections and closes them.
    Connect {
        /// Where to.
        to: SocketAddr,
        /// For how many milliseconds.
        #[arg(long, default_value_t = 1000)]
        milliseconds: u64,
        /// How many at a time.
        #[arg(long, default_value_t = 16)]
        clients: usize,
    },
}

impl Traffic {
    /// Does it, and prints what it saw.
    ///
    /// # Errors
    /// A socket refuses.
    pub fn run(self) -> io::Result<()> {
        let length = Duration::from_millis;
        match self {
            Self::UdpSink { listen } => print(&udp::sink(listen)?),
            Self::UdpBlast {
                to,
                size,
                milliseconds,
                flows,
            } => print(&udp::blast(to, size, length(milliseconds), flows)?),
            Self::RrServe { listen } => print(&round_trips::serve(listen)?),
            Self::RrAsk { to, milliseconds } => print(&round_trips::ask(to, length(milliseconds))?),
            Self::Accept { listen } => print(&connections::accept(listen)?),
            Self::Connect {
                to,
                milliseconds,
                clients,
            } => print(&connections::connect(to, length(milliseconds), clients)?),
        }
    }
}

fn print(report: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(report)?;
    writeln!(io::stdout(), "{line}")
}

/// Says that the server listens, and gives the flag that is set when its input ends.
fn ready() -> io::Result<Arc<AtomicBool>> {
    let over = Arc::new(AtomicBool::new(false));
    let flag = over.clone();
    thread::spawn(move || {
        let _ended_either_way = io::stdin().read_to_end(&mut Vec::new());
        // Relaxed: nothing else is handed over with it.
        flag.store(true, Ordering::Relaxed);
    });
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    Ok(over)
}
