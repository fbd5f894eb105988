//! The customers' API on a socket, and a client of it.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_functions::api::customer_router;
use tollgate_functions::platform::Platform;
use tollgate_store::api_key::{ApiKey, Holder, Scope};

use super::{Rig, key};

/// A served API. Dropping it closes the door.
pub struct Door {
    addr: SocketAddr,
    client: reqwest::Client,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    /// Serves `platform`, for `customers` with the key `key-of-<customer>`.
    pub async fn open(rig: &Rig, platform: Arc<Platform>, customers: &[&str]) -> Self {
        for c in customers {
            let holder = Holder::Customer { id: c.parse().unwrap(), scopes: Scope::ALL.to_vec() };
            rig.store().ensure_api_key(&ApiKey::new(&format!("key-of-{c}"), holder, rig.now())).await.unwrap();
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = customer_router(platform);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, client: reqwest::Client::new(), task }
    }

    /// `POST /v1/assignments`: status and body.
    pub async fn assign(&self, line: &str, country: &str) -> (u16, Value) {
        let line = key(line);
        let call = self
            .client
            .post(format!("http://{}/v1/assignments", self.addr))
            .bearer_auth(format!("key-of-{}", line.customer))
            .json(&json!({"line": line.label, "country": country}));
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}
