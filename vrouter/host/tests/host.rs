//! A real packet filter, a real VXLAN device and real holders, in a network namespace of their own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, unshare};

fn run(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
}

/// A process in this namespace that lives until it is killed.
fn background(command: &[&str]) -> Child {
    Command::new(command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "needs root"]
fn what_blocks_the_router_is_named() {
    // Only this thread: the test's other threads stay where they are.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    assert!(vrouter_host::forwarding("tunl0").is_empty());
    assert_eq!(vrouter_host::port_taken(4789), None);
    assert_eq!(vrouter_host::tun_taken("tunl0"), None);

    for (drop, accept) in [
        (
            "iptables -P FORWARD DROP",
            "iptables -A FORWARD -o tunl0 -j ACCEPT",
        ),
        (
            "ip6tables -P FORWARD DROP",
            "ip6tables -A FORWARD -i tunl0 -j ACCEPT",
        ),
        (
            "nft add table inet host; nft 'add chain inet host passing { type filter hook forward priority 0; policy drop; }'",
            "nft add rule inet host passing iifname tunl0 accept",
        ),
    ] {
        run(drop);
        let said = vrouter_host::forwarding("tunl0");
        assert_eq!(said.len(), 1, "{drop}: {said:?}");
        let cure = said[0].split("let them pass: ").nth(1).unwrap();
        run(accept);
        assert!(vrouter_host::forwarding("tunl0").is_empty(), "{accept}");
        // The cure that is offered is one.
        run("nft flush ruleset");
        run(drop);
        run(cure);
        assert!(vrouter_host::forwarding("tunl0").is_empty(), "{cure}");
        run("nft flush ruleset");
    }

    run("ip link add vxlan.calico type vxlan id 4096 dstport 4789 dev lo");
    let said = vrouter_host::port_taken(4789).unwrap();
    assert!(said.contains("vxlan.calico"), "{said}");
    assert_eq!(vrouter_host::port_taken(4790), None);
    run("ip link delete vxlan.calico");

    // A socket of this very process is nobody else's.
    let own = UdpSocket::bind("0.0.0.0:4789").unwrap();
    assert_eq!(vrouter_host::port_taken(4789), None);
    drop(own);
    let script = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 4789)); time.sleep(60)";
    let mut holder = background(&["/usr/bin/python3", "-c", script]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let said = loop {
        if let Some(said) = vrouter_host::port_taken(4789) {
            break said;
        }
        assert!(std::time::Instant::now() < end);
    };
    assert!(
        said.contains(&format!("python3 (pid {})", holder.id())),
        "{said}"
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
}
