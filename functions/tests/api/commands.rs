//! What operators tell edges through the feed: kicks of some tunnels, new logs.

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::feed::{Command, Selector};

use crate::world::{OPERATOR, World};

#[tokio::test]
async fn a_kick_of_some_tunnels_is_a_command_and_changes_no_row() {
    let (w, _) = World::with_demo().await;
    let customer = w.platform.store.customer(&"demo".parse().unwrap()).await.unwrap();
    for (body, selector) in [
        (json!({ "line": "chip1" }), Selector::Line("chip1".parse().unwrap())),
        (
            json!({ "line": "0b8f4a52-3c1d-4e5f-8a9b-0c1d2e3f4a5b" }),
            Selector::Line("0b8f4a523c1d4e5f8a9b0c1d2e3f4a5b".parse().unwrap()),
        ),
        (json!({ "sourceIp": "203.0.113.7" }), Selector::source("203.0.113.7/32").unwrap()),
        (json!({ "sourceIp": "2001:db8::1/48" }), Selector::source("2001:db8::/48").unwrap()),
        (json!({ "connection": "edge1.3-42" }), Selector::Connection("edge1.3-42".parse().unwrap())),
    ] {
        w.outside.pass(60);
        let now = w.platform.now();
        let shown = w.post("/admin/users/demo/kick", body.clone()).await.expect(200);
        assert_eq!((&shown["id"], &shown["kickedAt"]), (&json!("demo"), &Value::Null));
        let kick = Command::Kick { customer: "demo".parse().unwrap(), selector, at: now };
        assert_eq!(w.commands().await, [kick], "{body}");
    }
    assert_eq!(w.platform.store.customer(&"demo".parse().unwrap()).await.unwrap(), customer);
    let trail = w.audited("customer.kick").await;
    let said = trail.iter().map(|r| r["after"]["kicked"].to_string()).collect::<Vec<_>>();
    assert!(said.contains(&json!({ "connection": "edge1.3-42" }).to_string()) && said.len() == 5, "{said:?}");

    w.outside.pass(60);
    w.post("/admin/users/demo/kick", json!({})).await.expect(200);
    assert!(w.commands().await.is_empty(), "all tunnels are the row's matter");
}

#[tokio::test]
async fn a_kick_that_names_nothing_that_can_be_is_refused() {
    let (w, _) = World::with_demo().await;
    for body in [
        json!({ "line": "a b" }),
        json!({ "line": "" }),
        json!({ "sourceIp": "203.0.113" }),
        json!({ "sourceIp": "203.0.113.0/33" }),
        json!({ "sourceIp": "gate.example" }),
        json!({ "connection": "42" }),
        json!({ "connection": 42 }),
        json!({ "line": "a", "sourceIp": "203.0.113.7" }),
        json!({ "lines": "a" }),
    ] {
        w.post("/admin/users/demo/kick", body).await.refused(400, "VALIDATION");
    }
    w.post("/admin/users/nobody/kick", json!({ "line": "a" })).await.refused(404, "NOT_FOUND");
    assert!(w.commands().await.is_empty());
}

#[tokio::test]
async fn logs_are_rotated_on_request_once_per_key() {
    let w = World::new().await;
    let post = |key: &str| {
        let ask = w.admin(Method::POST, "/admin/logs/rotate").key("x-admin-api-key", OPERATOR);
        ask.header("idempotency-key", key).send()
    };
    assert_eq!(post("a").await.expect(202), json!({ "requested": true }));
    assert_eq!(post("a").await.expect(202), json!({ "requested": true }));
    let rotate = Command::RotateLogs { at: w.platform.now() };
    assert_eq!(w.commands().await, std::slice::from_ref(&rotate));
    post("b").await.expect(202);
    assert_eq!(w.commands().await, [rotate.clone(), rotate]);
    let trail = w.audited("logs.rotate").await;
    assert_eq!((trail.len(), &trail[1]["actor"]), (2, &json!("admin:otto")));
    w.post("/admin/logs/rotate", json!({ "edge": "e1" })).await.refused(400, "VALIDATION");
}
