//! A customer's usage, as operators see it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use tollgate_domain::id::CustomerId;

use crate::api::body::{Asked, Named};
use crate::api::envelope::Refused;
use crate::api::principal::{Admin, Viewer};
use crate::api::usage::{self, For, Period};
use crate::customers;
use crate::platform::Platform;

/// `GET /admin/users/{id}/usage?month=`: of deleted customers too.
pub(super) async fn show(
    admin: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    Asked(period): Asked<Period>,
) -> Result<Json<Value>, Refused> {
    let customer = customers::find(&platform, &id, true).await?;
    let usage = usage::usage(&platform, &customer, period, admin.by.at, For::Operator);
    Ok(Json(Box::pin(usage).await?))
}
