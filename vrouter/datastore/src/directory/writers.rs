//! Who is in the middle of writing: a file between its first write and its close.
//!
//! inotify tells of writes and of closes. A file that was written and not closed is left alone
//! for a while, so that half of it never takes effect; a writer that forgets to close must not
//! hold it back for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use notify::EventKind;
use notify::event::{AccessKind, AccessMode, ModifyKind};

/// How long after its last write an unclosed file is left alone.
const PATIENCE: Duration = Duration::from_millis(500);

/// The files being written, and when that is no longer believed.
#[derive(Default)]
pub(crate) struct Writers {
    until: BTreeMap<PathBuf, Instant>,
}

impl Writers {
    /// Takes note of an event; says whether a scan may find something new after it.
    pub(crate) fn note(&mut self, event: &notify::Event, now: Instant) -> bool {
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                for path in &event.paths {
                    self.until.insert(path.clone(), now + PATIENCE);
                }
                true
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                for path in &event.paths {
                    self.until.remove(path);
                }
                true
            }
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                for path in &event.paths {
                    self.until.remove(path);
                }
                true
            }
            EventKind::Access(_) => false,
            // Foreign enum: whatever else there is, looking does no harm.
            _ => true,
        }
    }

    /// The files to leave alone now.
    pub(crate) fn writing(&mut self, now: Instant) -> BTreeSet<PathBuf> {
        self.until.retain(|_, until| *until > now);
        self.until.keys().cloned().collect()
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
        let write = notify::Event::new(EventKind::Modify(ModifyKind::Data(DataChange::Any)))
            .add_path(path.clone());
        let close = notify::Event::new(EventKind::Access(AccessKind::Close(AccessMode::Write)))
            .add_path(path.clone());
        let mut writers = Writers::default();
        assert!(writers.note(&write, now));
        assert_eq!(writers.writing(now), BTreeSet::from([path.clone()]));
        assert_eq!(writers.next(), Some(now + PATIENCE));
        assert!(writers.note(&close, now));
        assert!(writers.writing(now).is_empty());
        assert!(writers.note(&write, now));
        assert!(writers.writing(now + PATIENCE).is_empty());
        assert_eq!(writers.next(), None);
    }
}
