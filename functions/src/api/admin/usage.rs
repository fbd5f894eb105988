//! A customer's usage, as operators see it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use tollgate_domain::id::CustomerId;

use crate::api::body::{Asked, Named};
use crate::api::envelope::Refused;
use crate::api::principal::{Admin, Viewer};
use crate::api::usage::{self, For};
use crate::customers;
use crate::platform::Platform;

/// Which month.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Period {
    /// `yyyy-mm`; none = this one.
    month: Option<String>,
}

/// `GET /admin/users/{id}/usage?month=`: of deleted customers too.
pub(super) async fn show(
    admin: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    Asked(period): Asked<Period>,
) -> Result<Json<Value>, Refused> {
    let customer = customers::find(&platform, &id, true).await?;
    let usage = usage::usage(&platform, &customer, period.month, admin.by.at, For::Operator);
    Ok(Json(Box::pin(usage).await?))
}
