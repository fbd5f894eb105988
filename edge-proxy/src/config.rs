//! Settings of an edge: what they are, and how a file and the environment spell them.
//!
//! `keys` is the one table of keys; `sources` the file and the environment; `read` makes
//! [`Settings`] of them; `live` is what SIGHUP may change; `range` is one of the forms that values have.

mod keys;
mod live;
mod range;
mod read;
mod sources;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tollgate_domain::id::EdgeId;
use tollgate_domain::usage_event::Recording;
use tollgate_domain::{line, target};

pub use self::keys::{FILE_VARIABLE, KEYS, Key, table};
pub use self::live::{Live, LiveConfig, LiveReader};
pub use self::range::{InvalidRange, TargetRange};
pub use self::read::Effective;
pub use self::sources::{Origin, Sources};
use crate::upstreams::PortsConfig;

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
    /// Silence of another edge, as timed here, after which its shares of customers are taken back:
    /// several heartbeats.
    pub dead_after: Duration,
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
    /// Time for what precedes a request: a PROXY header, a TLS handshake, a SOCKS handshake.
    pub handshake_timeout: Duration,
    /// Idle time after which TCP asks the other side for a sign of life; 0 = never. Below the
    /// 350 s after which AWS forgets a flow.
    pub tcp_keepalive: Duration,
    /// Our name in `Via`; none = requests do not tell of this hop, and loops are not seen there.
    pub via: Option<String>,
    /// Of the totals of customer, source address and port, only the first that is set holds, as in
    /// GoProxy; else all of them.
    pub goproxy_first_wins: bool,
    /// Certificate and key for clients that speak TLS; none = TLS is refused.
    pub tls: Option<TlsFiles>,
    /// Addresses and names under which others reach this edge: a target that is one of them, at a
    /// port it listens on, is a loop.
    pub own_hosts: Vec<String>,
    /// Special address ranges that targets may be in where the edge dials them itself. What a plan's
    /// own rules refuse stays refused, and so does the edge itself.
    pub target_allow: Vec<TargetRange>,
    /// Special address ranges that gateways may be dialled in all the same (loopback in a local
    /// run). Empty on AWS.
    pub dial_allow: Vec<IpNet>,
    /// Connections of one source address that have not authenticated, at a time; 0 = unlimited.
    pub max_unauthenticated_per_source: usize,
    /// How long an edge that is cut off from the store goes on serving customers it knows; then it
    /// carries nobody until the store answers.
    pub staleness: Duration,
    /// Sources whose connections begin with a PROXY header.
    pub proxy_trusted: Vec<IpNet>,
    /// Upstreams from a file, each with a port of its own.
    pub ports: Option<PortsConfig>,
    /// More roots for upstreams that speak TLS, PEM.
    pub upstream_ca_file: Option<PathBuf>,
    /// UDP associations.
    pub udp: Udp,
    /// One record per connection.
    pub access_log: AccessLogConfig,
    /// Which usage events are written to the store.
    pub usage_events: Recording,
    /// Where a new process asks for the listening sockets; see [`Self::takeover_socket`].
    pub takeover_socket: Option<PathBuf>,
}

/// The files of a TLS identity, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain, leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// UDP associations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// The address they listen on; none = the one the client reached.
    pub bind: Option<IpAddr>,
    /// The address that clients are told to send to; none = the one they listen on.
    pub advertise: Option<IpAddr>,
    /// Without a datagram for this long an association ends.
    pub idle: Duration,
}

/// Where access records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// The file; none = standard error.
    pub path: Option<PathBuf>,
    /// Size at which it is rotated, in bytes; 0 = never.
    pub max_bytes: u64,
    /// Age at which it is rotated; zero = never.
    pub max_age: Duration,
    /// Rotated files that are kept.
    pub keep: usize,
    /// Source addresses in full, not only their /24 or /48.
    pub full_source: bool,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { path: None, max_bytes: 256 << 20, max_age: Duration::from_secs(86_400), keep: 14, full_source: false }
    }
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
            dead_after: s(15),
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
            handshake_timeout: s(10),
            tcp_keepalive: s(240),
            via: None,
            goproxy_first_wins: false,
            tls: None,
            own_hosts: Vec::new(),
            target_allow: Vec::new(),
            dial_allow: Vec::new(),
            max_unauthenticated_per_source: 1024,
            staleness: s(900),
            proxy_trusted: Vec::new(),
            ports: None,
            upstream_ca_file: None,
            udp: Udp { bind: None, advertise: None, idle: s(60) },
            access_log: AccessLogConfig::default(),
            usage_events: Recording::default(),
            takeover_socket: None,
        }
    }

    /// The socket over which a new process receives the listening sockets.
    #[must_use]
    pub fn takeover_socket(&self) -> PathBuf {
        self.takeover_socket.clone().unwrap_or_else(|| self.data_dir.join("takeover.sock"))
    }
}

/// All that the file and the environment say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The edge itself.
    pub edge: EdgeConfig,
    /// Where customers connect; at least one address.
    pub listen: Vec<SocketAddr>,
    /// Where customers connect and only TLS is spoken.
    pub tls_listen: Vec<SocketAddr>,
    /// Where `/healthz`, `/readyz` and `/metrics` are; on loopback.
    pub admin: SocketAddr,
    /// How long a shutdown waits for tunnels.
    pub drain: Duration,
    /// Start of the tables' names.
    pub table_prefix: String,
    /// Name or ARN of the function that assigns.
    pub assign_function: String,
    /// Name or ARN of the secret that holds the pepper.
    pub pepper_secret: String,
    /// Start of the names of the gateways' secrets: `<prefix><provider>/gateway`.
    pub secret_prefix: String,
    /// Every key as it holds, in the order of [`KEYS`].
    pub effective: Vec<Effective>,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Problem {
    /// The key, if it is one.
    pub key: Option<&'static str>,
    /// Where it was said, in the words of whoever said it: a variable, or a file and a key.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

impl Problem {
    fn new(place: impl fmt::Display, why: String) -> Self {
        Self { key: None, place: place.to_string(), why }
    }

    fn unknown(place: &str, near: Option<Cow<'_, str>>) -> Self {
        let hint = near.map_or(String::new(), |n| format!("; did you mean {n}?"));
        Self::new(place, format!("is no known setting{hint}"))
    }
}

/// All that is wrong with the settings, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

impl Settings {
    /// What SIGHUP applies of these.
    #[must_use]
    pub fn reloadable(&self) -> LiveConfig {
        LiveConfig::from(&self.edge)
    }

    /// Keys that differ from `running` and are read only at the start.
    #[must_use]
    pub fn fixed_changes(&self, running: &Self) -> Vec<&'static str> {
        let fixed = |e: &&Effective| KEYS.iter().any(|k| k.name == e.key && !k.reload);
        let differs = |e: &&Effective| !running.effective.iter().any(|r| r.key == e.key && r.value == e.value);
        self.effective.iter().filter(fixed).filter(differs).map(|e| e.key).collect()
    }

    /// Files that the settings name and that cannot be opened.
    #[must_use]
    pub fn unreadable_files(&self) -> Vec<Problem> {
        let tls = self.edge.tls.as_ref();
        let named = [
            ("tls.certificate", tls.map(|t| &t.certificate)),
            ("tls.key", tls.map(|t| &t.key)),
            ("ports.file", self.edge.ports.as_ref().map(|p| &p.file)),
            ("upstream.ca_file", self.edge.upstream_ca_file.as_ref()),
        ];
        let open = |(key, path): (&'static str, Option<&PathBuf>)| {
            let e = std::fs::File::open(path?).err()?;
            let why = format!("{} cannot be read: {e}", path?.display());
            Some(Problem { key: Some(key), place: key.to_owned(), why })
        };
        named.into_iter().filter_map(open).collect()
    }

    /// The settings as a file that means the same, each with who said so. Secrets are not in
    /// settings; their names are.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::new();
        for Effective { key, value, origin } in &self.effective {
            let origin = match origin {
                Origin::Default => "default".to_owned(),
                Origin::File(path) => path.display().to_string(),
                Origin::Variable(variable) => variable.clone(),
            };
            let origin = origin.escape_debug();
            match value {
                Some(value) => out.push_str(&format!("{key} = {value}  # {origin}\n")),
                None => out.push_str(&format!("# {key} is not set\n")),
            }
        }
        out
    }
}
