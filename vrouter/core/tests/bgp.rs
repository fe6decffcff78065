//! What is left to BIRD where one runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use vrouter_api::{Event, parse};
use vrouter_core::desired::desired;
use vrouter_core::observed::HostFacts;
use vrouter_core::state::State;
use vrouter_core::underlay::Underlay;
use vrouter_core::wanted::{Options, Wanted};

const RESOURCES: &str = "\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
spec: {bgp: {ipv4Address: 172.16.0.1/24}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n2}
spec: {bgp: {ipv4Address: 172.16.0.2/24}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: plain}
spec: {cidr: 10.65.0.0/16}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: tunneled}
spec: {cidr: 10.66.0.0/16, ipipMode: CrossSubnet}
---
apiVersion: projectcalico.org/v3
kind: BlockAffinity
metadata: {name: n2-plain}
spec: {state: confirmed, node: n2, cidr: 10.65.0.0/26}
---
apiVersion: projectcalico.org/v3
kind: BlockAffinity
metadata: {name: n2-tunneled}
spec: {state: confirmed, node: n2, cidr: 10.66.0.0/26}
";

/// The host's routes to other nodes' blocks.
fn routes(bird: bool, program: &str) -> Vec<String> {
    let configuration = format!(
        "---\napiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec: {{{program}}}\n"
    );
    let text = format!("{RESOURCES}{configuration}");
    let parsed = parse(text.as_bytes(), "test.yaml");
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    let mut state = State::new("n1").unwrap();
    for resource in parsed.resources {
        state.apply(Event::Upsert(resource.value));
    }
    let desired = desired(&state.resources, "n1");
    let host = HostFacts {
        underlay: Some(Underlay {
            index: 2,
            name: "eth0".into(),
            mtu: 1500,
            addresses: ["172.16.0.1".parse().unwrap()].into(),
        }),
        ..HostFacts::default()
    };
    let options = Options {
        tun: "tunl0".into(),
        bird,
        ..Options::default()
    };
    let wanted = Wanted::new(&mut state, desired, &host, &options);
    let routes = wanted.kernel.routes.keys();
    routes.map(ToString::to_string).collect()
}

#[test]
fn routes_of_plain_pools_are_made_by_one_of_the_two() {
    let (plain, tunneled) = ("10.65.0.0/26", "10.66.0.0/26");
    assert_eq!(routes(false, ""), [plain, tunneled]);
    assert_eq!(routes(true, ""), [tunneled]);
    let program = |word: &str| format!("programClusterRoutes: {word}");
    assert_eq!(routes(true, &program("Enabled")), [tunneled]);
    for word in ["Disabled", "EnabledIPIPOnly"] {
        assert_eq!(routes(true, &program(word)), [plain, tunneled], "{word}");
    }
}
