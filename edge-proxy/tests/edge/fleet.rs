//! Two edges and one store: what a customer may do is counted over both, and what an operator says
//! reaches both.

mod bytes;
mod shares;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tollgate_domain::feed::{Command, Selector};
use tollgate_domain::id::{EdgeSession, RequestId};
use tollgate_domain::live::{ConnectionId, LiveReport};
use tollgate_domain::plan::Limits;
use tollgate_domain::share::Usage;
use tollgate_edge::Edge;
use tollgate_engine::{Faults, Step};
use tollgate_store::Store;
use tollgate_store::cap::Life;

use crate::support::client::ask;
use crate::support::world::{PASSWORD, demo, limits};
use crate::support::{World, connect, connect_from, eventually, read_all, status};

/// Several rounds of what an edge does every five seconds.
/// A wish lasts ten seconds, so a thread may take as long to change hands.
const PATIENCE: Duration = Duration::from_secs(30);
const HERE: [u8; 4] = [127, 0, 0, 1];

struct Fleet {
    w: World,
    one: Edge,
    two: Edge,
    /// Cuts the first edge off from the store.
    cut: Arc<Faults>,
    _dir: TempDir,
}

impl Fleet {
    async fn start(limits: Limits) -> Self {
        Self::of(World::new(1 << 20, limits).await).await
    }

    async fn of(mut w: World) -> Self {
        w.config.heartbeat_interval = Duration::from_millis(100);
        let dir = TempDir::new().unwrap();
        let cut = Faults::script(Vec::<Step>::new());
        let one = w.try_start(Store::new(w.engine.client_with(Arc::clone(&cut)), "t-")).await.unwrap();
        let mut config = w.config.clone();
        config.edge = "edge2".parse().unwrap();
        config.data_dir = dir.path().to_owned();
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let two = Edge::start(config, w.deps(w.store.clone()), bind(), bind()).await.unwrap();
        Self { w, one, two, cut, _dir: dir }
    }

    fn both(&self) -> [&Edge; 2] {
        [&self.one, &self.two]
    }

    /// A kick reaches what was open before it.
    async fn kick(&self, selector: Selector) {
        self.w.clock.jump(Duration::from_millis(1));
        let kick = Command::Kick { customer: demo(), selector, at: self.w.now() };
        self.w.store.announce_command(&kick, self.w.now()).await.unwrap();
    }

    /// What an edge says is live.
    async fn live(&self, of: &Edge) -> LiveReport {
        let request: RequestId = format!("01J{}", of.session().edge).to_uppercase().parse().unwrap();
        let ask = Command::ReportLive { request: request.clone(), customer: Some(demo()), limit: 10, at: self.w.now() };
        self.w.store.announce_command(&ask, self.w.now()).await.unwrap();
        let reports = async || self.w.store.live_reports(&request).await.unwrap();
        eventually("both answer", || async { reports().await.len() == 2 }).await;
        reports().await.into_iter().find(|r| r.session == *of.session()).unwrap()
    }

    async fn drain(self) -> World {
        self.one.drain(Duration::from_secs(5)).await.unwrap();
        self.two.drain(Duration::from_secs(5)).await.unwrap();
        self.w
    }
}

/// As many threads as anybody asks for: nothing is split between edges.
fn unlimited() -> Limits {
    Limits { threads: 0, ..limits() }
}

async fn ping(c: &mut TcpStream) {
    c.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    timeout(PATIENCE, c.read_exact(&mut back)).await.expect("no answer").unwrap();
    assert_eq!(&back, b"ping");
}

async fn open_from(source: [u8; 4], edge: &Edge, line: &str) -> TcpStream {
    let mut c = connect_from(source, edge.gateway_addr()).await;
    let head = ask(&mut c, "echo.test:1", &format!("demo-line-{line}"), PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    ping(&mut c).await;
    c
}

async fn open(edge: &Edge, line: &str) -> TcpStream {
    open_from(HERE, edge, line).await
}

/// A tunnel as soon as the edge admits one: others may hold the threads, and give them.
async fn open_in_time(edge: &Edge, line: &str) -> TcpStream {
    let end = Instant::now() + PATIENCE;
    loop {
        let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", &format!("demo-line-{line}"), PASSWORD).await;
        if status(&head) == 200 {
            ping(&mut c).await;
            return c;
        }
        assert!(Instant::now() < end, "{head}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ends(mut c: TcpStream) {
    assert!(timeout(PATIENCE, read_all(&mut c)).await.expect("the tunnel goes on").is_empty());
}

/// The head of the answer to a new CONNECT.
async fn asked(edge: &Edge) -> String {
    connect(edge.gateway_addr(), "echo.test:1", "demo-line-a", PASSWORD).await.1
}

async fn passes(edge: &Edge) {
    let end = Instant::now() + PATIENCE;
    loop {
        let head = asked(edge).await;
        if status(&head) == 200 {
            return;
        }
        assert!(Instant::now() < end, "{head}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

// === how many ===

#[tokio::test(flavor = "multi_thread")]
async fn the_strike_clock_runs_on_the_fleets_sum_and_locks_out_everywhere() {
    let f = Fleet::start(Limits { threads: 2, thread_burst_milli: 3000, ..limits() }).await;
    // No edge alone carries more than the plan's two.
    let (mut a, mut b) = (open(&f.one, "a").await, open(&f.one, "b").await);
    let mut c = open_in_time(&f.two, "c").await;
    let in_use = async || f.w.store.cap(&demo()).await.unwrap().map_or(0, |cap| cap.in_use());
    let end = Instant::now() + PATIENCE;
    while in_use().await != 3 {
        assert!(Instant::now() < end, "{} tunnels are known of", in_use().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A third edge that carries none looks at the sum each minute.
    let third: EdgeSession = "edge9.1".parse().unwrap();
    let terms = f.w.store.customer(&demo()).await.unwrap().unwrap().terms();
    let look =
        async || f.w.store.report_share(&demo(), Life::of(&third), terms, Usage::default(), f.w.now()).await.unwrap();
    for minute in 0..15 {
        let seen = look().await;
        assert_eq!((seen.in_use_total, seen.locked_until), (3, None), "minute {minute}");
        for c in [&mut a, &mut b, &mut c] {
            ping(c).await;
        }
        f.w.clock.jump(Duration::from_secs(60));
    }
    let until = look().await.locked_until.expect("a quarter of an hour is over");
    assert_eq!(until.since(f.w.now()), Duration::from_secs(3600));
    for c in [a, b, c] {
        ends(c).await;
    }
    for edge in f.both() {
        let head = asked(edge).await;
        assert!(status(&head) == 429 && head.contains("X-Tollgate-Error: LOCKED_OUT\r\n"), "{head}");
        let wait = head.lines().find_map(|l| l.strip_prefix("Retry-After: ")).unwrap().parse::<u64>().unwrap();
        assert!((3590..=3601).contains(&wait), "{head}");
    }
    f.w.store.leave_share(&demo(), &third).await.unwrap();
    f.w.clock.jump(Duration::from_secs(3590));
    for edge in f.both() {
        assert_eq!(status(&asked(edge).await), 429);
    }
    f.w.clock.jump(Duration::from_secs(20));
    for edge in f.both() {
        passes(edge).await;
    }
    f.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_are_counted_over_the_fleet_and_go_where_they_are_asked_for_when_given_back() {
    let f = Fleet::start(Limits { threads: 3, ..limits() }).await;
    let mut held = Vec::new();
    for line in ["a", "b", "c"] {
        held.push(open(&f.one, line).await);
    }
    for edge in f.both() {
        let head = asked(edge).await;
        assert!(status(&head) == 429 && head.contains("X-Tollgate-Error: THREADS_EXCEEDED\r\n"), "{head}");
    }
    drop(held);
    let Fleet { w, one, two, .. } = f;
    one.drain(Duration::from_secs(5)).await.unwrap();
    passes(&two).await;
    let mut held = Vec::new();
    for line in ["a", "b", "c"] {
        // What `passes` opened may not have ended yet.
        held.push(open_in_time(&two, line).await);
    }
    assert_eq!(status(&asked(&two).await), 429);
    drop(held);
    two.drain(Duration::from_secs(5)).await.unwrap();
    assert!(w.store.cap(&demo()).await.unwrap().unwrap().nodes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_threads_bind_every_edge() {
    let f = Fleet::start(unlimited()).await;
    let (a, b) = (open(&f.one, "a").await, open(&f.two, "b").await);
    let one = Limits { threads: 1, ..limits() };
    f.w.store.set_limits(&demo(), &one, f.w.now()).await.unwrap().unwrap();
    for edge in f.both() {
        eventually("it is felt", || async { status(&asked(edge).await) == 429 }).await;
    }
    drop((a, b));
    f.drain().await;
}

// === what operators say ===

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_of_a_customer_and_a_ban_reach_every_edge() {
    let f = Fleet::start(unlimited()).await;
    let (a, b) = (open(&f.one, "a").await, open(&f.two, "b").await);
    f.w.clock.jump(Duration::from_millis(1));
    f.w.store.kick_customer(&demo(), f.w.now()).await.unwrap().unwrap();
    ends(a).await;
    ends(b).await;
    let (a, b) = (open(&f.one, "a").await, open(&f.two, "b").await);
    f.w.ban().await;
    ends(a).await;
    ends(b).await;
    for edge in f.both() {
        let head = asked(edge).await;
        assert!(status(&head) == 403 && head.contains("X-Tollgate-Error: BANNED\r\n"), "{head}");
    }
    let w = f.drain().await;
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (16, 16));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_of_a_line_or_a_source_reaches_every_edge_and_nobody_else() {
    let f = Fleet::start(unlimited()).await;
    let (a1, a2) = (open(&f.one, "a").await, open(&f.two, "a").await);
    let (mut b1, mut b2) = (open(&f.one, "b").await, open(&f.two, "b").await);
    f.kick(Selector::Line("a".parse().unwrap())).await;
    ends(a1).await;
    ends(a2).await;
    ping(&mut b1).await;
    ping(&mut b2).await;

    let other = [127, 0, 0, 2];
    let (o1, o2) = (open_from(other, &f.one, "b").await, open_from(other, &f.two, "c").await);
    f.kick(Selector::source("127.0.0.2/32").unwrap()).await;
    ends(o1).await;
    ends(o2).await;
    ping(&mut b1).await;
    ping(&mut b2).await;
    drop((b1, b2));
    f.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_of_a_connection_reaches_the_edge_that_has_it() {
    let f = Fleet::start(unlimited()).await;
    let (mut a, mut b) = (open(&f.one, "a").await, open(&f.two, "a").await);
    let (on_one, on_two) = (f.live(&f.one).await, f.live(&f.two).await);
    assert_eq!((on_one.newest.len(), on_two.newest.len()), (1, 1));
    let number = on_two.newest[0].number;
    // The same number at the other edge is another connection, or none.
    f.kick(Selector::Connection(ConnectionId { session: on_one.session.clone(), number })).await;
    f.kick(Selector::Connection(ConnectionId { session: on_two.session.clone(), number })).await;
    ends(b).await;
    ping(&mut a).await;
    b = open(&f.two, "a").await;
    let number = on_one.newest[0].number;
    f.kick(Selector::Connection(ConnectionId { session: on_one.session, number })).await;
    ends(a).await;
    ping(&mut b).await;
    drop(b);
    f.drain().await;
}
