use std::collections::HashMap;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    Get, KeysAndAttributes, PutRequest, ReturnValuesOnConditionCheckFailure, TimeToLiveSpecification, TimeToLiveStatus,
    TransactGetItem, WriteRequest,
};
use tollgate_engine::Engine;

use crate::table::{TABLE, add_both, add_in_transaction, create, get, n, put, reasons, s};

#[tokio::test]
async fn every_operation_of_the_product_goes_round() {
    let client = Engine::memory().unwrap().client();
    create(&client).await;
    put(&client, "a", 1).await;
    assert_eq!(get(&client, "a").await, Some(1));

    let request = PutRequest::builder().item("pk", s("p")).item("sk", s("b")).item("v", n(2)).build().unwrap();
    let write = WriteRequest::builder().put_request(request).build();
    client.batch_write_item().request_items(TABLE, vec![write]).send().await.unwrap();

    let key = |sk: &str| HashMap::from([("pk".to_owned(), s("p")), ("sk".to_owned(), s(sk))]);
    let keys = KeysAndAttributes::builder().keys(key("a")).keys(key("b")).build().unwrap();
    let batch = client.batch_get_item().request_items(TABLE, keys).send().await.unwrap();
    assert_eq!(batch.responses().unwrap()[TABLE].len(), 2);

    let one = Get::builder().table_name(TABLE).set_key(Some(key("b"))).build().unwrap();
    let read = client.transact_get_items().transact_items(TransactGetItem::builder().get(one).build());
    assert_eq!(read.send().await.unwrap().responses()[0].item().unwrap()["v"], n(2));

    add_both(&client).await.unwrap();
    let query = client.query().table_name(TABLE).key_condition_expression("pk = :p");
    let page = query.expression_attribute_values(":p", s("p")).send().await.unwrap();
    assert_eq!(page.items().iter().map(|i| i["v"].clone()).collect::<Vec<_>>(), [n(2), n(3)]);
    assert_eq!(client.scan().table_name(TABLE).send().await.unwrap().count(), 2);

    client.delete_item().table_name(TABLE).set_key(Some(key("a"))).send().await.unwrap();
    assert_eq!(get(&client, "a").await, None);
    assert_eq!(client.list_tables().send().await.unwrap().table_names(), [TABLE]);
    let table = client.describe_table().table_name(TABLE).send().await.unwrap();
    assert_eq!(table.table().unwrap().table_name(), Some(TABLE));
    client.delete_table().table_name(TABLE).send().await.unwrap();
    assert_eq!(client.list_tables().send().await.unwrap().table_names().len(), 0);
}

#[tokio::test]
async fn a_failed_condition_brings_the_old_item() {
    let client = Engine::memory().unwrap().client();
    create(&client).await;
    put(&client, "a", 7).await;
    let again = client
        .put_item()
        .table_name(TABLE)
        .item("pk", s("p"))
        .item("sk", s("a"))
        .condition_expression("attribute_not_exists(pk)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .unwrap_err();
    let Some(PutItemError::ConditionalCheckFailedException(failed)) = again.as_service_error() else {
        unreachable!("{again:?}")
    };
    assert_eq!(failed.item().unwrap()["v"], n(7));
}

#[tokio::test]
async fn a_cancelled_transaction_says_which_item_was_why_and_changes_none() {
    let client = Engine::memory().unwrap().client();
    create(&client).await;
    let failed = client
        .transact_write_items()
        .transact_items(add_in_transaction("a", None))
        .transact_items(add_in_transaction("b", Some("attribute_exists(pk)")))
        .send()
        .await
        .unwrap_err();
    assert_eq!(reasons(&failed), ["None", "ConditionalCheckFailed"]);
    assert_eq!((get(&client, "a").await, get(&client, "b").await), (None, None));
}

#[tokio::test]
async fn what_is_expired_goes_with_the_next_sweep() {
    let engine = Engine::memory().unwrap();
    let client = engine.client();
    create(&client).await;
    let setting = TimeToLiveSpecification::builder().enabled(true).attribute_name("v").build().unwrap();
    client.update_time_to_live().table_name(TABLE).time_to_live_specification(setting).send().await.unwrap();
    let described = client.describe_time_to_live().table_name(TABLE).send().await.unwrap();
    let status = described.time_to_live_description().and_then(|d| d.time_to_live_status()).cloned();
    assert_eq!(status, Some(TimeToLiveStatus::Enabled));

    // The engine sweeps by the system's clock: one in 2023, one in 2096.
    put(&client, "past", 1_700_000_000).await;
    put(&client, "future", 4_000_000_000).await;
    assert_eq!(engine.sweep_ttl().await.unwrap(), 1);
    assert_eq!((get(&client, "past").await, get(&client, "future").await), (None, Some(4_000_000_000)));
}

#[tokio::test]
async fn what_the_engine_refuses_is_refused_in_words() {
    let client = Engine::memory().unwrap().client();
    let missing = client.describe_table().table_name("nowhere").send().await.unwrap_err();
    assert_eq!(missing.code(), Some("ResourceNotFoundException"));
    let short = client.describe_table().table_name("x").send().await.unwrap_err();
    assert_eq!(short.code(), Some("ValidationException"));
    assert!(!short.message().unwrap().contains("VALIDATION"), "{short:?}");
    let unknown = client.list_backups().send().await.unwrap_err();
    assert_eq!(unknown.code(), Some("UnknownOperationException"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_racing_claims_one_wins() {
    let client = Engine::memory().unwrap().client();
    create(&client).await;
    let claims = (0..32).map(|i| {
        let put = client.put_item().table_name(TABLE).item("pk", s("p")).item("sk", s("a")).item("v", n(i));
        tokio::spawn(put.condition_expression("attribute_not_exists(pk)").send())
    });
    let outcomes = futures_util::future::join_all(claims).await;
    assert_eq!(outcomes.into_iter().filter(|o| o.as_ref().unwrap().is_ok()).count(), 1);
}
