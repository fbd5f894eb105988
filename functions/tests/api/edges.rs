//! Edges through the API: where each stands, draining one, declaring one lost; and what their
//! leases look like in the usage views.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::budget::Bucket;
use tollgate_domain::feed::Command;
use tollgate_domain::id::{CustomerId, EdgeSession, LineKey};
use tollgate_domain::share::{Capacity, Terms, Usage};
use tollgate_functions::platform::Bounds;
use tollgate_store::Store;
use tollgate_store::allowance::{Rostered, Take};
use tollgate_store::cap::Life;
use tollgate_store::edge::Heartbeat;
use tollgate_store::lost::Late;

use crate::world::{OPERATOR, VIEWER, World};

const LIMITS: Capacity = Capacity { hard: 10, qps: 0, rate: 0 };

fn demo() -> CustomerId {
    "demo".parse().unwrap()
}

fn db(w: &World) -> &Store {
    &w.platform.store
}

async fn started(w: &World, edge: &str) -> EdgeSession {
    db(w).start_epoch(&edge.parse().unwrap(), w.platform.now()).await.unwrap()
}

/// A world in which a silent edge is known soon, with the customer `demo`.
async fn world() -> World {
    let bounds = Bounds { edge_silence: Duration::from_millis(300), ..Bounds::default() };
    let w = World::bounded(bounds).await;
    w.customer("demo").await;
    w
}

/// A lease of the customer's plan: 1,000 bytes taken, 400 settled.
async fn leases(w: &World, session: &EdgeSession) -> Bucket {
    let bucket = db(w).allowances(&demo()).await.unwrap().remove(0).0;
    db(w).roster_add(session, &Rostered { customer: demo(), bucket: bucket.clone() }).await.unwrap();
    for (bytes, settled, seq) in [(1000, 0, 0), (0, 400, 1)] {
        let took = db(w).take(&demo(), &bucket, session, bytes, settled, seq).await.unwrap();
        assert!(matches!(took, Take::Taken { .. }), "{took:?}");
    }
    bucket
}

fn states(list: &Value) -> Vec<String> {
    let rows = list["edges"].as_array().unwrap().iter();
    rows.map(|e| format!("{}.{} {}", e["id"].as_str().unwrap(), e["epoch"], e["state"].as_str().unwrap())).collect()
}

async fn list(w: &World) -> Value {
    w.admin(Method::GET, "/admin/edges").key("x-admin-api-key", VIEWER).send().await.expect(200)
}

#[tokio::test]
async fn each_life_is_shown_with_where_it_stands_and_what_it_holds() {
    let w = world().await;
    assert_eq!(list(&w).await, json!({ "edges": [], "next": null }));
    let crashed = started(&w, "e1").await;
    leases(&w, &crashed).await;
    started(&w, "e0").await;
    w.outside.pass(60);
    let e1 = started(&w, "e1").await;
    let e2 = started(&w, "e2").await;
    let e3 = started(&w, "e3").await;
    db(&w).heartbeat(&e1, 7, w.platform.now()).await.unwrap();
    db(&w).begin_draining(&e2, w.platform.now()).await.unwrap();
    db(&w).end_session(&e3, w.platform.now()).await.unwrap();
    w.outside.pass(3);
    let all = list(&w).await;
    assert_eq!(states(&all), ["e0.1 silent", "e1.2 live", "e1.1 silent", "e2.1 draining", "e3.1 ended"]);
    let nothing = json!({
        "open": 0, "lost": 0, "customers": 0, "takenBytes": 0, "settledBytes": 0, "doubtBytes": 0, "complete": true,
    });
    assert_eq!(
        all["edges"][1],
        json!({
            "id": "e1", "epoch": 2, "state": "live", "startedAt": "2027-01-15T08:01:00.000Z",
            "heartbeat": "2027-01-15T08:01:00.000Z", "heartbeatAgeSeconds": 3, "tunnels": 7, "leases": nothing,
        })
    );
    let old = &all["edges"][2];
    assert_eq!(
        (&old["heartbeatAgeSeconds"], &old["startedAt"], &old["tunnels"]),
        (&json!(63), &Value::Null, &Value::Null)
    );
    assert_eq!(
        old["leases"],
        json!({
            "open": 1, "lost": 0, "customers": 1, "takenBytes": 1000, "settledBytes": 400, "doubtBytes": 0,
            "complete": true,
        })
    );
}

#[tokio::test]
async fn edges_come_in_pages() {
    let w = world().await;
    for edge in ["a", "b", "c"] {
        started(&w, edge).await;
    }
    let first = w.get("/admin/edges?limit=2").await.expect(200);
    assert_eq!((states(&first).len(), &first["next"]), (2, &json!("b")));
    let last = w.get("/admin/edges?limit=2&after=b").await.expect(200);
    assert_eq!((states(&last), &last["next"]), (vec!["c.1 live".to_owned()], &Value::Null));
    for bad in ["limit=0", "limit=201", "after=A", "page=2"] {
        w.get(&format!("/admin/edges?{bad}")).await.refused(400, "VALIDATION");
    }
}

#[tokio::test]
async fn an_edge_is_told_to_drain_once_per_key() {
    let w = world().await;
    let session = started(&w, "e1").await;
    let post = |key: &str, body: Value| {
        let ask = w.admin(Method::POST, "/admin/edges/e1/drain").key("x-admin-api-key", OPERATOR);
        ask.header("idempotency-key", key).json(&body).send()
    };
    let requested = json!({ "requested": true, "id": "e1", "epoch": 1, "withinSeconds": 60 });
    for _ in 0..2 {
        assert_eq!(post("a", json!({})).await.expect(202), requested);
    }
    let at = w.platform.now();
    let told = |within_s| Command::Drain { session: session.clone(), within_s, at };
    assert_eq!(w.commands().await, [told(60)]);
    assert_eq!(post("b", json!({ "epoch": 1, "withinSeconds": 0 })).await.expect(202)["withinSeconds"], 0);
    assert_eq!(w.commands().await.len(), 2);
    let trail = w.audited("edge.drain").await;
    assert_eq!((trail.len(), &trail[0]["target"], &trail[0]["actor"]), (2, &json!("edge:e1.1"), &json!("admin:otto")));

    post("c", json!({ "epoch": 2 })).await.refused(409, "CONFLICT");
    post("d", json!({ "withinSeconds": 86_401 })).await.refused(400, "VALIDATION");
    post("e", json!({ "seconds": 1 })).await.refused(400, "VALIDATION");
    w.post("/admin/edges/e9/drain", json!({})).await.refused(404, "NOT_FOUND");
    w.post("/admin/edges/E1/drain", json!({})).await.refused(404, "NOT_FOUND");
    db(&w).end_session(&session, w.platform.now()).await.unwrap();
    post("f", json!({})).await.refused(409, "CONFLICT");
    assert_eq!(w.commands().await.len(), 2, "refused is not told");
}

#[tokio::test]
async fn a_silent_edge_is_lost_with_its_leases_lines_and_shares() {
    let w = world().await;
    let session = started(&w, "e1").await;
    let bucket = leases(&w, &session).await;
    let (terms, usage) = (Terms { ver: 1, soft: 10, limits: LIMITS }, Usage { in_use: 3, ..Usage::default() });
    db(&w).report_share(&demo(), Life::of(&session), terms, usage, w.platform.now()).await.unwrap();
    let body = json!({});
    let lost = w.post("/admin/edges/e1/lost", body.clone()).await.expect(200);
    assert_eq!(
        lost,
        json!({
            "id": "e1", "epoch": 1, "state": "lost", "leases": 1, "customers": 1, "doubtBytes": 600, "lines": 0,
        })
    );
    let (_, allowance) = db(&w).allowances(&demo()).await.unwrap().remove(0);
    assert_eq!((allowance.used(), allowance.is_sound()), (1000, true));
    assert!(db(&w).cap(&demo()).await.unwrap().unwrap().nodes.is_empty(), "its share is free");
    assert_eq!(db(&w).heartbeat(&session, 0, w.platform.now()).await.unwrap(), Heartbeat::Lost);
    let all = list(&w).await;
    assert_eq!(states(&all), ["e1.1 lost"]);
    assert_eq!(
        (&all["edges"][0]["leases"]["lost"], &all["edges"][0]["leases"]["doubtBytes"]),
        (&json!(1), &json!(600))
    );
    // Saying it again changes nothing, and neither does the next life.
    assert_eq!(w.post("/admin/edges/e1/lost", body.clone()).await.expect(200), lost);
    let next = started(&w, "e1").await;
    assert_eq!(w.post("/admin/edges/e1/lost", json!({ "epoch": 1 })).await.expect(200), lost);
    assert_eq!(states(&list(&w).await), ["e1.2 live", "e1.1 lost"]);
    assert_eq!(db(&w).heartbeat(&next, 0, w.platform.now()).await.unwrap(), Heartbeat::Beating);
    let trail = w.audited("edge.lost").await;
    assert_eq!((trail.len(), &trail[0]["target"]), (3, &json!("edge:e1.1")));
    assert_eq!(trail[0]["after"]["doubtBytes"], 600);
    assert!(w.outside.event_kinds().contains(&"edge.lost".to_owned()));
    assert_eq!(db(&w).allowances(&demo()).await.unwrap()[0].0, bucket);
}

#[tokio::test]
async fn an_edge_that_still_beats_is_not_lost_unless_it_is_forced() {
    let w = world().await;
    let session = started(&w, "e1").await;
    leases(&w, &session).await;
    let beating = {
        let (platform, session, outside) = (w.platform.clone(), session.clone(), w.outside.clone());
        tokio::spawn(async move {
            loop {
                outside.pass(1);
                platform.store.heartbeat(&session, 0, platform.now()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let refused = w.post("/admin/edges/e1/lost", json!({})).await;
    let detail = refused.refused(409, "EDGE_ALIVE");
    assert!(detail.contains("e1.1"), "{detail}");
    assert!(refused.json()["error"]["how_to_fix"].as_str().unwrap().contains("force"));
    assert_eq!(db(&w).allowances(&demo()).await.unwrap()[0].1.used(), 400, "nothing changed");
    beating.abort();
    let _ = beating.await;
    let lost = w.post("/admin/edges/e1/lost", json!({ "force": true })).await.expect(200);
    assert_eq!(lost["doubtBytes"], 600);
    assert_eq!(w.audited("edge.lost").await[0]["after"]["forced"], true);
}

#[tokio::test]
async fn lives_that_cannot_be_lost_are_refused() {
    let w = &world().await;
    let post = |edge: &str, body: Value| {
        let ask = w.admin(Method::POST, &format!("/admin/edges/{edge}/lost")).key("x-admin-api-key", OPERATOR);
        ask.json(&body).send()
    };
    post("e1", json!({})).await.refused(404, "NOT_FOUND");
    let session = started(w, "e1").await;
    post("e1", json!({ "epoch": 2 })).await.refused(404, "NOT_FOUND");
    post("e1", json!({ "epoch": -1 })).await.refused(400, "VALIDATION");
    post("e1", json!({ "force": "yes" })).await.refused(400, "VALIDATION");
    db(w).end_session(&session, w.platform.now()).await.unwrap();
    post("e1", json!({ "force": true })).await.refused(409, "CONFLICT");
    started(w, "e1").await;
    post("e1", json!({ "epoch": 1 })).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn lines_of_a_lost_life_are_quiet() {
    let (w, key) = World::with_demo().await;
    w.market.put("be", 1);
    let opened = w.post_as(&key, "/v1/assignments", json!({ "line": "a", "country": "be" })).await;
    opened.expect(200);
    let session = started(&w, "e1").await;
    let line = LineKey { customer: demo(), label: "a".parse().unwrap() };
    db(&w).line_opened(&line, &session, w.platform.now()).await.unwrap();
    let lost = w.post("/admin/edges/e1/lost", json!({ "force": true })).await.expect(200);
    assert_eq!(lost["lines"], 1);
    assert!(db(&w).line(&line).await.unwrap().unwrap().open.is_empty());
}

#[tokio::test]
async fn usage_shows_what_edges_hold_what_is_in_doubt_and_what_came_late() {
    let (w, key) = World::with_demo().await;
    let open = started(&w, "e1").await;
    let bucket = leases(&w, &open).await;
    let gone = started(&w, "e2").await;
    leases(&w, &gone).await;
    w.post("/admin/edges/e2/lost", json!({ "force": true })).await.expect(200);
    let late = Late { session: gone.clone(), bucket, moved: 450, settled: 400, doubt: 7, at: w.platform.now() };
    db(&w).record_late(&demo(), &late).await.unwrap();

    let seen = w.get_as(&key, "/v1/me/usage").await.expect(200);
    let one = &seen["buckets"][0];
    // 400 of the open lease, and the whole lost one.
    assert_eq!((&one["usedBytes"], &one["leasedBytes"], &one["doubtBytes"]), (&json!(1400), &json!(600), &json!(600)));
    assert_eq!((&seen["lateBytes"], &one["leases"], &seen["late"]), (&json!(50), &Value::Null, &Value::Null));

    let seen = w.admin(Method::GET, "/admin/users/demo/usage").key("x-admin-api-key", VIEWER).send().await.expect(200);
    let lease = |edge: &str, state: &str, doubt: u64| {
        json!({
            "edge": edge, "epoch": 1, "state": state, "takenBytes": 1000, "settledBytes": 400, "doubtBytes": doubt,
        })
    };
    assert_eq!(seen["buckets"][0]["leases"], json!([lease("e1", "open", 0), lease("e2", "lost", 600)]));
    assert_eq!(
        seen["late"],
        json!([{ "edge": "e2", "epoch": 1, "bytes": 50, "doubtBytes": 7, "at": "2027-01-15T08:00:00.000Z" }])
    );
    w.get("/admin/users/demo/usage?month=2027-13").await.refused(400, "VALIDATION");
    w.get("/admin/users/nobody/usage").await.refused(404, "NOT_FOUND");
}
