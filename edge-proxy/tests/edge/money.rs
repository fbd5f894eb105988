//! Leases, settlements and buckets over time, and over a store that fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollgate_domain::budget::Bucket;
use tollgate_domain::plan::Limits;
use tollgate_engine::{Fault, Faults, Rates, Recorder, Step};
use tollgate_store::Store;
use tollgate_store::allowance::Grant;

use crate::support::world::{NOON, PASSWORD, demo, limits, plan_bucket};
use crate::support::{World, connect, eventually, read_all, status};

#[tokio::test(flavor = "multi_thread")]
async fn a_rough_store_costs_time_and_not_one_byte() {
    for seed in 0..3 {
        let w = World::new(1 << 30, limits()).await;
        let rates = Rates { conflict: 500, throttle: 30, lost_ack: 60, timeout: 30, ..Rates::default() };
        let faults = Faults::random(seed, rates);
        let store = Store::new(w.engine.client_with(Arc::clone(&faults)), "t-");
        let edge = w.try_start(store).await.unwrap();
        let mut moved = 0;
        for n in [1, 70_000, 3_000_000, 500_000] {
            let (mut c, head) =
                connect(edge.gateway_addr(), &format!("bytes.test:{}", n % 65_000 + 1), "demo", PASSWORD).await;
            assert_eq!(status(&head), 200, "{head}");
            moved += read_all(&mut c).await.len() as u64;
            edge.settle().await;
        }
        let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo-line-b", PASSWORD).await;
        assert_eq!(status(&head), 200, "{head}");
        let sent = vec![b'y'; 5_000_000];
        let (mut r, mut s) = c.split();
        let mut back = vec![0; sent.len()];
        let (a, b) = tokio::join!(s.write_all(&sent), r.read_exact(&mut back));
        a.unwrap();
        b.unwrap();
        moved += 10_000_000;
        drop(c);
        edge.drain(Duration::from_secs(5)).await.unwrap();
        assert!(faults.injected().total() > 3, "{:?}", faults.injected());
        assert_eq!(w.rows().await.bytes(), moved, "seed {seed}");
        let a = w.allowance(&plan_bucket()).await;
        assert_eq!((a.folded, a.leases.len()), (moved, 0), "seed {seed}");
        assert!(w.files().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_told_to_customers_as_such() {
    let w = World::new(1 << 20, limits()).await;
    let faults = Faults::script(Vec::<Step>::new());
    let edge = w.try_start(Store::new(w.engine.client_with(Arc::clone(&faults)), "t-")).await.unwrap();
    // All attempts of the SDK, for the credential's read alone.
    (0..3).for_each(|_| faults.push(Step::from(Fault::Timeout).on("GetItem").table("t-accounts")));
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 503, "{head}");
    assert!(head.contains("X-Tollgate-Error: STORE_UNAVAILABLE") && head.contains("Retry-After"), "{head}");
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_take_that_fails_is_made_up_for_by_the_next() {
    // Without limits on capacity only takes, and a heartbeat perhaps, are written there meanwhile.
    let w = World::new(1 << 30, Limits { settle_s: 3600, ..Limits::default() }).await;
    let faults = Faults::script(Vec::<Step>::new());
    let edge = w.try_start(Store::new(w.engine.client_with(Arc::clone(&faults)), "t-")).await.unwrap();
    // Two takes, with all attempts of the SDK.
    (0..6).for_each(|_| faults.push(Step::from(Fault::Timeout).on("UpdateItem").table("t-usage")));
    let (mut c, head) = connect(edge.gateway_addr(), "bytes.test:500", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    assert_eq!(read_all(&mut c).await.len(), 500);
    assert_eq!(faults.left(), 0);
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flows_is_settled_while_it_flows() {
    let w = World::new(1 << 20, Limits { settle_s: 1, ..limits() }).await;
    let edge = w.start().await;
    let (mut c, _) = connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await;
    c.write_all(&[b'x'; 1000]).await.unwrap();
    c.read_exact(&mut [0; 1000]).await.unwrap();
    eventually("settled", || async {
        let a = w.allowance(&plan_bucket()).await;
        a.used() == 2000 && w.rows().await.bytes() == 2000
    })
    .await;
    let [customer] = &edge.snapshot().customers[..] else { panic!() };
    assert_eq!((customer.ingress, customer.egress, customer.tunnels, customer.connections), (1000, 1000, 1, 1));
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_an_idle_customer_go_back_and_the_customer_comes_back() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.lease_idle = Duration::from_millis(50);
    let edge = w.start().await;
    for round in 1..=2 {
        let (mut c, head) = connect(edge.gateway_addr(), "bytes.test:500", "demo", PASSWORD).await;
        assert_eq!(status(&head), 200, "{head}");
        assert_eq!(read_all(&mut c).await.len(), 500);
        drop(c);
        eventually("evicted", || async { edge.snapshot().customers.is_empty() }).await;
        let a = w.allowance(&plan_bucket()).await;
        assert_eq!((a.leases.len(), a.folded), (0, round * 500));
        assert_eq!((w.rows().await.bytes(), w.rows().await.connections), (round * 500, round));
        assert!(w.store.cap(&demo()).await.unwrap().unwrap().nodes.is_empty());
        assert!(w.store.roster(edge.session()).await.unwrap().is_empty());
    }
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_open_over_the_end_of_a_period_spends_from_the_next() {
    let w = World::new(1 << 20, limits()).await;
    let next = Bucket::Plan { start: NOON.next_month_start() };
    let grant = Grant {
        source: "next".into(),
        bytes: 1 << 20,
        plan_ver: 1,
        spend_from: NOON.next_month_start(),
        spend_until: NOON.next_month_start().next_month_start(),
    };
    assert!(w.store.grant(&demo(), &next, &grant, w.now()).await.unwrap());
    let edge = w.start().await;
    let (mut c, _) = connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await;
    let mut turn = async |n: usize| {
        c.write_all(&vec![b'x'; n]).await.unwrap();
        c.read_exact(&mut vec![0; n]).await.unwrap();
    };
    turn(100).await;
    assert!(edge.settle().await);
    w.clock.jump(NOON.next_month_start().since(NOON));
    eventually("the old bucket is closed", || async { w.allowance(&plan_bucket()).await.leases.is_empty() }).await;
    turn(10).await;
    edge.drain(Duration::ZERO).await.unwrap();
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 200);
    assert_eq!(w.allowance(&next).await.folded, 20);
    let march = w.store.usage(&demo(), "2024-03").await.unwrap();
    assert_eq!(march.iter().map(|(_, u)| u.bytes()).sum::<u64>(), 20);
    assert_eq!(w.rows().await.bytes(), 200);
    // Whoever adds days up finds both, and that nobody writes them any more.
    let marked = w.marked().await;
    let days: Vec<_> = marked.iter().map(|d| (d.day.clone(), d.marks.iter().all(|m| m.passed))).collect();
    assert_eq!(days, [(NOON.day(), true), (NOON.next_month_start().day(), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_writes_the_lease_and_the_row_and_nothing_else() {
    let w = World::new(1 << 30, Limits { settle_s: 3600, ..limits() }).await;
    let recorder = Arc::new(Recorder::default());
    let store = Store::new(w.engine.client_recorded(Arc::clone(&recorder)), "t-");
    let edge = w.try_start(store).await.unwrap();
    let (mut c, _) = connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await;
    let mut turn = async || {
        c.write_all(b"x").await.unwrap();
        c.read_exact(&mut [0]).await.unwrap();
        assert!(edge.settle().await);
    };
    turn().await;
    let writes = || {
        let calls = recorder.calls();
        calls.iter().filter(|c| c.operation == "UpdateItem" || c.operation == "PutItem").count()
    };
    // Heartbeats are the edge's, not the customer's: none falls within this moment by more than one.
    let before = writes();
    for _ in 0..10 {
        turn().await;
    }
    let each = writes() - before;
    assert!((20..=22).contains(&each), "{each} writes for ten settlements");
    edge.drain(Duration::ZERO).await.unwrap();
}
