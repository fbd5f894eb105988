//! Compares what providers list with what we believe: every five minutes all of them, and one of
//! them soon after a purchase of unknown outcome.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tollgate_functions::lambda::{self, Tick};
use tollgate_functions::platform::{Deferred, Platform};
use tollgate_functions::reconcile::{reconcile, reconcile_all};
use tollgate_functions::wiring;

/// Longest wait of a deferred look, well within the function's time.
const LONGEST_WAIT: Duration = Duration::from_secs(90);

#[derive(Deserialize)]
#[serde(untagged)]
enum Order {
    Deferred(Deferred),
    Tick(Tick),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    let platform = wiring::start().await?;
    lambda::serve_events(platform, async |platform, order| match order {
        Order::Tick(tick) => {
            tracing::info!(due = tick.time, "reconciling all providers");
            all(&platform).await
        }
        Order::Deferred(Deferred::Reconcile { provider, not_before }) => {
            tokio::time::sleep(not_before.since(platform.now()).min(LONGEST_WAIT)).await;
            Ok(serde_json::to_value(reconcile(&platform, &provider).await?)?)
        }
        Order::Deferred(Deferred::Assign { .. }) => Err("reconcile got work of assign".into()),
    })
    .await
}

/// Every provider gets its look; one that failed makes the invocation fail afterwards.
async fn all(platform: &Platform) -> Result<Value, lambda::Error> {
    let mut done = Map::new();
    let mut failed = Vec::new();
    for (provider, result) in reconcile_all(platform).await? {
        match result {
            Ok(found) => drop(done.insert(provider.to_string(), serde_json::to_value(found)?)),
            Err(e) => failed.push(e.to_string()),
        }
    }
    if failed.is_empty() { Ok(done.into()) } else { Err(failed.join("; ").into()) }
}
