//! One door of the edge: what it is for, where it listens, and the upstream behind it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::limits::rate::Schedule;
use crate::upstream::spec::Upstream;

/// What a door is for. In text `gateway`, `tls` or `port-<n>`: a name that service managers take
/// for a descriptor they pass on (no colon).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The user name selects the route.
    Gateway,
    /// The same behind TLS.
    Tls,
    /// A port of the port map: its number selects the upstream. It never authenticates.
    Port(u16),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Tls => f.write_str("tls"),
            Self::Port(n) => write!(f, "port-{n}"),
        }
    }
}

impl FromStr for Kind {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        match s {
            "gateway" => Ok(Self::Gateway),
            "tls" => Ok(Self::Tls),
            _ => s.strip_prefix("port-").and_then(|n| n.parse().ok()).map(Self::Port).ok_or(()),
        }
    }
}

/// A door, for as long as its socket listens or a connection that came through it is open.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Which; never used again in this process.
    pub id: u64,
    /// What it is for.
    pub kind: Kind,
    /// Where it listens.
    pub local: SocketAddr,
    /// What goes through it, against the total of a port.
    pub bytes: Arc<Schedule>,
    /// Read once per connection: a reload that changes it acts on new connections alone.
    upstream: RwLock<Option<Arc<Upstream>>>,
    connections: AtomicU64,
    open: AtomicU64,
}

impl Entrance {
    pub fn new(id: u64, kind: Kind, local: SocketAddr, upstream: Option<Arc<Upstream>>) -> Self {
        let zero = AtomicU64::default;
        Self {
            id,
            kind,
            local,
            bytes: Arc::default(),
            upstream: RwLock::new(upstream),
            connections: zero(),
            open: zero(),
        }
    }

    /// The upstream that new connections are routed to; none = the user name decides.
    pub fn upstream(&self) -> Option<Arc<Upstream>> {
        self.upstream.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Routes new connections to `upstream`; those that are open stay where they are.
    pub fn lead_to(&self, upstream: Option<Arc<Upstream>>) {
        *self.upstream.write().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Connections that came through, since it opened.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Those of them that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub fn entered(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub fn left(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip_as_descriptor_names() {
        for kind in [Kind::Gateway, Kind::Tls, Kind::Port(1), Kind::Port(4999)] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert!(!kind.to_string().contains(':'));
        }
        for bad in ["", "port-", "port-65536", "port:1", "Gateway"] {
            assert_eq!(bad.parse::<Kind>(), Err(()));
        }
    }
}
