//! The caller's source addresses.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::api::body::{Asked, Body};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::ips::{self, Wanted, Which};
use crate::api::principal::{Caller, ReadAccount, WriteSources};
use crate::platform::Platform;

/// `GET /v1/ips`, `GET /api/manage_ips.php`
pub(super) async fn list(
    caller: Caller<ReadAccount>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    ips::list(&platform, &caller.customer).await
}

/// `POST /v1/ips`, `POST /api/manage_ips.php`
pub(super) async fn add(
    caller: Caller<WriteSources>,
    State(platform): State<Arc<Platform>>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let wanted = Wanted::read(&body)?;
    let work = Box::pin(wanted.add(&platform, &caller.by, &caller.customer));
    key.once(&platform, &caller.by, &body, work).await
}

/// `DELETE /v1/ips?net=`, `DELETE /api/manage_ips.php?net=`
pub(super) async fn remove(
    caller: Caller<WriteSources>,
    Asked(which): Asked<Which>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    Box::pin(ips::remove(&platform, &caller.by, &caller.customer, &which)).await
}
