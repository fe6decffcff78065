//! Why the kernel does not take what is asked of it.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;
use aya::programs::tc::TcError;

/// Why the kernel does not take what is asked of it, in one line.
#[derive(Debug, thiserror::Error)]
pub enum OffloadError {
    /// The directory is on no bpffs.
    #[error("{} is on no bpffs: mount one with mount -t bpf bpf /sys/fs/bpf", .0.display())]
    NoBpffs(PathBuf),
    /// The directory cannot be made, read or removed.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Programs or maps are not to be had.
    #[error("the kernel does not take the programs' maps: {}", deepest(.0))]
    Maps(#[from] EbpfError),
    /// A program is refused or cannot be attached.
    #[error("program {program}: {}", deepest(.source))]
    Program {
        program: &'static str,
        /// The kernel's word.
        source: ProgramError,
    },
    /// A map cannot be read or written.
    #[error("map {map}: {}", deepest(.source))]
    Map {
        map: &'static str,
        /// The kernel's word.
        source: MapError,
    },
    /// A pin cannot be made.
    #[error("{}: {}", path.display(), deepest(.source))]
    Pin {
        path: PathBuf,
        /// The kernel's word.
        source: PinError,
    },
    /// A link cannot be opened.
    #[error("{}: {}", path.display(), deepest(.source))]
    Link {
        path: PathBuf,
        /// The kernel's word.
        source: LinkError,
    },
    /// The queueing discipline that programs are attached to before Linux 6.6.
    #[error("clsact: {}", deepest(.0))]
    Clsact(#[from] TcError),
    /// A flow's interface has no number here.
    #[error("interface number {0} is not attached")]
    NotAttached(u16),
    /// The addresses of a flow are of two families.
    #[error("a flow has addresses of two families")]
    TwoFamilies,
    /// An interface is not there.
    #[error("interface {0} does not exist")]
    NoInterface(u32),
}

/// The first cause of an error, in one line: its wrappers repeat it, a verifier's log has many lines.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
