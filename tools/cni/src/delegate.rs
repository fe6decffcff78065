//! Other IPAM plugins: found in CNI_PATH, run with our environment and config.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use crate::call::{Call, Operation};
use crate::config::Config;
use crate::error::{CniError, Code};
use crate::log::Log;
use crate::result::Outcome;

/// Subnets that stand for the node's share of Kubernetes' pod network.
const NODES_SHARE: [(&str, &str); 2] = [("usePodCidr", "0.0.0.0/0"), ("usePodCidrIPv6", "::/0")];

/// Runs an IPAM plugin for an operation; what it printed, when that is a result.
pub(crate) fn run(
    plugin: &str,
    operation: Operation,
    call: &Call,
    config: &Config,
    log: &mut Log,
) -> Result<Option<Outcome>, CniError> {
    let program = find(plugin, call)?;
    let stdin = stdin(plugin, operation, config)?;
    log.debug(&format!("{} {}", program.display(), operation.name()));
    let failed = |error: &dyn std::fmt::Display| {
        CniError::io(
            &format!("ipam.type: {} cannot be run", program.display()),
            error,
        )
    };
    let mut child = Command::new(&program)
        .env("CNI_COMMAND", operation.name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A plugin that reads nothing is judged by what it says.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(error_of(plugin, &output.stdout, &output.status.to_string()));
    }
    if operation != Operation::Add {
        return Ok(None);
    }
    let printed: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        let message = format!("ipam.type: {plugin} printed no result");
        CniError::new(Code::Decode, message).with_details(error.to_string())
    })?;
    Outcome::read(&printed).map(Some)
}

fn find(plugin: &str, call: &Call) -> Result<PathBuf, CniError> {
    let mut places = call.path.iter().map(|directory| directory.join(plugin));
    places.find(|place| place.is_file()).ok_or_else(|| {
        let paths = call.path.iter().map(|it| it.display().to_string());
        let paths: Vec<String> = paths.collect();
        CniError::config(format!(
            "ipam.type: {plugin} is in no directory of CNI_PATH"
        ))
        .with_details(format!("looked in {}: install it there", paths.join(", ")))
    })
}

/// The config for the plugin: ours, with the node's share of pod addresses put in.
fn stdin(plugin: &str, operation: Operation, config: &Config) -> Result<String, CniError> {
    let mut raw = config.raw.clone();
    if plugin == "host-local"
        && let Some(Value::Object(ipam)) = raw.get_mut("ipam")
    {
        replace_shares(ipam, operation)?;
    }
    Ok(Value::Object(raw).to_string())
}

/// Every `subnet` that names the node's share: it is not needed to free an address, and cannot be
/// known without Kubernetes.
fn replace_shares(ipam: &mut Map<String, Value>, operation: Operation) -> Result<(), CniError> {
    replace_share(ipam, "ipam.subnet", operation)?;
    if let Some(Value::Array(sets)) = ipam.get_mut("ranges") {
        for range in sets.iter_mut().filter_map(Value::as_array_mut).flatten() {
            if let Value::Object(range) = range {
                replace_share(range, "ipam.ranges[][].subnet", operation)?;
            }
        }
    }
    Ok(())
}

fn replace_share(
    range: &mut Map<String, Value>,
    key: &str,
    operation: Operation,
) -> Result<(), CniError> {
    let Some(text) = range.get("subnet").and_then(Value::as_str) else {
        return Ok(());
    };
    let share = NODES_SHARE
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    let Some((name, everything)) = share else {
        return Ok(());
    };
    match operation {
        Operation::Del | Operation::Gc => {
            range.insert("subnet".to_owned(), Value::String((*everything).to_owned()));
            Ok(())
        }
        Operation::Add | Operation::Check | Operation::Status | Operation::Version => {
            let message = format!("unsupported value of {key}: {name:?}");
            Err(CniError::new(Code::UnsupportedField, message).with_details(
                "the node's podCIDR is not read from Kubernetes yet: write the subnet itself",
            ))
        }
    }
}

/// The error that a plugin printed, passed on as it is.
fn error_of(plugin: &str, stdout: &[u8], status: &str) -> CniError {
    let printed: Option<Value> = serde_json::from_slice(stdout).ok();
    let text = |key: &str| {
        let value = printed.as_ref().and_then(|it| it.get(key));
        value.and_then(Value::as_str).map(str::to_owned)
    };
    let code = printed
        .as_ref()
        .and_then(|it| it.get("code"))
        .and_then(Value::as_u64)
        .and_then(|it| u32::try_from(it).ok());
    CniError {
        code: code.filter(|it| *it != 0).unwrap_or(Code::Io.number()),
        message: text("msg").unwrap_or_else(|| format!("ipam.type: {plugin} failed: {status}")),
        details: text("details").filter(|it| !it.is_empty()),
    }
}
