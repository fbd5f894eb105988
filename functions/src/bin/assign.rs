//! Finds a proxy for a line: edges ask and wait, walks that ran out of time go on by themselves.

use serde::Deserialize;
use tollgate_domain::assignment::AssignRequest;
use tollgate_functions::assign::assign;
use tollgate_functions::platform::Deferred;
use tollgate_functions::{lambda, wiring};

#[derive(Deserialize)]
#[serde(untagged)]
enum Order {
    Deferred(Deferred),
    Asked(AssignRequest),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    let platform = wiring::start().await?;
    lambda::serve_events(platform, async |platform, order| match order {
        Order::Asked(request) | Order::Deferred(Deferred::Assign { request }) => Ok(assign(&platform, request).await),
        Order::Deferred(Deferred::Reconcile { .. }) => Err("assign got work of reconcile".into()),
    })
    .await
}
