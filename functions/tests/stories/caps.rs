//! What a plan or a provider row does not allow is not opened and not bought, however many ask.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tollgate_domain::customer::{Ban, Customer};
use tollgate_domain::line::Hold;
use tollgate_domain::money::Money;
use tollgate_domain::plan::Limits;
use tollgate_domain::proxy::ProxyClass;
use tollgate_engine::{Faults, Rates};
use tollgate_functions::reconcile::reconcile;
use tollgate_sandbox::{Call, Fault};

use crate::support::books::{Books, none};
use crate::support::{PRICE, Rig, ask, brd, cc, key, request, send};

/// Asks for `n` lines of `demo` at once on a store with conflicts; the codes of refusals.
async fn at_once(rig: &Rig, n: usize) -> Vec<String> {
    let faults = Faults::random(n as u64, Rates { conflict: 300, ..Rates::default() });
    let asking = (0..n).map(|i| {
        let platform = rig.faulty(&faults);
        tokio::spawn(async move { ask(&platform, &format!("line{i}"), "nl").await })
    });
    join_all(asking).await.into_iter().filter_map(|a| a.unwrap().err()).map(|r| r.code).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_lines_open_than_the_plan_allows() {
    let rig = Rig::new().await;
    rig.edit_customer("demo", |c| c.limits.max_lines = 3).await;
    rig.sandbox.set_stock("nl", 20);
    rig.idle("nl", 1).await;
    assert_eq!(at_once(&rig, 10).await, ["LINES_EXCEEDED"; 7]);
    let books = Books::of(&rig).await;
    assert_eq!((books.open_lines(), rig.purchases()), (3, 2));
    none("full", &books.settled());
    // One closes, one more opens; an open one is no new one.
    let open = rig.store().lines(&key("x").customer).await.unwrap();
    let open = open.into_iter().find(|l| l.closed_at.is_none()).unwrap();
    rig.close(open.key.label.as_str()).await;
    rig.bound("one_more", "nl").await;
    rig.bound("one_more", "nl").await;
    assert_eq!(rig.refused("too_many", "nl").await, "LINES_EXCEEDED");
    none("full again", &Books::of(&rig).await.settled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_is_spent_for_a_customer_on_a_day_than_the_plan_allows() {
    let rig = Rig::new().await;
    rig.edit_customer("demo", |c| c.limits.spend_day = Some(Money::usd_micros(3 * PRICE + 1))).await;
    rig.sandbox.set_stock("nl", 20);
    assert_eq!(at_once(&rig, 8).await, ["SPEND_CAP"; 5]);
    assert_eq!(rig.purchases(), 3);
    let books = Books::of(&rig).await;
    assert_eq!(books.open_lines(), 3);
    none("spent", &books.settled());
    // Another customer is not concerned, recycling costs nothing, and the next day is another.
    rig.customer("other", Limits::default()).await;
    rig.bound("other#a", "nl").await;
    rig.idle("fr", 1).await;
    let recycled = rig.bound("capped", "be").await;
    assert_eq!(recycled.country, Some(cc("fr")));
    assert_eq!(
        recycled.hops.iter().map(|h| h.outcome.as_str()).collect::<Vec<_>>(),
        ["customer_spend_cap", "customer_spend_cap", "recycled"]
    );
    rig.clock.forward_secs(86_400);
    rig.bound("tomorrow", "nl").await;
    assert_eq!(rig.purchases(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_is_spent_at_a_provider_on_a_day_than_its_row_allows() {
    let rig = Rig::new().await;
    rig.provider(|p| p.spend_cap_day = Some(Money::usd_micros(2 * PRICE))).await;
    rig.sandbox.set_stock("nl", 20);
    assert_eq!(at_once(&rig, 6).await, ["NO_PROXY_AVAILABLE"; 4]);
    assert_eq!(rig.purchases(), 2);
    none("spent", &Books::of(&rig).await.settled());
    // What failed is given back and can be spent again.
    rig.clock.forward_secs(86_400);
    rig.sandbox.faults().push(Call::Buy, Fault::Status { code: 400, retry_after: None });
    rig.edit_customer("demo", |c| c.allow_fallback = false).await;
    assert_eq!(rig.refused("x", "nl").await, "NO_PROXY_AVAILABLE");
    rig.bound("y", "nl").await;
    rig.bound("z", "nl").await;
    assert_eq!(rig.refused("x", "nl").await, "NO_PROXY_AVAILABLE");
    // Dearer than the cap by itself: never.
    rig.provider(|p| p.spend_cap_day = Some(Money::usd_micros(PRICE - 1))).await;
    rig.clock.forward_secs(86_400);
    assert_eq!(rig.refused("x", "nl").await, "NO_PROXY_AVAILABLE");
}

#[tokio::test]
async fn an_unknown_purchase_holds_its_part_of_the_cap() {
    let rig = Rig::new().await;
    rig.edit_customer("demo", |c| c.limits.spend_day = Some(Money::usd_micros(PRICE))).await;
    rig.sandbox.set_stock("nl", 20);
    rig.sandbox.faults().push(Call::Buy, Fault::Status { code: 500, retry_after: None });
    assert_eq!(rig.refused("a", "nl").await, "ASSIGN_IN_PROGRESS");
    assert_eq!(rig.refused("b", "nl").await, "SPEND_CAP");
    rig.clock.forward_secs(16 * 60);
    reconcile(&rig.platform, &brd()).await.unwrap();
    rig.bound("b", "nl").await;
    none("cap", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn who_may_not_pass_gets_no_line() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 20);
    let edits: [(&str, Box<dyn Fn(&mut Customer) + Send + Sync>); 4] = {
        let now = rig.now();
        let later = now.plus(Duration::from_secs(100));
        [
            ("LOCKED_OUT", Box::new(move |c| c.locked_until = Some(later))),
            ("PLAN_EXPIRED", Box::new(move |c| c.expires_at = Some(now))),
            ("BANNED", Box::new(move |c| c.ban = Some(Ban { at: now, reason: "abuse".into(), by: "op".into() }))),
            ("NOT_FOUND", Box::new(move |c| c.deleted_at = Some(now))),
        ]
    };
    for (code, edit) in edits {
        rig.edit_customer("demo", edit).await;
        assert_eq!(rig.refused("a", "nl").await, code);
        assert_eq!(rig.refused("session.s1", "nl").await, code);
    }
    assert_eq!(rig.refused("nobody#a", "nl").await, "NOT_FOUND");
    assert_eq!(rig.refused("nobody#session.a", "nl").await, "NOT_FOUND");
    rig.customer("other", Limits::default()).await;
    let mut foreign = request("demo#a", "nl");
    foreign.customer = "other".parse().unwrap();
    assert_eq!(send(&rig.platform, foreign).await.unwrap_err().code, "FORBIDDEN");
    let books = Books::of(&rig).await;
    assert_eq!((books.under("LINE").count(), books.under("ASG#").count(), rig.calls()), (0, 0, 0), "no trace");
}

#[tokio::test]
async fn a_line_keeps_what_it_asked_for() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 20);
    rig.sandbox.set_stock("fr", 20);
    assert_eq!(rig.refused("a", "").await, "COUNTRY_REQUIRED");
    rig.edit_customer("demo", |c| c.default_country = Some(cc("fr"))).await;
    assert_eq!(rig.bound("a", "").await.country, Some(cc("fr")));
    assert_eq!(rig.refused("a", "nl").await, "LINE_MISMATCH");
    let mut other = request("a", "fr");
    other.class = Some(ProxyClass::Mobile);
    assert_eq!(send(&rig.platform, other).await.unwrap_err().code, "LINE_MISMATCH");
    rig.close("a").await;
    // Closed, it may ask for another; naming none it means the one before.
    assert_eq!(rig.bound("a", "nl").await.country, Some(cc("nl")));
    rig.close("a").await;
    assert_eq!(rig.bound("a", "").await.requested, cc("nl"));
}

#[tokio::test]
async fn the_chain_is_as_long_as_the_customer_allows() {
    let rig = Rig::new().await;
    let tried = async |what: &str| {
        let refused = rig.assign("a", "be").await.unwrap_err();
        assert_eq!(refused.code, "NO_PROXY_AVAILABLE");
        let n = refused.detail.split("tried ").nth(1).unwrap().split(", ").count();
        assert_eq!(Books::of(&rig).await.open_lines(), 0, "{what}");
        n
    };
    assert_eq!(tried("be and its five").await, 6);
    rig.edit_customer("demo", |c| c.max_hops = 2).await;
    assert_eq!(tried("two more").await, 3);
    rig.edit_customer("demo", |c| c.allow_fallback = false).await;
    assert_eq!(tried("be alone").await, 1);
    assert_eq!(rig.calls(), 6, "sold out is remembered");
    // Nobody sells in Cuba; its neighbours are tried.
    rig.edit_customer("demo", |c| c.allow_fallback = true).await;
    rig.edit_customer("demo", |c| c.max_hops = 7).await;
    let refused = rig.assign("a", "cu").await.unwrap_err();
    assert!(refused.detail.contains("cu: unsupplied"), "{}", refused.detail);
}

#[tokio::test]
async fn a_provider_that_is_off_ill_or_without_a_key_sells_nothing() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 20);
    rig.edit_customer("demo", |c| c.allow_fallback = false).await;
    for (why, edit) in [
        ("no_provider", (|p| p.active = false) as fn(&mut tollgate_domain::provider::Provider)),
        ("no_provider", |p| p.health = 0),
        ("no_provider", |p| p.class = ProxyClass::Mobile),
        ("provider_misconfigured", |p| p.api_url = "nowhere".to_owned()),
    ] {
        rig.provider(edit).await;
        let refused = rig.assign("a", "nl").await.unwrap_err();
        assert!(refused.detail.contains(why), "{}", refused.detail);
    }
    assert_eq!(rig.calls(), 0);
    // A dearer one sells meanwhile; once the cheaper one is back, it is asked first.
    rig.provider(|p| {
        p.id = "dear".parse().unwrap();
        p.price = Money::usd_micros(2 * PRICE);
    })
    .await;
    let refused = rig.assign("a", "nl").await.unwrap_err();
    assert!(refused.detail.contains("(dear): provider_misconfigured"), "it has no key: {}", refused.detail);
    rig.provider(|_| {}).await;
    assert_eq!(rig.bound("a", "nl").await.proxy.unwrap().provider, brd());
}

#[tokio::test]
async fn sessions_use_what_the_customer_holds_and_never_buy() {
    let rig = Arc::new(Rig::new().await);
    rig.sandbox.set_stock("nl", 20);
    rig.sandbox.set_stock("fr", 20);
    rig.edit_customer("demo", |c| c.limits.max_sessions = 2).await;
    assert_eq!(rig.refused("session.s1", "nl").await, "NO_PROXY_AVAILABLE");
    let (nl, fr) = (rig.bound("a", "nl").await, rig.bound("b", "fr").await);
    let mut minutes = request("session.s1", "fr");
    minutes.hold = Hold::Minutes(10);
    assert_eq!(send(&rig.platform, minutes).await.unwrap(), fr);
    assert_eq!(rig.bound("session.s1", "fr").await, fr, "it stays");
    assert_eq!(rig.bound("session.s2", "be").await, nl, "the chain of be begins with nl");
    assert_eq!(rig.refused("session.s3", "").await, "LINES_EXCEEDED");
    rig.edit_customer("demo", |c| c.allow_fallback = false).await;
    assert_eq!(rig.refused("session.s4", "be").await, "NO_PROXY_AVAILABLE");
    // The line it used is closed: it moves.
    rig.close("b").await;
    assert_eq!(rig.bound("session.s1", "").await, nl);
    let books = Books::of(&rig).await;
    assert_eq!((rig.purchases(), books.open_lines()), (2, 3));
    none("sessions", &books.settled());
    // They end by themselves.
    rig.clock.forward_secs(3600 * 24);
    assert_eq!(rig.sweep().await.lines_closed, 2);
    assert_eq!(rig.close("session.s1").await, tollgate_functions::close_line::Closed::Already);
    none("sessions ended", &Books::of(&rig).await.settled());
}
