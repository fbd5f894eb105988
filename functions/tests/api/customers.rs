//! `/admin/users`: making, listing and changing customers.

use http::Method;
use serde_json::{Value, json};
use tollgate_engine::{Fault, Step};

use crate::world::{OPERATOR, World};

const START: &str = "2027-01-15T08:00:00.000Z";

#[tokio::test]
async fn a_customer_is_made_with_its_plan_its_budget_and_a_password() {
    let w = World::new().await;
    let made = w
        .post(
            "/admin/users",
            json!({
                "id": "acme", "user": "acme_web", "name": " Acme ", "plan": "business", "defaultCountry": "UK",
                "allowFallback": false, "maxHops": 3, "expiresAt": "2028-01-01T00:00:00Z",
            }),
        )
        .await
        .expect(201);
    assert_eq!((&made["id"], &made["name"], &made["plan"]), (&json!("acme"), &json!("Acme"), &json!("basic")));
    assert_eq!((&made["defaultCountry"], &made["maxHops"]), (&json!("gb"), &json!(3)));
    assert_eq!((&made["allowFallback"], &made["status"]), (&json!(false), &json!("active")));
    assert_eq!((&made["createdAt"], &made["expiresAt"]), (&json!(START), &json!("2028-01-01T00:00:00.000Z")));
    assert_eq!(made["limits"]["threads"], 10);
    assert_eq!(made["credential"]["user"], "acme_web");
    let password = made["password"].as_str().unwrap();
    assert!(password.len() == 26 && password.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert!(!w.everything_stored().await.contains(password), "a password is stored nowhere");

    let buckets = w.platform.store.allowances(&"acme".parse().unwrap()).await.unwrap();
    assert_eq!(buckets.iter().map(|(_, a)| a.granted).collect::<Vec<_>>(), [1 << 30]);
    let shown = w.get("/admin/users/acme").await.expect(200);
    assert_eq!(shown["limits"], made["limits"]);
    assert!(shown["password"].is_null());
    assert_eq!(w.outside.event_kinds(), ["customer.created"]);
}

#[tokio::test]
async fn taken_names_are_a_conflict() {
    let w = World::new().await;
    w.customer("acme").await;
    let with = |id: &str, user: &str| json!({ "id": id, "user": user, "name": "Other", "plan": "free" });
    let detail = w.post("/admin/users", with("acme", "other")).await.refused(409, "CONFLICT");
    assert!(detail.contains("id"), "{detail}");
    let detail = w.post("/admin/users", with("other", "acme")).await.refused(409, "CONFLICT");
    assert!(detail.contains("user name"), "{detail}");
    w.get("/admin/users/other").await.refused(404, "NOT_FOUND");
    let again = w.customer("acme").await;
    assert_eq!(again["version"], 1, "the same customer again is the same customer");
}

#[tokio::test]
async fn customers_without_an_id_get_one_each() {
    let w = World::new().await;
    let wanted = json!({ "name": "A", "plan": "free" });
    let a = w.post("/admin/users", wanted.clone()).await.expect(201);
    let b = w.post("/admin/users", wanted).await.expect(201);
    assert_ne!(a["id"], b["id"]);
    assert_eq!(a["credential"]["user"], a["id"]);
}

#[tokio::test]
async fn customers_are_listed_page_by_page() {
    let w = World::new().await;
    for id in ["c", "a", "d", "b"] {
        w.customer(id).await;
    }
    let ids = |page: &Value| {
        page["users"].as_array().unwrap().iter().map(|u| u["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = w.get("/admin/users?limit=3").await.expect(200);
    assert_eq!((ids(&first), &first["next"]), (vec!["a".into(), "b".into(), "c".into()], &json!("c")));
    let last = w.get("/admin/users?limit=3&after=c").await.expect(200);
    assert_eq!((ids(&last), &last["next"]), (vec!["d".to_owned()], &Value::Null));
}

#[tokio::test]
async fn a_ban_stands_until_it_is_lifted() {
    let (w, key) = World::with_demo().await;
    w.post("/admin/users/demo/ban", json!({})).await.refused(400, "VALIDATION");
    let banned = w.post("/admin/users/demo/ban", json!({ "reason": "abuse report 7" })).await.expect(200);
    assert_eq!(banned["status"], "banned");
    assert_eq!(banned["ban"], json!({ "at": START, "reason": "abuse report 7", "by": "admin:olga" }));
    assert_eq!(w.get_as(&key, "/v1/me").await.expect(200)["status"], "banned", "it may still see why");
    let open = w.post_as(&key, "/v1/assignments", json!({ "line": "a", "country": "be" })).await;
    open.refused(403, "BANNED");
    assert_eq!(w.post("/admin/users/demo/unban", json!({})).await.expect(200)["status"], "active");
    let kinds = w.outside.event_kinds();
    assert_eq!(kinds[kinds.len() - 2..], ["customer.ban", "customer.unban"]);
}

#[tokio::test]
async fn an_empty_body_is_enough_where_nothing_is_to_be_said() {
    let (w, _) = World::with_demo().await;
    let post = |path: &str| w.admin(Method::POST, path).key("x-admin-api-key", OPERATOR).send();
    w.outside.pass(5);
    let kicked = post("/admin/users/demo/kick").await.expect(200);
    assert_eq!(kicked["kickedAt"], "2027-01-15T08:00:05.000Z");
    w.platform
        .store
        .lock_customer(
            &"demo".parse().unwrap(),
            w.platform.now().plus(std::time::Duration::from_secs(60)),
            w.platform.now(),
        )
        .await
        .unwrap();
    let locked = w.get("/admin/users/demo").await.expect(200);
    assert_eq!((&locked["status"], &locked["lockedUntil"]), (&json!("locked"), &json!("2027-01-15T08:01:05.000Z")));
    assert_eq!(post("/admin/users/demo/unlock").await.expect(200)["status"], "active");
    w.post("/admin/users/demo/kick", json!({ "force": true })).await.refused(400, "VALIDATION");
    for path in ["kick", "unlock", "unban"] {
        w.post(&format!("/admin/users/nobody/{path}"), json!({})).await.refused(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_plan_is_extended_from_its_end_or_from_now() {
    let (w, _) = World::with_demo().await;
    let path = "/admin/users/demo/extend";
    let end = |answer: Value| answer["expiresAt"].as_str().map(str::to_owned);
    assert_eq!(end(w.post(path, json!({ "days": 1 })).await.expect(200)).unwrap(), "2027-01-16T08:00:00.000Z");
    assert_eq!(end(w.post(path, json!({ "days": 2 })).await.expect(200)).unwrap(), "2027-01-18T08:00:00.000Z");
    w.outside.pass(10 * 86_400);
    assert_eq!(w.get("/admin/users/demo").await.expect(200)["status"], "expired");
    assert_eq!(end(w.post(path, json!({ "days": 1 })).await.expect(200)).unwrap(), "2027-01-26T08:00:00.000Z");
    let to = json!({ "expiresAt": "2027-06-01T02:00:00+02:00" });
    assert_eq!(end(w.post(path, to).await.expect(200)).unwrap(), "2027-06-01T00:00:00.000Z");
    assert_eq!(end(w.post(path, json!({ "never": true })).await.expect(200)), None);
    for bad in [
        json!({}),
        json!({ "days": 0 }),
        json!({ "days": 3661 }),
        json!({ "never": false }),
        json!({ "days": 1, "never": true }),
        json!({ "expiresAt": "x" }),
    ] {
        w.post(path, bad).await.refused(400, "VALIDATION");
    }
    w.post("/admin/users/nobody/extend", json!({ "days": 1 })).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_customer_moves_to_a_plan_with_its_limits_and_its_quota() {
    let (w, _) = World::with_demo().await;
    let moved = w.post("/admin/users/demo/plan", json!({ "plan": "pro" })).await.expect(200);
    assert_eq!((&moved["plan"], &moved["limits"]["threads"]), (&json!("pro"), &json!(50)));
    let granted = w.platform.store.allowances(&"demo".parse().unwrap()).await.unwrap()[0].1.granted;
    assert_eq!(granted, 10 << 30, "the larger quota is there at once");
    w.post("/admin/users/demo/plan", json!({ "plan": "pro", "version": 9 })).await.refused(400, "VALIDATION");
    w.post("/admin/users/demo/plan", json!({ "plan": "gold" })).await.refused(400, "VALIDATION");
    w.post("/admin/users/nobody/plan", json!({ "plan": "pro" })).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_deleted_customer_is_shown_and_no_longer_changed() {
    let (w, key) = World::with_demo().await;
    let delete =
        |id: &str| w.admin(Method::DELETE, &format!("/admin/users/{id}")).key("x-admin-api-key", OPERATOR).send();
    let gone = delete("demo").await.expect(200);
    assert_eq!((&gone["status"], &gone["deletedAt"]), (&json!("deleted"), &json!(START)));
    w.outside.pass(9);
    assert_eq!(delete("demo").await.expect(200)["deletedAt"], START, "deleting it again is no error");
    assert_eq!(w.get("/admin/users/demo").await.expect(200)["status"], "deleted");
    w.post("/admin/users/demo/kick", json!({})).await.refused(404, "NOT_FOUND");
    w.post("/admin/users/demo/keys", json!({})).await.refused(404, "NOT_FOUND");
    w.get_as(&key, "/v1/me").await.refused(401, "UNAUTHENTICATED");
    w.get_as(&key, "/v1/proxies").await.refused(401, "UNAUTHENTICATED");
    delete("nobody").await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_rotated_credential_has_the_next_password() {
    let (w, _) = World::with_demo().await;
    let path = "/admin/users/demo/credentials";
    let rotate = format!("{path}/demo/rotate");
    let two = w.post(&rotate, json!({})).await.expect(200);
    assert_eq!((&two["version"], &two["previousUntil"]), (&json!(2), &json!("2027-01-15T08:10:00.000Z")));
    let three = w.post(&rotate, json!({ "atOnce": true })).await.expect(200);
    assert_eq!((&three["version"], &three["previousUntil"]), (&json!(3), &Value::Null));
    assert_ne!(two["password"], three["password"]);
    let listed = w.get(path).await.expect(200);
    let mut shown = three.clone();
    shown.as_object_mut().unwrap().remove("password");
    assert_eq!(listed, json!({ "credentials": [shown] }), "a list has no passwords");
    assert!(!w.everything_stored().await.contains(three["password"].as_str().unwrap()));

    w.customer("other").await;
    w.post(&format!("{path}/other/rotate"), json!({})).await.refused(404, "NOT_FOUND");
    w.post(&format!("{path}/nobody/rotate"), json!({})).await.refused(404, "NOT_FOUND");
    w.post("/admin/users/nobody/credentials/demo/rotate", json!({})).await.refused(404, "NOT_FOUND");
    w.get("/admin/users/nobody/credentials").await.refused(404, "NOT_FOUND");
    w.post(&rotate, json!({ "now": true })).await.refused(400, "VALIDATION");
}

#[tokio::test]
async fn a_change_that_the_trail_cannot_record_is_not_reported_as_done() {
    let (w, _) = World::with_demo().await;
    for _ in 0..3 {
        w.faults.push(Step::from(Fault::Timeout).on("PutItem").table("audit"));
    }
    w.post("/admin/users/demo/ban", json!({ "reason": "abuse" })).await.refused(503, "STORE_UNAVAILABLE");
    w.post("/admin/users/demo/ban", json!({ "reason": "abuse" })).await.expect(200);
    let trail = w.get("/admin/audit").await.expect(200);
    let bans = trail["records"].as_array().unwrap().iter().filter(|r| r["action"] == "customer.ban").count();
    assert_eq!(bans, 1, "doing it again recorded it");
}
