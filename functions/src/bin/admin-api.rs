//! What operators may ask, behind the HTTP API.

use tollgate_functions::api::admin_router;
use tollgate_functions::{lambda, wiring};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve_http(admin_router(wiring::start().await?)).await
}
