//! What the owner of a flow table chooses at its start: size, timeouts, limits, seed.
//!
//! The timeouts default to those of Calico's eBPF mode (`bpfConntrackTimeouts`).

/// Idle times after which a session is forgotten, in milliseconds. The table counts in ticks of
/// 256 ms, so a session lives up to one tick longer than asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, handshake not complete.
    pub tcp_syn_sent_ms: u64,
    /// TCP, handshake complete or a connection picked up in its middle.
    pub tcp_established_ms: u64,
    /// TCP, a RST was seen.
    pub tcp_reset_ms: u64,
    /// TCP, a FIN was seen in both directions.
    pub tcp_fins_seen_ms: u64,
    /// UDP and UDP-Lite.
    pub udp_ms: u64,
    /// ICMP and ICMPv6.
    pub icmp_ms: u64,
    /// Every other protocol, SCTP included.
    pub generic_ms: u64,
    /// A session younger than this is not aged out whatever its state.
    pub creation_grace_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_syn_sent_ms: 20_000,
            tcp_established_ms: 3_600_000,
            tcp_reset_ms: 40_000,
            tcp_fins_seen_ms: 30_000,
            udp_ms: 60_000,
            icmp_ms: 5_000,
            generic_ms: 600_000,
            creation_grace_ms: 10_000,
        }
    }
}

/// Whether a TCP session may begin with a packet other than a SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MidStream {
    /// It may, as with Linux's `nf_conntrack_tcp_loose`: after a restart connections go on.
    /// Until both directions were seen such a session counts as half-open.
    #[default]
    Loose,
    /// It may not; [`InsertError::MidStream`](super::InsertError::MidStream) is the answer.
    Strict,
}

/// How fast new sessions may come, over the whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Sessions a second in the long run.
    pub per_second: u32,
    /// How many may come at once after a pause.
    pub burst: u32,
}

/// The shape of a flow table, fixed for its life but for the timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Sessions held at most (a session with rewritten addresses counts twice). Each costs
    /// 128 bytes, all included; between 64 and 2^28.
    pub capacity: usize,
    /// Idle times at first; see [`FlowTable::set_timeouts`](super::FlowTable::set_timeouts).
    pub timeouts: Timeouts,
    /// Policy for TCP sessions without a SYN.
    pub mid_stream: MidStream,
    /// Endpoint ids below this are counted and can be limited; 4 bytes each, twice.
    pub endpoints: usize,
    /// Sessions an endpoint may own, unless set for it alone; `None`: no limit.
    pub endpoint_limit: Option<u32>,
    /// Rate at which new sessions are admitted; `None`: no limit.
    pub admission: Option<Admission>,
    /// Secret of the hash: random in production, fixed in tests.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capacity: 1 << 20,
            timeouts: Timeouts::default(),
            mid_stream: MidStream::default(),
            endpoints: 0,
            endpoint_limit: None,
            admission: None,
            seed: 0,
        }
    }
}
