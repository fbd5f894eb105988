//! Limits of plans, and a customer's own.

use serde_json::{Value, json};
use tollgate_domain::feed::Entity;

use crate::world::{OPERATOR, VIEWER, World};

fn every_limit() -> Value {
    json!({
        "threads": 7, "threadBurstMilli": 1500, "qps": 8, "qpsBurst": 9, "rateTotal": 10, "rateConn": 11,
        "ipConns": 12, "ipQps": 13, "ipRate": 14, "ipRateTotal": 15, "portRateTotal": 16, "maxSourceIps": 17,
        "quotaBytes": 18, "maxLines": 19, "maxSessions": 20,
        "spendDay": { "micros": 21, "currency": "USD" }, "settleSeconds": 22, "allowEntries": 23,
        "targets": { "allowedPorts": [443], "deniedPorts": [24], "deniedNames": ["bad.example"] },
    })
}

fn plan(limits: &Value) -> Value {
    let free = json!({ "micros": 0, "currency": "USD" });
    json!({ "code": "tiny", "limits": limits, "base": free, "perGb": free })
}

#[tokio::test]
async fn a_plan_says_every_limit_and_shows_what_it_says() {
    let (w, _) = World::with_demo().await;
    let made = w.post("/admin/plans", plan(&every_limit())).await.expect(201);
    assert_eq!(made["limits"], every_limit());
    assert_eq!(w.get("/admin/plans").await.expect(200)["plans"][0]["limits"], every_limit());
    let moved = w.post("/admin/users/demo/plan", json!({ "plan": "tiny" })).await.expect(200);
    assert_eq!(moved["limits"], every_limit());

    let least = json!({ "threads": 1, "qps": 0, "rateTotal": 0, "maxLines": 0, "maxSessions": 0 });
    let limits = w.post("/admin/plans", plan(&least)).await.expect(201)["limits"].clone();
    for unlimited in
        ["qpsBurst", "rateConn", "ipConns", "ipQps", "ipRate", "ipRateTotal", "portRateTotal", "maxSourceIps"]
    {
        assert_eq!(limits[unlimited], 0, "{unlimited}");
    }
    assert_eq!((&limits["quotaBytes"], &limits["spendDay"]), (&Value::Null, &Value::Null));
    assert_eq!(limits["allowEntries"], 20, "the product's number");
    assert_eq!(limits["targets"], json!({ "allowedPorts": [], "deniedPorts": [], "deniedNames": [] }));
    for missing in ["threads", "qps", "rateTotal", "maxLines", "maxSessions"] {
        let mut less = least.clone();
        less.as_object_mut().unwrap().remove(missing);
        let detail = w.post("/admin/plans", plan(&less)).await.refused(400, "VALIDATION");
        assert!(detail.contains(missing), "{detail}");
    }
}

#[tokio::test]
async fn limits_out_of_bounds_are_refused_for_plans_and_customers() {
    let (w, _) = World::with_demo().await;
    let counts = ["threads", "qps", "qpsBurst", "ipConns", "ipQps", "maxSourceIps", "maxLines", "maxSessions"];
    let rates = ["rateTotal", "rateConn", "ipRate", "ipRateTotal", "portRateTotal"];
    let counts = counts.map(|c| (c, json!(1_000_001)));
    let rates = rates.map(|r| (r, json!((1u64 << 40) + 1)));
    let others = [
        ("threadBurstMilli", json!(999)),
        ("threadBurstMilli", json!(100_001)),
        ("allowEntries", json!(1001)),
        ("settleSeconds", json!(0)),
        ("settleSeconds", json!(301)),
        ("quotaBytes", json!((1u64 << 50) + 1)),
        ("spendDay", json!({ "micros": (1u64 << 50) + 1, "currency": "USD" })),
    ];
    for (field, value) in counts.into_iter().chain(rates).chain(others) {
        let mut limits = every_limit();
        limits[field] = value.clone();
        let detail = w.post("/admin/plans", plan(&limits)).await.refused(400, "VALIDATION");
        assert!(detail.starts_with(field), "{detail}");
        let own = json!({ field: value });
        let detail = w.post("/admin/users/demo/limits", own).await.refused(400, "VALIDATION");
        assert!(detail.starts_with(field), "{detail}");
    }
    for bad in
        [json!({}), json!({ "qps": -1 }), json!({ "qps": null }), json!({ "rate": 5 }), json!({ "threads": 1.5 })]
    {
        w.post("/admin/users/demo/limits", bad).await.refused(400, "VALIDATION");
    }
    assert_eq!(w.get("/admin/users/demo").await.expect(200)["version"], 1);
}

#[tokio::test]
async fn a_customer_gets_limits_of_its_own_and_edges_hear_of_it() {
    let (w, key) = World::with_demo().await;
    let before = w.get("/admin/users/demo").await.expect(200)["limits"].clone();
    w.outside.pass(5);
    let own = json!({ "rateConn": 1_000_000, "ipConns": 4, "quotaBytes": 5u64 << 30 });
    let post = |who: &str, key: &str| {
        let ask = w.admin(http::Method::POST, "/admin/users/demo/limits").key("x-admin-api-key", who);
        ask.header("idempotency-key", key).json(&own).send()
    };
    let after = post(OPERATOR, "k").await.expect(200);
    for (field, value) in after["limits"].as_object().unwrap() {
        assert_eq!(value, own.get(field).unwrap_or(&before[field]), "{field}");
    }
    let told = w.platform.store.changes_since(w.platform.now()).await.unwrap();
    let version = |e: Entity| told.iter().filter(|(_, c)| c.entity == e).map(|(_, c)| c.version).max();
    assert_eq!(version(Entity::Customer("demo".parse().unwrap())), after["version"].as_u64());
    let granted = w.platform.store.allowances(&"demo".parse().unwrap()).await.unwrap()[0].1.granted;
    assert_eq!(granted, 5 << 30, "the larger quota is there at once");

    let again = post(OPERATOR, "k").await;
    assert_eq!((again.header("idempotency-replayed"), again.expect(200)["version"].clone()), ("true", json!(2)));
    assert_eq!(post(OPERATOR, "other").await.expect(200)["version"], 2, "the same limits again are no change");
    post(VIEWER, "v").await.refused(403, "FORBIDDEN");
    assert_eq!(w.get_as(&key, "/v1/me").await.expect(200)["limits"]["ipConns"], 4);
    let trail = w.audited("customer.limits").await;
    let conns = |r: &Value| (r["before"]["limits"]["ip_conns"].as_u64(), r["after"]["limits"]["ip_conns"].as_u64());
    assert!(trail.iter().any(|r| conns(r) == (Some(0), Some(4))), "{trail:?}");

    let unlimited = json!({ "quotaBytes": null, "spendDay": null, "ipConns": 0 });
    let limits = w.post("/admin/users/demo/limits", unlimited).await.expect(200)["limits"].clone();
    assert_eq!(
        (&limits["quotaBytes"], &limits["ipConns"], &limits["rateConn"]),
        (&Value::Null, &json!(0), &json!(1_000_000))
    );
    let moved = w.post("/admin/users/demo/plan", json!({ "plan": "basic" })).await.expect(200);
    assert_eq!(moved["limits"], before, "a plan brings its own");
    w.post("/admin/users/nobody/limits", json!({ "qps": 1 })).await.refused(404, "NOT_FOUND");
}
