//! The commit and its date for the programs' versions: git's, else what the builder says in
//! `VROUTER_COMMIT` and `VROUTER_COMMIT_DATE`, else none. A build needs no git.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=VROUTER_COMMIT");
    println!("cargo:rerun-if-env-changed=VROUTER_COMMIT_DATE");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
    };
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let mut known = Vec::new();
    for (name, arguments) in [
        (
            "VROUTER_COMMIT",
            ["rev-parse", "--short=12", "HEAD"].as_slice(),
        ),
        (
            "VROUTER_COMMIT_DATE",
            &["show", "-s", "--format=%cs", "HEAD"],
        ),
    ] {
        let given = std::env::var(name).ok().filter(|text| !text.is_empty());
        let value = given.or_else(|| git(arguments)).unwrap_or_default();
        println!("cargo:rustc-env={name}={value}");
        known.extend(Some(value).filter(|value| !value.is_empty()));
    }
    let release = env!("CARGO_PKG_VERSION");
    let version = match known.is_empty() {
        true => release.to_owned(),
        false => format!("{release} ({})", known.join(", ")),
    };
    println!("cargo:rustc-env=VROUTER_VERSION={version}");
}
