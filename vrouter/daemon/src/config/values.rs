//! What flags, environment and the file say, before it is checked.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use serde::Deserialize;

/// The settings as they can be given in any of the three places.
#[derive(Debug, Default, Clone, clap::Args, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Values {
    /// Name of this node's Node resource [default: the host's name].
    #[arg(long, env = "VROUTER_NODE_NAME", value_name = "NAME")]
    pub(super) node_name: Option<String>,
    /// Directory of resource files [default: /etc/vrouter/resources].
    #[arg(long, env = "VROUTER_DIRECTORY", value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
    /// Where resources are: directory or etcdv3 [default: etcdv3 if etcd endpoints are given, else
    /// directory].
    #[arg(long, env = "DATASTORE_TYPE", value_name = "TYPE")]
    pub(super) datastore_type: Option<String>,
    /// etcd's endpoints, http(s)://host:port, joined by commas.
    #[arg(long, env = "ETCD_ENDPOINTS", value_name = "URLS")]
    pub(super) etcd_endpoints: Option<String>,
    /// etcd user.
    #[arg(long, env = "ETCD_USERNAME", value_name = "NAME")]
    pub(super) etcd_username: Option<String>,
    /// The user's password.
    #[arg(
        long,
        env = "ETCD_PASSWORD",
        hide_env_values = true,
        value_name = "WORD"
    )]
    pub(super) etcd_password: Option<String>,
    /// Key of our certificate for etcd (PEM).
    #[arg(long, env = "ETCD_KEY_FILE", value_name = "FILE")]
    pub(super) etcd_key_file: Option<PathBuf>,
    /// Our certificate for etcd (PEM).
    #[arg(long, env = "ETCD_CERT_FILE", value_name = "FILE")]
    pub(super) etcd_cert_file: Option<PathBuf>,
    /// The authority that signed etcd's certificates (PEM).
    #[arg(long, env = "ETCD_CA_CERT_FILE", value_name = "FILE")]
    #[serde(rename = "etcdCACertFile")]
    pub(super) etcd_ca_cert_file: Option<PathBuf>,
    /// Where what etcd said is kept, to start from when it is away
    /// [default: /var/lib/vrouter/etcd.cache].
    #[arg(long, env = "VROUTER_CACHE_FILE", value_name = "FILE")]
    pub(super) cache_file: Option<PathBuf>,
    /// Make and complete this node's Node resource [default: true with etcd, false with a
    /// directory].
    #[arg(long, env = "VROUTER_REGISTER_NODE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(super) register_node: Option<bool>,
    /// This node's IPv4 address: an address, autodetect (at every start) or none [default: what its
    /// resource has, found if it has none].
    #[arg(long, env = "IP", value_name = "ADDRESS")]
    pub(super) ip: Option<String>,
    /// The same of IPv6.
    #[arg(long, env = "IP6", value_name = "ADDRESS")]
    pub(super) ip6: Option<String>,
    /// How this node's IPv4 address is found: none, first-found, interface=, skip-interface=,
    /// can-reach= or cidr= [default: first-found].
    #[arg(long, env = "IP_AUTODETECTION_METHOD", value_name = "METHOD")]
    pub(super) ip_autodetection_method: Option<String>,
    /// The same for IPv6 [default: none, or first-found if ip6 is autodetect].
    #[arg(long, env = "IP6_AUTODETECTION_METHOD", value_name = "METHOD")]
    pub(super) ip6_autodetection_method: Option<String>,
    /// Whose BIRD does what BGP's resources say: managed (vrouterd's own), external or off [default:
    /// off; managed if CALICO_NETWORKING_BACKEND is set and neither none nor vxlan].
    #[arg(long, env = "VROUTER_BIRD", value_name = "WHOSE")]
    pub(super) bird: Option<String>,
    /// BIRD's router ID: an IPv4 address, or hash [default: the node's IPv4 address].
    #[arg(long, env = "CALICO_ROUTER_ID", value_name = "ID")]
    pub(super) router_id: Option<String>,
    /// Addresses of services to tell BGP's neighbors, instead of serviceClusterIPs.
    #[arg(long, env = "CALICO_ADVERTISE_CLUSTER_IPS", value_name = "CIDR")]
    pub(super) advertise_cluster_ips: Option<String>,
    /// The namespace of the Secrets with BGP's passwords [default: kube-system].
    #[arg(long, env = "NAMESPACE", value_name = "NAMESPACE")]
    pub(super) secret_namespace: Option<String>,
    /// Where BIRD's control socket is [default: where Calico's and Debian's are].
    #[arg(long, env = "VROUTER_BIRD_SOCKET", value_name = "PATH")]
    pub(super) bird_socket: Option<PathBuf>,
    /// Control socket [default: /run/vrouter/vrouterd.sock].
    #[arg(long, env = "VROUTER_CONTROL_SOCKET", value_name = "PATH")]
    pub(super) control_socket: Option<PathBuf>,
    /// Where the CNI plugin leaves notes of containers that left while the datastore was away
    /// [default: /var/lib/vrouter/cni].
    #[arg(long, env = "VROUTER_CNI_STATE_DIRECTORY", value_name = "DIR")]
    pub(super) cni_state_directory: Option<PathBuf>,
    /// Where this node's name and MTU are written for Calico's CNI plugin, if it is there
    /// [default: /var/lib/calico].
    #[arg(long, env = "VROUTER_CALICO_STATE_DIRECTORY", value_name = "DIR")]
    pub(super) calico_state_directory: Option<PathBuf>,
    /// Answer DNS at the pods' gateway: the names of containers of the same network.
    #[arg(long, env = "VROUTER_NAMES", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(super) names: Option<bool>,
    /// The file that names the resolvers of all other names [default: /etc/resolv.conf].
    #[arg(long, env = "VROUTER_RESOLV_CONF", value_name = "FILE")]
    pub(super) resolv_conf: Option<PathBuf>,
    /// Packet loops [default: cores less one, at least one].
    #[arg(long, env = "VROUTER_WORKERS", value_name = "N")]
    pub(super) workers: Option<usize>,
    /// Give each worker a core of its own.
    #[arg(long, env = "VROUTER_PIN_WORKERS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(super) pin_workers: Option<bool>,
    /// Microseconds a worker looks for packets before it sleeps [default: 1500].
    #[arg(
        long = "busy-poll-us",
        env = "VROUTER_BUSY_POLL_MICROSECONDS",
        value_name = "US"
    )]
    pub(super) busy_poll_microseconds: Option<u64>,
    /// What pods hang on: veth, which outlives this process, or tap, read by it alone [default: veth,
    /// where the kernel has what it takes].
    #[arg(long, env = "VROUTER_POD_LINK", value_name = "LINK")]
    pub(super) pod_link: Option<String>,
    /// Whether the kernel repeats what was decided of a flow, of pods on veths: Enabled or Disabled
    /// [default: Enabled].
    #[arg(long, env = "VROUTER_FLOW_OFFLOAD", value_name = "WHETHER")]
    pub(super) flow_offload: Option<String>,
    /// Where programs and maps for pods on veths are pinned, on a bpffs
    /// [default: /sys/fs/bpf/vrouter, and its inode behind it in a network namespace of its own].
    #[arg(long, env = "VROUTER_BPF_DIRECTORY", value_name = "DIR")]
    pub(super) bpf_directory: Option<PathBuf>,
    /// Name of the host's TUN [default: tunl0].
    #[arg(long, env = "VROUTER_TUNNEL_INTERFACE", value_name = "NAME")]
    pub(super) tunnel_interface: Option<String>,
    /// Interface to the other nodes [default: the one with the node's address].
    #[arg(long, env = "VROUTER_UNDERLAY_INTERFACE", value_name = "NAME")]
    pub(super) underlay_interface: Option<String>,
    /// The text that orders policies of one tier and order: name-first as since Calico 3.32, or
    /// namespace-first as before [default: name-first].
    #[arg(long, env = "VROUTER_POLICY_TIE_BREAK", value_name = "TEXT")]
    pub(super) policy_tie_break: Option<String>,
    /// Sessions the flow table holds at most, 128 bytes each [default: 262144].
    #[arg(long, env = "VROUTER_FLOW_TABLE_SIZE", value_name = "N")]
    pub(super) flow_table_size: Option<usize>,
    /// Sessions one pod may own at most, as either end; 0: no limit [default: 0].
    #[arg(long, env = "VROUTER_FLOWS_PER_ENDPOINT", value_name = "N")]
    pub(super) flows_per_endpoint: Option<u32>,
    /// New sessions admitted a second on the whole node; 0: no limit [default: 0].
    #[arg(long, env = "VROUTER_NEW_FLOWS_PER_SECOND", value_name = "N")]
    pub(super) new_flows_per_second: Option<u32>,
    /// New sessions admitted at once after a pause [default: as many as in a second].
    #[arg(long, env = "VROUTER_NEW_FLOWS_BURST", value_name = "N")]
    pub(super) new_flows_burst: Option<u32>,
    /// Send TCP resets to both ends of a connection that a policy change cuts.
    #[arg(long, env = "VROUTER_RESET_CUT_CONNECTIONS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(super) reset_cut_connections: Option<bool>,
    /// Buffers of 64 KiB each worker may own [default: 1024].
    #[arg(long, env = "VROUTER_BUFFERS", value_name = "N")]
    pub(super) buffers: Option<usize>,
    /// Serve metrics for Prometheus [default: what FelixConfiguration says].
    #[arg(long, env = "FELIX_PROMETHEUSMETRICSENABLED", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub(super) prometheus_metrics_enabled: Option<bool>,
    /// The address of the metrics [default: all].
    #[arg(long, env = "FELIX_PROMETHEUSMETRICSHOST", value_name = "HOST")]
    pub(super) prometheus_metrics_host: Option<String>,
    /// The port of the metrics [default: 9091].
    #[arg(long, env = "FELIX_PROMETHEUSMETRICSPORT", value_name = "PORT")]
    pub(super) prometheus_metrics_port: Option<i64>,
    /// Certificate of the metrics' server (PEM); with the key: TLS.
    #[arg(long, env = "FELIX_PROMETHEUSMETRICSCERTFILE", value_name = "FILE")]
    pub(super) prometheus_metrics_cert_file: Option<PathBuf>,
    /// Key of that certificate (PEM).
    #[arg(long, env = "FELIX_PROMETHEUSMETRICSKEYFILE", value_name = "FILE")]
    pub(super) prometheus_metrics_key_file: Option<PathBuf>,
    /// The authority that signs the certificates of the metrics' clients (PEM).
    #[arg(long, env = "FELIX_PROMETHEUSMETRICSCAFILE", value_name = "FILE")]
    #[serde(rename = "prometheusMetricsCAFile")]
    pub(super) prometheus_metrics_ca_file: Option<PathBuf>,
    /// NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert [default: NoClientCert].
    #[arg(long, env = "FELIX_PROMETHEUSMETRICSCLIENTAUTH", value_name = "WHICH")]
    pub(super) prometheus_metrics_client_auth: Option<String>,
    /// Serve /liveness and /readiness [default: what FelixConfiguration says].
    #[arg(long, env = "FELIX_HEALTHENABLED", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub(super) health_enabled: Option<bool>,
    /// The address of liveness and readiness [default: localhost].
    #[arg(long, env = "FELIX_HEALTHHOST", value_name = "HOST")]
    pub(super) health_host: Option<String>,
    /// The port of liveness and readiness [default: 9099].
    #[arg(long, env = "FELIX_HEALTHPORT", value_name = "PORT")]
    pub(super) health_port: Option<i64>,
    /// trace, debug, info, warn or error [default: info].
    #[arg(long, env = "VROUTER_LOG_LEVEL", value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
}

impl Values {
    /// These values where given, the others elsewhere.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            node_name: self.node_name.or(below.node_name),
            directory: self.directory.or(below.directory),
            datastore_type: self.datastore_type.or(below.datastore_type),
            etcd_endpoints: self.etcd_endpoints.or(below.etcd_endpoints),
            etcd_username: self.etcd_username.or(below.etcd_username),
            etcd_password: self.etcd_password.or(below.etcd_password),
            etcd_key_file: self.etcd_key_file.or(below.etcd_key_file),
            etcd_cert_file: self.etcd_cert_file.or(below.etcd_cert_file),
            etcd_ca_cert_file: self.etcd_ca_cert_file.or(below.etcd_ca_cert_file),
            cache_file: self.cache_file.or(below.cache_file),
            register_node: self.register_node.or(below.register_node),
            ip: self.ip.or(below.ip),
            ip6: self.ip6.or(below.ip6),
            ip_autodetection_method: self
                .ip_autodetection_method
                .or(below.ip_autodetection_method),
            ip6_autodetection_method: self
                .ip6_autodetection_method
                .or(below.ip6_autodetection_method),
            bird: self.bird.or(below.bird),
            router_id: self.router_id.or(below.router_id),
            advertise_cluster_ips: self.advertise_cluster_ips.or(below.advertise_cluster_ips),
            secret_namespace: self.secret_namespace.or(below.secret_namespace),
            bird_socket: self.bird_socket.or(below.bird_socket),
            control_socket: self.control_socket.or(below.control_socket),
            cni_state_directory: self.cni_state_directory.or(below.cni_state_directory),
            calico_state_directory: self.calico_state_directory.or(below.calico_state_directory),
            names: self.names.or(below.names),
            resolv_conf: self.resolv_conf.or(below.resolv_conf),
            workers: self.workers.or(below.workers),
            pin_workers: self.pin_workers.or(below.pin_workers),
            busy_poll_microseconds: self.busy_poll_microseconds.or(below.busy_poll_microseconds),
            pod_link: self.pod_link.or(below.pod_link),
            flow_offload: self.flow_offload.or(below.flow_offload),
            bpf_directory: self.bpf_directory.or(below.bpf_directory),
            tunnel_interface: self.tunnel_interface.or(below.tunnel_interface),
            underlay_interface: self.underlay_interface.or(below.underlay_interface),
            policy_tie_break: self.policy_tie_break.or(below.policy_tie_break),
            flow_table_size: self.flow_table_size.or(below.flow_table_size),
            flows_per_endpoint: self.flows_per_endpoint.or(below.flows_per_endpoint),
            new_flows_per_second: self.new_flows_per_second.or(below.new_flows_per_second),
            new_flows_burst: self.new_flows_burst.or(below.new_flows_burst),
            reset_cut_connections: self.reset_cut_connections.or(below.reset_cut_connections),
            buffers: self.buffers.or(below.buffers),
            prometheus_metrics_enabled: self
                .prometheus_metrics_enabled
                .or(below.prometheus_metrics_enabled),
            prometheus_metrics_host: self
                .prometheus_metrics_host
                .or(below.prometheus_metrics_host),
            prometheus_metrics_port: self
                .prometheus_metrics_port
                .or(below.prometheus_metrics_port),
            prometheus_metrics_cert_file: self
                .prometheus_metrics_cert_file
                .or(below.prometheus_metrics_cert_file),
            prometheus_metrics_key_file: self
                .prometheus_metrics_key_file
                .or(below.prometheus_metrics_key_file),
            prometheus_metrics_ca_file: self
                .prometheus_metrics_ca_file
                .or(below.prometheus_metrics_ca_file),
            prometheus_metrics_client_auth: self
                .prometheus_metrics_client_auth
                .or(below.prometheus_metrics_client_auth),
            health_enabled: self.health_enabled.or(below.health_enabled),
            health_host: self.health_host.or(below.health_host),
            health_port: self.health_port.or(below.health_port),
            log_level: self.log_level.or(below.log_level),
        }
    }
}
