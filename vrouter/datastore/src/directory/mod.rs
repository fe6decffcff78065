//! A directory of resource files: what people write and keep under version control.
//!
//! A file counts when its name says so (see [`scan`]); of two files that name the same resource
//! the first by path is believed. [`watch`] follows what changes, [`write`] changes it.

mod documents;
mod index;
mod patch;
mod scan;
mod watch;
mod write;
mod writers;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::index::Index;
use self::scan::{RootGone, Scanner};
use crate::error::StoreError;
use crate::event::Event;

/// How patient a [`Directory`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A change takes effect when nothing else happened for this long…
    pub quiet: Duration,
    /// …or this long after it, whatever else happens.
    pub longest: Duration,
    /// Between two scans that nothing asked for; longer when a scan is so long that these would
    /// cost more than 0.2 % of a processor.
    pub rescan: Duration,
    /// A directory that was gone is believed again when it was there, unchanged, for this long:
    /// whoever makes it anew needs time to fill it.
    pub settle: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            quiet: Duration::from_millis(10),
            longest: Duration::from_millis(50),
            rescan: Duration::from_secs(5),
            settle: Duration::from_secs(1),
        }
    }
}

/// A directory of resource files.
#[derive(Clone)]
pub struct Directory {
    path: PathBuf,
    timing: Timing,
    /// What was last read, so that only changed files are read again.
    seen: Arc<Mutex<Seen>>,
}

/// The files as last read by this process.
struct Seen {
    scanner: Scanner,
    index: Index,
}

impl Directory {
    /// The directory at that path, which must be there.
    ///
    /// # Errors
    /// When it is not there, not readable or not a directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Directory, StoreError> {
        let path = path.into();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(source) => return Err(StoreError::Open { path, source }),
        };
        if !metadata.is_dir() {
            return Err(StoreError::NotADirectory { path });
        }
        match fs::read_dir(&path) {
            Ok(_) => Ok(Directory {
                seen: Arc::new(Mutex::new(Seen {
                    scanner: Scanner::new(path.clone()),
                    index: Index::default(),
                })),
                path,
                timing: Timing::default(),
            }),
            Err(source) => Err(StoreError::Open { path, source }),
        }
    }

    /// The same directory with another patience.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Directory {
        Directory { timing, ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads everything once, watching nothing: what [`Datastore::watch`](crate::Datastore::watch) sends first, without
    /// its [`Event::InSync`].
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn load(&self) -> Result<Vec<Event>, StoreError> {
        match Scanner::new(self.path.clone()).scan(None) {
            Ok(changes) => Ok(Index::default().apply(changes)),
            Err(RootGone(source)) => Err(StoreError::Open {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.path).finish()
    }
}
