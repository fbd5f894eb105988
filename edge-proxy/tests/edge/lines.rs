//! What the store hears of a line's use, and what closing a line does to its tunnels.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollgate_domain::id::LineKey;
use tollgate_domain::line::{Hold, Line, LineState};
use tollgate_domain::proxy::ProxyClass;
use tollgate_store::assignment::{Claim, Opening};

use crate::support::world::{NOON, PASSWORD, demo, limits};
use crate::support::{World, connect, eventually, read_all, status};

fn key() -> LineKey {
    LineKey { customer: demo(), label: "a".parse().unwrap() }
}

pub async fn open_line(w: &World) {
    let line = Line {
        key: key(),
        state: LineState::Open,
        country: tollgate_domain::country::Country::parse("be").unwrap(),
        class: ProxyClass::Isp,
        hold: Hold::Tunnels,
        alias: None,
        open: Default::default(),
        close_due: None,
        ver: 1,
        last_proxy: None,
        opened_at: NOON,
        closed_at: None,
    };
    let opening = Opening { line, reopened: false, max_open: 0 };
    assert_eq!(w.store.open_session(&opening).await.unwrap(), Claim::Won);
}

async fn line(w: &World) -> Line {
    w.store.line(&key()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_in_use_while_tunnels_are_open_and_quiet_after_its_linger() {
    let w = World::new(1 << 20, limits()).await;
    open_line(&w).await;
    let edge = w.start().await;
    let (c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    eventually("in use", || async { line(&w).await.open.contains_key(edge.session()) }).await;
    drop(c);
    eventually("quiet", || async { line(&w).await.open.is_empty() }).await;
    assert_eq!(line(&w).await.close_due, Some(w.now().plus(Duration::from_secs(300))));
    // Used again, and still when the edge drains: the mark goes without a linger.
    let (_c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    eventually("in use again", || async { line(&w).await.open.contains_key(edge.session()) }).await;
    edge.drain(Duration::ZERO).await.unwrap();
    assert!(line(&w).await.open.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_a_crashed_edge_is_taken_back_by_its_next_start() {
    let w = World::new(1 << 20, limits()).await;
    open_line(&w).await;
    let edge = w.start().await;
    let (_c, _) = connect(edge.gateway_addr(), "silent.test:1", "demo-line-a", PASSWORD).await;
    eventually("in use", || async { line(&w).await.open.contains_key(edge.session()) }).await;
    drop(edge);
    assert_eq!(line(&w).await.open.len(), 1);
    let edge = w.start().await;
    assert!(line(&w).await.open.is_empty());
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_line_ends_its_tunnels_and_no_others() {
    let w = World::new(1 << 20, limits()).await;
    open_line(&w).await;
    let edge = w.start().await;
    let (mut a, _) = connect(edge.gateway_addr(), "echo.test:1", "demo-line-a", PASSWORD).await;
    let (mut b, _) = connect(edge.gateway_addr(), "echo.test:1", "demo-line-b", PASSWORD).await;
    eventually("in use", || async { line(&w).await.open.contains_key(edge.session()) }).await;
    let found = line(&w).await;
    assert!(w.store.close_line(&found, None, None, w.now()).await.unwrap());
    let began = Instant::now();
    assert!(read_all(&mut a).await.is_empty());
    assert!(began.elapsed() < Duration::from_secs(2));
    b.write_all(b"still").await.unwrap();
    b.read_exact(&mut [0; 5]).await.unwrap();
    // The next request asks anew.
    let asked = w.assigner.asked.lock().unwrap().len();
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    assert_eq!(w.assigner.asked.lock().unwrap().len(), asked + 1);
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_the_line_open_whose_proxy_it_uses() {
    let w = World::new(1 << 20, limits()).await;
    open_line(&w).await;
    let edge = w.start().await;
    let (c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo-session-s1", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    eventually("in use", || async { line(&w).await.open.contains_key(edge.session()) }).await;
    drop(c);
    eventually("quiet", || async { line(&w).await.open.is_empty() }).await;
    edge.drain(Duration::ZERO).await.unwrap();
}
