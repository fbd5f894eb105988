//! What the stories share.

pub mod client;
pub mod descriptors;
pub mod exposition;
pub mod metrics;
pub mod ports;
pub mod recorder;
pub mod resolver;
pub mod socks;
pub mod stalls;
pub mod tls;
pub mod upstream;
pub mod vectors;
pub mod world;

pub use client::{basic, body_of, connect, connect_from, read_all, read_head, read_n, status};
pub use upstream::Upstream;
pub use world::World;

use std::time::{Duration, Instant};

/// Waits until `condition` holds; fails after thirty seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    within(Duration::from_secs(30), what, condition).await;
}

/// Waits until `condition` holds; fails after `bound`.
pub async fn within<F: Future<Output = bool>>(bound: Duration, what: &str, mut condition: impl FnMut() -> F) {
    let end = Instant::now() + bound;
    while !condition().await {
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
