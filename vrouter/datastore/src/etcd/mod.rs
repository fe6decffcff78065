//! etcd v3 in Calico's layout: what a Calico installation wrote is read in place, and what we
//! write its tools read.
//!
//! [`layout`] knows paths and values, [`session`] keeps a connection to one of the endpoints,
//! [`watch`] follows changes across lost connections and compactions, [`cache`] is what a node
//! starts from while etcd is away, [`keep`] spares what others wrote and we do not know, [`beside`]
//! makes what a rule looked at a condition of the change.

mod beside;
mod cache;
#[cfg(test)]
mod golden;
mod keep;
pub(crate) mod layout;
mod lease;
mod reports;
mod session;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Error, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse,
};
use tokio::runtime::Runtime;
use vrouter_api::{Key, Kind, Resource};

use self::beside::TrackedReads;
pub use self::lease::Lease;
use self::reports::Reports;
use self::session::{LARGEST_ANSWER, PATIENCE, Session};
use crate::around;
use crate::connection::EtcdSettings;
use crate::error::StoreError;
use crate::event::Watch;
use crate::report::NodeReports;
use crate::rules;
use crate::store::{Datastore, List, Scope, pause, stamp};

/// Keys of one answer.
const PAGE: i64 = 2_000;
/// How often a change without a revision is tried against others who change the same.
const AGAIN: usize = 100;

/// An etcd.
#[derive(Clone)]
pub struct EtcdStore {
    inner: Arc<Inner>,
}

struct Inner {
    session: Session,
    cache: Option<PathBuf>,
    /// Last, so that everything that runs in it is gone before.
    runtime: Runtime,
}

/// How a change ended.
enum Outcome {
    Done(i64),
    Refused(Option<KeyValue>),
}

impl EtcdStore {
    /// An etcd that is not asked yet. With a cache, a watch that cannot reach etcd starts from
    /// what the last one had.
    ///
    /// # Errors
    /// When no thread can be started for the connection.
    pub fn new(settings: EtcdSettings, cache: Option<PathBuf>) -> Result<EtcdStore, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("etcd")
            .enable_all()
            .build()
            .map_err(StoreError::Thread)?;
        Ok(EtcdStore {
            inner: Arc::new(Inner {
                session: Session::new(settings),
                cache,
                runtime,
            }),
        })
    }

    fn run<T, F>(&self, call: impl Fn(Client, usize) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.inner
            .runtime
            .block_on(self.inner.session.call(PATIENCE, call))
    }

    /// What is at the first of these paths that has something.
    fn read(&self, paths: &[String]) -> Result<Option<KeyValue>, StoreError> {
        for path in paths {
            let found = self.run(|client, _| async move {
                let mut answer = client.kv_client().get(path.as_str(), None).await?;
                Ok(answer.take_kvs().pop())
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Makes a change if the path is as it was and the conditions hold: `before` is its revision,
    /// 0 if nothing was there.
    fn change(
        &self,
        path: &str,
        before: i64,
        value: Option<&[u8]>,
        conditions: &[Compare],
    ) -> Result<Outcome, StoreError> {
        self.run(|client, tries| async move {
            let mut compare = conditions.to_vec();
            compare.push(Compare::mod_revision(path, CompareOp::Equal, before));
            let action = match value {
                Some(value) => TxnOp::put(path, value, None),
                None => TxnOp::delete(path, None),
            };
            let txn = Txn::new()
                .when(compare)
                .and_then([action])
                .or_else([TxnOp::get(path, None)]);
            let answer = client.kv_client().txn(txn).await?;
            let revision = answer.header().map_or(0, |header| header.revision());
            if answer.succeeded() {
                return Ok(Outcome::Done(revision));
            }
            let mut there = None;
            for response in answer.op_responses() {
                if let TxnOpResponse::Get(mut get) = response {
                    there = get.take_kvs().pop();
                }
            }
            // A try whose answer was lost may have made the change.
            if tries > 0 {
                match (&there, value) {
                    (Some(now), Some(value)) if now.value() == value => {
                        return Ok(Outcome::Done(now.mod_revision()));
                    }
                    (None, None) => return Ok(Outcome::Done(revision)),
                    (Some(_) | None, _) => {}
                }
            }
            Ok(Outcome::Refused(there))
        })
    }

    /// Changes what is there, against its revision if one is given.
    fn replace(
        &self,
        key: &Key,
        paths: &[String],
        revision: Option<&str>,
        next: impl Fn(&Resource, &[u8], &TrackedReads<'_>) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<(Resource, i64), StoreError> {
        let not_found = || StoreError::NotFound { key: key.clone() };
        let conflict = || StoreError::Conflict { key: key.clone() };
        let mut there = self.read(paths)?.ok_or_else(not_found)?;
        for tries in 0..AGAIN {
            let before = decode(&there)?;
            if revision.is_some_and(|it| it != there.mod_revision().to_string()) {
                return Err(conflict());
            }
            let path = String::from_utf8_lossy(there.key()).into_owned();
            let looked = TrackedReads::new(self);
            let next = next(&before, there.value(), &looked)?;
            let (as_it_was, conditions) = (there.mod_revision(), looked.conditions());
            match self.change(&path, as_it_was, next.as_deref(), &conditions)? {
                Outcome::Done(now) => return Ok((before, now)),
                Outcome::Refused(None) => return Err(not_found()),
                // Something beside it changed: the rules are asked again.
                Outcome::Refused(Some(same)) if same.mod_revision() == as_it_was => pause(tries),
                Outcome::Refused(Some(_)) if revision.is_some() => return Err(conflict()),
                Outcome::Refused(Some(other)) => there = other,
            }
        }
        Err(conflict())
    }
}

impl Datastore for EtcdStore {
    fn name(&self) -> String {
        self.inner.session.name()
    }

    fn get(&self, key: &Key) -> Result<Resource, StoreError> {
        if let Some(built_in) = rules::built_in(key) {
            return Ok(built_in);
        }
        match self.read(&layout::paths(key))? {
            Some(there) => decode(&there),
            None => Err(StoreError::NotFound { key: key.clone() }),
        }
    }

    fn list(&self, kind: Kind, scope: Scope<'_>) -> Result<List, StoreError> {
        let mut list = List::default();
        let session = &self.inner.session;
        let (mut all, mut revision) = (Vec::new(), None);
        for prefix in layout::prefixes_of(kind, scope) {
            let part = range(session, &prefix, revision, PATIENCE);
            let (mut part, at) = self.inner.runtime.block_on(part)?;
            revision = Some(at);
            all.append(&mut part);
        }
        list.revision = revision.unwrap_or(1).to_string();
        for there in all {
            match decode(&there) {
                Ok(resource) if scope.holds(&resource) => list.resources.push(resource),
                Ok(_) => {}
                Err(StoreError::Invalid { errors }) => list.faults.extend(errors),
                Err(error) => return Err(error),
            }
        }
        list.resources.sort_by_cached_key(Resource::key);
        rules::with_built_in(kind, &mut list);
        Ok(list)
    }

    fn create(&self, resource: &Resource) -> Result<Resource, StoreError> {
        let resource = &around::completed(resource);
        let (key, mut new) = (resource.key(), resource.clone());
        if key.kind == Kind::Node {
            around::initialize(self)?;
        }
        let path = writable(resource, "create")?;
        stamp::new(&mut new);
        let bytes = layout::encode(&new);
        for tries in 0..AGAIN {
            let looked = TrackedReads::new(self);
            if let Err(refused) = rules::create(resource, &looked) {
                // What is there already is not asked whether it may be.
                return match self.read(&layout::paths(&key)) {
                    Ok(Some(_)) => Err(StoreError::AlreadyExists { key }),
                    Ok(None) | Err(_) => Err(refused),
                };
            }
            match self.change(&path, 0, Some(&bytes), &looked.conditions())? {
                Outcome::Done(revision) => return Ok(with_revision(new, revision)),
                Outcome::Refused(Some(_)) => return Err(StoreError::AlreadyExists { key }),
                // Something beside it changed: the rules are asked again.
                Outcome::Refused(None) => pause(tries),
            }
        }
        Err(StoreError::Conflict { key })
    }

    fn update(&self, resource: &Resource) -> Result<Resource, StoreError> {
        let key = resource.key();
        let path = writable(resource, "update")?;
        rules::not_built_in("Update", &key)?;
        let resource = &around::completed(resource);
        let revision = resource.metadata().resource_version.as_deref();
        let bare = matches!(
            key.kind,
            Kind::IpamBlock | Kind::IpamHandle | Kind::BlockAffinity
        );
        if bare && let Some(before) = revision.and_then(|it| it.parse().ok()) {
            // Nothing of what is there is kept, so it need not be read.
            return match self.change(&path, before, Some(&layout::encode(resource)), &[])? {
                Outcome::Done(now) => Ok(with_revision(resource.clone(), now)),
                Outcome::Refused(None) => Err(StoreError::NotFound { key }),
                Outcome::Refused(Some(_)) => Err(StoreError::Conflict { key }),
            };
        }
        let next = |before: &Resource| {
            let mut new = resource.clone();
            stamp::kept(&mut new, before);
            new
        };
        let paths = std::slice::from_ref(&path);
        let encoded = |before: &Resource, raw: &[u8], beside: &TrackedReads<'_>| {
            rules::update(before, resource, beside)?;
            Ok(Some(layout::encode_over(&next(before), before, raw)))
        };
        let (before, now) = self.replace(&key, paths, revision, encoded)?;
        Ok(with_revision(next(&before), now))
    }

    fn delete(&self, key: &Key, revision: Option<&str>) -> Result<Resource, StoreError> {
        rules::deletable(key)?;
        let revision = around::before_delete(self, key, revision)?;
        let revision = revision.as_deref();
        if key.kind == Kind::Node {
            self.delete_raw(&layout::host(&key.name))?;
        }
        let (before, _) = self.replace(key, &layout::paths(key), revision, |_, _, beside| {
            rules::delete(key, beside)?;
            Ok(None)
        })?;
        Ok(before)
    }

    fn watch(&self, kinds: &[Kind]) -> Result<Watch, StoreError> {
        watch::start(Arc::clone(&self.inner), kinds)
    }

    fn reports(&self, node: &str) -> Box<dyn NodeReports> {
        Box::new(Reports::new(self.clone(), node))
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EtcdStore").field(&self.name()).finish()
    }
}

/// Everything below a prefix at one revision, page by page: so that no answer is too large.
async fn range(
    session: &Session,
    prefix: &str,
    mut revision: Option<i64>,
    patience: Duration,
) -> Result<(Vec<KeyValue>, i64), StoreError> {
    let mut all: Vec<KeyValue> = Vec::new();
    let end = etcd_client_end(prefix);
    loop {
        let from = match all.last() {
            // The least key after the last one.
            Some(last) => [last.key(), &[0]].concat(),
            None => prefix.as_bytes().to_vec(),
        };
        let (from, end) = (&from, &end);
        let mut answer = session
            .call(patience, |client, _| async move {
                let mut options = GetOptions::new().with_range(end.clone()).with_limit(PAGE);
                if let Some(revision) = revision {
                    options = options.with_revision(revision);
                }
                let kv = client.kv_client();
                let mut kv = kv.max_decoding_message_size(LARGEST_ANSWER);
                kv.get(from.clone(), Some(options)).await
            })
            .await?;
        let at = answer.header().map_or(0, |header| header.revision());
        let at = *revision.get_or_insert(at);
        all.append(&mut answer.take_kvs());
        if !answer.more() {
            return Ok((all, at));
        }
    }
}

/// The least key that is greater than all with the prefix.
fn etcd_client_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // Our prefixes are ASCII, so the last byte can grow.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn decode(there: &KeyValue) -> Result<Resource, StoreError> {
    let path = String::from_utf8_lossy(there.key());
    match layout::decode(&path, there.value(), there.mod_revision()) {
        Ok((resource, _)) => Ok(resource),
        Err(errors) => Err(StoreError::Invalid { errors }),
    }
}

fn with_revision(mut resource: Resource, revision: i64) -> Resource {
    resource.metadata_mut().resource_version = Some(revision.to_string());
    resource
}

/// The path of a resource that has one.
fn writable(resource: &Resource, operation: &'static str) -> Result<String, StoreError> {
    layout::path(resource).ok_or_else(|| StoreError::NotSupported {
        operation,
        key: resource.key(),
        reason: "Calico keeps none of that name in etcd".to_owned(),
    })
}
