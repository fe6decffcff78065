//! Real files in a real directory, watched.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use vrouter_api::{Key, Resource};
use vrouter_datastore::{Datastore, Directory, Event, StoreError, Timing, Watch};

fn tier(name: &str, order: u32) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {{name: {name}}}\nspec: \
         {{order: {order}}}\n"
    )
}

/// Folds events; knows whether the last one was InSync.
struct Follower {
    watch: Watch,
    resources: BTreeMap<Key, Resource>,
    errors: BTreeMap<String, Vec<String>>,
    events: usize,
}

impl Follower {
    fn new(path: &Path) -> Follower {
        let timing = Timing {
            settle: Duration::from_millis(200),
            ..Timing::default()
        };
        let directory = Directory::open(path)
            .expect("the directory is there")
            .with_timing(timing);
        let watch = directory
            .watch(vrouter_api::Kind::ALL)
            .expect("inotify works");
        let (resources, errors) = Default::default();
        let mut follower = Follower {
            watch,
            resources,
            errors,
            events: 0,
        };
        while !follower.step(Duration::from_secs(5)) {}
        follower
    }

    /// Takes one event; whether it was InSync.
    fn step(&mut self, patience: Duration) -> bool {
        match self
            .watch
            .events()
            .recv_timeout(patience)
            .expect("an event in time")
        {
            Event::Upsert(resource) => {
                self.resources.insert(resource.key(), resource);
            }
            Event::Delete(key) => {
                self.resources
                    .remove(&key)
                    .expect("only what is there is deleted");
            }
            Event::Mended { object } => {
                self.errors.remove(&object);
            }
            Event::Fault { object, errors } => {
                self.errors
                    .insert(object, errors.iter().map(ToString::to_string).collect());
            }
            Event::Away { store, reason } => {
                self.errors.insert(store, vec![reason]);
            }
            Event::Back => drop(self.errors.remove(".")),
            Event::Notice(_) => {}
            Event::InSync => return true,
        }
        self.events += 1;
        false
    }

    /// Follows until the condition holds at an InSync; how long that took.
    fn until(&mut self, what: &str, condition: impl Fn(&Follower) -> bool) -> Duration {
        let start = Instant::now();
        while !condition(self) {
            while !self.step(Duration::from_secs(8).saturating_sub(start.elapsed())) {}
            assert!(
                start.elapsed() < Duration::from_secs(8),
                "{what}: {:?}",
                self.orders()
            );
        }
        start.elapsed()
    }

    fn orders(&self) -> Vec<(String, u32)> {
        let order = |resource: &Resource| match resource {
            Resource::Tier(tier) => tier.spec.order.expect("every tier here has an order") as u32,
            other => panic!("{other:?}"),
        };
        self.resources
            .iter()
            .map(|(key, r)| (key.name.clone(), order(r)))
            .collect()
    }

    fn has(&self, orders: &[(&str, u32)]) -> bool {
        self.orders().into_iter().eq(orders
            .iter()
            .map(|(name, order)| (name.to_string(), *order)))
    }

    /// Nothing arrives for a while.
    fn silent(&mut self) {
        let event = self.watch.events().recv_timeout(Duration::from_millis(400));
        assert!(event.is_err(), "{event:?}");
    }
}

#[test]
fn a_missing_directory_is_a_clear_error() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("none");
    let error = Directory::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }));
    assert!(
        error
            .to_string()
            .starts_with(&format!("resource directory {}: ", path.display()))
    );
    fs::write(&path, "").unwrap();
    assert!(matches!(
        Directory::open(&path),
        Err(StoreError::NotADirectory { .. })
    ));
}

#[test]
fn files_come_change_and_go_quickly() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    fs::write(root.join("a.yaml"), tier("a", 1)).unwrap();
    fs::write(root.join("notes.txt"), "not ours").unwrap();
    fs::write(root.join(".hidden.yaml"), tier("hidden", 1)).unwrap();
    let mut follower = Follower::new(root);
    assert!(follower.has(&[("a", 1)]));

    fs::write(root.join("a.yaml"), tier("a", 2)).unwrap();
    let took = follower.until("change", |f| f.has(&[("a", 2)]));
    assert!(took < Duration::from_secs(1), "{took:?}");
    fs::write(
        root.join("b.json"),
        r#"{"apiVersion": "projectcalico.org/v3", "kind": "Tier",
        "metadata": {"name": "b"}, "spec": {"order": 3}}"#,
    )
    .unwrap();
    follower.until("json", |f| f.has(&[("a", 2), ("b", 3)]));
    // An editor's atomic replacement.
    fs::write(root.join("a.yaml.tmp"), tier("a", 4)).unwrap();
    fs::rename(root.join("a.yaml.tmp"), root.join("a.yaml")).unwrap();
    follower.until("replacement", |f| f.has(&[("a", 4), ("b", 3)]));
    // A rename changes nothing in force.
    let before = follower.events;
    fs::rename(root.join("a.yaml"), root.join("z.yaml")).unwrap();
    follower.silent();
    assert_eq!(follower.events, before);
    // Touching changes nothing either.
    fs::write(root.join("z.yaml"), tier("a", 4)).unwrap();
    follower.silent();
    fs::remove_file(root.join("z.yaml")).unwrap();
    let took = follower.until("removal", |f| f.has(&[("b", 3)]));
    assert!(took < Duration::from_secs(1), "{took:?}");
    // A subdirectory with its files, at once and later.
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::write(root.join("sub/deep/c.yml"), tier("c", 5)).unwrap();
    follower.until("subdirectory", |f| f.has(&[("b", 3), ("c", 5)]));
    fs::write(root.join("sub/deep/c.yml"), tier("c", 6)).unwrap();
    let took = follower.until("inside", |f| f.has(&[("b", 3), ("c", 6)]));
    assert!(took < Duration::from_secs(1), "{took:?}");
    fs::remove_dir_all(root.join("sub")).unwrap();
    follower.until("subdirectory removed", |f| f.has(&[("b", 3)]));
    assert!(follower.errors.is_empty(), "{:?}", follower.errors);
}

#[test]
fn a_file_being_written_is_left_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    let whole = format!("{}---\n{}", tier("a", 1), tier("b", 2));
    fs::write(root.join("f.yaml"), &whole).unwrap();
    let mut follower = Follower::new(root);
    assert!(follower.has(&[("a", 1), ("b", 2)]));
    // Truncated, then written in two parts with a pause between: never seen in between.
    let mut file = fs::File::create(root.join("f.yaml")).unwrap();
    file.write_all(tier("a", 7).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(follower.watch.events().is_empty());
    file.write_all(format!("---\n{}", tier("b", 8)).as_bytes())
        .unwrap();
    drop(file);
    follower.until("whole", |f| f.has(&[("a", 7), ("b", 8)]));
    assert_eq!(follower.events, 4, "two upserts, then two more");
}

#[test]
fn a_file_emptied_and_filled_again_deletes_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("f.yaml");
    fs::write(&file, tier("a", 1)).unwrap();
    let mut follower = Follower::new(temporary.path());
    for order in 2..4 {
        // One that closes it in between, as `: > f.yaml; ...; cat >> f.yaml` does, then one that
        // keeps it open.
        let mut writer = fs::File::create(&file).unwrap();
        if order == 2 {
            drop(writer);
            std::thread::sleep(Duration::from_millis(200));
            writer = fs::File::options().append(true).open(&file).unwrap();
        } else {
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(follower.watch.events().is_empty());
        writer.write_all(tier("a", order).as_bytes()).unwrap();
        drop(writer);
        let took = follower.until("filled", |f| f.has(&[("a", order)]));
        assert!(took < Duration::from_millis(400), "{took:?}");
    }
    assert_eq!(follower.events, 3, "upserts only");
}

#[test]
fn half_a_file_written_through_a_link_deletes_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    let elsewhere = tempfile::tempdir().unwrap();
    let inside = root.join(".real");
    fs::create_dir(&inside).unwrap();
    // inotify tells of the one and not of the other.
    for (name, folder) in [("f.yaml", &*inside), ("g.yaml", elsewhere.path())] {
        let text = format!(
            "{}---\n{}",
            tier(&name[..1], 1),
            tier(&format!("{}2", &name[..1]), 1)
        );
        fs::write(folder.join(name), text).unwrap();
        symlink(folder.join(name), root.join(name)).unwrap();
    }
    let mut follower = Follower::new(root);
    assert_eq!(follower.events, 4);
    for (name, folder) in [("f.yaml", &*inside), ("g.yaml", elsewhere.path())] {
        let mut writer = fs::File::create(folder.join(name)).unwrap();
        writer.write_all(tier(&name[..1], 7).as_bytes()).unwrap();
        // Another file makes the directory look at all of them.
        fs::write(root.join("x.txt"), name).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(follower.watch.events().is_empty());
        let rest = format!("---\n{}", tier(&format!("{}2", &name[..1]), 8));
        writer.write_all(rest.as_bytes()).unwrap();
        drop(writer);
        let second = Key::global(vrouter_api::Kind::Tier, &format!("{}2", &name[..1]));
        follower.until("whole", |f| {
            let order = f
                .orders()
                .into_iter()
                .find(|(name, _)| *name == second.name);
            order.expect("it is never deleted").1 == 8
        });
    }
    assert_eq!(follower.events, 8, "upserts only");
}

#[test]
fn a_file_that_stays_empty_is_believed_then() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("f.yaml");
    fs::write(&file, tier("a", 1)).unwrap();
    let mut follower = Follower::new(temporary.path());
    fs::write(&file, "").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(follower.watch.events().is_empty());
    let took = follower.until("emptied", |f| f.has(&[]));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn faults_are_told_and_mended() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    fs::write(root.join("a.yaml"), tier("a", 1)).unwrap();
    let mut follower = Follower::new(root);
    fs::write(root.join("a.yaml"), tier("a", 1) + "  bad: x\n").unwrap();
    follower.until("broken", |f| f.errors.contains_key("a.yaml"));
    assert!(follower.has(&[("a", 1)]));
    fs::write(root.join("a.yaml"), [0xff, 0xfe]).unwrap();
    follower.until("bytes", |f| f.errors["a.yaml"] == ["a.yaml:1: not UTF-8"]);
    assert!(follower.has(&[("a", 1)]));
    fs::write(root.join("a.yaml"), tier("a", 2)).unwrap();
    follower.until("mended", |f| f.errors.is_empty() && f.has(&[("a", 2)]));
    // Two files with one key: the first by path wins.
    fs::write(root.join("b.yaml"), tier("a", 3)).unwrap();
    follower.until("duplicate", |f| f.errors.contains_key("b.yaml"));
    assert!(follower.errors["b.yaml"][0].contains("already defined at a.yaml:1"));
    fs::remove_file(root.join("a.yaml")).unwrap();
    follower.until("takes over", |f| f.errors.is_empty() && f.has(&[("a", 3)]));
    // What is no file is not opened.
    symlink("nowhere", root.join("c.yaml")).unwrap();
    follower.until("dangling", |f| f.errors.contains_key("c.yaml"));
    fs::remove_file(root.join("c.yaml")).unwrap();
    follower.until("gone", |f| f.errors.is_empty());
}

#[test]
fn a_config_map_volume_is_swapped_whole() {
    let temporary = tempfile::tempdir().unwrap();
    // The directory itself may be reached through a link.
    fs::create_dir(temporary.path().join("real")).unwrap();
    symlink("real", temporary.path().join("link")).unwrap();
    let root = &temporary.path().join("link");
    fs::create_dir(root.join("..1")).unwrap();
    fs::write(root.join("..1/a.yaml"), tier("a", 1)).unwrap();
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    let mut follower = Follower::new(root);
    assert!(follower.has(&[("a", 1)]));
    fs::create_dir(root.join("..2")).unwrap();
    fs::write(root.join("..2/a.yaml"), tier("a", 2)).unwrap();
    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    fs::remove_dir_all(root.join("..1")).unwrap();
    let took = follower.until("swap", |f| f.has(&[("a", 2)]));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(follower.errors.is_empty());
    // A link that leads back is no endless way, one that leads out is not gone.
    symlink(".", root.join("loop")).unwrap();
    follower.silent();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("x.yaml"), tier("x", 1)).unwrap();
    symlink(elsewhere.path(), root.join("out")).unwrap();
    follower.until("out", |f| f.errors.contains_key("out"));
    assert_eq!(
        follower.errors["out"],
        ["out: is a link out of the directory: not followed"]
    );
    assert!(follower.has(&[("a", 2)]));
}

#[test]
fn a_directory_that_vanishes_leaves_everything_in_force() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().join("resources");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), tier("a", 1)).unwrap();
    let mut follower = Follower::new(&root);
    fs::rename(&root, temporary.path().join("away")).unwrap();
    follower.until("gone", |f| f.errors.contains_key("."));
    assert!(follower.has(&[("a", 1)]));
    // Made anew and filled in two steps: the emptiness in between is not believed.
    fs::create_dir(&root).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    fs::write(root.join("a.yaml"), tier("a", 1)).unwrap();
    fs::write(root.join("b.yaml"), tier("b", 1)).unwrap();
    follower.until("back", |f| {
        f.errors.is_empty() && f.has(&[("a", 1), ("b", 1)])
    });
    fs::write(root.join("b.yaml"), tier("b", 2)).unwrap();
    let took = follower.until("watched again", |f| f.has(&[("a", 1), ("b", 2)]));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn dropping_the_watch_ends_the_thread_even_when_nobody_reads() {
    let temporary = tempfile::tempdir().unwrap();
    let text: String = (0..3000)
        .map(|i| tier(&format!("t{i}"), i) + "---\n")
        .collect();
    fs::write(temporary.path().join("many.yaml"), text).unwrap();
    let watch = Directory::open(temporary.path())
        .unwrap()
        .watch(vrouter_api::Kind::ALL)
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    drop(watch);
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// A small generator, so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn random_edits_end_like_a_fresh_load() {
    for seed in 0..4 {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let mut random = Random(seed);
        let mut follower = Follower::new(root);
        let file = |n: u64| match n {
            0 => root.join("a.yaml"),
            1 => root.join("b.yaml"),
            2 => root.join("s/c.yaml"),
            _ => root.join("s/t/d.yaml"),
        };
        let text = |random: &mut Random| -> String {
            let count = random.below(4);
            (0..count)
                .map(|_| tier(&format!("t{}", random.below(5)), random.below(100) as u32) + "---\n")
                .collect()
        };
        for _ in 0..120 {
            let path = file(random.below(4));
            match random.below(8) {
                0 => drop(fs::remove_file(&path)),
                1 => drop(fs::remove_dir_all(root.join("s"))),
                2 => drop(fs::rename(&path, file(random.below(4)))),
                3 => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&path, "{{{").unwrap();
                }
                _ => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&path, text(&mut random)).unwrap();
                }
            }
            std::thread::sleep(Duration::from_millis(random.below(15)));
        }
        // What is broken now is mended, for a fresh load knows no last good version.
        for n in 0..4 {
            if fs::read(file(n)).is_ok_and(|bytes| bytes == b"{{{") {
                fs::write(file(n), text(&mut random)).unwrap();
            }
        }
        let (mut fresh, mut errors) = (BTreeMap::new(), BTreeMap::new());
        for event in Directory::open(root).unwrap().load().unwrap() {
            match event {
                Event::Upsert(resource) => drop(fresh.insert(resource.key(), resource)),
                Event::Fault {
                    object,
                    errors: list,
                } => {
                    errors.insert(
                        object,
                        list.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    );
                }
                Event::Delete(_)
                | Event::Mended { .. }
                | Event::Notice(_)
                | Event::Away { .. }
                | Event::Back
                | Event::InSync => {}
            }
        }
        let what = format!("seed {seed}");
        follower.until(&what, |f| f.resources == fresh && f.errors == errors);
        follower.silent();
    }
}

#[test]
fn what_a_killed_writer_left_is_the_next_ones() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    let left = root.join("tiers/.vrouter.new");
    fs::create_dir(root.join("tiers")).unwrap();
    fs::write(&left, "half of").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o600)).unwrap();
    let parsed = vrouter_api::parse(tier("a", 1).as_bytes(), "a.yaml");
    let store = Directory::open(root).unwrap();
    store.create(&parsed.resources[0].value).unwrap();
    assert!(!left.exists());
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().mode();
    assert_eq!(mode("tiers/a.yaml"), mode(".vrouter.lock"));
}
