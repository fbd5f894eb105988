//! Whatever a provider answers to a purchase, or does not: one purchase for one line, the money
//! counted until it is proven unspent.

use std::time::Duration;

use tollgate_sandbox::{Call, Delay, Dialects, Fault, NewIps, SoldOut};

use crate::support::books::{Books, none};
use crate::support::{PRICE, Rig, brd, key};

const UNKNOWN: &str = "ASSIGN_IN_PROGRESS";

async fn spent(rig: &Rig) -> u64 {
    rig.store().spent(&brd(), &key("a").customer, rig.now()).await.unwrap().0
}

async fn alone() -> Rig {
    let rig = Rig::new().await;
    rig.edit_customer("demo", |c| c.allow_fallback = false).await;
    rig.sandbox.set_stock("nl", 5);
    rig
}

async fn deferred(rig: &Rig, after: u64) {
    rig.clock.forward_secs(after);
    rig.later.run_due(&rig.platform).await;
}

/// The answer to the first purchase is `faults`; it was charged. It is found at the look `look`.
async fn charged(faults: &[Fault], looks: &[u64]) {
    let rig = alone().await;
    rig.sandbox.faults().push_set(Call::Buy, faults.iter().copied());
    assert_eq!(rig.refused("a", "nl").await, UNKNOWN, "{faults:?}");
    assert_eq!((spent(&rig).await, rig.later.waiting().len()), (PRICE, 2));
    // The caller may have gone before the provider has done the work.
    while rig.purchases() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (last, before) = looks.split_last().unwrap();
    for after in before {
        deferred(&rig, *after).await;
        assert_eq!(rig.refused("a", "nl").await, UNKNOWN, "{faults:?}");
    }
    deferred(&rig, *last).await;
    let a = rig.bound("a", "nl").await;
    assert_eq!(a.hops.last().unwrap().outcome, "bought_answer_lost");
    assert_eq!((rig.purchases(), rig.calls(), spent(&rig).await), (1, 1, PRICE), "{faults:?}");
    assert_eq!(rig.events.of("purchase.matched").len(), 1);
    none("matched", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn a_purchase_whose_answer_was_lost_is_found_in_the_list() {
    charged(&[Fault::ChargedButAnswerLost], &[10]).await;
    charged(&[Fault::ChargedThen500], &[10]).await;
    charged(&[Fault::Garbage], &[10]).await;
    charged(&[Fault::Slow(Duration::from_millis(4500))], &[10]).await;
    charged(&[Fault::Late(Duration::from_millis(4500))], &[10]).await;
}

#[tokio::test]
async fn a_purchase_that_is_listed_late_is_found_at_the_second_look() {
    charged(&[Fault::ChargedButAnswerLost, Fault::DelayedListing(Delay::Calls(1))], &[10, 50]).await;
    charged(&[Fault::ChargedThen500, Fault::DelayedListing(Delay::For(Duration::from_secs(30)))], &[10, 50]).await;
}

#[tokio::test]
async fn a_purchase_that_was_answered_is_ours_though_no_list_shows_it_yet() {
    let rig = alone().await;
    rig.sandbox.faults().push(Call::Buy, Fault::DelayedListing(Delay::For(Duration::from_secs(3600))));
    let a = rig.bound("a", "nl").await;
    rig.clock.forward_secs(1800);
    rig.reconcile().await;
    assert_eq!(rig.bound("a", "nl").await, a);
    rig.clock.forward_secs(3600);
    assert_eq!(rig.reconcile().await, Default::default());
    none("late list", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn a_purchase_that_no_list_shows_for_fifteen_minutes_never_was() {
    let hang = Fault::Hang;
    for fault in [Fault::Status { code: 500, retry_after: None }, hang] {
        let rig = alone().await;
        rig.sandbox.faults().push(Call::Buy, fault);
        assert_eq!(rig.refused("a", "nl").await, UNKNOWN);
        deferred(&rig, 10).await;
        deferred(&rig, 50).await;
        assert_eq!((rig.refused("a", "nl").await.as_str(), rig.calls()), (UNKNOWN, 1));
        rig.clock.forward_secs(13 * 60);
        rig.reconcile().await;
        assert_eq!((rig.refused("a", "nl").await.as_str(), spent(&rig).await), (UNKNOWN, PRICE));
        rig.clock.forward_secs(2 * 60);
        assert_eq!(rig.reconcile().await.failed, 1);
        assert_eq!(spent(&rig).await, 0);
        assert_eq!(rig.events.of("purchase.failed").len(), 1);
        rig.bound("a", "nl").await;
        assert_eq!((rig.purchases(), spent(&rig).await), (1, PRICE));
        none("failed", &Books::of(&rig).await.settled());
    }
}

#[tokio::test]
async fn a_success_that_names_nothing_new_proves_nothing() {
    for sold_out in [SoldOut::EmptyNewIps, SoldOut::WithoutNewIps] {
        let rig = alone().await;
        rig.sandbox.set_stock("nl", 0);
        rig.sandbox.set_dialects(Dialects { sold_out, ..Dialects::default() });
        assert_eq!(rig.refused("a", "nl").await, UNKNOWN);
        rig.sandbox.set_stock("nl", 5);
        deferred(&rig, 60).await;
        assert_eq!((rig.refused("a", "nl").await.as_str(), rig.calls()), (UNKNOWN, 1));
        rig.clock.forward_secs(15 * 60);
        rig.reconcile().await;
        rig.bound("a", "nl").await;
        none("named nothing", &Books::of(&rig).await.settled());
    }
}

#[tokio::test]
async fn an_address_that_is_ours_already_is_not_taken_for_a_new_one() {
    let rig = alone().await;
    rig.sandbox.set_dialects(Dialects { new_ips: NewIps::Overlapping, ..Dialects::default() });
    let mut seen = std::collections::BTreeSet::new();
    for line in ["a", "b", "c", "d"] {
        assert!(seen.insert(rig.bound(line, "nl").await.proxy), "{line}");
    }
    assert_eq!(rig.purchases(), 4);
    none("overlapping", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn a_refusal_costs_nothing_and_asks_no_other_country() {
    for code in [400, 401, 402, 403, 429] {
        let rig = Rig::new().await;
        rig.sandbox.set_stock("nl", 5);
        rig.sandbox.faults().push(Call::Buy, Fault::Status { code, retry_after: Some(7) });
        assert_eq!(rig.refused("a", "nl").await, "NO_PROXY_AVAILABLE", "{code}");
        assert_eq!((rig.calls(), rig.purchases(), spent(&rig).await), (1, 0, 0), "{code}");
        let books = Books::of(&rig).await;
        assert_eq!((books.open_lines(), books.intents("failed")), (0, 1));
        none("refused", &books.settled());
        rig.bound("a", "nl").await;
    }
}

#[tokio::test]
async fn what_arrives_after_it_was_given_up_is_taken_in_and_announced() {
    let rig = alone().await;
    let late = Fault::DelayedListing(Delay::For(Duration::from_secs(1200)));
    rig.sandbox.faults().push_set(Call::Buy, [Fault::ChargedButAnswerLost, late]);
    assert_eq!(rig.refused("a", "nl").await, UNKNOWN);
    rig.clock.forward_secs(16 * 60);
    assert_eq!(rig.reconcile().await.failed, 1);
    rig.clock.forward_secs(5 * 60);
    assert_eq!(rig.reconcile().await.adopted, 1);
    assert_eq!(rig.events.of("proxy.adopted").len(), 1);
    rig.bound("a", "nl").await;
    assert_eq!(rig.calls(), 1);
    none("adopted", &Books::of(&rig).await.settled());
}
