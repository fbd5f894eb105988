//! What operators tell edges through the feed, and the lock that the strike clock sets.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::feed::{Command, Selector};
use tollgate_domain::id::{EdgeSession, RequestId};
use tollgate_domain::live::{ConnectionId, LiveReport};
use tollgate_domain::share::{Capacity, Terms, Usage};
use tollgate_edge::Edge;
use tollgate_store::cap::Life;

use crate::support::world::{PASSWORD, demo, limits};
use crate::support::{World, connect, eventually, read_all, status};

async fn echo(c: &mut TcpStream) {
    c.write_all(b"ping").await.unwrap();
    c.read_exact(&mut [0; 4]).await.unwrap();
}

async fn open(edge: &Edge, line: &str) -> TcpStream {
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", &format!("demo-line-{line}"), PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echo(&mut c).await;
    c
}

/// A kick reaches what was open before it.
async fn kick(w: &World, selector: Selector) {
    w.clock.jump(Duration::from_millis(1));
    let kick = Command::Kick { customer: demo(), selector, at: w.now() };
    w.store.announce_command(&kick, w.now()).await.unwrap();
}

async fn live(w: &World) -> LiveReport {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let request: RequestId = format!("01J{}", ASKED.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
    let ask = Command::ReportLive { request: request.clone(), customer: Some(demo()), limit: 10, at: w.now() };
    w.store.announce_command(&ask, w.now()).await.unwrap();
    eventually("an answer", || async { !w.store.live_reports(&request).await.unwrap().is_empty() }).await;
    w.store.live_reports(&request).await.unwrap().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_ends_the_tunnels_it_names_and_no_others() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let (mut a, mut b) = (open(&edge, "a").await, open(&edge, "b").await);
    kick(&w, Selector::Line("a".parse().unwrap())).await;
    assert!(read_all(&mut a).await.is_empty());
    echo(&mut b).await;

    let mut c = open(&edge, "b").await;
    eventually("two are left", || async { live(&w).await.tunnels == 2 }).await;
    let report = live(&w).await;
    assert_eq!(report.session, *edge.session());
    let first = report.newest.iter().map(|t| t.number).min().unwrap();
    kick(&w, Selector::Connection(ConnectionId { session: report.session, number: first })).await;
    assert!(read_all(&mut b).await.is_empty());
    echo(&mut c).await;

    kick(&w, Selector::source("198.51.100.0/24").unwrap()).await;
    kick(&w, Selector::Connection("edge1.99-1".parse().unwrap())).await;
    eventually("one is left", || async { live(&w).await.tunnels == 1 }).await;
    echo(&mut c).await;
    kick(&w, Selector::source("127.0.0.0/8").unwrap()).await;
    assert!(read_all(&mut c).await.is_empty());
    edge.drain(Duration::from_secs(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_tunnel_is_shown_with_what_it_moved() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let _a = open(&edge, "a").await;
    // The client may see its last byte before it is counted.
    eventually("all bytes are shown", || async {
        live(&w).await.newest.iter().all(|t| (t.ingress, t.egress) == (Some(4), Some(4)))
    })
    .await;
    let tunnel = live(&w).await.newest.remove(0);
    assert_eq!((tunnel.customer, tunnel.line.as_str()), (demo(), "a"));
    assert_eq!(tunnel.source, Some([127, 0, 0, 1].into()));
    assert_eq!(tunnel.listener_port, Some(edge.gateway_addr().port()));
    assert_eq!(tunnel.upstream, "brd/203.0.113.7");
    assert_eq!(tunnel.country.map(|c| c.as_str().to_owned()).as_deref(), Some("nl"));
    edge.drain(Duration::ZERO).await.unwrap();
}

/// Another edge tells of more than the customer's threads for a quarter of an hour.
async fn strike(w: &World) {
    let other: EdgeSession = "edge9.1".parse().unwrap();
    let limits = Capacity { hard: 20, qps: 0, rate: 0 };
    let terms = Terms { ver: 1, soft: 10, limits };
    let usage = Usage { in_use: 15, ..Usage::default() };
    for _ in 0..=15 {
        w.store.report_share(&demo(), Life::of(&other), terms, usage, w.now()).await.unwrap();
        w.clock.jump(Duration::from_secs(60));
    }
    let locked = w.store.cap(&demo()).await.unwrap().unwrap().strike.locked(w.now());
    assert!(locked.is_some());
    w.store.leave_share(&demo(), &other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strikes_lock_ends_tunnels_and_holds_after_a_restart_until_an_operator_ends_it() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = open(&edge, "a").await;
    strike(&w).await;
    assert!(read_all(&mut c).await.is_empty());
    edge.drain(Duration::from_secs(2)).await.unwrap();

    let edge = w.start().await;
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await;
    assert!(head.contains("LOCKED_OUT"), "{head}");
    w.store.unlock_customer(&demo(), w.now()).await.unwrap().unwrap();
    eventually("it may pass", || async {
        status(&connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await.1) == 200
    })
    .await;
    edge.drain(Duration::from_secs(2)).await.unwrap();
}
