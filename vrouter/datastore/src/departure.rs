//! A container that left: what is removed of it, at once or, when the store is away, later.
//!
//! The CNI plugin carries a [`Departure`] out. When the store is away it leaves it as a note in a
//! directory instead, and vrouterd carries the [`Notes`] out when the store is back. Whoever does
//! so holds the directory's lock, and the note goes last: a container of the same identity that
//! comes meanwhile is not touched.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vrouter_api::{Key, Kind, Resource, WorkloadEndpoint};

use crate::error::StoreError;
use crate::ipam::Ipam;
use crate::store::{Datastore, Scope};

/// Tries against others who change the same endpoint.
const TRIES: usize = 5;

/// One interface of one container that is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    /// The CNI network's name.
    pub network: String,
    /// The container's identity.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface's name in it.
    pub interface: String,
    pub endpoint: Endpoint,
    /// The IPAM handles that hold its addresses.
    pub handles: Vec<String>,
}

/// Which WorkloadEndpoint a container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Endpoint {
    /// The one of this name.
    Named { namespace: String, name: String },
    /// The one that names the container: the node's name is not known, so neither is its own.
    OfContainer,
    /// None: only its addresses are to go.
    None,
}

impl Departure {
    /// Removes the endpoint, if it is still this container's. Returns its key when it was.
    ///
    /// # Errors
    /// The store's.
    pub fn remove_endpoint(&self, store: &dyn Datastore) -> Result<Option<Key>, StoreError> {
        let mut tries = 0;
        loop {
            let Some(endpoint) = self.find_endpoint(store)? else {
                return Ok(None);
            };
            let key = endpoint.key();
            let revision = endpoint.metadata.resource_version.as_deref();
            match store.delete(&key, revision) {
                Ok(_) => return Ok(Some(key)),
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(StoreError::Conflict { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The container's endpoint, if the store has it.
    fn find_endpoint(&self, store: &dyn Datastore) -> Result<Option<WorkloadEndpoint>, StoreError> {
        let found = match &self.endpoint {
            Endpoint::None => return Ok(None),
            Endpoint::Named { namespace, name } => {
                let key = Key::namespaced(Kind::WorkloadEndpoint, namespace, name);
                match store.get(&key) {
                    Ok(resource) => vec![resource],
                    Err(StoreError::NotFound { .. }) => Vec::new(),
                    Err(error) => return Err(error),
                }
            }
            Endpoint::OfContainer => store.list(Kind::WorkloadEndpoint, Scope::All)?.resources,
        };
        Ok(found.into_iter().find_map(|resource| match resource {
            Resource::WorkloadEndpoint(endpoint)
                if endpoint.spec.container_id == self.container_id
                    && endpoint.spec.endpoint == self.interface =>
            {
                Some(endpoint)
            }
            _ => None,
        }))
    }

    /// Frees the addresses; how many there were.
    ///
    /// # Errors
    /// The store's.
    pub fn release(&self, store: &Arc<dyn Datastore>) -> Result<usize, StoreError> {
        let ipam = Ipam::new(Arc::clone(store));
        let mut freed = 0;
        for handle in &self.handles {
            freed += ipam.release_handle(handle)?;
        }
        Ok(freed)
    }
}

/// Whether changes are welcome: an upgrade or migration locks the store by `datastoreReady: false`
/// in the ClusterInformation `default`.
///
/// # Errors
/// The store's.
pub fn is_ready(store: &dyn Datastore) -> Result<bool, StoreError> {
    match store.get(&Key::global(Kind::ClusterInformation, "default")) {
        Ok(Resource::Other(information)) => {
            let ready = information
                .content
                .get("spec")
                .and_then(|it| it.get("datastoreReady"));
            Ok(ready != Some(&serde_json::Value::Bool(false)))
        }
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A directory of departures that wait for the store.
#[derive(Clone, Debug)]
pub struct Notes {
    directory: PathBuf,
}

/// The right to carry notes out; held by one process at a time.
#[derive(Debug)]
pub struct NotesLock {
    _file: File,
}

impl Notes {
    /// Those in that directory, which need not be there.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Notes {
        Notes {
            directory: directory.into(),
        }
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, network: &str, container_id: &str, interface: &str) -> PathBuf {
        self.directory
            .join(format!("{container_id}-{interface}.{network}.json"))
    }

    /// Leaves a note; it is on disk when this returns.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn leave(&self, departure: &Departure) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let path = self.path(
            &departure.network,
            &departure.container_id,
            &departure.interface,
        );
        let whole = path.with_extension("new");
        let mut file = File::create(&whole)?;
        file.write_all(&serde_json::to_vec(departure)?)?;
        file.sync_all()?;
        fs::rename(&whole, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// The note for one interface of one container.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn find(
        &self,
        network: &str,
        container_id: &str,
        interface: &str,
    ) -> io::Result<Option<Departure>> {
        read(&self.path(network, container_id, interface))
    }

    /// All notes. One that cannot be read is left out and named in the second list.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub fn list(&self) -> io::Result<(Vec<Departure>, Vec<String>)> {
        let (mut notes, mut faults) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((notes, faults)),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "json") {
                match read(&path) {
                    Ok(note) => notes.extend(note),
                    Err(error) => faults.push(format!("{}: {error}", path.display())),
                }
            }
        }
        Ok((notes, faults))
    }

    /// Waits until nobody else carries notes out.
    ///
    /// # Errors
    /// The directory cannot be made or locked.
    pub fn lock(&self) -> io::Result<NotesLock> {
        fs::create_dir_all(&self.directory)?;
        let file = File::create(self.directory.join("lock"))?;
        file.lock()?;
        Ok(NotesLock { _file: file })
    }

    /// Removes a note that was carried out.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, departure: &Departure, _lock: &NotesLock) -> io::Result<()> {
        fs::remove_file(self.path(
            &departure.network,
            &departure.container_id,
            &departure.interface,
        ))
    }
}

fn read(path: &Path) -> io::Result<Option<Departure>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
