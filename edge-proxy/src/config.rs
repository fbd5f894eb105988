//! Settings of an edge, and how the environment spells them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tollgate_domain::id::EdgeId;
use tollgate_domain::{line, target};

/// Settings of one edge process.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Which edge this is; its journals and leases carry the name.
    pub edge: EdgeId,
    /// Where the journal lives. One edge, one folder.
    pub data_dir: PathBuf,
    /// Relay threads.
    pub workers: usize,
    /// Time for a request head, from the first byte wanted to the last.
    pub header_timeout: Duration,
    /// Time to reach an upstream and to get its answer to our CONNECT, each.
    pub connect_timeout: Duration,
    /// A tunnel without a byte for this long is closed.
    pub idle_timeout: Duration,
    /// A kept-alive connection without a request for this long is closed.
    pub keep_alive_timeout: Duration,
    /// How long an edge waits after a line's last tunnel before it says that the line is quiet.
    pub linger: Duration,
    /// Time to wait for bytes to be leased before a tunnel gives up on the store.
    pub lease_timeout: Duration,
    /// How often the change feed is read.
    pub feed_interval: Duration,
    /// How far back each reading of the feed looks.
    pub feed_overlap: Duration,
    /// How often active customers are read again, feed or not.
    pub resync_interval: Duration,
    /// How often the edge tells that it lives.
    pub heartbeat_interval: Duration,
    /// Leases of customers without a tunnel for this long are closed.
    pub lease_idle: Duration,
    /// Time for the assigner's answer.
    pub assign_timeout: Duration,
    /// Connections at a time, of all customers.
    pub max_connections: usize,
    /// Failed logins of one source within [`Self::auth_window`] that block it.
    pub auth_failures: u32,
    /// The window.
    pub auth_window: Duration,
    /// How long a source stays blocked.
    pub auth_block: Duration,
    /// How long an unknown user name is remembered as unknown.
    pub unknown_ttl: Duration,
    /// Buckets that may be leased at a time.
    pub lease_slots: usize,
    /// Counters of (bucket, line, proxy, worker) at a time.
    pub usage_slots: usize,
    /// What targets are refused beyond special addresses.
    pub policy: target::Policy,
    /// Special address ranges that gateways may be dialled in all the same (loopback in a local
    /// run). Empty on AWS.
    pub dial_allow: Vec<IpNet>,
}

impl EdgeConfig {
    /// The defaults, with one worker per processor.
    #[must_use]
    pub fn new(edge: EdgeId, data_dir: impl Into<PathBuf>) -> Self {
        let s = Duration::from_secs;
        Self {
            edge,
            data_dir: data_dir.into(),
            workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            header_timeout: s(10),
            connect_timeout: s(10),
            idle_timeout: s(300),
            keep_alive_timeout: s(60),
            linger: line::LINGER,
            lease_timeout: s(5),
            feed_interval: s(1),
            feed_overlap: s(30),
            resync_interval: s(300),
            heartbeat_interval: s(5),
            lease_idle: s(60),
            assign_timeout: s(25),
            max_connections: 20_000,
            auth_failures: 10,
            auth_window: s(600),
            auth_block: s(1800),
            unknown_ttl: s(3),
            lease_slots: 4096,
            usage_slots: 16_384,
            policy: target::Policy::default(),
            dial_allow: Vec::new(),
        }
    }
}
