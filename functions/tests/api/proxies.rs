//! `GET /v1/proxies` and its alias: lists that programs poll.

use http::Method;
use serde_json::json;
use tollgate_store::api_key::Scope;

use crate::world::World;

async fn with_lines() -> (World, String) {
    let (w, key) = World::with_demo().await;
    w.market.put("be", 1);
    w.market.put("nl", 1);
    for (line, country) in [("chip1", "be"), ("chip2", "nl")] {
        w.post_as(&key, "/v1/assignments", json!({ "line": line, "country": country })).await.expect(200);
    }
    (w, key)
}

#[tokio::test]
async fn the_list_comes_as_text_json_or_csv() {
    let (w, key) = with_lines().await;
    let text = w.get_as(&key, "/v1/proxies").await;
    assert_eq!((text.status.as_u16(), text.header("content-type")), (200, "text/plain; charset=utf-8"));
    let lines = text.text.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("http://demo-line-chip1-country-be:") && lines[0].ends_with("@gate.example:3128"),
        "{}",
        lines[0]
    );
    let password = lines[0].split_once("be:").unwrap().1.split_once('@').unwrap().0;

    let listed = w.get_as(&key, "/api/proxies.php?format=json").await.expect(200);
    assert_eq!(listed["proxies"][1], json!({ "line": "chip2", "country": "nl", "url": lines[1] }));
    let csv = w.get_as(&key, "/v1/proxies?format=csv").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let row = format!("chip1,be,gate.example,3128,demo-line-chip1-country-be,{password}");
    assert_eq!(csv.text.split("\r\n").take(2).collect::<Vec<_>>(), ["line,country,host,port,user,password", &row]);

    for (accept, kind) in [
        ("application/json", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
    ] {
        let answer = w.asks(Method::GET, "/v1/proxies").key("x-api-key", &key).header("accept", accept).send().await;
        assert_eq!(answer.header("content-type"), kind);
    }
    assert_eq!(w.get_as(&key, "/v1/proxies?format=txt").await.text, text.text);
    w.get_as(&key, "/v1/proxies?format=xml").await.refused(400, "VALIDATION");
    w.get_as(&key, "/v1/proxies?country=be").await.refused(400, "VALIDATION");
}

#[tokio::test]
async fn who_may_not_pass_gets_an_empty_list_and_the_reason() {
    let (w, key) = with_lines().await;
    let id = "demo".parse().unwrap();
    let empty = |code: &'static str| {
        let (w, key) = (&w, &key);
        async move {
            for path in ["/v1/proxies", "/api/proxies.php?format=json"] {
                let answer = w.get_as(key, path).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.text.as_str(), answer.header("x-tollgate-error")),
                    (200, "", code)
                );
            }
        }
    };
    w.post("/admin/users/demo/ban", json!({ "reason": "abuse" })).await.expect(200);
    empty("BANNED").await;
    w.post("/admin/users/demo/unban", json!({})).await.expect(200);
    let now = w.platform.now();
    w.platform.store.lock_customer(&id, now.plus(std::time::Duration::from_millis(1)), now).await.unwrap();
    empty("LOCKED_OUT").await;
    w.outside.pass(1);
    assert_eq!(w.get_as(&key, "/v1/proxies").await.text.lines().count(), 2);
    w.platform.store.extend_customer(&id, Some(now), now).await.unwrap();
    empty("PLAN_EXPIRED").await;
    w.platform.store.extend_customer(&id, None, now).await.unwrap();
    let session = "e1.1".parse().unwrap();
    let (bucket, all) = w.platform.store.allowances(&id).await.unwrap().remove(0);
    w.platform.store.take(&id, &bucket, &session, all.available, 0, 0).await.unwrap();
    assert_eq!(w.get_as(&key, "/v1/proxies").await.text.lines().count(), 2, "an edge still has bytes to spend");
    w.platform.store.take(&id, &bucket, &session, 0, all.available, 1).await.unwrap();
    empty("QUOTA_EXHAUSTED").await;
    assert_eq!(w.get_as(&key, "/v1/me").await.expect(200)["status"], "limited");
}

#[tokio::test]
async fn a_list_token_in_the_url_reads_the_list_and_nothing_else() {
    let (w, key) = with_lines().await;
    let token = w.key("demo", &[Scope::ProxiesRead]).await;
    let get = |path: String| w.asks(Method::GET, &path).send();
    assert_eq!(get(format!("/api/proxies.php?token={token}")).await.text.lines().count(), 2);
    assert_eq!(
        get(format!("/v1/proxies?token={token}&format=json")).await.expect(200)["proxies"].as_array().unwrap().len(),
        2
    );
    let detail = get(format!("/v1/proxies?token={key}")).await.refused(403, "FORBIDDEN");
    assert!(!detail.contains(&key));
    get("/v1/proxies?token=wrong".into()).await.refused(401, "UNAUTHENTICATED");
    get("/v1/proxies".into()).await.refused(401, "UNAUTHENTICATED");
    get(format!("/v1/me?token={token}")).await.refused(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_customer_without_a_line_has_an_empty_list() {
    let (w, key) = World::with_demo().await;
    let answer = w.get_as(&key, "/v1/proxies").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str(), answer.header("x-tollgate-error")), (200, "", ""));
}
