//! What every datastore can do.

use std::time::Duration;

use vrouter_api::{AffinityKind, Key, Kind, ParseError, Resource};

use crate::error::StoreError;
use crate::event::Watch;
use crate::report::NodeReports;

/// Which resources of a kind are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// All of them.
    All,
    /// Those of one namespace.
    Namespace(&'a str),
    /// The block affinities of one node.
    Node(&'a str),
}

/// Resources of one kind, by namespace and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// Those in order; each carries its revision in `metadata.resource_version`.
    pub resources: Vec<Resource>,
    /// What is wrong with the others.
    pub faults: Vec<ParseError>,
    /// The store's own revision when they were read.
    pub revision: String,
}

/// A store of resources.
///
/// A resource that comes out of it has its revision in `metadata.resource_version`: an opaque
/// text that is another one after every change. Changes are made as a whole or not at all.
pub trait Datastore: Send + Sync {
    /// Where it is, for people: a path or endpoints.
    fn name(&self) -> String;

    /// One resource.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Invalid`] when what is there is faulty.
    fn get(&self, key: &Key) -> Result<Resource, StoreError>;

    /// The resources of a kind.
    ///
    /// # Errors
    /// When the store as a whole cannot be read; faulty resources are part of the answer.
    fn list(&self, kind: Kind, scope: Scope<'_>) -> Result<List, StoreError>;

    /// Makes a resource; identity, time of creation and revision are the store's to give. What is
    /// returned has them.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`].
    fn create(&self, resource: &Resource) -> Result<Resource, StoreError>;

    /// Replaces a resource: with a revision in its metadata, only when that is still the current
    /// one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`].
    fn update(&self, resource: &Resource) -> Result<Resource, StoreError>;

    /// Removes a resource, with a revision only when that is still the current one; what was
    /// there last is returned.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`].
    fn delete(&self, key: &Key, revision: Option<&str>) -> Result<Resource, StoreError>;

    /// Starts sending what there is of these kinds, then every change, from a thread of its own.
    ///
    /// # Errors
    /// When watching cannot start at all; that the store is away is [`Event::Away`] and ends by
    /// itself.
    ///
    /// [`Event::Away`]: crate::Event::Away
    fn watch(&self, kinds: &[Kind]) -> Result<Watch, StoreError>;

    /// A node's reports of itself.
    fn reports(&self, node: &str) -> Box<dyn NodeReports>;
}

impl Scope<'_> {
    /// Whether the resource is one of those.
    pub(crate) fn holds(self, resource: &Resource) -> bool {
        match self {
            Scope::All => true,
            Scope::Namespace(namespace) => resource.metadata().namespace == namespace,
            Scope::Node(node) => match resource {
                Resource::BlockAffinity(affinity) => {
                    affinity.spec.kind == AffinityKind::Host && affinity.spec.node == node
                }
                _ => false,
            },
        }
    }
}

/// Before what was tried so often is tried again: two that met would meet again.
pub(crate) fn pause(tries: usize) {
    let most = 1 + u64::try_from(tries.min(20)).unwrap_or(20);
    let spread = uuid::Uuid::new_v4().as_u64_pair().0 % (most * 1000);
    std::thread::sleep(Duration::from_micros(spread));
}

/// Revision and identity for what is written, common to all stores.
pub(crate) mod stamp {
    use std::time::{SystemTime, UNIX_EPOCH};

    use vrouter_api::Resource;

    /// Gives a new resource its identity and time of creation.
    pub(crate) fn new(resource: &mut Resource) {
        let metadata = resource.metadata_mut();
        metadata.resource_version = None;
        metadata.uid = Some(uuid::Uuid::new_v4().to_string());
        metadata.creation_timestamp = Some(now());
    }

    /// Keeps what a changed resource was born with.
    pub(crate) fn kept(resource: &mut Resource, before: &Resource) {
        let metadata = resource.metadata_mut();
        metadata.resource_version = None;
        metadata.uid.clone_from(&before.metadata().uid);
        let born = &before.metadata().creation_timestamp;
        metadata.creation_timestamp.clone_from(born);
    }

    /// The time as RFC 3339, to the second.
    #[must_use]
    pub fn now() -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        rfc3339(since.map_or(0, |since| since.as_secs()))
    }

    /// Seconds since 1970 as RFC 3339: the days are counted from 1 March of year 0, so that the
    /// day a leap year adds is a year's last.
    pub(crate) fn rfc3339(seconds: u64) -> String {
        let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let shifted = (5 * day + 2) / 153;
        let (month, carry) = if shifted < 10 {
            (shifted + 3, 0)
        } else {
            (shifted - 9, 1)
        };
        let day = day - (153 * shifted + 2) / 5 + 1;
        let year = year + era * 400 + carry;
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    #[cfg(test)]
    mod tests {
        use super::rfc3339;

        #[test]
        fn times_are_those_of_date() {
            // date -u -d @SECONDS +%FT%TZ
            assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
            assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
            assert_eq!(rfc3339(1_795_203_071), "2026-11-20T19:31:11Z");
            assert_eq!(rfc3339(4_107_542_399), "2100-02-28T23:59:59Z");
        }
    }
}
