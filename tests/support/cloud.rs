//! The rest of AWS as functions see it: DynamoDB (the embedded engine), Secrets Manager,
//! EventBridge and Lambda on one loopback port for each function, which writes down who calls
//! what on which resource.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tollgate_engine::Engine;
use tollgate_store::Store;

use crate::function::{Function, Outcome};
use crate::template::{STACK, Template};

/// What a program asked of AWS: (action, resource), as a policy would grant it.
pub type Calls = BTreeSet<(String, String)>;

/// The same with the family of the item's partition key as `dynamodb:LeadingKeys` would name it
/// (`CUST#*`; nothing where it is no item).
pub type KeyedCalls = BTreeSet<(String, String, String)>;

/// An account with the template's tables, secrets, bus and functions.
pub struct Cloud {
    template: Template,
    engine: Engine,
    served: JoinHandle<()>,
    database: String,
    key: String,
    http: reqwest::Client,
    secrets: Mutex<BTreeMap<String, String>>,
    events: Mutex<Vec<Value>>,
    calls: Mutex<BTreeMap<String, KeyedCalls>>,
    functions: tokio::sync::Mutex<BTreeMap<String, Arc<Function>>>,
    deferred: Mutex<Vec<(String, Value)>>,
}

impl Cloud {
    /// An account with empty tables.
    ///
    /// # Panics
    /// If a port or the engine cannot be had.
    pub async fn start() -> Arc<Self> {
        let engine = Engine::memory().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let database = format!("http://{}/", listener.local_addr().unwrap());
        // Only the account's own functions know it.
        let key = "AKIAEXAMPLE".to_owned();
        let served = engine.serve_with_key(listener, key.clone().into());
        let cloud = Self {
            template: Template::load(),
            engine,
            served,
            database,
            key,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            secrets: Mutex::default(),
            events: Mutex::default(),
            calls: Mutex::default(),
            functions: tokio::sync::Mutex::default(),
            deferred: Mutex::default(),
        };
        cloud.store().create_tables().await.unwrap();
        Arc::new(cloud)
    }

    /// The store of the account, past all policies: to seed it and to look.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.engine.client(), format!("{STACK}-"))
    }

    /// The template that this account is made of.
    #[must_use]
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Gives a secret a value; `name` without the stack's prefix.
    ///
    /// # Panics
    /// Never: the lock is never poisoned.
    pub fn put_secret(&self, name: &str, value: &str) {
        self.secrets.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// The value of a secret.
    ///
    /// # Panics
    /// Never: the lock is never poisoned.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<String> {
        self.secrets.lock().unwrap().get(name).cloned()
    }

    /// The events that functions have sent, in order.
    ///
    /// # Panics
    /// Never: the lock is never poisoned.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    /// What the program asked of AWS so far.
    #[must_use]
    pub fn calls(&self, binary: &str) -> Calls {
        self.keyed_calls(binary).into_iter().map(|(action, resource, _)| (action, resource)).collect()
    }

    /// What the program asked of AWS so far, by families of items.
    ///
    /// # Panics
    /// Never: the lock is never poisoned.
    #[must_use]
    pub fn keyed_calls(&self, binary: &str) -> KeyedCalls {
        self.calls.lock().unwrap().get(binary).cloned().unwrap_or_default()
    }

    /// The environment under which a program of ours talks to this account, as `binary`.
    ///
    /// # Panics
    /// If a port cannot be had.
    pub async fn credentials(self: &Arc<Self>, binary: &str) -> BTreeMap<String, String> {
        let front = self.front(binary).await;
        let variables = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", self.key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", "EXAMPLE_SECRET"),
            ("AWS_ENDPOINT_URL", front.as_str()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// The function that runs `binary`, started cold at its first use.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn function(self: &Arc<Self>, binary: &str) -> Arc<Function> {
        let mut functions = self.functions.lock().await;
        if let Some(function) = functions.get(binary) {
            return Arc::clone(function);
        }
        let mut environment = self.template.environment();
        environment.extend(self.credentials(binary).await);
        let function = Arc::new(Function::start(binary, &environment).await);
        functions.insert(binary.to_owned(), Arc::clone(&function));
        function
    }

    /// Runs the asynchronous invocations that are queued, in order, and what those queue; work
    /// that may not start yet finds its time come.
    ///
    /// # Panics
    /// If a function cannot be started.
    pub async fn run_deferred(self: &Arc<Self>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        loop {
            let work = std::mem::take(&mut *self.deferred.lock().unwrap());
            if work.is_empty() {
                return outcomes;
            }
            for (binary, mut payload) in work {
                if let Some(not_before) = payload.get_mut("not_before") {
                    *not_before = 0.into();
                }
                outcomes.push(self.function(&binary).await.invoke(payload).await);
            }
        }
    }

    /// A port for one function.
    async fn front(self: &Arc<Self>, binary: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = Front { cloud: Arc::downgrade(self), binary: binary.to_owned() };
        let routes = Router::new().fallback(receive).with_state(front);
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        format!("http://{address}")
    }

    fn note(&self, binary: &str, action: &str, resource: String, leading: &str) {
        let mut calls = self.calls.lock().unwrap();
        calls.entry(binary.to_owned()).or_default().insert((action.to_owned(), resource, leading.to_owned()));
    }

    async fn dynamodb(&self, binary: &str, target: &str, headers: &HeaderMap, body: Bytes) -> Response {
        let request: Value = serde_json::from_slice(&body).unwrap();
        for (action, table, key) in table_calls(target.rsplit('.').next().unwrap(), &request) {
            let table = table.strip_prefix(STACK).unwrap().trim_start_matches('-');
            self.note(binary, &format!("dynamodb:{action}"), format!("table/{table}"), &family(&key));
        }
        let call = self.http.post(&self.database).header("x-amz-target", target);
        let call = call.header("authorization", headers["authorization"].as_bytes()).body(body);
        let answer = call.send().await.unwrap();
        let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
        let json = [("content-type", "application/x-amz-json-1.0")];
        (status, json, answer.bytes().await.unwrap()).into_response()
    }

    fn secretsmanager(&self, binary: &str, action: &str, request: &Value) -> Response {
        let id = request["SecretId"].as_str().unwrap();
        let name = id.strip_prefix(STACK).unwrap().trim_start_matches('/').to_owned();
        let mut secrets = self.secrets.lock().unwrap();
        // No policy names a secret that the template does not make: IAM answers before anything else.
        let Some(value) = secrets.get_mut(&name) else {
            return refused("AccessDeniedException", "no identity-based policy allows the action");
        };
        self.note(binary, &format!("secretsmanager:{action}"), format!("secret/{name}"), "");
        match action {
            "GetSecretValue" => {}
            "PutSecretValue" => request["SecretString"].as_str().unwrap().clone_into(value),
            other => return refused("InvalidAction", other),
        }
        let arn = format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:{id}-AbCdEf");
        axum::Json(json!({ "ARN": arn, "Name": id, "SecretString": value, "VersionId": "1" })).into_response()
    }

    fn events_bus(&self, binary: &str, request: &Value) -> Response {
        let entries = request["Entries"].as_array().unwrap();
        let mut events = self.events.lock().unwrap();
        for entry in entries {
            let bus = entry["EventBusName"].as_str().unwrap();
            self.note(binary, "events:PutEvents", format!("bus/{}", bus.strip_prefix(STACK).unwrap()), "");
            events.push(entry.clone());
        }
        let ids: Vec<_> = (1..=entries.len()).map(|n| json!({ "EventId": format!("{n}") })).collect();
        axum::Json(json!({ "FailedEntryCount": 0, "Entries": ids })).into_response()
    }

    fn invoke(&self, binary: &str, target: String, body: &Bytes) -> Response {
        self.note(binary, "lambda:InvokeFunction", format!("function/{target}"), "");
        self.deferred.lock().unwrap().push((target, serde_json::from_slice(body).unwrap()));
        StatusCode::ACCEPTED.into_response()
    }

    /// Boxed, because a function's own front may invoke functions.
    fn invoke_and_wait(
        self: Arc<Self>,
        binary: String,
        target: String,
        body: Bytes,
    ) -> Pin<Box<dyn Future<Output = Response> + Send>> {
        Box::pin(async move {
            self.note(&binary, "lambda:InvokeFunction", format!("function/{target}"), "");
            let event = serde_json::from_slice(&body).unwrap();
            match self.function(&target).await.invoke(event).await {
                Ok(answer) => axum::Json(answer).into_response(),
                Err(error) => ([("x-amz-function-error", "Unhandled")], axum::Json(error)).into_response(),
            }
        })
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.served.abort();
    }
}

#[derive(Clone)]
struct Front {
    cloud: Weak<Cloud>,
    binary: String,
}

async fn receive(State(front): State<Front>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let Some(cloud) = front.cloud.upgrade() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if let Some(action) = target.strip_prefix("secretsmanager.") {
        return cloud.secretsmanager(&front.binary, action, &serde_json::from_slice(&body).unwrap());
    }
    if target == "AWSEvents.PutEvents" {
        return cloud.events_bus(&front.binary, &serde_json::from_slice(&body).unwrap());
    }
    if target.starts_with("DynamoDB_") {
        return cloud.dynamodb(&front.binary, target, &headers, body).await;
    }
    let function = uri.path().strip_prefix("/2015-03-31/functions/").and_then(|p| p.strip_suffix("/invocations"));
    let Some(function) = function.filter(|_| method == Method::POST) else {
        // Seen by the policy test as a call that nothing grants.
        cloud.note(&front.binary, &format!("unknown:{method}"), format!("{uri} {target}"), "");
        return StatusCode::NOT_IMPLEMENTED.into_response();
    };
    let function = function.strip_prefix(STACK).unwrap().trim_start_matches('-').to_owned();
    match headers.get("x-amz-invocation-type").is_some_and(|kind| kind == "Event") {
        true => cloud.invoke(&front.binary, function, &body),
        false => cloud.invoke_and_wait(front.binary, function, body).await,
    }
}

fn refused(code: &str, message: &str) -> Response {
    (StatusCode::BAD_REQUEST, axum::Json(json!({ "__type": code, "message": message }))).into_response()
}

/// `CUST#demo` is of the family `CUST#*`.
fn family(key: &str) -> String {
    key.split_once('#').map_or_else(|| key.to_owned(), |(prefix, _)| format!("{prefix}#*"))
}

/// The actions that IAM checks for a request, each with its table and partition key: a
/// transaction needs those of its parts.
fn table_calls(operation: &str, request: &Value) -> Vec<(String, String, String)> {
    let part = |action: &str, fields: &Value| {
        let key = [&fields["Key"], &fields["Item"]].into_iter().find_map(|k| k["pk"]["S"].as_str());
        let key = key.or_else(|| fields["ExpressionAttributeValues"][":pk"]["S"].as_str());
        let table = fields["TableName"].as_str().expect("a table");
        (action.to_owned(), table.to_owned(), key.unwrap_or_else(|| panic!("no key: {fields}")).to_owned())
    };
    match operation {
        "TransactWriteItems" | "TransactGetItems" => {
            let parts = request["TransactItems"].as_array().unwrap().iter().flat_map(|i| i.as_object().unwrap());
            let action = |part: &str| match part {
                "ConditionCheck" => "ConditionCheckItem".to_owned(),
                other => format!("{other}Item"),
            };
            parts.map(|(kind, fields)| part(&action(kind), fields)).collect()
        }
        // IAM checks a batch as a whole, by its own action, for each item.
        "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object().unwrap().iter();
            let items = tables.flat_map(|(table, writes)| writes.as_array().unwrap().iter().map(move |w| (table, w)));
            let key = |w: &Value| w["PutRequest"]["Item"]["pk"]["S"].as_str().expect("a put").to_owned();
            items.map(|(table, write)| (operation.to_owned(), table.clone(), key(write))).collect()
        }
        "BatchGetItem" => panic!("batches of reads are not read yet: {request}"),
        _ => vec![part(operation, request)],
    }
}
