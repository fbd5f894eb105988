use std::time::Duration;

use tollgate_engine::{Consumed, Engine, Fault, Faults, Recorder};

use crate::table::{TABLE, add, add_both, create, get, put};

#[tokio::test]
async fn calls_side_by_side_are_one_wave() {
    let engine = Engine::memory().unwrap();
    create(&engine.client()).await;
    let recorder = Recorder::new();
    let client = engine.client_recorded(recorder.clone());
    let _ = tokio::join!(get(&client, "a"), get(&client, "b"), get(&client, "c"));
    assert_eq!((recorder.calls().len(), recorder.waves()), (3, 1));
    put(&client, "a", 1).await;
    add_both(&client).await.unwrap();
    assert_eq!(recorder.waves(), 3);
    assert_eq!(recorder.operations(), ["GetItem", "GetItem", "GetItem", "PutItem", "TransactWriteItems"]);
    assert!(recorder.calls().iter().all(|c| c.tables == [TABLE] && c.end.is_some() && c.status == Some(200)));
    recorder.clear();
    assert_eq!((recorder.calls().len(), recorder.waves()), (0, 0));
}

#[tokio::test]
async fn consumed_units_are_summed_without_being_asked_for() {
    let engine = Engine::memory().unwrap();
    create(&engine.client()).await;
    let recorder = Recorder::new();
    let client = engine.client_recorded(recorder.clone());
    put(&client, "a", 1).await;
    get(&client, "a").await;
    assert_eq!(recorder.consumed(), Consumed { read: 1.0, write: 1.0 });
    add_both(&client).await.unwrap();
    assert_eq!(recorder.consumed(), Consumed { read: 1.0, write: 5.0 });
    client.list_tables().send().await.unwrap();
    assert_eq!(recorder.consumed(), Consumed { read: 1.0, write: 5.0 });
}

#[tokio::test]
async fn attempts_and_calls_given_up_are_in_the_book() {
    let engine = Engine::memory().unwrap();
    create(&engine.client()).await;
    let recorder = Recorder::new();
    let faults = Faults::script([Fault::Timeout, Fault::Pass, Fault::Delay(Duration::from_secs(60)), Fault::Throttle]);
    let client = engine.client_with_recorded(faults, recorder.clone());
    add(&client, "a").await.unwrap();
    tokio::time::timeout(Duration::from_millis(20), add(&client, "a")).await.unwrap_err();
    add(&client, "a").await.unwrap();
    let seen = recorder.calls().iter().map(|c| c.status).collect::<Vec<_>>();
    assert_eq!(seen, [None, Some(200), None, Some(400), Some(200)]);
    assert_eq!(recorder.waves(), 5);
    assert_eq!(get(&engine.client(), "a").await, Some(2), "what was given up was not applied");
}
