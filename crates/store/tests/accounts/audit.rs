use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tollgate_engine::{Engine, Fault, Step};
use tollgate_store::Store;
use tollgate_store::audit::{AuditEntry, AuditRecord, Verdict};

use crate::{at, faulty, store};

fn entry(target: &str, n: u64) -> AuditEntry {
    AuditEntry::new("admin:ana", "203.0.113.7", "customer.ban", target, "c1", at(n))
}

/// Three records on one chain, two on (most likely) others.
async fn trail(store: &Store) -> Vec<AuditRecord> {
    let mut records = Vec::new();
    for (n, target) in ["customer:a", "customer:b", "customer:a", "provider:x", "customer:a"].iter().enumerate() {
        records.push(store.append_audit(&entry(target, n as u64)).await.unwrap());
    }
    records
}

/// Key of the second record about `customer:a`, as the store wrote it.
async fn second(engine: &Engine, record: &AuditRecord) -> HashMap<String, AttributeValue> {
    let all = engine.client().scan().table_name("audit").send().await.unwrap().items.unwrap();
    let mut item = all.into_iter().find(|i| i["hash"].as_s() == Ok(&record.hash)).unwrap();
    item.retain(|k, _| k == "pk" || k == "sk");
    item
}

#[tokio::test]
async fn a_day_lists_what_was_done_in_order_and_its_chains_are_sound() {
    let (_engine, store) = store().await;
    let records = trail(&store).await;
    let day = at(0).day();
    assert_eq!(store.audit(&day).await.unwrap(), records);
    assert_eq!(store.verify_chain(&day).await.unwrap(), Verdict::Sound(5));
    assert_eq!(records[2].entry.at(), at(2));
    assert_ne!(records[2].prev, records[2].hash);
    assert_eq!(store.audit("1999-01-01").await.unwrap(), vec![]);
    assert_eq!(store.verify_chain("1999-01-01").await.unwrap(), Verdict::Sound(0));
}

#[tokio::test]
async fn a_changed_record_shows() {
    let (engine, store) = store().await;
    let records = trail(&store).await;
    let key = second(&engine, &records[2]).await;
    let forged = AttributeValue::S("customer.unban".into());
    let update = engine.client().update_item().table_name("audit").set_key(Some(key));
    let update = update.update_expression("SET entry.#a = :a").expression_attribute_names("#a", "action");
    update.expression_attribute_values(":a", forged).send().await.unwrap();
    let verdict = store.verify_chain(&at(0).day()).await.unwrap();
    assert!(matches!(&verdict, Verdict::Broken { number, .. } if *number == records[2].number), "{verdict:?}");
}

#[tokio::test]
async fn a_removed_record_shows() {
    let (engine, store) = store().await;
    let records = trail(&store).await;
    let key = second(&engine, &records[2]).await;
    engine.client().delete_item().table_name("audit").set_key(Some(key)).send().await.unwrap();
    let verdict = store.verify_chain(&at(0).day()).await.unwrap();
    assert!(matches!(&verdict, Verdict::Broken { number, .. } if *number == records[2].number), "{verdict:?}");
}

#[tokio::test]
async fn concurrent_and_lost_appends_each_stand_once() {
    let (engine, store) = store().await;
    let faults =
        (0..6).flat_map(|_| [Step::from(Fault::LostAck).on("PutItem"), Step::from(Fault::Conflict).on("PutItem")]);
    let (weak, faults) = faulty(&engine, faults);
    let writers = (0..20).map(|n| {
        let weak = weak.clone();
        async move { weak.append_audit(&entry("customer:a", n)).await.unwrap().number }
    });
    let mut numbers = futures_util::future::join_all(writers).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert_eq!(faults.left(), 0);
    assert_eq!(store.verify_chain(&at(0).day()).await.unwrap(), Verdict::Sound(20));
}

#[tokio::test]
async fn many_conflicts_do_not_keep_a_deed_from_the_trail() {
    let (engine, store) = store().await;
    let (weak, faults) = faulty(&engine, (0..12).map(|_| Step::from(Fault::Conflict).on("PutItem")));
    weak.append_audit(&entry("customer:a", 0)).await.unwrap();
    assert_eq!(faults.left(), 0);
    assert_eq!(store.verify_chain(&at(0).day()).await.unwrap(), Verdict::Sound(1));
}

#[tokio::test]
async fn secrets_never_reach_the_trail() {
    let (engine, store) = store().await;
    let before = json!({"name": "brd", "list": [{"apiKey": "s3cret-1"}], "management": {"Password": "s3cret-2"}});
    let after = json!({"proxyUrl": "http://u:s3cret-3@h:1", "n": 1});
    let e = entry("provider:x", 0).before(before).after(after);
    let stored = store.append_audit(&e).await.unwrap();
    let raw = format!("{:?}", engine.client().scan().table_name("audit").send().await.unwrap().items);
    assert!(!raw.contains("s3cret"), "{raw}");
    let shown = stored.entry.to_json();
    assert_eq!(shown["before"], json!({"name": "brd", "list": [{"apiKey": "***"}], "management": {"Password": "***"}}));
    assert_eq!(shown["after"], json!({"proxyUrl": "***", "n": 1}));
    assert_eq!(shown["actor"], "admin:ana");
}
