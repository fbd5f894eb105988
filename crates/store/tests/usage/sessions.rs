use tollgate_domain::id::EdgeId;
use tollgate_domain::share::{Capacity, Node};
use tollgate_store::edge::Heartbeat;
use tollgate_store::usage::{DayUsage, UsageKey};

use super::*;

fn e1() -> EdgeId {
    "e1".parse().unwrap()
}

#[tokio::test]
async fn each_start_is_a_new_epoch_and_the_old_one_hears_of_it() {
    let (e, s) = store().await;
    let first = s.start_epoch(&e1(), at(0)).await.unwrap();
    assert_eq!(first.epoch, 1);
    assert_eq!(s.heartbeat(&first, at(5)).await.unwrap(), Heartbeat::Beating);
    assert_eq!(losing(&e, "UpdateItem").0.heartbeat(&first, at(6)).await.unwrap(), Heartbeat::Beating);
    assert_eq!(s.edge(&e1()).await.unwrap().unwrap().heartbeat, at(6));
    // An answer lost: the start knows itself again, for a first life and for a later one.
    let second = losing(&e, "PutItem").0.start_epoch(&e1(), at(7)).await.unwrap();
    assert_eq!(second.epoch, 2);
    let other = losing(&e, "PutItem").0.start_epoch(&"e2".parse().unwrap(), at(7)).await.unwrap();
    assert_eq!(other.epoch, 1);
    assert_eq!(s.heartbeat(&first, at(8)).await.unwrap(), Heartbeat::Superseded { epoch: 2 });
    let row = s.edge(&e1()).await.unwrap().unwrap();
    assert_eq!((row.started_at, row.heartbeat), (at(7), at(7)));
    let never = EdgeSession { edge: "e9".parse().unwrap(), epoch: 1 };
    assert_eq!(s.heartbeat(&never, at(8)).await.unwrap(), Heartbeat::Superseded { epoch: 0 });
}

#[tokio::test]
async fn a_life_that_hands_over_is_heard_beside_its_successor() {
    let (e, s) = store().await;
    let first = s.start_epoch(&e1(), at(0)).await.unwrap();
    let second = s.start_epoch_beside(&e1(), std::slice::from_ref(&first), at(1)).await.unwrap();
    assert_eq!(losing(&e, "UpdateItem").0.heartbeat(&first, at(2)).await.unwrap(), Heartbeat::Leaving { epoch: 2 });
    assert_eq!(s.heartbeat(&second, at(3)).await.unwrap(), Heartbeat::Beating);
    let row = s.edge(&e1()).await.unwrap().unwrap();
    assert_eq!((row.heartbeat, row.leaving[&first]), (at(3), at(2)));
    // A later start that does not know of it: it is over.
    s.start_epoch(&e1(), at(4)).await.unwrap();
    assert_eq!(s.heartbeat(&first, at(5)).await.unwrap(), Heartbeat::Superseded { epoch: 3 });
}

#[tokio::test]
async fn the_share_of_a_life_that_hands_over_is_not_its_successors() {
    let (_e, s) = store().await;
    let (old, new) = (edge(1), EdgeSession { epoch: 2, ..edge(1) });
    s.join_share(&demo(), &old, LIMITS, 0).await.unwrap();
    // The successor may come first: what the old one holds and does not use is free.
    let id = demo();
    let join = || s.join_share_beside(&id, &new, std::slice::from_ref(&old), LIMITS, 0);
    assert_eq!(join().await.unwrap(), Node { held: 10, in_use: 0, qps: 19, rate: 500 });
    s.withdraw_share(&demo(), &old, LIMITS, 3).await.unwrap();
    assert_eq!(join().await.unwrap(), Node { held: 7, in_use: 0, qps: 19, rate: 500 });
    assert_eq!(s.cap(&demo()).await.unwrap().unwrap().in_use(), 3);
    s.leave_share(&demo(), &old).await.unwrap();
    assert_eq!(join().await.unwrap().held, 10);
    // Once it is over, nothing of it counts.
    s.join_share(&demo(), &old, LIMITS, 5).await.unwrap();
    assert_eq!(s.join_share(&demo(), &new, LIMITS, 0).await.unwrap().held, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_at_once_get_epochs_of_their_own() {
    let (e, _s) = store().await;
    let starts: Vec<_> = (0..10)
        .map(|n| {
            let (rough, _) = rough(&e, n);
            tokio::spawn(async move { insist!(rough.start_epoch(&e1(), at(n))).epoch })
        })
        .collect();
    let mut epochs = Vec::new();
    for s in starts {
        epochs.push(s.await.unwrap());
    }
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 10, "{epochs:?}");
}

const LIMITS: Capacity = Capacity { hard: 10, qps: 20, rate: 1000 };

#[tokio::test]
async fn shares_are_split_given_back_and_taken_over_by_the_next_life() {
    let (e, s) = store().await;
    let node = Node { held: 10, in_use: 2, qps: 20, rate: 1000 };
    assert_eq!(s.join_share(&demo(), &edge(1), LIMITS, 2).await.unwrap(), node);
    assert_eq!(losing(&e, "PutItem").0.join_share(&demo(), &edge(1), LIMITS, 3).await.unwrap().in_use, 3);
    assert_eq!(s.join_share(&demo(), &edge(2), LIMITS, 0).await.unwrap().held, 0);
    // The same figures again are no write.
    let ver = s.cap(&demo()).await.unwrap().unwrap().ver;
    s.join_share(&demo(), &edge(2), LIMITS, 0).await.unwrap();
    assert_eq!(s.cap(&demo()).await.unwrap().unwrap().ver, ver);
    let next_life = EdgeSession { epoch: 2, ..edge(1) };
    assert_eq!(s.join_share(&demo(), &next_life, LIMITS, 0).await.unwrap().held, 10);
    let fewer = Capacity { hard: 4, ..LIMITS };
    assert_eq!(s.join_share(&demo(), &next_life, fewer, 0).await.unwrap().held, 4);
    assert!(s.cap(&demo()).await.unwrap().unwrap().fits(fewer));
    losing(&e, "PutItem").0.leave_share(&demo(), &next_life).await.unwrap();
    s.leave_share(&demo(), &next_life).await.unwrap();
    s.leave_share(&"other".parse().unwrap(), &next_life).await.unwrap();
    assert_eq!(s.cap(&"other".parse().unwrap()).await.unwrap(), None);
    assert_eq!(s.join_share(&demo(), &edge(2), fewer, 0).await.unwrap().held, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_fit_the_limits_whoever_joins_at_once() {
    let (e, s) = store().await;
    let joins: Vec<_> = (0..6)
        .map(|n| {
            let (rough, _) = rough(&e, n);
            tokio::spawn(async move { insist!(rough.join_share(&demo(), &edge(n), LIMITS, 0)).held })
        })
        .collect();
    for j in joins {
        j.await.unwrap();
    }
    let cap = s.cap(&demo()).await.unwrap().unwrap();
    assert!(cap.fits(LIMITS), "{cap:?}");
    assert_eq!(cap.nodes.values().map(|n| n.held).sum::<u32>(), 10);
}

fn row(day: &str, line: &str) -> UsageKey {
    UsageKey {
        day: day.into(),
        line: line.parse().unwrap(),
        proxy: "brd/2001:db8::1".parse().unwrap(),
        session: edge(1),
    }
}

fn usage(seq: u64, ingress: u64) -> DayUsage {
    DayUsage { seq, ingress, egress: 2 * ingress, connections: 1, first_at: at(0), last_at: at(seq) }
}

#[tokio::test]
async fn a_daily_row_only_grows_by_its_sequence() {
    let (e, s) = store().await;
    let key = row("2027-01-15", "chip.1");
    assert!(s.record_usage(&demo(), &key, &usage(1, 10)).await.unwrap());
    assert!(!s.record_usage(&demo(), &key, &usage(1, 99)).await.unwrap());
    assert!(s.record_usage(&demo(), &key, &usage(3, 30)).await.unwrap());
    assert!(!s.record_usage(&demo(), &key, &usage(2, 20)).await.unwrap());
    // Its own earlier attempt counts as written.
    assert!(!losing(&e, "PutItem").0.record_usage(&demo(), &key, &usage(4, 40)).await.unwrap());
    assert_eq!(s.usage(&demo(), "2027-01").await.unwrap(), [(key, usage(4, 40))]);
    assert_eq!(usage(4, 40).bytes(), 120);
}

#[tokio::test]
async fn a_month_holds_its_days_in_order_and_no_other() {
    let (_e, s) = store().await;
    for (day, line) in [("2027-01-02", "b"), ("2027-01-10", "a"), ("2027-01-02", "a"), ("2027-02-01", "a")] {
        assert!(s.record_usage(&demo(), &row(day, line), &usage(1, 1)).await.unwrap());
    }
    let found = s.usage(&demo(), "2027-01").await.unwrap();
    let keys: Vec<_> = found.into_iter().map(|(k, _)| (k.day, k.line.to_string())).collect();
    let expected = [("2027-01-02", "a"), ("2027-01-02", "b"), ("2027-01-10", "a")];
    assert_eq!(keys, expected.map(|(d, l)| (d.to_owned(), l.to_owned())));
    assert!(s.usage(&"other".parse().unwrap(), "2027-01").await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_that_nobody_of_ours_wrote_are_named() {
    use aws_sdk_dynamodb::types::AttributeValue::S;
    let (e, s) = store().await;
    for (pk, sk) in [("ALLOW#demo", "X#1"), ("USE#demo#2027-01", "15#a#b"), ("EDGE#e1#1", "line#demo#a")] {
        let put = e.client().put_item().table_name("usage").item("pk", S(pk.into())).item("sk", S(sk.into()));
        put.send().await.unwrap();
    }
    let corrupt = |e: tollgate_store::StoreError, key: &str| assert!(e.to_string().contains(key), "{e}");
    corrupt(s.allowances(&demo()).await.unwrap_err(), "X#1");
    corrupt(s.usage(&demo(), "2027-01").await.unwrap_err(), "15#a#b");
    // The roster's lines are another family's.
    assert!(s.roster(&edge(1)).await.unwrap().is_empty());
}
