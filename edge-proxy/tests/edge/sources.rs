//! Source addresses that customers list: they name an account without a password, or guard one.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::allow::{AllowEntry, AllowNet};
use tollgate_domain::customer::AuthMode;
use tollgate_edge::Edge;
use tollgate_store::allow::Allowed;

use crate::support::client::{answer, ask};
use crate::support::socks::{self, CONNECT, SUCCEEDED};
use crate::support::world::{PASSWORD, demo, limits};
use crate::support::{World, connect_from, eventually, read_all, read_head, read_n, status};

const LISTED: [u8; 4] = [127, 0, 0, 9];
const UNLISTED: [u8; 4] = [127, 0, 0, 8];

fn net(ip: [u8; 4]) -> AllowNet {
    AllowNet::of(Ipv4Addr::from(ip).into())
}

async fn list(w: &World, ip: [u8; 4]) {
    let entry = AllowEntry { net: net(ip), customer: demo(), note: String::new(), created_at: w.now() };
    let added = w.store.allow_add(&entry, 10, w.now()).await.unwrap();
    assert!(matches!(added, Allowed::Added(_)), "{added:?}");
}

async fn unlist(w: &World, ip: [u8; 4]) {
    assert!(w.store.allow_remove(&demo(), &net(ip), w.now()).await.unwrap().is_some());
}

async fn set(w: &World, mode: AuthMode) {
    w.store.set_auth(&demo(), mode, w.now()).await.unwrap().unwrap();
}

/// A world that lists [`LISTED`].
async fn world(mode: AuthMode) -> (World, Edge) {
    let w = World::new(1 << 20, limits()).await;
    list(&w, LISTED).await;
    if mode != AuthMode::Either {
        set(&w, mode).await;
    }
    let edge = w.start().await;
    (w, edge)
}

const BARE: &str = "CONNECT echo.test:443 HTTP/1.1\r\nHost: echo.test\r\n\r\n";

/// A CONNECT without credentials.
async fn bare(edge: &Edge, source: [u8; 4]) -> (TcpStream, String) {
    let mut c = connect_from(source, edge.gateway_addr()).await;
    c.write_all(BARE.as_bytes()).await.unwrap();
    let head = read_head(&mut c).await;
    (c, head)
}

/// A CONNECT with a password.
async fn with(edge: &Edge, source: [u8; 4], password: &str) -> (TcpStream, String) {
    let mut c = connect_from(source, edge.gateway_addr()).await;
    let head = ask(&mut c, "echo.test:443", "demo", password).await;
    (c, head)
}

/// SOCKS5 without credentials, up to the answer to its greeting.
async fn bare_socks(edge: &Edge, source: [u8; 4]) -> (TcpStream, Vec<u8>) {
    let mut c = connect_from(source, edge.gateway_addr()).await;
    c.write_all(&[5, 1, 0]).await.unwrap();
    let said = read_n(&mut c, 2).await;
    (c, said)
}

async fn pings(c: &mut TcpStream) {
    c.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    c.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_source_needs_no_credentials_over_http() {
    let (w, edge) = world(AuthMode::Either).await;
    let (mut c, head) = bare(&edge, LISTED).await;
    assert_eq!(status(&head), 200, "{head}");
    pings(&mut c).await;
    let (_c, head) = bare(&edge, UNLISTED).await;
    assert_eq!(status(&head), 407, "{head}");
    assert!(head.contains("\r\nProxy-Authenticate: Basic "), "{head}");
    // Requests as well.
    let get = "GET http://origin.test/x HTTP/1.1\r\nHost: origin.test\r\n\r\n";
    for (source, expected) in [(LISTED, 200), (UNLISTED, 407)] {
        let mut c = connect_from(source, edge.gateway_addr()).await;
        c.write_all(get.as_bytes()).await.unwrap();
        assert_eq!(status(&answer(&mut c).await.0), expected, "{source:?}");
    }
    // Nobody named a line: it is the default one, and its bytes are the customer's.
    assert_eq!(w.assigner.asked.lock().unwrap()[0].line.label.as_str(), "default");
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.rows().await.connections, 2);
    assert_eq!(w.rows().await.ingress, 4 + get.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_source_needs_no_credentials_over_socks5() {
    let (w, edge) = world(AuthMode::Either).await;
    let (mut c, said) = bare_socks(&edge, LISTED).await;
    assert_eq!(said, [5, 0]);
    c.write_all(&socks::request(CONNECT, "echo.test", 443)).await.unwrap();
    assert_eq!(read_n(&mut c, 10).await, SUCCEEDED);
    pings(&mut c).await;
    let (_c, said) = bare_socks(&edge, UNLISTED).await;
    assert_eq!(said, [5, 0xff]);
    // Who offers both is asked for the password.
    let mut both = connect_from(LISTED, edge.gateway_addr()).await;
    both.write_all(&[5, 2, 0, 2]).await.unwrap();
    assert_eq!(read_n(&mut both, 2).await, [5, 2]);
    drop((c, both));
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_sent_decide() {
    let (_w, edge) = world(AuthMode::Either).await;
    let (_c, head) = with(&edge, LISTED, "wrong").await;
    assert_eq!(status(&head), 407, "{head}");
    let (_c, head) = with(&edge, LISTED, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let (_c, head) = with(&edge, UNLISTED, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_ask_for_both() {
    let (_w, edge) = world(AuthMode::Both).await;
    let (_c, head) = with(&edge, UNLISTED, PASSWORD).await;
    assert_eq!(status(&head), 403, "{head}");
    assert!(head.contains("X-Tollgate-Error: IP_NOT_ALLOWED\r\n"), "{head}");
    let (_c, head) = bare(&edge, LISTED).await;
    assert_eq!(status(&head), 407, "{head}");
    let (_c, head) = with(&edge, LISTED, "wrong").await;
    assert_eq!(status(&head), 407, "{head}");
    let (_c, head) = with(&edge, LISTED, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    // Over SOCKS5 too; where a password is judged there is no other word than no.
    let mut c = connect_from(LISTED, edge.gateway_addr()).await;
    let asked = socks::request(CONNECT, "echo.test", 443);
    assert_eq!(socks::ask(&mut c, ("demo", PASSWORD), &asked).await, SUCCEEDED);
    let mut c = connect_from(UNLISTED, edge.gateway_addr()).await;
    c.write_all(&[&socks::GREETING[..], &socks::credentials("demo", PASSWORD)].concat()).await.unwrap();
    assert_eq!(read_all(&mut c).await, [5, 2, 1, 1]);
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_ask_for_one_alone() {
    let (w, edge) = world(AuthMode::Password).await;
    let (_c, head) = bare(&edge, LISTED).await;
    assert_eq!(status(&head), 407, "{head}");
    let (_c, head) = with(&edge, UNLISTED, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    set(&w, AuthMode::Source).await;
    eventually("the source is asked for", || async { status(&with(&edge, UNLISTED, PASSWORD).await.1) == 403 }).await;
    let (_c, head) = bare(&edge, LISTED).await;
    assert_eq!(status(&head), 200, "{head}");
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_later_passes_soon() {
    let (w, edge) = world(AuthMode::Either).await;
    let (_c, head) = bare(&edge, UNLISTED).await;
    assert_eq!(status(&head), 407, "{head}");
    list(&w, UNLISTED).await;
    eventually("it passes", || async { status(&bare(&edge, UNLISTED).await.1) == 200 }).await;
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_removed_takes_its_tunnels_with_it() {
    let (w, edge) = world(AuthMode::Either).await;
    let (mut by_source, head) = bare(&edge, LISTED).await;
    assert_eq!(status(&head), 200, "{head}");
    let (mut by_password, head) = with(&edge, LISTED, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    pings(&mut by_source).await;
    pings(&mut by_password).await;
    unlist(&w, LISTED).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), read_all(&mut by_source)).await;
    assert!(ended.expect("the tunnel goes on").is_empty());
    eventually("the door is shut", || async { status(&bare(&edge, LISTED).await.1) == 407 }).await;
    // A password was enough for this one, and is.
    pings(&mut by_password).await;
    drop((by_source, by_password));
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (12, 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_asks_for_both_loses_the_tunnels_of_a_removed_entry() {
    let (w, edge) = world(AuthMode::Both).await;
    let (mut c, head) = with(&edge, LISTED, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    pings(&mut c).await;
    unlist(&w, LISTED).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), read_all(&mut c)).await;
    assert!(ended.expect("the tunnel goes on").is_empty());
    edge.drain(Duration::from_secs(5)).await.unwrap();
}
