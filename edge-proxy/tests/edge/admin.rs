//! The admin listener.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tollgate_edge::{Edge, StartError};

use crate::support::world::{PASSWORD, limits};
use crate::support::{World, connect, read_all, status};

async fn get(edge: &Edge, path: &str) -> String {
    let mut c = TcpStream::connect(edge.admin_addr()).await.unwrap();
    c.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    String::from_utf8(read_all(&mut c).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics_are_served() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let (_c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200);
    connect(edge.gateway_addr(), "silent.test:1", "demo", "wrong").await;
    assert!(get(&edge, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(&edge, "/readyz").await.ends_with("ready\n"));
    assert!(get(&edge, "/other").await.starts_with("HTTP/1.1 404"));
    let metrics = get(&edge, "/metrics").await;
    for line in [
        "tollgate_edge_open_tunnels 1",
        "tollgate_edge_refusals_total{code=\"AUTH_FAILED\"} 1",
        "tollgate_edge_active_customers 1",
        "tollgate_edge_journal_slots_in_use{kind=\"usage\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
    assert!(!metrics.contains(PASSWORD));
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_listener_beyond_loopback_is_refused() {
    let w = World::new(0, limits()).await;
    let bind = |a: &str| std::net::TcpListener::bind(a).unwrap();
    let start = Edge::start(w.config.clone(), w.deps(w.store.clone()), bind("127.0.0.1:0"), bind("0.0.0.0:0"));
    // On a thread of its own: what starts an edge may be spawned.
    let started = tokio::spawn(start).await.unwrap();
    assert!(matches!(started, Err(StartError::AdminAddress(_))));
}
