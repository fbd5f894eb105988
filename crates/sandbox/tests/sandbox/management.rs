use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollgate_domain::time::Clock as _;
use tollgate_sandbox::{
    Addresses, AlreadyGone, Answered, BalanceFields, BillingPeriod, CountPath, Dialects, NewIps, ReleaseAnswer,
    Sandbox, ShortStock, SoldOut,
};

use crate::support::{Answer, DAY, HOUR, World, api_request, buy_body, config, exchange, world};

#[tokio::test]
async fn a_purchase_names_the_zone_and_the_new_addresses_and_is_charged_once() {
    let w = world().await;
    let first = w.bought("nl").await;
    let answer = w.buy("nl", 2).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!((answer.ips("ips").len(), answer.ips("new_ips").len()), (3, 2));
    let all: BTreeSet<_> = answer.ips("ips").into_iter().collect();
    assert!(all.contains(&first) && !answer.ips("new_ips").contains(&first));
    assert_eq!(w.sandbox.total_charged(), 3 * 4_000_000);
    assert_eq!(w.sandbox.stock("nl"), 2);
    assert_eq!(first, Ipv4Addr::new(203, 0, 113, 1));
}

#[tokio::test]
async fn bad_requests_get_plain_text_and_charge_nothing() {
    let w = world().await;
    let zone = "isp_sandbox";
    for (method, path, body, status, text) in [
        ("POST", "/zone/ips", "not json".to_owned(), 400, "Invalid request body"),
        ("POST", "/zone/ips", r#"{"zone":"isp_sandbox","count":1}"#.into(), 400, "customer is required"),
        ("POST", "/zone/ips", buy_body("nl", 1).replace("c_sandbox", "c_other"), 403, "Forbidden"),
        ("POST", "/zone/ips", buy_body("nl", 1).replace(zone, "other"), 400, "Zone not found"),
        ("POST", "/zone/ips", buy_body("nl", 0), 400, "count is required"),
        ("POST", "/zone/ips", buy_body("nl", 5000), 400, "count is required"),
        ("DELETE", "/zone/ips", "[".into(), 400, "Invalid request body"),
        ("DELETE", "/zone/ips", r#"{"ips":["203.0.113.1"]}"#.into(), 400, "zone is required"),
        ("DELETE", "/zone/ips", r#"{"zone":"isp_sandbox"}"#.into(), 400, "ips is required"),
        ("DELETE", "/zone/ips", r#"{"zone":"isp_sandbox","ips":["x"]}"#.into(), 400, "Invalid IP format"),
        ("GET", "/zone/ips", String::new(), 400, "zone is required"),
        ("GET", "/zone/cost?zone=z", String::new(), 400, "Zone not found"),
        ("GET", "/zone/bw", String::new(), 400, "zone is required"),
        ("GET", "/zone/cost?zone=isp_sandbox&from=x&to=y", String::new(), 400, "Invalid date"),
        ("GET", "/count_available_ips?zone=z", String::new(), 400, "Zone not found"),
        ("GET", "/count_available_ips?plan=1", String::new(), 400, "Invalid plan"),
        ("GET", "/nowhere", String::new(), 404, "Not Found"),
    ] {
        let answer = w.call(method, path, &body).await;
        assert_eq!((answer.status, answer.text()), (status, text), "{method} {path} {body}");
        assert!(answer.headers["content-type"].starts_with("text/plain"), "{answer:?}");
    }
    assert_eq!(w.sandbox.total_charged(), 0);
    assert!(w.sandbox.purchases().is_empty());
}

#[tokio::test]
async fn only_the_key_opens_the_api() {
    let w = world().await;
    for header in ["", "Authorization: Bearer wrong\r\n", "Authorization: the-key\r\n"] {
        for path in ["/status", "/sandbox/ledger"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: api\r\n{header}Connection: close\r\n\r\n");
            let answer = Answer::parse(&exchange(w.sandbox.api_addr(), request.as_bytes()).await);
            assert_eq!((answer.status, answer.text()), (401, "Unauthorized"), "{path} {header}");
        }
    }
}

#[tokio::test]
async fn an_upper_case_country_misleads_in_every_dialect() {
    let w = world().await;
    for sold_out in [SoldOut::Text400, SoldOut::EmptyNewIps, SoldOut::WithoutNewIps] {
        w.sandbox.set_dialects(Dialects { sold_out, ..Dialects::default() });
        let answer = w.buy("NL", 1).await;
        assert_eq!((answer.status, answer.text()), (400, "No IPs available"));
    }
    assert_eq!(w.sandbox.total_charged(), 0);
    assert_eq!(w.sandbox.purchases().len(), 3);
}

#[tokio::test]
async fn sold_out_is_said_in_three_ways() {
    let w = world().await;
    assert_eq!(w.buy("be", 1).await.text(), "No IPs available");

    w.sandbox.set_dialects(Dialects { sold_out: SoldOut::EmptyNewIps, ..Dialects::default() });
    let answer = w.buy("be", 1).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ips": [], "new_ips": []})));

    w.sandbox.set_dialects(Dialects { sold_out: SoldOut::WithoutNewIps, ..Dialects::default() });
    let ip = w.bought("nl").await;
    let answer = w.buy("be", 1).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ips": [ip]})));

    let outcomes: Vec<_> = w.sandbox.purchases().iter().map(|p| p.answered).collect();
    assert_eq!(outcomes, [Answered::SoldOut, Answered::SoldOut, Answered::Bought, Answered::SoldOut]);
}

#[tokio::test]
async fn overlapping_new_ips_name_addresses_that_were_ours() {
    let w = world().await;
    let old = [w.bought("de").await, w.bought("nl").await];
    w.sandbox.set_dialects(Dialects { new_ips: NewIps::Overlapping, ..Dialects::default() });
    let answer = w.buy("nl", 1).await;
    let named = answer.ips("new_ips");
    assert_eq!(named[..2], [old[1], old[0]]);
    assert_eq!(named.len(), 3);
    assert_eq!(w.sandbox.purchases()[2].bought, named[2..]);
}

#[tokio::test]
async fn asking_for_more_than_there_is_buys_nothing_or_the_rest() {
    let w = world().await;
    assert_eq!(w.buy("de", 3).await.status, 400);
    assert_eq!(w.sandbox.total_charged(), 0);
    w.sandbox.set_dialects(Dialects { short_stock: ShortStock::Partial, ..Dialects::default() });
    assert_eq!(w.buy("de", 3).await.ips("new_ips").len(), 2);
    assert_eq!(w.sandbox.stock("de"), 0);
}

#[tokio::test]
async fn without_a_country_the_best_stocked_one_serves() {
    let w = world().await;
    let body = r#"{"customer":"c_sandbox","zone":"isp_sandbox","count":1}"#;
    assert_eq!(w.call("POST", "/zone/ips", body).await.status, 200);
    assert_eq!(w.sandbox.held()[0].1, "nl");
}

#[tokio::test]
async fn a_release_ends_billing_and_answers_as_the_dialect_says() {
    let w = world().await;
    let (a, b) = (w.bought("nl").await, w.bought("nl").await);
    assert_eq!(w.release(a).await.ips("ips"), [b]);
    assert_eq!(w.sandbox.stock("nl"), 4);

    w.sandbox.set_dialects(Dialects { release: ReleaseAnswer::Removed, ..Dialects::default() });
    assert_eq!(w.release(b).await.ips("ips"), [b]);
    assert_eq!(w.release(b).await.ips("ips"), Vec::<Ipv4Addr>::new());

    w.sandbox.set_dialects(Dialects { already_gone: AlreadyGone::Text400, ..Dialects::default() });
    let c = w.bought("nl").await;
    let both = format!(r#"{{"zone":"isp_sandbox","ips":["{c}","{a}"]}}"#);
    let answer = w.call("DELETE", "/zone/ips", &both).await;
    assert_eq!((answer.status, answer.text()), (400, "IP 203.0.113.1 not found in zone"));
    assert_eq!(w.listed().await, [c]);

    w.clock.advance(DAY * 90);
    let rows = w.sandbox.ledger(w.clock.now());
    assert_eq!(rows.iter().map(|r| r.charges.len()).collect::<Vec<_>>(), [1, 1, 4]);
    assert!(rows[0].released_at.is_some() && rows[2].released_at.is_none());
}

#[tokio::test]
async fn an_address_may_come_back_after_its_release() {
    let w = world().await;
    let a = w.bought("nl").await;
    w.release(a).await;
    assert_ne!(w.bought("nl").await, a);
    w.sandbox.set_dialects(Dialects { addresses: Addresses::Returning, ..Dialects::default() });
    assert_ne!(w.bought("de").await, a);
    assert_eq!(w.bought("nl").await, a);
    let rows = w.sandbox.ledger(w.clock.now());
    assert_eq!(rows.iter().filter(|r| r.ip == a).count(), 2);
}

#[tokio::test]
async fn listings_give_each_address_its_country() {
    let w = world().await;
    let (nl, de) = (w.bought("nl").await, w.bought("de").await);
    let row = |ip, cc| json!({"ip": ip, "maxmind": cc, "ext": {"dbip": cc, "ip2location": cc, "google": cc}});
    let listing = w.get("/zone/ips?zone=isp_sandbox").await.json();
    assert_eq!(listing, json!({"ips": [row(nl, "nl"), row(de, "de")]}));
    w.bought("nl").await;
    let counts = w.get("/zone/ips?zone=isp_sandbox&ip_per_country=true").await.json();
    assert_eq!(counts, json!({"nl": 2, "de": 1}));
}

#[tokio::test]
async fn stock_is_counted_by_zone_and_by_plan_under_either_path() {
    let w = world().await;
    let plan = |p: &str| format!("plan={}", p.replace('"', "%22").replace('{', "%7B").replace('}', "%7D"));
    let isp = plan(r#"{"ips_type":"dedicated","country":"nl","pool_ip_type":"static_res"}"#);
    let shouted = plan(r#"{"country":"NL","pool_ip_type":"static_res"}"#);
    let datacenter = plan(r#"{"country":"nl"}"#);
    for path in ["/zone/count_available_ips", "/count_available_ips"] {
        for (query, count) in [("zone=isp_sandbox", 7), (&isp, 5), (&shouted, 0), (&datacenter, 0)] {
            assert_eq!(w.get(&format!("{path}?{query}")).await.json(), json!({"count": count}), "{path} {query}");
        }
    }
    for (count_path, gone, there) in [
        (CountPath::AtRoot, "/zone/count_available_ips", "/count_available_ips"),
        (CountPath::UnderZone, "/count_available_ips", "/zone/count_available_ips"),
    ] {
        w.sandbox.set_dialects(Dialects { count_path, ..Dialects::default() });
        assert_eq!(w.get(&format!("{gone}?zone=isp_sandbox")).await.status, 404);
        assert_eq!(w.get(&format!("{there}?zone=isp_sandbox")).await.status, 200);
    }
}

#[tokio::test]
async fn renewals_are_charged_when_they_fall_due_at_the_price_of_their_time() {
    let (clock, mut config) = config();
    config.billing = BillingPeriod::Hour;
    config.price_micros = 10;
    let w = World { clock, sandbox: Sandbox::start(config).await.unwrap() };
    let bought_at = w.clock.now();
    let ip = w.bought("nl").await;
    w.clock.advance(HOUR * 2);
    w.sandbox.set_price(25);
    w.clock.advance(HOUR);
    let row = &w.sandbox.ledger(w.clock.now())[0];
    let charged: Vec<_> = row.charges.iter().map(|c| (c.at.since(bought_at), c.micros)).collect();
    assert_eq!(charged, [(Duration::ZERO, 10), (HOUR, 10), (HOUR * 2, 10), (HOUR * 3, 25)]);
    assert_eq!(row.paid_until(), bought_at.plus(HOUR * 4));
    assert_eq!((row.total_micros(), w.sandbox.total_charged()), (55, 55));

    // Given back at the very end of the paid time: no further charge, and none later.
    w.clock.advance(HOUR);
    w.release(ip).await;
    w.clock.advance(DAY);
    assert_eq!(w.sandbox.total_charged(), 55);
    assert_eq!(BillingPeriod::Day.duration(), DAY);
}

#[tokio::test]
async fn cost_and_balance_follow_the_ledger() {
    let w = world().await;
    w.bought("nl").await;
    w.clock.advance(DAY);
    w.bought("nl").await;
    let all = w.get("/zone/cost?zone=isp_sandbox").await.json();
    let costs = ["back_d0", "back_d1", "back_d2", "back_m0", "back_m1"].map(|b| all["c_sandbox"][b]["cost"].clone());
    assert_eq!(costs, [4.0, 4.0, 0.0, 8.0, 0.0]);
    let one = w.get("/zone/cost?zone=isp_sandbox&from=2026-11-23&to=2026-11-24T00:00:00").await.json();
    assert_eq!(
        one,
        json!({"c_sandbox": {"custom": {
            "cost": 4.0, "bw": 0, "gbs": 0.0, "range": {"from": "2026-11-23", "to": "2026-11-24T00:00:00"}
        }}})
    );
    assert_eq!(w.get("/customer/balance").await.json(), json!({"balance": 992.0, "pending_balance": 0}));
    w.sandbox.set_dialects(Dialects { balance: BalanceFields::Recorded, ..Dialects::default() });
    assert_eq!(
        w.get("/customer/balance").await.json(),
        json!({"balance": 992.0, "credit": 0, "prepayment": 1000.0, "pending_costs": 0})
    );
    let status = w.get("/status").await.json();
    assert_eq!((&status["status"], &status["can_make_requests"]), (&json!("active"), &json!(true)));
    assert_ne!(status["customer"], "c_sandbox");
}

#[tokio::test]
async fn one_connection_carries_many_calls() {
    let w = world().await;
    let status = String::from_utf8(api_request("GET", "/status", "")).unwrap();
    let twice = status.replace("Connection: close\r\n", "") + &status;
    let raw = exchange(w.sandbox.api_addr(), twice.as_bytes()).await;
    assert_eq!(String::from_utf8(raw).unwrap().matches("HTTP/1.1 200 OK").count(), 2);
}

#[tokio::test]
async fn concurrent_purchases_never_sell_more_than_there_is_nor_one_address_twice() {
    let w = Arc::new(world().await);
    w.sandbox.set_stock("nl", 40);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let w = Arc::clone(&w);
        tasks.spawn(async move { w.buy("nl", 1).await });
    }
    let answers = tasks.join_all().await;
    let sold: Vec<_> = answers.iter().filter(|a| a.status == 200).flat_map(|a| a.ips("new_ips")).collect();
    assert_eq!((sold.len(), sold.iter().collect::<BTreeSet<_>>().len()), (40, 40));
    assert_eq!(w.sandbox.total_charged(), 40 * 4_000_000);
}

#[tokio::test]
async fn absurd_prices_and_stocks_saturate() {
    let w = world().await;
    w.sandbox.set_stock("nl", u32::MAX);
    w.sandbox.set_price(u64::MAX);
    let a = w.bought("nl").await;
    w.bought("nl").await;
    w.sandbox.set_stock("nl", u32::MAX);
    assert_eq!(w.release(a).await.status, 200);
    assert_eq!((w.sandbox.stock("nl"), w.sandbox.total_charged()), (u32::MAX, u64::MAX));
    assert_eq!(w.get("/count_available_ips?zone=isp_sandbox").await.json(), json!({"count": u32::MAX}));
    assert_eq!(w.get("/customer/balance").await.status, 200);
}
