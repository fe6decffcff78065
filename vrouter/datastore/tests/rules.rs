//! What no resource shows by itself is refused by every store, which stays as it was.

mod support;

use vrouter_api::{Key, Kind, Metadata, Resource, default_allow_profile, parse};
use vrouter_datastore::{Datastore, Scope, StoreError};

fn pool(name: &str, cidr: &str, more: &str) -> Resource {
    let text = format!(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: '{cidr}', {more}}}"
    );
    let parsed = parse(text.as_bytes(), "test");
    assert_eq!(parsed.errors, [], "{text}");
    parsed.resources[0].value.clone()
}

fn tier(name: &str) -> Resource {
    let text =
        format!("apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {{name: {name}}}\n");
    parse(text.as_bytes(), "test").resources[0].value.clone()
}

fn everything(store: &dyn Datastore) -> Vec<Resource> {
    let list = |kind| {
        let list = store.list(kind, Scope::All).expect("the store is there");
        assert_eq!(list.faults, []);
        list.resources
    };
    [Kind::IpPool, Kind::Tier, Kind::Profile]
        .into_iter()
        .flat_map(list)
        .collect()
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    for made in support::all() {
        let store = support::store_of(&made);
        for resource in [
            pool("p", "10.1.0.0/16", ""),
            pool("six", "fd00:1::/64", ""),
            tier("default"),
            tier("mine"),
        ] {
            store.create(&resource).expect("nothing is against it");
        }
        let before = everything(&*store);
        let refused = |outcome: Result<Resource, StoreError>, wanted: &str| {
            let error = outcome.expect_err(wanted).to_string();
            assert_eq!(error, wanted);
            assert_eq!(everything(&*store), before, "{wanted}");
        };
        for (name, cidr, other) in [
            ("inside", "10.1.3.0/24", "IPPool(p) CIDR 10.1.0.0/16"),
            ("same", "10.1.0.0/16", "IPPool(p) CIDR 10.1.0.0/16"),
            ("around", "10.0.0.0/8", "IPPool(p) CIDR 10.1.0.0/16"),
            ("inside6", "fd00:1::/96", "IPPool(six) CIDR fd00:1::/64"),
        ] {
            refused(
                store.create(&pool(name, cidr, "")),
                &format!(
                    "IPPool({name}): error with field IPPool.Spec.CIDR = '{cidr}' \
                     (IPPool({name}) CIDR overlaps with {other})"
                ),
            );
        }
        refused(
            store.update(&pool("p", "10.2.0.0/16", "")),
            "IPPool(p): error with field IPPool.Spec.CIDR = '10.2.0.0/16' \
             (IPPool CIDR cannot be modified)",
        );
        refused(
            store.update(&pool("p", "10.1.0.0/16", "blockSize: 27")),
            "IPPool(p): error with field IPPool.Spec.BlockSize = '27' \
             (IPPool BlockSize cannot be modified)",
        );
        refused(
            store.delete(&Key::global(Kind::Tier, "default"), None),
            "operation Delete is not supported on Tier(default): Cannot delete default tier",
        );
        let mut profile: Resource = default_allow_profile().into();
        let name = "Profile(projectcalico-default-allow)";
        let reason = "The profile \"projectcalico-default-allow\" is a default provided by Calico and \
                      cannot be";
        refused(
            store.create(&profile),
            &format!("resource already exists: {name}"),
        );
        refused(
            store.update(&profile),
            &format!("operation Update is not supported on {name}: {reason} updated"),
        );
        refused(
            store.delete(&profile.key(), None),
            &format!("operation Delete is not supported on {name}: {reason} deleted"),
        );

        profile.metadata_mut().resource_version = Some("1".to_owned());
        assert_eq!(store.get(&profile.key()).expect("it is built in"), profile);
        let profiles = store.list(Kind::Profile, Scope::All).expect("a list");
        assert_eq!(profiles.resources, [profile.clone()]);

        // What is beside these is allowed.
        *profile.metadata_mut() = Metadata::named("other");
        store.create(&profile).expect("it is not built in");
        for key in [profile.key(), Key::global(Kind::Tier, "mine")] {
            store.delete(&key, None).expect("it is not built in");
        }
        store
            .update(&pool("p", "10.1.0.0/16", "disabled: true"))
            .expect("this can change");
        store
            .create(&pool("q", "10.2.0.0/16", ""))
            .expect("it is disjoint");
    }
}

fn policy(kind: &str, name: &str, tier: &str) -> Resource {
    let namespace = if kind.contains("Global") {
        ""
    } else {
        "namespace: ns,"
    };
    let text = format!(
        "apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{{namespace} name: {name}}}\nspec: {{tier: {tier}}}"
    );
    let parsed = parse(text.as_bytes(), "test");
    assert_eq!(parsed.errors, [], "{text}");
    parsed.resources[0].value.clone()
}

#[test]
fn a_tier_with_policies_stays_and_no_policy_is_without_a_tier() {
    const KINDS: [&str; 4] = [
        "NetworkPolicy",
        "GlobalNetworkPolicy",
        "StagedNetworkPolicy",
        "StagedGlobalNetworkPolicy",
    ];
    for made in support::all() {
        let store = support::store_of(&made);
        let tier_key = Key::global(Kind::Tier, "t");
        for kind in KINDS {
            let new = policy(kind, "a", "t");
            let error = store.create(&new).expect_err("no such tier").to_string();
            let reason = "error with field Spec.Tier = 't' (resource does not exist: Tier(t))";
            assert_eq!(error, format!("{}: {reason}", new.key()));
            assert!(store.get(&new.key()).is_err());
            store.create(&tier("t")).expect("it is new");
            store.create(&new).expect("its tier is there");
            let error = store.delete(&tier_key, None).expect_err("it has a policy");
            assert!(
                matches!(error, StoreError::NotSupported { .. }),
                "{error:?}"
            );
            let wanted = format!(
                "operation delete is not supported on Tier(t): Cannot delete a non-empty tier: it has {}",
                new.key()
            );
            assert_eq!(error.to_string(), wanted);
            assert!(store.get(&tier_key).is_ok());
            // A built-in tier is there without being stored; no policy moves to one that is not.
            store
                .update(&policy(kind, "a", "default"))
                .expect("it is built in");
            store.delete(&tier_key, None).expect("it is empty");
            let error = store.update(&new).expect_err("no such tier").to_string();
            assert!(error.contains("Tier(t)"), "{error}");
            assert_eq!(
                store.create(&new).map_err(|it| it.to_string()),
                Err(format!("resource already exists: {}", new.key()))
            );
        }
        store.create(&tier("t")).expect("it is new");
        for index in 0..7 {
            let name = format!("p{index}");
            store
                .create(&policy("NetworkPolicy", &name, "t"))
                .expect("its tier is there");
        }
        let error = store
            .delete(&tier_key, None)
            .expect_err("it has policies")
            .to_string();
        let end = "NetworkPolicy(ns/p3), NetworkPolicy(ns/p4) and 2 more";
        assert!(error.ends_with(end), "{error}");
    }
}
