//! When a file is believed.

use super::*;
use notify::EventKind;
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};

fn names(changes: Result<Vec<(String, Change)>, RootGone>) -> Vec<String> {
    let changes = changes.unwrap_or_else(|RootGone(error)| panic!("{error}"));
    changes.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn what_just_happened_is_not_believed_yet() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::canonicalize(directory.path()).unwrap().join("a.yaml");
    let mut writers = Writers::default();
    let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let close = notify::Event::new(close).add_path(file.clone());
    fs::write(&file, "a: 1\n").unwrap();
    let mut scanner = Scanner::new(directory.path().to_owned());
    assert_eq!(names(scanner.scan(None)), ["a.yaml"]);

    // Emptied a moment ago: its writer is still at it.
    fs::write(&file, "").unwrap();
    assert!(names(scanner.scan(Some(&mut writers))).is_empty());
    assert!(scanner.next().is_some());
    // It says again what it said: nothing happened.
    fs::write(&file, "a: 1\n").unwrap();
    std::thread::sleep(2 * REST);
    assert!(names(scanner.scan(Some(&mut writers))).is_empty());
    assert!(scanner.next().is_none());

    // Removed and made anew; then removed for good.
    fs::remove_file(&file).unwrap();
    assert!(names(scanner.scan(Some(&mut writers))).is_empty());
    fs::write(&file, "a: 2\n").unwrap();
    std::thread::sleep(2 * REST);
    assert!(names(scanner.scan(Some(&mut writers))).is_empty());
    writers.note(&close, Instant::now());
    assert_eq!(names(scanner.scan(Some(&mut writers))), ["a.yaml"]);
    fs::remove_file(&file).unwrap();
    assert!(names(scanner.scan(Some(&mut writers))).is_empty());
    std::thread::sleep(2 * REST);
    assert_eq!(names(scanner.scan(Some(&mut writers))), ["a.yaml"]);
    assert!(scanner.next().is_none());
}

#[test]
fn what_was_moved_to_its_place_is_believed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::canonicalize(directory.path()).unwrap().join("a.yaml");
    let mut writers = Writers::default();
    let mut scanner = Scanner::new(directory.path().to_owned());
    assert!(names(scanner.scan(None)).is_empty());
    let now = Instant::now();
    let event = |kind| notify::Event::new(kind).add_path(file.clone());
    let moved = event(EventKind::Modify(ModifyKind::Name(RenameMode::To)));
    let closed = event(EventKind::Access(AccessKind::Close(AccessMode::Write)));
    fs::write(&file, "a: 1\n").unwrap();
    writers.note(&closed, now);
    assert!(names(scanner.scan(Some(&mut writers))).is_empty());
    writers.note(&moved, now);
    assert_eq!(names(scanner.scan(Some(&mut writers))), ["a.yaml"]);
    assert!(scanner.next().is_none());

    // One that is leaving is waited for under its new name alone.
    let beside = |name| file.with_file_name(name);
    fs::rename(&file, beside("b.yaml")).unwrap();
    fs::write(beside("c.yaml"), "c: 1\n").unwrap();
    for name in ["b.yaml", "c.yaml"] {
        let kind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        writers.note(&notify::Event::new(kind).add_path(beside(name)), now);
    }
    assert_eq!(names(scanner.scan(Some(&mut writers))), ["c.yaml"]);
    std::thread::sleep(2 * REST);
    let mut both = names(scanner.scan(Some(&mut writers)));
    both.sort();
    assert_eq!(both, ["a.yaml", "b.yaml"]);
}

#[test]
fn without_its_writers_word_a_file_is_believed_when_it_rested() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    let mut writers = Writers::default();
    fs::write(&file, "a: 1\n").unwrap();
    let mut scanner = Scanner::new(directory.path().to_owned());
    assert_eq!(names(scanner.scan(None)), ["a.yaml"]);
    fs::write(&file, "a: 2\n").unwrap();
    std::thread::sleep(2 * REST);
    assert!(names(scanner.scan(Some(&mut writers))).is_empty());
    std::thread::sleep(PATIENCE);
    assert_eq!(names(scanner.scan(Some(&mut writers))), ["a.yaml"]);
}
