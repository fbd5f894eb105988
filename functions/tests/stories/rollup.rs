//! A customer's day becomes one row when nobody writes it any more, and again when somebody does
//! all the same.

use std::time::Duration;

use tollgate_domain::budget::Bucket;
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_engine::{Fault, Faults, Rates, Step};
use tollgate_functions::create_budgets::create_budgets;
use tollgate_functions::expire_leases::expire_leases;
use tollgate_functions::rollup::{Folded, rollup};
use tollgate_store::allowance::{Close, Closing, Rostered, Take};
use tollgate_store::days::DAY_SHARDS;
use tollgate_store::rollup::DayTotal;
use tollgate_store::usage::{DayUsage, UsageKey};

use crate::support::Rig;

const HOUR: u64 = 3600;
/// The rig's first day, which begins at noon.
const DAY: &str = "2026-03-10";
/// Until it is looked at.
const TO_ONE_O_CLOCK: u64 = 13 * HOUR;
const LONG: Duration = Duration::from_secs(60);

fn demo() -> CustomerId {
    "demo".parse().unwrap()
}

async fn started(rig: &Rig, edge: &str) -> EdgeSession {
    rig.store().start_epoch(&edge.parse().unwrap(), rig.now()).await.unwrap()
}

/// Says that the session writes the day, and writes its row of it.
async fn writes(rig: &Rig, customer: &CustomerId, session: &EdgeSession, seq: u64, egress: u64) {
    rig.store().begin_day(customer, DAY, session).await.unwrap();
    let key = UsageKey {
        day: DAY.into(),
        line: "chip1".parse().unwrap(),
        proxy: "brd/203.0.113.7".parse().unwrap(),
        session: session.clone(),
    };
    let (first_at, last_at) = (rig.now(), rig.now());
    let usage = DayUsage { seq, ingress: 1, egress, connections: 1, first_at, last_at };
    assert!(rig.store().record_usage(customer, &key, &usage).await.unwrap());
}

/// Takes a lease of March: 1,000 bytes.
async fn leases(rig: &Rig, session: &EdgeSession) -> Rostered {
    let start = rig.now().month_start();
    let entry = Rostered { customer: demo(), bucket: Bucket::Unlimited { start } };
    rig.store().roster_add(session, &entry).await.unwrap();
    let took = rig.store().take(&demo(), &entry.bucket, session, 1000, 0, 0).await.unwrap();
    assert!(matches!(took, Take::Taken { .. }), "{took:?}");
    entry
}

async fn passes(rig: &Rig, session: &EdgeSession) {
    assert!(rig.store().pass_day(&demo(), DAY, session).await.unwrap());
}

async fn run(rig: &Rig) -> Folded {
    rollup(&rig.platform, LONG).await.unwrap()
}

fn waiting() -> Folded {
    Folded { waiting: 1, ..Folded::default() }
}

fn written() -> Folded {
    Folded { written: 1, ..Folded::default() }
}

/// What the day came to, which must be what its rows come to, with nobody left who may write it.
async fn total(rig: &Rig, customer: &CustomerId) -> DayTotal {
    let rows = rig.store().usage_of_day(customer, DAY).await.unwrap();
    let sum = DayTotal::of(rows.iter().map(|(key, usage)| (&key.proxy, usage)));
    let rollups = rig.store().rollups(customer, &DAY[..7]).await.unwrap();
    assert_eq!(rollups.iter().map(|r| (r.day.as_str(), &r.total)).collect::<Vec<_>>(), [(DAY, &sum)]);
    for shard in 0..DAY_SHARDS {
        let left = rig.store().days_written(shard, "9999", None, 100).await.unwrap();
        assert!(left.iter().all(|d| d.customer != *customer), "{left:?}");
    }
    sum
}

#[tokio::test]
async fn a_day_is_one_row_once_every_session_has_passed_it() {
    let rig = Rig::new().await;
    let (one, two) = (started(&rig, "e1").await, started(&rig, "e2").await);
    writes(&rig, &demo(), &one, 5, 100).await;
    writes(&rig, &demo(), &two, 7, 20).await;
    passes(&rig, &one).await;
    rig.clock.forward_secs(TO_ONE_O_CLOCK - 1);
    assert_eq!(run(&rig).await, Folded::default(), "nobody looks yet");
    rig.clock.forward_secs(1);
    assert_eq!(run(&rig).await, waiting());
    assert!(rig.store().rollups(&demo(), "2026-03").await.unwrap().is_empty());
    // It lives and holds nothing at the moment: its clock may say that it is still that day.
    assert_eq!(run(&rig).await, waiting());
    passes(&rig, &two).await;
    assert_eq!(run(&rig).await, written());
    assert_eq!(total(&rig, &demo()).await.moved.egress, 120);
    assert_eq!(run(&rig).await, Folded::default(), "once");
}

#[tokio::test]
async fn a_crash_is_waited_for_until_it_is_settled_and_what_it_raises_is_in_the_row() {
    let rig = Rig::new().await;
    create_budgets(&rig.platform).await.unwrap();
    let dead = started(&rig, "e1").await;
    let entry = leases(&rig, &dead).await;
    writes(&rig, &demo(), &dead, 5, 100).await;
    rig.clock.forward_secs(TO_ONE_O_CLOCK);
    assert_eq!(run(&rig).await, waiting(), "for all that anybody knows it lives");
    let next = started(&rig, "e1").await;
    assert_eq!(run(&rig).await, waiting(), "its journal is not settled");
    // As recovery does, days later: the lease, the row, the roster.
    rig.clock.forward_secs(72 * HOUR);
    let last = Closing { taken: 1000, settled: 300, doubt: 9, seq: 1 };
    assert_eq!(rig.store().close_lease(&demo(), &entry.bucket, &dead, last).await.unwrap(), Close::Closed);
    assert_eq!(run(&rig).await, waiting(), "the row may still be raised");
    writes(&rig, &demo(), &dead, 6, 299).await;
    assert_eq!(run(&rig).await, waiting());
    rig.store().roster_remove(&dead, &entry).await.unwrap();
    assert_eq!(run(&rig).await, written());
    assert_eq!(total(&rig, &demo()).await.moved.egress, 299);
    // One more start forgets the life; a day that it had marked and did not write is nobody's.
    rig.store().begin_day(&demo(), "2026-03-09", &dead).await.unwrap();
    rig.store().end_session(&next, rig.now()).await.unwrap();
    started(&rig, "e1").await;
    assert_eq!(run(&rig).await, Folded { known: 1, ..Folded::default() });
    assert_eq!(total(&rig, &demo()).await.moved.egress, 299);
}

#[tokio::test]
async fn what_a_lost_life_raises_after_all_is_added_up_once_more() {
    let rig = Rig::new().await;
    create_budgets(&rig.platform).await.unwrap();
    let lost = started(&rig, "e1").await;
    let entry = leases(&rig, &lost).await;
    writes(&rig, &demo(), &lost, 5, 100).await;
    rig.clock.forward_secs(TO_ONE_O_CLOCK);
    rig.store().declare_lost(&lost, None, rig.now()).await.unwrap();
    assert_eq!(run(&rig).await, waiting(), "the loss is not finished");
    rig.store().lose_lease(&demo(), &entry.bucket, &lost).await.unwrap().unwrap();
    assert_eq!(run(&rig).await, written());
    assert_eq!(total(&rig, &demo()).await.moved.egress, 100);
    // Its machine comes back, with a row of a lease that it had closed.
    rig.clock.forward_secs(40 * 24 * HOUR);
    writes(&rig, &demo(), &lost, 8, 150).await;
    assert_eq!(run(&rig).await, written());
    assert_eq!(total(&rig, &demo()).await.moved.egress, 150);
    assert_eq!(run(&rig).await, Folded::default());
}

#[tokio::test]
async fn an_edge_that_never_comes_back_is_waited_for_until_its_leases_are_lost() {
    let rig = Rig::new().await;
    create_budgets(&rig.platform).await.unwrap();
    let gone = started(&rig, "e1").await;
    leases(&rig, &gone).await;
    writes(&rig, &demo(), &gone, 5, 100).await;
    rig.clock.forward_secs(21 * 24 * HOUR + 12 * HOUR + 48 * HOUR);
    assert_eq!(run(&rig).await, waiting());
    assert_eq!(expire_leases(&rig.platform).await.unwrap().lost, 1);
    assert_eq!(run(&rig).await, written());
    assert_eq!(total(&rig, &demo()).await.moved.egress, 100);
}

#[tokio::test]
async fn a_life_that_ended_by_itself_has_passed_its_days() {
    let rig = Rig::new().await;
    let session = started(&rig, "e1").await;
    writes(&rig, &demo(), &session, 5, 100).await;
    rig.clock.forward_secs(TO_ONE_O_CLOCK);
    assert!(rig.store().end_session(&session, rig.now()).await.unwrap());
    assert_eq!(run(&rig).await, written());
    total(&rig, &demo()).await;
}

#[tokio::test]
async fn runs_that_overlap_or_lose_answers_come_to_the_same() {
    let rig = Rig::new().await;
    let session = started(&rig, "e1").await;
    writes(&rig, &demo(), &session, 5, 100).await;
    passes(&rig, &session).await;
    rig.clock.forward_secs(TO_ONE_O_CLOCK);
    let lost = |operation: &str| Step::from(Fault::LostAck).on(operation);
    let losing = rig.faulty(&Faults::script([lost("PutItem"), lost("DeleteItem")]));
    let (one, two) = tokio::join!(rollup(&rig.platform, LONG), rollup(&losing, LONG));
    one.unwrap();
    two.unwrap();
    assert_eq!(total(&rig, &demo()).await.moved.egress, 100);
    assert_eq!(run(&rig).await, Folded::default());
}

#[tokio::test]
async fn a_run_that_is_out_of_time_is_gone_on_with_by_the_next() {
    let rig = Rig::new().await;
    let session = started(&rig, "e1").await;
    let customers: Vec<CustomerId> = (0..40).map(|n| format!("c{n}").parse().unwrap()).collect();
    for customer in &customers {
        writes(&rig, customer, &session, 5, 100).await;
        assert!(rig.store().pass_day(customer, DAY, &session).await.unwrap());
    }
    rig.clock.forward_secs(TO_ONE_O_CLOCK);
    let (mut runs, mut written) = (0, 0);
    loop {
        let run = rollup(&rig.platform, Duration::ZERO).await.unwrap();
        assert!(run.written <= u32::from(DAY_SHARDS), "{run:?}");
        (runs, written) = (runs + 1, written + run.written);
        assert!(runs <= 40, "each run goes on");
        if !run.more {
            break;
        }
    }
    assert!(runs > 1);
    assert_eq!(written, 40);
    for customer in &customers {
        total(&rig, customer).await;
    }
}

/// The edge's clock is behind, or a journal returns again and again: rows are raised while runs, of
/// which some steps fail, add them up. What is left at the end is the sum of the rows.
#[tokio::test]
async fn totals_come_to_what_the_rows_say_whatever_is_raised_meanwhile() {
    for seed in 0..20 {
        let rig = Rig::new().await;
        let session = started(&rig, "e1").await;
        rig.clock.forward_secs(TO_ONE_O_CLOCK);
        let rates = Rates {
            conflict: 100,
            throttle: 20,
            lost_ack: 100,
            timeout: 50,
            delay: 200,
            longest_delay: Duration::from_millis(3),
        };
        let rough = rig.faulty(&Faults::random(seed, rates));
        let writer = async {
            for seq in 1..=20 {
                writes(&rig, &demo(), &session, seq, 10 * seq).await;
                rig.store().pass_day(&demo(), DAY, &session).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let runner = async {
            for _ in 0..20 {
                // What fails is made up for by a later run.
                drop(rollup(&rough, LONG).await);
            }
        };
        tokio::join!(writer, runner);
        run(&rig).await;
        assert_eq!(total(&rig, &demo()).await.moved.egress, 200, "seed {seed}");
    }
}
