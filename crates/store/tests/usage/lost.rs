//! Lives that end, drain, or are declared lost; and what comes late.

use std::collections::BTreeMap;

use tollgate_domain::budget::{Lease, LeaseState};
use tollgate_domain::id::EdgeId;
use tollgate_store::allowance::{Close, Closing, Rostered, Take};
use tollgate_store::edge::{EdgeRow, Heartbeat};
use tollgate_store::lost::{Declared, Late};

use super::*;

fn e1() -> EdgeId {
    "e1".parse().unwrap()
}

async fn row(s: &Store) -> EdgeRow {
    s.edge(&e1()).await.unwrap().unwrap()
}

/// A life that is in the roster of a customer.
async fn holding(s: &Store, now: u64) -> EdgeSession {
    let session = s.start_epoch(&e1(), at(now)).await.unwrap();
    s.roster_add(&session, &Rostered { customer: demo(), bucket: plan() }).await.unwrap();
    session
}

#[tokio::test]
async fn a_life_that_drains_and_ends_by_itself_leaves_nothing_behind() {
    let (e, s) = store().await;
    let first = s.start_epoch(&e1(), at(0)).await.unwrap();
    assert!(losing(&e, "UpdateItem").0.begin_draining(&first, at(1)).await.unwrap());
    assert!(s.begin_draining(&first, at(2)).await.unwrap());
    assert_eq!(row(&s).await.draining_at, Some(at(1)), "the first time counts");
    s.heartbeat(&first, 7, at(3)).await.unwrap();
    assert_eq!((row(&s).await.tunnels, row(&s).await.heartbeat), (Some(7), at(3)));
    assert!(losing(&e, "UpdateItem").0.end_session(&first, at(5)).await.unwrap());
    assert_eq!(row(&s).await.ended_at, Some(at(5)));
    let second = s.start_epoch(&e1(), at(6)).await.unwrap();
    let now = row(&s).await;
    assert_eq!((now.draining_at, now.ended_at, now.tunnels), (None, None, None));
    assert!(now.unsettled.is_empty(), "{now:?}");
    assert!(!s.begin_draining(&first, at(7)).await.unwrap());
    assert!(!s.end_session(&first, at(7)).await.unwrap());
    assert_eq!(row(&s).await.last_heard(&second), Some(at(6)));
    assert_eq!(row(&s).await.last_heard(&first), None);
}

#[tokio::test]
async fn who_hands_over_is_forgotten_when_it_ends() {
    let (_e, s) = store().await;
    let first = s.start_epoch(&e1(), at(0)).await.unwrap();
    s.start_epoch_beside(&e1(), std::slice::from_ref(&first), at(1)).await.unwrap();
    assert!(row(&s).await.unsettled.is_empty(), "it lives");
    assert!(s.end_session(&first, at(2)).await.unwrap());
    assert!(row(&s).await.leaving.is_empty() && row(&s).await.ended_at.is_none());
    assert!(!s.end_session(&first, at(3)).await.unwrap());
}

#[tokio::test]
async fn lives_that_did_not_end_are_known_while_they_hold_something() {
    let (_e, s) = store().await;
    let first = holding(&s, 0).await;
    let second = s.start_epoch(&e1(), at(10)).await.unwrap();
    assert_eq!(row(&s).await.unsettled, BTreeMap::from([(first.clone(), at(0))]));
    // The second holds nothing: one more start forgets it, and keeps the first.
    s.start_epoch(&e1(), at(20)).await.unwrap();
    s.start_epoch(&e1(), at(30)).await.unwrap();
    let unsettled = row(&s).await.unsettled;
    assert!(unsettled.contains_key(&first) && !unsettled.contains_key(&second), "{unsettled:?}");
    s.roster_remove(&first, &Rostered { customer: demo(), bucket: plan() }).await.unwrap();
    assert!(!s.holds_something(&first).await.unwrap());
    s.start_epoch(&e1(), at(40)).await.unwrap();
    assert!(!row(&s).await.unsettled.contains_key(&first));
}

#[tokio::test]
async fn a_life_is_declared_lost_only_while_it_is_silent() {
    let (e, s) = store().await;
    let me = holding(&s, 0).await;
    s.heartbeat(&me, 0, at(5)).await.unwrap();
    assert_eq!(s.declare_lost(&me, Some(at(0)), at(6)).await.unwrap(), Declared::Alive { heartbeat: at(5) });
    assert!(row(&s).await.lost.is_empty());
    assert_eq!(losing(&e, "UpdateItem").0.declare_lost(&me, Some(at(5)), at(7)).await.unwrap(), Declared::Lost);
    assert_eq!(s.declare_lost(&me, Some(at(0)), at(8)).await.unwrap(), Declared::Lost, "it is already");
    assert_eq!(row(&s).await.lost, BTreeMap::from([(me.clone(), at(7))]));
    assert_eq!(s.heartbeat(&me, 0, at(9)).await.unwrap(), Heartbeat::Lost);
    assert_eq!(row(&s).await.heartbeat, at(5));
    // The next life knows of it; and so does who asks.
    let next = s.start_epoch(&e1(), at(10)).await.unwrap();
    assert_eq!(row(&s).await.lost, BTreeMap::from([(me.clone(), at(7))]));
    assert_eq!(s.heartbeat(&me, 0, at(11)).await.unwrap(), Heartbeat::Lost);
    assert_eq!(s.heartbeat(&next, 0, at(11)).await.unwrap(), Heartbeat::Beating);
}

#[tokio::test]
async fn force_overrules_heartbeats_and_earlier_lives_may_be_lost_too() {
    let (_e, s) = store().await;
    let never = EdgeSession { edge: "e9".parse().unwrap(), epoch: 1 };
    assert_eq!(s.declare_lost(&never, None, at(0)).await.unwrap(), Declared::NoLife);
    let first = holding(&s, 0).await;
    let second = s.start_epoch_beside(&e1(), std::slice::from_ref(&first), at(1)).await.unwrap();
    s.heartbeat(&first, 0, at(2)).await.unwrap();
    assert_eq!(s.declare_lost(&first, None, at(3)).await.unwrap(), Declared::Lost);
    assert_eq!(s.heartbeat(&first, 0, at(4)).await.unwrap(), Heartbeat::Lost);
    let third = s.start_epoch(&e1(), at(5)).await.unwrap();
    assert_eq!(s.declare_lost(&second, Some(at(1)), at(6)).await.unwrap(), Declared::Lost);
    let later = EdgeSession { epoch: 9, ..third.clone() };
    assert_eq!(s.declare_lost(&later, None, at(6)).await.unwrap(), Declared::NoLife);
    assert_eq!(s.declare_lost(&third, None, at(6)).await.unwrap(), Declared::Lost);
    let fourth = s.start_epoch(&e1(), at(7)).await.unwrap();
    assert!(s.end_session(&fourth, at(8)).await.unwrap());
    assert_eq!(s.declare_lost(&fourth, None, at(9)).await.unwrap(), Declared::NoLife, "it ended by itself");
}

#[tokio::test]
async fn a_lost_lease_is_charged_whole_takes_no_more_and_is_lost_once() {
    let (e, s) = granted(1000).await;
    s.take(&demo(), &plan(), &edge(1), 300, 0, 0).await.unwrap();
    s.take(&demo(), &plan(), &edge(1), 0, 100, 1).await.unwrap();
    s.take(&demo(), &plan(), &edge(2), 50, 0, 0).await.unwrap();
    let lost = Lease { taken: 300, settled: 100, doubt: 200, seq: 3, state: LeaseState::Lost };
    let lose = losing(&e, "UpdateItem").0;
    assert_eq!(lose.lose_lease(&demo(), &plan(), &edge(1)).await.unwrap(), Some(lost.clone()));
    assert_eq!(s.lose_lease(&demo(), &plan(), &edge(1)).await.unwrap(), Some(lost));
    let a = item(&s).await;
    assert_eq!((a.available, a.used()), (650, 300), "nothing goes back: the edge may live all the same");
    let mut model = tollgate_domain::budget::Allowance::new(1000, 1, at(0), at(1000));
    for (who, n) in [(1, 300), (2, 50)] {
        model.take(&edge(who), n, 0, 0).unwrap();
    }
    model.take(&edge(1), 0, 100, 1).unwrap();
    model.lose(&edge(1)).unwrap();
    assert_eq!(a, model, "as the domain says");
    assert_eq!(s.take(&demo(), &plan(), &edge(1), 1, 100, 3).await.unwrap(), Take::Lost);
    let last = Closing { taken: 300, settled: 150, doubt: 0, seq: 3 };
    assert_eq!(s.close_lease(&demo(), &plan(), &edge(1), last).await.unwrap(), Close::Lost);
    for nobody in [edge(3), EdgeSession { epoch: 2, ..edge(1) }] {
        assert_eq!(s.lose_lease(&demo(), &plan(), &nobody).await.unwrap(), None);
    }
    let nobody: CustomerId = "other".parse().unwrap();
    assert_eq!(s.lose_lease(&nobody, &plan(), &edge(1)).await.unwrap(), None);
    assert!(s.allowances(&nobody).await.unwrap().is_empty(), "no bucket is made");
}

#[tokio::test]
async fn what_comes_late_is_written_once_per_lease_and_only_grows() {
    let (e, s) = store().await;
    let late = |n, moved, told| Late { session: edge(n), bucket: plan(), moved, settled: 100, doubt: 5, at: at(told) };
    assert!(losing(&e, "PutItem").0.record_late(&demo(), &late(1, 150, 1)).await.is_ok());
    assert!(!s.record_late(&demo(), &late(1, 150, 2)).await.unwrap());
    assert!(!s.record_late(&demo(), &late(1, 120, 3)).await.unwrap());
    assert!(s.record_late(&demo(), &late(1, 160, 4)).await.unwrap());
    assert!(s.record_late(&demo(), &late(2, 100, 5)).await.unwrap());
    let found = s.late(&demo()).await.unwrap();
    assert_eq!(found, [late(1, 160, 4), late(2, 100, 5)]);
    assert_eq!(found.iter().map(Late::bytes).collect::<Vec<_>>(), [60, 0]);
    assert!(s.late(&"other".parse().unwrap()).await.unwrap().is_empty());
}
