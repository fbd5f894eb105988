use tollgate_domain::assignment::AssignmentState;
use tollgate_domain::proxy::ProxyClass;
use tollgate_store::Store;
use tollgate_store::assignment::{Claim, Found, Opening};
use tollgate_store::intent::SpendCaps;
use tollgate_store::proxy::FreeProxy;

use crate::{at, bound, claim, idle, intent, line, nl, opening, store};

async fn free(store: &Store) -> Vec<FreeProxy> {
    store.free_proxies(nl(), ProxyClass::Isp, 7, 10).await.unwrap()
}

async fn plan(store: &Store, label: &str, attempt: &str, id: &str, found: Found<'_>, now: u64) -> Claim {
    let mut claim = claim(label, attempt);
    claim.intent = Some(id.parse().unwrap());
    let intent = intent(id, label, attempt);
    store.claim_to_buy(&claim, found, &intent, SpendCaps::default(), at(now)).await.unwrap()
}

#[tokio::test]
async fn an_idle_address_goes_to_the_first_claim_and_the_claim_may_be_repeated() {
    let store = store().await;
    assert!(store.adopt(&idle("192.0.2.1")).await.unwrap());
    let listed = free(&store).await;
    assert_eq!(listed.len(), 1);
    let (a, open_a) = (bound("a", "A1", "192.0.2.1"), opening("a", 0));
    let won = store.claim_idle(&a, Found::Closed(&open_a), &listed[0], at(1)).await.unwrap();
    assert_eq!(won, Claim::Won);
    let again = store.claim_idle(&a, Found::Closed(&open_a), &listed[0], at(1)).await.unwrap();
    assert_eq!(again, Claim::Won, "our own, whose answer was lost");
    let (b, open_b) = (bound("b", "B1", "192.0.2.1"), opening("b", 0));
    let gone = store.claim_idle(&b, Found::Closed(&open_b), &listed[0], at(1)).await.unwrap();
    assert_eq!(gone, Claim::ProxyGone);
    assert_eq!(store.line(&b.line).await.unwrap(), None, "nothing of a lost claim stays");
    let other = bound("a", "A2", "192.0.2.1");
    let taken = store.claim_idle(&other, Found::Open, &listed[0], at(1)).await.unwrap();
    assert_eq!(taken, Claim::LineTaken(Box::new(a)));
    assert!(free(&store).await.is_empty());
}

#[tokio::test]
async fn a_claim_is_taken_over_once_it_is_over_and_its_purchase_resolved() {
    let store = store().await;
    assert_eq!(plan(&store, "a", "A1", "I1", Found::Closed(&opening("a", 0)), 0).await, Claim::Won);
    let taken = |c: &Claim| matches!(c, Claim::LineTaken(a) if a.attempt.as_str() == "A1");
    assert!(taken(&plan(&store, "a", "A2", "I2", Found::Open, 29).await));
    assert!(taken(&plan(&store, "a", "A2", "I2", Found::Open, 31).await), "its purchase may have happened");
    store.forget_intent(&intent("I9", "a", "A1")).await.unwrap();
    assert!(taken(&plan(&store, "a", "A2", "I2", Found::Open, 31).await), "that was another's");
    store.forget_intent(&intent("I1", "a", "A1")).await.unwrap();
    assert!(taken(&plan(&store, "a", "A2", "I2", Found::Open, 30).await), "not over yet");
    assert_eq!(plan(&store, "a", "A2", "I2", Found::Open, 31).await, Claim::Won);
    // The first attempt is over for good: it can neither go on nor give up.
    assert!(matches!(plan(&store, "a", "A1", "I3", Found::Claimed, 31).await, Claim::LineTaken(_)));
    store.abandon_claim(&claim("a", "A1"), true, at(32)).await.unwrap();
    assert_eq!(store.assignment(&line("a").key).await.unwrap().unwrap().attempt.as_str(), "A2");
    store.abandon_claim(&claim("a", "A2"), false, at(32)).await.unwrap();
    assert_eq!(store.assignment(&line("a").key).await.unwrap(), None);
}

#[tokio::test]
async fn a_closed_line_is_not_claimed_behind_its_back() {
    let store = store().await;
    assert_eq!(plan(&store, "a", "A1", "I1", Found::Closed(&opening("a", 0)), 0).await, Claim::Won);
    let (open, pending) = (line("a"), store.assignment(&line("a").key).await.unwrap().unwrap());
    assert!(store.close_line(&open, Some(&pending), None, at(1)).await.unwrap());
    assert!(!store.close_line(&open, Some(&pending), None, at(1)).await.unwrap(), "it is closed");
    assert_eq!(plan(&store, "a", "A1", "I2", Found::Claimed, 1).await, Claim::LineChanged);
    assert_eq!(plan(&store, "a", "A2", "I3", Found::Open, 1).await, Claim::LineChanged);
    let stale = Opening { line: line("a"), reopened: true, max_open: 0 };
    assert_eq!(plan(&store, "a", "A2", "I3", Found::Closed(&stale), 1).await, Claim::LineChanged);
    let mut again = stale.clone();
    again.line.ver = 3;
    assert_eq!(plan(&store, "a", "A2", "I3", Found::Closed(&again), 1).await, Claim::Won);
}

#[tokio::test]
async fn a_line_is_not_closed_over_a_claim_that_its_reader_has_not_seen() {
    let store = store().await;
    assert!(store.adopt(&idle("192.0.2.1")).await.unwrap());
    let read_before = line("a");
    let listed = free(&store).await;
    let (a, open) = (bound("a", "A1", "192.0.2.1"), opening("a", 0));
    assert_eq!(store.claim_idle(&a, Found::Closed(&open), &listed[0], at(0)).await.unwrap(), Claim::Won);
    // The line was read after the claim, its assignment before.
    assert!(!store.close_line(&read_before, None, None, at(1)).await.unwrap());
    let mut pending = a.clone();
    pending.state = AssignmentState::Pending;
    assert!(!store.close_line(&read_before, Some(&pending), None, at(1)).await.unwrap(), "it was bound meanwhile");
    assert_eq!(store.assignment(&a.line).await.unwrap(), Some(a));
}

#[tokio::test]
async fn an_open_line_counts_until_it_is_closed() {
    let store = store().await;
    assert_eq!(plan(&store, "a", "A1", "I1", Found::Closed(&opening("a", 1)), 0).await, Claim::Won);
    assert_eq!(plan(&store, "b", "B1", "I2", Found::Closed(&opening("b", 1)), 0).await, Claim::TooManyOpen);
    store.abandon_claim(&claim("a", "A1"), true, at(1)).await.unwrap();
    assert_eq!(plan(&store, "b", "B1", "I2", Found::Closed(&opening("b", 1)), 0).await, Claim::Won);
    // Sessions count apart.
    let mut session = opening("session.s", 1);
    session.line.alias = Some("b".parse().unwrap());
    assert_eq!(store.open_session(&session).await.unwrap(), Claim::Won);
    assert_eq!(store.open_session(&session).await.unwrap(), Claim::LineChanged, "it is open");
    session.line.key = line("session.t").key;
    assert_eq!(store.open_session(&session).await.unwrap(), Claim::TooManyOpen);
    let open = store.line(&line("session.s").key).await.unwrap().unwrap();
    assert!(store.close_session(&open, at(2)).await.unwrap());
    assert!(!store.close_session(&open, at(2)).await.unwrap());
    assert_eq!(store.open_session(&session).await.unwrap(), Claim::Won);
}
