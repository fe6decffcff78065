//! `vrouterctl kube`: reads the etcd of a Kubernetes cluster, without its API server.

mod decode;
mod envelope;
mod etcd;
mod registry;
mod schema;
mod selector;
mod wire;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::args::kube::{KubeCommand, KubeGet, KubeList};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;
use envelope::Stored;
use etcd::Etcd;
pub(crate) use selector::LabelSelector;

/// A value as large as this is no object of Kubernetes': etcd refuses more than 1.5 MiB.
const LARGEST: u64 = 64 << 20;

pub(crate) fn run<W: Write>(
    out: &mut Output<W>,
    command: &KubeCommand,
    timeout: Duration,
) -> Result<(), Failure> {
    match command {
        KubeCommand::Get(args) => get(out, args, timeout),
        KubeCommand::List(args) => list(out, args, timeout),
        KubeCommand::Decode { file } => {
            let name = file.display();
            let bytes = read(file).map_err(|e| Failure::Usage(format!("{name}: {e}")))?;
            let stored = envelope::open_file(&bytes)
                .map_err(|fault| Failure::Missing(format!("{name}: {fault}")))?;
            note(&name.to_string(), &stored);
            object(out, &stored.object)
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        io::stdin().lock().take(LARGEST).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(file)?
            .take(LARGEST)
            .read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn get<W: Write>(out: &mut Output<W>, args: &KubeGet, timeout: Duration) -> Result<(), Failure> {
    let keys = match (&args.name, args.resource.starts_with('/')) {
        (None, true) => vec![args.resource.clone()],
        (Some(name), false) => {
            let (root, namespace) = (&args.root.prefix, &args.namespace);
            registry::keys(root, &args.resource, namespace, name)
        }
        (None, false) => {
            return Err(Failure::Usage(
                "give a resource and a name, or a key that starts with /".to_owned(),
            ));
        }
        (Some(_), true) => return Err(Failure::Usage("a key stands alone".to_owned())),
    };
    let mut etcd = Etcd::connect(&args.etcd, timeout)?;
    for key in &keys {
        if let Some(pair) = etcd.get(key)? {
            let stored = envelope::open(&pair.value)
                .map_err(|fault| Failure::Missing(format!("{key}: {fault}")))?;
            note(key, &stored);
            return object(out, &stored.object);
        }
    }
    Err(Failure::Missing(format!(
        "{}: there is no such key",
        keys.join(", ")
    )))
}

/// JSON unless YAML is asked for: an object has no columns.
fn object<W: Write>(out: &mut Output<W>, object: &Value) -> Result<(), Failure> {
    if out.is_table() {
        out.json(object)
    } else {
        out.structured(object).map(|_| ())
    }
}

fn list<W: Write>(out: &mut Output<W>, args: &KubeList, timeout: Duration) -> Result<(), Failure> {
    let namespace = args.namespace.as_deref();
    let root = &args.root.prefix;
    let prefix = match &args.resource {
        None => format!("{}/", root.trim_end_matches('/')),
        Some(key) if key.starts_with('/') => key.clone(),
        Some(resource) => registry::prefix(root, resource, namespace),
    };
    let mut etcd = Etcd::connect(&args.etcd, timeout)?;
    if args.keys_only && args.selector.is_none() {
        return etcd.list(&prefix, true, |pair| out.text(&format!("{}\n", pair.key)));
    }
    let header: &[&str] = if out.is_wide() {
        &[
            "NAMESPACE",
            "NAME",
            "KIND",
            "VERSION",
            "BYTES",
            "REVISION",
            "LABELS",
        ]
    } else {
        &["NAMESPACE", "NAME", "KIND", "VERSION", "BYTES"]
    };
    let mut table = Table::new(header);
    let mut items = Vec::new();
    let (mut seen, mut faulty) = (0_u64, 0_u64);
    etcd.list(&prefix, false, |pair| {
        seen += 1;
        let stored = match envelope::open(&pair.value) {
            Ok(stored) => stored,
            Err(fault) => {
                faulty += 1;
                out.flush()?;
                eprintln!("vrouterctl: {}: {fault}", pair.key);
                return Ok(());
            }
        };
        let metadata = stored.object.get("metadata").and_then(Value::as_object);
        let labels = metadata
            .and_then(|m| m.get("labels"))
            .and_then(Value::as_object);
        if let Some(selector) = &args.selector
            && !selector.matches(labels)
        {
            return Ok(());
        }
        note(&pair.key, &stored);
        if args.keys_only {
            return out.text(&format!("{}\n", pair.key));
        }
        if out.is_table() {
            let text = |name: &str| {
                let value = metadata.and_then(|m| m.get(name)).and_then(Value::as_str);
                value.unwrap_or_default().to_owned()
            };
            table.row([
                text("namespace"),
                text("name"),
                stored.kind.clone(),
                stored.api_version.clone(),
                pair.value.len().to_string(),
                pair.revision.to_string(),
                labels.map(pairs).unwrap_or_default(),
            ]);
        } else {
            items.push(stored.object);
        }
        Ok(())
    })?;
    if out.is_table() {
        if !args.keys_only {
            out.table(&mut table)?;
        }
    } else if !args.keys_only {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        out.structured(&list)?;
    }
    match faulty {
        0 => Ok(()),
        _ => Err(Failure::Differs(format!(
            "{faulty} of {seen} values cannot be decoded"
        ))),
    }
}

/// `a=b,c=d`.
fn pairs(labels: &Map<String, Value>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.join(",")
}

/// Says what is left out of what is printed.
fn note(key: &str, stored: &Stored) {
    if stored.unknown > 0 {
        eprintln!(
            "vrouterctl: {key}: {} fields of another version of Kubernetes are left out",
            stored.unknown
        );
    }
}
