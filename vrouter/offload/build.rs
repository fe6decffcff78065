//! Compiles the programs for the kernel with clang.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    if let Err(reason) = build() {
        println!("cargo::error={reason}");
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").map_err(|e| e.to_string())?;
    let mut clang = Command::new("clang");
    clang
        .args([
            "-target",
            "bpf",
            "-mcpu=v3",
            "-O2",
            "-g",
            "-Wall",
            "-Werror",
            "-Wno-address-of-packed-member",
        ])
        // Where Debian has asm/types.h.
        .arg(format!("-idirafter/usr/include/{architecture}-linux-gnu"))
        .args(["-c", "bpf/offload.bpf.c", "-o"])
        .arg(out.join("offload.bpf.o"));
    let cure = "install clang, libbpf-dev and linux-libc-dev (tools/packages does)";
    let done = clang
        .output()
        .map_err(|error| format!("clang does not run: {error}; {cure}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let first = said
            .lines()
            .find(|line| line.contains("error"))
            .unwrap_or("");
        return Err(format!(
            "clang fails: {first}; if a header is missing, {cure}"
        ));
    }
    println!("cargo::rustc-env=VROUTER_OFFLOAD_LAYOUT={}", layout()?);
    Ok(())
}

/// What tells the layout of the maps from other versions' of it.
fn layout() -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    for file in ["layout.h", "maps.h"] {
        let path = Path::new("bpf").join(file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        text.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}
