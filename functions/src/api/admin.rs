//! What operators may ask.

mod audit;
mod contract;
mod credentials;
mod edges;
mod events;
mod ips;
mod keys;
mod kick;
mod live;
mod logs;
mod plans;
mod providers;
mod proxies;
mod usage;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{delete, get, post};

use super::body::LARGEST_BODY;
use super::envelope::{frame, healthz, no_method, no_route};
use crate::platform::Platform;

/// The API of operators. Keys are sent as `X-Admin-API-Key`.
pub fn admin_router(platform: Arc<Platform>) -> Router {
    let users = Router::new()
        .route("/", get(users::list).post(users::create))
        .route("/{id}", get(users::show).delete(users::delete))
        .route("/{id}/ban", post(users::ban))
        .route("/{id}/unban", post(users::unban))
        .route("/{id}/kick", post(kick::kick))
        .route("/{id}/unlock", post(users::unlock))
        .route("/{id}/extend", post(users::extend))
        .route("/{id}/plan", post(users::plan))
        .route("/{id}/auth", post(users::auth))
        .route("/{id}/ips", get(ips::list).post(ips::add).delete(ips::remove))
        .route("/{id}/limits", post(contract::limits))
        .route("/{id}/usage", get(usage::show))
        .route("/{id}/events", get(events::show))
        .route("/{id}/keys", get(keys::list).post(keys::create))
        .route("/{id}/keys/{key}", delete(keys::revoke))
        .route("/{id}/credentials", get(credentials::list))
        .route("/{id}/credentials/{user}/rotate", post(credentials::rotate));
    Router::new()
        .nest("/admin/users", users)
        .route("/admin/proxies/metrics", get(proxies::metrics))
        .route("/admin/proxies/providers", get(providers::list).post(providers::create))
        .route("/admin/proxies/providers/{id}", get(providers::show).put(providers::replace).delete(providers::delete))
        .route("/admin/proxies/{provider}/{ip}", get(proxies::show))
        .route("/admin/plans", get(plans::list).post(plans::create))
        .route("/admin/audit", get(audit::list))
        .route("/admin/live", get(live::list))
        .route("/admin/edges", get(edges::list))
        .route("/admin/edges/{id}/drain", post(edges::drain))
        .route("/admin/edges/{id}/lost", post(edges::lost))
        .route("/admin/logs/rotate", post(logs::rotate))
        .route("/healthz", get(healthz))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn(frame))
        .with_state(platform)
}
