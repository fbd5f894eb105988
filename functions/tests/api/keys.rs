//! A customer's API keys.

use http::Method;
use serde_json::json;
use tollgate_store::api_key::Scope;

use crate::world::{OPERATOR, World};

#[tokio::test]
async fn a_key_is_shown_once_and_passes_until_it_is_revoked() {
    let (w, _) = World::with_demo().await;
    let made =
        w.post("/admin/users/demo/keys", json!({ "scopes": ["account:read", "account:read"] })).await.expect(201);
    let key = made["apiKey"].as_str().unwrap().to_owned();
    assert_eq!(made["scopes"], json!(["account:read"]));
    assert!(key.starts_with("tg_") && key.ends_with(made["last4"].as_str().unwrap()));
    assert!(!w.everything_stored().await.contains(&key), "only its digest is stored");
    w.get_as(&key, "/v1/me").await.expect(200);
    let listed = w.get("/admin/users/demo/keys").await.expect(200);
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);

    let revoke = |id: String| {
        w.admin(Method::DELETE, &format!("/admin/users/demo/keys/{id}")).key("x-admin-api-key", OPERATOR).send()
    };
    let id = made["id"].as_str().unwrap().to_owned();
    w.outside.pass(3);
    let ended = revoke(id.clone()).await.expect(200);
    assert_eq!(ended["revokedAt"], "2027-01-15T08:00:03.000Z");
    w.outside.pass(3);
    assert_eq!(revoke(id.clone()).await.expect(200)["revokedAt"], ended["revokedAt"]);
    w.get_as(&key, "/v1/me").await.refused(401, "UNAUTHENTICATED");
    revoke("0".repeat(16)).await.refused(404, "NOT_FOUND");
    w.customer("other").await;
    let others = w.admin(Method::DELETE, &format!("/admin/users/other/keys/{id}")).key("x-admin-api-key", OPERATOR);
    others.send().await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_key_does_only_what_its_scopes_say() {
    let (w, _) = World::with_demo().await;
    let none = w.key("demo", &[Scope::AssignmentsRead]).await;
    for (method, path, scope) in [
        (Method::GET, "/v1/me", "account:read"),
        (Method::GET, "/v1/me/usage", "account:read"),
        (Method::GET, "/v1/me/events", "account:read"),
        (Method::GET, "/v1/countries", "account:read"),
        (Method::GET, "/v1/proxies", "proxies:read"),
        (Method::GET, "/api/proxies.php", "proxies:read"),
        (Method::POST, "/v1/assignments", "assignments:write"),
        (Method::DELETE, "/v1/assignments/a", "assignments:write"),
    ] {
        let detail = w.asks(method, path).key("x-api-key", &none).send().await.refused(403, "FORBIDDEN");
        assert!(detail.contains(scope), "{path}: {detail}");
    }
    w.get_as(&none, "/v1/assignments").await.expect(200);
    let write = w.key("demo", &[Scope::AssignmentsWrite]).await;
    w.get_as(&write, "/v1/assignments").await.refused(403, "FORBIDDEN");
    w.get_as(&write, "/v1/assignments/a").await.refused(403, "FORBIDDEN");
}

#[tokio::test]
async fn keys_are_asked_for_rightly_and_are_not_endless() {
    let (w, _) = World::with_demo().await;
    let path = "/admin/users/demo/keys";
    w.post(path, json!({ "scopes": [] })).await.refused(400, "VALIDATION");
    w.post(path, json!({ "scopes": ["everything"] })).await.refused(400, "VALIDATION");
    w.post("/admin/users/nobody/keys", json!({})).await.refused(404, "NOT_FOUND");
    w.get("/admin/users/nobody/keys").await.refused(404, "NOT_FOUND");
    for _ in 1..20 {
        assert_eq!(w.post(path, json!({})).await.expect(201)["scopes"].as_array().unwrap().len(), 5);
    }
    let detail = w.post(path, json!({})).await.refused(409, "CONFLICT");
    assert!(detail.contains("20"), "{detail}");
}
