//! calicoctl's commands and flags.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use super::ipam::IpamCommand;
use crate::calico::kinds;

use super::node::{ClusterCommand, DatastoreCommand, NodeCommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create resources that are not there yet
    Create {
        #[command(flatten)]
        from: FileArgs,
        /// Leave out those that are there already, and do not call it an error
        #[arg(long)]
        skip_exists: bool,
    },
    /// Create resources, or replace those that are there
    Apply {
        #[command(flatten)]
        from: FileArgs,
    },
    /// Replace resources that are there
    Replace {
        #[command(flatten)]
        from: FileArgs,
    },
    /// Check files without a datastore; say what is stored but has no effect
    Validate {
        #[command(flatten)]
        from: FileArgs,
    },
    /// Delete resources by name or as files name them
    Delete {
        #[command(flatten)]
        what: WhatArgs,
        /// Leave out those that are not there, and do not call it an error
        #[arg(short, long)]
        skip_not_exists: bool,
    },
    /// Print resources by kind, by name or as files name them
    Get {
        #[command(flatten)]
        what: WhatArgs,
        /// Of all namespaces
        #[arg(short = 'A', long, conflicts_with = "namespace")]
        all_namespaces: bool,
        /// Without what belongs to this cluster alone: versions, identity, time of creation
        #[arg(long)]
        export: bool,
    },
    /// Change parts of a resource
    Patch {
        /// Its kind
        #[arg(value_parser = KindWord, hide_possible_values = true)]
        kind: String,
        /// Its name
        name: String,
        /// What to change, JSON or YAML
        #[arg(short, long)]
        patch: String,
        /// How the patch is written
        #[arg(short, long, value_enum, default_value_t = PatchType::Strategic)]
        r#type: PatchType,
        /// Its namespace
        #[arg(short, long)]
        namespace: Option<String>,
    },
    /// Add, change or remove labels of a resource
    Label {
        /// Its kind
        #[arg(value_parser = KindWord, hide_possible_values = true)]
        kind: String,
        /// Its name
        name: String,
        /// KEY=VALUE; with --remove KEY alone
        #[arg(value_name = "KEY=VALUE|KEY", required = true)]
        labels: Vec<String>,
        /// Change a label that is there with another value
        #[arg(long, conflicts_with = "remove")]
        overwrite: bool,
        /// Remove the labels
        #[arg(long)]
        remove: bool,
        /// Its namespace
        #[arg(short, long)]
        namespace: Option<String>,
    },
    /// Print files as they would be stored: YAML or, with -o json, JSON
    Convert {
        /// The file; - is standard input
        #[arg(short, long, value_name = "FILE")]
        filename: PathBuf,
    },
    /// Show, check and change which addresses are given to whom
    Ipam {
        #[command(subcommand)]
        command: IpamCommand,
    },
    /// See how a node does
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Export, import, lock the datastore
    Datastore {
        #[command(subcommand)]
        command: DatastoreCommand,
    },
    /// Collect what is known of the cluster
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
}

/// Takes any word for a kind, which is judged later in calicoctl's words, and offers the kinds to
/// shells.
#[derive(Debug, Clone)]
pub(crate) struct KindWord;

impl TypedValueParser for KindWord {
    type Value = String;

    fn parse_ref(
        &self,
        _command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        Ok(value.to_string_lossy().into_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(kinds::offered().map(PossibleValue::new)))
    }
}

/// Files of resources.
#[derive(Debug, Clone, Args)]
pub(crate) struct FileArgs {
    /// A file, a directory of .yaml, .yml and .json files, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: PathBuf,
    #[command(flatten)]
    pub(crate) how: FileOptions,
    /// The namespace of resources that name none [default: default]
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FileOptions {
    /// Also the directories inside the directory
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Files without a resource are no error
    #[arg(long)]
    pub(crate) skip_empty: bool,
}

/// Resources by name, or those that files name.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhatArgs {
    /// The kind, such as node, ippool or gnp
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    #[arg(value_parser = KindWord, hide_possible_values = true)]
    pub(crate) kind: Option<String>,
    /// Names
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// A file, a directory, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) how: FileOptions,
    /// The namespace [default: default]
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
}

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PatchType {
    /// As merge: none of Calico's lists have a merge key
    Strategic,
    /// RFC 6902: a list of operations
    Json,
    /// RFC 7386: what is given replaces, null removes
    Merge,
}
