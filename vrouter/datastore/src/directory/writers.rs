//! The files that somebody is in the middle of writing, and those whose writer is known to be done.
//!
//! inotify tells of writes, closes and renames. A file that was written and not closed is left
//! alone for a while, so that half of it never takes effect; a writer that forgets to close must
//! not hold it back for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::EventKind;
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};

/// How long after its last change a file is left alone whose writer is not known to be done.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// The files as their writers left them.
#[derive(Default)]
pub(crate) struct Writers {
    /// Written and not closed, and when that is no longer believed.
    until: BTreeMap<PathBuf, Instant>,
    /// Closed by its writer or moved to its place, with all below it.
    complete: BTreeMap<PathBuf, Complete>,
}

struct Complete {
    /// When that is no news.
    until: Instant,
    moved: bool,
}

impl Writers {
    /// Takes note of an event; says whether a scan may find something new after it.
    pub(crate) fn note(&mut self, event: &notify::Event, now: Instant) -> bool {
        if event.need_rescan() {
            // Events are lost: a file said to be complete may be in the writing again.
            self.complete.clear();
            return true;
        }
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                for path in &event.paths {
                    self.complete.remove(path);
                    self.until.insert(path.clone(), now + PATIENCE);
                }
                true
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                for path in &event.paths {
                    self.finish(path, now, false);
                }
                true
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                for path in &event.paths {
                    self.finish(path, now, true);
                }
                true
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
                if let [from, to] = &*event.paths {
                    self.forget(from);
                    self.finish(to, now, true);
                }
                true
            }
            EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => {
                for path in &event.paths {
                    self.forget(path);
                }
                true
            }
            EventKind::Access(_) => false,
            // Foreign enum: whatever else there is, looking does no harm.
            _ => true,
        }
    }

    fn finish(&mut self, path: &Path, now: Instant, moved: bool) {
        self.until.remove(path);
        let until = now + PATIENCE;
        self.complete
            .insert(path.to_owned(), Complete { until, moved });
    }

    fn forget(&mut self, path: &Path) {
        self.until.remove(path);
        self.complete.remove(path);
    }

    /// Whether the file is to be left alone now.
    pub(crate) fn writing(&self, path: &Path, now: Instant) -> bool {
        self.until.get(path).is_some_and(|until| *until > now)
    }

    /// Whether the file was closed or moved to its place since its last write, itself or a
    /// directory above it.
    pub(crate) fn complete(&self, path: &Path, now: Instant) -> bool {
        self.finished(path, now).next().is_some()
    }

    /// As [`complete`](Self::complete), of a file that was moved to its place: whoever does that has
    /// written all of it before.
    pub(crate) fn moved(&self, path: &Path, now: Instant) -> bool {
        self.finished(path, now).next().is_some_and(|it| it.moved)
    }

    fn finished(&self, path: &Path, now: Instant) -> impl Iterator<Item = &Complete> {
        let above = path.ancestors().filter_map(|it| self.complete.get(it));
        above.filter(move |it| it.until > now)
    }

    /// The file was read: the next one to write it is another writer.
    pub(crate) fn was_read(&mut self, path: &Path) {
        self.complete.remove(path);
    }

    /// Drops what is no longer believed.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
        self.complete.retain(|_, it| it.until > now);
    }

    /// When the first of them is no longer left alone.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::DataChange;

    #[test]
    fn a_file_is_left_alone_until_closed_or_stale() {
        let now = Instant::now();
        let path = PathBuf::from("a.yaml");
        let event = |kind| notify::Event::new(kind).add_path(path.clone());
        let write = event(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        let close = event(EventKind::Access(AccessKind::Close(AccessMode::Write)));
        let mut writers = Writers::default();
        assert!(writers.note(&write, now));
        assert!(writers.writing(&path, now) && !writers.complete(&path, now));
        assert_eq!(writers.next(), Some(now + PATIENCE));
        assert!(writers.note(&close, now));
        assert!(!writers.writing(&path, now) && writers.complete(&path, now));
        assert!(!writers.moved(&path, now));
        assert!(writers.note(&write, now));
        assert!(!writers.complete(&path, now));
        assert!(!writers.writing(&path, now + PATIENCE));
        writers.expire(now + PATIENCE);
        assert_eq!(writers.next(), None);
    }

    #[test]
    fn what_is_moved_to_its_place_is_complete_with_all_below_it() {
        let now = Instant::now();
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let mut writers = Writers::default();
        assert!(writers.note(&notify::Event::new(to).add_path("sub".into()), now));
        let below = Path::new("sub/a.yaml");
        assert!(writers.complete(below, now) && writers.moved(below, now));
        assert!(!writers.complete(Path::new("other/a.yaml"), now));
        assert!(!writers.complete(below, now + PATIENCE));
    }
}
