//! What HTTP asks of a proxy: requests for itself, hops, loops, protocols that switch.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::{answer, request, said};
use crate::support::ports::direct;
use crate::support::upstream::{Mood, SWITCHED};
use crate::support::world::{PASSWORD, limits};
use crate::support::{World, basic, read_all, read_head, read_n, status};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_answers_for_itself_without_credentials_and_without_cost() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    for (ask, body) in [
        ("GET /ip HTTP/1.1\r\nHost: edge.test\r\n\r\n", "127.0.0.1\n"),
        ("OPTIONS * HTTP/1.1\r\nHost: edge.test\r\n\r\n", ""),
        ("GET /ip HTTP/1.1\r\nHost: edge.test\r\n\r\n", "127.0.0.1\n"),
    ] {
        c.write_all(ask.as_bytes()).await.unwrap();
        let (head, said) = answer(&mut c).await;
        assert_eq!((status(&head), said.as_str()), (200, body), "{head}");
        assert_eq!(head.contains("\r\nAllow: CONNECT, GET"), ask.starts_with("OPTIONS"), "{head}");
    }
    assert_eq!(status(&said(&edge, "GET /elsewhere HTTP/1.1\r\nHost: edge.test\r\n\r\n").await), 400);
    assert!(w.upstream.heads().is_empty());
    drop(c);
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!((w.rows().await.bytes(), w.rows().await.connections), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hops_are_counted_down_and_the_last_one_answers() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let text = said(&edge, &request("OPTIONS", "http://origin.test/x", "Max-Forwards: 0\r\n")).await;
    assert!(status(&text) == 200 && text.contains("\r\nAllow: "), "{text}");
    assert!(w.upstream.heads().is_empty());
    let text = said(&edge, &request("OPTIONS", "http://origin.test/x", "Max-Forwards: 5\r\n")).await;
    assert_eq!(status(&text), 200, "{text}");
    // For others it means nothing, and is left as it is.
    said(&edge, &request("GET", "http://origin.test/x", "Max-Forwards: 0\r\n")).await;
    let heads = w.upstream.heads();
    assert_eq!(heads.len(), 2);
    assert!(heads[0].contains("\r\nMax-Forwards: 4\r\n") && !heads[0].contains("Max-Forwards: 5"), "{}", heads[0]);
    assert!(heads[1].contains("\r\nMax-Forwards: 0\r\n"), "{}", heads[1]);
    let text = said(&edge, &request("TRACE", "http://origin.test/x", "Max-Forwards: 3\r\n")).await;
    assert!(status(&text) == 405 && text.contains("\r\nAllow: "), "{text}");
    assert_eq!(w.upstream.heads().len(), 2);
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn this_hop_is_not_told_unless_it_has_a_name() {
    let mut w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let text = said(&edge, &request("GET", "http://origin.test/x", "Via: 1.1 before\r\n")).await;
    assert!(status(&text) == 200 && !text.contains("Via:"), "{text}");
    let head = w.upstream.heads().pop().unwrap();
    assert_eq!(head.matches("Via: ").count(), 1, "{head}");
    assert!(!head.to_ascii_lowercase().contains("x-forwarded") && !head.contains("Forwarded"), "{head}");
    edge.drain(Duration::from_secs(1)).await.unwrap();

    w.config.via = Some("edge1".into());
    let edge = w.start().await;
    let text = said(&edge, &request("GET", "http://origin.test/x", "Via: 1.1 before\r\n")).await;
    assert!(status(&text) == 200 && text.contains("\r\nVia: 1.1 edge1\r\n"), "{text}");
    let head = w.upstream.heads().pop().unwrap();
    let (before, ours) = (head.find("\r\nVia: 1.1 before\r\n").unwrap(), head.find("\r\nVia: 1.1 edge1\r\n").unwrap());
    assert!(before < ours, "{head}");
    let seen = w.upstream.heads().len();
    for via in ["1.1 edge1", "1.0 other, 1.1 Edge1 (x)", "1.1 other\r\nVia: HTTP/1.1 edge1"] {
        let text = said(&edge, &request("GET", "http://origin.test/x", &format!("Via: {via}\r\n"))).await;
        assert_eq!(status(&text), 508, "{via}: {text}");
        assert!(text.contains("X-Tollgate-Error: LOOP\r\n"), "{text}");
    }
    assert_eq!(w.upstream.heads().len(), seen);
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_become_another_protocol_and_every_byte_is_counted() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let ask = request("GET", "http://origin.test/switch", "Connection: Upgrade\r\nUpgrade: raw\r\n");
    // What follows the request at once belongs to the new protocol.
    c.write_all(format!("{ask}early").as_bytes()).await.unwrap();
    let head = read_head(&mut c).await;
    assert_eq!(head, SWITCHED);
    assert_eq!(read_n(&mut c, 5).await, b"early");
    let sent = vec![0xf7; 100_000];
    let (mut r, mut s) = c.split();
    let (written, back) = tokio::join!(s.write_all(&sent), read_n(&mut r, sent.len()));
    written.unwrap();
    assert!(back == sent);
    c.shutdown().await.unwrap();
    assert!(read_all(&mut c).await.is_empty());
    let seen = w.upstream.heads().pop().unwrap();
    assert!(seen.contains("\r\nUpgrade: raw\r\n") && seen.ends_with("\r\nConnection: Upgrade\r\n\r\n"), "{seen}");
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    let moved = 5 + sent.len() as u64;
    assert_eq!((rows.ingress, rows.egress), (ask.len() as u64 + moved, head.len() as u64 + moved));
    assert_eq!(rows.connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_nobody_asked_for_is_not_passed_on() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let text = said(&edge, &request("GET", "http://origin.test/switch", "")).await;
    assert_eq!(status(&text), 502, "{text}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn host_is_there_exactly_once() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let auth = basic("demo", PASSWORD);
    let with = |version: &str, host: &str| {
        format!("GET http://origin.test/x HTTP/{version}\r\nProxy-Authorization: {auth}\r\n{host}\r\n")
    };
    assert_eq!(status(&said(&edge, &with("1.1", "")).await), 400);
    assert_eq!(status(&said(&edge, &with("1.1", "Host: origin.test\r\nHost: origin.test\r\n")).await), 400);
    assert_eq!(status(&said(&edge, &with("1.1", "Host: a.test\r\nhost: b.test\r\n")).await), 400);
    assert!(w.upstream.heads().is_empty());
    // HTTP/1.0 knows no Host; the upstream gets one all the same.
    assert_eq!(status(&said(&edge, &with("1.0", "")).await), 200);
    let head = w.upstream.heads().pop().unwrap();
    assert_eq!(head.matches("\r\nHost: origin.test\r\n").count(), 1, "{head}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_asks_for_the_proxys_credentials_is_not_heard() {
    let mut w = World::new(MIB, limits()).await;
    let door = direct(&mut w);
    w.resolver.set("origin.test", [[127, 0, 0, 1]]);
    w.upstream.set(Mood::Says(
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
    ));
    let edge = w.start().await;
    let mut c = TcpStream::connect(door).await.unwrap();
    let url = format!("http://origin.test:{}/x", w.upstream.addr.port());
    c.write_all(request("GET", &url, "").as_bytes()).await.unwrap();
    let (head, body) = answer(&mut c).await;
    assert_eq!(status(&head), 502, "{head}");
    assert!(!head.contains("Proxy-Authenticate"), "{head}{body}");
    // It was asked as an origin, and told nothing of how we were.
    let seen = w.upstream.heads().pop().unwrap();
    assert!(seen.starts_with("GET /x HTTP/1.1\r\n") && !seen.contains("Proxy-Authorization"), "{seen}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
}
