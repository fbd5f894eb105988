//! Each function's policy is what the function does: no action and no resource more or less.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests too

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_sandbox::{Call, Fault};
use tollgate_tests::payload::tick;
use tollgate_tests::shop::Shop;

type Calls = BTreeSet<(String, String)>;

fn lines(calls: &Calls) -> String {
    calls.iter().map(|(action, resource)| format!("  {action} on {resource}\n")).collect()
}

/// Lets the functions do everything that they do.
async fn everything(shop: &Shop) {
    customers(shop).await;
    purchases(shop).await;
    slow_walks(shop).await;
    schedules(shop).await;
    shop.cloud.run_deferred().await;
}

/// The admin API, route by route, and what a customer sees of it.
async fn customers(shop: &Shop) {
    let kept = json!({});
    for (method, path, body, status) in [
        ("GET", "/admin/users", None, 200),
        ("GET", "/admin/users/demo", None, 200),
        ("POST", "/admin/users/demo/ban", Some(json!({ "reason": "test" })), 200),
        ("POST", "/admin/users/demo/unban", Some(kept.clone()), 200),
        ("POST", "/admin/users/demo/kick", Some(kept.clone()), 200),
        ("POST", "/admin/users/demo/kick", Some(json!({ "line": "chip1" })), 200),
        ("POST", "/admin/users/demo/unlock", Some(kept.clone()), 200),
        ("POST", "/admin/users/demo/limits", Some(json!({ "ipConns": 50 })), 200),
        ("POST", "/admin/users/demo/extend", Some(json!({ "days": 30 })), 200),
        ("POST", "/admin/users/demo/plan", Some(json!({ "plan": "enterprise" })), 200),
        ("POST", "/admin/users/demo/plan", Some(json!({ "plan": "pro" })), 200),
        ("POST", "/admin/users/demo/auth", Some(json!({ "mode": "either" })), 200),
        ("POST", "/admin/users/demo/ips", Some(json!({ "net": "8.8.8.0/28" })), 201),
        ("GET", "/admin/users/demo/ips", None, 200),
        ("DELETE", "/admin/users/demo/ips?net=8.8.8.0/28", None, 200),
        ("GET", "/admin/users/demo/keys", None, 200),
        ("GET", "/admin/users/demo/credentials", None, 200),
        ("POST", "/admin/users/demo/credentials/demo/rotate", Some(kept.clone()), 200),
        ("GET", "/admin/plans", None, 200),
        ("GET", "/admin/proxies/metrics", None, 200),
        ("GET", "/admin/proxies/providers", None, 200),
        ("GET", "/admin/proxies/brd/203.0.113.1", None, 404),
        ("GET", "/admin/audit", None, 200),
        ("GET", "/admin/live", None, 200),
        ("GET", "/admin/edges", None, 200),
        ("GET", "/admin/users/demo/usage", None, 200),
        ("GET", "/admin/users/demo/events", None, 200),
        ("POST", "/admin/logs/rotate", Some(kept.clone()), 202),
        ("GET", "/v1/me", None, 200),
        ("GET", "/v1/me/usage", None, 200),
        ("GET", "/v1/me/events", None, 200),
        ("GET", "/v1/countries", None, 200),
        ("POST", "/v1/ips", Some(json!({ "net": "8.8.8.8", "note": "office" })), 201),
        ("GET", "/v1/ips", None, 200),
        ("DELETE", "/v1/ips?net=8.8.8.8", None, 200),
        ("GET", "/v1/proxies", None, 200),
        ("GET", "/v1/assignments", None, 200),
    ] {
        match path.starts_with("/admin") {
            true => shop.admin(method, path, body.as_ref(), status).await,
            false => shop.customer(method, path, body.as_ref(), status).await,
        };
    }
    // A larger plan, a smaller one, a new version; and what is kept and given back of a repeated request.
    let keyed = json!({ "id": "keyed", "name": "Keyed", "plan": "free" });
    for _ in 0..2 {
        shop.keyed("/admin/users", &keyed, 201).await;
    }
    let mut homeless = shop.provider();
    homeless["id"] = "homeless".into();
    shop.keyed("/admin/proxies/providers", &homeless, 503).await;
    let plan = json!({
        "code": "free", "base": { "micros": 0, "currency": "USD" }, "perGb": { "micros": 0, "currency": "USD" },
        "limits": {
            "threads": 5, "qps": 10, "rateTotal": 1_048_576, "quotaBytes": 104_857_600, "maxLines": 5, "maxSessions": 10,
        },
    });
    shop.admin("POST", "/admin/plans", Some(&plan), 201).await;
    let gone = json!({ "id": "gone", "name": "Gone", "plan": "free" });
    shop.admin("POST", "/admin/users", Some(&gone), 201).await;
    let key = shop.admin("POST", "/admin/users/gone/keys", Some(&json!({})), 201).await;
    let id = key["id"].as_str().unwrap_or_else(|| panic!("{key}"));
    shop.admin("DELETE", &format!("/admin/users/gone/keys/{id}"), None, 200).await;
    shop.admin("DELETE", "/admin/users/gone", None, 200).await;
    let mut other = shop.provider();
    other["id"] = "other".into();
    other.as_object_mut().unwrap().retain(|k, _| k != "managementKey" && k != "gatewayPassword");
    shop.admin("POST", "/admin/proxies/providers", Some(&other), 201).await;
    other.as_object_mut().unwrap().remove("id");
    other["active"] = false.into();
    shop.admin("PUT", "/admin/proxies/providers/other", Some(&other), 200).await;
    shop.admin("DELETE", "/admin/proxies/providers/other", None, 200).await;
}

/// Buying with every way that a purchase can end, through the edge's function and the API.
async fn purchases(shop: &Shop) {
    for (at, fault) in [
        None,
        Some(Fault::ChargedButAnswerLost),
        Some(Fault::NoStock),
        Some(Fault::Status { code: 429, retry_after: Some(1) }),
        Some(Fault::Status { code: 401, retry_after: None }),
    ]
    .into_iter()
    .enumerate()
    {
        for door in ["edge", "api"] {
            if let Some(fault) = fault {
                shop.sandbox.faults().push(Call::Buy, fault);
            }
            open(shop, &format!("{door}{at}"), "be", door).await;
        }
    }
    // What was charged and not answered is found, adopted and bound.
    for outcome in shop.cloud.run_deferred().await {
        outcome.unwrap();
    }
    for line in ["edge1", "api1"] {
        open(shop, line, "be", "edge").await;
    }
    // A walk over two countries, a recycled proxy, and a line that comes back.
    for door in ["edge", "api"] {
        shop.sandbox.faults().clear();
        let line = format!("walk_{door}");
        open(shop, &line, "lu", door).await;
        shop.customer("DELETE", &format!("/v1/assignments/{line}"), None, 200).await;
        open(shop, &line, "lu", door).await;
        shop.customer("DELETE", &format!("/v1/assignments/{line}"), None, 200).await;
        open(shop, &format!("other_{door}"), "de", door).await;
    }
    // Sessions use what the customer holds, and find another when that is gone.
    for door in ["edge", "api"] {
        open(shop, &format!("other_{door}"), "de", door).await;
        open(shop, "session.1", "de", "edge").await;
        shop.customer("DELETE", &format!("/v1/assignments/other_{door}"), None, 200).await;
        open(shop, "session.1", "de", "edge").await;
    }
    let twice = json!({ "line": "twice", "country": "de" });
    for _ in 0..2 {
        shop.customer("POST", "/v1/assignments", Some(&twice), 200).await;
    }
}

/// Opens a line; whether it gets a proxy is not the matter here.
async fn open(shop: &Shop, line: &str, country: &str, door: &str) -> Value {
    if door == "edge" {
        return shop.assign(line, country).await;
    }
    shop.ask("POST", "/v1/assignments", &json!({ "line": line, "country": country })).await
}

/// A provider so slow that a walk runs out of time and goes on by itself.
async fn slow_walks(shop: &Shop) {
    for _ in 0..6 {
        shop.sandbox.faults().push_set(Call::Buy, [Fault::NoStock, Fault::Slow(Duration::from_millis(4600))]);
    }
    tokio::join!(open(shop, "slow_edge", "bd", "edge"), open(shop, "slow_api", "pk", "api"));
    shop.sandbox.faults().clear();
}

/// What runs by itself, over lines and proxies in every state.
async fn schedules(shop: &Shop) {
    shop.customer_without_budget("none").await;
    shop.customer_without_budget("rich").await;
    shop.grant_too_much("rich").await;
    open(shop, "quiet", "de", "edge").await;
    shop.edge_that_fell_silent("gone", "quiet").await;
    shop.admin("POST", "/admin/edges/gone/drain", Some(&json!({})), 202).await;
    shop.admin("POST", "/admin/edges/gone/lost", Some(&json!({ "force": true })), 200).await;
    shop.lease_of_a_period_long_over("stranded").await;
    shop.fell_quiet_long_ago("quiet").await;
    shop.release_at_once().await;
    for line in ["edge0", "api0"] {
        shop.customer("DELETE", &format!("/v1/assignments/{line}"), None, 200).await;
    }
    shop.sandbox.faults().push(Call::Release, Fault::Status { code: 500, retry_after: None });
    for binary in ["create-budgets", "release-idle", "release-idle", "reconcile", "expire-leases", "rollup"] {
        shop.cloud.function(binary).await.call(tick()).await;
    }
}

#[tokio::test]
async fn each_policy_is_what_its_function_does() {
    let shop = Shop::open(&[("be", 3), ("de", 5), ("nl", 1)]).await;
    everything(&shop).await;
    let mut wrong = String::new();
    for binary in shop.cloud.template().functions().into_keys() {
        let (does, may) = (shop.cloud.calls(binary), shop.cloud.template().grants(binary));
        assert!(!does.is_empty(), "{binary} was not heard of");
        let missing = lines(&does.difference(&may).cloned().collect());
        let unused = lines(&may.difference(&does).cloned().collect());
        if !missing.is_empty() || !unused.is_empty() {
            wrong += &format!("{binary}\n the policy lacks:\n{missing} nothing uses:\n{unused}");
        }
    }
    assert!(wrong.is_empty(), "policies and functions differ:\n{wrong}");
}
