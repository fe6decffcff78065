//! What was last known of an etcd, in a file: one line of JSON for each key.
//!
//! Only a node that starts while etcd is away reads it. It is written whole and renamed, so it is
//! never half a state, and its last line says that it is complete.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use rustc_hash::FxBuildHasher;
use serde_json::{Value, json};

/// A value as etcd had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) revision: i64,
    /// Of the value.
    pub(super) hash: u64,
    /// Empty when there is no cache to write.
    pub(super) value: Box<[u8]>,
}

impl Known {
    /// Tells values apart.
    pub(super) fn hash_of(value: &[u8]) -> u64 {
        FxBuildHasher.hash_one(value)
    }
}

/// By path.
pub(super) type State = HashMap<Box<str>, Known>;

/// Writes the state.
pub(super) fn save(file: &Path, state: &State) -> std::io::Result<()> {
    let temporary = file.with_extension("new");
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = BufWriter::new(private(&temporary)?);
    for (path, known) in state {
        let text = String::from_utf8_lossy(&known.value);
        serde_json::to_writer(&mut out, &json!([path, known.revision, text]))?;
        out.write_all(b"\n")?;
    }
    serde_json::to_writer(&mut out, &json!({"keys": state.len()}))?;
    out.write_all(b"\n")?;
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&temporary, file)
}

/// Policy and addresses are nobody else's business.
fn private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Reads it back; a file that is not complete is no state.
pub(super) fn load(file: &Path) -> std::io::Result<State> {
    let bad = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not a complete cache");
    let mut state = State::new();
    let mut complete = None;
    for line in BufReader::new(File::open(file)?).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        if let Some(keys) = line.get("keys").and_then(Value::as_u64) {
            complete = Some(keys);
            continue;
        }
        let at = |index: usize| line.get(index);
        let (Some(path), Some(revision), Some(value)) = (
            at(0).and_then(Value::as_str),
            at(1).and_then(Value::as_i64),
            at(2).and_then(Value::as_str),
        ) else {
            return Err(bad());
        };
        let known = Known {
            revision,
            hash: Known::hash_of(value.as_bytes()),
            value: value.as_bytes().into(),
        };
        state.insert(path.into(), known);
    }
    if complete == u64::try_from(state.len()).ok() {
        Ok(state)
    } else {
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_comes_back_or_is_none() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("deep/cache");
        let known = Known {
            revision: 7,
            hash: Known::hash_of(b"{\"a\": \"\\n\"}"),
            value: b"{\"a\": \"\\n\"}".as_slice().into(),
        };
        let state = State::from([("/a".into(), known.clone()), ("/b".into(), known)]);
        save(&file, &state).expect("the folder is ours");
        assert_eq!(load(&file).expect("it was just written"), state);
        let text = fs::read_to_string(&file).expect("it is there");
        for cut in 0..text.len() - 1 {
            fs::write(&file, &text[..cut]).expect("the folder is ours");
            assert!(load(&file).is_err(), "{cut}");
        }
    }
}
