//! calicoctl's `node`, `datastore` and `cluster`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// State of this node and of its BGP sessions
    Status {
        /// Where BIRD listens [default: where Calico's and Debian's do]
        #[arg(long, value_name = "PATH")]
        bird_socket: Vec<PathBuf>,
    },
    /// Collect state and logs of this node into an archive
    Diags {
        /// Where to put the archive [default: the directory for temporary files]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// See whether this host has what vrouterd needs
    Checksystem,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatastoreCommand {
    /// Move the contents of a datastore to another
    Migrate {
        #[command(subcommand)]
        command: MigrateCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Print everything as YAML; the datastore must be locked
    Export,
    /// Store what export printed; the datastore must be locked and empty
    Import {
        /// The file; - is standard input
        #[arg(short, long, value_name = "FILE")]
        filename: PathBuf,
    },
    /// Mark the datastore as not ready, as export and import need it
    Lock,
    /// Mark the datastore as ready
    Unlock,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Collect the resources of the cluster into an archive
    Diags {
        /// Where to put the archive [default: the directory for temporary files]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}
