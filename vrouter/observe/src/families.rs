//! Every metric there is. `docs/metrics.md` has this table.

use crate::exposition::{Family, Type};

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(pub const $id: Family = Family {
            name: $name,
            kind: Type::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All of them, in the order of a scrape.
        pub const ALL: &[Family] = &[$($id),*];
    };
}

families! {
    // Felix's, where the meaning is the same.
    FELIX_HOST = Gauge "felix_host" ["host"] "1, with the node's name.";
    FELIX_LOCAL_ENDPOINTS = Gauge "felix_active_local_endpoints" [] "Endpoints of this node.";
    FELIX_LOCAL_POLICIES = Gauge "felix_active_local_policies" [] "Policies with rules in this node's tables.";
    FELIX_HOSTS = Gauge "felix_cluster_num_hosts" [] "Nodes in the datastore.";
    FELIX_WORKLOAD_ENDPOINTS = Gauge "felix_cluster_num_workload_endpoints" [] "Workload endpoints in the datastore.";
    FELIX_HOST_ENDPOINTS = Gauge "felix_cluster_num_host_endpoints" [] "Host endpoints in the datastore.";
    FELIX_POLICIES = Gauge "felix_cluster_num_policies" [] "Policies in the datastore, staged ones too.";
    FELIX_PROFILES = Gauge "felix_cluster_num_profiles" [] "Profiles in the datastore.";
    FELIX_TIERS = Gauge "felix_cluster_num_tiers" [] "Tiers in the datastore.";
    FELIX_RESYNC_STATE = Gauge "felix_resync_state" [] "The datastore: 0 cannot be read, 1 is read for the first time, 2 is in sync.";
    FELIX_RESYNCS = Untyped "felix_resyncs_started" [] "Times the datastore was read from its beginning: at the start and when it was back.";
    FELIX_FAILURES = Untyped "felix_int_dataplane_failures" [] "Applies that left steps to be tried again.";
    FELIX_APPLY = Summary "felix_int_dataplane_apply_time_seconds" [] "Time to bring the node to what the resources say.";

    // The process and its state.
    BUILD = Gauge "vrouter_build_info" ["version"] "1, with the version.";
    LIVE = Gauge "vrouter_live" [] "Whether /liveness says so.";
    READY = Gauge "vrouter_ready" [] "Whether /readiness says so.";
    COMPONENT = Gauge "vrouter_component_healthy" ["component"] "Whether a component is neither unready nor dead.";
    GENERATION = Gauge "vrouter_tables_generation" [] "The generation of the tables that were published last.";
    APPLIED = Gauge "vrouter_last_apply_timestamp_seconds" [] "When the node was last brought to what the resources say.";
    STORE_AWAY = Gauge "vrouter_datastore_away" [] "1 while the datastore cannot be read.";
    STORE_CHANGED = Gauge "vrouter_datastore_changed_timestamp_seconds" [] "When a resource last changed.";
    RESOURCES = Gauge "vrouter_resources" ["kind"] "Resources in force.";
    NOTICES = Gauge "vrouter_resource_notices" ["severity"] "What is wrong with resources, or without effect.";

    // Packets, by the conservation law.
    RECEIVED = Counter "vrouter_received_packets_total" [] "Packets read from interfaces.";
    GENERATED = Counter "vrouter_generated_packets_total" ["reason"] "Packets the router made itself.";
    TRANSMITTED = Counter "vrouter_transmitted_packets_total" [] "Packets that interfaces took.";
    CONSUMED = Counter "vrouter_consumed_packets_total" ["reason"] "Packets that ended here without loss.";
    DROPPED = Counter "vrouter_dropped_packets_total" ["reason"] "Packets lost.";
    DIFFERENCE = Gauge "vrouter_conservation_difference_packets" [] "Received and generated less transmitted, consumed and dropped; 0 when nothing moves.";
    NODES = Counter "vrouter_node_packets_total" ["node"] "Packets that entered a node of the graph.";
    SAMPLES_LOST = Counter "vrouter_events_lost_total" [] "Events from workers that found no room, drop samples among them.";

    // Interfaces.
    INTERFACE_UP = Gauge "vrouter_interface_up" ["interface" "kind" "namespace" "pod"] "Whether packets pass an interface.";
    RX_PACKETS = Counter "vrouter_interface_receive_packets_total" ["interface" "kind" "namespace" "pod"] "Packets received from a pod, a tunnel or the host.";
    RX_BYTES = Counter "vrouter_interface_receive_bytes_total" ["interface" "kind" "namespace" "pod"] "Bytes received.";
    RX_DROPPED = Counter "vrouter_interface_receive_dropped_packets_total" ["interface" "kind" "namespace" "pod"] "Packets received here and dropped later.";
    TX_PACKETS = Counter "vrouter_interface_transmit_packets_total" ["interface" "kind" "namespace" "pod"] "Packets sent.";
    TX_BYTES = Counter "vrouter_interface_transmit_bytes_total" ["interface" "kind" "namespace" "pod"] "Bytes sent.";

    // Tunnels to other nodes.
    TUNNEL_ROUTES = Gauge "vrouter_tunnel_routes" ["node" "remote" "encap"] "Routes that lead to another node.";
    TUNNEL_MTU = Gauge "vrouter_tunnel_mtu_bytes" ["node" "remote" "encap"] "The largest inner packet.";

    // Policy.
    POLICY_FLOWS = Counter "vrouter_policy_flows_total" ["kind" "tier" "policy" "direction" "action" "staged"] "Connections that a policy decided first.";
    POLICY_PACKETS = Counter "vrouter_policy_packets_total" ["kind" "tier" "policy" "direction" "action" "staged"] "Packets of those connections.";
    POLICY_BYTES = Counter "vrouter_policy_bytes_total" ["kind" "tier" "policy" "direction" "action" "staged"] "Bytes of those connections.";

    // The flow table.
    FLOWS_SIZE = Gauge "vrouter_flow_table_capacity_sessions" [] "Sessions there is room for.";
    FLOWS = Gauge "vrouter_flow_table_sessions" [] "Sessions there are.";
    FLOWS_BYTES = Gauge "vrouter_flow_table_memory_bytes" [] "Memory of the flow table.";
    FLOWS_CREATED = Counter "vrouter_flow_table_created_sessions_total" [] "Sessions made.";
    FLOWS_ENDED = Counter "vrouter_flow_table_ended_sessions_total" ["cause"] "Sessions ended: expired, cut by policy, or evicted to make room.";
    FLOWS_REFUSED = Counter "vrouter_flow_table_refused_sessions_total" ["cause"] "Sessions not made: no room, or a limit.";

    // Workers.
    WORKER_PACKETS = Counter "vrouter_worker_packets_total" ["worker"] "Packets a worker received.";
    WORKER_TURNS = Counter "vrouter_worker_turns_total" ["worker" "kind"] "Turns: busy found packets, idle found none.";
    WORKER_SLEEPS = Counter "vrouter_worker_sleeps_total" ["worker"] "Times a worker went to sleep.";
    WORKER_BUFFERS = Gauge "vrouter_worker_buffers" ["worker"] "Buffers a worker may own.";
    WORKER_BUFFERS_USED = Gauge "vrouter_worker_used_buffers" ["worker"] "Buffers in use.";
    WORKER_GENERATION = Gauge "vrouter_worker_tables_generation" ["worker"] "The generation of the tables a worker uses.";

    // The process, as every Prometheus client has it.
    CPU = Counter "process_cpu_seconds_total" [] "User and system time.";
    RESIDENT = Gauge "process_resident_memory_bytes" [] "Resident memory.";
    VIRTUAL = Gauge "process_virtual_memory_bytes" [] "Virtual memory.";
    FDS = Gauge "process_open_fds" [] "Open file descriptors.";
    MAX_FDS = Gauge "process_max_fds" [] "File descriptors that may be open.";
    THREADS = Gauge "process_threads" [] "Threads.";
    START = Gauge "process_start_time_seconds" [] "When the process started.";
}
