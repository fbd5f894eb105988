//! `/admin/proxies/providers`.

use std::sync::atomic::Ordering;

use http::Method;
use serde_json::{Value, json};

use crate::world::{Answer, OWNER, World, provider};

async fn put(w: &World, id: &str, body: &Value) -> Answer {
    let path = format!("/admin/proxies/providers/{id}");
    w.admin(Method::PUT, &path).key("x-admin-api-key", OWNER).json(body).send().await
}

async fn delete(w: &World, id: &str) -> Answer {
    w.admin(Method::DELETE, &format!("/admin/proxies/providers/{id}")).key("x-admin-api-key", OWNER).send().await
}

#[tokio::test]
async fn secrets_are_taken_and_never_shown() {
    let w = World::new().await;
    let made = w.post("/admin/proxies/providers", provider("brd")).await;
    assert!(!made.text.contains("EXAMPLE"), "{}", made.text);
    assert_eq!(w.outside.secret("brd/management").as_deref(), Some("EXAMPLE-management"));
    assert_eq!(w.outside.secret("brd/gateway").as_deref(), Some("EXAMPLE-gateway"));
    let made = made.expect(201);
    assert_eq!(
        (&made["version"], &made["dueRule"], &made["idleTtlSeconds"]),
        (&json!(1), &json!("strict"), &json!(3600))
    );
    assert_eq!((&made["class"], &made["active"], &made["health"]), (&json!("isp"), &json!(true), &json!(100)));
    assert_eq!(w.get("/admin/proxies/providers/brd").await.expect(200), made);
    assert_eq!(w.get("/admin/proxies/providers").await.expect(200), json!({ "providers": [made] }));
    assert!(!w.everything_stored().await.contains("EXAMPLE-"), "neither in rows nor in the trail");
    w.post("/admin/proxies/providers", provider("brd")).await.refused(409, "CONFLICT");
    w.get("/admin/proxies/providers/nobody").await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_row_is_replaced_at_the_version_that_the_caller_saw() {
    let w = World::new().await;
    w.provider("brd").await;
    let mut row = provider("brd");
    for secret in ["managementKey", "gatewayPassword"] {
        row.as_object_mut().unwrap().remove(secret);
    }
    row["idleTtlSeconds"] = 600.into();
    row["dueRule"] = "paid_through".into();
    row["active"] = false.into();
    row["spendCapDay"] = json!({ "micros": 50_000_000, "currency": "USD" });
    row["version"] = 1.into();
    let two = put(&w, "brd", &row).await.expect(200);
    assert_eq!(
        (&two["version"], &two["idleTtlSeconds"], &two["dueRule"]),
        (&json!(2), &json!(600), &json!("paid_through"))
    );
    assert_eq!(w.outside.secret("brd/management").as_deref(), Some("EXAMPLE-management"), "what is not sent stays");
    put(&w, "brd", &row).await.refused(409, "CONFLICT");
    row.as_object_mut().unwrap().remove("version");
    row["managementKey"] = "EXAMPLE-rotated".into();
    assert_eq!(put(&w, "brd", &row).await.expect(200)["version"], 3);
    assert_eq!(w.outside.secret("brd/management").as_deref(), Some("EXAMPLE-rotated"));
    let trail = w.get("/admin/audit").await.expect(200);
    let replaced = trail["records"].as_array().unwrap().iter().filter(|r| r["action"] == "provider.replace");
    let replaced = replaced.map(|r| r["after"]["credentialsReplaced"].clone()).collect::<Vec<_>>();
    assert_eq!(replaced, [json!([]), json!(["brd/management"])]);
    put(&w, "nobody", &provider("nobody")).await.refused(404, "NOT_FOUND");
    put(&w, "brd", &provider("other")).await.refused(400, "VALIDATION");
}

#[tokio::test]
async fn rows_that_cannot_work_are_refused() {
    let w = World::new().await;
    let before = w.everything_stored().await;
    for (field, value, named) in [
        ("id", json!("No!"), "provider id"),
        ("id", Value::Null, "id: missing"),
        ("type", json!("acme"), "unknown variant"),
        ("name", json!(""), "name"),
        ("apiUrl", json!("ftp://x"), "apiUrl"),
        ("apiUrl", json!("https://a b"), "apiUrl"),
        ("account", json!(""), "account"),
        ("zone", json!("a/b"), "zone"),
        ("gatewayHost", json!("user@host"), "gatewayHost"),
        ("gatewayPort", json!(0), "gatewayPort"),
        ("gatewayPort", json!(65_536), "u16"),
        ("idleTtlSeconds", json!(59), "idleTtlSeconds"),
        ("spendCapDay", json!({ "micros": 1, "currency": "BRL" }), "spendCapDay"),
        ("price", json!({ "micros": -1, "currency": "USD" }), "u64"),
        ("secret", json!("x"), "unknown field"),
    ] {
        let mut row = provider("brd");
        row[field] = value;
        let detail = w.post("/admin/proxies/providers", row).await.refused(400, "VALIDATION");
        assert!(detail.contains(named), "{field}: {detail}");
    }
    assert_eq!(w.everything_stored().await, before);
    assert_eq!(w.outside.secret("brd/management"), None, "nor is a secret kept");
}

#[tokio::test]
async fn a_secret_that_must_be_made_first_is_named() {
    let w = World::new().await;
    w.outside.only_made.store(true, Ordering::Relaxed);
    let detail = w.post("/admin/proxies/providers", provider("brd")).await.refused(409, "CONFLICT");
    assert!(detail.contains("brd/management"), "{detail}");
    w.get("/admin/proxies/providers/brd").await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_provider_that_bills_for_something_is_not_deleted() {
    let (w, key) = World::with_demo().await;
    w.market.put("be", 1);
    w.post_as(&key, "/v1/assignments", json!({ "line": "a", "country": "be" })).await.expect(200);
    let detail = delete(&w, "brd").await.refused(409, "CONFLICT");
    assert!(detail.contains("1 addresses"), "{detail}");
    w.provider("spare").await;
    assert_eq!(delete(&w, "spare").await.expect(200), json!({ "id": "spare", "deleted": true }));
    delete(&w, "spare").await.refused(404, "NOT_FOUND");
}
