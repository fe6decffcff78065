//! Reading and changing single resources of a directory.
//!
//! Who changes something holds a lock between processes; a file is replaced as a whole, by
//! renaming, so that readers need none. A revision is the number under which one of us wrote the
//! resource and a hash of what it says now: whoever edits a file by hand changes it too.

use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustc_hash::FxBuildHasher;
use vrouter_api::{Key, Kind, Resource, to_json};

use super::documents::{Edit, edit, print};
use super::scan::RootGone;
use super::{Directory, Seen, watch};
use crate::around;
use crate::error::StoreError;
use crate::event::Watch;
use crate::report::{NoReports, NodeReports};
use crate::rules::{self, StoreView};
use crate::store::{Datastore, List, Scope, stamp};

/// Held by whoever changes something.
const LOCK: &str = ".vrouter.lock";
/// The last number given to a revision.
const COUNTER: &str = ".vrouter.revision";
/// What is written before it has its name, of each folder: the lock is held. Its dot keeps scans away.
const TEMPORARY: &str = ".vrouter.new";
/// Longer names are cut for the file's.
const LONGEST_NAME: usize = 180;

impl Datastore for Directory {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn get(&self, key: &Key) -> Result<Resource, StoreError> {
        if let Some(built_in) = rules::built_in(key) {
            return Ok(built_in);
        }
        self.read(|seen| seen.find(key))
    }

    fn list(&self, kind: Kind, scope: Scope<'_>) -> Result<List, StoreError> {
        self.read(|seen| {
            let of_kind = seen.index.all().filter(|it| it.kind() == kind);
            let mut list = List {
                resources: of_kind
                    .filter(|it| scope.holds(it))
                    .map(with_revision)
                    .collect(),
                faults: seen.index.faults(kind).cloned().collect(),
                revision: self.last_number()?.max(1).to_string(),
            };
            rules::with_built_in(kind, &mut list);
            Ok(list)
        })
    }

    fn create(&self, resource: &Resource) -> Result<Resource, StoreError> {
        let key = resource.key();
        let resource = &around::labelled(resource);
        self.write(|seen| {
            match seen.find(&key) {
                Ok(_) => return Err(StoreError::AlreadyExists { key: key.clone() }),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            rules::create(resource, seen)?;
            let mut new = resource.clone();
            stamp::new(&mut new);
            self.number(&mut new)?;
            let mut path = self.place(&key);
            if path.exists() {
                // Somebody's file of another content under our name: not ours to overwrite.
                path.set_file_name(format!("{}.yaml", uuid::Uuid::new_v4()));
            }
            put(&path, &print(&new, ".yaml"))?;
            Ok(with_revision(&new))
        })
    }

    fn update(&self, resource: &Resource) -> Result<Resource, StoreError> {
        let key = resource.key();
        rules::not_built_in("Update", &key)?;
        let resource = &around::labelled(resource);
        self.write(|seen| {
            let before = seen.find(&key)?;
            same(
                &key,
                resource.metadata().resource_version.as_deref(),
                &before,
            )?;
            rules::update(&before, resource, seen)?;
            let mut new = resource.clone();
            stamp::kept(&mut new, &before);
            self.number(&mut new)?;
            self.change(seen, &key, &Edit::Replace(&new))?;
            Ok(with_revision(&new))
        })
    }

    fn delete(&self, key: &Key, revision: Option<&str>) -> Result<Resource, StoreError> {
        rules::deletable(key)?;
        let revision = around::before_delete(self, key, revision)?;
        let revision = revision.as_deref();
        self.write(|seen| {
            let before = seen.find(key)?;
            same(key, revision, &before)?;
            rules::delete(key, seen)?;
            self.change(seen, key, &Edit::Remove)?;
            Ok(before)
        })
    }

    fn watch(&self, kinds: &[Kind]) -> Result<Watch, StoreError> {
        watch::start(self.path.clone(), self.timing, kinds)
    }

    fn reports(&self, _: &str) -> Box<dyn NodeReports> {
        Box::new(NoReports)
    }
}

impl Directory {
    /// Looks at what changed, then reads.
    fn read<T>(&self, body: impl FnOnce(&Seen) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut seen = self
            .seen
            .lock()
            .expect("nothing panics while it reads files");
        seen.refresh(&self.path)?;
        body(&seen)
    }

    /// The same while nobody else changes anything.
    fn write<T>(&self, body: impl FnOnce(&Seen) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let path = self.path.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| StoreError::File { path, source })?;
        let outcome = self.read(body);
        drop(lock);
        outcome
    }

    /// Where a resource without a file goes.
    fn place(&self, key: &Key) -> PathBuf {
        let mut path = self.path.join(folder(key.kind));
        if !key.namespace.is_empty() {
            path.push(&key.namespace);
        }
        // Room for what is put around the name in a name of at most 255 bytes.
        let name = match key.name.char_indices().nth(LONGEST_NAME) {
            None => key.name.clone(),
            Some((cut, _)) => {
                let hash = FxBuildHasher.hash_one(&key.name);
                format!("{}-{hash:016x}", &key.name[..cut])
            }
        };
        path.join(format!("{name}.yaml"))
    }

    /// The last number that was given, 0 when none was.
    fn last_number(&self) -> Result<u64, StoreError> {
        let path = self.path.join(COUNTER);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse::<u64>().unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(StoreError::File { path, source }),
        }
    }

    /// Gives the resource the next number; the lock is held.
    fn number(&self, resource: &mut Resource) -> Result<(), StoreError> {
        let path = self.path.join(COUNTER);
        let next = self.last_number()?.saturating_add(1);
        // A number that a crash of the machine gives again comes with another hash.
        replace(&path, &format!("{next}\n"), |_| Ok(()))?;
        resource.metadata_mut().resource_version = Some(next.to_string());
        Ok(())
    }

    /// Writes the file of a resource anew, or removes it when nothing else is in it.
    fn change(&self, seen: &Seen, key: &Key, wanted: &Edit<'_>) -> Result<(), StoreError> {
        // A second file with the same key would come into force when the first loses it.
        let files = match wanted {
            Edit::Replace(_) => seen.index.files_of(key).take(1).collect::<Vec<_>>(),
            Edit::Remove => seen.index.files_of(key).collect(),
        };
        let mut done = Vec::new();
        for file in files {
            let path = self.path.join(file);
            let text = fs::read_to_string(&path).map_err(|source| StoreError::File {
                path: path.clone(),
                source,
            })?;
            let text =
                edit(&text, file, key, wanted).map_err(|errors| StoreError::Invalid { errors })?;
            done.push((path, text));
        }
        for (path, text) in done {
            match text {
                Some(text) => put(&path, &text)?,
                None => {
                    fs::remove_file(&path).map_err(|source| StoreError::File { path, source })?;
                }
            }
        }
        Ok(())
    }
}

impl Seen {
    fn refresh(&mut self, root: &Path) -> Result<(), StoreError> {
        match self.scanner.scan(None) {
            Ok(changes) => {
                self.index.apply(changes);
                Ok(())
            }
            Err(RootGone(source)) => Err(StoreError::Open {
                path: root.to_owned(),
                source,
            }),
        }
    }

    fn find(&self, key: &Key) -> Result<Resource, StoreError> {
        let errors: Vec<_> = self.index.faults_of(key).cloned().collect();
        match self.index.in_force(key) {
            _ if !errors.is_empty() => Err(StoreError::Invalid { errors }),
            Some(resource) => Ok(with_revision(resource)),
            None => Err(StoreError::NotFound { key: key.clone() }),
        }
    }
}

/// While the lock is held, it stays like that.
impl StoreView for Seen {
    fn all(&self, kind: Kind) -> Result<Vec<Resource>, StoreError> {
        let of_kind = self.index.all().filter(|it| it.kind() == kind);
        Ok(of_kind.cloned().collect())
    }

    fn has(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.index.in_force(key).is_some())
    }
}

/// Whether the revision somebody saw, if any, is the current one.
fn same(key: &Key, seen: Option<&str>, now: &Resource) -> Result<(), StoreError> {
    match seen {
        Some(seen) if now.metadata().resource_version.as_deref() != Some(seen) => {
            Err(StoreError::Conflict { key: key.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// The resource as it leaves the store.
fn with_revision(resource: &Resource) -> Resource {
    let mut out = resource.clone();
    let number = out.metadata_mut().resource_version.take();
    let number = number.as_deref().and_then(|text| text.split('-').next());
    let number = number
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0);
    let hash = FxBuildHasher.hash_one(to_json(&out));
    out.metadata_mut().resource_version = Some(format!("{number}-{hash:016x}"));
    out
}

/// The folder of a kind; Kubernetes' own policies share a plural with Calico's.
fn folder(kind: Kind) -> &'static str {
    match kind {
        Kind::KubernetesNetworkPolicy => "kubernetesnetworkpolicies",
        _ => kind.plural(),
    }
}

/// Writes a file as a whole: whoever looks sees the old one or the new one, also after a crash.
fn put(path: &Path, text: &str) -> Result<(), StoreError> {
    replace(path, text, File::sync_all)
}

fn replace(
    path: &Path,
    text: &str,
    keep: impl Fn(&File) -> std::io::Result<()>,
) -> Result<(), StoreError> {
    let fault = |source| StoreError::File {
        path: path.to_owned(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(fault)?;
    // Whoever was killed while it wrote has left no more than this one, which the next to write takes.
    let temporary = folder.join(TEMPORARY);
    let _there_is_none = fs::remove_file(&temporary);
    let written = File::create_new(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            keep(&file)
        })
        .and_then(|()| keep_mode(path, &temporary))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first fault is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(fault)
}

/// A replaced file keeps the rights it had.
fn keep_mode(path: &Path, temporary: &Path) -> std::io::Result<()> {
    match fs::metadata(path) {
        Ok(before) => fs::set_permissions(temporary, before.permissions()),
        Err(_) => Ok(()),
    }
}
