//! The lock that the strike clock sets: shown wherever standing is, and ended by an operator.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::id::EdgeSession;
use tollgate_domain::share::Usage;
use tollgate_store::cap::Life;

use crate::world::{OPERATOR, World};

/// An edge reports 15 tunnels of `demo`, whose plan has 10, every 5 s for a quarter of an hour.
async fn strike(w: &World) {
    let id = "demo".parse().unwrap();
    let edge: EdgeSession = "e1.1".parse().unwrap();
    let terms = w.platform.store.customer(&id).await.unwrap().unwrap().terms();
    let usage = Usage { in_use: 15, ..Usage::default() };
    for _ in 0..=180 {
        let now = w.platform.now();
        let report = w.platform.store.report_share(&id, Life::of(&edge), terms, usage, now);
        if report.await.unwrap().locked_until.is_some_and(|until| now < until) {
            return;
        }
        w.outside.pass(5);
    }
    panic!("it never struck");
}

#[tokio::test]
async fn a_strikes_lock_is_shown_and_ended_by_an_operator() {
    let (w, key) = World::with_demo().await;
    strike(&w).await;
    let until = json!("2027-01-15T09:15:00.000Z");
    let locked = |shown: &Value| assert_eq!((&shown["status"], &shown["lockedUntil"]), (&json!("locked"), &until));
    locked(&w.get("/admin/users/demo").await.expect(200));
    locked(&w.get("/admin/users").await.expect(200)["users"][0]);
    locked(&w.post("/admin/users/demo/extend", json!({ "days": 30 })).await.expect(200));
    locked(&w.get_as(&key, "/v1/me").await.expect(200));
    let list = w.get_as(&key, "/v1/proxies").await;
    assert_eq!((list.status.as_u16(), list.header("x-tollgate-error")), (200, "LOCKED_OUT"));
    let open = w.post_as(&key, "/v1/assignments", json!({ "line": "a", "country": "be" })).await;
    open.refused(429, "LOCKED_OUT");
    assert_eq!(open.header("retry-after"), "3600");

    for _ in 0..2 {
        let unlock = w.admin(Method::POST, "/admin/users/demo/unlock").key("x-admin-api-key", OPERATOR);
        let shown = unlock.send().await.expect(200);
        assert_eq!((&shown["status"], &shown["lockedUntil"]), (&json!("active"), &Value::Null));
    }
    assert_eq!(w.get("/admin/users/demo").await.expect(200)["status"], "active");
    assert_eq!(w.get_as(&key, "/v1/proxies").await.header("x-tollgate-error"), "");
    let trail = w.audited("customer.unlock").await;
    assert_eq!(trail.len(), 2);
    let ended = trail.iter().filter(|r| r["before"]["locked_until"].is_number()).count();
    assert_eq!(ended, 1, "the trail tells the lock that was ended: {trail:?}");
}

#[tokio::test]
async fn a_strikes_lock_ends_by_itself_and_the_longer_lock_holds() {
    let (w, key) = World::with_demo().await;
    strike(&w).await;
    let id = "demo".parse().unwrap();
    let (now, hours) = (w.platform.now(), |h: u64| Duration::from_secs(h * 3600));
    w.platform.store.lock_customer(&id, now.plus(hours(2)), now).await.unwrap();
    let me = w.get_as(&key, "/v1/me").await.expect(200);
    assert_eq!(me["lockedUntil"], json!("2027-01-15T10:15:00.000Z"));
    w.outside.pass(2 * 3600);
    let me = w.get_as(&key, "/v1/me").await.expect(200);
    assert_eq!((&me["status"], &me["lockedUntil"]), (&json!("active"), &Value::Null));
    w.post("/admin/users/demo/ban", json!({ "reason": "abuse" })).await.expect(200);
    strike(&w).await;
    assert_eq!(w.get("/admin/users/demo").await.expect(200)["status"], "banned", "a ban says more");
}
