//! Every store call of every change, in turn: its answer lost, or in conflict.

use http::Method;
use serde_json::{Value, json};
use tollgate_engine::{Fault, Step};

use crate::world::{OWNER, World, provider};

/// A change of the customer `<id>`: the path after it, the body, the status.
const CHANGES: [(&str, &str, u16); 8] = [
    ("/ban", r#"{"reason":"abuse"}"#, 200),
    ("/unban", "{}", 200),
    ("/kick", "{}", 200),
    ("/unlock", "{}", 200),
    ("/extend", r#"{"expiresAt":"2030-01-01T00:00:00Z"}"#, 200),
    ("/plan", r#"{"plan":"pro"}"#, 200),
    ("/keys", "{}", 201),
    ("/credentials/<id>/rotate", "{}", 200),
];

/// Sends a request while its `n`th store call suffers `fault`; false once it has no `n`th call.
async fn suffers(w: &World, fault: Fault, n: usize, method: Method, path: &str, body: &str, status: u16) -> bool {
    for _ in 0..n {
        w.faults.push(Fault::Pass);
    }
    w.faults.push(fault);
    let key = format!("{n}{}", path.replace('/', "."));
    let ask = w.admin(method, path).key("x-admin-api-key", OWNER).header("idempotency-key", &key);
    let answer = ask.body(body.to_owned()).send().await;
    assert_eq!(answer.status.as_u16(), status, "{fault:?} at call {n} of {path}: {}", answer.text);
    let met = w.faults.left() == 0;
    w.faults.stop();
    met
}

async fn every_call_suffers(fault: Fault) {
    let w = World::new().await;
    let mut hit = 0;
    for (path, body, status) in CHANGES {
        for n in 0.. {
            let id = format!("c{hit}");
            w.customer(&id).await;
            let path = format!("/admin/users/{id}{}", path.replace("<id>", &id));
            hit += 1;
            if !suffers(&w, fault, n, Method::POST, &path, body, status).await {
                break;
            }
        }
    }
    assert!(hit > 50, "only {hit} calls were met");
    let sound = w.get("/admin/audit").await.expect(200)["chain"]["sound"].clone();
    assert_eq!(sound, true);
}

#[tokio::test]
async fn a_lost_answer_of_any_store_call_of_any_change_is_no_failure() {
    every_call_suffers(Fault::LostAck).await;
}

#[tokio::test]
async fn a_conflict_of_any_store_call_of_any_change_is_no_failure() {
    let w = World::new().await;
    for (change, (path, body, status)) in CHANGES.into_iter().enumerate() {
        for n in 0..4 {
            let id = format!("c{change}_{n}");
            w.customer(&id).await;
            for _ in 0..n {
                w.faults.push(Step::from(Fault::Conflict));
            }
            let path = format!("/admin/users/{id}{}", path.replace("<id>", &id));
            w.admin(Method::POST, &path).key("x-admin-api-key", OWNER).body(body).send().await.expect(status);
            w.faults.stop();
        }
    }
}

#[tokio::test]
async fn what_is_made_under_lost_answers_is_made_once() {
    let w = World::new().await;
    for n in 0.. {
        let body = json!({ "name": "A", "plan": "free" }).to_string();
        let path = "/admin/users";
        if !suffers(&w, Fault::LostAck, n, Method::POST, path, &body, 201).await {
            let made = w.get("/admin/users?limit=200").await.expect(200)["users"].as_array().unwrap().len();
            assert_eq!(made, n + 1, "one customer a request");
            break;
        }
    }
    for n in 0.. {
        let id = format!("p{n}");
        let (made, path) = (provider(&id).to_string(), "/admin/proxies/providers");
        let met = suffers(&w, Fault::LostAck, n, Method::POST, path, &made, 201).await;
        let path = format!("{path}/{id}");
        let replaced = suffers(&w, Fault::LostAck, n, Method::PUT, &path, &made, 200).await;
        let shown = w.get(&path).await.expect(200);
        assert_eq!(shown["version"], 2, "{shown}");
        if !met && !replaced {
            break;
        }
    }
    let plans = json!({
        "code": "tiny", "limits": { "threads": 1, "qps": 0, "rateTotal": 0, "maxLines": 1, "maxSessions": 1 },
        "base": { "micros": 0, "currency": "USD" }, "perGb": { "micros": 0, "currency": "USD" },
    });
    let mut sent = 0;
    for n in 0.. {
        sent += 1;
        if !suffers(&w, Fault::LostAck, n, Method::POST, "/admin/plans", &plans.to_string(), 201).await {
            break;
        }
    }
    let versions = w.get("/admin/plans").await.expect(200)["plans"].clone();
    let versions = versions.as_array().unwrap().iter().map(|p| p["version"].clone()).collect::<Vec<Value>>();
    assert_eq!(versions, (1..=sent).map(Value::from).collect::<Vec<_>>());
}
