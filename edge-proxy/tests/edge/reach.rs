//! An edge that is cut off from the store: whom it carries, for how long, and how it comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tollgate_edge::Edge;
use tollgate_engine::{Faults, Step};
use tollgate_store::Store;

use crate::support::metrics::{metric, seconds};
use crate::support::world::{PASSWORD, demo, limits};
use crate::support::{World, connect, eventually, read_all, socks, status};

const PATIENCE: Duration = Duration::from_secs(20);

/// An edge whose store can be cut off.
async fn start(w: &World) -> (Edge, Arc<Faults>) {
    let faults = Faults::script(Vec::<Step>::new());
    let store = Store::new(w.engine.client_with(Arc::clone(&faults)), "t-");
    (w.try_start(store).await.unwrap(), faults)
}

async fn ping(c: &mut TcpStream) {
    c.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    timeout(PATIENCE, c.read_exact(&mut back)).await.expect("no answer").unwrap();
    assert_eq!(&back, b"ping");
}

async fn tunnel(edge: &Edge, user: &str) -> TcpStream {
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", user, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    ping(&mut c).await;
    c
}

/// The head of the answer to a new CONNECT.
async fn asked(edge: &Edge, user: &str) -> String {
    connect(edge.gateway_addr(), "echo.test:1", user, PASSWORD).await.1
}

async fn ends(mut c: TcpStream) {
    assert!(timeout(PATIENCE, read_all(&mut c)).await.expect("the tunnel goes on").is_empty());
}

/// Cuts the store off, until the edge has noticed.
async fn cut(edge: &Edge, faults: &Faults) {
    faults.cut();
    eventually("the cut is felt", || async { seconds(edge.admin_addr(), "feed_lag_seconds").await > 0.2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_edge_carries_whom_it_knows_up_to_the_cap_and_then_nobody() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.access_log.path = Some(w.dir.path().join("access.log"));
    w.config.data_dir = w.dir.path().join("data");
    let (edge, faults) = start(&w).await;
    let mut c = tunnel(&edge, "demo-line-a").await;
    cut(&edge, &faults).await;
    w.clock.jump(Duration::from_secs(890));
    let mut d = tunnel(&edge, "demo-line-a").await;
    // Over more than one look at the clocks.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1200) {
        ping(&mut c).await;
        ping(&mut d).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Nobody can say whether the password is right.
    let head = asked(&edge, "stranger").await;
    assert!(status(&head) == 503 && head.contains("X-Tollgate-Error: STORE_UNAVAILABLE\r\n"), "{head}");
    assert_eq!(metric(edge.admin_addr(), "cut_off").await, 0);

    w.clock.jump(Duration::from_secs(60));
    ends(c).await;
    ends(d).await;
    let head = asked(&edge, "demo-line-a").await;
    assert!(status(&head) == 503 && head.contains("X-Tollgate-Error: STORE_UNAVAILABLE\r\n"), "{head}");
    assert!(head.contains("\r\nRetry-After: 5\r\n"), "{head}");
    let mut s = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    s.write_all(&[&socks::GREETING[..], &socks::credentials("demo", PASSWORD)].concat()).await.unwrap();
    assert_eq!(read_all(&mut s).await, [5, 2, 1, 1]);
    assert_eq!(metric(edge.admin_addr(), "cut_off").await, 1);

    // It comes back by itself.
    faults.stop();
    eventually("customers pass again", || async { status(&asked(&edge, "demo-line-a").await) == 200 }).await;
    drop(tunnel(&edge, "demo-line-a").await);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let log = std::fs::read_to_string(w.config.access_log.path.as_ref().unwrap()).unwrap();
    assert_eq!(log.matches("\"reason\":\"stale\"").count(), 2, "{log}");
    // What moved without the store is settled.
    let pinged = w.rows().await;
    assert!(pinged.ingress == pinged.egress && pinged.ingress > 3 * 4, "{pinged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_edge_still_ends_what_expires() {
    let w = World::new(1 << 20, limits()).await;
    let end = w.now().plus(Duration::from_secs(600));
    w.store.extend_customer(&demo(), Some(end), w.now()).await.unwrap().unwrap();
    let (edge, faults) = start(&w).await;
    let c = tunnel(&edge, "demo").await;
    cut(&edge, &faults).await;
    w.clock.jump(Duration::from_secs(600));
    let began = Instant::now();
    ends(c).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let head = asked(&edge, "demo").await;
    assert!(status(&head) == 402 && head.contains("X-Tollgate-Error: PLAN_EXPIRED\r\n"), "{head}");
    faults.stop();
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_stands_still_hides_no_cut() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.staleness = Duration::from_secs(4);
    let (edge, faults) = start(&w).await;
    let c = tunnel(&edge, "demo").await;
    faults.cut();
    ends(c).await;
    let head = asked(&edge, "demo").await;
    assert_eq!(status(&head), 503, "{head}");
    faults.stop();
    eventually("customers pass again", || async { status(&asked(&edge, "demo").await) == 200 }).await;
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_while_the_store_answers_cuts_nobody_off() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = tunnel(&edge, "demo").await;
    w.clock.jump(Duration::from_secs(7200));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1200) {
        ping(&mut c).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_quiet_customer_holds_is_kept_while_the_store_is_away() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.lease_idle = Duration::from_millis(100);
    let (edge, faults) = start(&w).await;
    let c = tunnel(&edge, "demo-line-a").await;
    cut(&edge, &faults).await;
    drop(c);
    eventually("it is quiet", || async { edge.snapshot().open_tunnels == 0 }).await;
    // Over more than one settlement, which is when idle leases are closed.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        assert!(edge.snapshot().customers[0].lease_left > 0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let c = tunnel(&edge, "demo-line-a").await;
    faults.stop();
    drop(c);
    eventually("its lease goes back", || async { edge.snapshot().customers.is_empty() }).await;
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (8, 8));
}
