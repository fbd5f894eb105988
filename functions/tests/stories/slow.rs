//! A walk that runs out of time goes on elsewhere, and blocks nobody.

use std::sync::Arc;
use std::time::Duration;

use tollgate_functions::platform::{Bounds, Deferred};
use tollgate_sandbox::{Call, Fault};

use crate::support::books::{Books, none};
use crate::support::{Rig, ask, cc, key, quick};

fn tight() -> Bounds {
    let ms = Duration::from_millis;
    Bounds { assign: ms(9000), purchase_call: ms(6000), purchase_needs: ms(7000), ..quick() }
}

#[tokio::test]
async fn no_purchase_is_started_that_may_not_end_in_time() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 1);
    rig.sandbox.faults().push_set(Call::Buy, [Fault::NoStock, Fault::Slow(Duration::from_millis(2500))]);
    let platform = rig.with(rig.engine.client(), tight());
    let refused = ask(&platform, "a", "be").await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.retry_after_s), ("ASSIGN_IN_PROGRESS", Some(5)));
    assert_eq!(rig.calls(), 1);
    assert!(matches!(&rig.later.waiting()[..], [Deferred::Assign { request }] if request.line == key("a")));
    assert!(rig.store().assignment(&key("a")).await.unwrap().is_none(), "the claim is given up");
    none("out of time", &Books::of(&rig).await.settled());
    // What was learnt is kept: be is not asked again.
    rig.later.run_due(&platform).await;
    let a = rig.bound("a", "be").await;
    assert_eq!((a.country, rig.calls()), (Some(cc("nl")), 2));
    assert!(rig.later.waiting().is_empty());
    none("went on", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn who_finds_the_line_pending_waits_a_little() {
    let rig = Arc::new(Rig::new().await);
    rig.sandbox.set_stock("nl", 1);
    rig.sandbox.faults().push(Call::Buy, Fault::Slow(Duration::from_millis(2500)));
    let first = {
        let rig = rig.clone();
        tokio::spawn(async move { rig.assign("a", "nl").await })
    };
    while rig.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // 300 ms are too short, 20 s are not.
    let refused = rig.assign("a", "nl").await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.retry_after_s), ("ASSIGN_IN_PROGRESS", Some(2)));
    let patient = rig.with(rig.engine.client(), Bounds { pending_wait: Duration::from_secs(20), ..quick() });
    let second = ask(&patient, "a", "nl").await.unwrap();
    assert_eq!(first.await.unwrap().unwrap(), second);
    assert_eq!(rig.calls(), 1);
}

#[tokio::test]
async fn a_line_closed_while_its_address_is_bought_leaves_it_to_the_pool() {
    let rig = Arc::new(Rig::new().await);
    rig.sandbox.set_stock("nl", 1);
    rig.sandbox.faults().push(Call::Buy, Fault::Slow(Duration::from_secs(2)));
    let asking = {
        let rig = rig.clone();
        tokio::spawn(async move { rig.assign("a", "nl").await })
    };
    while rig.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.close("a").await;
    assert_eq!(asking.await.unwrap().unwrap_err().code, "ASSIGN_IN_PROGRESS");
    let books = Books::of(&rig).await;
    assert_eq!((books.open_lines(), books.free("nl")), (0, 1));
    none("closed meanwhile", &books.settled());
    rig.bound("a", "nl").await;
    assert_eq!(rig.calls(), 1);
}

#[tokio::test]
async fn a_line_closed_between_two_countries_is_not_served_behind_its_back() {
    let rig = Arc::new(Rig::new().await);
    rig.sandbox.set_stock("nl", 1);
    rig.sandbox.faults().push_set(Call::Buy, [Fault::NoStock, Fault::Slow(Duration::from_secs(2))]);
    let asking = {
        let rig = rig.clone();
        tokio::spawn(async move { rig.assign("a", "be").await })
    };
    while rig.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.close("a").await;
    // It looks again and finds the line closed: a request opens it, as any request does.
    let a = asking.await.unwrap().unwrap();
    assert_eq!(a.country, Some(cc("nl")));
    let books = Books::of(&rig).await;
    assert_eq!(books.open_lines(), 1);
    none("closed between", &books.settled());
    none("closed between", &books.every_line_bound());
}
