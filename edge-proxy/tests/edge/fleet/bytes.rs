//! Bytes of one quota go where they are asked for, to the last one, and not one more moves.

use futures_util::future::join_all;
use tollgate_domain::feed::Entity;
use tollgate_store::allowance::{Close, Closing, Take};

use super::*;
use crate::support::world::plan_bucket;

/// The first lease takes all of it.
const SMALL: u64 = 64 << 10;

impl Fleet {
    async fn with_quota(quota: u64) -> Self {
        let mut w = World::new(quota, unlimited()).await;
        // A machine that stands still is not the store.
        w.config.lease_timeout = PATIENCE;
        Self::of(w).await
    }

    /// How often an edge said that it lacks bytes.
    async fn wants(&self) -> u64 {
        let told = self.w.store.changes_since(self.w.now()).await.unwrap();
        told.iter().filter(|(_, c)| matches!(c.entity, Entity::BytesWanted { .. })).count() as u64
    }
}

/// Bytes that a download brings; none if it was refused for want of quota.
async fn downloaded(edge: &Edge) -> u64 {
    let (mut c, head) = connect(edge.gateway_addr(), "flood.test:1", "demo-line-a", PASSWORD).await;
    if status(&head) == 200 {
        return read_all(&mut c).await.len() as u64;
    }
    assert!(status(&head) == 402 && head.contains("X-Tollgate-Error: QUOTA_EXHAUSTED\r\n"), "{head}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    0
}

async fn refused_for_quota(edge: &Edge) {
    let head = timeout(PATIENCE, asked(edge)).await.expect("no answer");
    assert!(status(&head) == 402 && head.contains("X-Tollgate-Error: QUOTA_EXHAUSTED\r\n"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_idle_edge_holds_goes_to_the_one_that_has_run_dry_to_the_byte() {
    let f = Fleet::with_quota(SMALL).await;
    // Four bytes there and four back; the rest of the quota lies in this edge's lease.
    let mut idle = open(&f.one, "a").await;
    let a = f.w.allowance(&plan_bucket()).await;
    assert_eq!((a.available, a.leases[f.one.session()].taken), (0, SMALL));

    let (mut moved, end) = (8, Instant::now() + PATIENCE);
    while moved < SMALL {
        assert!(Instant::now() < end, "{moved} of {SMALL}");
        moved += downloaded(&f.two).await;
    }
    assert_eq!(moved, SMALL);
    assert!(f.wants().await > 0);
    // Whose bytes were given away ends as all do, once it would move one.
    idle.write_all(b"ping").await.unwrap();
    ends(idle).await;
    for edge in f.both() {
        refused_for_quota(edge).await;
    }
    let w = f.drain().await;
    assert_eq!((w.rows().await.bytes(), w.allowance(&plan_bucket()).await.folded), (SMALL, SMALL));
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_that_compete_for_a_quota_spend_all_of_it_and_no_more() {
    let quota = 1 << 20;
    let f = Fleet::with_quota(quota).await;
    let each = join_all(f.both().map(downloaded)).await;
    let (mut moved, end) = (each.iter().sum::<u64>(), Instant::now() + PATIENCE);
    while moved < quota {
        assert!(Instant::now() < end, "{moved} of {quota}: {each:?}");
        moved += downloaded(&f.one).await;
    }
    assert_eq!(moved, quota, "{each:?}");
    let w = f.drain().await;
    let a = w.allowance(&plan_bucket()).await;
    assert_eq!((a.folded, a.available, a.leases.len()), (quota, 0, 0));
    assert_eq!(w.rows().await.bytes(), quota);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_where_nobody_else_holds_anything() {
    let f = Fleet::with_quota(SMALL).await;
    assert_eq!(downloaded(&f.one).await, SMALL);
    refused_for_quota(&f.one).await;
    assert_eq!(f.wants().await, 0);
    f.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_in_vain_is_refused_asks_seldom_and_finds_what_comes_later() {
    let f = Fleet::with_quota(SMALL).await;
    // An edge that hears nothing holds all.
    let deaf: EdgeSession = "edge9.1".parse().unwrap();
    let took = f.w.store.take(&demo(), &plan_bucket(), &deaf, SMALL, 0, 0).await.unwrap();
    assert!(matches!(took, Take::Taken { available: 0, .. }), "{took:?}");
    let began = Instant::now();
    join_all((0..5).map(|_| refused_for_quota(&f.two))).await;
    let (wants, most) = (f.wants().await, began.elapsed().as_secs() + 1);
    assert!((1..=most).contains(&wants), "{wants}, at most {most}");

    let closing = Closing { taken: SMALL, settled: 100, doubt: 0, seq: 1 };
    assert_eq!(f.w.store.close_lease(&demo(), &plan_bucket(), &deaf, closing).await.unwrap(), Close::Closed);
    passes(&f.two).await;
    f.drain().await;
}
