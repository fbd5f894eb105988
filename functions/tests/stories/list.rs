//! The provider's list against what we hold, and releases that fail.

use std::time::Duration;

use tollgate_domain::proxy::ProxyState;
use tollgate_functions::reconcile::{Reconciled, reconcile, reconcile_all};
use tollgate_sandbox::{AlreadyGone, Call, Dialects, Fault, ReleaseAnswer};

use crate::support::books::{Books, none};
use crate::support::{Rig, ask, brd, cc};

#[tokio::test]
async fn an_address_that_no_purchase_explains_is_taken_in_idle_and_announced() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 1);
    let ip = rig.sandbox.buy_by_hand("nl", 1)[0];
    let all = reconcile_all(&rig.platform).await.unwrap();
    assert_eq!(all[0].1.as_ref().unwrap(), &Reconciled { adopted: 1, ..Reconciled::default() });
    assert_eq!(rig.reconcile().await, Reconciled::default(), "once");
    let events = rig.events.of("proxy.adopted");
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0].detail["proxy"], &events[0].detail["country"]), (&format!("brd/{ip}").into(), &"nl".into()));
    none("adopted", &Books::of(&rig).await.settled());
    assert_eq!(rig.bound("a", "be").await.country, Some(cc("nl")));
    assert_eq!(rig.purchases(), 0);
}

#[tokio::test]
async fn what_a_call_under_way_may_have_bought_is_left_to_it() {
    let rig = std::sync::Arc::new(Rig::new().await);
    rig.sandbox.set_stock("nl", 1);
    rig.sandbox.faults().push(Call::Buy, Fault::Slow(Duration::from_secs(2)));
    let asking = {
        let rig = rig.clone();
        tokio::spawn(async move { rig.assign("a", "nl").await })
    };
    while rig.purchases() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let look = rig.reconcile().await;
    assert_eq!((look.adopted, look.matched, look.open), (0, 0, 1));
    let a = asking.await.unwrap().unwrap();
    assert_eq!(a.hops.last().unwrap().outcome, "bought");
    none("left", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn lost_purchases_get_their_addresses_the_oldest_first() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 5);
    rig.edit_customer("demo", |c| c.allow_fallback = false).await;
    for line in ["first", "second", "third"] {
        let fault =
            if line == "third" { Fault::Status { code: 502, retry_after: None } } else { Fault::ChargedButAnswerLost };
        rig.sandbox.faults().push(Call::Buy, fault);
        assert_eq!(rig.refused(line, "nl").await, "ASSIGN_IN_PROGRESS");
        rig.clock.forward_secs(1);
    }
    let look = rig.reconcile().await;
    assert_eq!((look.matched, look.open), (2, 1));
    rig.bound("first", "nl").await;
    rig.bound("second", "nl").await;
    assert_eq!(rig.refused("third", "nl").await, "ASSIGN_IN_PROGRESS");
    assert_eq!(rig.calls(), 3);
}

#[tokio::test]
async fn a_lost_purchase_of_a_line_that_was_closed_goes_to_the_pool() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 1);
    rig.sandbox.faults().push(Call::Buy, Fault::ChargedButAnswerLost);
    assert_eq!(rig.refused("a", "nl").await, "ASSIGN_IN_PROGRESS");
    rig.close("a").await;
    assert_eq!(rig.reconcile().await.matched, 1);
    let books = Books::of(&rig).await;
    assert_eq!((books.free("nl"), books.open_lines()), (1, 0));
    none("pool", &books.settled());
}

#[tokio::test]
async fn what_was_given_back_and_is_still_listed_is_not_taken_in_again() {
    let rig = Rig::new().await;
    rig.idle("nl", 1).await;
    rig.clock.forward_secs(3600);
    assert_eq!(rig.sweep().await.released, 1);
    // The provider sells it to us again by hand: after the lag it is taken for what it is.
    rig.sandbox.set_dialects(Dialects { addresses: tollgate_sandbox::Addresses::Returning, ..Dialects::default() });
    assert_eq!(rig.sandbox.buy_by_hand("nl", 1).len(), 1);
    assert_eq!(rig.reconcile().await, Reconciled::default());
    rig.clock.forward_secs(601);
    assert_eq!(rig.reconcile().await.adopted, 1);
    none("returned", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn what_is_in_release_and_not_listed_any_more_is_gone() {
    let rig = Rig::new().await;
    rig.idle("nl", 1).await;
    let ip = rig.sandbox.held()[0].0;
    rig.clock.forward_secs(3600);
    rig.sandbox.faults().push(Call::Release, Fault::ChargedThen500);
    assert_eq!(rig.sweep().await.postponed, 1);
    assert_eq!(rig.reconcile().await.released, 1);
    let row = rig.store().proxy(&format!("brd/{ip}").parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(row.state, ProxyState::Released);
    rig.clock.forward_secs(3600);
    // Its reminder means nothing any more.
    assert_eq!(rig.sweep().await.released, 0);
    none("gone", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn a_release_that_fails_is_tried_again_and_its_address_never_used() {
    for dialects in [
        Dialects::default(),
        Dialects { already_gone: AlreadyGone::Text400, release: ReleaseAnswer::Removed, ..Dialects::default() },
    ] {
        let rig = Rig::new().await;
        rig.sandbox.set_dialects(dialects);
        rig.idle("nl", 2).await;
        rig.clock.forward_secs(3600);
        let fail = |code, retry_after| rig.sandbox.faults().push(Call::Release, Fault::Status { code, retry_after });
        // Both in one call (as far as they share a shard), then each alone.
        for _ in 0..4 {
            fail(500, None);
        }
        let swept = rig.sweep().await;
        assert_eq!((swept.postponed, swept.released), (2, 0));
        rig.sandbox.faults().clear();
        assert_eq!(rig.sandbox.held().len(), 2);
        assert_eq!(rig.refused("a", "nl").await, "NO_PROXY_AVAILABLE");
        none("postponed", &Books::of(&rig).await.settled());

        // A minute, then what the provider asks for, then two minutes …
        rig.clock.forward_secs(59);
        assert_eq!(rig.sweep().await, Default::default());
        rig.clock.forward_secs(1);
        for _ in 0..4 {
            fail(429, Some(300));
        }
        assert_eq!(rig.sweep().await.postponed, 2);
        rig.sandbox.faults().clear();
        rig.clock.forward_secs(299);
        assert_eq!(rig.sweep().await, Default::default());
        rig.clock.forward_secs(1);
        assert_eq!(rig.sweep().await.released, 2);
        assert!(rig.sandbox.held().is_empty());
        none("released", &Books::of(&rig).await.settled());
    }
}

#[tokio::test]
async fn what_the_provider_took_away_already_counts_as_released() {
    for already_gone in [AlreadyGone::Ignored, AlreadyGone::Text400] {
        let rig = Rig::new().await;
        rig.sandbox.set_dialects(Dialects { already_gone, ..Dialects::default() });
        rig.idle("nl", 3).await;
        assert!(rig.sandbox.take_away(rig.sandbox.held()[0].0));
        rig.clock.forward_secs(3600);
        assert_eq!(rig.sweep().await.released, 3, "{already_gone:?}");
        none("taken away", &Books::of(&rig).await.settled());
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_asked_decides_nothing() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 5);
    rig.sandbox.faults().push(Call::Buy, Fault::Status { code: 500, retry_after: None });
    assert_eq!(rig.refused("a", "nl").await, "ASSIGN_IN_PROGRESS");
    rig.clock.forward_secs(16 * 60);
    for fault in [Fault::Status { code: 500, retry_after: None }, Fault::Garbage, Fault::Hang] {
        // Reading is repeated: the second time is no better.
        for _ in 0..3 {
            rig.sandbox.faults().push(Call::List, fault);
        }
        let e = reconcile(&rig.platform, &brd()).await.unwrap_err();
        assert!(e.to_string().starts_with("provider brd: "), "{e}");
        rig.sandbox.faults().clear();
        assert_eq!(Books::of(&rig).await.intents("unknown"), 1);
    }
    let e = reconcile(&rig.platform, &"nobody".parse().unwrap()).await.unwrap_err();
    assert_eq!(e.to_string(), "provider nobody: has no row");
    rig.provider(|p| p.api_url = "nowhere".to_owned()).await;
    assert!(reconcile_all(&rig.platform).await.unwrap()[0].1.is_err());
}

#[tokio::test]
async fn an_address_whose_provider_has_no_row_waits_for_one() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 1);
    let row = rig.store().provider(&brd()).await.unwrap().unwrap();
    rig.bound("a", "nl").await;
    assert!(rig.store().delete_provider(&row.id, row.ver, rig.now()).await.unwrap());
    rig.close("a").await;
    let swept = rig.sweep().await;
    assert_eq!((swept.postponed, swept.released), (1, 0), "given back at once, but nobody can");
    assert_eq!(ask(&rig.platform, "b", "nl").await.unwrap_err().code, "NO_PROXY_AVAILABLE");
    rig.provider(|_| {}).await;
    rig.clock.forward_secs(60);
    assert_eq!(rig.sweep().await.released, 1);
    none("row back", &Books::of(&rig).await.settled());
}
