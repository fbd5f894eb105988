//! Source addresses: listed and removed by customers and operators, and what they open.

use http::Method;
use serde_json::{Value, json};
use tollgate_engine::{Fault, Step};
use tollgate_store::api_key::Scope;

use crate::world::{Answer, OPERATOR, World};

const START: &str = "2027-01-15T08:00:00.000Z";

async fn list(w: &World, key: &str, net: &str) -> Answer {
    w.post_as(key, "/v1/ips", json!({ "net": net })).await
}

async fn delete(w: &World, key: &str, path: &str) -> Answer {
    w.asks(Method::DELETE, path).key("x-api-key", key).send().await
}

fn nets(listed: &Value) -> Vec<&str> {
    listed["ips"].as_array().unwrap().iter().map(|e| e["net"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_customer_lists_its_sources_with_a_note_and_sees_when_they_were_used() {
    let (w, key) = World::with_demo().await;
    assert_eq!(w.get_as(&key, "/v1/ips").await.expect(200), json!({ "ips": [], "max": 20, "auth": "either" }));
    let wanted = json!({ "net": "8.8.8.0/28", "note": "office" });
    let made = w.post_as(&key, "/v1/ips", wanted).await.expect(201);
    assert_eq!(made, json!({ "net": "8.8.8.0/28", "note": "office", "createdAt": START, "lastUsedAt": null }));
    w.outside.pass(5);
    let again =
        w.post_as(&key, "/api/manage_ips.php", json!({ "net": "8.8.8.0/28", "note": "home" })).await.expect(200);
    assert_eq!((&again["note"], &again["createdAt"]), (&json!("home"), &json!(START)), "the note is changed, no more");
    list(&w, &key, " ::ffff:8.8.8.9 ").await.expect(201);
    list(&w, &key, "2606:4700:1::/64").await.expect(201);

    let (demo, now) = ("demo".parse().unwrap(), w.platform.now());
    w.platform.store.allow_seen(&demo, &"8.8.8.9/32".parse().unwrap(), now).await.unwrap();
    let listed = w.get_as(&key, "/api/manage_ips.php").await.expect(200);
    assert_eq!(nets(&listed), ["2606:4700:1::/64", "8.8.8.0/28", "8.8.8.9/32"]);
    assert_eq!(listed["ips"][2]["lastUsedAt"], "2027-01-15T08:00:05.000Z");
    assert_eq!(w.get("/admin/users/demo/ips").await.expect(200), listed, "operators see the same");

    let gone = delete(&w, &key, "/v1/ips?net=8.8.8.9").await.expect(200);
    assert_eq!(gone, json!({ "net": "8.8.8.9/32", "removed": true }));
    assert_eq!(delete(&w, &key, "/api/manage_ips.php?net=8.8.8.0%2F28").await.expect(200)["removed"], true);
    assert_eq!(delete(&w, &key, "/v1/ips?net=8.8.8.0/28").await.expect(200)["removed"], false, "no error");
    w.outside.pass(5);
    let listed = list(&w, &key, "8.8.8.9").await.expect(201);
    assert_eq!(listed["lastUsedAt"], Value::Null);
    let listed = w.get_as(&key, "/v1/ips").await.expect(200);
    assert_eq!(listed["ips"][1]["lastUsedAt"], Value::Null, "it was not used since it is listed again");
    let kinds = w.outside.event_kinds();
    assert_eq!(kinds.iter().filter(|k| *k == "ip.remove").count(), 2);

    let trail = w.get("/admin/audit").await.expect(200);
    let of = |action: &str| {
        let mine = trail["records"].as_array().unwrap().iter().filter(|r| r["action"] == action).cloned();
        mine.collect::<Vec<_>>()
    };
    let added = of("ip.add");
    assert_eq!((added.len(), of("ip.remove").len()), (5, 3));
    assert!(added.iter().all(|r| r["actor"] == "customer:demo" && r["target"] == "customer:demo"), "{added:?}");
}

#[tokio::test]
async fn what_is_no_source_is_refused_and_leaves_no_trace() {
    let (w, key) = World::with_demo().await;
    let before = w.everything_stored().await;
    for (net, named) in [
        ("", "203.0.113.7"),
        ("office", "203.0.113.7"),
        ("8.8.8.8:80", "203.0.113.7"),
        ("8.8.0.0/16", "at most an IPv4 /24"),
        ("::/0", "IPv6 /48"),
        ("8.8.8.5/28", "write 8.8.8.0/28"),
        ("127.0.0.1", "loopback"),
        ("192.168.1.0/24", "private"),
        ("::ffff:10.0.0.1", "private"),
        ("100.64.0.1", "carriers"),
        ("203.0.113.7", "documentation"),
        ("224.0.0.1", "multicast"),
        ("0.0.0.0", "this network"),
        ("fd00::/48", "unique local"),
    ] {
        let detail = list(&w, &key, net).await.refused(400, "VALIDATION");
        assert!(detail.starts_with("net: ") && detail.contains(named), "{net}: {detail}");
    }
    for body in [
        json!({}),
        json!({ "net": 7 }),
        json!({ "net": "8.8.8.8", "customer": "x" }),
        json!({ "net": "8.8.8.8", "note": "a\nb" }),
        json!({ "net": "8.8.8.8", "note": "x".repeat(101) }),
    ] {
        w.post_as(&key, "/v1/ips", body).await.refused(400, "VALIDATION");
    }
    for path in ["/v1/ips", "/v1/ips?net=x", "/v1/ips?net=8.8.8.5/28", "/v1/ips?net=8.8.8.8&all=1"] {
        delete(&w, &key, path).await.refused(400, "VALIDATION");
    }
    assert_eq!(w.everything_stored().await, before);
}

#[tokio::test]
async fn an_operator_may_permit_private_sources() {
    let w = World::permitting_private_sources().await;
    w.customer("demo").await;
    let key = w.key("demo", &Scope::ALL).await;
    for net in ["127.0.0.1", "::1", "10.0.0.0/24", "203.0.113.0/28"] {
        list(&w, &key, net).await.expect(201);
    }
    for never in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
        list(&w, &key, never).await.refused(400, "VALIDATION");
    }
}

#[tokio::test]
async fn an_address_is_one_customers_and_nobody_is_told_whose() {
    let (w, key) = World::with_demo().await;
    w.customer("other").await;
    let other = w.key("other", &Scope::ALL).await;
    list(&w, &other, "8.8.8.64/26").await.expect(201);
    for net in ["8.8.8.0/24", "8.8.8.64/26", "8.8.8.100"] {
        let answer = list(&w, &key, net).await;
        let detail = answer.refused(409, "CONFLICT");
        assert!(detail.contains("overlaps with an entry of another account"), "{detail}");
        assert!(!answer.text.contains("other\""), "{}", answer.text);
    }
    list(&w, &other, "8.8.8.100").await.expect(201);
    assert_eq!(delete(&w, &key, "/v1/ips?net=8.8.8.64/26").await.expect(200)["removed"], false, "it is not demo's");
    assert_eq!(nets(&w.get_as(&other, "/v1/ips").await.expect(200)), ["8.8.8.100/32", "8.8.8.64/26"]);
    // Who is gone holds no address back.
    w.admin(Method::DELETE, "/admin/users/other").key("x-admin-api-key", OPERATOR).send().await.expect(200);
    list(&w, &key, "8.8.8.0/24").await.expect(201);
    assert!(nets(&w.get("/admin/users/other/ips").await.expect(200)).is_empty());
}

#[tokio::test]
async fn the_plan_says_how_many() {
    let (w, key) = World::with_demo().await;
    let plan = json!({
        "code": "narrow", "base": { "micros": 0, "currency": "USD" }, "perGb": { "micros": 0, "currency": "USD" },
        "limits": {
            "threads": 5, "qps": 10, "rateTotal": 0, "quotaBytes": null, "maxLines": 5, "maxSessions": 10,
            "allowEntries": 2,
        },
    });
    assert_eq!(w.post("/admin/plans", plan).await.expect(201)["limits"]["allowEntries"], 2);
    w.post("/admin/users/demo/plan", json!({ "plan": "narrow" })).await.expect(200);
    list(&w, &key, "8.8.8.8").await.expect(201);
    list(&w, &key, "8.8.9.8").await.expect(201);
    let detail = list(&w, &key, "8.8.10.8").await.refused(409, "CONFLICT");
    assert!(detail.contains("the plan allows 2 entries"), "{detail}");
    w.outside.pass(1);
    list(&w, &key, "8.8.9.8").await.expect(200);
    delete(&w, &key, "/v1/ips?net=8.8.9.8").await.expect(200);
    list(&w, &key, "8.8.10.8").await.expect(201);
    assert_eq!(w.get_as(&key, "/v1/ips").await.expect(200)["max"], 2);
}

#[tokio::test]
async fn only_keys_that_may_change_sources_change_them() {
    let (w, _) = World::with_demo().await;
    let reads = w.key("demo", &[Scope::AccountRead, Scope::ProxiesRead, Scope::AssignmentsWrite]).await;
    assert!(nets(&w.get_as(&reads, "/v1/ips").await.expect(200)).is_empty());
    let detail = list(&w, &reads, "8.8.8.8").await.refused(403, "FORBIDDEN");
    assert!(detail.contains("ips:write"), "{detail}");
    delete(&w, &reads, "/v1/ips?net=8.8.8.8").await.refused(403, "FORBIDDEN");
    let writes = w.key("demo", &[Scope::IpsWrite]).await;
    list(&w, &writes, "8.8.8.8").await.expect(201);
    w.get_as(&writes, "/v1/ips").await.refused(403, "FORBIDDEN");
    w.asks(Method::GET, "/v1/ips").from("8.8.8.8").send().await.refused(401, "UNAUTHENTICATED");
    w.post("/admin/users/demo/ban", json!({ "reason": "abuse" })).await.expect(200);
    list(&w, &writes, "8.8.4.4").await.refused(403, "BANNED");
    delete(&w, &writes, "/v1/ips?net=8.8.8.8").await.expect(200);
}

#[tokio::test]
async fn operators_list_and_remove_for_customers() {
    let (w, _) = World::with_demo().await;
    let made = w.post("/admin/users/demo/ips", json!({ "net": "8.8.8.8", "note": "by phone" })).await.expect(201);
    assert_eq!((&made["net"], &made["note"]), (&json!("8.8.8.8/32"), &json!("by phone")));
    w.post("/admin/users/demo/ips", json!({ "net": "127.0.0.1" })).await.refused(400, "VALIDATION");
    w.post("/admin/users/nobody/ips", json!({ "net": "8.8.4.4" })).await.refused(404, "NOT_FOUND");
    w.get("/admin/users/nobody/ips").await.refused(404, "NOT_FOUND");
    let remove = |path: &'static str| w.admin(Method::DELETE, path).key("x-admin-api-key", OPERATOR).send();
    assert_eq!(remove("/admin/users/demo/ips?net=8.8.8.8").await.expect(200)["removed"], true);
    remove("/admin/users/nobody/ips?net=8.8.8.8").await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_repeated_request_lists_once_and_one_that_died_can_be_repeated() {
    let (w, key) = World::with_demo().await;
    let post = |net: &'static str| {
        let ask = w.asks(Method::POST, "/v1/ips").key("x-api-key", &key).header("idempotency-key", "k");
        ask.json(&json!({ "net": net })).send()
    };
    let first = post("8.8.8.8").await;
    let again = post("8.8.8.8").await;
    assert_eq!((first.expect(201), again.header("idempotency-replayed")), (again.expect(201), "true"));
    post("8.8.4.4").await.refused(422, "IDEMPOTENCY_MISMATCH");

    for _ in 0..3 {
        w.faults.push(Step::from(Fault::LostAck).on("TransactWriteItems"));
    }
    list(&w, &key, "8.8.4.4").await.refused(503, "STORE_UNAVAILABLE");
    list(&w, &key, "8.8.4.4").await.expect(201);
    assert_eq!(nets(&w.get_as(&key, "/v1/ips").await.expect(200)), ["8.8.4.4/32", "8.8.8.8/32"]);
}

#[tokio::test]
async fn a_listed_source_reads_the_list_of_proxies_and_nothing_else() {
    let (w, key) = World::with_demo().await;
    w.market.put("be", 1);
    w.post_as(&key, "/v1/assignments", json!({ "line": "chip1", "country": "be" })).await.expect(200);
    let from = |ip: &'static str, path: &'static str| w.asks(Method::GET, path).from(ip).send();
    let detail = from("8.8.8.8", "/v1/proxies").await.refused(401, "UNAUTHENTICATED");
    assert!(detail.contains("8.8.8.8 is not a listed source"), "{detail}");

    list(&w, &key, "8.8.8.0/28").await.expect(201);
    let with_key = w.get_as(&key, "/v1/proxies").await.text;
    for (ip, path) in
        [("8.8.8.8", "/v1/proxies"), ("::ffff:8.8.8.8", "/v1/proxies"), ("8.8.8.0", "/api/proxies.php?format=text")]
    {
        let answer = from(ip, path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, with_key.as_str()), "{ip} {path}");
    }
    from("8.8.8.16", "/v1/proxies").await.refused(401, "UNAUTHENTICATED");
    from("8.8.8.8", "/v1/me").await.refused(401, "UNAUTHENTICATED");
    from("8.8.8.8", "/v1/assignments").await.refused(401, "UNAUTHENTICATED");
    // What a caller writes is no address of its own.
    for header in ["x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip"] {
        let ask = w.asks(Method::GET, "/v1/proxies").from("8.8.8.16").header(header, "8.8.8.8");
        ask.send().await.refused(401, "UNAUTHENTICATED");
    }
    // A key that does not pass is not made up for by an address.
    for header in ["x-api-key", "authorization"] {
        for wrong in ["wrong", "Bearer wrong", "Basic eDp5"] {
            let ask = w.asks(Method::GET, "/v1/proxies").from("8.8.8.8").header(header, wrong);
            ask.send().await.refused(401, "UNAUTHENTICATED");
        }
    }
    from("8.8.8.8", "/v1/proxies?token=wrong").await.refused(401, "UNAUTHENTICATED");

    // Where an address alone opens nothing, it opens no list of passwords either.
    for (mode, opens) in [("password", false), ("both", false), ("source", true), ("either", true)] {
        let shown = w.post("/admin/users/demo/auth", json!({ "mode": mode })).await.expect(200);
        assert_eq!(shown["auth"], mode);
        assert_eq!(from("8.8.8.8", "/v1/proxies").await.status == 200, opens, "{mode}");
        assert_eq!(w.get_as(&key, "/v1/proxies").await.text, with_key, "keys are not judged by address");
    }
    w.post("/admin/users/demo/ban", json!({ "reason": "abuse" })).await.expect(200);
    let banned = from("8.8.8.8", "/v1/proxies").await;
    assert_eq!((banned.status.as_u16(), banned.text.as_str(), banned.header("x-tollgate-error")), (200, "", "BANNED"));
    w.admin(Method::DELETE, "/admin/users/demo").key("x-admin-api-key", OPERATOR).send().await.expect(200);
    from("8.8.8.8", "/v1/proxies").await.refused(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn how_a_customers_tunnels_pass_is_set_when_it_is_made_and_later() {
    let w = World::new().await;
    let made = w.post("/admin/users", json!({ "id": "strict", "name": "S", "plan": "free", "auth": "both" })).await;
    assert_eq!(made.expect(201)["auth"], "both");
    assert_eq!(w.customer("plain").await["auth"], "either");
    let key = w.key("strict", &Scope::ALL).await;
    assert_eq!(w.get_as(&key, "/v1/me").await.expect(200)["auth"], "both");
    let set = |id: &'static str, body: Value| {
        let w = &w;
        async move { w.post(&format!("/admin/users/{id}/auth"), body).await }
    };
    assert_eq!(set("strict", json!({ "mode": "source" })).await.expect(200)["auth"], "source");
    for bad in [json!({}), json!({ "mode": "BOTH" }), json!({ "mode": null }), json!({ "mode": "both", "x": 1 })] {
        set("strict", bad).await.refused(400, "VALIDATION");
    }
    set("nobody", json!({ "mode": "both" })).await.refused(404, "NOT_FOUND");
    assert_eq!(w.get("/admin/users/strict").await.expect(200)["auth"], "source");
    assert!(w.outside.event_kinds().contains(&"customer.auth".to_owned()));
}

#[tokio::test]
async fn a_plan_narrows_the_targets_of_its_customers() {
    let (w, _) = World::with_demo().await;
    let with = |targets: Value| {
        json!({
            "code": "web", "base": { "micros": 0, "currency": "USD" }, "perGb": { "micros": 0, "currency": "USD" },
            "limits": {
                "threads": 5, "qps": 10, "rateTotal": 0, "quotaBytes": null, "maxLines": 5, "maxSessions": 10,
                "targets": targets,
            },
        })
    };
    let made = w
        .post("/admin/plans", with(json!({ "allowedPorts": [443, 80, 443], "deniedNames": ["*.Bad.Example."] })))
        .await;
    let shown = json!({ "allowedPorts": [80, 443], "deniedPorts": [], "deniedNames": ["bad.example"] });
    assert_eq!(made.expect(201)["limits"]["targets"], shown);
    let moved = w.post("/admin/users/demo/plan", json!({ "plan": "web" })).await.expect(200);
    assert_eq!(moved["limits"]["targets"], shown);
    let stored = w.platform.store.customer(&"demo".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.limits.targets.allowed_ports, [80, 443]);
    for (bad, named) in [
        (json!({ "allowedPorts": (1..=65).collect::<Vec<u16>>() }), "at most 64"),
        (json!({ "deniedPorts": [0] }), "1 to 65535"),
        (json!({ "deniedPorts": [65536] }), "65536"),
        (json!({ "deniedNames": vec!["a.example"; 65] }), "at most 64"),
        (json!({ "deniedNames": ["127.0.0.1"] }), "not a host name"),
        (json!({ "names": [] }), "unknown field"),
    ] {
        let detail = w.post("/admin/plans", with(bad)).await.refused(400, "VALIDATION");
        assert!(detail.contains(named), "{named}: {detail}");
    }
}
