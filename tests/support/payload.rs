//! The events that AWS sends to functions, from the files in `tests/events`.

use serde_json::Value;

use crate::workspace;

/// A request as an HTTP API sends it (payload version 2.0).
#[derive(Clone, Debug)]
pub struct Request(Value);

impl Request {
    /// `method path`; the path may carry a query.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let mut event = load("http-api-v2.json");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        event["rawPath"] = path.into();
        event["rawQueryString"] = query.into();
        event["requestContext"]["http"]["method"] = method.into();
        event["requestContext"]["http"]["path"] = path.into();
        Self(event)
    }

    /// With a header; the gateway writes names in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0["headers"][name.to_ascii_lowercase()] = value.into();
        self
    }

    /// From this address, as the gateway sees it.
    #[must_use]
    pub fn from(mut self, ip: &str) -> Self {
        self.0["requestContext"]["http"]["sourceIp"] = ip.into();
        self
    }

    /// With a body of JSON.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        let mut request = self.header("content-type", "application/json");
        request.0["body"] = body.to_string().into();
        request
    }

    /// The event.
    #[must_use]
    pub fn event(self) -> Value {
        self.0
    }
}

/// What EventBridge Scheduler sends without an input of its own.
#[must_use]
pub fn tick() -> Value {
    load("scheduler.json")
}

/// An answer to an HTTP API, its body as JSON if it is JSON, else as text.
///
/// # Panics
/// If it has no status.
#[must_use]
pub fn answer(answer: &Value) -> (u64, Value) {
    let status = answer["statusCode"].as_u64().unwrap_or_else(|| panic!("no status: {answer}"));
    let body = answer["body"].as_str().unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
}

fn load(name: &str) -> Value {
    serde_json::from_str(&workspace::read(&format!("tests/events/{name}"))).expect("the event is JSON")
}
