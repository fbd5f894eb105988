//! Settings of an edge, and how the environment spells them.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
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

/// All that the environment says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The edge itself.
    pub edge: EdgeConfig,
    /// Where customers connect.
    pub gateway: SocketAddr,
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
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct ConfigError {
    /// The variable.
    pub key: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl Settings {
    /// Reads the settings through `get` (an environment, or a map in tests).
    ///
    /// | key | meaning | default |
    /// |---|---|---|
    /// | `TOLLGATE_EDGE_ID` | which edge this is, `[a-z0-9_]{1,32}` | required |
    /// | `TOLLGATE_EDGE_DATA_DIR` | folder of the journal | `/var/lib/tollgate-edge` |
    /// | `TOLLGATE_EDGE_LISTEN` | where customers connect | `0.0.0.0:3128` |
    /// | `TOLLGATE_EDGE_ADMIN` | health and metrics, on loopback | `127.0.0.1:9128` |
    /// | `TOLLGATE_EDGE_WORKERS` | relay threads, 1–256 | one per processor |
    /// | `TOLLGATE_EDGE_MAX_CONNECTIONS` | connections at a time | 20000 |
    /// | `TOLLGATE_EDGE_DRAIN_S` | seconds a shutdown waits for tunnels | 60 |
    /// | `TOLLGATE_EDGE_IDLE_S` | seconds without a byte that end a tunnel | 300 |
    /// | `TOLLGATE_EDGE_CONNECT_S` | seconds to reach a gateway | 10 |
    /// | `TOLLGATE_EDGE_HEADER_S` | seconds for a request head | 10 |
    /// | `TOLLGATE_EDGE_LINGER_S` | seconds after a line's last tunnel before it is quiet | 30 |
    /// | `TOLLGATE_EDGE_DIAL_ALLOW` | special ranges that gateways may be in, comma-separated | none |
    /// | `TOLLGATE_TABLE_PREFIX` | start of the tables' names | empty |
    /// | `TOLLGATE_ASSIGN_FUNCTION` | function that assigns | required |
    /// | `TOLLGATE_PEPPER_SECRET` | secret that holds the pepper | required |
    /// | `TOLLGATE_SECRET_PREFIX` | start of the gateways' secrets | empty |
    ///
    /// Region, credentials and endpoints are the AWS SDK's own variables.
    ///
    /// # Errors
    /// [`ConfigError`] with the variable.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let env = Env(get);
        let data_dir: PathBuf = env.or("TOLLGATE_EDGE_DATA_DIR", "/var/lib/tollgate-edge".into())?;
        let mut edge = EdgeConfig::new(env.required("TOLLGATE_EDGE_ID")?, data_dir);
        edge.workers = env.within("TOLLGATE_EDGE_WORKERS", edge.workers, 1..=256)?;
        edge.max_connections = env.within("TOLLGATE_EDGE_MAX_CONNECTIONS", edge.max_connections, 1..=1_000_000)?;
        edge.idle_timeout = env.seconds("TOLLGATE_EDGE_IDLE_S", edge.idle_timeout)?;
        edge.connect_timeout = env.seconds("TOLLGATE_EDGE_CONNECT_S", edge.connect_timeout)?;
        edge.header_timeout = env.seconds("TOLLGATE_EDGE_HEADER_S", edge.header_timeout)?;
        edge.linger = env.seconds("TOLLGATE_EDGE_LINGER_S", edge.linger)?;
        let ranges: String = env.or("TOLLGATE_EDGE_DIAL_ALLOW", String::new())?;
        for range in ranges.split(',').map(str::trim).filter(|r| !r.is_empty()) {
            edge.dial_allow.push(parse("TOLLGATE_EDGE_DIAL_ALLOW", range)?);
        }
        let settings = Self {
            edge,
            gateway: env.or("TOLLGATE_EDGE_LISTEN", SocketAddr::from(([0, 0, 0, 0], 3128)))?,
            admin: env.or("TOLLGATE_EDGE_ADMIN", SocketAddr::from(([127, 0, 0, 1], 9128)))?,
            drain: env.seconds("TOLLGATE_EDGE_DRAIN_S", Duration::from_secs(60))?,
            table_prefix: env.or("TOLLGATE_TABLE_PREFIX", String::new())?,
            assign_function: env.required("TOLLGATE_ASSIGN_FUNCTION")?,
            pepper_secret: env.required("TOLLGATE_PEPPER_SECRET")?,
            secret_prefix: env.or("TOLLGATE_SECRET_PREFIX", String::new())?,
        };
        if !settings.admin.ip().is_loopback() {
            return Err(ConfigError { key: "TOLLGATE_EDGE_ADMIN", why: "must be an address on loopback".to_owned() });
        }
        Ok(settings)
    }
}

struct Env<G>(G);

fn parse<T: FromStr<Err: Display>>(key: &'static str, text: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|e| ConfigError { key, why: format!("{text:?} cannot be read: {e}") })
}

impl<G: Fn(&str) -> Option<String>> Env<G> {
    fn or<T: FromStr<Err: Display>>(&self, key: &'static str, default: T) -> Result<T, ConfigError> {
        match (self.0)(key) {
            Some(text) => parse(key, &text),
            None => Ok(default),
        }
    }

    fn required<T: FromStr<Err: Display>>(&self, key: &'static str) -> Result<T, ConfigError> {
        let text = (self.0)(key).filter(|t| !t.is_empty());
        parse(key, &text.ok_or_else(|| ConfigError { key, why: "is not set".to_owned() })?)
    }

    fn within<N>(&self, key: &'static str, default: N, range: RangeInclusive<N>) -> Result<N, ConfigError>
    where
        N: FromStr<Err: Display> + PartialOrd + Display,
    {
        let n = self.or(key, default)?;
        if range.contains(&n) {
            return Ok(n);
        }
        Err(ConfigError { key, why: format!("{n} is not within {}–{}", range.start(), range.end()) })
    }

    fn seconds(&self, key: &'static str, default: Duration) -> Result<Duration, ConfigError> {
        self.within(key, default.as_secs(), 0..=86_400).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let required = [
            ("TOLLGATE_EDGE_ID", "edge1"),
            ("TOLLGATE_ASSIGN_FUNCTION", "assign"),
            ("TOLLGATE_PEPPER_SECRET", "pepper"),
        ];
        let all: Vec<_> = pairs.iter().copied().chain(required).collect();
        Settings::from_env(|key| all.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_defaults_need_three_settings_only() {
        let s = read(&[]).unwrap();
        assert_eq!(s.gateway.to_string(), "0.0.0.0:3128");
        assert_eq!(s.edge.idle_timeout, Duration::from_secs(300));
        assert_eq!(Settings::from_env(|_| None).unwrap_err().to_string(), "TOLLGATE_EDGE_ID: is not set");
    }

    #[test]
    fn each_setting_is_read_or_refused_with_its_name() {
        let s = read(&[("TOLLGATE_EDGE_WORKERS", "3"), ("TOLLGATE_EDGE_DIAL_ALLOW", "127.0.0.0/8, ::1/128")]).unwrap();
        assert_eq!((s.edge.workers, s.edge.dial_allow.len()), (3, 2));
        for (key, bad) in [
            ("TOLLGATE_EDGE_WORKERS", "0"),
            ("TOLLGATE_EDGE_LISTEN", "nowhere"),
            ("TOLLGATE_EDGE_ADMIN", "0.0.0.0:9128"),
            ("TOLLGATE_EDGE_DIAL_ALLOW", "10.0.0.0/40"),
            ("TOLLGATE_EDGE_IDLE_S", "-1"),
            ("TOLLGATE_EDGE_ID", "Edge One"),
        ] {
            assert_eq!(read(&[(key, bad)]).unwrap_err().key, key, "{bad}");
        }
    }
}
