//! Network namespaces: open one, run code inside it, notice that it is gone.
//!
//! `setns(2)` changes the calling thread only, so [`Netns::run`] always uses a thread of its own
//! and no other thread ever changes its namespace.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Context, Error, Result};

/// Where `ip netns` and container runtimes bind namespaces that go by a bare name.
const NAMED: &str = "/run/netns";

/// An open network namespace. Holding it keeps the namespace alive, so drop it when
/// [`Netns::exists`] says that its owner removed it.
#[derive(Debug, Clone)]
pub struct Netns {
    path: PathBuf,
    file: Arc<File>,
    identity: Identity,
}

/// What tells two namespaces apart: device and inode of the nsfs file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Netns {
    /// Opens the namespace at `path`; a bare name means `/run/netns/NAME`.
    ///
    /// # Errors
    /// It does not exist, or is no network namespace.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let is_name = path.components().count() == 1 && path.is_relative();
        let path = if is_name {
            Path::new(NAMED).join(path)
        } else {
            path.to_owned()
        };
        let action = || format!("open the network namespace {}", path.display());
        let file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound {
                    what: format!("the network namespace {}", path.display()),
                });
            }
            other => other.context(action)?,
        };
        let identity = Identity::of(&file).context(action)?;
        // A file that is no namespace is noticed here, not in the midst of a pod's set-up.
        let kind = nix::sys::statfs::fstatfs(&file)
            .context(action)?
            .filesystem_type();
        if kind != nix::sys::statfs::NSFS_MAGIC {
            return Err(Error::invalid(action(), "this file is no namespace"));
        }
        Ok(Self {
            path,
            file: Arc::new(file),
            identity,
        })
    }

    /// A new namespace without a name, which ends with its last holder: what is in it talks to this
    /// process alone.
    ///
    /// # Errors
    /// The process may not make one.
    pub fn private() -> Result<Self> {
        let action = || "make a network namespace".to_owned();
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netns".into());
            let body = || {
                unshare(CloneFlags::CLONE_NEWNET).context(action)?;
                Self::current()
            };
            match thread.spawn_scoped(scope, body).context(action)?.join() {
                Ok(made) => made,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// What names it to the kernel.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from other namespaces, also after its path is reused.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether its path still leads to it: `false` when the path is gone or leads to another.
    pub fn exists(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|now| Identity::from(&now) == self.identity)
    }

    /// Runs `inside` on a new thread in this namespace and waits for it.
    ///
    /// # Errors
    /// The namespace cannot be entered, or no thread can be made.
    ///
    /// # Panics
    /// When `inside` does.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        let action = || format!("enter the network namespace {}", self.path.display());
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netns".into());
            let body = || {
                setns(&*self.file, CloneFlags::CLONE_NEWNET)?;
                Ok::<T, nix::Error>(inside())
            };
            match thread.spawn_scoped(scope, body).context(action)?.join() {
                Ok(result) => result.context(action),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Identity {
    fn of(file: &File) -> std::io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }
}

impl From<&std::fs::Metadata> for Identity {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_refused() {
        let error = Netns::open("/proc/self/status").unwrap_err();
        assert!(error.to_string().contains("/proc/self/status"), "{error}");
        let error = Netns::open("no-such-namespace").unwrap_err();
        assert!(
            error.to_string().contains("/run/netns/no-such-namespace"),
            "{error}"
        );
    }

    #[test]
    fn the_current_one_exists() {
        let here = Netns::open("/proc/self/ns/net").unwrap();
        assert!(here.exists());
        assert_eq!(
            here.identity(),
            Netns::open("/proc/self/ns/net").unwrap().identity()
        );
    }
}
