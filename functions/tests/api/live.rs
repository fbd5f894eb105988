//! `GET /admin/live`, with edges that answer, are silent, or are gone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::country::Country;
use tollgate_domain::feed::{Command, Entity};
use tollgate_domain::id::EdgeSession;
use tollgate_domain::live::{LiveReport, LiveTunnel};
use tollgate_functions::platform::{Bounds, Platform};

use crate::world::{VIEWER, World};

fn tunnel(number: u64, customer: &str, opened: u64) -> LiveTunnel {
    LiveTunnel {
        number,
        customer: customer.parse().unwrap(),
        line: "chip1".parse().unwrap(),
        source: Some("203.0.113.7".parse().unwrap()),
        listener_port: Some(3128),
        upstream: "brd/198.51.100.4".into(),
        country: Country::parse("be"),
        ingress: Some(10),
        egress: Some(20),
        opened_at: tollgate_domain::time::Timestamp::from_secs(1_800_000_000 + opened),
    }
}

/// An edge that answers the first question it hears with the tunnels it has.
fn answering(platform: Arc<Platform>, session: EdgeSession, tunnels: Vec<LiveTunnel>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let told = platform.store.changes_since(platform.now()).await.unwrap();
            for (_, change) in told {
                if let Entity::Command(Command::ReportLive { request, customer, limit, .. }) = change.entity {
                    let asked = |t: &LiveTunnel| customer.as_ref().is_none_or(|c| t.customer == *c);
                    let tunnels = tunnels.into_iter().filter(asked).collect();
                    let report = LiveReport::new(session, platform.now(), tunnels, limit);
                    platform.store.put_live(&request, &report, platform.now()).await.unwrap();
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

async fn started(w: &World, edge: &str) -> EdgeSession {
    w.platform.store.start_epoch(&edge.parse().unwrap(), w.platform.now()).await.unwrap()
}

#[tokio::test]
async fn tunnels_of_all_edges_are_shown_newest_first() {
    // As long as it takes: both edges answer.
    let w = World::bounded(Bounds { live_wait: Duration::from_secs(60), ..Bounds::default() }).await;
    let (e1, e2) = (started(&w, "e1").await, started(&w, "e2").await);
    let edges = [
        answering(w.platform.clone(), e1, vec![tunnel(1, "demo", 5), tunnel(2, "other", 9)]),
        answering(w.platform.clone(), e2, vec![tunnel(1, "demo", 7)]),
    ];
    let live =
        w.admin(http::Method::GET, "/admin/live?limit=2").key("x-admin-api-key", VIEWER).send().await.expect(200);
    for edge in edges {
        edge.await.unwrap();
    }
    assert_eq!(live["totals"], json!({ "tunnels": 3, "customers": 3 }));
    let heartbeat = "2027-01-15T08:00:00.000Z";
    let edge = |id: &str| json!({ "id": id, "epoch": 1, "heartbeat": heartbeat, "answered": true });
    assert_eq!(live["edges"], json!([edge("e1"), edge("e2")]));
    let newest = live["tunnels"].as_array().unwrap();
    assert_eq!(newest.iter().map(|t| &t["connection"]).collect::<Vec<_>>(), ["e1.1-2", "e2.1-1"]);
    assert_eq!(
        newest[1],
        json!({
            "connection": "e2.1-1", "customer": "demo", "line": "chip1", "sourceIp": "203.0.113.7", "listenerPort": 3128,
            "upstream": "brd/198.51.100.4", "country": "be", "ingressBytes": 10, "egressBytes": 20,
            "openedAt": "2027-01-15T08:00:07.000Z",
        })
    );
}

#[tokio::test]
async fn one_customers_tunnels_are_asked_for() {
    let w = World::bounded(Bounds { live_wait: Duration::from_secs(60), ..Bounds::default() }).await;
    w.customer("demo").await;
    let edges = ["e1", "e2"].map(|e| started(&w, e));
    for edge in edges {
        let tunnels = vec![tunnel(1, "demo", 5), tunnel(2, "other", 9)];
        answering(w.platform.clone(), edge.await, tunnels);
    }
    let live = w.get("/admin/live?customer=demo").await.expect(200);
    assert_eq!(live["totals"], json!({ "tunnels": 2, "customers": 1 }));
    assert!(live["tunnels"].as_array().unwrap().iter().all(|t| t["customer"] == "demo"));
    w.get("/admin/live?customer=nobody").await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn silent_edges_are_waited_for_a_moment_and_dead_ones_not_at_all() {
    let w = World::bounded(Bounds { live_wait: Duration::from_millis(400), ..Bounds::default() }).await;
    let answered = |live: &Value| {
        let edges = live["edges"].as_array().unwrap().iter();
        edges.map(|e| (e["id"].as_str().unwrap().to_owned(), e["answered"] == true)).collect::<Vec<_>>()
    };
    let nothing = json!({ "edges": [], "totals": { "tunnels": 0, "customers": 0 }, "tunnels": [] });
    assert_eq!(w.get("/admin/live").await.expect(200), nothing);
    assert!(w.commands().await.is_empty(), "nobody is there to be asked");

    started(&w, "gone").await;
    w.outside.pass(3600);
    started(&w, "dead").await;
    w.outside.pass(20);
    assert_eq!(answered(&w.get("/admin/live").await.expect(200)), [("dead".to_owned(), false)]);
    assert!(w.commands().await.is_empty(), "nobody lives");
    started(&w, "mute").await;
    let live = w.get("/admin/live").await.expect(200);
    assert_eq!(answered(&live), [("dead".to_owned(), false), ("mute".to_owned(), false)]);
    assert_eq!(w.commands().await.len(), 1);
}
