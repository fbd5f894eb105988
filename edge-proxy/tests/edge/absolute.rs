//! Absolute-form requests: framing, keep-alive, what is passed on, what is counted.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::world::{PASSWORD, limits};
use crate::support::{World, basic, body_of, read_all, read_head, status};

/// Counts what it sends and reads.
struct Client {
    stream: TcpStream,
    sent: u64,
    received: u64,
}

impl Client {
    async fn open(edge: &tollgate_edge::Edge) -> Self {
        Self { stream: TcpStream::connect(edge.gateway_addr()).await.unwrap(), sent: 0, received: 0 }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.sent += text.len() as u64;
    }

    async fn answer(&mut self) -> (String, String) {
        let head = read_head(&mut self.stream).await;
        let body = body_of(&mut self.stream, &head).await;
        self.received += (head.len() + body.len()) as u64;
        (head, body)
    }
}

fn request(method: &str, url: &str, more: &str) -> String {
    let auth = basic("demo", PASSWORD);
    format!("{method} {url} HTTP/1.1\r\nHost: wrong.test\r\nProxy-Authorization: {auth}\r\n{more}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_each_other_and_every_byte_is_counted() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = Client::open(&edge).await;
    c.send(&request("GET", "http://origin.test/ip", "Connection: x-secret\r\nX-Secret: 1\r\nProxy-Extra: kept\r\n"))
        .await;
    let (head, body) = c.answer().await;
    assert_eq!(status(&head), 200, "{head}");
    assert_eq!(body, "GET http://origin.test/ip HTTP/1.1");
    c.send(&(request("POST", "http://origin.test:8080/x", "Content-Length: 5\r\n") + "hello")).await;
    assert!(c.answer().await.1.ends_with("HTTP/1.1hello"));
    let chunks = "3\r\nabc\r\n0\r\n\r\n";
    c.send(&(request("POST", "http://origin.test/x", "Transfer-Encoding: chunked\r\n") + chunks)).await;
    assert!(c.answer().await.1.ends_with(chunks));
    let (sent, received) = (c.sent, c.received);
    drop(c);
    edge.drain(Duration::from_secs(2)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (sent, received, 3));

    let heads = w.upstream.heads();
    assert_eq!(heads.len(), 3);
    let auth = basic("brd-customer-c_1-zone-isp-ip-203.0.113.7", "zone-password");
    for (head, host) in heads.iter().zip(["origin.test", "origin.test:8080", "origin.test"]) {
        assert!(head.contains(&format!("\r\nHost: {host}\r\n")), "{head}");
        assert_eq!(head.matches("Proxy-Authorization").count(), 1, "{head}");
        assert!(head.contains(&format!("\r\nProxy-Authorization: {auth}\r\n")), "{head}");
        assert!(!head.contains("wrong.test") && !head.contains("X-Secret"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_chunks_and_answers_until_close_arrive_whole() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = Client::open(&edge).await;
    c.send(&request("GET", "http://origin.test/chunked", "")).await;
    let head = read_head(&mut c.stream).await;
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let chunks = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
    let mut body = vec![0; chunks.len()];
    c.stream.read_exact(&mut body).await.unwrap();
    assert_eq!(body, chunks.as_bytes());
    // The same connection goes on; this answer ends it.
    c.send(&request("GET", "http://origin.test/close", "")).await;
    let rest = String::from_utf8(read_all(&mut c.stream).await).unwrap();
    assert!(rest.contains("Connection: close\r\n") && rest.ends_with("\r\n\r\nuntil close"), "{rest}");
    let received = head.len() + chunks.len() + rest.len();
    edge.drain(Duration::from_secs(2)).await.unwrap();
    assert_eq!(w.rows().await.egress, received as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_to_be_told_to_continue_is_told() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = Client::open(&edge).await;
    c.send(&request("POST", "http://origin.test/x", "Expect: 100-continue\r\nContent-Length: 5\r\n")).await;
    let (head, _) = c.answer().await;
    assert_eq!(status(&head), 100, "{head}");
    c.send("hello").await;
    let (head, body) = c.answer().await;
    assert_eq!(status(&head), 200, "{head}");
    assert!(body.ends_with("hello"), "{body}");
    let (sent, received) = (c.sent, c.received);
    drop(c);
    edge.drain(Duration::from_secs(2)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (sent, received));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ended_a_kept_connection_is_dialled_again() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = Client::open(&edge).await;
    c.send(&request("GET", "http://origin.test/once", "")).await;
    assert_eq!(status(&c.answer().await.0), 200);
    // The gateway closes after that answer; the client knows nothing of it.
    c.send(&request("GET", "http://origin.test/ip", "")).await;
    assert_eq!(status(&c.answer().await.0), 200);
    let (sent, received) = (c.sent, c.received);
    drop(c);
    edge.drain(Duration::from_secs(2)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (sent, received));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_ends_an_answer_at_the_exact_byte() {
    let ask = request("GET", "http://origin.test/ip", "");
    let w = World::new(ask.len() as u64 + 20, limits()).await;
    let edge = w.start().await;
    let mut c = Client::open(&edge).await;
    c.send(&ask).await;
    assert_eq!(read_all(&mut c.stream).await.len(), 20);
    edge.drain(Duration::from_secs(2)).await.unwrap();
    assert_eq!(w.rows().await.bytes(), ask.len() as u64 + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_two_framings_is_not_passed_on() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = Client::open(&edge).await;
    c.send(&request("GET", "http://origin.test/both", "")).await;
    let (head, _) = c.answer().await;
    assert_eq!(status(&head), 502, "{head}");
    assert!(head.contains("X-Tollgate-Error: UPSTREAM_CONNECT"), "{head}");
    // A client of HTTP/1.0 is not sent chunks it cannot read.
    let mut c = Client::open(&edge).await;
    c.send(&request("GET", "http://origin.test/chunked", "").replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(status(&c.answer().await.0), 502);
    assert!(w.upstream.heads().pop().unwrap().starts_with("GET http://origin.test/chunked HTTP/1.0\r\n"));
    edge.drain(Duration::from_secs(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_the_connection_open_for_the_next() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = Client::open(&edge).await;
    c.send("GET http://origin.test/ip HTTP/1.1\r\nHost: origin.test\r\n\r\n").await;
    let (head, _) = c.answer().await;
    assert_eq!(status(&head), 407, "{head}");
    c.send(&request("GET", "http://origin.test/ip", "")).await;
    let (head, _) = c.answer().await;
    assert_eq!(status(&head), 200, "{head}");
    edge.drain(Duration::from_secs(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_checked_against_a_ban() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = Client::open(&edge).await;
    c.send(&request("GET", "http://origin.test/ip", "")).await;
    assert_eq!(status(&c.answer().await.0), 200);
    w.ban().await;
    for _ in 0..400 {
        c.send(&request("GET", "http://origin.test/ip", "")).await;
        let (head, _) = c.answer().await;
        if status(&head) == 403 {
            assert!(head.contains("X-Tollgate-Error: BANNED"), "{head}");
            edge.drain(Duration::from_secs(2)).await.unwrap();
            return;
        }
        if status(&head) == 0 {
            // Ended in the middle of an answer, which may be.
            c = Client::open(&edge).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the ban was not heard of");
}
