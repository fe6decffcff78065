//! `docs/first-node.md`, run as it is written: every command of its `sh` blocks in order, by bash, in
//! a network and mount namespace of its own. `sh fails` marks blocks whose commands must all fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{fresh_name, require_root, said};

/// What stands for the reader's shell: `sudo` is not needed, and the build has been done.
const PRELUDE: &str = r#"
set -euo pipefail
sudo() { "$@"; }
cargo() { :; }
mount --make-rprivate /
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
ip link set lo up
"#;

/// The commands of a document's shell blocks, as one script.
fn script(document: &str) -> String {
    let mut script = PRELUDE.to_owned();
    let mut block = None;
    for line in document.lines() {
        match (block, line) {
            (None, "```sh") => block = Some(true),
            (None, "```sh fails") => block = Some(false),
            (None, _) => {}
            (Some(_), "```") => block = None,
            (Some(succeeds), command) => {
                script.push_str(&format!("echo '>>' {}\n", quoted(command)));
                if succeeds {
                    script.push_str(&format!("{command}\n"));
                } else {
                    script.push_str(&format!(
                        "if {command}; then echo 'it succeeded'; exit 9; fi\n"
                    ));
                }
            }
        }
    }
    assert_eq!(block, None, "a block is not closed");
    script
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[test]
#[ignore = "needs root"]
fn the_commands_of_the_document_do_what_it_says() {
    require_root();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = fs::read_to_string(root.join("docs/first-node.md")).unwrap();
    let clone = std::env::temp_dir().join(format!("first-node-{}", fresh_name()));
    // A clone of which only the parts that the reader uses are there.
    let programs = clone.join("target/release");
    fs::create_dir_all(&programs).unwrap();
    let built = Path::new(support::PROGRAM).parent().unwrap();
    for name in ["vrouterd", "vrouterctl"] {
        std::os::unix::fs::symlink(built.join(name), programs.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(
        fs::canonicalize(root.join("examples")).unwrap(),
        clone.join("examples"),
    )
    .unwrap();
    fs::write(clone.join("script"), script(&document)).unwrap();

    let output = Command::new("timeout")
        .args([
            "--kill-after=5",
            "120",
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
        ])
        .args(["--kill-child", "--mount-proc", "bash", "script"])
        .current_dir(&clone)
        .output()
        .unwrap();
    let log = fs::read_to_string(clone.join("first/log")).unwrap_or_default();
    let text = said(&output);
    assert!(output.status.success(), "{text}\nlog of vrouterd:\n{log}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // What the document shows of the output, but for the log, which has times and hashes.
    for expected in ["node node1: 4 resources in order, 0 faults", "\n200\n"] {
        assert!(
            printed.contains(expected),
            "{expected:?} is not in\n{printed}"
        );
        assert!(
            document.contains(expected),
            "{expected:?} is not in the document"
        );
    }
    let drops = printed
        .split("show drops --recent")
        .nth(1)
        .and_then(|rest| rest.split(">>").next())
        .unwrap();
    assert!(drops.contains("policy-default-deny"), "{drops}");
    assert!(!clone.join("first").exists(), "the document cleans up");
    fs::remove_dir_all(&clone).unwrap();
}
