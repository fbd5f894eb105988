use std::time::Duration;

use tollgate_engine::{Fault, Step};
use tollgate_store::idempotency::{Answer, Begin, Claim, KEPT, TAKEOVER};

use crate::{at, faulty, store};

fn answer(body: &str) -> Answer {
    Answer { status: 201, body: body.into() }
}

fn fresh(b: Begin) -> Claim {
    match b {
        Begin::Fresh(claim) => claim,
        other => panic!("not fresh: {other:?}"),
    }
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_and_another_body_is_told_apart() {
    let (engine, store) = store().await;
    let claim = fresh(store.begin("c#a", "k1", "body", at(0)).await.unwrap());
    assert!(matches!(store.begin("c#a", "k1", "body", at(1)).await.unwrap(), Begin::InFlight));
    assert!(matches!(store.begin("c#a", "k1", "other", at(1)).await.unwrap(), Begin::Mismatch));
    let (weak, faults) = faulty(&engine, [Step::from(Fault::LostAck).on("PutItem")]);
    assert!(weak.finish(claim, answer("{}")).await.unwrap(), "a lost answer does not lose the record");
    assert_eq!(faults.left(), 0);
    for t in [2, 3600, KEPT.as_secs() - 1] {
        let Begin::Replay(a) = store.begin("c#a", "k1", "body", at(t)).await.unwrap() else { panic!("at {t}") };
        assert_eq!(a, answer("{}"));
    }
    assert!(matches!(store.begin("c#a", "k1", "other", at(2)).await.unwrap(), Begin::Mismatch));
    fresh(store.begin("c#b", "k1", "other", at(2)).await.unwrap());
    fresh(store.begin("c#a", "k2", "other", at(2)).await.unwrap());
    fresh(store.begin("c#a", "k1", "other", at(KEPT.as_secs())).await.unwrap());
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_still_ours() {
    let (engine, store) = store().await;
    let (weak, faults) = faulty(&engine, [Step::from(Fault::LostAck).on("PutItem")]);
    let claim = fresh(weak.begin("a", "k", "body", at(0)).await.unwrap());
    assert_eq!(faults.left(), 0);
    assert!(store.abandon(claim).await.unwrap());
    fresh(store.begin("a", "k", "changed", at(1)).await.unwrap());
}

#[tokio::test]
async fn a_dead_claim_is_taken_over_and_its_late_answer_is_dropped() {
    let (engine, store) = store().await;
    let dead = fresh(store.begin("a", "k", "body", at(0)).await.unwrap());
    let slow = fresh(store.begin("a", "slow", "body", at(0)).await.unwrap());
    let now = at(0).plus(TAKEOVER);
    assert!(matches!(
        store.begin("a", "k", "body", now.minus(Duration::from_millis(1))).await.unwrap(),
        Begin::InFlight
    ));
    assert!(matches!(store.begin("a", "k", "other", now).await.unwrap(), Begin::Mismatch));
    let heir = fresh(store.begin("a", "k", "body", now).await.unwrap());
    assert!(!store.finish(dead, answer("late")).await.unwrap());
    assert!(store.finish(heir, answer("heir's")).await.unwrap());
    let Begin::Replay(a) = store.begin("a", "k", "body", now).await.unwrap() else { panic!("answered") };
    assert_eq!(a.body, "heir's");
    fresh(store.begin("a", "slow", "body", now).await.unwrap());
    assert!(!store.abandon(slow).await.unwrap(), "what another holds is not given back");
    let (weak, _) = faulty(&engine, (0..3).map(|_| Step::from(Fault::Timeout)));
    assert!(weak.begin("a", "k3", "body", now).await.is_err());
}

#[tokio::test]
async fn of_concurrent_requests_one_claims() {
    let (_engine, store) = store().await;
    let tries = (0..8).map(|_| {
        let store = store.clone();
        async move { store.begin("a", "k", "body", at(0)).await.unwrap() }
    });
    let all = futures_util::future::join_all(tries).await;
    assert_eq!(all.iter().filter(|b| matches!(b, Begin::Fresh(_))).count(), 1);
    assert_eq!(all.iter().filter(|b| matches!(b, Begin::InFlight)).count(), 7);
}
