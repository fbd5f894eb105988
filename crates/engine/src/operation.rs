//! One request in, one answer out: the DynamoDB JSON protocol without its transport.

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What precedes the operation in `x-amz-target`.
pub(crate) const TARGET_PREFIX: &str = "DynamoDB_20120810.";

/// Content type of every answer.
pub(crate) const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// Status and JSON body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// An error answer: `type` as AWS spells it, without its namespace.
    pub(crate) fn error(kind: &str, message: &str) -> Self {
        let body = serde_json::json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"),
            "message": message,
        });
        Self { status: 400, body: body.to_string() }
    }

    fn of(result: Result<String, DynoxideError>) -> Self {
        match result {
            Ok(body) => Self { status: 200, body },
            Err(e) => Self { status: e.status_code(), body: e.to_json() },
        }
    }
}

/// Runs one operation.
pub(crate) fn run(db: &Database, operation: &str, body: &[u8]) -> Answer {
    let result = match operation {
        "GetItem" => one(body, |r| db.get_item(r)),
        "PutItem" => one(body, |r| db.put_item(r)),
        "UpdateItem" => one(body, |r| db.update_item(r)),
        "DeleteItem" => one(body, |r| db.delete_item(r)),
        "Query" => one(body, |r| db.query(r)),
        "Scan" => one(body, |r| db.scan(r)),
        "BatchGetItem" => one(body, |r| db.batch_get_item(r)),
        "BatchWriteItem" => one(body, |r| db.batch_write_item(r)),
        "TransactWriteItems" => one(body, |r| db.transact_write_items(r)),
        "TransactGetItems" => one(body, |r| db.transact_get_items(r)),
        "CreateTable" => one(body, |r| db.create_table(r)),
        "DescribeTable" => one(body, |r| db.describe_table(r)),
        "UpdateTable" => one(body, |r| db.update_table(r)),
        "ListTables" => one(body, |r| db.list_tables(r)),
        "DeleteTable" => one(body, |r| db.delete_table(r)),
        "UpdateTimeToLive" => one(body, |r| db.update_time_to_live(r)),
        "DescribeTimeToLive" => one(body, |r| db.describe_time_to_live(r)),
        _ => return Answer::error("UnknownOperationException", &format!("no operation {operation:?} here")),
    };
    Answer::of(result)
}

fn one<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    call: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_slice(body).map_err(|e| unreadable(&e.to_string()))?;
    let answer = call(request)?;
    serde_json::to_string(&answer).map_err(|e| DynoxideError::InternalServerError(e.to_string()))
}

/// The engine's request types name the error class of a refused value by a marker before its
/// message; markers are not for clients.
fn unreadable(message: &str) -> DynoxideError {
    let message = message.split(" at line ").next().unwrap_or(message);
    for marker in ["VALIDATION:", "VALIDATION_REQUEST:", "VALIDATION_AS_READ:"] {
        if let Some(rest) = message.strip_prefix(marker) {
            return DynoxideError::ValidationException(rest.to_owned());
        }
    }
    let rest = message.strip_prefix("SERIALIZATION:").or_else(|| message.strip_prefix("SERIALIZATION_AS_READ:"));
    DynoxideError::SerializationException(rest.unwrap_or(message).to_owned())
}

/// Which tables a request names, in order, each once.
pub(crate) fn tables(request: &Value) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    };
    if let Some(name) = request["TableName"].as_str() {
        add(name);
    }
    for name in request["RequestItems"].as_object().into_iter().flat_map(|m| m.keys()) {
        add(name);
    }
    for item in request["TransactItems"].as_array().into_iter().flatten() {
        for part in item.as_object().into_iter().flat_map(|m| m.values()) {
            if let Some(name) = part["TableName"].as_str() {
                add(name);
            }
        }
    }
    names
}
