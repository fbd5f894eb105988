//! What customers may ask, behind the HTTP API.

use tollgate_functions::api::customer_router;
use tollgate_functions::{lambda, wiring};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve_http(customer_router(wiring::start().await?)).await
}
