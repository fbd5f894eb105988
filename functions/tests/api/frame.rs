//! What holds for every request: envelope, ids, languages, bounds, keys.

use std::collections::BTreeSet;

use http::Method;
use serde_json::json;
use tollgate_engine::{Fault, Step};

use crate::world::{OPERATOR, OWNER, VIEWER, World};

#[tokio::test]
async fn both_routers_say_that_they_serve() {
    let w = World::new().await;
    assert_eq!(w.asks(Method::GET, "/healthz").send().await.expect(200), json!({ "status": "ok" }));
    assert_eq!(w.admin(Method::GET, "/healthz").send().await.expect(200), json!({ "status": "ok" }));
}

#[tokio::test]
async fn what_no_route_takes_is_refused_in_the_envelope() {
    let w = World::new().await;
    w.asks(Method::GET, "/v2/nothing").send().await.refused(404, "NOT_FOUND");
    w.admin(Method::GET, "/admin").send().await.refused(404, "NOT_FOUND");
    w.admin(Method::GET, "/admin/users/%ff").key("x-admin-api-key", OWNER).send().await.refused(404, "NOT_FOUND");
    w.get("/admin/users/Not-An-Id").await.refused(404, "NOT_FOUND");
    let wrong = w.asks(Method::PATCH, "/v1/assignments").send().await;
    wrong.refused(405, "METHOD_NOT_ALLOWED");
    let allowed = wrong.header("allow").split(',').map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(allowed.is_superset(&BTreeSet::from(["GET".into(), "POST".into()])), "{allowed:?}");
    w.admin(Method::PUT, "/admin/users/demo/ban").send().await.refused(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_correlation_id_is_echoed_if_it_is_one_and_made_otherwise() {
    let w = World::new().await;
    let echoed = w.asks(Method::GET, "/healthz").header("x-correlation-id", "job-7.a_B").send().await;
    assert_eq!(echoed.header("x-correlation-id"), "job-7.a_B");
    let mut made = BTreeSet::new();
    for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
        let answer = w.asks(Method::GET, "/healthz").header("x-correlation-id", bad).send().await;
        assert_eq!(answer.status, 200);
        made.insert(answer.header("x-correlation-id").to_owned());
    }
    assert!(made.len() == 4 && made.iter().all(|id| id.len() == 26), "{made:?}");
    assert_eq!(echoed.header("cache-control"), "no-store");
}

#[tokio::test]
async fn refusals_speak_the_callers_language() {
    let w = World::new().await;
    let ask = |lang: &'static str| w.asks(Method::GET, "/nothing").header("accept-language", lang).send();
    let (en, pt) = (ask("en-GB").await, ask("pt-BR, en;q=0.5").await);
    assert_eq!((en.header("content-language"), pt.header("content-language")), ("en", "pt-BR"));
    assert_ne!(en.json()["error"]["message"], pt.json()["error"]["message"]);
    assert_ne!(en.json()["error"]["how_to_fix"], pt.json()["error"]["how_to_fix"]);
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_the_documented_json() {
    let w = World::new().await;
    w.customer("demo").await;
    let before = w.everything_stored().await;
    let create = |body: String| {
        w.admin(Method::POST, "/admin/users")
            .key("x-admin-api-key", OWNER)
            .header("x-correlation-id", "c")
            .body(body)
            .send()
    };
    let detail = create("x".repeat(100 << 10)).await.refused(413, "BODY_TOO_LARGE");
    assert!(detail.contains("65536"), "{detail}");
    let name = "x".repeat(60_000);
    for (body, named) in [
        ("not json".to_owned(), "expected ident"),
        ("{\"name\": \"A\"".to_owned(), "EOF"),
        (String::new(), "missing field `name`"),
        ("[]".to_owned(), "invalid"),
        (json!({ "name": "A", "plan": "basic", "admin": true }).to_string(), "unknown field `admin`"),
        (json!({ "name": 7, "plan": "basic" }).to_string(), "invalid type"),
        (json!({ "name": "A", "plan": { "x": name } }).to_string(), "invalid type"),
        (json!({ "name": name, "plan": "basic" }).to_string(), "name: 1 to 100"),
        (json!({ "name": "  ", "plan": "basic" }).to_string(), "name: 1 to 100"),
        (json!({ "name": "a\nb", "plan": "basic" }).to_string(), "name: 1 to 100"),
        (json!({ "name": "A", "plan": "gold" }).to_string(), "plan"),
        (json!({ "name": "A", "plan": "Gold#1" }).to_string(), "plan"),
        (json!({ "name": "A", "plan": "basic", "id": "No!" }).to_string(), "[a-z0-9_]{1,32}"),
        (json!({ "name": "A", "plan": "basic", "user": "No!" }).to_string(), "user: user name must match"),
        (json!({ "name": "A", "plan": "basic", "maxHops": 8 }).to_string(), "maxHops: 1 to 7"),
        (json!({ "name": "A", "plan": "basic", "expiresAt": "tomorrow" }).to_string(), "RFC 3339"),
        (json!({ "name": "A", "plan": "basic", "auth": "none" }).to_string(), "unknown variant `none`"),
        ("[".repeat(60_000), "line 1"),
    ] {
        let answer = create(body).await;
        let detail = answer.refused(400, "VALIDATION");
        assert!(detail.contains(named) && detail.len() < 1000, "{named}: {detail}");
    }
    create(json!({ "name": "A", "plan": "basic", "defaultCountry": "zz" }).to_string())
        .await
        .refused(400, "COUNTRY_UNKNOWN");
    assert_eq!(w.everything_stored().await, before, "bad input leaves no trace");
}

#[tokio::test]
async fn queries_are_checked_too() {
    let w = World::new().await;
    for (path, named) in [
        ("/admin/users?limit=0", "1 to 200"),
        ("/admin/users?limit=201", "1 to 200"),
        ("/admin/users?limit=x", "invalid digit"),
        ("/admin/users?after=NO", "customer id"),
        ("/admin/users?page=2", "unknown field"),
        ("/admin/live?limit=0", "1 to 500"),
        ("/admin/live?limit=501", "1 to 500"),
        ("/admin/live?customer=NO", "customer id"),
        ("/admin/live?all=1", "unknown field"),
        ("/admin/audit?day=2026-2-3", "yyyy-mm-dd"),
        ("/admin/audit?day=2026-02-30", "yyyy-mm-dd"),
    ] {
        let detail = w.get(path).await.refused(400, "VALIDATION");
        assert!(detail.contains(named), "{path}: {detail}");
    }
}

#[tokio::test]
async fn only_keys_of_the_right_kind_pass() {
    let (w, key) = World::with_demo().await;
    let admin = |key: &str| w.admin(Method::GET, "/admin/users").key("x-admin-api-key", key).send();
    let customer = |key: &str| w.asks(Method::GET, "/v1/me").key("x-api-key", key).send();
    w.admin(Method::GET, "/admin/users").send().await.refused(401, "UNAUTHENTICATED");
    let long = "x".repeat(5000);
    for wrong in ["", "wrong", &key, &long] {
        let answer = admin(wrong).await;
        answer.refused(401, "UNAUTHENTICATED");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    w.asks(Method::GET, "/v1/me").send().await.refused(401, "UNAUTHENTICATED");
    for wrong in ["wrong", OWNER] {
        customer(wrong).await.refused(401, "UNAUTHENTICATED");
    }
    customer(&key).await.expect(200);
    for (scheme, status) in [("Bearer", 200), ("bearer", 200), ("Basic", 401)] {
        let ask = w.asks(Method::GET, "/v1/me").header("authorization", &format!("{scheme} {key}"));
        assert_eq!(ask.send().await.status, status, "{scheme}");
    }
    admin(VIEWER).await.expect(200);
}

#[tokio::test]
async fn viewers_read_operators_change_customers_owners_change_the_rest() {
    let (w, _) = World::with_demo().await;
    let before = w.everything_stored().await;
    let gets = [
        "/admin/users",
        "/admin/users/demo",
        "/admin/users/demo/keys",
        "/admin/users/demo/credentials",
        "/admin/users/demo/ips",
        "/admin/proxies/metrics",
        "/admin/proxies/providers",
        "/admin/proxies/providers/brd",
        "/admin/plans",
        "/admin/audit",
        "/admin/live",
    ];
    for path in gets {
        let answer = w.admin(Method::GET, path).key("x-admin-api-key", VIEWER).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    for (method, path) in [
        (&post, "/admin/users"),
        (&delete, "/admin/users/demo"),
        (&post, "/admin/users/demo/ban"),
        (&post, "/admin/users/demo/unban"),
        (&post, "/admin/users/demo/kick"),
        (&post, "/admin/users/demo/unlock"),
        (&post, "/admin/users/demo/extend"),
        (&post, "/admin/users/demo/plan"),
        (&post, "/admin/users/demo/auth"),
        (&post, "/admin/users/demo/ips"),
        (&delete, "/admin/users/demo/ips?net=8.8.8.8"),
        (&post, "/admin/users/demo/limits"),
        (&post, "/admin/logs/rotate"),
        (&post, "/admin/edges/e1/drain"),
        (&post, "/admin/edges/e1/lost"),
        (&post, "/admin/users/demo/keys"),
        (&delete, "/admin/users/demo/keys/k"),
        (&post, "/admin/users/demo/credentials/demo/rotate"),
    ] {
        let ask = w.admin(method.clone(), path).key("x-admin-api-key", VIEWER);
        let detail = ask.send().await.refused(403, "FORBIDDEN");
        assert!(detail.contains("operator"), "{path}: {detail}");
    }
    for (method, path) in [
        (&post, "/admin/proxies/providers"),
        (&put, "/admin/proxies/providers/brd"),
        (&delete, "/admin/proxies/providers/brd"),
        (&post, "/admin/plans"),
    ] {
        let ask = w.admin(method.clone(), path).key("x-admin-api-key", OPERATOR);
        let detail = ask.send().await.refused(403, "FORBIDDEN");
        assert!(detail.contains("owner"), "{path}: {detail}");
    }
    assert_eq!(w.everything_stored().await, before, "a refused change changes nothing");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_told_without_its_details() {
    let (w, key) = World::with_demo().await;
    for _ in 0..3 {
        w.faults.push(Step::from(Fault::Timeout).on("GetItem"));
    }
    let answer = w.get_as(&key, "/v1/me").await;
    answer.refused(503, "STORE_UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), "5");
    assert!(!answer.text.to_lowercase().contains("dynamo") && !answer.text.contains("dispatch"), "{}", answer.text);
    w.get_as(&key, "/v1/me").await.expect(200);
    w.outside.secrets.lock().unwrap().clear();
    w.post("/admin/users/demo/credentials/demo/rotate", json!({})).await.refused(503, "STORE_UNAVAILABLE");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let w = World::new().await;
    let parts: [Result<&str, std::io::Error>; 2] = [Ok("{\"name\":"), Err(std::io::ErrorKind::ConnectionReset.into())];
    let body = axum::body::Body::from_stream(futures_util::stream::iter(parts));
    let ask = w.admin(Method::POST, "/admin/users").key("x-admin-api-key", OWNER).body(body);
    let detail = ask.send().await.refused(400, "VALIDATION");
    assert!(detail.contains("complete"), "{detail}");
}
