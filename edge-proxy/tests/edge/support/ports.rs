//! Port maps, for tests that run beside each other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use tollgate_edge::PortsConfig;

use super::World;

/// The first port of every map.
pub const FIRST: u16 = 4000;

/// An address of the loopback network that no other test uses.
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., a, b] = std::process::id().to_be_bytes();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(n < 32, "more addresses than there are");
    IpAddr::V4(Ipv4Addr::new(127, 192 | (a >> 3), b, ((a & 7) << 5) | n))
}

/// Gives a world a port map with these rows, one a port from [`FIRST`] on; where it listens.
pub fn with_rows(w: &mut World, rows: &str) -> IpAddr {
    let mut ports = PortsConfig::new(w.dir.path().join("proxy.txt"), "file".parse().unwrap());
    ports.bind = own_address();
    ports.first = FIRST;
    let bind = ports.bind;
    std::fs::write(&ports.file, rows).unwrap();
    w.config.ports = Some(ports);
    // The list lies beside the data folder, not in it.
    w.config.data_dir = w.dir.path().join("data");
    bind
}

/// A port that leads straight to targets, which may be on loopback.
pub fn direct(w: &mut World) -> SocketAddr {
    w.config.target_allow = vec!["127.0.0.0/8".parse().unwrap()];
    (with_rows(w, "direct\n"), FIRST).into()
}
