//! Leases of periods that are long over: lost where nobody lives, left alone where somebody does.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::budget::{Allowance, Bucket, LeaseState};
use tollgate_domain::id::{CustomerId, EdgeId, EdgeSession};
use tollgate_engine::{Fault, Faults, Step};
use tollgate_functions::create_budgets::create_budgets;
use tollgate_functions::expire_leases::{Expired, expire_leases};
use tollgate_store::allowance::{Close, Closing, Rostered, Take};

use crate::support::Rig;

const HOUR: u64 = 3600;
/// From the rig's first instant, noon of 10 March, to the first of April.
const TO_APRIL: u64 = 21 * 24 * HOUR + 12 * HOUR;

fn demo() -> CustomerId {
    "demo".parse().unwrap()
}

fn e1() -> EdgeId {
    "e1".parse().unwrap()
}

/// A rig with budgets, and a life of `e1` with a lease of March: 1,000 bytes taken, 400 settled.
async fn march() -> (Rig, EdgeSession) {
    let rig = Rig::new().await;
    create_budgets(&rig.platform).await.unwrap();
    let session = rig.store().start_epoch(&e1(), rig.now()).await.unwrap();
    lease(&rig, &session).await;
    (rig, session)
}

/// A lease of this month's bucket.
async fn lease(rig: &Rig, session: &EdgeSession) -> Bucket {
    let bucket = Bucket::Unlimited { start: rig.now().month_start() };
    rig.store().roster_add(session, &Rostered { customer: demo(), bucket: bucket.clone() }).await.unwrap();
    for (bytes, settled, seq) in [(1000, 0, 0), (0, 400, 1)] {
        let took = rig.store().take(&demo(), &bucket, session, bytes, settled, seq).await.unwrap();
        assert!(matches!(took, Take::Taken { .. }), "{took:?}");
    }
    bucket
}

/// The bucket of March.
async fn bucket(rig: &Rig) -> (Bucket, Allowance) {
    let first = rig.store().allowances(&demo()).await.unwrap().remove(0);
    assert!(first.1.is_sound(), "{first:?}");
    first
}

async fn run(rig: &Rig) -> Expired {
    expire_leases(&rig.platform).await.unwrap()
}

fn looked_at(lives: u32) -> Expired {
    Expired { lives, ..Expired::default() }
}

#[tokio::test]
async fn two_days_after_its_period_a_silent_edges_lease_is_lost_and_stays_charged() {
    let (rig, session) = march().await;
    assert_eq!(run(&rig).await, looked_at(1), "in its period");
    rig.clock.forward_secs(TO_APRIL + 48 * HOUR - 1);
    create_budgets(&rig.platform).await.unwrap();
    lease(&rig, &session).await;
    assert_eq!(run(&rig).await, looked_at(1), "a second before");
    rig.clock.forward_secs(1);
    assert_eq!(run(&rig).await, Expired { lives: 1, lost: 1, doubt: 600, ..Expired::default() });
    let (march, allowance) = bucket(&rig).await;
    assert_eq!((allowance.used(), allowance.leases[&session].state), (1000, LeaseState::Lost));
    assert_eq!(run(&rig).await, looked_at(1), "once");
    // Its lease of April is its own.
    let april = rig.store().allowances(&demo()).await.unwrap().remove(1).1;
    assert_eq!(april.leases[&session].state, LeaseState::Open);
    // What it says of March comes late.
    let last = Closing { taken: 1000, settled: 700, doubt: 0, seq: allowance.leases[&session].seq };
    assert_eq!(rig.store().close_lease(&demo(), &march, &session, last).await.unwrap(), Close::Lost);
    let told = rig.events.of("lease.expired");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0].detail["session"], &told[0].detail["doubtBytes"]), (&"e1.1".into(), &600.into()));
}

#[tokio::test]
async fn an_edge_that_lives_keeps_its_lease_and_people_are_told_each_time() {
    let (rig, session) = march().await;
    rig.clock.forward_secs(TO_APRIL + 48 * HOUR);
    let beating = {
        let (platform, session) = (Arc::clone(&rig.platform), session.clone());
        tokio::spawn(async move {
            loop {
                platform.store.heartbeat(&session, 0, platform.now()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    for n in 1..=2 {
        assert_eq!(run(&rig).await, Expired { lives: 1, living: 1, ..Expired::default() });
        assert_eq!(rig.events.of("lease.overdue").len(), n);
    }
    assert_eq!(rig.events.of("lease.overdue")[0].detail["takenBytes"], 1000);
    assert_eq!(bucket(&rig).await.1.leases[&session].state, LeaseState::Open);
    beating.abort();
    let _ = beating.await;
    assert_eq!(run(&rig).await.lost, 1);
}

#[tokio::test]
async fn earlier_lives_lose_theirs_though_a_later_one_lives() {
    let (rig, first) = march().await;
    let second = rig.store().start_epoch(&e1(), rig.now()).await.unwrap();
    lease(&rig, &second).await;
    let third = rig.store().start_epoch_beside(&e1(), std::slice::from_ref(&second), rig.now()).await.unwrap();
    lease(&rig, &third).await;
    rig.clock.forward_secs(TO_APRIL + 48 * HOUR);
    // The last one ended by itself, and left its lease open all the same.
    assert!(rig.store().end_session(&third, rig.now()).await.unwrap());
    assert_eq!(run(&rig).await, Expired { lives: 3, lost: 3, doubt: 1800, ..Expired::default() });
    let (_, allowance) = bucket(&rig).await;
    for session in [&first, &second, &third] {
        assert_eq!(allowance.leases[session].state, LeaseState::Lost, "{session}");
    }
}

#[tokio::test]
async fn a_declared_loss_that_was_not_finished_is_finished_whatever_beats() {
    let (rig, session) = march().await;
    rig.clock.forward_secs(TO_APRIL + 48 * HOUR);
    rig.store().declare_lost(&session, None, rig.now()).await.unwrap();
    assert_eq!(run(&rig).await.lost, 1);
}

#[tokio::test]
async fn runs_that_overlap_or_lose_an_answer_lose_each_lease_once() {
    let (rig, session) = march().await;
    rig.clock.forward_secs(TO_APRIL + 48 * HOUR);
    let faults = Faults::script([Step::from(Fault::LostAck).on("UpdateItem")]);
    let losing = rig.faulty(&faults);
    let (one, two) = tokio::join!(expire_leases(&rig.platform), expire_leases(&losing));
    assert!(one.unwrap().lost + two.unwrap().lost >= 1);
    let lease = bucket(&rig).await.1.leases[&session].clone();
    // Taken, settled, lost: three writes.
    assert_eq!((lease.taken, lease.settled, lease.doubt, lease.seq), (1000, 400, 600, 3));
    assert_eq!(run(&rig).await, looked_at(1));
}
