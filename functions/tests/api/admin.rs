//! Plans, metrics and the audit trail.

use http::Method;
use serde_json::{Value, json};

use crate::world::{OPERATOR, World};

fn plan(code: &str) -> Value {
    json!({
        "code": code,
        "limits": { "threads": 7, "qps": 0, "rateTotal": 0, "quotaBytes": null, "maxLines": 3, "maxSessions": 0, "spendDay": null },
        "base": { "micros": 1_000_000, "currency": "USD" },
        "perGb": { "micros": 0, "currency": "USD" },
    })
}

#[tokio::test]
async fn a_plan_changes_by_new_versions_that_customers_are_moved_to() {
    let (w, _) = World::with_demo().await;
    let one = w.post("/admin/plans", plan("tiny")).await.expect(201);
    assert_eq!(
        (&one["version"], &one["limits"]["settleSeconds"], &one["limits"]["threadBurstMilli"]),
        (&json!(1), &json!(5), &json!(2000))
    );
    let mut changed = plan("tiny");
    changed["limits"]["threads"] = 8.into();
    assert_eq!(w.post("/admin/plans", changed).await.expect(201)["version"], 2);
    let listed = w.get("/admin/plans").await.expect(200);
    assert_eq!(listed["plans"].as_array().unwrap().len(), 2);
    let moved = |version: Option<u32>| {
        let body = version.map_or(json!({ "plan": "tiny" }), |v| json!({ "plan": "tiny", "version": v }));
        w.post("/admin/users/demo/plan", body)
    };
    assert_eq!(moved(Some(1)).await.expect(200)["limits"]["threads"], 7);
    assert_eq!(moved(None).await.expect(200)["limits"]["threads"], 8);
}

#[tokio::test]
async fn plans_that_make_no_sense_are_refused() {
    let w = World::new().await;
    for (pointer, value, named) in [
        ("/code", json!("Tiny"), "code"),
        ("/code", json!(""), "code"),
        ("/code", json!("business"), "alias"),
        ("/limits/settleSeconds", json!(0), "settleSeconds"),
        ("/limits/threadBurstMilli", json!(999), "threadBurstMilli"),
        ("/limits/quotaBytes", json!(1u64 << 51), "quotaBytes"),
        ("/limits/bytes", json!(1), "unknown field"),
        ("/base", json!(10), "invalid type"),
    ] {
        let mut body = plan("tiny");
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = value;
        let detail = w.post("/admin/plans", body).await.refused(400, "VALIDATION");
        assert!(detail.contains(named), "{pointer}: {detail}");
    }
    assert_eq!(w.get("/admin/plans").await.expect(200), json!({ "plans": [] }));
}

#[tokio::test]
async fn metrics_have_the_documented_keys() {
    let w = World::new().await;
    let metrics = w.get("/admin/proxies/metrics").await.expect(200);
    for key in ["total", "active", "idle", "releasing", "quarantined", "unknown"] {
        assert_eq!(metrics[key], 0, "{key}");
    }
    assert_eq!((&metrics["byCountry"], &metrics["activeByCountry"]), (&json!({}), &json!({})));
    assert!(!metrics["estimatedMonthlyCost"].is_null());
}

#[tokio::test]
async fn the_trail_tells_who_did_what_from_where() {
    let (w, _) = World::with_demo().await;
    let ban = w.admin(Method::POST, "/admin/users/demo/ban").key("x-admin-api-key", OPERATOR);
    ban.header("x-correlation-id", "ticket-7").json(&json!({ "reason": "abuse" })).send().await.expect(200);
    w.post("/admin/users/demo/credentials/demo/rotate", json!({})).await.expect(200);
    let trail = w.get("/admin/audit?day=2027-01-15").await.expect(200);
    assert_eq!(trail["chain"]["sound"], true);
    let records = trail["records"].as_array().unwrap();
    assert_eq!(trail["chain"]["records"], records.len());
    let actions = records.iter().map(|r| r["action"].as_str().unwrap()).collect::<std::collections::BTreeSet<_>>();
    for action in ["customer.create", "provider.create", "key.create", "customer.ban", "credential.rotate"] {
        assert!(actions.contains(action), "{action}: {actions:?}");
    }
    let ban = records.iter().find(|r| r["action"] == "customer.ban").unwrap();
    assert_eq!(
        (&ban["actor"], &ban["ip"], &ban["target"]),
        (&json!("admin:otto"), &json!("198.51.100.9"), &json!("customer:demo"))
    );
    assert_eq!((&ban["correlation_id"], &ban["at"]), (&json!("ticket-7"), &json!("2027-01-15T08:00:00.000Z")));
    assert_eq!((&ban["before"]["ban"], &ban["after"]["ban"]["reason"]), (&Value::Null, &json!("abuse")));
    let rotated = records.iter().find(|r| r["action"] == "credential.rotate").unwrap();
    assert_eq!((&rotated["before"]["verifier"], &rotated["after"]["verifier"]), (&json!("***"), &json!("***")));
    assert_eq!(w.get("/admin/audit?day=2027-01-14").await.expect(200)["records"], json!([]));
}

#[tokio::test]
async fn a_changed_trail_shows() {
    let (w, _) = World::with_demo().await;
    let db = w.engine.client();
    let mut item = db.scan().table_name("audit").limit(1).send().await.unwrap().items.unwrap().remove(0);
    item.retain(|k, _| k == "pk" || k == "sk");
    db.update_item()
        .table_name("audit")
        .set_key(Some(item))
        .update_expression("SET entry.ip = pk")
        .send()
        .await
        .unwrap();
    let trail = w.get("/admin/audit").await.expect(200);
    assert_eq!(trail["chain"]["sound"], false);
    assert!(trail["chain"]["number"].is_number() && trail["chain"]["chain"].is_string());
}
