//! `GET /admin/proxies/{provider}/{ip}`: what became of one proxy.

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::id::{EdgeSession, ProxyId};
use tollgate_store::proxy_use::ProxyUse;

use crate::world::{VIEWER, World};

const PATH: &str = "/admin/proxies/brd/203.0.113.9";

async fn started(w: &World, edge: &str) -> EdgeSession {
    w.platform.store.start_epoch(&edge.parse().unwrap(), w.platform.now()).await.unwrap()
}

async fn tells(w: &World, customer: &str, session: &EdgeSession, bytes: u64, open: u32) {
    let proxy: ProxyId = "brd/203.0.113.9".parse().unwrap();
    let used = ProxyUse { seq: 1, bytes, last_at: w.platform.now(), open };
    let told = w.platform.store.record_proxy_use(&proxy, &customer.parse().unwrap(), session, &used).await;
    assert!(told.unwrap());
}

async fn seen(w: &World) -> Value {
    w.admin(Method::GET, PATH).key("x-admin-api-key", VIEWER).send().await.expect(200)
}

#[tokio::test]
async fn a_proxy_is_the_sum_of_what_all_edges_told_and_the_dead_have_no_tunnels() {
    let (w, _) = World::with_demo().await;
    w.get(PATH).await.refused(404, "NOT_FOUND");
    let (crashed, silent) = (started(&w, "e1").await, started(&w, "e2").await);
    tells(&w, "demo", &crashed, 100, 3).await;
    tells(&w, "demo", &silent, 20, 5).await;
    w.outside.pass(60);
    let live = started(&w, "e1").await;
    tells(&w, "demo", &live, 7, 2).await;
    tells(&w, "other", &live, 1, 1).await;
    let of = |bytes: u64, open: u32| json!({ "totalBytes": bytes, "lastUsedAt": "2027-01-15T08:01:00.000Z", "openTunnels": open });
    let with = |mut of: Value, name: &str, value: Value| {
        of[name] = value;
        of
    };
    let customers = [with(of(127, 2), "customer", json!("demo")), with(of(1, 1), "customer", json!("other"))];
    let mut all = with(of(128, 3), "customers", json!(customers));
    for (name, value) in [("provider", "brd"), ("ip", "203.0.113.9")] {
        all = with(all, name, json!(value));
    }
    for name in ["state", "country"] {
        all = with(all, name, Value::Null);
    }
    assert_eq!(seen(&w).await, all);
    w.get("/admin/proxies/BRD/203.0.113.9").await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_proxy_that_was_never_used_is_shown_with_its_state() {
    let (w, key) = World::with_demo().await;
    w.market.put("be", 1);
    w.post_as(&key, "/v1/assignments", json!({ "line": "a", "country": "be" })).await.expect(200);
    let proxies = w.platform.store.proxies(&"brd".parse().unwrap()).await.unwrap();
    let id = &proxies[0].id;
    let one = w.get(&format!("/admin/proxies/{}/{}", id.provider, id.ip)).await.expect(200);
    assert_eq!((&one["state"], &one["country"], &one["totalBytes"]), (&json!("active"), &json!("be"), &json!(0)));
    assert_eq!((&one["lastUsedAt"], &one["customers"]), (&Value::Null, &json!([])));
}
