use tollgate_domain::assignment::AssignmentState;
use tollgate_domain::intent::{Intent, IntentState};
use tollgate_domain::money::{Currency, Money};
use tollgate_domain::proxy::ProxyState;
use tollgate_store::assignment::{Claim, Found};
use tollgate_store::intent::{Confirm, SpendCaps};
use tollgate_store::{Store, StoreError};

use crate::{active, at, claim, idle, intent, nl, opening, store};

/// Plans `id` for the line of the same name, within `caps`.
async fn plan(store: &Store, id: &str, caps: SpendCaps) -> (Intent, Claim) {
    let mut claim = claim(id, id);
    claim.intent = Some(id.parse().unwrap());
    let intent = intent(id, id, id);
    let won = store.claim_to_buy(&claim, Found::Closed(&opening(id, 0)), &intent, caps, at(0)).await.unwrap();
    (intent, won)
}

async fn calling(store: &Store, id: &str) -> Intent {
    let (intent, won) = plan(store, id, SpendCaps::default()).await;
    assert_eq!(won, Claim::Won);
    store.step_intent(&intent, IntentState::Calling, at(1), None).await.unwrap().unwrap()
}

async fn spent(store: &Store) -> (u64, u64) {
    store.spent(&"brd".parse().unwrap(), &"demo".parse().unwrap(), at(0)).await.unwrap()
}

#[tokio::test]
async fn caps_bound_what_is_planned_on_a_day() {
    let store = store().await;
    let usd = |micros| Some(Money::usd_micros(micros));
    assert_eq!(spent(&store).await, (0, 0));
    for (id, provider, customer, verdict) in [
        ("I1", usd(3_999_999), None, Claim::ProviderCap),
        ("I2", None, usd(3_999_999), Claim::CustomerCap),
        ("I3", usd(8_000_000), usd(8_000_000), Claim::Won),
        ("I4", usd(8_000_000), usd(8_000_000), Claim::Won),
        ("I5", usd(8_000_000), None, Claim::ProviderCap),
        ("I6", None, usd(8_000_000), Claim::CustomerCap),
        // A cap in another currency says nothing about this price.
        ("I7", Some(Money { micros: 1, currency: Currency::Brl }), usd(12_000_000), Claim::Won),
    ] {
        assert_eq!(plan(&store, id, SpendCaps { provider, customer }).await.1, verdict, "{id}");
    }
    assert_eq!(spent(&store).await, (12_000_000, 12_000_000));
    assert_eq!(store.open_intents(&"brd".parse().unwrap()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_intent_steps_once_from_where_it_is() {
    let store = store().await;
    let (planned, _) = plan(&store, "I1", SpendCaps::default()).await;
    let calling = store.step_intent(&planned, IntentState::Calling, at(1), None).await.unwrap().unwrap();
    let repeated = store.step_intent(&planned, IntentState::Calling, at(1), None).await.unwrap();
    assert_eq!(repeated.as_ref(), Some(&calling), "our own step, whose answer was lost");
    assert_eq!(store.step_intent(&planned, IntentState::Calling, at(2), None).await.unwrap(), None, "another's");
    assert!(!store.fail_intent(&planned, at(2), "never called", None).await.unwrap(), "it is being called");
    let illegal = store.step_intent(&calling, IntentState::Planned, at(2), None).await;
    assert!(matches!(illegal, Err(StoreError::Corrupt { .. })), "{illegal:?}");
    assert_eq!(store.intent(&calling.id).await.unwrap(), Some(calling));
}

#[tokio::test]
async fn what_fails_gives_its_spending_back_once_and_remembers_why() {
    let store = store().await;
    let calling = calling(&store, "I1").await;
    for _ in 0..2 {
        assert!(store.fail_intent(&calling, at(2), "no stock", Some(at(62))).await.unwrap());
        assert_eq!(spent(&store).await, (0, 0));
    }
    let provider = &calling.provider;
    assert_eq!(store.out_of_stock(provider, at(61)).await.unwrap(), [nl()]);
    assert_eq!(store.out_of_stock(provider, at(62)).await.unwrap(), []);
    assert_eq!(store.open_intents(provider).await.unwrap(), []);
    let failed = store.intent(&calling.id).await.unwrap().unwrap();
    assert_eq!((failed.state, failed.reason.as_deref()), (IntentState::Failed, Some("no stock")));
    assert!(store.fail_intent(&failed, at(3), "again", None).await.is_err(), "the machine has no such step");
}

#[tokio::test]
async fn an_address_belongs_to_the_first_intent_that_takes_it() {
    let store = store().await;
    let (first, second) = (calling(&store, "I1").await, calling(&store, "I2").await);
    let (a, b) = (active("192.0.2.1", "I1"), active("192.0.2.1", "I2"));
    assert_eq!(store.confirm_bound(&first, &a, &[], at(2)).await.unwrap(), Confirm::Done);
    assert_eq!(store.confirm_bound(&first, &a, &[], at(2)).await.unwrap(), Confirm::Done, "repeated");
    let elsewhere = active("192.0.2.9", "I1");
    assert_eq!(store.confirm_bound(&first, &elsewhere, &[], at(2)).await.unwrap(), Confirm::Resolved);
    assert_eq!(store.confirm_bound(&second, &b, &[], at(2)).await.unwrap(), Confirm::Taken);
    let row = store.assignment(&first.line).await.unwrap().unwrap();
    assert_eq!((row.state, row.proxy, row.intent, row.ver), (AssignmentState::Bound, Some(a.id), None, 2));
    // The line of the second is closed: its address goes to the pool.
    let line = store.line(&second.line).await.unwrap().unwrap();
    let pending = store.assignment(&second.line).await.unwrap().unwrap();
    assert!(store.close_line(&line, Some(&pending), None, at(3)).await.unwrap());
    let b = active("192.0.2.2", "I2");
    assert_eq!(store.confirm_bound(&second, &b, &[], at(3)).await.unwrap(), Confirm::LineMoved);
    assert_eq!(store.confirm_idle(&second, &idle("192.0.2.1"), at(3)).await.unwrap(), Confirm::Taken);
    assert_eq!(store.confirm_idle(&second, &idle("192.0.2.2"), at(3)).await.unwrap(), Confirm::Done);
    assert_eq!(store.proxy(&b.id).await.unwrap().unwrap().state, ProxyState::Idle);
    assert_eq!(spent(&store).await, (8_000_000, 8_000_000), "what was bought stays spent");
    assert_eq!(store.fallback_override(nl()).await.unwrap(), None);
}
