//! calicoctl's commands, run as users run them: the same lines against a directory and against a
//! real etcd, their output compared with `tests/golden/calico/`.
//! `UPDATE_GOLDEN=1 cargo test -p vrouterctl` writes it anew.

#![allow(clippy::unwrap_used)]

mod etcd;
mod stores;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use etcd::Server;
use serde_json::Value;
use stores::Store;

const CLUSTER: &str = include_str!("calico/cluster.yaml");

/// Versions, identities and times are the store's to choose.
fn stable(text: &str) -> String {
    let chosen = |line: &&str| {
        let line = line.trim_start();
        let line = line.trim_start_matches('"');
        !["creationTimestamp", "resourceVersion", "uid"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    let lines: Vec<&str> = text.split_inclusive('\n').filter(chosen).collect();
    lines.concat()
}

fn golden(name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/calico")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, seen).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        seen == expected,
        "{name}: seen\n{seen}\nexpected\n{expected}"
    );
}

/// The kinds of the cluster that have a namespace.
const NAMESPACED: &[&str] = &[
    "workloadendpoints",
    "networkpolicies",
    "stagednetworkpolicies",
    "networksets",
];

/// What no command writes.
fn cluster_information(store: &Store) {
    let text = "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\n\
                metadata: {name: default}\nspec: {clusterGUID: abc, clusterType: k8s, \
                calicoVersion: v3.33.0, datastoreReady: true}\n";
    let resource = &vrouter_api::parse(text.as_bytes(), "test").resources[0].value;
    let store = store.open();
    if store.update(resource).is_err() {
        store.create(resource).unwrap();
    }
}

#[test]
fn every_kind_in_every_format() {
    for store in Store::both() {
        let said = store.ok("create -f -", CLUSTER);
        assert_eq!(said, "Successfully created 16 resource(s)\n");
        cluster_information(&store);
        for (kind, aliases) in [
            ("nodes", "node no nos Nodes"),
            ("ippools", "ippool ipp pool pools IPPool"),
            ("workloadendpoints", "wep weps"),
            ("hostendpoints", "hep heps"),
            ("networkpolicies", "np policy pol"),
            ("globalnetworkpolicies", "gnp gnps"),
            ("stagednetworkpolicies", "snp spol"),
            ("tiers", "tier"),
            ("profiles", "pro pros"),
            ("networksets", "netsets"),
            ("globalnetworksets", "gnetsets"),
            ("bgppeers", "bgpp bp"),
            ("bgpconfigurations", "bgpconfig"),
            ("felixconfigurations", "felixconfig"),
            ("ipreservations", "reservations"),
            ("clusterinformations", "clusterinfo"),
        ] {
            for (format, extension) in [("ps", "ps"), ("wide", "wide"), ("yaml", "yaml")] {
                let line = format!("get {kind} -o {format}");
                let seen = store.ok(&line, "");
                // Etcd has the built-in tiers as resources, and Calico's defaults in values.
                let differs = ["tiers", "bgpconfigurations", "felixconfigurations"];
                let suffix = if differs.contains(&kind) {
                    store.suffix()
                } else {
                    ""
                };
                golden(&format!("{kind}{suffix}.{extension}"), &stable(&seen));
            }
            let expected = store.ok(&format!("get {kind}"), "");
            for alias in aliases.split(' ') {
                assert_eq!(store.ok(&format!("get {alias}"), ""), expected, "{alias}");
            }
            let namespaces = if NAMESPACED.contains(&kind) {
                " -A"
            } else {
                ""
            };
            let all = store.ok(&format!("get {kind}{namespaces} -o json"), "");
            let all: Value = serde_json::from_str(&all).unwrap();
            assert_eq!(all["apiVersion"], "projectcalico.org/v3");
            for line in expected.lines() {
                assert!(line.trim_end().chars().count() <= 80, "{line}");
            }
        }
        golden("np-all.ps", &store.ok("get np -A", ""));
        golden(
            "node1.yaml",
            &stable(&store.ok("get node node1 -o yaml", "")),
        );
        let exported = store.ok("get node node1 -o yaml --export", "");
        assert_eq!(stable(&exported), exported);
        golden(
            "columns",
            &store.ok("get pool -o custom-columns=NAME,NAT,CIDR", ""),
        );
        let template =
            "{{range .}}{{range .Items}}{{.ObjectMeta.Name}}={{.Spec.CIDR}}\n{{end}}{{end}}";
        let output = store.feed(
            &["get", "pools", "-o", &format!("go-template={template}")],
            "",
        );
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "pool-a=10.65.0.0/16\npool-b=fd00:65::/48\n"
        );
        // What is printed can be applied again.
        let listed = store.ok("get tiers -o yaml --export", "");
        let said = store.ok("apply -f -", &listed);
        let count = if store.suffix().is_empty() { 1 } else { 4 };
        let expected = format!("Successfully applied {count} 'Tier' resource(s)\n");
        assert_eq!(said, expected);
    }
}

const POOL: &str = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\n\
                    spec: {cidr: 10.1.0.0/16, blockSize: 26}\n";

const SET: &str = "apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {name: s}\n\
                   spec: {nets: [10.0.0.0/8]}\n";

#[test]
fn the_built_in_profile_is_there_and_stays() {
    for store in Store::both() {
        let of = "profile projectcalico-default-allow";
        let seen = store.ok(&format!("get {of} -o yaml"), "");
        golden("default-allow.yaml", &stable(&seen));
        assert_eq!(
            store.ok("get profiles", ""),
            "NAME                          \nprojectcalico-default-allow   \n\n"
        );
        let words: Vec<&str> = of.split(' ').collect();
        let said = store.fails(&[&["delete"], &words[..]].concat(), "");
        assert!(said.contains("operation Delete is not supported"), "{said}");
        let patch = ["-p", r#"{"spec":{"labelsToApply":{"a":"b"}}}"#];
        let said = store.fails(&[&["patch"], &words[..], &patch].concat(), "");
        assert!(said.contains("projectcalico-default-allow"), "{said}");
        for verb in ["create", "apply", "replace"] {
            let said = store.fails(&[verb, "-f", "-"], &seen);
            assert!(said.contains("projectcalico-default-allow"), "{said}");
        }
    }
}

#[test]
fn resources_come_change_and_go() {
    for store in Store::both() {
        let said = |line: &str, input: &str| store.ok(line, input);
        assert_eq!(
            said("create -f -", POOL),
            "Successfully created 1 'IPPool' resource(s)\n"
        );
        assert_eq!(
            said("create --skip-exists -f -", POOL),
            "Successfully created 1 'IPPool' resource(s)\n"
        );
        let nat = POOL.replace("26}", "26, natOutgoing: true}");
        assert_eq!(
            said("apply -f -", &nat),
            "Successfully applied 1 'IPPool' resource(s)\n"
        );
        assert_eq!(
            said("replace -f -", POOL),
            "Successfully replaced 1 'IPPool' resource(s)\n"
        );
        let field = |path: &str| {
            let text = store.ok("get pool p -o json", "");
            let value: Value = serde_json::from_str(&text).unwrap();
            value.pointer(path).cloned().unwrap_or_default()
        };
        assert_eq!(field("/spec/natOutgoing"), Value::Null);
        for (kind, patch, value) in [
            ("strategic", "{\"spec\":{\"natOutgoing\":true}}", true),
            ("merge", "{spec: {natOutgoing: false}}", false),
            (
                "json",
                "[{\"op\":\"add\",\"path\":\"/spec/natOutgoing\",\"value\":true}]",
                true,
            ),
        ] {
            let output = store.feed(&["patch", "ippool", "p", "-t", kind, "-p", patch], "");
            let words = String::from_utf8(output.stdout).unwrap();
            assert_eq!(words, "Successfully patched 1 'IPPool' resource\n");
            let shown = if value {
                Value::Bool(true)
            } else {
                Value::Null
            };
            assert_eq!(field("/spec/natOutgoing"), shown, "{kind}");
        }
        assert_eq!(
            said("label pool p a=b", ""),
            "Successfully set label a on pool p\n"
        );
        assert_eq!(
            said("label pool p a=c --overwrite", ""),
            "Successfully updated label a on pool p\n"
        );
        assert_eq!(field("/metadata/labels/a"), "c");
        assert_eq!(
            said("label pool p a --remove", ""),
            "Successfully removed label a from pool p\n"
        );
        assert_eq!(field("/metadata/labels/a"), Value::Null);
        // What was read and not changed meanwhile may be written, and only that.
        let read = store.ok("get pool p -o yaml", "");
        said("replace -f -", &read);
        assert!(
            store
                .fails(&["replace", "-f", "-"], &read)
                .contains("update conflict: IPPool(p)")
        );
        // The same where a file deletes it.
        assert!(
            store
                .fails(&["delete", "-f", "-"], &read)
                .contains("update conflict: IPPool(p)")
        );
        let newest = store.ok("get pool p -o yaml", "");
        assert_eq!(
            said("delete -f -", &newest),
            "Successfully deleted 1 'IPPool' resource(s)\n"
        );
        said("create -f -", POOL);
        assert_eq!(
            said("delete pool p", ""),
            "Successfully deleted 1 'IPPool' resource(s)\n"
        );
        assert_eq!(
            said("delete pool p --skip-not-exists", ""),
            "Successfully deleted 1 'IPPool' resource(s)\n"
        );
        // Namespaces: the file's, else the one given, else default.
        said("apply -f -", SET);
        said("apply -n other -f -", SET);
        assert_eq!(
            said("get netsets -o custom-columns=NAMESPACE,NAME", "")
                .lines()
                .count(),
            3
        );
        assert_eq!(said("get netsets -A", "").lines().count(), 4);
        assert_eq!(
            said("delete -f - -n other", SET),
            "Successfully deleted 1 'NetworkSet' resource(s)\n"
        );
        // A directory of files, with what is in its directories when asked for.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("more")).unwrap();
        fs::write(folder.path().join("a.yaml"), POOL).unwrap();
        fs::write(folder.path().join("notes.txt"), "not a resource").unwrap();
        fs::write(folder.path().join("more/b.json"), "").unwrap();
        let line = format!("apply -f {} -R --skip-empty", folder.path().display());
        assert_eq!(
            said(&line, ""),
            "Successfully applied 1 'IPPool' resource(s)\n"
        );
        let converted = said("convert -f -", POOL);
        assert!(converted.contains("nodeSelector: all()"), "{converted}");
    }
}

#[test]
fn a_large_set_is_shown_as_calicoctl_shows_it() {
    for store in Store::both() {
        let nets: Vec<String> = (0..6_000)
            .map(|at| format!("10.{}.{}.0/24", at / 256, at % 256))
            .collect();
        let set = format!(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {{name: large}}\n\
             spec: {{nets: [{}]}}\n",
            nets.join(", ")
        );
        store.ok("create -f -", &set);
        let shown = store.ok("get gnetsets -o wide", "");
        let row = shown.lines().nth(1).unwrap();
        let cell = row.split_whitespace().nth(1).unwrap();
        assert_eq!(cell.len(), 80);
        assert!(
            cell.starts_with("10.0.0.0/24,10.0.1.0/24,") && cell.ends_with("..."),
            "{cell}"
        );
        // Other cells are whole, however long.
        let labels: Vec<String> = (0..1_500)
            .map(|at| format!("{}-{at}: {}", "k".repeat(40), "v".repeat(10)))
            .collect();
        let profile = format!(
            "apiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {{name: large}}\n\
             spec: {{labelsToApply: {{{}}}}}\n",
            labels.join(", ")
        );
        store.ok("create -f -", &profile);
        let shown = store.ok("get profile large -o wide", "");
        assert!(shown.len() > 65_535, "{}", shown.len());
        assert!(shown.contains(&format!("{}-1499=", "k".repeat(40))));
    }
}

#[test]
fn bad_input_is_said_and_changes_nothing() {
    for store in Store::both() {
        store.ok("create -f -", POOL);
        for (line, input, words) in [
            (
                "create -f -",
                POOL.replace("IPPool", "Pool"),
                "unknown kind",
            ),
            (
                "create -f -",
                POOL.replace("v3", "v4"),
                "must be projectcalico.org/v3 for IPPool",
            ),
            (
                "create -f -",
                POOL.replace("10.1.0.0/16", "10.1.0/16"),
                "IPPool(p).spec.cidr",
            ),
            (
                "create -f -",
                POOL.to_owned(),
                "failed to create 'IPPool' resource: [resource already exists: IPPool(p) with error: <nil>]",
            ),
            (
                "create -f -",
                POOL.replace("name: p", "name: q"),
                "(IPPool(q) CIDR overlaps with IPPool(p) CIDR 10.1.0.0/16)",
            ),
            (
                "apply -f -",
                POOL.replace("10.1", "10.2"),
                "(IPPool CIDR cannot be modified)",
            ),
            (
                "apply -f -",
                POOL.replace("26", "27"),
                "(IPPool BlockSize cannot be modified)",
            ),
            (
                "replace -f -",
                POOL.replace("name: p", "name: q"),
                "hit error: resource does not exist: IPPool(q) with error: <nil>",
            ),
            (
                "create -f -",
                POOL[..60].to_owned(),
                "failed to execute command: -",
            ),
            (
                "create -f -",
                "\u{0}".to_owned(),
                "failed to execute command: -",
            ),
            ("create -f -", String::new(), "no resources specified"),
            (
                "create -f /nowhere.yaml",
                String::new(),
                "/nowhere.yaml: No such file or directory",
            ),
            (
                "delete -f - -n x",
                POOL.to_owned(),
                "IPPool is not namespaced",
            ),
            (
                "apply -f - -n x",
                POOL.to_owned(),
                "failed to apply 'IPPool' resource: [IPPool is not namespaced]",
            ),
            (
                "create -f - -n x",
                SET.replace("name: s", "name: s, namespace: y"),
                "resource namespace does not match client namespace. y != x",
            ),
            (
                "get pools -A",
                String::new(),
                "failed to get resources: IPPool is not namespaced",
            ),
            ("get pool p -n x", String::new(), "IPPool is not namespaced"),
            (
                "get netsets s -A",
                String::new(),
                "cannot use --all-namespace flag for getting a single resource",
            ),
            (
                "delete -f -",
                POOL.replace("name: p", "name: q"),
                "Failed to delete 'IPPool' resource: resource does not exist: IPPool(q) with error: <nil>",
            ),
            (
                "delete pool q",
                String::new(),
                "Failed to delete 'IPPool' resource: resource does not exist: IPPool(q) with error: <nil>",
            ),
            (
                "delete pool",
                String::new(),
                "resource name may not be empty",
            ),
            (
                "delete tier default",
                String::new(),
                "operation Delete is not supported on default: Cannot delete default tier",
            ),
            (
                "get pod",
                String::new(),
                "resource type 'pod' is not supported",
            ),
            (
                "get pool q",
                String::new(),
                "resource does not exist: IPPool(q) with error: <nil>",
            ),
            (
                "get pool -o xml",
                String::new(),
                "unrecognized output format 'xml'",
            ),
            (
                "get pool -o custom-columns=X",
                String::new(),
                "unknown heading X, valid values are: ",
            ),
            (
                "get pool -o go-template={{.a|b}}",
                String::new(),
                "error parsing template",
            ),
            ("label pool p a", String::new(), "invalid label a"),
            (
                "label pool p a --remove",
                String::new(),
                "cannot remove label of pool p, key a does not exist",
            ),
            ("patch pool p -p 1", String::new(), "hit error: "),
            (
                "patch pool p -p {metadata:{name:q}}",
                String::new(),
                "neither JSON nor YAML",
            ),
            (
                "patch pool p -p {\"metadata\":{\"name\":\"q\"}}",
                String::new(),
                "kind, namespace and name cannot be changed",
            ),
            (
                "patch pool p -p {\"spec\":{\"cidr\":\"x\"}}",
                String::new(),
                "IPPool(p).spec.cidr",
            ),
            (
                "patch pool p -p {\"spec\":{\"cidr\":\"10.9.0.0/16\"}}",
                String::new(),
                "cannot be modified",
            ),
            ("get", String::new(), "required"),
            ("create", String::new(), "--filename"),
            ("get pool --context x", String::new(), "--context"),
        ] {
            let words_said = store.fails(&line.split(' ').collect::<Vec<_>>(), &input);
            assert!(words_said.contains(words), "{line}: {words_said}");
        }
        store.ok("label pool p a=b", "");
        let said = store.fails(&["label", "pool", "p", "a=c"], "");
        assert!(
            said.contains("please use '--overwrite' to set a new value"),
            "{said}"
        );
        // Several at once: the good ones before the fault stay, and it is said.
        let two = format!(
            "{}---\n{POOL}",
            POOL.replace("10.1", "10.3").replace("name: p", "name: b")
        );
        let output = store.feed(&["create", "-f", "-"], &two);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stdout).unwrap();
        // As many faults as successes are no partial success.
        assert_eq!(said, "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with("hit error: [resource already exists: IPPool(p) with error: <nil>]"),
            "{said}"
        );
        // Faults in one resource keep all of a file out.
        let faulty = format!(
            "{}---\n{}",
            POOL.replace("10.1", "10.4").replace("name: p", "name: c"),
            POOL.replace("26", "99")
        );
        store.fails(&["create", "-f", "-"], &faulty);
    }
}

#[test]
fn what_calicoctl_leaves_to_others_is_refused() {
    for store in Store::both() {
        let information = "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\n\
                           metadata: {name: default}\nspec: {datastoreReady: true}\n";
        let policy = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n\
                      metadata: {name: knp.default.web, namespace: prod}\n\
                      spec: {selector: all()}\n";
        for (line, input, words) in [
            (
                "create -f -",
                information,
                "failed to create 'ClusterInformation' resource: [operation create or apply is not \
                 supported on ClusterInformation]\n",
            ),
            (
                "apply -f -",
                information,
                "operation apply is not supported on ClusterInformation: resource is readonly]\n",
            ),
            (
                "replace -f -",
                information,
                "hit error: operation apply or replace is not supported on ClusterInformation\n",
            ),
            (
                "delete clusterinfo default",
                "",
                "operation delete is not supported on ClusterInformation\n",
            ),
            (
                "create -f -",
                policy,
                "kubernetes network policies must be managed through the kubernetes API]\n",
            ),
            (
                "apply -f -",
                policy,
                "resource does not exist: NetworkPolicy(prod/knp.default.web)",
            ),
            (
                "replace -f -",
                policy,
                "resource does not exist: NetworkPolicy(prod/knp.default.web)",
            ),
            (
                "delete -f -",
                policy,
                "operation delete is not supported on NetworkPolicy(prod/knp.default.web): \
                 kubernetes network policies must be managed through the kubernetes API\n",
            ),
        ] {
            let said = store.fails(&line.split(' ').collect::<Vec<_>>(), input);
            assert!(said.contains(words), "{line}: {said}");
        }
        // What kube-controllers wrote is shown, and still not changed.
        let parsed = vrouter_api::parse(policy.as_bytes(), "test");
        store.open().create(&parsed.resources[0].value).unwrap();
        let said = store.fails(&["apply", "-f", "-"], policy);
        assert!(
            said.contains("operation apply or replace is not supported on NetworkPolicy"),
            "{said}"
        );
        assert!(store.ok("get np -n prod", "").contains("knp.default.web"));
    }
}

#[test]
fn a_file_may_name_a_resource_twice() {
    for store in Store::both() {
        let twice = format!("{SET}---\n{}", SET.replace("10.0.0.0/8", "10.9.0.0/16"));
        let said = store.ok("apply -f -", &twice);
        assert_eq!(said, "Successfully applied 2 'NetworkSet' resource(s)\n");
        let shown = store.ok("get netsets s -o yaml", "");
        assert!(
            shown.contains("10.9.0.0/16") && !shown.contains("10.0.0.0/8"),
            "{shown}"
        );
    }
}

#[test]
fn lists_carry_the_stores_revision() {
    for store in Store::both() {
        store.ok("create -f -", POOL);
        let listed: Value = serde_json::from_str(&store.ok("get pools -o json", "")).unwrap();
        let revision = listed["metadata"]["resourceVersion"].as_str().unwrap();
        assert!(revision.parse::<u64>().unwrap() >= 1);
    }
}

#[test]
fn the_word_that_was_meant_is_offered() {
    let store = Store::directory();
    store.ok("create -f -", POOL);
    for (line, input, words) in [
        (
            "get ippol",
            String::new(),
            "is not supported; did you mean 'ippool'?",
        ),
        (
            "get pool -o yalm",
            String::new(),
            "unrecognized output format 'yalm'; did you mean 'yaml'?",
        ),
        (
            "apply -f -",
            POOL.replace("blockSize", "blocksize"),
            "unknown field: did you mean blockSize?",
        ),
        (
            "apply -f -",
            POOL.replace("IPPool", "IPPol"),
            "unknown kind: did you mean IPPool?",
        ),
    ] {
        let said = store.fails(&line.split(' ').collect::<Vec<_>>(), &input);
        assert!(said.contains(words), "{line}: {said}");
    }
}

#[test]
fn a_directory_is_named_the_same_way_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::directory();
    let at = folder.path().display();
    assert_eq!(
        store.ok(&format!("create -f - --directory {at}"), POOL),
        "Successfully created 1 'IPPool' resource(s)\n"
    );
    assert!(
        store
            .ok(&format!("--directory {at} get pools"), "")
            .contains("10.1.0.0/16")
    );
    assert!(
        store
            .ok(&format!("ipam show --directory {at}"), "")
            .contains("10.1.0.0/16")
    );
    let pods = "apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\nmetadata: {namespace: default}\n\
                spec: {orchestrator: k8s, node: n1, pod: web, endpoint: eth0, ipNetworks: [10.1.0.1/32], \
                interfaceName: cali1}\n";
    store.ok(&format!("create -f - --directory {at}"), pods);
    let said = store.ok(
        &format!("policy explain web 10.2.0.1 tcp/80 --directory {at}"),
        "",
    );
    assert!(
        said.starts_with("Packet:   default/web (10.1.0.1) -> 10.2.0.1 tcp/80\nVerdict:  Deny\n"),
        "{said}"
    );
    assert!(said.lines().count() <= 10, "{said}");
    let yaml = store.ok(
        &format!("policy explain web 10.2.0.1 tcp/80 --directory {at} -o yaml"),
        "",
    );
    assert!(yaml.contains("verdict: Deny"), "{yaml}");
    let missing = store.feed(&["get", "pools", "--directory", "/nowhere"], "");
    let said = String::from_utf8(missing.stderr).unwrap();
    for word in [
        "/nowhere",
        "--directory",
        "VROUTER_DIRECTORY",
        "ETCD_ENDPOINTS",
    ] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_broken_file_hides_no_other() {
    let store = Store::directory();
    let Store::Directory(folder) = &store else {
        panic!("it is one");
    };
    fs::write(folder.path().join("good.yaml"), POOL).unwrap();
    fs::write(folder.path().join("bad.yaml"), "{").unwrap();
    let seen = store.feed(&["get", "pools"], "");
    let (shown, said) = (
        String::from_utf8(seen.stdout).unwrap(),
        String::from_utf8(seen.stderr).unwrap(),
    );
    assert!(shown.contains("10.1.0.0/16"), "{shown}");
    assert!(said.contains("bad.yaml"), "{said}");
    let seen = store.feed(&["get", "pool", "p"], "");
    assert!(
        String::from_utf8(seen.stdout)
            .unwrap()
            .contains("10.1.0.0/16")
    );
}

#[test]
fn files_are_checked_without_a_store() {
    let store = Store::Directory(tempfile::tempdir().unwrap());
    let Store::Directory(folder) = &store else {
        panic!("it is one");
    };
    fs::remove_dir(folder.path()).unwrap();
    let said = store.ok("validate -f -", POOL);
    assert_eq!(said, "Successfully validated 1 'IPPool' resource(s)\n");
    let nat = POOL.replace("26}", "26, natOutgoing: true}");
    let said = store.ok("validate -f -", &nat);
    assert!(said.contains("stored, not acted on"), "{said}");
    let output = store.feed(&["validate", "-f", "-"], &POOL.replace("26", "99"));
    assert_eq!(output.status.code(), Some(1));
    let output = store.feed(&["get", "nodes"], "");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("No such file or directory"), "{said}");
    fs::create_dir(folder.path()).unwrap();
}

#[test]
fn a_store_that_is_away_or_says_no() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrouterctl"));
    let url = format!("http://127.0.0.1:{}", etcd::free_port());
    command
        .env_clear()
        .env("ETCD_ENDPOINTS", &url)
        .args(["get", "nodes"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&url) && said.contains("reached"), "{said}");

    let store = Store::Etcd(Box::new(Server::start()));
    let Store::Etcd(server) = &store else {
        panic!("it is one");
    };
    store.ok("create -f -", POOL);
    server.ctl(&["user", "add", "root:secret"]);
    server.ctl(&["user", "grant-role", "root", "root"]);
    server.ctl(&["auth", "enable"]);
    let ask = |password: &str| {
        let mut command = store.command(&["get", "pools"]);
        command
            .env("ETCD_USERNAME", "root")
            .env("ETCD_PASSWORD", password);
        command.output().unwrap()
    };
    assert!(ask("secret").status.success());
    let output = ask("wrong");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("unauthorized"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calicoctl.cfg");
    let text = format!(
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  \
         datastoreType: etcdv3\n  etcdEndpoints: {}\n  etcdUsername: root\n  etcdPassword: secret\n",
        server.url()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrouterctl"));
    command
        .env_clear()
        .args(["get", "pools", "-c", file.to_str().unwrap()]);
    let output = command.output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("10.1.0.0/16")
    );
}

#[test]
fn a_closed_pipe_is_no_fault() {
    let store = Store::directory();
    let many: String = (0..2000)
        .map(|n| {
            format!(
                "---\napiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {{name: node-{n}}}\n"
            )
        })
        .collect();
    let Store::Directory(folder) = &store else {
        panic!("it is one");
    };
    fs::write(folder.path().join("nodes.yaml"), many).unwrap();
    for format in ["ps", "wide", "json", "yaml"] {
        let mut child = store
            .command(&["get", "nodes", "-o", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{format}: {}", output.status);
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn shells_and_man_know_the_commands() {
    let store = Store::directory();
    for shell in ["bash", "zsh", "fish"] {
        let script = store.ok(&format!("completion {shell}"), "");
        assert!(script.contains("skip-exists"), "{shell}");
        // Kinds are offered, and names asked for.
        assert!(script.contains("globalnetworkpolicies"), "{shell}");
        assert!(script.contains("vrouterctl names"), "{shell}");
    }
    assert!(store.ok("man", "").contains("vrouterctl"));
    let folder = tempfile::tempdir().unwrap();
    store.ok(&format!("man --dir {}", folder.path().display()), "");
    let page = fs::read_to_string(folder.path().join("vrouterctl-kube-get.1")).unwrap();
    assert!(page.contains("cacert"), "{page}");
}

#[test]
fn help_fits_a_terminal() {
    let store = Store::directory();
    for line in [
        "",
        "get",
        "create",
        "ipam check",
        "kube list",
        "policy explain",
        "show routes",
    ] {
        let help = store.ok(&format!("{line} --help"), "");
        // A line of words that belong together is not broken.
        for row in help.lines().filter(|row| !row.starts_with("Usage:")) {
            assert!(row.chars().count() <= 80, "{line}: {row}");
        }
    }
}
