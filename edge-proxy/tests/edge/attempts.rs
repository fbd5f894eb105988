//! What follows a failed attempt: another row of the pool, another address, or the refusal; and
//! that nothing is ever sent twice that must not arrive twice.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tollgate_edge::Edge;

use crate::support::client::{answer, request};
use crate::support::metrics::metric;
use crate::support::ports::{FIRST, with_rows};
use crate::support::recorder::{ANSWER, Recorder, whole};
use crate::support::socks::{self, CONNECT};
use crate::support::tls::Identity;
use crate::support::upstream::Mood;
use crate::support::world::{PASSWORD, limits};
use crate::support::{Upstream, World, connect, read_head, status};

const MIB: u64 = 1 << 20;
const LOST: &str = "HTTP/1.1 400 Bad Request\r\nX-Brd-Err-Code: client_10060\r\nContent-Length: 0\r\n\r\n";

/// An address where nobody listens.
fn closed() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A world whose first port leads to the first of these rows.
async fn pooled(rows: &str) -> (World, SocketAddr) {
    let mut w = World::new(MIB, limits()).await;
    w.config.connect_timeout = Duration::from_secs(2);
    let bind = with_rows(&mut w, rows);
    (w, (bind, FIRST).into())
}

async fn echoes(c: &mut TcpStream) {
    c.write_all(b"there and back").await.unwrap();
    let mut back = [0; 14];
    c.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"there and back");
}

async fn dial_failures(edge: &Edge) -> u64 {
    metric(edge.admin_addr(), "dial_failures_total").await
}

// === another row ===

#[tokio::test(flavor = "multi_thread")]
async fn another_row_of_the_pool_serves_whatever_was_the_gateways_fault() {
    let bad = Upstream::start().await;
    let good = Upstream::start().await;
    let (w, port) = pooled(&format!("u:p@{} pool=x\nv:q@{} pool=x\n", bad.addr, good.addr)).await;
    let edge = w.start().await;
    let answers = [
        "",
        "no HTTP at all\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\nX-Brd-Err-Code: client_10020\r\n\r\n",
        "HTTP/1.1 408 Request Timeout\r\nProxy-Status: g; details=\"peer-30040: late\"\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nX-Brd-Err-Code: policy_20222\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\nX-Brd-Err-Code: client_10100\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\n\r\n",
        LOST,
    ];
    for (n, answer) in (1..).zip(answers) {
        bad.set(Mood::Says(answer));
        let (mut c, head) = connect(port, "echo.test:443", "demo", PASSWORD).await;
        assert_eq!(status(&head), 200, "{answer}: {head}");
        echoes(&mut c).await;
        // One attempt each, and every failed one is counted.
        assert_eq!((bad.heads().len(), good.heads().len()), (n, n), "{answer}");
        assert_eq!(dial_failures(&edge).await, n as u64, "{answer}");
    }
    // Over SOCKS the same.
    let mut c = TcpStream::connect(port).await.unwrap();
    let asked = socks::ask(&mut c, ("demo", PASSWORD), &socks::request(CONNECT, "echo.test", 443)).await;
    assert_eq!(asked, socks::SUCCEEDED);
    echoes(&mut c).await;
    drop(c);
    assert!(w.assigner.asked.lock().unwrap().is_empty());
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let n = answers.len() as u64 + 1;
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (14 * n, 14 * n, n));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_targets_fault_is_told_after_one_attempt() {
    let bad = Upstream::start().await;
    let good = Upstream::start().await;
    let (w, port) = pooled(&format!("u:p@{} pool=x\nv:q@{} pool=x\n", bad.addr, good.addr)).await;
    let edge = w.start().await;
    let answers = [
        "HTTP/1.1 403 Forbidden\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\nX-Brd-Err-Code: policy_20230\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\nX-Brd-Err-Code: target_40001\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Brd-Err-Code: target_40020\r\n\r\n",
    ];
    for (n, answer) in (1..).zip(answers) {
        bad.set(Mood::Says(answer));
        let (_c, head) = connect(port, "echo.test:443", "demo", PASSWORD).await;
        assert_eq!(status(&head), 502, "{answer}: {head}");
        assert_eq!((bad.heads().len(), good.heads().len()), (n, 0), "{answer}");
    }
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!((w.rows().await.bytes(), w.rows().await.connections), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_not_reached_or_not_believed_or_silent_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = Upstream::start_tls(Identity::write(folder.path(), "gateway").acceptor()).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = Upstream::start().await;
    let (good_at, silent_at) = (good.addr, silent.local_addr().unwrap());
    let rows = [
        format!("u:p@{} pool=refused\nv:p@{good_at} pool=refused\n", closed()),
        format!("https://u:p@{} pool=tls\nw:p@{good_at} pool=tls\n", stranger.addr),
        format!("u:p@{silent_at} pool=silent\nx:p@{good_at} pool=silent\n"),
    ];
    let (w, port) = pooled(&rows.concat()).await;
    let edge = w.start().await;
    for (n, offset) in (1..).zip([0, 2, 4]) {
        let (mut c, head) = connect((port.ip(), FIRST + offset).into(), "echo.test:443", "demo", PASSWORD).await;
        assert_eq!(status(&head), 200, "{offset}: {head}");
        echoes(&mut c).await;
        assert_eq!((good.heads().len(), dial_failures(&edge).await), (n, n as u64), "{offset}");
    }
    // The other way round it is the row itself that serves.
    drop(connect((port.ip(), FIRST + 1).into(), "echo.test:443", "demo", PASSWORD).await);
    assert_eq!(dial_failures(&edge).await, 3);
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_more_attempt_and_its_refusal_is_told() {
    let (a, b, c) = (Upstream::start().await, Upstream::start().await, Upstream::start().await);
    let rows = format!(
        "u:p@{a} pool=x\nv:p@{b} pool=x\nalone:p@{a}\nlast:p@{a} pool=y\nw:p@{c} pool=y owner=other\n",
        a = a.addr,
        b = b.addr,
        c = c.addr
    );
    let (w, port) = pooled(&rows).await;
    let edge = w.start().await;
    a.set(Mood::Says("HTTP/1.1 503 Service Unavailable\r\n\r\n"));
    b.set(Mood::Says("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"));
    let (_c, head) = connect(port, "echo.test:443", "demo", PASSWORD).await;
    assert!(head.contains("X-Tollgate-Error: UPSTREAM_AUTH\r\n"), "{head}");
    assert_eq!((a.heads().len(), b.heads().len()), (1, 1));
    // A row of no pool has nobody beside it, and another account's row is not lent.
    for offset in [2, 3] {
        let (_c, head) = connect((port.ip(), FIRST + offset).into(), "echo.test:443", "demo", PASSWORD).await;
        assert!(head.contains("X-Tollgate-Error: UPSTREAM_CONNECT\r\n"), "{head}");
    }
    assert_eq!((a.heads().len(), b.heads().len(), c.heads().len()), (3, 1, 0));
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

// === another address, the same again ===

#[tokio::test(flavor = "multi_thread")]
async fn another_address_of_the_gateway_is_tried_where_one_breaks_off() {
    let w = World::with_provider(MIB, limits(), |p| p.gateway_host = "gate.test".into()).await;
    // The same port on another address: it reads what it is asked and ends.
    let broken = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), w.upstream.addr.port())).await.unwrap();
    w.resolver.set("gate.test", [[127, 0, 0, 2], [127, 0, 0, 1]]);
    let edge = w.start().await;
    let ends = async {
        let (mut stream, _) = broken.accept().await.unwrap();
        read_head(&mut stream).await
    };
    let (asked, (mut c, head)) = tokio::join!(ends, connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD));
    assert_eq!(status(&head), 200, "{head}");
    assert!(asked.starts_with("CONNECT echo.test:443"), "{asked}");
    echoes(&mut c).await;
    assert_eq!(w.upstream.heads().len(), 1);
    drop(c);
    // One that answers is at fault by itself, wherever it is: a peer that failed is asked for again.
    let late = "HTTP/1.1 408 Request Timeout\r\nX-Brd-Err-Code: peer_30040\r\n\r\n";
    drop(broken);
    w.upstream.set(Mood::Once(late));
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    w.upstream.set(Mood::Says(late));
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 504, "{head}");
    assert_eq!(w.upstream.heads().len(), 1 + 2 + 2);
    assert!(w.assigner.asked.lock().unwrap().iter().all(|a| a.lost.is_none()));
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

// === requests in absolute form ===

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_a_kept_connection_survives_a_lost_address() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let asks: Vec<_> = (0..2).map(|n| request("GET", &format!("http://origin.test/{n}"), "")).collect();
    let mut received = 0;
    for (n, ask) in asks.iter().enumerate() {
        if n == 1 {
            w.upstream.set(Mood::Once(LOST));
        }
        c.write_all(ask.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut c).await;
        assert_eq!((status(&head), body.as_str()), (200, &*format!("GET http://origin.test/{n} HTTP/1.1")), "{head}");
        received += head.len() + body.len();
    }
    assert_eq!(w.upstream.heads().len(), 3);
    assert_eq!(w.assigner.asked.lock().unwrap().iter().filter(|a| a.lost.is_some()).count(), 1);
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    let sent = asks.concat().len();
    assert_eq!((rows.ingress, rows.egress, rows.connections), (sent as u64, received as u64, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_arrive_once_is_not_sent_again_once_some_of_it_was() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    for ask in [
        request("POST", "http://origin.test/x", ""),
        request("POST", "http://origin.test/x", "Content-Length: 5\r\n") + "hello",
        request("PATCH", "http://origin.test/x", "Content-Length: 0\r\n"),
        // It may arrive twice, but some of its body is gone.
        request("PUT", "http://origin.test/x", "Content-Length: 5\r\n") + "hello",
    ] {
        let before = w.upstream.heads().len();
        w.upstream.set(Mood::Once(LOST));
        let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
        c.write_all(ask.as_bytes()).await.unwrap();
        let (head, _) = answer(&mut c).await;
        assert_eq!(status(&head), 502, "{ask}: {head}");
        assert_eq!(w.upstream.heads().len(), before + 1, "{ask}");
    }
    // A body that has not begun is still here.
    let before = w.upstream.heads().len();
    w.upstream.set(Mood::Once(LOST));
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let ask = request("PUT", "http://origin.test/x", "Expect: 100-continue\r\nContent-Length: 5\r\n");
    c.write_all(ask.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut c).await), 100);
    c.write_all(b"hello").await.unwrap();
    let (head, body) = answer(&mut c).await;
    assert_eq!((status(&head), body.as_str()), (200, "PUT http://origin.test/x HTTP/1.1hello"), "{head}");
    assert_eq!(w.upstream.heads().len(), before + 2);
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_which_nothing_was_sent_goes_another_way_whole() {
    let good = Recorder::start().await;
    let (w, port) = pooled(&format!("u:p@{} pool=x\nv:q@{} pool=x\n", closed(), good.addr)).await;
    let edge = w.start().await;
    let ask = request("POST", "http://origin.test/x", "Content-Length: 5\r\n") + "hello";
    let mut c = TcpStream::connect(port).await.unwrap();
    c.write_all(ask.as_bytes()).await.unwrap();
    let (head, body) = answer(&mut c).await;
    assert_eq!(head + &body, ANSWER);
    drop(c);
    let seen = good.take().await;
    assert_eq!(seen.len(), 1);
    assert!(whole(&seen[0]) == Some(seen[0].len()) && seen[0].ends_with(b"\r\n\r\nhello"));
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (ask.len() as u64, ANSWER.len() as u64, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_not_sent_over_a_kept_connection_that_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (ended, has_ended) = oneshot::channel();
    let gateway = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        read_head(&mut first).await;
        first.write_all(ANSWER.as_bytes()).await.unwrap();
        drop(first);
        ended.send(()).unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        read_head(&mut second).await;
        second.write_all(ANSWER.as_bytes()).await.unwrap();
        // The next one is heard, and not answered: whether it was done nobody knows.
        let third = read_head(&mut second).await;
        drop(second);
        (third, listener)
    });
    let w = World::with_provider(MIB, limits(), |p| p.gateway_port = at.port()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    c.write_all(request("GET", "http://origin.test/1", "").as_bytes()).await.unwrap();
    assert_eq!(status(&answer(&mut c).await.0), 200);
    has_ended.await.unwrap();
    c.write_all(request("POST", "http://origin.test/2", "").as_bytes()).await.unwrap();
    assert_eq!(status(&answer(&mut c).await.0), 200);
    c.write_all(request("POST", "http://origin.test/3", "").as_bytes()).await.unwrap();
    assert_eq!(status(&answer(&mut c).await.0), 502);
    let (third, listener) = gateway.await.unwrap();
    assert!(third.starts_with("POST http://origin.test/3 "), "{third}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
    // All of the edge's connections were made by now: none of them is a third.
    let listener = listener.into_std().unwrap();
    assert!(listener.accept().is_err());
}
