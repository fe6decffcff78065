//! Following etcd: everything once, then every change, whatever happens to the connection.
//!
//! A list at one revision, then a watch from the next one. Where the watch cannot go on from —
//! etcd compacted its history, or the connection was lost — the same list is compared with what
//! was told, and only the difference is told. So nothing is lost and nothing told twice; the watch
//! after a list starts at that list's revision, so lists do not follow each other for ever.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError, bounded};
use etcd_client::{EventType, KeyValue, WatchOptions};
use tokio::sync::watch as signal;
use tokio::time::{Instant, sleep, timeout};
use vrouter_api::{Key, Kind};

use super::cache::{self, Known, State};
use super::session::{Failure, LARGEST_ANSWER, classify};
use super::{Inner, etcd_client_end, layout, range};
use crate::error::StoreError;
use crate::event::{Event, Watch};

/// Events waiting for their reader.
const CHANNEL: usize = 4096;
/// Between two tries while etcd is away, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Changes that arrive within this are one batch.
const QUIET: Duration = Duration::from_millis(10);
/// A batch is told after this, however fast changes arrive.
const LONGEST: Duration = Duration::from_millis(200);
/// Between two writings of the cache.
const CACHE_EVERY: Duration = Duration::from_secs(10);

/// The reader is gone.
struct Finished;

/// Why following stopped.
enum Lost {
    Finished,
    /// Etcd has to be asked again, after a pause if something failed.
    Again(Option<String>),
}

impl From<Finished> for Lost {
    fn from(_: Finished) -> Lost {
        Lost::Finished
    }
}

pub(super) fn start(inner: Arc<Inner>, kinds: &[Kind]) -> Result<Watch, StoreError> {
    let (events, received) = bounded(CHANNEL);
    let (stop, stopped) = bounded::<()>(0);
    let (tell_end, end) = signal::channel(false);
    let following = Following {
        prefixes: layout::prefixes(kinds),
        kinds: kinds.to_vec(),
        cache: inner.cache.clone(),
        name: inner.session.name(),
        inner: Arc::clone(&inner),
        state: State::new(),
        told: BTreeSet::new(),
        remarked: BTreeSet::new(),
        events,
        end,
        away: false,
        cache_due: None,
        started: false,
    };
    let thread = std::thread::Builder::new()
        .name("resources".to_owned())
        .spawn(move || {
            let task = inner.runtime.spawn(following.run());
            // Nothing is ever sent: this returns when the watch is dropped.
            let _ = stopped.recv();
            // The task may be gone, which is as good.
            let _ = tell_end.send(true);
            if inner.runtime.block_on(task).is_err() {
                tracing::error!("the task that follows etcd panicked");
            }
        })
        .map_err(StoreError::Thread)?;
    Ok(Watch::new(received, stop, thread))
}

struct Following {
    inner: Arc<Inner>,
    name: String,
    kinds: Vec<Kind>,
    prefixes: Vec<String>,
    cache: Option<PathBuf>,
    /// What etcd had when last heard of.
    state: State,
    /// The keys that are in force at the reader.
    told: BTreeSet<Key>,
    /// The paths of which faults or notices were told.
    remarked: BTreeSet<String>,
    events: Sender<Event>,
    end: signal::Receiver<bool>,
    /// It was said that etcd cannot be reached.
    away: bool,
    /// When the cache is to be written, if it is stale.
    cache_due: Option<Instant>,
    /// Something was told already.
    started: bool,
}

impl Following {
    async fn run(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let since = Instant::now();
            let lost = self.follow().await;
            if since.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            match lost {
                Lost::Finished => break,
                Lost::Again(None) => {}
                Lost::Again(Some(reason)) => {
                    if self.say_away(&reason).await.is_err() {
                        break;
                    }
                    let mut end = self.end.clone();
                    tokio::select! {
                        _ = end.changed() => break,
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
        self.save_cache();
    }

    /// Lists, then watches until that cannot go on.
    async fn follow(&mut self) -> Lost {
        let mut end = self.end.clone();
        let listed = tokio::select! {
            _ = end.changed() => return Lost::Finished,
            listed = self.list() => listed,
        };
        let (revision, fresh) = match listed {
            Ok(listed) => listed,
            Err(error) => return Lost::Again(Some(error.to_string())),
        };
        if self.resync(fresh).await.is_err() {
            return Lost::Finished;
        }
        match self.watch(revision).await {
            Ok(()) => Lost::Again(None),
            Err(lost) => lost,
        }
    }

    async fn list(&self) -> Result<(i64, Vec<KeyValue>), StoreError> {
        let (mut revision, mut all) = (None, Vec::new());
        for prefix in &self.prefixes {
            let (mut part, at) =
                range(&self.inner.session, prefix, revision, Duration::ZERO).await?;
            revision = Some(at);
            all.append(&mut part);
        }
        Ok((revision.unwrap_or(0), all))
    }

    /// Tells the difference between what was told and what there is.
    async fn resync(&mut self, fresh: Vec<KeyValue>) -> Result<(), Finished> {
        let mut paths: BTreeSet<Box<str>> = self.state.keys().cloned().collect();
        let first = !std::mem::replace(&mut self.started, true);
        let back = std::mem::take(&mut self.away);
        if back {
            self.send(Event::Back).await?;
        }
        let mut changes = 0;
        for there in fresh {
            let path = String::from_utf8_lossy(there.key()).into_owned();
            paths.remove(&*path);
            changes += usize::from(self.put(&path, &there).await?);
        }
        for path in paths {
            changes += usize::from(self.gone(&path).await?);
        }
        if first || back || changes > 0 {
            self.send(Event::InSync).await?;
        }
        Ok(())
    }

    /// Something is at a path; whether that is news.
    async fn put(&mut self, path: &str, there: &KeyValue) -> Result<bool, Finished> {
        let revision = there.mod_revision();
        // An etcd made anew from a backup may give an old revision to another value.
        let hash = Known::hash_of(there.value());
        if let Some(known) = self.state.get(path)
            && (known.revision, known.hash) == (revision, hash)
        {
            return Ok(false);
        }
        let value = match self.cache {
            Some(_) => there.value().into(),
            None => Box::default(),
        };
        let known = Known {
            revision,
            hash,
            value,
        };
        self.state.insert(path.into(), known);
        self.stale();
        self.report(path, there.value(), revision).await
    }

    /// Tells what is at a path, if it is of our kinds.
    async fn report(&mut self, path: &str, value: &[u8], revision: i64) -> Result<bool, Finished> {
        if !layout::kind_at(path).is_some_and(|kind| self.kinds.contains(&kind)) {
            return Ok(false);
        }
        match layout::decode(path, value, revision) {
            Ok((resource, notices)) => {
                self.mended(path).await?;
                for notice in notices {
                    self.remarked.insert(path.to_owned());
                    self.send(Event::Notice(notice)).await?;
                }
                self.told.insert(resource.key());
                self.send(Event::Upsert(resource)).await?;
            }
            Err(errors) => {
                self.remarked.insert(path.to_owned());
                let object = path.to_owned();
                self.send(Event::Fault { object, errors }).await?;
            }
        }
        Ok(true)
    }

    /// What was said of a path's faults no longer holds; whether anything was said.
    async fn mended(&mut self, path: &str) -> Result<bool, Finished> {
        if !self.remarked.remove(path) {
            return Ok(false);
        }
        let object = path.to_owned();
        self.send(Event::Mended { object }).await?;
        Ok(true)
    }

    /// Nothing is at a path any more; whether that is news.
    async fn gone(&mut self, path: &str) -> Result<bool, Finished> {
        if self.state.remove(path).is_none() {
            return Ok(false);
        }
        self.stale();
        let mended = self.mended(path).await?;
        let Some(key) = self.key_of(path) else {
            return Ok(mended);
        };
        self.told.remove(&key);
        self.send(Event::Delete(key)).await?;
        Ok(true)
    }

    /// The key under which what was at a path is in force.
    fn key_of(&self, path: &str) -> Option<Key> {
        let key = layout::key_at(path)?;
        self.told.contains(&key).then_some(key)
    }

    /// Follows changes until etcd says that it cannot go on from there (`Ok`) or is lost.
    async fn watch(&mut self, revision: i64) -> Result<(), Lost> {
        let again = |reason: String| Lost::Again(Some(reason));
        let (index, client) = match self.inner.session.client().await {
            Ok(found) => found,
            Err(Failure::Final(error)) => return Err(again(error.to_string())),
            Err(Failure::Passing(reason)) => return Err(again(reason)),
        };
        let lost = |error: &etcd_client::Error| {
            self.inner.session.failed(index);
            match classify(error) {
                Failure::Final(error) => again(error.to_string()),
                Failure::Passing(reason) => again(reason),
            }
        };
        let options = |prefix: &str| {
            WatchOptions::new()
                .with_range(etcd_client_end(prefix))
                .with_start_revision(revision + 1)
                .with_progress_notify()
        };
        let Some((first, others)) = self.prefixes.split_first() else {
            return Err(Lost::Finished);
        };
        let watching = client
            .watch_client()
            .max_decoding_message_size(LARGEST_ANSWER);
        let mut watching = watching;
        let mut stream = match watching.watch(first.as_str(), Some(options(first))).await {
            Ok(stream) => stream,
            Err(error) => return Err(lost(&error)),
        };
        for other in others {
            if let Err(error) = stream.watch(other.as_str(), Some(options(other))).await {
                return Err(lost(&error));
            }
        }
        let mut end = self.end.clone();
        let mut batch: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let until = match (batch, self.cache_due) {
                (Some(first), _) if now >= first + LONGEST => now,
                (Some(_), _) => now + QUIET,
                (None, Some(due)) => due,
                (None, None) => now + Duration::from_secs(3600),
            };
            let message = tokio::select! {
                _ = end.changed() => return Err(Lost::Finished),
                message = timeout(until.saturating_duration_since(now), stream.message()) => message,
            };
            let response = match message {
                Err(_) => {
                    if batch.take().is_some() {
                        self.send(Event::InSync).await?;
                    }
                    if self.cache_due.is_some_and(|due| Instant::now() >= due) {
                        self.save_cache();
                    }
                    continue;
                }
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) => {
                    self.inner.session.failed(index);
                    return Err(again("the watch was closed".to_owned()));
                }
                Ok(Err(error)) => {
                    self.inner.session.failed(index);
                    return Err(match classify(&error) {
                        Failure::Final(error) => again(error.to_string()),
                        Failure::Passing(reason) => again(reason),
                    });
                }
            };
            let mut news = false;
            for event in response.events() {
                let Some(there) = event.kv() else { continue };
                let path = String::from_utf8_lossy(there.key()).into_owned();
                news |= match event.event_type() {
                    EventType::Put => self.put(&path, there).await?,
                    EventType::Delete => self.gone(&path).await?,
                };
            }
            if news {
                batch.get_or_insert_with(Instant::now);
            }
            if response.canceled() {
                if batch.is_some() {
                    self.send(Event::InSync).await?;
                }
                tracing::info!(
                    reason = response.cancel_reason(),
                    compacted = response.compact_revision(),
                    "etcd ended the watch: listing again"
                );
                return Ok(());
            }
        }
    }

    /// Says once that etcd is away; at the start, what the cache has is told first.
    async fn say_away(&mut self, reason: &str) -> Result<(), Finished> {
        if std::mem::replace(&mut self.away, true) {
            return Ok(());
        }
        tracing::warn!(store = self.name, reason, "etcd cannot be reached");
        if !self.started {
            self.load_cache().await?;
        }
        let stays = if self.started {
            "what it last said stays in force"
        } else {
            "nothing is known yet"
        };
        let reason = format!("etcd cannot be reached: {reason}; {stays}");
        let store = self.name.clone();
        self.send(Event::Away { store, reason }).await?;
        if self.started {
            self.send(Event::InSync).await?;
        }
        Ok(())
    }

    async fn load_cache(&mut self) -> Result<(), Finished> {
        let Some(file) = self.cache.clone() else {
            return Ok(());
        };
        let state = match cache::load(&file) {
            Ok(state) => state,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the cache is not used");
                return Ok(());
            }
        };
        tracing::info!(keys = state.len(), "starting from the cache");
        self.started = true;
        for (path, known) in &state {
            self.report(path, &known.value, known.revision).await?;
        }
        self.state = state;
        Ok(())
    }

    fn stale(&mut self) {
        if self.cache.is_some() {
            self.cache_due
                .get_or_insert_with(|| Instant::now() + CACHE_EVERY);
        }
    }

    fn save_cache(&mut self) {
        let Some(file) = self.cache.as_ref().filter(|_| self.cache_due.is_some()) else {
            return;
        };
        self.cache_due = None;
        if let Err(error) = cache::save(file, &self.state) {
            tracing::warn!(file = %file.display(), %error, "the cache is not written");
        }
    }

    /// Waits for room in the channel unless nobody reads any more.
    async fn send(&self, event: Event) -> Result<(), Finished> {
        let mut event = event;
        let mut end = self.end.clone();
        loop {
            match self.events.try_send(event) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Finished),
                Err(TrySendError::Full(back)) => event = back,
            }
            tokio::select! {
                _ = end.changed() => return Err(Finished),
                () = sleep(Duration::from_millis(1)) => {}
            }
        }
    }
}
