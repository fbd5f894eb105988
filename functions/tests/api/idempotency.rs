//! `Idempotency-Key` on both routers.

use http::Method;
use serde_json::{Value, json};
use tollgate_engine::{Fault, Step};

use crate::world::{Answer, OPERATOR, OWNER, World};

async fn post(w: &World, who: &str, key: &str, path: &str, body: &Value) -> Answer {
    w.admin(Method::POST, path).key("x-admin-api-key", who).header("idempotency-key", key).json(body).send().await
}

#[tokio::test]
async fn the_same_key_and_body_get_the_same_answer_without_its_secret() {
    let w = World::new().await;
    let body = json!({ "name": "A", "plan": "free" });
    let first = post(&w, OWNER, "k1", "/admin/users", &body).await;
    let again = post(&w, OWNER, "k1", "/admin/users", &body).await;
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    let (mut first, mut again) = (first.expect(201), again.expect(201));
    assert!(first["password"].is_string() && again["password"].is_null());
    assert_eq!(again["secretReplayed"], true);
    first.as_object_mut().unwrap().remove("password");
    again.as_object_mut().unwrap().remove("secretReplayed");
    assert_eq!(first, again);
    assert_eq!(w.get("/admin/users").await.expect(200)["users"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_same_key_with_another_body_or_path_is_a_mismatch() {
    let (w, _) = World::with_demo().await;
    post(&w, OWNER, "k", "/admin/users/demo/ban", &json!({ "reason": "a" })).await.expect(200);
    post(&w, OWNER, "k", "/admin/users/demo/ban", &json!({ "reason": "b" })).await.refused(422, "IDEMPOTENCY_MISMATCH");
    post(&w, OWNER, "k", "/admin/users/demo/kick", &json!({})).await.refused(422, "IDEMPOTENCY_MISMATCH");
    assert_eq!(w.get("/admin/users/demo").await.expect(200)["ban"]["reason"], "a");
    post(&w, OPERATOR, "k", "/admin/users/demo/kick", &json!({})).await.expect(200);
    w.outside.pass(24 * 3600);
    post(&w, OWNER, "k", "/admin/users/demo/unban", &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_key_must_be_one() {
    let (w, _) = World::with_demo().await;
    for bad in ["", "a b", "ü", &"x".repeat(129)] {
        let detail = post(&w, OWNER, bad, "/admin/users/demo/kick", &json!({})).await.refused(400, "VALIDATION");
        assert!(detail.contains("Idempotency-Key"), "{detail}");
    }
}

#[tokio::test]
async fn a_refusal_is_given_again_but_not_one_that_may_pass_later() {
    let (w, key) = World::with_demo().await;
    let conflict = json!({ "id": "demo", "name": "Other", "plan": "free" });
    post(&w, OWNER, "k1", "/admin/users", &conflict).await.refused(409, "CONFLICT");
    post(&w, OWNER, "k1", "/admin/users", &conflict).await.refused(409, "CONFLICT");

    let wanted = json!({ "line": "a", "country": "be" });
    let open = || {
        w.asks(Method::POST, "/v1/assignments")
            .key("x-api-key", &key)
            .header("idempotency-key", "k2")
            .json(&wanted)
            .send()
    };
    open().await.refused(503, "NO_PROXY_AVAILABLE");
    w.market.put("be", 1);
    w.outside.pass(61);
    let bound = open().await.expect(200);
    assert_eq!(bound["country"], "be");
    let again = open().await.expect(200);
    assert_eq!(again, bound, "even with its URL, which is derived");
    assert_eq!(w.market.sold(), 1);
}

#[tokio::test]
async fn a_request_that_is_being_carried_out_is_not_carried_out_twice() {
    let (w, _) = World::with_demo().await;
    let body = json!({ "reason": "a" });
    let all = (0..6).map(|_| post(&w, OWNER, "k", "/admin/users/demo/ban", &body));
    let all = futures_util::future::join_all(all).await;
    for answer in &all {
        if answer.status != 200 {
            answer.refused(409, "CONFLICT");
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    let trail = w.get("/admin/audit").await.expect(200);
    let bans = trail["records"].as_array().unwrap().iter().filter(|r| r["action"] == "customer.ban").count();
    assert_eq!(bans, 1);
}

#[tokio::test]
async fn a_customer_made_by_a_request_that_died_is_found_by_its_repetition() {
    let w = World::new().await;
    let body = json!({ "name": "A", "plan": "free" });
    for _ in 0..3 {
        w.faults.push(Step::from(Fault::Timeout).on("PutItem").table("audit"));
    }
    post(&w, OWNER, "k", "/admin/users", &body).await.refused(503, "STORE_UNAVAILABLE");
    w.outside.pass(5);
    let made = post(&w, OWNER, "k", "/admin/users", &body).await.expect(201);
    assert!(made["password"].is_string(), "its password was never shown");
    assert_eq!(w.get("/admin/users").await.expect(200)["users"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_whose_record_cannot_be_written_is_still_given() {
    let (w, _) = World::with_demo().await;
    w.faults.push(Step::from(Fault::Pass).on("PutItem").table("accounts"));
    for _ in 0..3 {
        w.faults.push(Step::from(Fault::Timeout).on("PutItem").table("accounts"));
    }
    post(&w, OWNER, "k", "/admin/users/demo/kick", &json!({})).await.expect(200);
    assert_eq!(w.faults.left(), 0);
}
