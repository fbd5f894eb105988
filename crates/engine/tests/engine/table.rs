//! One table of numbers.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TransactWriteItem, Update,
};

pub const TABLE: &str = "numbers";

pub fn s(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub fn n(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub async fn create(client: &Client) {
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let attribute = |name: &str| {
        let kind = ScalarAttributeType::S;
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
    };
    client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .send()
        .await
        .unwrap();
}

pub async fn put(client: &Client, sk: &str, value: i64) {
    let put = client.put_item().table_name(TABLE).item("pk", s("p")).item("sk", s(sk)).item("v", n(value));
    put.send().await.unwrap();
}

pub async fn get(client: &Client, sk: &str) -> Option<i64> {
    let get = client.get_item().table_name(TABLE).key("pk", s("p")).key("sk", s(sk)).consistent_read(true);
    value(&get.send().await.unwrap())
}

pub fn value(got: &GetItemOutput) -> Option<i64> {
    Some(got.item()?.get("v")?.as_n().unwrap().parse().unwrap())
}

pub async fn add(client: &Client, sk: &str) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
    let update = client.update_item().table_name(TABLE).key("pk", s("p")).key("sk", s(sk));
    update.update_expression("ADD v :n").expression_attribute_values(":n", n(1)).send().await
}

pub fn add_in_transaction(sk: &str, condition: Option<&str>) -> TransactWriteItem {
    let update = Update::builder()
        .table_name(TABLE)
        .key("pk", s("p"))
        .key("sk", s(sk))
        .update_expression("ADD v :n")
        .expression_attribute_values(":n", n(1))
        .set_condition_expression(condition.map(Into::into))
        .build()
        .unwrap();
    TransactWriteItem::builder().update(update).build()
}

pub async fn add_both(client: &Client) -> Result<TransactWriteItemsOutput, SdkError<TransactWriteItemsError>> {
    let both = client.transact_write_items();
    both.transact_items(add_in_transaction("a", None)).transact_items(add_in_transaction("b", None)).send().await
}

/// The codes of a cancelled transaction's reasons.
pub fn reasons(failed: &SdkError<TransactWriteItemsError>) -> Vec<String> {
    let Some(TransactWriteItemsError::TransactionCanceledException(e)) = failed.as_service_error() else {
        return vec![format!("{failed:?}")];
    };
    e.cancellation_reasons().iter().map(|r| r.code().unwrap_or("").to_owned()).collect()
}
