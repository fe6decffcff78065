//! `node diags` and `cluster diags`: an archive of all that helps whoever looks into a fault.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use vrouter_api::{Kind, to_yaml};
use vrouter_datastore::{Datastore, Scope};

use crate::failure::Failure;
use crate::output::Output;

/// What is asked of the host: the file's name and the command.
const HOST: &[(&str, &[&str])] = &[
    ("date", &["date", "--utc"]),
    ("uname", &["uname", "-a"]),
    ("addresses", &["ip", "-d", "address"]),
    ("links", &["ip", "-s", "-d", "link"]),
    ("routes", &["ip", "route", "show", "table", "all"]),
    ("routes6", &["ip", "-6", "route", "show", "table", "all"]),
    ("rules", &["ip", "rule"]),
    ("neighbors", &["ip", "neighbor"]),
    ("namespaces", &["ip", "netns"]),
    ("sockets", &["ss", "-lnpu"]),
    (
        "sysctl",
        &[
            "sysctl",
            "net.ipv4.ip_forward",
            "net.ipv4.conf.all.rp_filter",
        ],
    ),
    (
        "journal",
        &["journalctl", "--no-pager", "-n", "20000", "-u", "vrouterd"],
    ),
    ("dmesg", &["dmesg"]),
];

/// What is asked of vrouterd.
const DAEMON: &[&str] = &[
    "version",
    "interfaces",
    "routes",
    "neighbors",
    "tunnels",
    "flows",
    "policy",
    "drops",
    "workers",
    "resources",
    "counters",
];

/// A folder that becomes an archive.
struct Folder {
    path: PathBuf,
    name: String,
    parent: PathBuf,
}

impl Folder {
    /// Nobody else can read it.
    fn new(name: &str, parent: Option<&Path>) -> Result<Self, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        let name = format!("{name}-{seconds}-{}", std::process::id());
        let path = parent.join(&name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::Calico(format!("{}: {error}", path.display())))?;
        Ok(Self { path, name, parent })
    }

    fn add(&self, name: &str, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        let path = self.path.join(name);
        fs::write(&path, text)
            .map_err(|error| Failure::Calico(format!("{}: {error}", path.display())))
    }

    /// A command's output, or why there is none.
    fn run(&self, name: &str, command: &mut Command) -> Result<(), Failure> {
        match command.output() {
            Ok(output) => self.add(
                &format!("{name}.txt"),
                [output.stdout, output.stderr].concat(),
            ),
            Err(error) => self.add(&format!("{name}.txt"), format!("{error}\n")),
        }
    }

    /// The archive in place of the folder.
    fn pack<W: Write>(self, out: &mut Output<W>) -> Result<(), Failure> {
        let archive = self.parent.join(format!("{}.tar.gz", self.name));
        let packed = Command::new("tar")
            .arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(&self.parent)
            .arg(&self.name)
            .output();
        match packed {
            Ok(output) if output.status.success() => {
                out.text(&format!("Diags saved to {}\n", archive.display()))
            }
            Ok(output) => Err(Failure::Calico(format!(
                "tar: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))),
            Err(error) => Err(Failure::Calico(format!("tar: {error}"))),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed was told when it could not be written.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// `node diags`.
pub(crate) fn node<W: Write>(
    out: &mut Output<W>,
    socket: &Path,
    dir: Option<&Path>,
) -> Result<(), Failure> {
    let folder = Folder::new("vrouter-node-diags", dir)?;
    out.text("Collecting diagnostics\n")?;
    for (name, words) in HOST {
        folder.run(name, Command::new(words[0]).args(&words[1..]))?;
    }
    let ourselves = std::env::current_exe()
        .map_err(|error| Failure::Calico(format!("cannot ask vrouterd: {error}")))?;
    for what in DAEMON {
        let mut command = Command::new(&ourselves);
        command
            .arg("--socket")
            .arg(socket)
            .args(["-o", "json", "show", what]);
        folder.run(&format!("show-{what}"), &mut command)?;
    }
    for method in ["show.health", "show.hits"] {
        let mut command = Command::new(&ourselves);
        command.arg("--socket").arg(socket).args(["call", method]);
        folder.run(&method.replace('.', "-"), &mut command)?;
    }
    folder.pack(out)
}

/// `cluster diags`.
pub(super) fn cluster<W: Write>(
    out: &mut Output<W>,
    store: &dyn Datastore,
    dir: Option<&Path>,
) -> Result<(), Failure> {
    // A store that does not answer is told before anything is written.
    store
        .list(Kind::Node, Scope::All)
        .map_err(|error| Failure::Calico(error.to_string()))?;
    let folder = Folder::new("vrouter-cluster-diags", dir)?;
    out.text("Collecting diagnostics\n")?;
    for &kind in Kind::ALL.iter().filter(|kind| !kind.is_secret()) {
        let name = if kind == Kind::KubernetesNetworkPolicy {
            "kubernetesnetworkpolicies"
        } else {
            kind.plural()
        };
        match store.list(kind, Scope::All) {
            Ok(list) => {
                let documents: Vec<String> = list.resources.iter().map(to_yaml).collect();
                folder.add(&format!("{name}.yaml"), documents.join("---\n"))?;
                if !list.faults.is_empty() {
                    let faults: Vec<String> = list.faults.iter().map(ToString::to_string).collect();
                    folder.add(&format!("{name}-faults.txt"), faults.join("\n"))?;
                }
            }
            Err(error) => folder.add(&format!("{name}-faults.txt"), error.to_string())?,
        }
    }
    folder.pack(out)
}
