//! The port map: an upstream a port, changed while tunnels run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::plan::Limits;
use tollgate_edge::PortState;

use crate::support::ports::{FIRST, with_rows};
use crate::support::world::{PASSWORD, limits};
use crate::support::{World, basic, connect, eventually, read_all, status};

/// As many threads as anybody asks for.
fn many() -> Limits {
    Limits { threads: 10_000, ..limits() }
}

/// A world with a port map; `file` of these users' rows leads to its upstream.
async fn world(quota: u64) -> World {
    let mut w = World::new(quota, many()).await;
    with_rows(&mut w, "");
    // Each test writes its own.
    std::fs::remove_file(w.dir.path().join("proxy.txt")).unwrap();
    w
}

fn write(w: &World, users: impl IntoIterator<Item = usize>) {
    let rows: String = users.into_iter().map(|n| format!("u{n}:p{n}@{}\n", w.upstream.addr)).collect();
    std::fs::write(w.dir.path().join("proxy.txt"), rows).unwrap();
}

fn port(w: &World, n: u16) -> SocketAddr {
    (w.config.ports.as_ref().unwrap().bind, FIRST + n).into()
}

async fn tunnel(w: &World, n: u16) -> TcpStream {
    let (stream, head) = connect(port(w, n), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "port {n}: {head}");
    stream
}

/// Echoes until told to stop; then to the end. What was sent.
async fn talk(mut stream: TcpStream, stop: Arc<AtomicBool>) -> u64 {
    let mut sent = 0_u64;
    let (mut data, mut back) = ([0; 1500], [0; 1500]);
    while !stop.load(Ordering::Acquire) {
        data.fill(u8::try_from(sent / 1500 % 251).unwrap());
        stream.write_all(&data).await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(data, back);
        sent += 1500;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    stream.shutdown().await.unwrap();
    assert!(read_all(&mut stream).await.is_empty());
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn swapping_a_hundred_ports_disturbs_no_tunnel() {
    let w = world(1 << 30).await;
    // 50 that stay, 100 that go and come.
    write(&w, 0..150);
    let edge = w.start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut talks = Vec::new();
    // Through all that stay, and some that go: their tunnels go on too.
    for n in 0..60 {
        talks.push(tokio::spawn(talk(tunnel(&w, n).await, Arc::clone(&stop))));
    }
    for round in 1..=5 {
        write(&w, (0..50).chain(round * 1000..round * 1000 + 100));
        let report = edge.reload_ports().await.unwrap();
        assert_eq!((report.added, report.removed, report.kept, report.failed), (100, 100, 50, 0));
        // And gone altogether, then back: sockets are closed and opened.
        write(&w, 0..50);
        assert_eq!(edge.reload_ports().await.unwrap().removed, 100);
        assert!(TcpStream::connect(port(&w, 50)).await.is_err());
        write(&w, (0..50).chain(round * 1000..round * 1000 + 100));
        assert_eq!(edge.reload_ports().await.unwrap().added, 100);
        drop(tunnel(&w, 149).await);
    }
    assert_eq!(edge.snapshot().open_connections.min(60), 60);
    stop.store(true, Ordering::Release);
    let mut sent = 0;
    for talk in talks {
        sent += talk.await.unwrap();
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress), (sent, sent));
}

/// 10,000 rows; `changed` says of each in which round it last got a password.
fn write_many(w: &World, changed: impl Fn(usize) -> usize) {
    let at = w.upstream.addr;
    let rows: String = (0..10_000).map(|n| format!("u{n}:p{}@{at}\n", changed(n))).collect();
    let fresh = w.dir.path().join("proxy.txt-new");
    std::fs::write(&fresh, rows).unwrap();
    std::fs::rename(fresh, w.dir.path().join("proxy.txt")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_rows_change_by_the_hundred_beside_a_tunnel() {
    let mut w = world(1 << 30).await;
    // The sockets of 1,000 ports are another test's: what is looked at here is the table.
    w.config.ports.as_mut().unwrap().count = 200;
    write_many(&w, |_| 0);
    let edge = w.start().await;
    assert_eq!(edge.ports().iter().filter(|p| p.port.is_none()).count(), 9_800);
    let stop = Arc::new(AtomicBool::new(false));
    let talks: Vec<_> = [tunnel(&w, 0).await, tunnel(&w, 199).await]
        .map(|stream| tokio::spawn(talk(stream, Arc::clone(&stop))))
        .into_iter()
        .collect();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    for round in 1..=6 {
        tick.tick().await;
        write_many(&w, |n| if n % 100 == 0 { round } else { 0 });
        let report = edge.reload_ports().await.unwrap();
        assert_eq!((report.added, report.removed, report.changed, report.kept), (0, 0, 100, 9_900));
        // The next connection goes with the new password, and one beside it with the old.
        drop((tunnel(&w, 100).await, tunnel(&w, 101).await));
        let told: Vec<_> = w.upstream.heads().into_iter().rev().take(2).collect();
        assert!(told[1].contains(&basic("u100", &format!("p{round}"))), "{}", told[1]);
        assert!(told[0].contains(&basic("u101", "p0")), "{}", told[0]);
    }
    stop.store(true, Ordering::Release);
    let mut sent = 0;
    for talk in talks {
        sent += talk.await.unwrap();
    }
    assert!(sent > 0);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (sent, sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_shown_on_the_admin_listener_without_secrets() {
    let w = world(1 << 20).await;
    let list = w.dir.path().join("proxy.txt");
    std::fs::write(&list, format!("u:hush-hush@{} name=one\nnonsense\n", w.upstream.addr)).unwrap();
    let edge = w.start().await;
    let _open = tunnel(&w, 0).await;
    let mut c = TcpStream::connect(edge.admin_addr()).await.unwrap();
    c.write_all(b"GET /ports HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(read_all(&mut c).await).unwrap();
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let row = serde_json::json!(
        { "port": 4000, "upstream": "file/one", "state": "listening", "open": 1, "connections": 1 }
    );
    assert_eq!(body, serde_json::json!([row]));
    assert!(!answer.contains("hush"));
    assert_eq!(edge.ports()[0].state, PortState::Listening);
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_file_is_reloaded_when_it_changes() {
    let mut w = world(0).await;
    w.config.ports.as_mut().unwrap().poll = Some(Duration::from_millis(20));
    write(&w, 0..2);
    let edge = w.start().await;
    assert_eq!(edge.ports().len(), 2);
    write(&w, 0..3);
    eventually("the third port listens", || async { TcpStream::connect(port(&w, 2)).await.is_ok() }).await;
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_does_not_start_without_its_list() {
    let w = world(0).await;
    let failed = w.try_start(w.store.clone()).await.unwrap_err();
    assert!(failed.to_string().contains("proxy.txt"), "{failed}");
}
