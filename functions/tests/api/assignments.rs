//! `/v1/assignments`, `/v1/me`, `/v1/countries`: what customers do and see.

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::id::{EdgeSession, LineKey};
use tollgate_store::rollup::DayTotal;
use tollgate_store::usage::{DayUsage, UsageKey};

use crate::world::World;

#[tokio::test]
async fn a_line_gets_the_nearest_country_that_has_a_proxy() {
    let (w, key) = World::with_demo().await;
    w.market.put("nl", 1);
    let bound = w.post_as(&key, "/v1/assignments", json!({ "line": "chip1", "country": "BE" })).await.expect(200);
    assert_eq!((&bound["requestedCountry"], &bound["country"]), (&json!("be"), &json!("nl")));
    assert_eq!(
        (&bound["fallbackUsed"], &bound["type"], &bound["state"]),
        (&json!(true), &json!("isp"), &json!("bound"))
    );
    assert_eq!(bound["hops"][0]["country"], "be");
    assert_eq!(bound["hops"][1]["country"], "nl");
    assert!(!bound.to_string().contains("brd"), "who sold it is not the customer's to know: {bound}");
    let url = bound["proxyUrl"].as_str().unwrap();
    assert!(url.starts_with("http://demo-line-chip1-country-be:") && url.ends_with("@gate.example:3128"), "{url}");
    let password = url.split_once("be:").unwrap().1.split_once('@').unwrap().0;
    assert!(!w.everything_stored().await.contains(password), "not even in the idempotency records");

    let again = w.post_as(&key, "/v1/assignments", json!({ "line": "chip1" })).await.expect(200);
    assert_eq!((&again, w.market.sold()), (&bound, 1));
    assert_eq!(w.get_as(&key, "/v1/assignments/chip1").await.expect(200), bound);
    let listed = w.get_as(&key, "/v1/assignments").await.expect(200);
    assert_eq!(listed["assignments"].as_array().unwrap().len(), 1);
    assert!(listed["assignments"][0]["proxyUrl"].is_null(), "URLs of all lines are the other list's");
    let other = w.post_as(&key, "/v1/assignments", json!({ "line": "chip1", "country": "fr" })).await;
    other.refused(409, "LINE_MISMATCH");
}

#[tokio::test]
async fn a_closed_line_is_gone_and_its_proxy_is_recycled() {
    let (w, key) = World::with_demo().await;
    w.market.put("be", 1);
    let open = |line: &'static str| w.post_as(&key, "/v1/assignments", json!({ "line": line, "country": "be" }));
    open("a").await.expect(200);
    let close = |line: &str| w.asks(Method::DELETE, &format!("/v1/assignments/{line}")).key("x-api-key", &key).send();
    w.outside.pass(1);
    assert_eq!(close("a").await.expect(200), json!({ "line": "a", "closed": true }));
    assert_eq!(close("a").await.expect(200), json!({ "line": "a", "closed": true }));
    w.get_as(&key, "/v1/assignments/a").await.refused(404, "NOT_FOUND");
    assert_eq!(w.get_as(&key, "/v1/assignments").await.expect(200), json!({ "assignments": [] }));
    let metrics = w.get("/admin/proxies/metrics").await.expect(200);
    assert_eq!((&metrics["total"], &metrics["idle"], &metrics["active"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!((&metrics["byCountry"], &metrics["releasing"]), (&json!({ "be": 1 }), &json!(0)));
    assert_eq!(metrics["estimatedMonthlyCost"], 4.0, "{metrics}");
    w.outside.pass(1);
    open("b").await.expect(200);
    assert_eq!(w.market.sold(), 1, "the idle one was taken");
    close("never").await.refused(404, "NOT_FOUND");
    close("not%20a%20line").await.refused(404, "NOT_FOUND");
    w.get_as(&key, "/v1/assignments/not%20a%20line").await.refused(404, "NOT_FOUND");

    let trail = w.get("/admin/audit").await.expect(200)["records"].clone();
    let of_demo = |r: &&Value| r["actor"] == "customer:demo";
    let did = trail.as_array().unwrap().iter().filter(of_demo).map(|r| r["action"].clone()).collect::<Vec<_>>();
    assert_eq!(did, ["line.open", "line.close", "line.open"]);
}

#[tokio::test]
async fn lines_are_asked_for_rightly() {
    let (w, key) = World::with_demo().await;
    let before = w.everything_stored().await;
    let open = |body: Value| w.post_as(&key, "/v1/assignments", body);
    for (body, named) in [
        (json!({}), "missing field `line`"),
        (json!({ "line": "x".repeat(300), "country": "be" }), "[A-Za-z0-9_.]{1,64}"),
        (json!({ "line": "a-b", "country": "be" }), "[A-Za-z0-9_.]{1,64}"),
        (json!({ "line": "", "country": "be" }), "line"),
        (json!({ "line": "a", "country": "be", "type": "satellite" }), "type"),
        (json!({ "line": "a", "country": "be", "hold": 0 }), "hold"),
        (json!({ "line": "a", "country": "be", "hold": 43_201 }), "hold"),
        (json!({ "line": "a", "country": "be", "hold": "forever" }), "hold"),
        (json!({ "line": "a", "country": "be", "hold": -1 }), "Held"),
        (json!({ "line": "a", "country": "be", "provider": "brd" }), "unknown field `provider`"),
    ] {
        let detail = open(body).await.refused(400, "VALIDATION");
        assert!(detail.contains(named), "{named}: {detail}");
    }
    let detail = open(json!({ "line": "a", "country": "atlantis" })).await.refused(400, "COUNTRY_UNKNOWN");
    assert!(detail.contains("atlantis"), "{detail}");
    assert_eq!(w.everything_stored().await, before, "bad input leaves no trace");
    open(json!({ "line": "a" })).await.refused(400, "COUNTRY_REQUIRED");
    assert_eq!(w.market.sold(), 0);
}

#[tokio::test]
async fn a_uuid_names_a_line_with_or_without_its_hyphens() {
    let (w, key) = World::with_demo().await;
    w.market.put("be", 2);
    let uuid = "123E4567-e89b-12d3-a456-426614174000";
    let body = json!({ "line": uuid, "country": "be", "type": "isp", "hold": 30 });
    let bound = w.post_as(&key, "/v1/assignments", body).await.expect(200);
    assert_eq!(bound["line"], "123E4567e89b12d3a456426614174000");
    assert_eq!(w.get_as(&key, &format!("/v1/assignments/{uuid}")).await.expect(200), bound);
    let body = json!({ "line": uuid.replace('-', ""), "hold": "until_closed" });
    w.post_as(&key, "/v1/assignments", body).await.expect(200);
    assert_eq!(w.market.sold(), 1);
}

#[tokio::test]
async fn nothing_to_be_had_is_told_with_the_countries_tried() {
    let (w, key) = World::with_demo().await;
    let answer = w.post_as(&key, "/v1/assignments", json!({ "line": "a", "country": "lu" })).await;
    let detail = answer.refused(503, "NO_PROXY_AVAILABLE");
    for country in ["lu", "de", "fr", "be", "nl", "gb"] {
        assert!(detail.contains(country), "{country}: {detail}");
    }
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn customers_see_their_account_and_only_theirs() {
    let (w, key) = World::with_demo().await;
    w.market.put("be", 1);
    w.post_as(&key, "/v1/assignments", json!({ "line": "a", "country": "be" })).await.expect(200);
    let me = w.get_as(&key, "/v1/me").await.expect(200);
    assert_eq!(
        (&me["id"], &me["plan"], &me["status"], &me["openLines"]),
        (&json!("demo"), &json!("basic"), &json!("active"), &json!(1))
    );
    assert_eq!((&me["endpoint"], &me["limits"]["quotaBytes"]), (&json!("gate.example:3128"), &json!(1u64 << 30)));
    assert!(me["ban"].is_null() && me["version"].is_null(), "what operators note is theirs");
    w.customer("other").await;
    let others = w.key("other", &tollgate_store::api_key::Scope::ALL).await;
    assert_eq!(w.get_as(&others, "/v1/assignments").await.expect(200), json!({ "assignments": [] }));
    w.get_as(&others, "/v1/assignments/a").await.refused(404, "NOT_FOUND");
    let close = w.asks(Method::DELETE, "/v1/assignments/a").key("x-api-key", &others);
    close.send().await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn usage_is_summed_by_day() {
    let (w, key) = World::with_demo().await;
    let store = &w.platform.store;
    let now = w.platform.now();
    for (session, day, ingress, egress) in
        [("e1.1", "2027-01-14", 10, 100), ("e1.1", "2027-01-15", 1, 2), ("e2.7", "2027-01-15", 3, 4)]
    {
        let line: LineKey = "demo#a".parse().unwrap();
        let session: EdgeSession = session.parse().unwrap();
        let usage = DayUsage { seq: 1, ingress, egress, connections: 1, first_at: now, last_at: now };
        let row = UsageKey { day: day.into(), line: line.label, proxy: "brd/203.0.113.1".parse().unwrap(), session };
        store.record_usage(&line.customer, &row, &usage).await.unwrap();
    }
    // One of them was added up.
    let demo = "demo".parse().unwrap();
    let rows = store.usage_of_day(&demo, "2027-01-14").await.unwrap();
    let total = DayTotal::of(rows.iter().map(|(key, usage)| (&key.proxy, usage)));
    assert!(store.record_rollup(&demo, "2027-01-14", &total, now).await.unwrap());
    let usage = w.get_as(&key, "/v1/me/usage").await.expect(200);
    assert_eq!(
        (&usage["month"], &usage["totalBytes"], &usage["quotaBytes"]),
        (&json!("2027-01"), &json!(120), &json!(1u64 << 30))
    );
    assert_eq!(
        usage["days"],
        json!([
            { "day": "2027-01-14", "ingressBytes": 10, "egressBytes": 100, "connections": 1, "final": true },
            { "day": "2027-01-15", "ingressBytes": 4, "egressBytes": 6, "connections": 2, "final": false },
        ])
    );
    let bucket = &usage["buckets"][0];
    assert_eq!(
        (&bucket["kind"], &bucket["grantedBytes"], &bucket["usedBytes"]),
        (&json!("plan"), &json!(1u64 << 30), &json!(0))
    );
    assert_eq!(w.get_as(&key, "/v1/me/usage?month=2026-12").await.expect(200)["days"], json!([]));
    for bad in ["2026-13", "2026-00", "26-01", "2026-1", "202601", "x"] {
        w.get_as(&key, &format!("/v1/me/usage?month={bad}")).await.refused(400, "VALIDATION");
    }
    w.post("/admin/users/demo/plan", json!({ "plan": "premium" })).await.expect(200);
    let kinds = w.get_as(&key, "/v1/me/usage").await.expect(200)["buckets"].clone();
    let kinds = kinds.as_array().unwrap().iter().map(|b| b["kind"].clone()).collect::<Vec<_>>();
    assert_eq!(kinds, ["plan", "unlimited"]);
}

#[tokio::test]
async fn countries_show_the_cheapest_price_and_what_is_sold_out() {
    let (w, key) = World::with_demo().await;
    let row = |all: &Value, code: &str| {
        all["countries"].as_array().unwrap().iter().find(|c| c["country"] == code).unwrap().clone()
    };
    let all = w.get_as(&key, "/v1/countries").await.expect(200);
    assert_eq!(all["countries"].as_array().unwrap().len(), 249);
    let be = json!({ "country": "be", "name": "Belgium", "available": true, "price": { "micros": 4_000_000, "currency": "USD" } });
    assert_eq!(row(&all, "be"), be);
    assert_eq!((&row(&all, "kp")["available"], &row(&all, "kp")["price"]), (&json!(false), &Value::Null));
    w.post_as(&key, "/v1/assignments", json!({ "line": "a", "country": "be" }))
        .await
        .refused(503, "NO_PROXY_AVAILABLE");
    assert_eq!(row(&w.get_as(&key, "/v1/countries").await.expect(200), "be")["available"], false);
    w.outside.pass(61);
    assert_eq!(row(&w.get_as(&key, "/v1/countries").await.expect(200), "be"), be);
}
