use tollgate_domain::id::EdgeId;
use tollgate_store::allowance::Rostered;
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
    assert_eq!(s.heartbeat(&first, 0, at(5)).await.unwrap(), Heartbeat::Beating);
    assert_eq!(losing(&e, "UpdateItem").0.heartbeat(&first, 0, at(6)).await.unwrap(), Heartbeat::Beating);
    assert_eq!(s.edge(&e1()).await.unwrap().unwrap().heartbeat, at(6));
    // An answer lost: the start knows itself again, for a first life and for a later one.
    let second = losing(&e, "PutItem").0.start_epoch(&e1(), at(7)).await.unwrap();
    assert_eq!(second.epoch, 2);
    let other = losing(&e, "PutItem").0.start_epoch(&"e2".parse().unwrap(), at(7)).await.unwrap();
    assert_eq!(other.epoch, 1);
    assert_eq!(s.heartbeat(&first, 0, at(8)).await.unwrap(), Heartbeat::Superseded { epoch: 2 });
    let row = s.edge(&e1()).await.unwrap().unwrap();
    assert_eq!((row.started_at, row.heartbeat), (at(7), at(7)));
    let never = EdgeSession { edge: "e9".parse().unwrap(), epoch: 1 };
    assert_eq!(s.heartbeat(&never, 0, at(8)).await.unwrap(), Heartbeat::Superseded { epoch: 0 });
}

#[tokio::test]
async fn a_life_that_hands_over_is_heard_beside_its_successor() {
    let (e, s) = store().await;
    let first = s.start_epoch(&e1(), at(0)).await.unwrap();
    let second = s.start_epoch_beside(&e1(), std::slice::from_ref(&first), at(1)).await.unwrap();
    assert_eq!(losing(&e, "UpdateItem").0.heartbeat(&first, 0, at(2)).await.unwrap(), Heartbeat::Leaving { epoch: 2 });
    assert_eq!(s.heartbeat(&second, 0, at(3)).await.unwrap(), Heartbeat::Beating);
    let row = s.edge(&e1()).await.unwrap().unwrap();
    assert_eq!((row.heartbeat, row.leaving[&first]), (at(3), at(2)));
    // A later start that does not know of it: it is over.
    s.start_epoch(&e1(), at(4)).await.unwrap();
    assert_eq!(s.heartbeat(&first, 0, at(5)).await.unwrap(), Heartbeat::Superseded { epoch: 3 });
}

#[tokio::test]
async fn every_heartbeat_is_another_sign_of_life_whatever_the_clock_says() {
    let (_e, s) = store().await;
    let first = s.start_epoch(&e1(), at(5)).await.unwrap();
    let sign = async |of: &EdgeSession| s.edge(&e1()).await.unwrap().unwrap().sign(of);
    let mut seen = vec![sign(&first).await.unwrap()];
    for now in [at(5), at(3), at(5)] {
        s.heartbeat(&first, 0, now).await.unwrap();
        let next = sign(&first).await.unwrap();
        assert!(!seen.contains(&next), "{next:?}");
        seen.push(next);
    }
    assert_eq!(sign(&first).await, seen.pop());
    let second = s.start_epoch_beside(&e1(), std::slice::from_ref(&first), at(6)).await.unwrap();
    let leaving = sign(&first).await.unwrap();
    s.heartbeat(&first, 0, at(7)).await.unwrap();
    assert_ne!(sign(&first).await, Some(leaving));
    assert!(sign(&second).await.is_some());
    s.start_epoch(&e1(), at(8)).await.unwrap();
    assert_eq!(sign(&second).await, None);
}

async fn listed(s: &Store) -> usize {
    s.edges().await.unwrap().len()
}

#[tokio::test]
async fn a_dead_edge_is_unlisted_once_it_left_nothing_open() {
    let (_e, s) = store().await;
    let dead = s.start_epoch(&e1(), at(0)).await.unwrap();
    let row = async || s.edge(&e1()).await.unwrap().unwrap();
    let seen = row().await;
    let entry = Rostered { customer: demo(), bucket: plan() };
    s.roster_add(&dead, &entry).await.unwrap();
    assert!(!s.unlist_edge(&e1(), &seen).await.unwrap());
    s.roster_remove(&dead, &entry).await.unwrap();
    s.heartbeat(&dead, 0, at(0)).await.unwrap();
    assert!(!s.unlist_edge(&e1(), &seen).await.unwrap(), "it lives");
    assert_eq!(listed(&s).await, 1);
    assert!(s.unlist_edge(&e1(), &row().await).await.unwrap());
    assert_eq!(listed(&s).await, 0);
    // It was cut off, and comes back.
    s.list_edge(&e1()).await.unwrap();
    assert_eq!(listed(&s).await, 1);
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
