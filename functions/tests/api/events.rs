//! What became of connections, as both routers show it.

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::time::Timestamp;
use tollgate_domain::usage_event::{EventKind, UsageEvent};

use crate::world::{VIEWER, World};

/// The world's clock begins at 2027-01-15T08:00:00Z.
const DAY: &str = "2027-01-15";

fn event(number: u64, kind: EventKind, at: Timestamp) -> UsageEvent {
    let reason = match kind {
        EventKind::Error => Some("UPSTREAM_CONNECT".into()),
        EventKind::ConnectionEnd => Some("finished".into()),
        EventKind::ConnectionStart | EventKind::DataTransfer => None,
    };
    UsageEvent {
        connection: format!("edge1.3-{number}").parse().unwrap(),
        kind,
        seq: 0,
        at,
        line: "chip1".parse().unwrap(),
        proxy: Some("brd/198.51.100.4".parse().unwrap()),
        ingress: 10,
        egress: 20,
        duration_ms: 1500,
        reason,
        source: Some("203.0.113.7".parse().unwrap()),
    }
}

async fn written(w: &World, events: &[UsageEvent]) {
    w.platform.store.record_events(&"demo".parse().unwrap(), events).await.unwrap();
}

fn ids(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|e| e["eventId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_customer_and_its_operator_see_the_same_events_and_nobody_else_does() {
    let (w, key) = World::with_demo().await;
    let now = w.platform.now();
    written(&w, &[event(42, EventKind::ConnectionEnd, now), event(43, EventKind::Error, now)]).await;
    let seen = w.get_as(&key, "/v1/me/events").await.expect(200);
    let end = json!({
        "eventId": "edge1.3-42:connection_end:0", "source": "edge", "type": "connection_end",
        "connectionId": "edge1.3-42", "userId": "demo", "proxyId": "brd/198.51.100.4", "line": "chip1",
        "timestamp": "2027-01-15T08:00:00.000Z", "ingressBytes": 10, "egressBytes": 20, "dataBytes": 30,
        "durationSeconds": 1.5, "clientIp": "203.0.113.7", "reason": "finished",
    });
    assert_eq!(seen["events"][0], end);
    assert_eq!((&seen["date"], &seen["next"]), (&json!(DAY), &Value::Null));
    assert_eq!(ids(&seen), ["edge1.3-42:connection_end:0", "edge1.3-43:error:0"]);
    assert_eq!(seen["events"][1]["errorMessage"], "UPSTREAM_CONNECT");
    let path = format!("/admin/users/demo/events?date={DAY}");
    let admin = w.admin(Method::GET, &path).key("x-admin-api-key", VIEWER).send().await.expect(200);
    assert_eq!(admin, seen);
    w.customer("other").await;
    assert!(ids(&w.get("/admin/users/other/events").await.expect(200)).is_empty());
    w.get("/admin/users/nobody/events").await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn events_come_page_by_page_of_a_day_and_of_a_proxy() {
    let (w, key) = World::with_demo().await;
    let now = w.platform.now();
    let mut events: Vec<_> = (1..=5).map(|n| event(n, EventKind::ConnectionStart, now)).collect();
    events[3].proxy = Some("brd/198.51.100.5".parse().unwrap());
    written(&w, &events).await;
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = w.get_as(&key, &format!("/v1/me/events?limit=2{after}")).await.expect(200);
        all.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(all, (1..=5).map(|n| format!("edge1.3-{n}:connection_start:0")).collect::<Vec<_>>());
    let one = w.get_as(&key, "/v1/me/events?proxy=brd/198.51.100.5").await.expect(200);
    assert_eq!(ids(&one), ["edge1.3-4:connection_start:0"]);
    assert!(ids(&w.get_as(&key, "/v1/me/events?date=2027-01-14").await.expect(200)).is_empty());
    for bad in ["date=2027-1-15", "date=2027-02-30", "proxy=brd", "after=x", "limit=0", "limit=201", "page=2"] {
        w.get_as(&key, &format!("/v1/me/events?{bad}")).await.refused(400, "VALIDATION");
    }
}
