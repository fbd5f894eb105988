//! The built functions as AWS runs them, from an edge's question to the end of the bill.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests too

use serde_json::{Value, json};
use tollgate_store::api_key::{Holder, Role};
use tollgate_tests::payload::{Request, answer, tick};
use tollgate_tests::shop::{MANAGEMENT_KEY, Shop};
use tollgate_tests::template::STACK;
use tollgate_tests::workspace;

#[tokio::test]
async fn a_line_is_assigned_closed_and_its_proxy_given_back() {
    let shop = Shop::open(&[("nl", 1)]).await;

    // There is none in Belgium: the walk buys in the Netherlands.
    let bound = shop.assign("chip1", "be").await;
    assert_eq!(bound["result"], "bound", "{bound}");
    assert_eq!((&bound["assignment"]["requested"], &bound["assignment"]["country"]), (&json!("be"), &json!("nl")));
    assert_eq!(shop.assign("chip1", "be").await, bound, "asking again changes nothing");
    assert_eq!(shop.sandbox.held().len(), 1);

    // The customer closes the line; the next one that may use the Netherlands recycles its proxy.
    let open = shop.customer("GET", "/v1/assignments/chip1", None, 200).await;
    assert_eq!(open["country"], "nl");
    shop.customer("DELETE", "/v1/assignments/chip1", None, 200).await;
    let recycled = shop.assign("chip2", "nl").await;
    assert_eq!(recycled["assignment"]["proxy"], bound["assignment"]["proxy"]);

    // Idle and due: the schedule gives it back, and a second tick finds nothing to do.
    shop.release_at_once().await;
    shop.customer("DELETE", "/v1/assignments/chip2", None, 200).await;
    let sweeper = shop.cloud.function("release-idle").await;
    assert_eq!(sweeper.call(tick()).await["released"], 1);
    assert_eq!(shop.sandbox.held(), []);
    assert_eq!(sweeper.call(tick()).await["released"], 0);
    assert_eq!(shop.sandbox.purchases().len(), 2, "one refused in Belgium, one in the Netherlands");

    let kinds: Vec<_> = shop.cloud.events().iter().map(|e| e["DetailType"].as_str().unwrap().to_owned()).collect();
    for kind in ["proxy.assigned", "proxy.released"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} is announced: {kinds:?}");
    }
}

#[tokio::test]
async fn the_api_functions_answer_what_nobody_routes_and_what_is_no_json() {
    let shop = Shop::open(&[]).await;
    let customer = shop.cloud.function("customer-api").await;
    let (status, body) = answer(&customer.call(Request::new("GET", "/v1/nothing").event()).await);
    assert_eq!((status, &body["error"]["code"]), (404, &json!("NOT_FOUND")));
    let (status, body) = answer(&customer.call(Request::new("GET", "/v1/me").event()).await);
    assert_eq!((status, &body["error"]["code"]), (401, &json!("UNAUTHENTICATED")));
    let mut broken = Request::new("POST", "/v1/assignments").header("x-api-key", &shop.key).json(&json!({})).event();
    broken["body"] = "{".into();
    let (status, body) = answer(&customer.call(broken).await);
    assert_eq!((status, &body["error"]["code"]), (400, &json!("VALIDATION")));
    assert!(body["error"]["how_to_fix"].is_string(), "{body}");
}

#[tokio::test]
async fn an_operators_address_is_what_the_gateway_saw() {
    let shop = Shop::open(&[]).await;
    shop.admin("POST", "/admin/users/demo/kick", Some(&json!({})), 200).await;
    let audit = shop.admin("GET", "/admin/audit", None, 200).await;
    assert!(audit.to_string().contains("\"198.51.100.7\""), "{audit}");
}

#[tokio::test]
async fn the_address_that_opens_the_list_is_what_the_gateway_saw() {
    let shop = Shop::open(&[]).await;
    shop.customer("POST", "/v1/ips", Some(&json!({ "net": "8.8.8.0/28" })), 201).await;
    let customer = shop.cloud.function("customer-api").await;
    let status = async |request: Request| customer.call(request.event()).await["statusCode"].as_u64();
    assert_eq!(status(Request::new("GET", "/v1/proxies").from("8.8.8.8")).await, Some(200));
    // What the caller writes, the gateway appends to: it says nothing.
    let forged = Request::new("GET", "/v1/proxies").header("x-forwarded-for", "8.8.8.8");
    assert_eq!(status(forged).await, Some(401));
    assert_eq!(status(Request::new("GET", "/v1/proxies").from("not an address")).await, Some(401));
}

#[tokio::test]
async fn an_event_that_no_function_knows_is_a_failure_and_not_an_answer() {
    let shop = Shop::open(&[]).await;
    for (binary, event) in [
        ("assign", json!({ "customer": "demo" })),
        ("assign", json!({ "story": "reconcile", "provider": "brd", "not_before": 0 })),
        ("release-idle", json!({ "source": "somebody" })),
        ("reconcile", Value::Null),
        ("create-budgets", json!([])),
        ("expire-leases", json!({})),
        ("rollup", json!({ "source": "aws.scheduler" })),
    ] {
        let outcome = shop.cloud.function(binary).await.invoke(event.clone()).await;
        assert!(outcome.is_err(), "{binary} answered {event} with {outcome:?}");
    }
}

#[tokio::test]
async fn no_secret_is_in_any_log() {
    let shop = Shop::open(&[("be", 1)]).await;
    shop.assign("chip1", "be").await;
    let listed = shop.customer("GET", "/v1/proxies?format=json", None, 200).await;
    let token = shop.admin("POST", "/admin/users/demo/keys", Some(&json!({ "scopes": ["proxies:read"] })), 201).await;
    let token = token["apiKey"].as_str().unwrap().to_owned();
    let polled = Request::new("GET", &format!("/api/proxies.php?token={token}")).event();
    assert_eq!(shop.cloud.function("customer-api").await.call(polled).await["statusCode"], 200);
    let mut secrets = vec![MANAGEMENT_KEY.to_owned(), shop.key.clone(), "EXAMPLE_ZONE_PASSWORD".to_owned()];
    secrets.push(token);
    secrets.extend(["passwords/master", "passwords/pepper"].map(|name| shop.cloud.secret(name).unwrap()));
    for binary in ["assign", "customer-api", "admin-api"] {
        let log = shop.cloud.function(binary).await.log();
        assert!(log.lines().count() > 0, "{binary} logs");
        for line in log.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{binary}: not JSON: {line}");
        }
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{binary} logs a secret");
        }
    }
    assert!(listed.to_string().contains("demo"), "{listed}");
}

#[tokio::test]
async fn the_first_operators_key_is_made_by_a_command_and_stored_as_a_digest() {
    let shop = Shop::open(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    // The AWS CLI's part: one request with the credentials of the environment.
    let aws = r#"#!/bin/sh
        test "$1 $2 $3" = "dynamodb transact-write-items --transact-items" || exit 2
        exec curl --fail --silent --output /dev/null --data "{\"TransactItems\": $4}" \
            --header "x-amz-target: DynamoDB_20120810.TransactWriteItems" \
            --header "authorization: AWS4-HMAC-SHA256 Credential=$AWS_ACCESS_KEY_ID/day/eu-west-1/dynamodb/aws4_request" \
            "$AWS_ENDPOINT_URL""#;
    let path = folder.path().join("aws");
    std::fs::write(&path, aws).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let made = tokio::process::Command::new(workspace::root().join("infra/first-key"))
        .args([STACK, "alice"])
        .envs(shop.cloud.credentials("operator").await)
        .env("PATH", format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap()))
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = String::from_utf8(made.stdout).unwrap();
    let request = Request::new("GET", "/admin/users").header("x-admin-api-key", key.trim()).event();
    assert_eq!(answer(&shop.cloud.function("admin-api").await.call(request).await).0, 200);
    let holder = Holder::Admin { name: "alice".into(), role: Role::Owner };
    let stored = shop.cloud.store().api_keys(&holder).await.unwrap();
    let found = stored.iter().find(|k| k.holder == holder).expect("it is listed");
    assert!(!format!("{found:?}").contains(key.trim()));
}
