//! What is changed in the store acts on live tunnels within two seconds.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::plan::Limits;
use tollgate_edge::Edge;

use crate::support::world::{PASSWORD, demo, limits, plan_bucket, verifier};
use crate::support::{World, connect, eventually, read_all, status};

/// Said of the reach of a change.
const REACH: Duration = Duration::from_secs(2);

async fn world() -> (World, Edge, TcpStream) {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    // Alive in both directions before anything changes.
    c.write_all(b"ping").await.unwrap();
    c.read_exact(&mut [0; 4]).await.unwrap();
    (w, edge, c)
}

async fn ends_in_time(mut c: TcpStream) {
    let began = Instant::now();
    assert!(read_all(&mut c).await.is_empty());
    assert!(began.elapsed() < REACH, "{:?}", began.elapsed());
}

/// The status of a new CONNECT, once it is `expected` (or, in the end, what it is instead).
async fn becomes(edge: &Edge, user: &str, password: &str, expected: u16) {
    eventually(&format!("{expected}"), || async {
        let (_c, head) = connect(edge.gateway_addr(), "echo.test:1", user, password).await;
        status(&head) == expected
    })
    .await;
}

async fn counters_are_kept(w: &World, edge: Edge) {
    edge.drain(Duration::from_secs(2)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (4, 4));
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_closes_live_tunnels_and_keeps_their_counters() {
    let (w, edge, c) = world().await;
    w.ban().await;
    ends_in_time(c).await;
    becomes(&edge, "demo", PASSWORD, 403).await;
    counters_are_kept(&w, edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_closes_tunnels_and_lets_new_ones_in() {
    let (w, edge, c) = world().await;
    w.clock.jump(Duration::from_millis(1));
    w.store.kick_customer(&demo(), w.now()).await.unwrap().unwrap();
    ends_in_time(c).await;
    becomes(&edge, "demo", PASSWORD, 200).await;
    counters_are_kept(&w, edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_ends_at_its_time() {
    let (w, edge, c) = world().await;
    w.store.lock_customer(&demo(), w.now().plus(Duration::from_secs(60)), w.now()).await.unwrap().unwrap();
    ends_in_time(c).await;
    becomes(&edge, "demo", PASSWORD, 429).await;
    w.clock.jump(Duration::from_secs(60));
    becomes(&edge, "demo", PASSWORD, 200).await;
    counters_are_kept(&w, edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_expires_by_the_clock_alone_closes_tunnels() {
    let (w, edge, c) = world().await;
    let end = w.now().plus(Duration::from_secs(3600));
    w.store.extend_customer(&demo(), Some(end), w.now()).await.unwrap().unwrap();
    w.clock.jump(Duration::from_secs(3600));
    ends_in_time(c).await;
    becomes(&edge, "demo", PASSWORD, 402).await;
    counters_are_kept(&w, edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_credential_closes_the_tunnels_it_opened() {
    let (w, edge, c) = world().await;
    let user = "demo".parse().unwrap();
    w.store.rotate_credential(&user, 1, &verifier("new-password"), Duration::ZERO, w.now()).await.unwrap();
    ends_in_time(c).await;
    becomes(&edge, "demo", "new-password", 200).await;
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 407, "{head}");
    counters_are_kept(&w, edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_threads_bind_the_next_tunnel() {
    let (w, edge, c) = world().await;
    let one = Limits { threads: 1, ..limits() };
    w.store.set_limits(&demo(), &one, w.now()).await.unwrap().unwrap();
    becomes(&edge, "demo", PASSWORD, 429).await;
    drop(c);
    becomes(&edge, "demo", PASSWORD, 200).await;
    counters_are_kept(&w, edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_opens_the_door_again() {
    let w = World::new(10, limits()).await;
    let edge = w.start().await;
    let (mut c, _) = connect(edge.gateway_addr(), "bytes.test:100", "demo", PASSWORD).await;
    assert_eq!(read_all(&mut c).await.len(), 10);
    becomes(&edge, "demo", PASSWORD, 402).await;
    w.grant("more", &plan_bucket(), 1000).await;
    becomes(&edge, "demo", PASSWORD, 200).await;
    edge.drain(Duration::from_secs(2)).await.unwrap();
    assert_eq!(w.rows().await.egress, 10);
}
