//! How many, how often, how fast: and what becomes of tunnels when that changes.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tollgate_domain::plan::Limits;
use tollgate_edge::Edge;

use crate::support::client::{answer, ask, request};
use crate::support::socks;
use crate::support::stalls::Stalls;
use crate::support::world::{PASSWORD, demo, limits};
use crate::support::{World, connect, connect_from, eventually, read_all, status};

const PLENTY: u64 = 1 << 34;
/// No wait of these tests comes near it, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn tunnel(edge: &Edge, target: &str) -> TcpStream {
    let (c, head) = connect(edge.gateway_addr(), target, "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    c
}

// === how often ===

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_burst_are_told_when_to_come_again() {
    let w = World::new(PLENTY, Limits { qps: 1, qps_burst: 3, ..limits() }).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let one = request("GET", "http://origin.test/x", "");
    let began = Instant::now();
    c.write_all(one.repeat(40).as_bytes()).await.unwrap();
    let (mut served, mut refused) = (0, 0);
    for n in 0..40 {
        let (head, _) = timeout(PATIENCE, answer(&mut c)).await.unwrap();
        match status(&head) {
            200 => served += 1,
            429 => {
                assert!(head.contains("X-Tollgate-Error: QPS_EXCEEDED\r\n"), "{head}");
                assert!(head.contains("\r\nRetry-After: 1\r\n"), "{head}");
                refused += 1;
            }
            _ => panic!("{head}"),
        }
        assert!(n != 2 || served == 3, "the burst comes at once");
    }
    // One more a second, and one for the second that has begun.
    let most = 3 + began.elapsed().as_secs() + 1;
    assert!(refused > 0 && served <= most, "{served} of at most {most}");
    // What was refused is not counted, and later it passes.
    eventually("the next second", || async {
        let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
        status(&head) == 200
    })
    .await;
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.rows().await.connections, served + 1);
    assert_eq!(w.upstream.heads().len() as u64, served + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_address_may_ask_so_often() {
    let w = World::new(PLENTY, Limits { ip_qps: 1, ..limits() }).await;
    let edge = w.start().await;
    let mut told = 0;
    for source in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let mut c = connect_from(source, edge.gateway_addr()).await;
        // While one tunnel stands, its address is remembered.
        let head = ask(&mut c, "silent.test:1", "demo", PASSWORD).await;
        assert_eq!(status(&head), 200, "{source:?}: {head}");
        let mut next = connect_from(source, edge.gateway_addr()).await;
        next.write_all(request("GET", "http://origin.test/x", "").repeat(20).as_bytes()).await.unwrap();
        for _ in 0..20 {
            told += u32::from(status(&timeout(PATIENCE, answer(&mut next)).await.unwrap().0) == 429);
        }
    }
    assert!(told > 0);
    edge.drain(Duration::ZERO).await.unwrap();
}

// === how many ===

#[tokio::test(flavor = "multi_thread")]
async fn one_source_address_has_so_many_tunnels() {
    let w = World::new(PLENTY, Limits { ip_conns: 2, ..limits() }).await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    let open = async |source| {
        let mut c = connect_from(source, at).await;
        let head = ask(&mut c, "silent.test:1", "demo", PASSWORD).await;
        (c, head)
    };
    let (first, head) = open([127, 0, 0, 1]).await;
    assert_eq!(status(&head), 200, "{head}");
    let (second, head) = open([127, 0, 0, 1]).await;
    assert_eq!(status(&head), 200, "{head}");
    let (_c, head) = open([127, 0, 0, 1]).await;
    assert_eq!(status(&head), 429, "{head}");
    assert!(head.contains("X-Tollgate-Error: IP_LIMIT\r\n") && head.contains("\r\nRetry-After: "), "{head}");
    let (other, head) = open([127, 0, 0, 2]).await;
    assert_eq!(status(&head), 200, "{head}");
    // Over SOCKS5 the rules say no.
    let mut c = connect_from([127, 0, 0, 1], at).await;
    let asked = socks::request(socks::CONNECT, "silent.test", 1);
    assert_eq!(socks::ask(&mut c, ("demo", PASSWORD), &asked).await, socks::refused(2));
    drop(first);
    eventually("a place is free", || async { status(&open([127, 0, 0, 1]).await.1) == 200 }).await;
    drop((second, other));
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_come_from_so_many_source_addresses() {
    let w = World::new(PLENTY, Limits { max_source_ips: 2, ..limits() }).await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    let open = async |last| {
        let mut c = connect_from([127, 0, 0, last], at).await;
        let head = ask(&mut c, "silent.test:1", "demo", PASSWORD).await;
        (c, head)
    };
    let mut held = Vec::new();
    for (last, expected) in [(1, 200), (2, 200), (3, 429), (1, 200), (2, 200)] {
        let (c, head) = open(last).await;
        assert_eq!(status(&head), expected, "{last}: {head}");
        held.push(c);
    }
    drop(held);
    eventually("another address has its turn", || async { status(&open(3).await.1) == 200 }).await;
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

// === how fast ===

/// What arrived within a window, and the longest time without anything. What the machine stood
/// still is time in which nobody could send: it counts against no lower bound.
struct Window {
    bytes: u64,
    took: Duration,
    gap: Duration,
    stalled: Duration,
}

impl Window {
    /// By the clock: what no limit may be exceeded by.
    fn most(&self, rate: u64) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64() / rate as f64
    }

    /// By the time there was to send in.
    fn least(&self, rate: u64) -> f64 {
        self.bytes as f64 / self.took.saturating_sub(self.stalled).as_secs_f64() / rate as f64
    }
}

async fn watch(c: &mut TcpStream, time: Duration, stalls: &Stalls) -> Window {
    let mut buf = vec![0; 256 << 10];
    let (began, before) = (Instant::now(), stalls.sum());
    let (mut bytes, mut last, mut gap) = (0, began, Duration::ZERO);
    while began.elapsed() < time {
        let n = timeout(PATIENCE, c.read(&mut buf)).await.expect("a stall").unwrap();
        assert!(n > 0, "the tunnel ended");
        bytes += n as u64;
        gap = gap.max(last.elapsed());
        last = Instant::now();
    }
    Window { bytes, took: began.elapsed(), gap, stalled: stalls.sum() - before }
}

const MB: u64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_download_keeps_its_rate_without_a_stall() {
    let w = World::new(PLENTY, Limits { rate_total: MB, ..limits() }).await;
    let edge = w.start().await;
    let mut c = tunnel(&edge, "flood.test:1").await;
    let stalls = Stalls::watch();
    // What was on its way when the window began belongs to none.
    watch(&mut c, Duration::from_millis(300), &stalls).await;
    let seen = watch(&mut c, Duration::from_secs(10), &stalls).await;
    let told =
        format!("{} of the rate, {} but for {:?}, gap {:?}", seen.most(MB), seen.least(MB), seen.stalled, seen.gap);
    assert!(seen.most(MB) < 1.02 && seen.least(MB) > 0.98, "{told}");
    assert!(seen.gap < Duration::from_millis(200) + seen.stalled, "{told}");
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_keeps_its_rate() {
    let w = World::new(PLENTY, Limits { rate_conn: 500_000, ..limits() }).await;
    let edge = w.start().await;
    let mut c = tunnel(&edge, "silent.test:1").await;
    let sent = Instant::now();
    let pump = tokio::spawn(async move {
        let block = vec![b'u'; 64 << 10];
        while c.write_all(&block).await.is_ok() {}
    });
    let counted = || edge.snapshot().ingress;
    eventually("three seconds' worth has moved", || async { counted() > 1_500_000 }).await;
    let most = 500_000_f64 * sent.elapsed().as_secs_f64() * 1.15 + 100_000_f64;
    let moved = counted() as f64;
    assert!(moved < most, "{moved} of at most {most}");
    edge.drain(Duration::ZERO).await.unwrap();
    pump.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tunnels_of_a_customer_get_equal_parts() {
    let w = World::new(PLENTY, Limits { rate_total: MB, ..limits() }).await;
    let edge = w.start().await;
    let (mut a, mut b) = (tunnel(&edge, "flood.test:1").await, tunnel(&edge, "flood.test:2").await);
    let (time, stalls) = (Duration::from_millis(500), Stalls::watch());
    tokio::join!(watch(&mut a, time, &stalls), watch(&mut b, time, &stalls));
    let time = Duration::from_secs(6);
    let (one, two) = tokio::join!(watch(&mut a, time, &stalls), watch(&mut b, time, &stalls));
    let both = one.most(MB) + two.most(MB);
    assert!(both < 1.05, "{both} of the rate");
    let share = one.bytes as f64 / (one.bytes + two.bytes) as f64;
    // A stall takes turns away from whoever would have been next.
    assert!((0.35..=0.65).contains(&share), "{share} to one, {} to the other", 1.0 - share);
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_changed_is_felt_by_a_tunnel_that_stands() {
    let w = World::new(PLENTY, Limits { rate_total: 50_000, ..limits() }).await;
    let edge = w.start().await;
    let mut c = tunnel(&edge, "flood.test:1").await;
    let stalls = Stalls::watch();
    let slow = watch(&mut c, Duration::from_secs(1), &stalls).await;
    assert!(slow.bytes < 200_000, "{}", slow.bytes);
    w.store.set_limits(&demo(), &limits(), w.now()).await.unwrap().unwrap();
    // At the old rate these take seven minutes.
    let mut away = vec![0; 20 << 20];
    timeout(PATIENCE, c.read_exact(&mut away)).await.expect("still slow").unwrap();
    // And back: what is on its way arrives, then it is slow again.
    let slow = Limits { rate_total: 50_000, ..limits() };
    w.store.set_limits(&demo(), &slow, w.now()).await.unwrap().unwrap();
    let end = Instant::now() + PATIENCE;
    while watch(&mut c, Duration::from_secs(1), &stalls).await.bytes > 200_000 {
        assert!(Instant::now() < end, "never slow again");
    }
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_said_before_it_closed_arrives_whole_at_the_rate() {
    let w = World::new(PLENTY, Limits { rate_total: 150_000, ..limits() }).await;
    let edge = w.start().await;
    let began = Instant::now();
    let mut c = tunnel(&edge, "kilobytes.test:200").await;
    assert_eq!(timeout(PATIENCE, read_all(&mut c)).await.unwrap().len(), 200_000);
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (0, 200_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_the_rate_with_tunnels_and_are_whole() {
    let w = World::new(PLENTY, Limits { rate_total: 20_000, ..limits() }).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let body = "b".repeat(30_000);
    let asked = request("POST", "http://origin.test/x", "Content-Length: 30000\r\n") + &body;
    let began = Instant::now();
    let (mut r, mut s) = c.split();
    let (sent, (head, text)) = tokio::join!(s.write_all(asked.as_bytes()), answer(&mut r));
    sent.unwrap();
    assert_eq!(status(&head), 200, "{head}");
    assert!(text.ends_with(&body));
    assert!(began.elapsed() > Duration::from_secs(2), "60 kB at 20 kB/s took {:?}", began.elapsed());
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress), (asked.len() as u64, (head.len() + text.len()) as u64));
}
