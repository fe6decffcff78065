//! Finding and reading the files of a directory, and knowing which changed.
//!
//! A file counts when its name ends in `.yaml`, `.yml` or `.json` and no part of its path below
//! the directory starts with a dot: that leaves out editors' temporary files and the `..data`
//! directories behind Kubernetes' ConfigMap volumes, whose visible links are followed. A link to a
//! file may lead anywhere, a link to a directory only within the directory: what lies elsewhere
//! is not watched, and may be anything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::hash::BuildHasher;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxBuildHasher;
use vrouter_api::{MAX_FILE_BYTES, Parsed, parse};

use crate::directory::index::Change;
use crate::directory::writers::{PATIENCE, Writers};
use crate::fault::whole_file;

/// A file whose last change is younger than this when read may change again without its times
/// telling (they have the granularity of a kernel tick), so it is read again.
const RACY: Duration = Duration::from_millis(100);
/// A file that is gone, or that differs and whose writer is done, is believed when nothing happened
/// to it for this long: a scan that another file caused may come between the removal of an old
/// file and the creation of the new one. One that was moved to its place is believed at once; one
/// whose writer is not known to be done, or that is empty, waits for [`PATIENCE`].
pub(crate) const REST: Duration = Duration::from_millis(20);
/// A file that is written again and again, whole each time, is believed after this.
const RESTLESS: Duration = Duration::from_secs(5);
/// Deepest nesting of subdirectories; links can make loops.
const MAX_DEPTH: usize = 16;

/// What tells that a file was not touched.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// How much is left of a period since the file's last change.
    fn left_of(&self, period: Duration, now: SystemTime) -> Duration {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let (seconds, nanos) = self.changed.max(self.modified);
        let changed = Duration::new(
            u64::try_from(seconds).unwrap_or_default(),
            u32::try_from(nanos).unwrap_or_default(),
        );
        (changed + period).saturating_sub(now)
    }

    /// Whether the file changed that recently.
    fn changed_within(&self, period: Duration, now: SystemTime) -> bool {
        !self.left_of(period, now).is_zero()
    }
}

/// What was last seen of a file.
struct Seen {
    stamp: Stamp,
    racy: bool,
    /// Of the bytes, or of the fault in reading them.
    hash: u64,
}

/// A file that differs or is gone and is not believed yet.
struct Unsettled {
    /// None when it is gone.
    stamp: Option<Stamp>,
    /// When it was first seen like this.
    since: Instant,
    /// When it was first seen to differ.
    first: Instant,
    /// When to look again.
    again: Instant,
}

/// The files of a directory as last seen.
pub(crate) struct Scanner {
    root: PathBuf,
    seen: HashMap<String, Seen>,
    unsettled: HashMap<String, Unsettled>,
}

/// The directory itself cannot be read.
pub(crate) struct RootGone(pub(crate) io::Error);

impl Scanner {
    pub(crate) fn new(root: PathBuf) -> Scanner {
        Scanner {
            root,
            seen: HashMap::new(),
            unsettled: HashMap::new(),
        }
    }

    /// When some file is to be looked at again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.unsettled.values().map(|file| file.again).min()
    }

    /// What changed since the last scan. With `writers`, a file that differs is read when it is
    /// settled; without them, each is read as it is.
    pub(crate) fn scan(
        &mut self,
        mut writers: Option<&mut Writers>,
    ) -> Result<Vec<(String, Change)>, RootGone> {
        // A root that is gone must not look like one whose files were all deleted.
        let root = fs::canonicalize(&self.root).map_err(RootGone)?;
        let metadata = fs::metadata(&root).map_err(RootGone)?;
        let entries = fs::read_dir(&root).map_err(RootGone)?;
        let mut walk = Walk::new(root);
        let mut inside = vec![(metadata.dev(), metadata.ino())];
        walk.entries(entries, Path::new(""), 0, &mut inside);
        if let Some(fault) = walk.root_fault.take() {
            return Err(RootGone(fault));
        }
        let mut changes = Vec::new();
        let kept = |name: &String| {
            walk.found.contains_key(name)
                || walk
                    .unread
                    .iter()
                    .any(|folder| Path::new(name).starts_with(folder))
        };
        let gone: Vec<String> = self
            .seen
            .keys()
            .filter(|name| !kept(name))
            .cloned()
            .collect();
        let now = Instant::now();
        let mut leaving = HashSet::new();
        for name in &gone {
            if writers.is_some() && now < self.unsettled(name, None, now).since + REST {
                leaving.insert(self.seen[name].stamp.identity());
            }
        }
        for (name, found) in &walk.found {
            match found {
                Found::File(path, metadata)
                    if !leaving.is_empty()
                        && !self.seen.contains_key(name)
                        && may_succeed(path, metadata, &leaving, writers.as_deref(), now) =>
                {
                    self.unsettled(name, Some(Stamp::of(metadata)), now);
                }
                Found::File(path, metadata) => {
                    changes.extend(self.read_if_changed(
                        name,
                        path,
                        metadata,
                        writers.as_deref_mut(),
                    ));
                }
                Found::Faulty(reason) => changes.extend(self.fault(name, reason)),
            }
        }
        for name in gone {
            if writers.is_some() && now < self.unsettled(&name, None, now).since + REST {
                continue;
            }
            self.unsettled.remove(&name);
            self.seen.remove(&name);
            changes.push((name, Change::Removed));
        }
        // What came and went between two scans is nobody's business any more.
        let seen = &self.seen;
        self.unsettled
            .retain(|name, _| walk.found.contains_key(name) || seen.contains_key(name));
        Ok(changes)
    }

    /// The file that is not believed yet, as it is now.
    fn unsettled(&mut self, name: &str, stamp: Option<Stamp>, now: Instant) -> &mut Unsettled {
        let again = now + REST;
        let fresh = Unsettled {
            stamp,
            since: now,
            first: now,
            again,
        };
        let file = self.unsettled.entry(name.to_owned()).or_insert(fresh);
        if file.stamp != stamp {
            (file.stamp, file.since) = (stamp, now);
        }
        file.again = again;
        file
    }

    /// Reads the file unless it is sure that it says what it said.
    fn read_if_changed(
        &mut self,
        name: &str,
        path: &Path,
        metadata: &Metadata,
        writers: Option<&mut Writers>,
    ) -> Option<(String, Change)> {
        let stamp = Stamp::of(metadata);
        let seen = self.seen.get(name);
        if seen.is_some_and(|seen| seen.stamp == stamp && !seen.racy) {
            self.unsettled.remove(name);
            return None;
        }
        let racy = stamp.changed_within(RACY, SystemTime::now());
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            // Gone between the walk and now: the event of that is on its way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.fault(name, &format!("cannot be read: {error}")),
        };
        let hash = FxBuildHasher.hash_one(&bytes);
        let same = seen.is_some_and(|seen| seen.hash == hash && seen.stamp.size == stamp.size);
        if let Some(writers) = writers {
            // Events name files without links.
            let real = fs::canonicalize(path).ok()?;
            if !same && !self.settled(name, path, &real, &stamp, bytes.is_empty(), writers) {
                return None;
            }
            writers.was_read(&real);
        }
        self.unsettled.remove(name);
        self.seen
            .insert(name.to_owned(), Seen { stamp, racy, hash });
        if same {
            None
        } else {
            Some((name.to_owned(), Change::Content(parse(&bytes, name))))
        }
    }

    /// Whether what was just read of a file is what its writer meant to say.
    fn settled(
        &mut self,
        name: &str,
        path: &Path,
        real: &Path,
        stamp: &Stamp,
        empty: bool,
        writers: &Writers,
    ) -> bool {
        // Both are taken before the file's times, so that a pause of ours is no rest of the file.
        let (now, clock) = (Instant::now(), SystemTime::now());
        let Ok(after) = fs::metadata(real).map(|metadata| Stamp::of(&metadata)) else {
            return false;
        };
        // A link that leads elsewhere now was made so when what it leads to was complete.
        let led = real != path
            && self
                .seen
                .get(name)
                .is_some_and(|seen| seen.stamp.identity() != stamp.identity());
        let writing = writers.writing(real, now);
        let whole = !empty && !writing && (led || writers.complete(real, now));
        let rest = if writers.moved(real, now) {
            Duration::ZERO
        } else {
            REST
        };
        let file = self.unsettled(name, Some(after), now);
        // By the monotonic clock too: a file's times may lie in the future.
        let rests = |period| now >= file.since + period || !after.changed_within(period, clock);
        // The walk's metadata is older than the bytes.
        let unchanged = after == *stamp;
        if whole {
            let left = after.left_of(rest, clock);
            file.again = (file.since + rest).min(now + left).max(now);
            return unchanged && rests(rest) || now >= file.first + RESTLESS;
        }
        if unchanged && !writing && rests(PATIENCE) {
            return true;
        }
        // An event of its writer ends the wait.
        file.again = file.since + PATIENCE;
        false
    }

    /// A file that is there but cannot be read: faulty as a whole.
    fn fault(&mut self, name: &str, reason: &str) -> Option<(String, Change)> {
        let hash = FxBuildHasher.hash_one(reason);
        // No stamp is equal to this one, so the file is tried again with each scan.
        let stamp = Stamp {
            device: 0,
            inode: 0,
            size: u64::MAX,
            modified: (0, 0),
            changed: (0, 0),
        };
        let same = self
            .seen
            .get(name)
            .is_some_and(|s| s.hash == hash && s.stamp == stamp);
        self.seen.insert(
            name.to_owned(),
            Seen {
                stamp,
                racy: true,
                hash,
            },
        );
        if same {
            return None;
        }
        let errors = vec![whole_file(name, reason)];
        Some((
            name.to_owned(),
            Change::Content(Parsed {
                errors,
                ..Parsed::default()
            }),
        ))
    }
}

/// Whether a new file may be another name for one that is leaving, whose end it waits for then: both
/// have its resources.
fn may_succeed(
    path: &Path,
    metadata: &Metadata,
    leaving: &HashSet<(u64, u64)>,
    writers: Option<&Writers>,
    now: Instant,
) -> bool {
    // What was moved here under another name is a file of its own.
    let moved = |path: PathBuf| writers.is_some_and(|it| it.moved(&path, now));
    leaving.contains(&Stamp::of(metadata).identity()) || !fs::canonicalize(path).is_ok_and(moved)
}

/// The bytes of a file; one more than allowed of a file that is too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Something a walk found under a name that counts.
enum Found {
    File(PathBuf, Metadata),
    Faulty(String),
}

/// One walk over the tree.
struct Walk {
    /// Without links in it.
    root: PathBuf,
    found: BTreeMap<String, Found>,
    /// Subdirectories that could not be read: what was in them stays in force.
    unread: Vec<PathBuf>,
    root_fault: Option<io::Error>,
}

impl Walk {
    fn new(root: PathBuf) -> Walk {
        let (found, unread, root_fault) = Default::default();
        Walk {
            root,
            found,
            unread,
            root_fault,
        }
    }

    /// `inside` is the chain of directories above, by device and inode: links may make loops.
    fn entries(
        &mut self,
        entries: fs::ReadDir,
        below: &Path,
        depth: usize,
        inside: &mut Vec<(u64, u64)>,
    ) {
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(&entry, below, depth, inside),
                Err(error) if below.as_os_str().is_empty() => self.root_fault = Some(error),
                Err(error) => self.unread(below, &error),
            }
        }
    }

    fn entry(
        &mut self,
        entry: &fs::DirEntry,
        below: &Path,
        depth: usize,
        inside: &mut Vec<(u64, u64)>,
    ) {
        let file_name = entry.file_name();
        if file_name.as_encoded_bytes().first() == Some(&b'.') {
            return;
        }
        let relative = below.join(&file_name);
        // Follows links.
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if counts(&relative) && entry.path().is_symlink() {
                    let fault = Found::Faulty("is a link to nothing".to_owned());
                    self.found.insert(shown(&relative), fault);
                }
                return;
            }
            Err(error) => {
                if counts(&relative) {
                    let fault = Found::Faulty(format!("cannot be read: {error}"));
                    self.found.insert(shown(&relative), fault);
                }
                return;
            }
        };
        if metadata.is_dir() {
            self.folder(entry, &metadata, &relative, depth, inside);
        } else if counts(&relative) {
            let found = if metadata.is_file() {
                Found::File(entry.path(), metadata)
            } else {
                Found::Faulty("is not a regular file".to_owned())
            };
            self.found.insert(shown(&relative), found);
        }
    }

    fn folder(
        &mut self,
        entry: &fs::DirEntry,
        metadata: &Metadata,
        relative: &Path,
        depth: usize,
        inside: &mut Vec<(u64, u64)>,
    ) {
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if link && !fs::canonicalize(entry.path()).is_ok_and(|to| to.starts_with(&self.root)) {
            let fault = Found::Faulty("is a link out of the directory: not followed".to_owned());
            self.found.insert(shown(relative), fault);
            return;
        }
        let identity = (metadata.dev(), metadata.ino());
        if depth >= MAX_DEPTH || inside.contains(&identity) {
            return;
        }
        match fs::read_dir(entry.path()) {
            Ok(entries) => {
                inside.push(identity);
                self.entries(entries, relative, depth + 1, inside);
                inside.pop();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unread(relative, &error),
        }
    }

    fn unread(&mut self, folder: &Path, error: &io::Error) {
        self.found.insert(
            shown(folder),
            Found::Faulty(format!("cannot be read: {error}")),
        );
        self.unread.push(folder.to_owned());
    }
}

/// Whether a file of that name holds resources.
fn counts(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// A file's name as it stands in messages of one line.
fn shown(path: &Path) -> String {
    path.to_string_lossy().replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests;
