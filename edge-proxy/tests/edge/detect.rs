//! One door for HTTP, SOCKS5 and TLS; and what a balancer in front of it may say.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_edge::Edge;
use tollgate_edge::config::Settings;

use crate::support::client::{answer, ask as http_connect, request};
use crate::support::socks::{self, CONNECT, SUCCEEDED};
use crate::support::tls::Identity;
use crate::support::world::{PASSWORD, limits};
use crate::support::{World, connect_from, read_all, read_n, status};

const ASK: &str = "GET /ip HTTP/1.1\r\nHost: edge.test\r\n\r\n";

async fn world() -> (World, Identity) {
    let mut w = World::new(1 << 24, limits()).await;
    let identity = Identity::write(w.dir.path(), "edge");
    w.config.tls = Some(identity.files());
    // Certificates lie beside the data folder, not in it.
    w.config.data_dir = w.dir.path().join("data");
    (w, identity)
}

async fn echoes<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: usize) {
    let sent = vec![b'e'; bytes];
    stream.write_all(&sent).await.unwrap();
    stream.flush().await.unwrap();
    assert!(read_n(stream, bytes).await == sent);
}

/// CONNECT, SOCKS5 and absolute-form over connections that `open` makes: what was sent and received.
async fn speaks_all<S: AsyncRead + AsyncWrite + Unpin>(open: impl AsyncFn() -> S) -> (u64, u64) {
    let mut c = open().await;
    assert_eq!(status(&http_connect(&mut c, "echo.test:443", "demo", PASSWORD).await), 200);
    echoes(&mut c, 50_000).await;
    drop(c);
    let mut c = open().await;
    assert_eq!(socks::ask(&mut c, ("demo", PASSWORD), &socks::request(CONNECT, "echo.test", 443)).await, SUCCEEDED);
    echoes(&mut c, 30_000).await;
    drop(c);
    let mut c = open().await;
    let asked = request("GET", "http://origin.test/x", "");
    c.write_all(asked.as_bytes()).await.unwrap();
    c.flush().await.unwrap();
    let (head, body) = answer(&mut c).await;
    assert_eq!((status(&head), body.as_str()), (200, "GET http://origin.test/x HTTP/1.1"));
    (80_000 + asked.len() as u64, 80_000 + (head.len() + body.len()) as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_speaks_http_socks_and_tls_and_counts_the_payload_alone() {
    let (w, identity) = world().await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    let plain = speaks_all(async || TcpStream::connect(at).await.unwrap()).await;
    let inside = speaks_all(async || identity.trusting(TcpStream::connect(at).await.unwrap()).await.unwrap()).await;
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (plain.0 + inside.0, plain.1 + inside.1, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_for_tls_speaks_nothing_else() {
    let (w, identity) = world().await;
    let (edge, tls) = w.start_tls().await;
    let inside = speaks_all(async || identity.trusting(TcpStream::connect(tls).await.unwrap()).await.unwrap()).await;
    let mut c = TcpStream::connect(tls).await.unwrap();
    c.write_all(ASK.as_bytes()).await.unwrap();
    let said = read_all(&mut c).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    let mut c = TcpStream::connect(tls).await.unwrap();
    c.write_all(&socks::GREETING).await.unwrap();
    assert!(!read_all(&mut c).await.starts_with(&[5]));
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), inside);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_tls_is_closed() {
    let w = World::new(1 << 20, limits()).await;
    let identity = Identity::write(w.dir.path(), "nobody");
    let edge = w.start().await;
    identity.trusting(TcpStream::connect(edge.gateway_addr()).await.unwrap()).await.unwrap_err();
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

fn settings(w: &World, edge: &Edge) -> Settings {
    Settings {
        edge: w.config.clone(),
        listen: vec![edge.gateway_addr()],
        tls_listen: Vec::new(),
        admin: edge.admin_addr(),
        drain: Duration::from_secs(1),
        table_prefix: "t-".into(),
        assign_function: "assign".into(),
        pepper_secret: "pepper".into(),
        secret_prefix: "secrets/".into(),
        effective: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_shows_the_new_certificate_and_leaves_tunnels_alone() {
    let (w, old) = world().await;
    let edge = w.start().await;
    let dial = || TcpStream::connect(edge.gateway_addr());
    let mut c = old.trusting(dial().await.unwrap()).await.unwrap();
    assert_eq!(status(&http_connect(&mut c, "echo.test:443", "demo", PASSWORD).await), 200);
    let new = Identity::write(w.dir.path(), "edge");
    new.trusting(dial().await.unwrap()).await.unwrap_err();
    edge.reload(&settings(&w, &edge));
    drop(new.trusting(dial().await.unwrap()).await.unwrap());
    old.trusting(dial().await.unwrap()).await.unwrap_err();
    echoes(&mut c, 10_000).await;
    // A file that is no certificate changes nothing.
    std::fs::write(&new.certificate, "nonsense").unwrap();
    edge.reload(&settings(&w, &edge));
    drop(new.trusting(dial().await.unwrap()).await.unwrap());
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_protocol_is_closed_without_a_word() {
    let (w, identity) = world().await;
    let edge = w.start().await;
    for first in [0x00_u8, 0x03, 0x06, 0x15, 0x17, b' ', 0x80, 0xff] {
        let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
        c.write_all(&[first]).await.unwrap();
        assert!(read_all(&mut c).await.is_empty(), "{first:#04x}");
    }
    // TLS within TLS neither.
    let mut c = identity.trusting(TcpStream::connect(edge.gateway_addr()).await.unwrap()).await.unwrap();
    c.write_all(&[0x16, 3, 1, 0, 0]).await.unwrap();
    c.flush().await.unwrap();
    assert!(read_all(&mut c).await.is_empty());
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

// === the PROXY protocol ===

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 51000 443\r\n";

/// A header of version 2 for 192.0.2.8, or for the balancer itself.
fn v2(command: u8) -> Vec<u8> {
    let mut out = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    out.extend_from_slice(&[command, 0x11, 0, 12, 192, 0, 2, 8, 192, 0, 2, 1, 0xc7, 0x38, 1, 0xbb]);
    out
}

/// A world that trusts balancers at 127.1.0.0/16.
async fn balanced() -> (World, Identity) {
    let (mut w, identity) = world().await;
    w.config.proxy_trusted = vec!["127.1.0.0/16".parse().unwrap()];
    (w, identity)
}

const TRUSTED: [u8; 4] = [127, 1, 0, 1];

/// What comes back for these bytes, up to the end.
async fn said(source: [u8; 4], at: SocketAddr, bytes: &[u8]) -> String {
    let mut c = connect_from(source, at).await;
    c.write_all(bytes).await.unwrap();
    // A connection that goes on after its answer ends with its client.
    let _ = c.shutdown().await;
    String::from_utf8(read_all(&mut c).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_balancer_says_where_a_client_comes_from() {
    let (w, identity) = balanced().await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    for (header, source) in [
        (V1.to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 443\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.1.0.1"),
        (v2(0x21), "192.0.2.8"),
        (v2(0x20), "127.1.0.1"),
    ] {
        let answer = said(TRUSTED, at, &[&header[..], ASK.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{source}\n")), "{answer}");
    }
    // Byte by byte, and before TLS as well.
    let mut c = connect_from(TRUSTED, at).await;
    c.set_nodelay(true).unwrap();
    for byte in V1 {
        c.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut c = identity.trusting(c).await.unwrap();
    c.write_all(ASK.as_bytes()).await.unwrap();
    c.flush().await.unwrap();
    assert_eq!(answer(&mut c).await.1, "192.0.2.7\n");
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_count_against_the_client_and_not_against_its_balancer() {
    let (w, _) = balanced().await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    let login = async |header: &[u8], password: &str| {
        let mut c = connect_from(TRUSTED, at).await;
        c.write_all(header).await.unwrap();
        status(&http_connect(&mut c, "echo.test:443", "demo", password).await)
    };
    for _ in 0..10 {
        assert_eq!(login(V1, "wrong").await, 407);
    }
    assert_eq!(login(V1, PASSWORD).await, 407, "blocked");
    assert_eq!(login(&v2(0x21)[..], PASSWORD).await, 200, "another client of the same balancer");
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_peer_without_a_header_is_closed() {
    let (w, _) = balanced().await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    let broken = [
        ASK.as_bytes().to_vec(),
        socks::GREETING.to_vec(),
        [&b"PROXY TCP4 192.0.2.7 192.0.2.1 51000 x\r\n"[..], ASK.as_bytes()].concat(),
        [&b"PROXY TCP4 192.0.2.7\r\n"[..], ASK.as_bytes()].concat(),
        [&v2(0x22)[..], ASK.as_bytes()].concat(),
    ];
    for bytes in broken {
        assert_eq!(said(TRUSTED, at, &bytes).await, "");
    }
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_a_header_is_not_believed() {
    let (w, _) = balanced().await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    for header in [V1.to_vec(), v2(0x21)] {
        let answer = said([127, 0, 0, 1], at, &[&header[..], ASK.as_bytes()].concat()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(!answer.contains("192.0.2."), "{answer}");
    }
    edge.drain(Duration::from_secs(1)).await.unwrap();
}
