//! `vrouterctl kube`: etcdctl's options, and what to read.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::kube::LabelSelector;

#[derive(Debug, Subcommand)]
pub(crate) enum KubeCommand {
    /// Print one object, JSON unless -o says yaml
    Get(KubeGet),
    /// List objects under a prefix, or their keys
    List(KubeList),
    /// Decode one value from a file, as etcdctl get --print-value-only wrote it
    Decode {
        /// The file; - is standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct KubeGet {
    /// The resource, such as pods, svc or ippools.crd.projectcalico.org; or a whole key
    #[arg(value_name = "RESOURCE|KEY")]
    pub(crate) resource: String,
    /// The object's name
    pub(crate) name: Option<String>,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KubeList {
    /// The resource, or a prefix of keys that starts with /; everything if not given
    #[arg(value_name = "RESOURCE|PREFIX")]
    pub(crate) resource: Option<String>,
    /// Only of this namespace
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Only those with these labels, such as app=web,tier!=back,zone in (a,b),!old
    #[arg(short = 'l', long)]
    pub(crate) selector: Option<LabelSelector>,
    /// Only the keys
    #[arg(long)]
    pub(crate) keys_only: bool,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
}

/// What the API server's --etcd-prefix is.
#[derive(Debug, Args)]
pub(crate) struct RootArgs {
    /// What all keys of Kubernetes start with
    #[arg(long, value_name = "PREFIX", default_value = "/registry")]
    pub(crate) prefix: String,
}

/// How etcdctl is told where etcd is.
#[derive(Debug, Args)]
#[command(next_help_heading = "etcd")]
pub(crate) struct EtcdArgs {
    /// Where etcd listens
    #[arg(long, env = "ETCDCTL_ENDPOINTS", value_delimiter = ',')]
    #[arg(default_value = "127.0.0.1:2379", value_name = "HOST:PORT")]
    pub(crate) endpoints: Vec<String>,
    /// PEM file of the authority that signed etcd's certificate
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// PEM file of our certificate
    #[arg(long, env = "ETCDCTL_CERT", value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// PEM file of our certificate's key
    #[arg(long, env = "ETCDCTL_KEY", value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Who we are
    #[arg(long, env = "ETCDCTL_USER", value_name = "NAME[:PASSWORD]")]
    #[arg(hide_env_values = true)]
    pub(crate) user: Option<String>,
    /// The password, when it does not stand in --user
    #[arg(
        long,
        env = "ETCDCTL_PASSWORD",
        requires = "user",
        hide_env_values = true
    )]
    pub(crate) password: Option<String>,
}
