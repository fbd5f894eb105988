//! The tables of `template.yaml` are the tables that the code makes.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests too

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollgate_engine::Engine;
use tollgate_store::{Store, Table};
use tollgate_tests::template::{STACK, Template};

/// What both definitions say of a table, in DynamoDB's own words.
fn shape(table: &Value, ttl: &Value) -> Value {
    json!({
        "AttributeDefinitions": table["AttributeDefinitions"],
        "KeySchema": table["KeySchema"],
        "BillingMode": table.get("BillingMode").unwrap_or(&table["BillingModeSummary"]["BillingMode"]),
        "GlobalSecondaryIndexes": table.get("GlobalSecondaryIndexes"),
        "LocalSecondaryIndexes": table.get("LocalSecondaryIndexes"),
        "StreamSpecification": table.get("StreamSpecification"),
        "Ttl": ttl,
    })
}

fn in_template() -> BTreeMap<String, Value> {
    let template = Template::load();
    let tables = template.resources("AWS::DynamoDB::Table").into_values().map(|resource| {
        let table = &resource["Properties"];
        let ttl = &table["TimeToLiveSpecification"];
        let ttl = if ttl["Enabled"] == true { ttl["AttributeName"].clone() } else { Value::Null };
        (template.text(&table["TableName"]), shape(table, &ttl))
    });
    tables.collect()
}

async fn in_code() -> BTreeMap<String, Value> {
    let engine = Engine::memory().unwrap();
    Store::new(engine.client(), format!("{STACK}-")).create_tables().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let served = engine.serve_with_key(listener, "key".to_owned().into());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |operation: &str, request: Value| -> Value {
        let call = http.post(&url).header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let call = call.header("authorization", "AWS4-HMAC-SHA256 Credential=key/day/region/dynamodb/aws4_request");
        call.body(request.to_string()).send().await.unwrap().json().await.unwrap()
    };
    let mut tables = BTreeMap::new();
    for name in ask("ListTables", json!({})).await["TableNames"].as_array().unwrap() {
        let table = ask("DescribeTable", json!({ "TableName": name })).await;
        let ttl = ask("DescribeTimeToLive", json!({ "TableName": name })).await;
        let attribute = &ttl["TimeToLiveDescription"]["AttributeName"];
        tables.insert(name.as_str().unwrap().to_owned(), shape(&table["Table"], attribute));
    }
    served.abort();
    tables
}

#[tokio::test]
async fn template_and_code_define_the_same_tables() {
    let code = in_code().await;
    assert_eq!(code.len(), Table::ALL.len());
    assert_eq!(in_template(), code);
}

#[test]
fn every_table_is_kept_encrypted_and_recoverable() {
    for (id, table) in Template::load().resources("AWS::DynamoDB::Table") {
        assert_eq!(
            (&table["DeletionPolicy"], &table["UpdateReplacePolicy"]),
            (&json!("Retain"), &json!("Retain")),
            "{id}"
        );
        let properties = &table["Properties"];
        assert_eq!(properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true, "{id}");
        assert_eq!(properties["SSESpecification"]["SSEEnabled"], true, "{id}");
    }
}
