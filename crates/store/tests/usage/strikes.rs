//! The strike clock in the share, the lock it sets, and the end of that.

use tollgate_domain::customer::{AuthMode, Credential, Customer, Standing};
use tollgate_domain::feed::Entity;
use tollgate_domain::plan::Limits;
use tollgate_domain::share::{Capacity, Terms, Usage};
use tollgate_engine::Recorder;
use tollgate_store::cap::{Life, ShareReport};

use super::*;

const SOFT: u32 = 10;
const TERMS: Terms = Terms { ver: 1, soft: SOFT, limits: Capacity { hard: 20, qps: 0, rate: 0 } };

async fn report(s: &Store, n: u64, in_use: u32, now: u64) -> ShareReport {
    let usage = Usage { in_use, ..Usage::default() };
    insist!(s.report_share(&demo(), Life::of(&edge(n)), TERMS, usage, at(now)))
}

async fn ver(s: &Store) -> u64 {
    s.cap(&demo()).await.unwrap().unwrap().ver
}

/// Versions of the share that the feed announced.
async fn told(s: &Store) -> Vec<u64> {
    let mut changes = s.changes_since(at(0)).await.unwrap();
    changes.retain(|(_, c)| c.entity == Entity::Share(demo()));
    changes.into_iter().map(|(_, c)| c.version).collect()
}

async fn customer(s: &Store) -> Customer {
    let customer = Customer {
        id: demo(),
        name: "Demo".into(),
        ver: 1,
        plan: "basic".into(),
        plan_ver: 1,
        limits: Limits { threads: SOFT, thread_burst_milli: 2000, ..Limits::default() },
        default_country: None,
        auth: AuthMode::Either,
        allow_fallback: true,
        max_hops: 7,
        ban: None,
        locked_until: None,
        expires_at: None,
        kicked_at: None,
        deleted_at: None,
        created_at: at(0),
    };
    let credential = Credential {
        user: "demo".parse().unwrap(),
        customer: demo(),
        version: 1,
        verifier: "v".into(),
        previous: None,
        created_at: at(0),
    };
    s.create_customer(&customer, &credential, at(0)).await.unwrap();
    customer
}

/// Two edges carry 12 tunnels together until the clock strikes, at second 900.
async fn struck(s: &Store) -> ShareReport {
    report(s, 2, 6, 0).await;
    for t in (0..900).step_by(5) {
        assert_eq!(report(s, 1, 6, t).await.locked_until, None, "{t}");
    }
    report(s, 2, 6, 900).await
}

#[tokio::test]
async fn the_sum_of_all_edges_above_the_plan_for_fifteen_minutes_locks_and_tells() {
    let (_e, s) = store().await;
    let first = report(&s, 1, 11, 0).await;
    assert_eq!((first.held.threads, first.in_use_total, first.strike_since), (20, 11, Some(at(0))));
    report(&s, 1, 0, 5).await;
    report(&s, 1, 0, 65).await;
    assert_eq!(s.cap(&demo()).await.unwrap().unwrap().strike, tollgate_domain::strike::Strike::default());

    let (_e, s) = store().await;
    let last = struck(&s).await;
    assert_eq!((last.in_use_total, last.strike_since, last.locked_until), (12, None, Some(at(4500))));
    assert_eq!(told(&s).await, [ver(&s).await], "one entry, with the version that was written");
    // Every edge hears of it with its next report too, and nobody announces it again.
    assert_eq!(report(&s, 1, 6, 905).await.locked_until, Some(at(4500)));
    report(&s, 1, 0, 910).await;
    assert_eq!(told(&s).await.len(), 1);
}

#[tokio::test]
async fn a_steady_customer_costs_a_read_and_a_minute_above_a_write() {
    let (engine, s) = store().await;
    report(&s, 1, 5, 0).await;
    let recorder = Recorder::new();
    let store = Store::new(engine.client_recorded(recorder.clone()), "");
    for t in (5..600).step_by(5) {
        report(&store, 1, 5, t).await;
    }
    assert_eq!(recorder.consumed().write, 0.0, "{:?}", recorder.operations());
    for t in (600..1200).step_by(5) {
        report(&store, 1, 15, t).await;
    }
    // Ten minutes: the crossing, and nine times that it still is.
    assert_eq!(recorder.consumed().write, 10.0, "{:?}", recorder.operations());
}

#[tokio::test]
async fn a_strike_whose_answer_is_lost_is_one_strike() {
    let (engine, s) = store().await;
    report(&s, 1, 11, 0).await;
    for t in (5..900).step_by(5) {
        report(&s, 1, 11, t).await;
    }
    let steps = (0..3).map(|_| Step::from(Fault::LostAck).on("TransactWriteItems"));
    let faults = Faults::script(steps);
    let weak = Store::new(engine.client_with(faults.clone()), "");
    let usage = Usage { in_use: 11, ..Usage::default() };
    let lost = weak.report_share(&demo(), Life::of(&edge(1)), TERMS, usage, at(900)).await;
    assert!(lost.is_err() && faults.left() == 0, "{lost:?}");
    assert_eq!(report(&weak, 1, 11, 900).await.locked_until, Some(at(4500)));
    assert_eq!(told(&s).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_that_report_at_once_strike_once() {
    let (e, s) = store().await;
    let edges: Vec<_> = (0..3)
        .map(|n| {
            let (rough, _) = rough(&e, n);
            tokio::spawn(async move {
                for t in (0..=950).step_by(50) {
                    report(&rough, n, 4, t).await;
                }
            })
        })
        .collect();
    for e in edges {
        e.await.unwrap();
    }
    // Their clocks are not in step: between them nobody knows what was above when.
    let cap = s.cap(&demo()).await.unwrap().unwrap();
    assert_eq!(cap.in_use(), 12);
    assert_eq!(told(&s).await.len(), usize::from(cap.strike.locked_until.is_some()));
}

#[tokio::test]
async fn an_operator_ends_every_lock_and_the_clock() {
    let (engine, s) = store().await;
    let made = customer(&s).await;
    let nothing = s.unlock_customer(&demo(), at(1)).await.unwrap().unwrap();
    assert_eq!((nothing.before, nothing.after), (made.clone(), made.clone()));
    assert!(s.changes_since(at(1)).await.unwrap().is_empty(), "nothing was locked: nothing is told");
    assert!(s.unlock_customer(&"nobody".parse().unwrap(), at(1)).await.unwrap().is_none());

    struck(&s).await;
    let (weak, faults) = losing(&engine, "TransactWriteItems");
    let ended = weak.unlock_customer(&demo(), at(901)).await.unwrap().unwrap();
    assert_eq!(faults.left(), 0);
    assert_eq!(ended.before.standing(at(901)), Standing::Locked { until: at(4500) });
    assert_eq!((ended.after.standing(at(901)), ended.after.ver), (Standing::Active, 1));
    let cap = s.cap(&demo()).await.unwrap().unwrap();
    assert_eq!(cap.strike, tollgate_domain::strike::Strike::default());
    assert_eq!((cap.in_use(), told(&s).await.len()), (12, 2));

    // Locked by its row and with a running clock: both go, and both are told.
    s.lock_customer(&demo(), at(5000), at(902)).await.unwrap();
    report(&s, 1, 6, 905).await;
    let ended = s.unlock_customer(&demo(), at(906)).await.unwrap().unwrap();
    assert_eq!((ended.before.locked_until, ended.after.locked_until), (Some(at(5000)), None));
    assert_eq!(s.cap(&demo()).await.unwrap().unwrap().strike, tollgate_domain::strike::Strike::default());
    let rows = s.changes_since(at(906)).await.unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
}

#[tokio::test]
async fn an_unlock_and_reports_at_once_leave_no_lock() {
    let (_e, s) = store().await;
    customer(&s).await;
    struck(&s).await;
    let id = demo();
    let unlock = s.unlock_customer(&id, at(901));
    let reports = futures_util::future::join_all((0..4).map(|n| report(&s, 1, n, 902)));
    let (unlocked, _) = tokio::join!(unlock, reports);
    assert!(unlocked.unwrap().is_some());
    assert_eq!(s.cap(&demo()).await.unwrap().unwrap().strike.locked_until, None);
}
