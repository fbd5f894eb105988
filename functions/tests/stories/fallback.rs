//! The main story: be is sold out, nl is bought, and what was bought is used again.

use tollgate_domain::assignment::{AssignmentState, Hop};
use tollgate_domain::intent::IntentState;
use tollgate_domain::proxy::{ProxyClass, ProxyState};
use tollgate_functions::close_line::Closed;

use crate::support::books::{Books, none};
use crate::support::{PRICE, Rig, brd, cc, key, request, send};

fn walk(hops: &[Hop]) -> Vec<(&str, &str)> {
    hops.iter().map(|h| (h.country.as_str(), h.outcome.as_str())).collect()
}

#[tokio::test]
async fn a_country_that_is_sold_out_is_served_from_the_next_of_its_chain() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 1);
    let a = rig.bound("chip1", "be").await;
    assert_eq!((a.state, a.requested, a.country), (AssignmentState::Bound, cc("be"), Some(cc("nl"))));
    assert!(a.fallback_used());
    assert_eq!(walk(&a.hops), [("be", "no_stock"), ("nl", "bought")]);
    assert_eq!(rig.store().assignment(&key("chip1")).await.unwrap().unwrap(), a, "the answer is what is stored");

    use IntentState::{Calling, Confirmed, Failed, Planned};
    for (hop, trail) in a.hops.iter().zip([[Planned, Calling, Failed], [Planned, Calling, Confirmed]]) {
        let intent = rig.store().intent(hop.intent.as_ref().unwrap()).await.unwrap().unwrap();
        assert_eq!(intent.trail.iter().map(|t| t.0).collect::<Vec<_>>(), trail);
        assert_eq!(intent.country, hop.country);
    }
    assert_eq!((rig.calls(), rig.purchases(), rig.sandbox.total_charged()), (2, 1, PRICE));
    assert_eq!(rig.store().spent(&brd(), &key("chip1").customer, rig.now()).await.unwrap(), (PRICE, PRICE));
    let event = &rig.events.of("proxy.assigned")[0].detail;
    assert_eq!(
        (&event["requested"], &event["given"], &event["fallback_used"]),
        (&"be".into(), &"nl".into(), &true.into())
    );
    none("bought", &Books::of(&rig).await.settled());

    // Asked again, with the country, without, it is the same.
    assert_eq!(rig.bound("chip1", "be").await, a);
    assert_eq!(rig.bound("chip1", "").await, a);
    assert_eq!(rig.calls(), 2);
}

#[tokio::test]
async fn sold_out_is_remembered_for_a_minute() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 3);
    rig.bound("a", "be").await;
    rig.clock.forward_secs(59);
    rig.sandbox.set_stock("be", 1);
    let b = rig.bound("b", "be").await;
    assert_eq!(walk(&b.hops), [("be", "no_stock_remembered"), ("nl", "bought")]);
    rig.clock.forward_secs(1);
    let c = rig.bound("c", "be").await;
    assert_eq!(walk(&c.hops), [("be", "bought")]);
    assert_eq!(rig.calls(), 4);
}

#[tokio::test]
async fn a_closed_line_leaves_its_address_to_the_next_that_wants_its_country_or_falls_back_to_it() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 1);
    let a = rig.bound("a", "be").await;
    let proxy = a.proxy.clone().unwrap();
    rig.clock.forward_secs(30);
    let due = rig.now().plus(std::time::Duration::from_secs(3600));
    assert_eq!(rig.close("a").await, Closed::Closed { idle: Some((proxy.clone(), due)) });
    assert_eq!(rig.close("a").await, Closed::Already);
    let row = rig.store().proxy(&proxy).await.unwrap().unwrap();
    assert_eq!((row.state, row.due, row.idle_since), (ProxyState::Idle, Some(due), Some(rig.now())));
    assert_eq!(rig.store().past_assignments(&key("a")).await.unwrap().len(), 1);
    none("closed", &Books::of(&rig).await.settled());

    // Sold out is still remembered: nobody is asked at all.
    let b = rig.bound("b", "be").await;
    assert_eq!(
        (b.proxy.as_ref(), walk(&b.hops)),
        (Some(&proxy), vec![("be", "no_stock_remembered"), ("nl", "recycled")])
    );
    rig.close("b").await;
    // After a minute be is asked for again, and nl recycled again.
    rig.clock.forward_secs(60);
    let c = rig.bound("c", "be").await;
    assert_eq!(walk(&c.hops), [("be", "no_stock"), ("nl", "recycled")]);
    rig.close("c").await;
    let d = rig.bound("d", "nl").await;
    assert_eq!(walk(&d.hops), [("nl", "recycled")]);
    assert_eq!(rig.store().proxy(&proxy).await.unwrap().unwrap().recycled, 3);
    assert_eq!((rig.purchases(), rig.calls()), (1, 3));
    none("recycled", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn a_line_that_returns_gets_its_own_address_back() {
    let rig = Rig::new().await;
    rig.idle("nl", 5).await;
    rig.sandbox.set_stock("nl", 1);
    for n in 1..=5 {
        rig.bound(&format!("x{n}"), "nl").await;
    }
    let mine = rig.bound("a", "nl").await.proxy;
    for n in 1..=5 {
        rig.close(&format!("x{n}")).await;
    }
    rig.close("a").await;
    // Five others are idle, too.
    let again = rig.bound("a", "nl").await;
    assert_eq!(again.proxy, mine);
    // A line that asks for another country than before does not insist on it.
    rig.close("a").await;
    rig.sandbox.set_stock("fr", 1);
    assert_eq!(walk(&rig.bound("a", "fr").await.hops), [("fr", "bought")]);
    none("returned", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn a_line_that_names_no_class_means_the_one_it_had() {
    let rig = Rig::new().await;
    rig.platform.secrets.put("dc/management", "sandbox_key".into()).await.unwrap();
    rig.idle("nl", 1).await;
    rig.provider(|p| {
        p.id = "dc".parse().unwrap();
        p.class = ProxyClass::Datacenter;
    })
    .await;
    rig.sandbox.set_stock("fr", 1);
    let mut request = request("a", "fr");
    request.class = Some(ProxyClass::Datacenter);
    let dc = send(&rig.platform, request).await.unwrap();
    assert_eq!(dc.proxy.unwrap().provider.as_str(), "dc");
    rig.close("a").await;
    // What is idle in nl is of another class; what is sold there is not.
    rig.sandbox.set_stock("nl", 1);
    let nl = rig.bound("a", "nl").await;
    assert_eq!((nl.class, walk(&nl.hops)), (ProxyClass::Datacenter, vec![("nl", "bought")]));
    assert_eq!(walk(&rig.bound("b", "nl").await.hops), [("nl", "recycled")]);
}
