//! The admin listener.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::provider::Provider;
use tollgate_edge::{Edge, StartError};
use tollgate_engine::{Fault, Faults, Step};
use tollgate_store::Store;

use crate::support::exposition::{Exposition, Family};
use crate::support::ports::{FIRST, with_rows};
use crate::support::socks::{self, UDP_ASSOCIATE};
use crate::support::upstream::Mood;
use crate::support::world::{NOON, PASSWORD, limits, plan_bucket, provider};
use crate::support::{World, connect, eventually, read_all, status};

const REFUSES_US: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
const LEASE: &[(&str, &str)] = &[("kind", "lease")];
const USAGE: &[(&str, &str)] = &[("kind", "usage")];

async fn get(edge: &Edge, path: &str) -> String {
    let mut c = TcpStream::connect(edge.admin_addr()).await.unwrap();
    c.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    String::from_utf8(read_all(&mut c).await).unwrap()
}

async fn metrics(edge: &Edge) -> Exposition {
    let answer = get(edge, "/metrics").await;
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    Exposition::parse(page).unwrap_or_else(|wrong| panic!("{wrong}\nin\n{page}"))
}

/// An address where nobody listens, and nobody else can while the socket lives.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let at = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, at)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics_are_served() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let (_c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200);
    connect(edge.gateway_addr(), "silent.test:1", "demo", "wrong").await;
    assert!(get(&edge, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(&edge, "/readyz").await.ends_with("ready\n"));
    assert!(get(&edge, "/other").await.starts_with("HTTP/1.1 404"));
    let page = get(&edge, "/metrics").await;
    for line in [
        "tollgate_edge_open_tunnels 1",
        "tollgate_edge_refusals_total{code=\"AUTH_FAILED\"} 1",
        "tollgate_edge_active_customers 1",
        "tollgate_edge_journal_slots_in_use{kind=\"usage\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} in {page}");
    }
    assert!(!page.contains(PASSWORD));
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tunnel_holds_is_shown_while_it_stands() {
    let mut w = World::new(1 << 30, limits()).await;
    w.config.lease_idle = Duration::from_millis(50);
    let edge = w.start().await;
    let before = metrics(&edge).await;
    assert_eq!((before.value("journal_slots", LEASE), before.value("journal_slots", USAGE)), (64.0, 256.0));
    let in_use = |m: &Exposition| (m.value("journal_slots_in_use", LEASE), m.value("journal_slots_in_use", USAGE));
    let held = |m: &Exposition| {
        let of = |name| m.value(name, &[]);
        (of("open_leases"), of("lease_taken_bytes"), of("lease_unspent_bytes"))
    };
    assert_eq!((in_use(&before), held(&before)), ((0.0, 0.0), (0.0, 0.0, 0.0)));

    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let open = metrics(&edge).await;
    for name in ["open_connections", "open_tunnels", "active_customers", "connections_total", "tunnels_total"] {
        assert_eq!(open.value(name, &[]), 1.0, "{name}");
    }
    assert_eq!(in_use(&open), (1.0, 1.0));
    let (leases, taken, unspent) = held(&open);
    assert!(leases == 1.0 && taken > 0.0 && unspent == taken, "{leases} {taken} {unspent}");

    c.write_all(&[b'x'; 1000]).await.unwrap();
    c.read_exact(&mut [0; 1000]).await.unwrap();
    let bytes = |m: &Exposition, direction| m.value("bytes_total", &[("direction", direction)]);
    eventually("both ways are counted", || async {
        let m = metrics(&edge).await;
        (bytes(&m, "ingress"), bytes(&m, "egress")) == (1000.0, 1000.0)
    })
    .await;
    assert_eq!(held(&metrics(&edge).await), (1.0, taken, taken - 2000.0));

    drop(c);
    eventually("nothing is held", || async {
        let m = metrics(&edge).await;
        let open = ["open_connections", "open_tunnels", "active_customers"].map(|name| m.value(name, &[]));
        (in_use(&m), held(&m), open) == ((0.0, 0.0), (0.0, 0.0, 0.0), [0.0; 3])
    })
    .await;
    let after = metrics(&edge).await;
    assert_eq!((bytes(&after, "ingress"), after.value("tunnels_total", &[])), (1000.0, 1.0));
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_that_fails_counts_under_its_provider_and_code() {
    let mut w = World::new(1 << 20, limits()).await;
    let (_held, dead) = refusing();
    let doors = with_rows(&mut w, &format!("{dead}\ndirect\nsocks5://{dead}\n"));
    w.config.target_allow = vec!["127.0.0.0/8".parse().unwrap()];
    w.resolver.set("origin.test", [[127, 0, 0, 1]]);
    w.upstream.set(Mood::Says(REFUSES_US));
    let edge = w.start().await;
    let target = format!("origin.test:{}", dead.port());
    for at in [edge.gateway_addr(), (doors, FIRST).into(), (doors, FIRST + 1).into()] {
        let (_c, head) = connect(at, &target, "demo", PASSWORD).await;
        assert_eq!(status(&head), 502, "{at}: {head}");
    }
    let mut c = TcpStream::connect((doors, FIRST + 2)).await.unwrap();
    let asked = socks::request(UDP_ASSOCIATE, "0.0.0.0", 0);
    assert_ne!(socks::ask(&mut c, ("demo", PASSWORD), &asked).await[1], 0);
    let m = metrics(&edge).await;
    let failed = |code, provider| m.get("dial_failures_total", &[("code", code), ("provider", provider)]);
    assert_eq!(failed("UPSTREAM_AUTH", "brd"), Some(1.0));
    assert_eq!(failed("UPSTREAM_CONNECT", "direct"), Some(1.0));
    // The tunnel, and the association.
    assert_eq!(failed("UPSTREAM_CONNECT", "file"), Some(2.0));
    assert_eq!(m.family("dial_failures_total").samples.len(), 3);
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_providers_make_no_more_series_than_the_bound() {
    let w = World::new(1 << 20, limits()).await;
    let (_held, dead) = refusing();
    for n in 0..200 {
        let provider = Provider { id: format!("p{n}").parse().unwrap(), ..provider(dead) };
        assert!(w.store.put_provider(&provider, NOON).await.unwrap());
    }
    w.assigner.by_line.store(true, Ordering::Release);
    let edge = w.start().await;
    for n in 0..200 {
        let (_c, head) = connect(edge.gateway_addr(), "echo.test:1", &format!("demo-line-p{n}"), PASSWORD).await;
        assert_eq!(status(&head), 502, "{head}");
    }
    let m = metrics(&edge).await;
    let failed = |provider| m.get("dial_failures_total", &[("code", "UPSTREAM_CONNECT"), ("provider", provider)]);
    assert_eq!(
        (failed("p0"), failed("p63"), failed("p64"), failed("other")),
        (Some(1.0), Some(1.0), None, Some(136.0))
    );
    assert_eq!(m.family("dial_failures_total").samples.len(), 64 + 1);
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feeds_lag_grows_while_the_store_is_cut_off() {
    let w = World::new(1 << 20, limits()).await;
    let faults = Faults::script(Vec::<Step>::new());
    let edge = w.try_start(Store::new(w.engine.client_with(Arc::clone(&faults)), "t-")).await.unwrap();
    let lag = async || metrics(&edge).await.value("feed_lag_seconds", &[]);
    eventually("the feed is read", || async { lag().await < 1.0 }).await;
    // More than anybody asks for meanwhile.
    (0..100_000).for_each(|_| faults.push(Fault::Timeout));
    let failures = async || metrics(&edge).await.value("store_failures_total", &[]);
    eventually("the store is missed", || async { failures().await > 0.0 }).await;
    let cut = lag().await;
    eventually("the lag grows", || async { lag().await > cut + 1.0 }).await;
    faults.stop();
    eventually("the feed is read again", || async { lag().await < 1.0 }).await;
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_change_grows_old_until_another_comes() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let age = async || metrics(&edge).await.get("feed_newest_change_age_seconds", &[]);
    eventually("what made the world is read", || async { age().await == Some(0.0) }).await;
    w.clock.jump(Duration::from_millis(61_500));
    assert_eq!(age().await, Some(61.5));
    w.grant("more", &plan_bucket(), 1 << 20).await;
    eventually("the grant is read", || async { age().await == Some(0.0) }).await;
    edge.drain(Duration::ZERO).await.unwrap();
}

/// A family as the documentation shows it.
fn row((name, family): (String, &Family)) -> String {
    let sample = family.samples.keys().next().unwrap_or_else(|| panic!("{name} has no sample in this test"));
    let labels: Vec<_> = sample.keys().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
    format!("| `{name}` | {} | {labels} | {} |", family.kind, family.help)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_has_every_family_and_no_other() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    // A refusal, and a dial that failed.
    w.upstream.set(Mood::Says(REFUSES_US));
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 502, "{head}");
    let changed = || async { metrics(&edge).await.get("feed_newest_change_age_seconds", &[]).is_some() };
    eventually("a change is applied", changed).await;
    let exposed: BTreeSet<_> = metrics(&edge).await.families().map(row).collect();
    let docs = include_str!("../../../docs/OPERATIONS.md");
    let shown: BTreeSet<_> = docs.lines().filter(|l| l.starts_with("| `tollgate_edge_")).map(str::to_owned).collect();
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        exposed == shown,
        "docs/OPERATIONS.md lacks:\n{}\nand has beyond that:\n{}",
        only(&exposed, &shown),
        only(&shown, &exposed)
    );
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_listener_beyond_loopback_is_refused() {
    let w = World::new(0, limits()).await;
    let bind = |a: &str| std::net::TcpListener::bind(a).unwrap();
    let start = Edge::start(w.config.clone(), w.deps(w.store.clone()), bind("127.0.0.1:0"), bind("0.0.0.0:0"));
    // On a thread of its own: what starts an edge may be spawned.
    let started = tokio::spawn(start).await.unwrap();
    assert!(matches!(started, Err(StartError::AdminAddress(_))));
}
