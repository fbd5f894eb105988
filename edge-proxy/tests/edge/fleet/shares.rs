//! Threads, requests and bytes a second are split between edges as they are asked for, and come
//! back from an edge that dies or is cut off.

use futures_util::future::join_all;

use super::*;

/// Silence after which a share is taken back, in these tests.
const DEAD_AFTER: Duration = Duration::from_secs(2);
const MB: u64 = 1_000_000;

impl Fleet {
    async fn hasty(quota: u64, limits: Limits) -> Self {
        let mut w = World::new(quota, limits).await;
        w.config.dead_after = DEAD_AFTER;
        Self::of(w).await
    }

    /// What the store says that an edge holds: requests and bytes a second.
    async fn rates(&self, edge: &Edge) -> (u32, u64) {
        let cap = self.w.store.cap(&demo()).await.unwrap().unwrap();
        assert!(cap.fits(), "{cap:?}");
        cap.nodes.get(edge.session()).map_or((0, 0), |n| (n.qps, n.rate))
    }
}

async fn several(edge: &Edge, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(open_in_time(edge, "a").await);
    }
    open
}

async fn refused(edge: &Edge) {
    let head = asked(edge).await;
    assert!(status(&head) == 429 && head.contains("X-Tollgate-Error: THREADS_EXCEEDED\r\n"), "{head}");
}

/// A download that goes on, as fast as it may.
async fn download(edge: &Edge) -> tokio::task::JoinHandle<()> {
    let end = Instant::now() + PATIENCE;
    let mut c = loop {
        let (c, head) = connect(edge.gateway_addr(), "flood.test:1", "demo-line-a", PASSWORD).await;
        if status(&head) == 200 {
            break c;
        }
        assert!(Instant::now() < end, "{head}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    tokio::spawn(async move {
        let mut buf = vec![0; 64 << 10];
        while c.read(&mut buf).await.is_ok_and(|n| n > 0) {}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_threads_are_five_here_and_five_there_or_ten_where_they_are_asked_for() {
    let f = Fleet::start(limits()).await;
    let mut here = several(&f.one, 5).await;
    let mut there = several(&f.two, 5).await;
    for edge in f.both() {
        refused(edge).await;
    }
    for c in here.iter_mut().chain(&mut there) {
        ping(c).await;
    }
    drop(here);
    let more = several(&f.two, 5).await;
    refused(&f.two).await;
    let cap = f.w.store.cap(&demo()).await.unwrap().unwrap();
    assert!(cap.fits(), "{cap:?}");
    drop((there, more));
    f.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_thread_goes_where_it_is_asked_for() {
    let f = Fleet::start(Limits { threads: 1, ..limits() }).await;
    for _ in 0..2 {
        for edge in f.both() {
            drop(open_in_time(edge, "a").await);
        }
    }
    // Whoever asks waits for the one that is open, and then has its turn.
    let first = open_in_time(&f.one, "a").await;
    refused(&f.two).await;
    drop(first);
    drop(open_in_time(&f.two, "a").await);
    f.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_edges_threads_are_taken_back_after_its_silence() {
    let f = Fleet::hasty(1 << 20, limits()).await;
    let held = several(&f.one, 10).await;
    let Fleet { w, one, two, .. } = f;
    let killed = one.session().clone();
    drop(one);
    drop(held);
    let began = Instant::now();
    refused(&two).await;
    let first = open_in_time(&two, "a").await;
    assert!(began.elapsed() >= DEAD_AFTER, "{:?}", began.elapsed());
    let others = several(&two, 9).await;
    refused(&two).await;
    let cap = w.store.cap(&demo()).await.unwrap().unwrap();
    assert!(!cap.nodes.contains_key(&killed), "{cap:?}");
    drop((first, others));
    two.drain(Duration::from_secs(5)).await.unwrap();
    // What it left open is settled by its own journal alone: it stays listed.
    let listed = w.store.edges().await.unwrap();
    assert!(listed.iter().any(|(id, row)| *id == killed.edge && row.ended_at.is_none()), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_edge_goes_on_and_is_bound_again_once_it_is_heard() {
    let f = Fleet::hasty(1 << 20, limits()).await;
    let mut here = several(&f.one, 6).await;
    f.cut.cut();
    // Its share is taken back; the excess is what it carries.
    let there = several(&f.two, 10).await;
    refused(&f.two).await;
    for c in &mut here {
        ping(c).await;
    }
    f.cut.stop();
    eventually("it is bound again", || async { status(&asked(&f.one).await) == 429 }).await;
    for c in &mut here {
        ping(c).await;
    }
    let in_use = async || f.w.store.cap(&demo()).await.unwrap().unwrap().in_use();
    eventually("the fleet's sum is known again", || async { in_use().await == 16 }).await;
    drop((here, there));
    drop(several(&f.one, 5).await);
    f.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_follows_the_demand() {
    let f = Fleet::hasty(1 << 34, Limits { rate_total: MB, ..limits() }).await;
    let one = download(&f.one).await;
    assert_eq!(f.rates(&f.one).await.1, MB, "a lone edge has all");
    let two = download(&f.two).await;
    let half = |rate: u64| (MB / 2 - MB / 16..=MB / 2 + MB / 16).contains(&rate);
    eventually("a half each", || async { half(f.rates(&f.one).await.1) && half(f.rates(&f.two).await.1) }).await;
    one.abort();
    let _ = one.await;
    eventually("nearly all for who uses it", || async { f.rates(&f.two).await.1 > MB / 10 * 9 }).await;
    two.abort();
    f.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_a_second_follow_the_demand() {
    let f = Fleet::hasty(1 << 20, Limits { threads: 0, qps: 40, ..limits() }).await;
    let held = open(&f.one, "a").await;
    assert_eq!(f.rates(&f.one).await.0, 40);
    let end = Instant::now() + PATIENCE;
    while f.rates(&f.two).await.0 < 30 {
        assert!(Instant::now() < end, "{:?}", f.rates(&f.two).await);
        join_all((0..20).map(|_| asked(&f.two))).await;
    }
    drop(held);
    f.drain().await;
}
