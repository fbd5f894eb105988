//! The settings that SIGHUP applies: one immutable snapshot, replaced as a whole.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use tollgate_domain::usage_event::Recording;

use super::{AccessLogConfig, EdgeConfig, TargetRange, TlsFiles};

/// What of [`EdgeConfig`] may change while the edge runs; the fields mean what they mean there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // documented at `EdgeConfig`
pub struct LiveConfig {
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    pub keep_alive_timeout: Duration,
    pub tcp_keepalive: Duration,
    pub udp_idle: Duration,
    pub udp_advertise: Option<IpAddr>,
    pub linger: Duration,
    pub staleness: Duration,
    pub max_connections: usize,
    pub max_unauthenticated_per_source: usize,
    pub dial_allow: Vec<IpNet>,
    pub target_allow: Vec<TargetRange>,
    pub own_hosts: Vec<String>,
    pub proxy_trusted: Vec<IpNet>,
    pub tls: Option<TlsFiles>,
    pub ports_file: Option<PathBuf>,
    pub upstream_ca_file: Option<PathBuf>,
    pub via: Option<String>,
    pub goproxy_first_wins: bool,
    pub access_log: AccessLogConfig,
    pub usage_events: Recording,
}

impl From<&EdgeConfig> for LiveConfig {
    fn from(c: &EdgeConfig) -> Self {
        Self {
            handshake_timeout: c.handshake_timeout,
            header_timeout: c.header_timeout,
            connect_timeout: c.connect_timeout,
            idle_timeout: c.idle_timeout,
            keep_alive_timeout: c.keep_alive_timeout,
            tcp_keepalive: c.tcp_keepalive,
            udp_idle: c.udp.idle,
            udp_advertise: c.udp.advertise,
            linger: c.linger,
            staleness: c.staleness,
            max_connections: c.max_connections,
            max_unauthenticated_per_source: c.max_unauthenticated_per_source,
            dial_allow: c.dial_allow.clone(),
            target_allow: c.target_allow.clone(),
            own_hosts: c.own_hosts.clone(),
            proxy_trusted: c.proxy_trusted.clone(),
            tls: c.tls.clone(),
            ports_file: c.ports.as_ref().map(|p| p.file.clone()),
            upstream_ca_file: c.upstream_ca_file.clone(),
            via: c.via.clone(),
            goproxy_first_wins: c.goproxy_first_wins,
            access_log: c.access_log.clone(),
            usage_events: c.usage_events,
        }
    }
}

/// Holds the snapshot in force.
#[derive(Debug)]
pub struct Live {
    version: AtomicU64,
    current: RwLock<Arc<LiveConfig>>,
}

impl Live {
    /// The first snapshot.
    #[must_use]
    pub fn new(first: LiveConfig) -> Self {
        Self { version: AtomicU64::new(0), current: RwLock::new(Arc::new(first)) }
    }

    /// The snapshot in force. Takes a lock: relay workers ask a [`LiveReader`].
    #[must_use]
    pub fn get(&self) -> Arc<LiveConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in force; whether it differs.
    pub fn set(&self, next: LiveConfig) -> bool {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = **current != next;
        if changed {
            *current = Arc::new(next);
            self.version.fetch_add(1, Ordering::Release);
        }
        changed
    }
}

/// One thread's view of [`Live`]: as long as nothing changes, a look costs one load of a cache
/// line that nobody writes.
#[derive(Debug)]
pub struct LiveReader {
    live: Arc<Live>,
    version: Cell<u64>,
    cached: RefCell<Arc<LiveConfig>>,
}

impl LiveReader {
    /// A view for this thread.
    #[must_use]
    pub fn new(live: Arc<Live>) -> Self {
        let version = Cell::new(live.version.load(Ordering::Acquire));
        let cached = RefCell::new(live.get());
        Self { live, version, cached }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn get(&self) -> Arc<LiveConfig> {
        let version = self.live.version.load(Ordering::Acquire);
        if version != self.version.get() {
            // Read after the version: what is cached is that version's, or a later one's.
            *self.cached.borrow_mut() = self.live.get();
            self.version.set(version);
        }
        Arc::clone(&self.cached.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_was_set_last() {
        let mut config = EdgeConfig::new("edge1".parse().unwrap(), "/nowhere");
        let live = Arc::new(Live::new(LiveConfig::from(&config)));
        let reader = LiveReader::new(Arc::clone(&live));
        let first = reader.get();
        assert!(Arc::ptr_eq(&first, &reader.get()));
        assert!(!live.set(LiveConfig::from(&config)), "nothing changed");
        assert!(Arc::ptr_eq(&first, &reader.get()));
        config.idle_timeout = Duration::from_secs(7);
        assert!(live.set(LiveConfig::from(&config)));
        assert_eq!(reader.get().idle_timeout, Duration::from_secs(7));
        assert_eq!(first.idle_timeout, Duration::from_secs(300), "a snapshot never changes");
    }
}
