//! `ipam` over a directory and a real etcd, filled by the library that gives pods addresses.

#![allow(clippy::unwrap_used)]

mod etcd;
mod stores;

use encap::Family;
use serde_json::Value;
use stores::Store;
use vrouter_api::AllowedUse;
use vrouter_datastore::ipam::{Ipam, Request};

const CLUSTER: &str = "
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: a}
spec: {cidr: 10.65.0.0/24, blockSize: 26}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: b}
spec: {cidr: 'fd00:65::/48'}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node1}
";

const WORKLOAD: &str = "
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: node1-k8s-web-eth0, namespace: default}
spec: {node: node1, orchestrator: k8s, pod: web, endpoint: eth0, ipNetworks: [ADDRESS/32]}
";

const FULL: &str = "\
+----------+---------------+------------+------------+-------------------+
| GROUPING |     CIDR      | IPS TOTAL  | IPS IN USE |     IPS FREE      |
+----------+---------------+------------+------------+-------------------+
| IP Pool  | 10.65.0.0/24  |        256 | 2 (1%)     | 254 (99%)         |
| Block    | BLOCK |         64 | 2 (3%)     | 62 (97%)          |
| IP Pool  | fd00:65::/48  | 1.2089e+24 | 0 (0%)     | 1.2089e+24 (100%) |
+----------+---------------+------------+------------+-------------------+
";

const SETTINGS: &str = "\
+--------------------+-------+
|      PROPERTY      | VALUE |
+--------------------+-------+
| StrictAffinity     | true  |
| AutoAllocateBlocks | true  |
| MaxBlocksPerHost   |     3 |
+--------------------+-------+
";

#[test]
fn addresses_are_shown_checked_and_released() {
    for store in Store::both() {
        store.ok("create -f -", CLUSTER);
        let ipam = Ipam::new(store.open());
        let mut request = Request::new("node1", AllowedUse::Workload, "net.web");
        request.secondary.insert("pod".into(), "web".into());
        request
            .secondary
            .insert("namespace".into(), "default".into());
        let used = ipam.assign(&request, Family::V4, 1).unwrap()[0];
        request.handle = "net.gone".into();
        let leaked = ipam.assign(&request, Family::V4, 1).unwrap()[0];
        store.ok(
            "create -f -",
            &WORKLOAD.replace("ADDRESS", &used.to_string()),
        );

        let block = ipam.blocks().unwrap()[0].cidr.to_string();
        let expected = FULL.replace("BLOCK |", &format!("{block:<13} |"));
        assert_eq!(store.ok("ipam show --show-blocks", ""), expected);
        assert_eq!(store.ok("ipam show", "").lines().count(), 6);
        for line in expected.lines() {
            assert!(line.len() <= 80, "{line}");
        }
        let json: Value = serde_json::from_str(&store.ok("ipam show -o json", "")).unwrap();
        assert_eq!(json[0]["inUse"], 2);
        let said = store.ok(&format!("ipam show --ip {used}"), "");
        let (said, time) = said.split_once("  timestamp: ").unwrap();
        let words = "Attributes:\n  namespace: default\n  node: node1\n  pod: web\n";
        assert_eq!(said, format!("IP {used} is in use\n{words}"));
        assert!(time.ends_with("Z\n"), "{time}");
        assert_eq!(
            store.ok("ipam show --ip 10.65.0.255", ""),
            "10.65.0.255 is not assigned\n"
        );
        assert_eq!(store.ok("ipam show --show-borrowed", "").lines().count(), 4);

        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report");
        let report = report.to_str().unwrap();
        let said = store.ok(&format!("ipam check --show-problem-ips -o {report}"), "");
        let found = format!("{leaked} leaked; handle net.gone");
        assert!(said.contains(&found), "{said}");
        assert!(
            said.ends_with("Check complete; found 1 problems.\n"),
            "{said}"
        );
        let line = ["ipam", "release", "--from-report", report];
        let refused = store.fails(&line, "");
        assert!(refused.contains("not locked"), "{refused}");
        store.ok("datastore migrate lock", "");
        let line = line.join(" ");
        assert_eq!(store.ok(&line, ""), "Released 1 IPs successfully\n");
        let said = store.ok("ipam check", "");
        assert!(
            said.ends_with("Check complete; found 0 problems.\n"),
            "{said}"
        );
        // The report is old now: what it calls idle stays with whoever has it since.
        assert_eq!(store.ok(&line, ""), "Released 0 IPs successfully\n");

        let line = format!("ipam release --ip {used}");
        assert_eq!(
            store.ok(&line, ""),
            format!("Successfully released IP address {used}\n")
        );
        let refused = store.fails(&line.split(' ').collect::<Vec<_>>(), "");
        assert_eq!(refused, format!("IP address {used} is not assigned\n"));
    }
}

#[test]
fn settings_and_pools_change() {
    for store in Store::both() {
        store.ok("create -f -", CLUSTER);
        assert_eq!(
            store.ok(
                "ipam configure --strictaffinity=true --max-blocks-per-host=3",
                ""
            ),
            "Successfully set StrictAffinity to: true\nSuccessfully set MaxBlocksPerHost to: 3\n"
        );
        assert_eq!(store.ok("ipam show --show-configuration", ""), SETTINGS);
        let refused = store.fails(&["ipam", "split", "2", "--name", "a"], "");
        assert!(refused.contains("must be locked"), "{refused}");
        store.ok("datastore migrate lock", "");
        let refused = store.fails(&["ipam", "split", "3", "--name", "a"], "");
        assert!(refused.contains("power of 2"), "{refused}");
        let refused = store.fails(&["ipam", "split", "2", "--cidr", "10.66.0.0/24"], "");
        assert!(refused.contains("Unable to find IP pool"), "{refused}");
        store.fails(&["ipam", "split", "2"], "");
        store.fails(&["ipam", "configure"], "");
        assert_eq!(
            store.ok("ipam split 2 --cidr 10.65.0.0/24", ""),
            "Successfully split IP pool a into 2 pools\n"
        );
        let pools = store.ok("get pools", "");
        assert!(pools.contains("split-a-1   10.65.0.128/25"), "{pools}");
    }
}
