//! The names that the super-proxy resolves, and nothing else: it can reach no real network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use crate::config::ORIGIN_NAME;
use crate::lock;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    Address(SocketAddr),
    /// The name exists, the port is closed.
    PortClosed,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Names(Mutex<BTreeMap<String, SocketAddr>>);

impl Names {
    pub(crate) fn new(extra: &BTreeMap<String, SocketAddr>, http: SocketAddr, https: SocketAddr) -> Self {
        let names = Self(Mutex::default());
        names.map(&format!("{ORIGIN_NAME}:80"), http);
        names.map(&format!("{ORIGIN_NAME}:443"), https);
        for (name, addr) in extra {
            names.map(name, *addr);
        }
        names
    }

    pub(crate) fn map(&self, name_and_port: &str, addr: SocketAddr) {
        lock(&self.0).insert(name_and_port.to_ascii_lowercase(), addr);
    }

    pub(crate) fn resolve(&self, host: &str, port: u16) -> Resolved {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let names = lock(&self.0);
        if let Some(addr) = names.get(&format!("{host}:{port}")) {
            return Resolved::Address(*addr);
        }
        let known = names.keys().any(|k| k.rsplit_once(':').is_some_and(|(name, _)| name == host));
        if known { Resolved::PortClosed } else { Resolved::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_names_and_ports_resolve() {
        let at = |p| SocketAddr::from(([127, 0, 0, 1], p));
        let names = Names::new(&BTreeMap::from([("Mine.test:8080".to_owned(), at(3))]), at(1), at(2));
        assert_eq!(names.resolve("ORIGIN.test.", 80), Resolved::Address(at(1)));
        assert_eq!(names.resolve("origin.test", 443), Resolved::Address(at(2)));
        assert_eq!(names.resolve("mine.test", 8080), Resolved::Address(at(3)));
        assert_eq!(names.resolve("origin.test", 25), Resolved::PortClosed);
        assert_eq!(names.resolve("127.0.0.1", 80), Resolved::Unknown);
    }
}
