//! The IPAM plugin: what it gives, holds and frees, and why it does not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Scene, VERSIONS, call, variables, write_pool};

#[test]
fn the_ipam_plugin_gives_holds_and_frees_in_every_version() {
    for version in VERSIONS {
        let scene = Scene::new();
        write_pool(&scene);
        let mut config = scene.config(version);
        config["ipam"]["assign_ipv6"] = json!("true");
        let mut all = variables("ADD");
        all.push(("CNI_ARGS", "K8S_POD_NAME=a;IgnoreUnknown=1;X=y".to_owned()));
        let answer = call("calico-ipam", &all, &config.to_string());
        assert!(answer.success, "{}", answer.stdout);
        let result: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(result["cniVersion"], version);
        assert!(result.get("interfaces").is_none(), "{result}");
        let ips = result["ips"].as_array().unwrap();
        assert_eq!(ips.len(), 2, "{result}");
        for (ip, family) in ips.iter().zip(["4", "6"]) {
            let old = ["0.3.1", "0.4.0"].contains(&version);
            let told = ip.get("version").and_then(Value::as_str);
            assert_eq!(told, old.then_some(family), "{result}");
            let address = ip["address"].as_str().unwrap();
            let length = if family == "4" { "/32" } else { "/128" };
            assert!(address.ends_with(length), "{address}");
        }
        if version != "0.3.1" {
            let mut check = config.clone();
            check["prevResult"] = result.clone();
            let answer = call("calico-ipam", &variables("CHECK"), &check.to_string());
            assert!(answer.success, "{}", answer.stdout);
            check["prevResult"]["ips"][0]["address"] = json!("10.9.0.15/32");
            let answer = call("calico-ipam", &variables("CHECK"), &check.to_string());
            let (code, text) = answer.error(version);
            assert!(code == 101 && text.contains("10.9.0.15"), "{text}");
        }
        // Both are freed; by GC too, unless the container is named.
        if version == "1.1.0" {
            let mut gc = config.clone();
            gc["cni.dev/valid-attachments"] =
                json!([{ "containerID": "c0ffee", "ifname": "eth0" }]);
            let held = || fs::read_dir(scene.path("store/ipamhandles")).map_or(0, Iterator::count);
            assert!(call("vrouter-ipam", &variables("GC"), &gc.to_string()).success);
            assert_eq!(held(), 1);
            gc["cni.dev/valid-attachments"] = json!([]);
            assert!(call("vrouter-ipam", &variables("GC"), &gc.to_string()).success);
            assert_eq!(held(), 0);
        }
        let answer = call("calico-ipam", &variables("DEL"), &config.to_string());
        assert!(answer.success, "{}", answer.stdout);
        if version != "0.3.1" {
            let mut check = config.clone();
            check["prevResult"] = result;
            let answer = call("calico-ipam", &variables("CHECK"), &check.to_string());
            assert_eq!(answer.error(version).0, 101);
        }
    }
}

#[test]
fn a_full_pool_and_wrong_wishes_are_told_apart() {
    let scene = Scene::new();
    write_pool(&scene);
    let config = scene.config("1.0.0");
    let add = |id: &str, arguments: &str, config: &Value| {
        let mut all = variables("ADD");
        all.retain(|(key, _)| *key != "CNI_CONTAINERID");
        all.push(("CNI_CONTAINERID", id.to_owned()));
        all.push(("CNI_ARGS", arguments.to_owned()));
        call("vrouter-ipam", &all, &config.to_string())
    };
    let asked = add("asked", "IP=10.9.0.5", &config);
    assert!(
        asked.success && asked.stdout.contains("10.9.0.5/32"),
        "{}",
        asked.stdout
    );
    for (arguments, change, code, part) in [
        ("IP=10.9.0.5", json!({}), 102, "net.asked"),
        ("IP=192.0.2.1", json!({}), 102, "no pool"),
        (
            "IP=10.9.0.1,10.9.0.2",
            json!({}),
            7,
            "more than one IPv4 address",
        ),
        ("IP=nonsense", json!({}), 7, "IP"),
        ("MAC=nonsense", json!({}), 7, "MAC"),
        ("X=y", json!({}), 4, "X is unknown"),
        ("X", json!({}), 4, "not K=V"),
        (
            "",
            json!({ "ipam": { "type": "calico-ipam", "ipv4_pools": ["none"] } }),
            7,
            "error parsing pool",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipAddrs": "nonsense" } } }),
            7,
            "ipAddrs",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipFamilies": "[\"IPv5\"]" } } }),
            7,
            "IPv5",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipv4pools": "pool" } } }),
            7,
            "ipv4pools",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipv6pools": "[]" } } }),
            7,
            "the list is empty",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/hwAddr": "ff:ff:ff:ff:ff:ff" } } }),
            7,
            "hwAddr",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/allowedSourcePrefixes": "[\"10.0.0.0/33\"]" } } }),
            7,
            "allowedSourcePrefixes",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipAddrs": "[\"10.9.0.1\"]",
            "cni.projectcalico.org/ipAddrsNoIpam": "[\"10.9.0.1\"]" } } }),
            7,
            "both annotations",
        ),
        (
            "",
            json!({ "runtimeConfig": { "aliases": "web" } }),
            7,
            "aliases",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/ipAddrsNoIpam": "[\"10.0.0.1\"]" } } }),
            2,
            "ip_addrs_no_ipam",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/floatingIPs": "[\"10.0.0.1\"]" } } }),
            2,
            "floatingIPs",
        ),
        (
            "",
            json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": {
            "kubernetes.io/ingress-bandwidth": "1M" } } }),
            2,
            "bandwidth",
        ),
    ] {
        let mut config = config.clone();
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        let (found, text) = add("other", arguments, &config).error("1.0.0");
        assert_eq!(found, code, "{arguments} {change}: {text}");
        assert!(text.contains(part), "{part}: {text}");
    }
    for index in 0..15 {
        let answer = add(&format!("c{index}"), "", &config);
        assert!(answer.success, "{index}: {}", answer.stdout);
    }
    let (code, text) = add("last", "", &config).error("1.0.0");
    assert!(
        code == 102 && text.contains("pool 10.9.0.0/28 (16 in use)"),
        "{text}"
    );
    let failed = fs::read_dir(scene.path("store/ipamhandles")).unwrap();
    let names: Vec<String> = failed
        .map(|it| it.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        !names
            .iter()
            .any(|it| it.contains("last") || it.contains("other")),
        "{names:?}"
    );
}
