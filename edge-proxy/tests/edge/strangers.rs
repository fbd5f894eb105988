//! Connections that have not authenticated: so many of one source, and no more.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tollgate_domain::refusal::Code;
use tollgate_edge::Edge;

use crate::support::client::{answer, ask};
use crate::support::metrics::metric;
use crate::support::socks;
use crate::support::world::{PASSWORD, limits};
use crate::support::{World, basic, connect_from, eventually, read_all, status};

const ASK: &str = "GET /ip HTTP/1.1\r\nHost: edge.test\r\n\r\n";
const CROWD: [u8; 4] = [127, 0, 0, 9];
const OTHER: [u8; 4] = [127, 0, 0, 8];
const BALANCER: [u8; 4] = [127, 1, 0, 1];

async fn start(most: usize) -> (World, Edge) {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.max_unauthenticated_per_source = most;
    w.config.proxy_trusted = vec!["127.1.0.0/16".parse().unwrap()];
    let edge = w.start().await;
    (w, edge)
}

/// A connection that asks what needs no credentials, after `header`, and stays; none if it is closed
/// without a byte.
async fn stranger(source: [u8; 4], at: SocketAddr, header: &str) -> Option<TcpStream> {
    let mut c = connect_from(source, at).await;
    // The edge may have closed it already.
    let _ = c.write_all(format!("{header}{ASK}").as_bytes()).await;
    let (head, body) = answer(&mut c).await;
    if head.is_empty() {
        assert!(read_all(&mut c).await.is_empty());
        return None;
    }
    assert_eq!(status(&head), 200, "{head}{body}");
    Some(c)
}

fn refused(edge: &Edge) -> u64 {
    edge.snapshot().refusals.iter().find(|(code, _)| *code == Code::IpLimit).map_or(0, |(_, n)| *n)
}

async fn strangers(edge: &Edge) -> u64 {
    metric(edge.admin_addr(), "unauthenticated_connections").await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_too_many_is_closed_without_a_byte_and_another_source_is_not() {
    let (_w, edge) = start(3).await;
    let at = edge.gateway_addr();
    let mut crowd = Vec::new();
    for _ in 0..3 {
        crowd.push(stranger(CROWD, at, "").await.unwrap());
    }
    for n in 1..=5 {
        assert!(stranger(CROWD, at, "").await.is_none());
        assert_eq!(refused(&edge), n);
    }
    // Also without a word of its own: it waits for no timeout.
    assert!(read_all(&mut connect_from(CROWD, at).await).await.is_empty());
    assert_eq!((refused(&edge), strangers(&edge).await), (6, 3));
    assert!(stranger(OTHER, at, "").await.is_some());
    // Those that are there go on.
    for c in &mut crowd {
        c.write_all(ASK.as_bytes()).await.unwrap();
        assert_eq!(status(&answer(c).await.0), 200);
    }
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_authenticates_or_ends_makes_room_for_one() {
    let (_w, edge) = start(3).await;
    let at = edge.gateway_addr();
    let mut crowd = Vec::new();
    for _ in 0..3 {
        crowd.push(stranger(CROWD, at, "").await.unwrap());
    }
    assert!(stranger(CROWD, at, "").await.is_none());
    let mut tunnel = crowd.pop().unwrap();
    assert_eq!(status(&ask(&mut tunnel, "echo.test:443", "demo", PASSWORD).await), 200);
    crowd.push(stranger(CROWD, at, "").await.unwrap());
    assert!(stranger(CROWD, at, "").await.is_none(), "it made room for one");
    // A tunnel that ends was released before: no more room comes of it.
    drop(tunnel);
    eventually("the tunnel ends", || async { edge.snapshot().open_connections == 3 }).await;
    assert!(stranger(CROWD, at, "").await.is_none());
    drop(crowd.pop());
    eventually("a stranger is gone", || async { edge.snapshot().open_connections == 2 }).await;
    crowd.push(stranger(CROWD, at, "").await.unwrap());
    assert!(stranger(CROWD, at, "").await.is_none());
    // A wrong password is no authentication, and its connection may go on.
    let auth = basic("demo", "wrong");
    let wrong = format!("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nProxy-Authorization: {auth}\r\n\r\n");
    crowd[0].write_all(wrong.as_bytes()).await.unwrap();
    assert_eq!(status(&answer(&mut crowd[0]).await.0), 407);
    assert!(stranger(CROWD, at, "").await.is_none());
    assert_eq!(strangers(&edge).await, 3);
    drop(crowd);
    eventually("all are gone", || async { strangers(&edge).await == 0 }).await;
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socks_client_is_no_stranger_from_its_password_on() {
    let (_w, edge) = start(2).await;
    let at = edge.gateway_addr();
    let mut known = Vec::new();
    for _ in 0..5 {
        let mut c = connect_from(CROWD, at).await;
        socks::enter(&mut c, "demo", PASSWORD).await;
        known.push(c);
    }
    assert_eq!((refused(&edge), strangers(&edge).await), (0, 0));
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_balancer_the_source_is_the_one_it_names() {
    let (_w, edge) = start(2).await;
    let at = edge.gateway_addr();
    let v4 = |n: u8| format!("PROXY TCP4 192.0.2.{n} 192.0.2.1 51000 443\r\n");
    let v6 = |ip: &str| format!("PROXY TCP6 {ip} 2001:db8::1 51000 443\r\n");
    let mut held = Vec::new();
    for header in [v4(7), v4(7), v4(8), v6("2001:db8:1:2::1"), v6("2001:db8:1:2:f::2"), v6("2001:db8:1:3::1")] {
        held.push(stranger(BALANCER, at, &header).await.expect("it is closed"));
    }
    // A mapped address is the same subscriber as its IPv4 one.
    for header in [v4(7), v6("2001:db8:1:2::3"), v6("::ffff:192.0.2.7")] {
        assert!(stranger(BALANCER, at, &header).await.is_none(), "{header}");
    }
    assert_eq!(refused(&edge), 3);
    // The balancer for itself is a source like another.
    let itself = "PROXY UNKNOWN\r\n";
    for _ in 0..2 {
        held.push(stranger(BALANCER, at, itself).await.unwrap());
    }
    assert!(stranger(BALANCER, at, itself).await.is_none());
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_is_no_limit_and_every_end_is_counted_out() {
    let (_w, edge) = start(0).await;
    let at = edge.gateway_addr();
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(stranger(CROWD, at, "").await.unwrap());
    }
    assert_eq!((refused(&edge), strangers(&edge).await), (0, 40));
    drop(held);
    // No protocol, TLS without a certificate, SOCKS4, half a frame, a head that is none, a wrong
    // password in SOCKS, a target that is refused.
    let denied = format!("CONNECT 127.0.0.1:1 HTTP/1.1\r\nProxy-Authorization: {}\r\n\r\n", basic("demo", PASSWORD));
    let wrong = [&socks::GREETING[..], &socks::credentials("demo", "wrong")].concat();
    let ends: [&[u8]; 7] =
        [b"\x80", b"\x16\x03\x01\x02\x00\x01", b"\x04\x01", b"\x05", b"GET\r\n\r\n", &wrong, denied.as_bytes()];
    for bytes in ends {
        let mut c = connect_from(CROWD, at).await;
        let _ = c.write_all(bytes).await;
        let _ = c.shutdown().await;
        read_all(&mut c).await;
    }
    eventually("nobody is left", || async { strangers(&edge).await == 0 }).await;
    eventually("no connection is left", || async { edge.snapshot().open_connections == 0 }).await;
    edge.drain(Duration::from_secs(1)).await.unwrap();
}
