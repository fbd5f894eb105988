//! What customers may ask.

mod account;
mod assignments;
mod countries;
mod ips;
mod proxies;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::get;

use super::body::LARGEST_BODY;
use super::envelope::{frame, healthz, no_method, no_route};
use crate::platform::Platform;

/// The API of customers. Keys are sent as `Authorization: Bearer <key>` or `X-API-Key`.
pub fn customer_router(platform: Arc<Platform>) -> Router {
    Router::new()
        .route("/v1/assignments", get(assignments::list).post(assignments::open))
        .route("/v1/assignments/{line}", get(assignments::show).delete(assignments::close))
        .route("/v1/proxies", get(proxies::list))
        .route("/api/proxies.php", get(proxies::list))
        .route("/v1/ips", get(ips::list).post(ips::add).delete(ips::remove))
        .route("/api/manage_ips.php", get(ips::list).post(ips::add).delete(ips::remove))
        .route("/v1/me", get(account::me))
        .route("/v1/me/usage", get(account::usage))
        .route("/v1/me/events", get(account::events))
        .route("/v1/countries", get(countries::list))
        .route("/healthz", get(healthz))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn(frame))
        .with_state(platform)
}
