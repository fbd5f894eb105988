//! What the SDK's clients send, and what becomes of AWS's answers.

use std::collections::HashMap;
use std::sync::Mutex;

use aws_config::Region;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tollgate_domain::time::Timestamp;

use super::*;
use crate::platform::{Deferred, Event, SecretError};

/// A request as it left: its target or path, and its body.
type Sent = Arc<Mutex<Vec<(String, Value)>>>;

/// A platform whose AWS answers with `answers`, in order; the last one goes on.
fn platform_with(answers: Vec<(u16, Value)>) -> (Platform, Sent) {
    let sent = Sent::default();
    let seen = Arc::clone(&sent);
    let answers = Mutex::new(answers);
    let http = infallible_client_fn(move |request: http::Request<SdkBody>| {
        let target = match request.headers().get("x-amz-target") {
            Some(target) => target.to_str().unwrap().to_owned(),
            None => {
                format!("{} {}", request.uri().path(), request.headers()["x-amz-invocation-type"].to_str().unwrap())
            }
        };
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        seen.lock().unwrap().push((target, body));
        let mut answers = answers.lock().unwrap();
        let (status, body) = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        http::Response::builder().status(status).body(SdkBody::from(body.to_string())).unwrap()
    });
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("id", "key", None, None, "tests")))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(http)
        .build();
    let settings = Settings::read(|name| Some(name.to_ascii_lowercase())).unwrap();
    (platform(&config, settings), sent)
}

fn secret(value: &str) -> (u16, Value) {
    (200, json!({ "Name": "secret_prefix/brd/management", "SecretString": value }))
}

fn taken(failed: u32) -> (u16, Value) {
    let entry = if failed == 0 { json!({ "EventId": "1" }) } else { json!({ "ErrorCode": "InternalFailure" }) };
    (200, json!({ "FailedEntryCount": failed, "Entries": [entry] }))
}

fn event(detail: Value) -> Event {
    Event { kind: "proxy.released".into(), at: Timestamp::from_secs(1_767_225_600), detail }
}

#[test]
fn a_missing_setting_is_named() {
    let all = |name: &str| (name != "EVENT_BUS").then(|| name.to_owned());
    assert_eq!(Settings::read(all), Err(MissingSetting("EVENT_BUS")));
    assert!(MissingSetting("EVENT_BUS").to_string().contains("EVENT_BUS"));
    let settings = Settings::read(|name| Some(name.to_owned())).unwrap();
    let fields = [
        settings.table_prefix,
        settings.secret_prefix,
        settings.event_bus,
        settings.assign_function,
        settings.reconcile_function,
        settings.edge_endpoint,
    ];
    let names =
        ["TABLE_PREFIX", "SECRET_PREFIX", "EVENT_BUS", "ASSIGN_FUNCTION", "RECONCILE_FUNCTION", "EDGE_ENDPOINT"];
    assert_eq!(fields, names);
}

#[tokio::test]
async fn a_cold_start_without_settings_says_so() {
    // The test's own environment has none of them.
    assert!(matches!(start().await, Err(MissingSetting("TABLE_PREFIX"))));
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_once_in_five_minutes() {
    let (platform, sent) = platform_with(vec![secret("EXAMPLE_1"), secret("EXAMPLE_2")]);
    for _ in 0..3 {
        assert_eq!(platform.secrets.get("brd/management").await.unwrap().expose_secret(), "EXAMPLE_1");
    }
    let read = json!({ "SecretId": "secret_prefix/brd/management" });
    assert_eq!(*sent.lock().unwrap(), [("secretsmanager.GetSecretValue".to_owned(), read)]);
    tokio::time::advance(Duration::from_secs(5 * 60)).await;
    assert_eq!(platform.secrets.get("brd/management").await.unwrap().expose_secret(), "EXAMPLE_2");
}

#[tokio::test]
async fn a_replaced_secret_is_in_use_at_once() {
    let (platform, sent) = platform_with(vec![secret("EXAMPLE_1")]);
    platform.secrets.put("brd/management", SecretString::from("EXAMPLE_2")).await.unwrap();
    assert_eq!(platform.secrets.get("brd/management").await.unwrap().expose_secret(), "EXAMPLE_2");
    let sent = sent.lock().unwrap();
    assert_eq!((sent.len(), sent[0].0.as_str()), (1, "secretsmanager.PutSecretValue"));
    assert_eq!(sent[0].1["SecretId"], "secret_prefix/brd/management");
    assert_eq!(sent[0].1["SecretString"], "EXAMPLE_2");
}

#[tokio::test]
async fn an_absent_secret_and_a_silent_store_are_two_things() {
    let absent = (400, json!({ "__type": "ResourceNotFoundException", "message": "can't find it" }));
    let down = (500, json!({ "__type": "InternalServiceError", "message": "try later" }));
    let (platform, _) = platform_with(vec![absent.clone(), down, absent, (200, json!({ "Name": "no text" }))]);
    assert!(matches!(platform.secrets.get("a").await, Err(SecretError::Missing(name)) if name == "a"));
    assert!(matches!(platform.secrets.get("a").await, Err(SecretError::Unavailable(_))));
    assert!(matches!(platform.secrets.put("a", "EXAMPLE".into()).await, Err(SecretError::Missing(_))));
    assert!(matches!(platform.secrets.get("a").await, Err(SecretError::Missing(_))));
}

#[tokio::test]
async fn an_event_goes_to_the_bus_as_an_object() {
    let (platform, sent) = platform_with(vec![taken(0)]);
    platform.events.emit(event(json!({ "proxy": "brd/203.0.113.7" }))).await;
    platform.events.emit(event(json!("text"))).await;
    let sent = sent.lock().unwrap();
    let entry = &sent[0].1["Entries"][0];
    assert_eq!(sent[0].0, "AWSEvents.PutEvents");
    let fields: HashMap<_, _> = entry.as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    let expected = HashMap::from([
        ("Source", json!("tollgate")),
        ("DetailType", json!("proxy.released")),
        ("Detail", json!("{\"proxy\":\"brd/203.0.113.7\"}")),
        ("EventBusName", json!("event_bus")),
        ("Time", json!(1_767_225_600)),
    ]);
    assert_eq!(fields, expected);
    assert_eq!(sent[1].1["Entries"][0]["Detail"], "{\"value\":\"text\"}");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_bus_refuses_in_a_good_answer_is_offered_again() {
    let (platform, sent) = platform_with(vec![taken(1), taken(1), taken(0)]);
    platform.events.emit(event(json!({}))).await;
    assert_eq!(sent.lock().unwrap().len(), 3);
    let (platform, sent) = platform_with(vec![taken(1)]);
    platform.events.emit(event(json!({}))).await;
    assert_eq!(sent.lock().unwrap().len(), 3, "and is given up in the end");
    let (platform, sent) = platform_with(vec![(500, json!({}))]);
    platform.events.emit(event(json!({}))).await;
    assert_eq!(sent.lock().unwrap().len(), 1, "a failed call is the SDK's to repeat");
}

#[tokio::test]
async fn deferred_work_is_an_asynchronous_invocation_that_reads_back() {
    let (platform, sent) = platform_with(vec![(202, json!({})), (202, json!({})), (500, json!({}))]);
    let reconcile = Deferred::Reconcile { provider: "brd".parse().unwrap(), not_before: Timestamp::from_secs(10) };
    let assign: Deferred = serde_json::from_value(json!({
        "story": "assign",
        "request": {
            "customer": "c1", "line": { "customer": "c1", "label": "chip1" }, "hold": { "until": "tunnels" }, "correlation_id": "x",
        },
    }))
    .unwrap();
    platform.later.start(reconcile.clone()).await;
    platform.later.start(assign.clone()).await;
    // A call that fails is logged, not lost in a panic.
    platform.later.start(reconcile.clone()).await;
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0].0, "/2015-03-31/functions/reconcile_function/invocations Event");
    assert_eq!(sent[1].0, "/2015-03-31/functions/assign_function/invocations Event");
    assert_eq!(serde_json::from_value::<Deferred>(sent[0].1.clone()).unwrap(), reconcile);
    assert_eq!(serde_json::from_value::<Deferred>(sent[1].1.clone()).unwrap(), assign);
    assert_eq!(sent.len(), 3);
}
