//! The split of a customer's capacity between edges, and what becomes of it when they come, go
//! and die.

use tollgate_domain::feed::Entity;
use tollgate_domain::share::{Capacity, Part, Terms, Usage};
use tollgate_engine::Recorder;
use tollgate_store::cap::{Life, ShareReport, Silent};

use super::*;

const TERMS: Terms = Terms { ver: 1, soft: 10, limits: Capacity { hard: 10, qps: 20, rate: 1000 } };
const ALL: Part = Part { threads: 10, qps: 20, rate: 1000 };

fn using(in_use: u32) -> Usage {
    Usage { in_use, ..Usage::default() }
}

/// Needs so many threads and uses none.
fn needing(threads: u32) -> Usage {
    Usage { need: Part { threads, ..Part::default() }, ..Usage::default() }
}

async fn told(s: &Store, life: Life<'_>, terms: Terms, usage: Usage) -> ShareReport {
    insist!(s.report_share(&demo(), life, terms, usage, at(0)))
}

async fn report(s: &Store, n: u64, usage: Usage) -> ShareReport {
    told(s, Life::of(&edge(n)), TERMS, usage).await
}

async fn ver(s: &Store) -> u64 {
    s.cap(&demo()).await.unwrap().unwrap().ver
}

/// How often the feed told that somebody wants a share.
async fn wanted(s: &Store) -> usize {
    let changes = s.changes_since(at(0)).await.unwrap();
    changes.iter().filter(|(_, c)| c.entity == Entity::ShareWanted(demo())).count()
}

#[tokio::test]
async fn shares_are_given_back_and_taken_over_by_the_next_life() {
    let (e, s) = store().await;
    let first = report(&s, 1, using(2)).await;
    assert_eq!((first.held, first.may, first.limits), (ALL, ALL, TERMS.limits));
    assert_eq!(report(&losing(&e, "PutItem").0, 1, using(3)).await.in_use_total, 3);
    let second = report(&s, 2, using(0)).await;
    assert_eq!((second.held, second.others), (Part::default(), vec![edge(1)]));
    // The same figures again are no write.
    let before = ver(&s).await;
    report(&s, 2, using(0)).await;
    assert_eq!(ver(&s).await, before);
    let next_life = EdgeSession { epoch: 2, ..edge(1) };
    assert_eq!(told(&s, Life::of(&next_life), TERMS, using(0)).await.held, ALL);
    let fewer = Terms { ver: 2, limits: Capacity { hard: 4, ..TERMS.limits }, ..TERMS };
    assert_eq!(told(&s, Life::of(&next_life), fewer, using(0)).await.held.threads, 4);
    assert!(s.cap(&demo()).await.unwrap().unwrap().fits());
    losing(&e, "PutItem").0.leave_share(&demo(), &next_life).await.unwrap();
    s.leave_share(&demo(), &next_life).await.unwrap();
    s.leave_share(&"other".parse().unwrap(), &next_life).await.unwrap();
    assert_eq!(s.cap(&"other".parse().unwrap()).await.unwrap(), None);
    // An edge that knows an older row still gets what the newer one says.
    let last = report(&s, 2, using(0)).await;
    assert_eq!((last.held.threads, last.limits), (4, fewer.limits));
}

#[tokio::test]
async fn the_share_of_a_life_that_hands_over_is_not_its_successors() {
    let (_e, s) = store().await;
    let (old, new) = (edge(1), EdgeSession { epoch: 2, ..edge(1) });
    report(&s, 1, using(0)).await;
    // The successor may come first: what the old one holds and does not use is free.
    let beside = Life { elders: std::slice::from_ref(&old), ..Life::of(&new) };
    assert_eq!(told(&s, beside, TERMS, using(0)).await.held, Part { threads: 10, qps: 19, rate: 500 });
    s.withdraw_share(&demo(), &old, 3).await.unwrap();
    assert_eq!(told(&s, beside, TERMS, using(0)).await.held, Part { threads: 7, qps: 19, rate: 500 });
    s.withdraw_share(&demo(), &old, 3).await.unwrap();
    let cap = s.cap(&demo()).await.unwrap().unwrap();
    assert_eq!((cap.in_use(), cap.nodes[&old].held), (3, 3));
    assert!(cap.fits());
    s.leave_share(&demo(), &old).await.unwrap();
    assert_eq!(told(&s, beside, TERMS, using(0)).await.held.threads, 10);
    // Once it is over, nothing of it counts.
    told(&s, Life::of(&old), TERMS, using(5)).await;
    let alone = told(&s, Life::of(&new), TERMS, using(0)).await;
    assert_eq!((alone.held.threads, alone.in_use_total), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_fit_the_limits_whoever_reports_at_once() {
    let (e, s) = store().await;
    let reports: Vec<_> = (0..6)
        .map(|n| {
            let (rough, _) = rough(&e, n);
            tokio::spawn(async move {
                for round in 0..4 {
                    report(&rough, n, needing(1 + round)).await;
                }
            })
        })
        .collect();
    for r in reports {
        r.await.unwrap();
    }
    let cap = s.cap(&demo()).await.unwrap().unwrap();
    assert!(cap.fits(), "{cap:?}");
    assert_eq!(cap.nodes.len(), 6);
}

#[tokio::test]
async fn what_is_wanted_is_told_once_and_moves_when_its_holder_reports() {
    let (e, s) = store().await;
    report(&s, 1, using(4)).await;
    assert_eq!(wanted(&s).await, 0);
    let (weak, faults) = losing(&e, "TransactWriteItems");
    assert_eq!(report(&weak, 2, needing(3)).await.held.threads, 0);
    assert_eq!(faults.left(), 0);
    // The same want again costs nothing and says nothing.
    let recorder = Recorder::new();
    let store = Store::new(e.client_recorded(recorder.clone()), "");
    report(&store, 2, needing(3)).await;
    assert_eq!((wanted(&s).await, recorder.consumed().write), (1, 0.0), "{:?}", recorder.operations());
    // What the holder still allows itself is not given.
    let kept = Usage { kept: ALL, ..using(4) };
    let asked = report(&s, 1, kept).await;
    assert_eq!((asked.held.threads, asked.may.threads), (10, 7));
    assert_eq!(report(&s, 2, needing(3)).await.held.threads, 0);
    report(&s, 1, Usage { kept: asked.may, ..using(4) }).await;
    assert_eq!(report(&s, 2, needing(3)).await.held.threads, 3);
    let cap = s.cap(&demo()).await.unwrap().unwrap();
    assert!(cap.fits() && cap.nodes[&edge(2)].want.is_nothing(), "{cap:?}");
    assert_eq!(wanted(&s).await, 1);
}

#[tokio::test]
async fn a_share_is_taken_back_from_who_is_silent_still() {
    let (_e, s) = store().await;
    let first = s.start_epoch(&edge(1).edge, at(0)).await.unwrap();
    let sign = async || s.edge(&first.edge).await.unwrap().unwrap().sign(&first);
    report(&s, 1, using(4)).await;
    let seen = [Silent { session: first.clone(), sign: sign().await }];
    // It lived a moment ago: what was observed before does not hold.
    s.heartbeat(&first, 0, at(0)).await.unwrap();
    let (own, other) = (edge(2), edge(3));
    let observer = Life { silent: &seen, ..Life::of(&own) };
    assert_eq!(told(&s, observer, TERMS, using(0)).await.held.threads, 0);
    let silent = [
        Silent { session: first.clone(), sign: sign().await },
        // One that no row ever knew.
        Silent { session: other.clone(), sign: None },
    ];
    report(&s, 3, using(2)).await;
    let observer = Life { silent: &silent, ..Life::of(&own) };
    let taken = told(&s, observer, TERMS, using(0)).await;
    assert_eq!((taken.held, taken.in_use_total, taken.others), (ALL, 0, vec![]));
}

#[tokio::test]
async fn who_comes_back_writes_so_that_an_observer_must_look_again() {
    let (_e, s) = store().await;
    report(&s, 1, using(4)).await;
    let before = ver(&s).await;
    let own = edge(1);
    told(&s, Life { back: true, ..Life::of(&own) }, TERMS, using(4)).await;
    assert_eq!(ver(&s).await, before + 1);
}
