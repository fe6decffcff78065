//! Bad input of every kind: the error names resource, field and reason, and the store is as it was.

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use support::Made;
use support::follower::Follower;
use vrouter_api::{Kind, MAX_FILE_BYTES, Resource, parse};
use vrouter_datastore::{Datastore, Scope, StoreError};

const HEAD: &str = "apiVersion: projectcalico.org/v3\n";

fn resource(text: &str) -> Resource {
    let parsed = parse(format!("{HEAD}{text}").as_bytes(), "test");
    assert_eq!(parsed.errors, [], "{text}");
    parsed.resources[0].value.clone()
}

/// What is there before anything bad comes.
fn good() -> Vec<Resource> {
    vec![
        resource("kind: Tier\nmetadata: {name: t}\nspec: {order: 7}"),
        resource("kind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.1.0.0/16}"),
        resource(
            "kind: NetworkPolicy\nmetadata: {name: n, namespace: ns}\nspec: {tier: t, ingress: [{action: Allow}]}",
        ),
    ]
}

fn everything(store: &dyn Datastore) -> Vec<Resource> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let list = store.list(*kind, Scope::All).expect("the store is there");
        all.extend(list.resources);
    }
    all
}

/// Texts, and what the errors of each must name.
fn bad() -> Vec<(Vec<u8>, Vec<&'static str>)> {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").expect("a text takes all");
    }
    let mut huge = format!("{HEAD}kind: Tier\nmetadata: {{name: huge}}\n").into_bytes();
    huge.resize(MAX_FILE_BYTES + 1, b'#');
    let text = |text: &str| format!("{HEAD}{text}").into_bytes();
    vec![
        (
            text("kind: Thing\nmetadata: {name: x}\n"),
            vec!["kind", "Thing"],
        ),
        (
            b"apiVersion: projectcalico.org/v2\nkind: Tier\nmetadata: {name: x}\n".to_vec(),
            vec!["apiVersion", "projectcalico.org/v2"],
        ),
        (
            text("kind: IPPool\nmetadata: {name: x}\nspec: {cidr: 10.0.0.300/16, ipipMode: Odd}\n"),
            vec!["IPPool", "x", "spec.cidr", "spec.ipipMode"],
        ),
        (
            text("kind: GlobalNetworkSet\nmetadata: {name: x}\nspec: {nets: [10.0.0.0/8, odd]}\n"),
            vec!["GlobalNetworkSet", "x", "spec.nets[1]"],
        ),
        (
            text("kind: NetworkSet\nmetadata: {name: x, namespace: ''}\nspec: {nets: 7}\n"),
            vec!["NetworkSet", "x", "spec.nets"],
        ),
        (
            text("kind: Tier\nmetadata: {name: x, name: y}\n"),
            vec!["name"],
        ),
        (vec![b'#', 0xff, 0xfe, b'\n'], vec!["UTF-8"]),
        (bomb.into_bytes(), vec!["aliases"]),
        (huge, vec!["larger"]),
        (b"{".to_vec(), vec!["not valid"]),
    ]
}

#[test]
fn a_bad_file_or_value_changes_nothing() {
    for made in support::all() {
        let store = support::store_of(&made);
        for resource in good() {
            store.create(&resource).expect("nothing is against it");
        }
        let before = everything(&*store);
        let mut follower = Follower::new(&*store);
        // Without the built-in profile, which is listed but never written.
        let written = good().len();
        follower.until("all that is good", |it| it.resources.len() == written);
        let told = follower.resources.clone();
        for (text, parts) in bad() {
            let shown = String::from_utf8_lossy(&text[..text.len().min(120)]).into_owned();
            if !place(&made, &store.name(), &text) {
                continue;
            }
            follower.until(&shown, |it| !it.broken.is_empty());
            let said: Vec<String> = follower.broken.values().flatten().cloned().collect();
            let said = said.join("\n");
            assert!(!said.is_empty(), "{shown}");
            if matches!(made, Made::Directory(_)) {
                for part in parts {
                    assert!(said.contains(part), "{shown}: {part}: {said}");
                }
            } else {
                assert!(said.contains("/tiers/x"), "{shown}: its key: {said}");
            }
            assert_eq!(follower.resources, told, "{shown}");
            assert_eq!(everything(&*store), before, "{shown}");
            remove(&made, &store.name());
            follower.until(&shown, |it| it.broken.is_empty());
        }
        assert_eq!(follower.resources, told);
        assert_eq!(follower.changes, written, "nothing was told again");
    }
}

/// Puts it where somebody may: a file beside the others, a key that is another resource's. Whether
/// the store takes it at all.
fn place(made: &Made, name: &str, text: &[u8]) -> bool {
    match made {
        Made::Directory(_) => {
            std::fs::write(format!("{name}/bad.yaml"), text).expect("the folder is ours");
            true
        }
        Made::Etcd(etcd) => {
            // Read from the input: a text of an argument could not be all of these.
            let mut child = Command::new("etcdctl")
                .env("ETCDCTL_API", "3")
                .args(["--endpoints", &etcd.endpoint(), "put"])
                .arg("/calico/resources/v3/projectcalico.org/tiers/x")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("etcdctl is installed: see tools/packages");
            let mut input = child.stdin.take().expect("it is a pipe");
            input.write_all(text).expect("it reads");
            drop(input);
            child.wait().expect("it is our child").success()
        }
    }
}

fn remove(made: &Made, name: &str) {
    match made {
        Made::Directory(_) => {
            std::fs::remove_file(format!("{name}/bad.yaml")).expect("it was written");
        }
        Made::Etcd(etcd) => {
            etcd.ctl(&["del", "/calico/resources/v3/projectcalico.org/tiers/x"]);
        }
    }
}

#[test]
fn a_refused_change_changes_nothing() {
    for made in support::all() {
        let store = support::store_of(&made);
        let mut stale = None;
        for resource in good() {
            stale = Some(store.create(&resource).expect("nothing is against it"));
        }
        let stale = stale.expect("there are some");
        store.update(&stale).expect("it is the current one");
        let before = everything(&*store);
        let name = |resource: &Resource| resource.key().to_string();
        let check = |outcome: Result<Resource, StoreError>, parts: &[&str]| {
            let error = outcome.expect_err("it is refused").to_string();
            for part in parts {
                assert!(error.contains(part), "{part}: {error}");
            }
            assert_eq!(everything(&*store), before, "{error}");
        };
        for resource in good() {
            check(
                store.create(&resource),
                &[&name(&resource), "already exists"],
            );
        }
        check(store.update(&stale), &[&name(&stale), "conflict"]);
        let revision = stale.metadata().resource_version.as_deref();
        check(
            store.delete(&stale.key(), revision),
            &[&name(&stale), "conflict"],
        );
        let pool = resource("kind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.2.0.0/16}");
        check(store.update(&pool), &["IPPool(p)", "Spec.CIDR", "modified"]);
        let none = resource("kind: Tier\nmetadata: {name: none}");
        check(store.update(&none), &["Tier(none)", "does not exist"]);
        check(
            store.delete(&none.key(), None),
            &["Tier(none)", "does not exist"],
        );
    }
}
