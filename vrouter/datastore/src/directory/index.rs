//! What each file says and what of it is in force; no input or output.
//!
//! Rules: of two files with the same key the first by path wins, the other is faulty. A resource
//! that became faulty keeps its last good version, as does everything a file held before it
//! became so faulty that its resources cannot be named. The outcome depends on what the files
//! say and last said well, not on the order in which they are looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vrouter_api::{Key, Kind, Notice, ParseError, Parsed, Resource};

use crate::event::Event;

/// A change of one file.
pub(crate) enum Change {
    Content(Parsed),
    Removed,
}

#[derive(Default)]
struct File {
    /// What it says, or last said well.
    resources: BTreeMap<Key, Definition>,
    /// What is wrong with it by itself.
    errors: Vec<ParseError>,
    notices: Vec<Notice>,
    /// What was last sent: its own errors and those of duplicate keys, and its notices.
    told: (Vec<ParseError>, Vec<Notice>),
}

struct Definition {
    line: u32,
    resource: Resource,
}

/// Every file and who says what.
#[derive(Default)]
pub(crate) struct Index {
    files: BTreeMap<String, File>,
    /// The files that have something to say about a key; the first is in force.
    sources: HashMap<Key, BTreeSet<String>>,
}

impl Index {
    /// Takes changes of several files at once; returns what changed in force.
    pub(crate) fn apply(&mut self, changes: Vec<(String, Change)>) -> Vec<Event> {
        let mut keys: BTreeSet<Key> = BTreeSet::new();
        for (name, change) in &changes {
            if let Some(file) = self.files.get(name) {
                keys.extend(file.resources.keys().cloned());
            }
            if let Change::Content(parsed) = change {
                keys.extend(parsed.resources.iter().map(|located| located.value.key()));
            }
        }
        let before: BTreeMap<Key, Option<Resource>> = keys
            .into_iter()
            .map(|key| (key.clone(), self.in_force(&key).cloned()))
            .collect();
        // Every file whose errors may differ afterwards: the changed ones, and those that shared
        // a key with them before or share one now.
        let mut doubtful: BTreeSet<String> = changes.iter().map(|(name, _)| name.clone()).collect();
        doubtful.extend(self.sources_of(before.keys()));
        let mut events = Vec::new();
        for (name, change) in changes {
            self.replace(name, change, &mut events);
        }
        doubtful.extend(self.sources_of(before.keys()));
        for name in doubtful {
            self.report(name, &mut events);
        }
        for (key, old) in before {
            match self.in_force(&key) {
                Some(new) if old.as_ref() != Some(new) => events.push(Event::Upsert(new.clone())),
                Some(_) => {}
                None if old.is_some() => events.push(Event::Delete(key)),
                None => {}
            }
        }
        events
    }

    /// How many files hold resources or faults.
    pub(crate) fn files(&self) -> usize {
        self.files.len()
    }

    /// Everything in force, by key.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Resource> {
        let mut keys: Vec<&Key> = self.sources.keys().collect();
        keys.sort_unstable();
        keys.into_iter().filter_map(|key| self.in_force(key))
    }

    /// The files that name a key, the one in force first.
    pub(crate) fn files_of(&self, key: &Key) -> impl Iterator<Item = &str> {
        let files = self.sources.get(key).into_iter().flatten();
        files.map(String::as_str)
    }

    /// What is wrong with resources of a kind, and with files of which nobody knows what they
    /// hold.
    pub(crate) fn faults(&self, kind: Kind) -> impl Iterator<Item = &ParseError> {
        let errors = self.files.values().flat_map(|file| &file.errors);
        errors.filter(move |error| error.key.as_ref().is_none_or(|key| key.kind == kind))
    }

    /// What is wrong with one resource.
    pub(crate) fn faults_of(&self, key: &Key) -> impl Iterator<Item = &ParseError> {
        let errors = self.files.values().flat_map(|file| &file.errors);
        errors.filter(move |error| error.key.as_ref() == Some(key))
    }

    /// What is believed of a key.
    pub(crate) fn in_force(&self, key: &Key) -> Option<&Resource> {
        let first = self.sources.get(key)?.first()?;
        self.files
            .get(first)?
            .resources
            .get(key)
            .map(|said| &said.resource)
    }

    fn sources_of<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> BTreeSet<String> {
        keys.filter_map(|key| self.sources.get(key))
            .flatten()
            .cloned()
            .collect()
    }

    /// Replaces what one file says.
    fn replace(&mut self, name: String, change: Change, events: &mut Vec<Event>) {
        let old = self.files.remove(&name).unwrap_or_default();
        for key in old.resources.keys() {
            if let Some(sources) = self.sources.get_mut(key) {
                sources.remove(&name);
                if sources.is_empty() {
                    self.sources.remove(key);
                }
            }
        }
        let new = match change {
            Change::Content(parsed) => File::after(old, parsed),
            Change::Removed => {
                if old.told != Default::default() {
                    events.push(Event::Mended { object: name });
                }
                return;
            }
        };
        for key in new.resources.keys() {
            self.sources
                .entry(key.clone())
                .or_default()
                .insert(name.clone());
        }
        self.files.insert(name, new);
    }

    /// Tells the file's errors and notices when they differ from what was told before.
    fn report(&mut self, name: String, events: &mut Vec<Event>) {
        let Some(file) = self.files.get(&name) else {
            return;
        };
        let mut errors = file.errors.clone();
        for (key, said) in &file.resources {
            let first = self.sources.get(key).and_then(BTreeSet::first);
            if let Some(first) = first.filter(|first| **first != name) {
                let line = self
                    .files
                    .get(first)
                    .and_then(|file| file.resources.get(key));
                errors.push(ParseError {
                    file: name.clone(),
                    line: said.line,
                    resource: key.to_string(),
                    key: Some(key.clone()),
                    field: String::new(),
                    value: String::new(),
                    reason: format!(
                        "already defined at {first}:{}, which comes first; this one is ignored",
                        line.map_or(0, |said| said.line)
                    ),
                });
            }
        }
        if let Some(file) = self.files.get_mut(&name) {
            let tell = (errors, file.notices.clone());
            if file.told == tell {
                return;
            }
            let first = file.told == Default::default();
            file.told = tell.clone();
            let (errors, notices) = tell;
            if !errors.is_empty() || !first {
                events.push(Event::faults(name, errors));
            }
            events.extend(notices.into_iter().map(Event::Notice));
        }
    }
}

impl File {
    /// What the file says now, completed by what it last said well of what is faulty now.
    fn after(old: File, parsed: Parsed) -> File {
        let unnamed = parsed.errors.iter().any(|error| error.key.is_none());
        let faulty: BTreeSet<Key> = parsed
            .errors
            .iter()
            .filter_map(|error| error.key.clone())
            .collect();
        let mut resources = old.resources;
        resources.retain(|key, _| unnamed || faulty.contains(key));
        for located in parsed.resources {
            let said = Definition {
                line: located.line,
                resource: located.value,
            };
            resources.insert(said.resource.key(), said);
        }
        File {
            resources,
            errors: parsed.errors,
            notices: parsed.notices,
            told: old.told,
        }
    }
}

#[cfg(test)]
mod tests;
