//! The plainest possible TAP-to-TAP copy loop: what two system calls per packet give here, and so
//! the yardstick of every userspace packet path.
//!
//! It makes a TAP in each of two network namespaces, with the virtio-net header and checksum, TSO
//! and USO offloads, and copies whatever one gives to the other: one read(2), one write(2), one
//! thread, asleep in poll(2) when both are empty, or spinning. It parses nothing, answers nothing
//! and knows no addresses: the namespaces need static neighbours (`vrouter-lab up NAME --nodes 1
//! --backend tap-loop` sets them).

mod tap;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::tap::Tap;

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
    let mut buffer = vec![0; BUFFER];
    let burden = Duration::from_nanos(arguments.burden);
    loop {
        copy(&mut one, &mut two, &mut buffer, burden)?;
        copy(&mut two, &mut one, &mut buffer, burden)?;
        if !arguments.spin {
            let mut both = [
                PollFd::new(one.as_fd(), PollFlags::POLLIN),
                PollFd::new(two.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut both, PollTimeout::NONE)?;
        }
    }
}

/// Copies until the source is empty. What the other side has no room for is lost, as on a wire.
fn copy(from: &mut Tap, to: &mut Tap, buffer: &mut [u8], burden: Duration) -> io::Result<()> {
    loop {
        let length = match from.read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if !burden.is_zero() {
            let start = Instant::now();
            while start.elapsed() < burden {
                std::hint::spin_loop();
            }
        }
        match to.write(&buffer[..length]) {
            Ok(_) => {}
            // Full, not up yet, or a frame that the kernel finds malformed.
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error),
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
