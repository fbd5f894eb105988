//! Requests in a row: one after the other, all at once, behind a refusal, behind a body.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::{answer, request, said};
use crate::support::recorder::{ANSWER, Recorder};
use crate::support::upstream::Mood;
use crate::support::world::{PASSWORD, limits};
use crate::support::{World, basic, read_all, read_head, status};

const MIB: u64 = 1 << 20;

/// RFC 9931: what was sent in the hope of a tunnel is no request.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_refused_connect_is_not_processed() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let auth = basic("demo", PASSWORD);
    for (connect, expected) in [
        (format!("CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: 10.0.0.1\r\nProxy-Authorization: {auth}\r\n\r\n"), 403),
        ("CONNECT echo.test:443 HTTP/1.1\r\nHost: echo.test\r\n\r\n".to_owned(), 407),
        (format!("CONNECT echo.test HTTP/1.1\r\nHost: echo.test\r\nProxy-Authorization: {auth}\r\n\r\n"), 400),
    ] {
        let next = request("GET", "http://origin.test/smuggled", "");
        let text = said(&edge, &format!("{connect}{next}")).await;
        assert_eq!(status(&text), expected, "{text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    }
    assert!(w.upstream.heads().is_empty());
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!((w.rows().await.bytes(), w.rows().await.connections), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_one_segment_are_answered_in_order() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let asks: Vec<_> = (0..3).map(|n| request("GET", &format!("http://origin.test/{n}"), "")).collect();
    let posted = request("POST", "http://origin.test/3", "Content-Length: 4\r\n") + "body";
    let all = asks.concat() + &posted + &asks[0];
    c.write_all(all.as_bytes()).await.unwrap();
    let mut received = 0;
    for body in [
        "GET http://origin.test/0 HTTP/1.1",
        "GET http://origin.test/1 HTTP/1.1",
        "GET http://origin.test/2 HTTP/1.1",
        "POST http://origin.test/3 HTTP/1.1body",
        "GET http://origin.test/0 HTTP/1.1",
    ] {
        let (head, said) = answer(&mut c).await;
        assert_eq!((status(&head), said.as_str()), (200, body), "{head}");
        received += head.len() + said.len();
    }
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (all.len() as u64, received as u64, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_for_as_long_as_both_want() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    for n in 0..60 {
        c.write_all(request("GET", &format!("http://origin.test/{n}"), "").as_bytes()).await.unwrap();
        let (head, body) = answer(&mut c).await;
        assert_eq!((status(&head), body), (200, format!("GET http://origin.test/{n} HTTP/1.1")), "{head}");
    }
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.rows().await.connections, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_others_follow_too_early_is_answered_all_the_same() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let more = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n";
    c.write_all(request("POST", "http://origin.test/x", more).as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut c).await), 100);
    // Body and next request in one segment: where one ends is seen only when both are read.
    let chunks = "3\r\nabc\r\n0\r\n\r\n";
    c.write_all(format!("{chunks}{}", request("GET", "http://origin.test/y", "")).as_bytes()).await.unwrap();
    let (head, body) = answer(&mut c).await;
    assert_eq!((status(&head), body), (200, format!("POST http://origin.test/x HTTP/1.1{chunks}")), "{head}");
    // The second is not guessed at: its client asks again.
    assert!(read_all(&mut c).await.is_empty());
    assert_eq!(w.upstream.heads().len(), 1);
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_both_ways() {
    let gateway = Recorder::start().await;
    let at = gateway.addr;
    let w = World::with_provider(MIB, limits(), |p| p.gateway_port = at.port()).await;
    let edge = w.start().await;
    let body = "3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n";
    let asked = request("POST", "http://origin.test/x", "TE: trailers\r\nTransfer-Encoding: chunked\r\n") + body;
    assert_eq!(said(&edge, &asked).await, ANSWER);
    let seen = String::from_utf8(gateway.take().await.remove(0)).unwrap();
    assert!(seen.ends_with(&format!("\r\n\r\n{body}")), "{seen}");
    edge.drain(Duration::from_secs(1)).await.unwrap();

    let answered = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n";
    let w = World::new(MIB, limits()).await;
    w.upstream.set(Mood::Says(answered));
    let edge = w.start().await;
    assert_eq!(said(&edge, &request("GET", "http://origin.test/x", "")).await, answered);
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!(w.rows().await.egress, answered.len() as u64);
}
