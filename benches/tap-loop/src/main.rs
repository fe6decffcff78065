//! The plainest possible TAP-to-TAP copy loop: what two system calls per packet give here, and so
//! the yardstick of every userspace packet path.
//!
//! It makes a TAP in each of two network namespaces, with the virtio-net header and checksum, TSO
//! and USO offloads, and copies whatever one gives to the other: one read(2), one write(2), one
//! thread, asleep in poll(2) when both are empty, or spinning. It parses nothing, answers nothing
//! and knows no addresses: the namespaces need static neighbours (`vrouter-lab up NAME --nodes 1
//! --backend tap-loop` sets them). `--batch` and `--io-uring` are two other ways to do the same.

mod sys;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::{Ring, Tap};

/// The largest super-packet with its virtio-net header.
const BUFFER: usize = 65_536 + 64;

/// Copies packets between TAPs in two network namespaces.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The file of the first namespace, for example /run/netns/NAME.
    one: PathBuf,
    /// The file of the second namespace.
    two: PathBuf,
    /// The name of the TAP in both.
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// Never sleep.
    #[arg(long)]
    spin: bool,
    /// Read this many packets before writing them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    batch: u16,
    /// One io_uring with multishot reads and batched writes instead of read(2) and write(2).
    #[arg(long, conflicts_with_all = ["batch", "burden"])]
    io_uring: bool,
    /// Spin this long for each packet, so that a test of the benchmark has a slowdown to find.
    #[arg(long, hide = true, default_value_t = 0, value_name = "NANOSECONDS")]
    burden: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tap-loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut one = Tap::open(&arguments.one, &arguments.interface)?;
    let mut two = Tap::open(&arguments.two, &arguments.interface)?;
    if arguments.io_uring {
        let mut ring = Ring::new(one, two)?;
        loop {
            ring.turn(arguments.spin)?;
        }
    }
    let mut batch = Batch {
        buffers: vec![vec![0; BUFFER]; usize::from(arguments.batch)],
        lengths: Vec::new(),
        burden: Duration::from_nanos(arguments.burden),
    };
    loop {
        batch.copy(&mut one, &mut two)?;
        batch.copy(&mut two, &mut one)?;
        if !arguments.spin {
            let mut both = [
                PollFd::new(one.as_fd(), PollFlags::POLLIN),
                PollFd::new(two.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut both, PollTimeout::NONE)?;
        }
    }
}

/// Packets read and not yet written.
struct Batch {
    buffers: Vec<Vec<u8>>,
    lengths: Vec<usize>,
    burden: Duration,
}

impl Batch {
    /// Copies until the source is empty. What the other side has no room for is lost, as on a wire.
    fn copy(&mut self, from: &mut Tap, to: &mut Tap) -> io::Result<()> {
        loop {
            self.lengths.clear();
            for buffer in &mut self.buffers {
                match from.read(buffer) {
                    Ok(length) => self.lengths.push(length),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            for (buffer, &length) in self.buffers.iter().zip(&self.lengths) {
                burn(self.burden);
                match to.write(&buffer[..length]) {
                    Ok(_) => {}
                    // Full, not up yet, or a frame that the kernel finds malformed.
                    Err(error) if is_loss(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            if self.lengths.len() < self.buffers.len() {
                return Ok(());
            }
        }
    }
}

fn burn(burden: Duration) {
    if !burden.is_zero() {
        let start = Instant::now();
        while start.elapsed() < burden {
            std::hint::spin_loop();
        }
    }
}

fn is_loss(error: &io::Error) -> bool {
    use nix::errno::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EAGAIN | Errno::EIO | Errno::EINVAL | Errno::ENOBUFS | Errno::ENOMEM)
    )
}
