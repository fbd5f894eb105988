use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use tollgate_engine::{Engine, Fault, Faults, Injected, Rates, Step};

use crate::table::{add, add_both, add_in_transaction, create, get, put, reasons};

/// The client as given, and one that sees every fault because it never repeats.
async fn clients(faults: &std::sync::Arc<Faults>) -> (Client, Client) {
    let engine = Engine::memory().unwrap();
    create(&engine.client()).await;
    let patient = engine.client_with(faults.clone());
    let config = patient.config().to_builder().retry_config(RetryConfig::disabled()).build();
    (patient, Client::from_conf(config))
}

#[tokio::test]
async fn a_conflict_cancels_a_transaction_or_a_single_write_and_applies_nothing() {
    let faults = Faults::script([Fault::Conflict, Fault::Conflict]);
    let (client, _) = clients(&faults).await;
    assert_eq!(get(&client, "a").await, None, "reads do not conflict");
    let cancelled = add_both(&client).await.unwrap_err();
    assert_eq!(reasons(&cancelled), ["TransactionConflict", "None"]);
    let single = add(&client, "a").await.unwrap_err();
    assert!(single.as_service_error().unwrap().is_transaction_conflict_exception(), "{single:?}");
    assert_eq!(get(&client, "a").await, None);
    assert_eq!(faults.injected(), Injected { conflict: 2, ..Injected::default() });
}

#[tokio::test]
async fn a_throttled_call_is_repeated_by_the_sdk_until_it_gives_up() {
    let faults = Faults::script([Fault::Throttle, Fault::Throttle]);
    let (patient, hasty) = clients(&faults).await;
    add(&patient, "a").await.unwrap();
    assert_eq!(get(&patient, "a").await, Some(1));
    faults.push(Fault::Throttle);
    let seen = add(&hasty, "a").await.unwrap_err();
    assert_eq!(seen.code(), Some("ProvisionedThroughputExceededException"));
    for _ in 0..3 {
        faults.push(Fault::Throttle);
    }
    add(&patient, "a").await.unwrap_err();
    assert_eq!(get(&patient, "a").await, Some(1));
    assert_eq!(faults.injected().throttle, 6);
}

#[tokio::test]
async fn a_lost_answer_is_applied_and_a_token_keeps_its_repetition_from_applying_again() {
    let faults = Faults::script([Fault::LostAck]);
    let (patient, hasty) = clients(&faults).await;
    add_both(&patient).await.unwrap();
    assert_eq!(get(&patient, "a").await, Some(1), "the SDK repeats with the same token");

    faults.push(Fault::LostAck);
    let lost = hasty.transact_write_items().transact_items(add_in_transaction("a", None)).client_request_token("t1");
    let seen = lost.clone().send().await.unwrap_err();
    assert!(matches!(&seen, SdkError::DispatchFailure(f) if f.is_io()), "{seen:?}");
    lost.send().await.unwrap();
    assert_eq!(get(&patient, "a").await, Some(2));

    faults.push(Fault::LostAck);
    add(&patient, "a").await.unwrap();
    assert_eq!(get(&patient, "a").await, Some(4), "an update without a condition is repeated blindly");
    assert_eq!(faults.injected(), Injected { lost_ack: 3, ..Injected::default() });
}

#[tokio::test]
async fn a_timeout_is_not_applied() {
    let faults = Faults::script([Fault::Pass, Fault::Timeout]);
    let (patient, hasty) = clients(&faults).await;
    put(&hasty, "a", 1).await;
    let seen = add(&hasty, "a").await.unwrap_err();
    assert!(matches!(&seen, SdkError::DispatchFailure(f) if f.is_timeout()), "{seen:?}");
    assert_eq!(get(&hasty, "a").await, Some(1));
    faults.push(Fault::Timeout);
    add(&patient, "a").await.unwrap();
    assert_eq!(get(&hasty, "a").await, Some(2));
    assert_eq!(faults.injected(), Injected { timeout: 2, ..Injected::default() });
}

#[tokio::test]
async fn a_delayed_call_is_applied_after_its_time() {
    let faults =
        Faults::script([Step::from(Fault::Delay(Duration::from_millis(50))).on("UpdateItem").table("numbers")]);
    let (client, _) = clients(&faults).await;
    let start = std::time::Instant::now();
    let (slow, before) = tokio::join!(add(&client, "a"), get(&client, "a"));
    slow.unwrap();
    assert_eq!(before, None);
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(get(&client, "a").await, Some(1));
    assert_eq!(faults.injected(), Injected { delay: 1, ..Injected::default() });
}

#[tokio::test]
async fn under_random_faults_what_was_acknowledged_is_there() {
    let rates = Rates {
        conflict: 100,
        throttle: 50,
        lost_ack: 100,
        timeout: 50,
        delay: 100,
        longest_delay: Duration::from_millis(2),
    };
    let faults = Faults::random(42, rates);
    let (client, _) = clients(&faults).await;
    let mut acknowledged = 0;
    for _ in 0..200 {
        acknowledged += i64::from(add_both(&client).await.is_ok());
    }
    let unsure = 200 - acknowledged;
    faults.stop();
    let there = get(&client, "a").await.unwrap();
    assert!((acknowledged..=acknowledged + unsure).contains(&there), "{acknowledged} acknowledged, {there} there");
    assert_eq!(get(&client, "b").await, Some(there));
    let injected = faults.injected();
    assert!(injected.conflict > 0 && injected.lost_ack > 0 && injected.timeout > 0, "{injected:?}");
    assert_eq!(get(&client, "a").await, Some(there), "stopped faults hit nothing");
    assert_eq!(faults.injected(), injected);
}
