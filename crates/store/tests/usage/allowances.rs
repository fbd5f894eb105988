use tollgate_domain::budget::{Bucket, Lease, LeaseState};
use tollgate_domain::feed::Entity;
use tollgate_store::allowance::{Close, Closing, Rostered, Take};

use super::*;

fn lease(taken: u64, settled: u64, seq: u64) -> Lease {
    Lease { taken, settled, doubt: 0, seq, state: LeaseState::Open }
}

fn taken(l: Lease, available: u64) -> Take {
    Take::Taken { lease: l, available }
}

#[tokio::test]
async fn a_lease_is_taken_settled_and_closed() {
    let (_e, s) = granted(1000).await;
    let (who, bucket, me) = (demo(), plan(), edge(1));
    let take = |n, settled, seq| s.take(&who, &bucket, &me, n, settled, seq);
    assert_eq!(take(400, 0, 0).await.unwrap(), taken(lease(400, 0, 1), 600));
    assert_eq!(take(100, 350, 1).await.unwrap(), taken(lease(500, 350, 2), 500));
    assert_eq!(take(0, 450, 2).await.unwrap(), taken(lease(500, 450, 3), 500));
    assert_eq!(take(501, 450, 3).await.unwrap(), Take::Exhausted { available: 500 });
    assert_eq!(take(1, 449, 3).await.unwrap(), Take::Overspent);
    assert_eq!(take(1, 502, 3).await.unwrap(), Take::Overspent);
    assert_eq!(take(1, 450, 9).await.unwrap(), Take::Stale { lease: lease(500, 450, 3) });
    let close = |settled, doubt, seq, taken| s.close_lease(&who, &bucket, &me, Closing { taken, settled, doubt, seq });
    assert_eq!(close(460, 0, 2, 500).await.unwrap(), Close::Stale { seq: 3, taken: 500 });
    assert_eq!(close(440, 0, 3, 500).await.unwrap(), Close::Overspent);
    assert_eq!(close(490, 11, 3, 500).await.unwrap(), Close::Overspent);
    assert_eq!(close(460, 10, 3, 500).await.unwrap(), Close::Closed);
    assert_eq!(close(460, 10, 3, 500).await.unwrap(), Close::Closed, "closed before");
    let a = item(&s).await;
    assert_eq!((a.available, a.folded, a.leases.len()), (530, 470, 0));
    assert_eq!(take(1, 450, 3).await.unwrap(), Take::NoLease);
    assert_eq!(take(1, 5, 0).await.unwrap(), Take::NoLease);
}

#[tokio::test]
async fn a_lease_gives_back_what_it_does_not_use() {
    let (e, s) = granted(1000).await;
    let (who, bucket, me) = (demo(), plan(), edge(1));
    let back = |n, settled, seq| s.give_back(&who, &bucket, &me, n, settled, seq);
    assert_eq!(back(1, 0, 1).await.unwrap(), Take::NoLease);
    assert_eq!(s.take(&who, &bucket, &me, 1000, 0, 0).await.unwrap(), taken(lease(1000, 0, 1), 0));
    assert_eq!(s.take(&who, &bucket, &edge(2), 1, 0, 0).await.unwrap(), Take::Exhausted { available: 0 });
    assert_eq!(back(901, 100, 1).await.unwrap(), Take::Overspent);
    assert_eq!(back(600, 100, 1).await.unwrap(), taken(lease(400, 100, 2), 600));
    assert_eq!(back(600, 100, 1).await.unwrap(), taken(lease(400, 100, 2), 600), "given back before");
    assert_eq!(back(1, 110, 1).await.unwrap(), Take::Stale { lease: lease(400, 100, 2) });
    assert_eq!(back(0, 99, 2).await.unwrap(), Take::Overspent);
    let lossy = losing(&e, "UpdateItem").0;
    let again = lossy.give_back(&who, &bucket, &me, 250, 150, 2).await.unwrap();
    assert_eq!(again, taken(lease(150, 150, 3), 850));
    assert_eq!(s.take(&who, &bucket, &edge(2), 850, 0, 0).await.unwrap(), taken(lease(850, 0, 1), 0));
    let lost = s.lose_lease(&who, &bucket, &edge(2)).await.unwrap().unwrap();
    assert_eq!(s.give_back(&who, &bucket, &edge(2), 1, 0, lost.seq).await.unwrap(), Take::Lost);
    assert!(item(&s).await.is_sound());
}

#[tokio::test]
async fn who_lacks_bytes_says_so_each_time() {
    let (e, s) = granted(1000).await;
    let lossy = losing(&e, "PutItem").0;
    for store in [&lossy, &s] {
        store.want(&demo(), &plan(), &edge(1), at(1)).await.unwrap();
    }
    let told = s.changes_since(at(1)).await.unwrap();
    let wanted = Entity::BytesWanted { customer: demo(), bucket: plan(), by: edge(1) };
    assert_eq!(told.iter().filter(|(_, c)| c.entity == wanted).count(), 2, "{told:?}");
}

#[tokio::test]
async fn there_is_nothing_to_take_where_there_is_no_bucket() {
    let (_e, s) = store().await;
    for (settled, seq) in [(0, 0), (5, 0), (0, 4)] {
        assert_eq!(s.take(&demo(), &plan(), &edge(1), 1, settled, seq).await.unwrap(), Take::NoBucket);
        assert_eq!(s.give_back(&demo(), &plan(), &edge(1), 1, settled, seq).await.unwrap(), Take::NoBucket);
    }
    let closing = Closing { taken: 0, settled: 0, doubt: 0, seq: 1 };
    assert_eq!(s.close_lease(&demo(), &plan(), &edge(1), closing).await.unwrap(), Close::Closed);
    assert!(s.allowances(&demo()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_lost_once_changes_nothing() {
    let (e, s) = granted(1000).await;
    let lossy = |op| losing(&e, op).0;
    let first = lossy("UpdateItem").take(&demo(), &plan(), &edge(1), 300, 0, 0).await.unwrap();
    assert_eq!(first, taken(lease(300, 0, 1), 700));
    let second = lossy("UpdateItem").take(&demo(), &plan(), &edge(1), 100, 250, 1).await.unwrap();
    assert_eq!(second, taken(lease(400, 250, 2), 600));
    let settle = lossy("UpdateItem").take(&demo(), &plan(), &edge(1), 0, 260, 2).await.unwrap();
    assert_eq!(settle, taken(lease(400, 260, 3), 600));
    let last = Closing { taken: 400, settled: 270, doubt: 5, seq: 3 };
    assert_eq!(lossy("UpdateItem").close_lease(&demo(), &plan(), &edge(1), last).await.unwrap(), Close::Closed);
    let a = item(&s).await;
    assert_eq!((a.available, a.folded, a.granted), (725, 275, 1000));
    let (s2, faults) = losing(&e, "TransactWriteItems");
    assert!(s2.grant(&demo(), &plan(), &grant_of("more", 50), at(1)).await.unwrap());
    assert_eq!((item(&s).await.granted, faults.left()), (1050, 0));
    let entry = Rostered { customer: demo(), bucket: plan() };
    lossy("PutItem").roster_add(&edge(1), &entry).await.unwrap();
    assert_eq!(s.roster(&edge(1)).await.unwrap(), std::slice::from_ref(&entry));
    lossy("DeleteItem").roster_remove(&edge(1), &entry).await.unwrap();
    assert!(s.roster(&edge(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_grant_is_added_once_per_source_and_announced() {
    let (_e, s) = granted(1000).await;
    assert!(!s.grant(&demo(), &plan(), &grant_of("plan", 1000), at(0)).await.unwrap());
    assert!(s.grant(&demo(), &plan(), &grant_of("extra", 500), at(0)).await.unwrap());
    let pack = Bucket::Pack { expires: at(50), pack: "p1".into() };
    assert!(s.grant(&demo(), &pack, &grant_of("p1", 7), at(0)).await.unwrap());
    let found = s.allowances(&demo()).await.unwrap();
    let sums: Vec<_> = found.iter().map(|(b, a)| (b.clone(), a.granted, a.available)).collect();
    assert_eq!(sums, [(plan(), 1500, 1500), (pack, 7, 7)]);
    let told = s.changes_since(at(0)).await.unwrap();
    assert_eq!(told.iter().filter(|(_, c)| c.entity == Entity::Allowance(demo())).count(), 3);
    assert!(s.allowances(&"other".parse().unwrap()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_edges_take_all_there_is_and_no_byte_more() {
    for seed in 0..3 {
        let (e, s) = granted(10_000).await;
        let mut edges = Vec::new();
        for n in 0..8 {
            let (rough, _) = rough(&e, seed * 100 + n);
            edges.push(tokio::spawn(async move {
                let (me, mut seq, mut have) = (edge(n), 0, 0);
                loop {
                    match insist!(rough.take(&demo(), &plan(), &me, 70, have, seq)) {
                        Take::Taken { lease, .. } => (seq, have) = (lease.seq, lease.taken),
                        Take::Stale { lease } => (seq, have) = (lease.seq, lease.taken),
                        Take::Exhausted { .. } => return have,
                        other => panic!("{other:?}"),
                    }
                }
            }));
        }
        let mut sum = 0;
        for e in edges {
            sum += e.await.unwrap();
        }
        let a = item(&s).await;
        assert_eq!(sum, 10_000 - a.available, "seed {seed}");
        assert!(a.available < 70);
    }
}
