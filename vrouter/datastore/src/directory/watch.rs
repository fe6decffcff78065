//! A directory of resource files, watched.
//!
//! inotify says that something happened, a scan says what: so a lost or misunderstood event
//! delays a change until the next regular scan and never loses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, after, bounded, select, unbounded};
use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher};
use vrouter_api::Kind;

use crate::directory::Timing;
use crate::directory::index::Index;
use crate::directory::scan::{RootGone, Scanner};
use crate::directory::writers::Writers;
use crate::error::StoreError;
use crate::event::{Event, Watch};

/// Events waiting for their reader; a slow reader makes the directory wait, not grow.
const CHANNEL: usize = 1024;
/// A scan follows the last happening by this much: a file made in a new subdirectory before the
/// subdirectory was watched is found then.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// However long scans take, what file watching lost is found after this.
const LONGEST_RESCAN: Duration = Duration::from_secs(60);
/// The directory itself, in [`Event::Away`].
const ROOT: &str = ".";

/// Starts the thread behind a [`Watch`] of these kinds.
pub(super) fn start(root: PathBuf, timing: Timing, kinds: &[Kind]) -> Result<Watch, StoreError> {
    let (happened, happenings) = unbounded();
    // Watching starts before the first scan, so that nothing falls between the two.
    let watcher = watcher(&root, &happened).map_err(|source| StoreError::Watch {
        path: root.clone(),
        source,
    })?;
    let (sender, events) = bounded(CHANNEL);
    let (stop, stopped) = bounded(0);
    let watching = Watching {
        scanner: Scanner::new(root.clone()),
        index: Index::default(),
        writers: Writers::default(),
        watcher: Some(watcher),
        identity: identity(&root).ok(),
        kinds: kinds.to_vec(),
        believe_at: None,
        lost: false,
        look_again: false,
        scan_took: Duration::ZERO,
        root,
        timing,
        happened,
        happenings,
        events: sender,
        stopped,
    };
    let thread = std::thread::Builder::new()
        .name("resources".to_owned())
        .spawn(move || {
            // Its end is the reader's wish; there is nobody else to tell.
            let _ = watching.run();
        })
        .map_err(StoreError::Thread)?;
    Ok(Watch::new(events, stop, thread))
}

type Happening = notify::Result<notify::Event>;

fn watcher(path: &Path, to: &Sender<Happening>) -> notify::Result<RecommendedWatcher> {
    let to = to.clone();
    // Without links in it, as a scan names files.
    let path = std::fs::canonicalize(path)?;
    let config = Config::default().with_follow_symlinks(false);
    let tell = move |event| {
        // The receiver lives as long as the watcher; after both nobody cares.
        let _ = to.send(event);
    };
    let mut watcher = RecommendedWatcher::new(tell, config)?;
    watcher.watch(&path, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Device and inode: a directory made anew at the same path is another one.
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The reader is gone.
struct Finished;

/// The thread behind a [`Watch`].
struct Watching {
    /// What is told; the rest is read all the same, for its faults.
    kinds: Vec<Kind>,
    root: PathBuf,
    timing: Timing,
    scanner: Scanner,
    index: Index,
    writers: Writers,
    /// None while the directory is gone, or when it could not be watched again.
    watcher: Option<RecommendedWatcher>,
    /// Of the directory that is watched.
    identity: Option<(u64, u64)>,
    /// When a directory that was made anew is believed.
    believe_at: Option<Instant>,
    /// It was reported that the directory is gone.
    lost: bool,
    /// Something happened: scan once more soon after the scan for it.
    look_again: bool,
    /// The last scan.
    scan_took: Duration,
    happened: Sender<Happening>,
    happenings: Receiver<Happening>,
    events: Sender<Event>,
    stopped: Receiver<()>,
}

impl Watching {
    fn run(mut self) -> Result<(), Finished> {
        self.scan(true)?;
        loop {
            self.wait()?;
            self.scan(false)?;
        }
    }

    /// Returns when it is time to scan.
    fn wait(&mut self) -> Result<(), Finished> {
        let now = Instant::now();
        let cheap = (self.scan_took * 500).min(LONGEST_RESCAN);
        let mut deadline = now + self.timing.rescan.max(cheap);
        if self.lost || self.believe_at.is_some() {
            deadline = deadline.min(now + self.timing.settle / 4);
        }
        if std::mem::take(&mut self.look_again) {
            deadline = deadline.min(now + LOOK_AGAIN);
        }
        for next in [self.scanner.next(), self.writers.next()] {
            deadline = next.map_or(deadline, |next| deadline.min(next));
        }
        let mut first = None;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Ok(());
            }
            select! {
                recv(self.stopped) -> _ => return Err(Finished),
                recv(self.happenings) -> happening => {
                    let now = Instant::now();
                    let matters = happening.is_ok_and(|happening| self.note(happening, now));
                    if matters {
                        self.look_again = true;
                        let first = *first.get_or_insert(now);
                        deadline = (now + self.timing.quiet).min(first + self.timing.longest);
                    }
                }
                recv(after(deadline - now)) -> _ => return Ok(()),
            }
        }
    }

    /// Takes note of what happened; whether a scan may find something new after it.
    fn note(&mut self, happening: Happening, now: Instant) -> bool {
        match happening {
            Ok(event) => self.writers.note(&event, now),
            // The queue overflowed or a watch failed: look at everything.
            Err(error) => {
                tracing::debug!(%error, "file watching reported a fault");
                true
            }
        }
    }

    fn scan(&mut self, first: bool) -> Result<(), Finished> {
        let now = Instant::now();
        if !self.present(now)? {
            return Ok(());
        }
        // What is known of writers is as new as can be, however late this scan is.
        while let Ok(happening) = self.happenings.try_recv() {
            self.look_again |= self.note(happening, now);
        }
        self.writers.expire(now);
        let writers = (!first).then_some(&mut self.writers);
        let changes = match self.scanner.scan(writers) {
            Ok(changes) => changes,
            Err(RootGone(error)) => return self.lose(&error),
        };
        self.scan_took = now.elapsed();
        let mut events = Vec::new();
        if std::mem::take(&mut self.lost) {
            events.push(Event::Back);
        }
        if !changes.is_empty() {
            // This scan's time tells of reading files, the next one's of looking at them.
            self.look_again = true;
            tracing::debug!(files = changes.len(), "resource files changed");
        }
        let kinds = &self.kinds;
        let told = |event: &Event| match event {
            Event::Upsert(resource) => kinds.contains(&resource.kind()),
            Event::Delete(key) => kinds.contains(&key.kind),
            Event::Fault { .. }
            | Event::Mended { .. }
            | Event::Notice(_)
            | Event::Away { .. }
            | Event::Back
            | Event::InSync => true,
        };
        events.extend(self.index.apply(changes).into_iter().filter(told));
        if first || !events.is_empty() {
            for event in events {
                self.send(event)?;
            }
            self.send(Event::InSync)?;
        }
        Ok(())
    }

    /// Whether the directory is there and believed; watches it again when it was made anew.
    fn present(&mut self, now: Instant) -> Result<bool, Finished> {
        let identity = match identity(&self.root) {
            Ok(identity) => identity,
            Err(error) => {
                self.lose(&error)?;
                return Ok(false);
            }
        };
        if self.identity != Some(identity) {
            // Another directory: the old watch says nothing of it, and whoever made it may still
            // be filling it.
            self.watcher = None;
            self.identity = Some(identity);
            self.believe_at = Some(now + self.timing.settle);
        }
        if self.watcher.is_none() {
            match watcher(&self.root, &self.happened) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => tracing::warn!(%error, "the resource directory is not watched"),
            }
        }
        if self.believe_at.is_some_and(|at| now < at) {
            return Ok(false);
        }
        self.believe_at = None;
        Ok(true)
    }

    /// The directory is gone: says so once; everything stays in force.
    fn lose(&mut self, error: &std::io::Error) -> Result<(), Finished> {
        self.identity = None;
        self.watcher = None;
        if std::mem::replace(&mut self.lost, true) {
            return Ok(());
        }
        let files = self.index.files();
        let reason = format!(
            "the resource directory cannot be read: {error}; what its {files} files said stays \
             in force"
        );
        self.send(Event::Away {
            store: ROOT.to_owned(),
            reason,
        })?;
        self.send(Event::InSync)
    }

    /// Waits for room in the channel unless nobody reads any more.
    fn send(&self, event: Event) -> Result<(), Finished> {
        select! {
            send(self.events, event) -> sent => sent.map_err(|_| Finished),
            recv(self.stopped) -> _ => Err(Finished),
        }
    }
}
