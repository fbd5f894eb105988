//! The edge's policy is what an edge does: no action, resource or item family more or less.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests too

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use tollgate_domain::allow::{AllowEntry, AllowNet};
use tollgate_domain::time::Clock as _;
use tollgate_store::SystemClock;
use tollgate_tests::cloud::KeyedCalls;
use tollgate_tests::edge::{EDGE, EdgeProcess};
use tollgate_tests::shop::Shop;
use tollgate_tests::template::{Template, list, statements};

/// One statement: what it allows, and where.
struct Allowed {
    sid: String,
    actions: BTreeSet<String>,
    resources: BTreeSet<String>,
    families: BTreeSet<String>,
}

fn texts(value: &Value) -> BTreeSet<String> {
    list(value).into_iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn policy(template: &Template) -> Vec<Allowed> {
    let resource = template.resources("AWS::IAM::ManagedPolicy")["EdgePolicy"];
    let document = &resource["Properties"]["PolicyDocument"];
    let allowed = statements(document).into_iter().map(|s| Allowed {
        sid: s["Sid"].as_str().unwrap().to_owned(),
        actions: texts(&s["Action"]),
        resources: list(&s["Resource"]).into_iter().map(|r| template.resource(r)).collect(),
        families: texts(&s["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]),
    });
    allowed.collect()
}

fn covers(a: &Allowed, (action, resource, family): &(String, String, String)) -> bool {
    a.actions.contains(action)
        && a.resources.contains(resource)
        && (family.is_empty() && a.families.is_empty() || a.families.contains(family))
}

/// What of a statement no call needs.
fn unused(a: &Allowed, calls: &KeyedCalls) -> Vec<String> {
    let mine: Vec<_> = calls.iter().filter(|c| covers(a, c)).collect();
    let left = |all: &BTreeSet<String>, of: fn(&(String, String, String)) -> &String| -> Vec<String> {
        let used: BTreeSet<_> = mine.iter().map(|c| of(c)).collect();
        all.iter().filter(|v| !used.contains(v)).map(|v| format!("{}: {v}", a.sid)).collect()
    };
    [left(&a.actions, |c| &c.0), left(&a.resources, |c| &c.1), left(&a.families, |c| &c.2)].concat()
}

/// Traffic of all kinds that the store sees, a crash, its recovery, a loss, and an end.
async fn everything(shop: &Shop) {
    let data = tempfile::tempdir().unwrap();
    let edge = EdgeProcess::start(&shop.cloud, data.path()).await;
    let ask = async |edge: &EdgeProcess, user: &str| {
        let client = edge.client(user, &shop.password);
        let answer = client.get("http://origin.test/ip").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{user}: {:?}", answer.headers());
    };
    ask(&edge, "demo-line-chip1-country-be").await;
    ask(&edge, "demo-line-chip2-country-be").await;
    // A listed source passes without a name; that it was used is noted.
    let listed = AllowEntry {
        net: AllowNet::of(IpAddr::from([127, 0, 0, 1])),
        customer: "demo".parse().unwrap(),
        note: String::new(),
        created_at: SystemClock.now(),
    };
    shop.cloud.store().allow_add(&listed, 1, SystemClock.now()).await.unwrap();
    edge.nameless().get("http://origin.test/ip").send().await.unwrap();
    // What the feed tells of a customer who is here is read again.
    shop.admin("POST", "/admin/users/demo/kick", Some(&Value::Object(serde_json::Map::new())), 200).await;
    shop.customer("DELETE", "/v1/assignments/chip2", None, 200).await;
    until(shop, "Query", "CHANGE#*").await;
    shop.admin("GET", "/admin/live", None, 200).await;
    until(shop, "PutItem", "LIVE#*").await;
    ask(&edge, "demo-line-chip1-country-be").await;
    edge.kill().await;
    let edge = EdgeProcess::start(&shop.cloud, data.path()).await;
    ask(&edge, "demo-line-chip1-country-be").await;
    edge.kill().await;
    // Declared lost before its journal returns: what that says comes late.
    let force = serde_json::json!({ "force": true });
    let lost = shop.admin("POST", "/admin/edges/edge1/lost", Some(&force), 200).await;
    assert_eq!(lost["leases"], 1, "{lost}");
    let edge = EdgeProcess::start(&shop.cloud, data.path()).await;
    until(shop, "PutItem", "LATE#*").await;
    ask(&edge, "demo-line-chip1-country-be").await;
    // What fails after it was admitted is an event, written at the end at the latest.
    let client = edge.client("demo-line-chip1-country-be", &shop.password);
    let refused = client.get("http://origin.test:25/").send().await.unwrap();
    assert_eq!(refused.status(), 403, "{:?}", refused.headers());
    edge.stop().await;
}

/// Waits until the edge has made this call.
async fn until(shop: &Shop, action: &str, family: &str) {
    let action = format!("dynamodb:{action}");
    for _ in 0..200 {
        if shop.cloud.keyed_calls(EDGE).iter().any(|(a, _, f)| *a == action && f == family) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the edge never made {action} on {family}");
}

#[tokio::test]
async fn the_edges_policy_is_what_an_edge_does() {
    let shop = Shop::open(&[("be", 3)]).await;
    everything(&shop).await;
    let calls = shop.cloud.keyed_calls(EDGE);
    let policy = policy(shop.cloud.template());
    let refused: Vec<_> = calls.iter().filter(|c| !policy.iter().any(|a| covers(a, c))).collect();
    let unused: Vec<_> = policy.iter().flat_map(|a| unused(a, &calls)).collect();
    assert!(refused.is_empty() && unused.is_empty(), "the policy lacks {refused:#?}\nnothing uses {unused:#?}");
}
