//! What became of a customer's connections, as operators see it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use tollgate_domain::id::CustomerId;

use crate::api::body::{Asked, Named};
use crate::api::envelope::Refused;
use crate::api::events::{self, Wanted};
use crate::api::principal::{Admin, Viewer};
use crate::customers;
use crate::platform::Platform;

/// `GET /admin/users/{id}/events?date=&proxy=&after=&limit=`: of deleted customers too.
pub(super) async fn show(
    admin: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Value>, Refused> {
    let customer = customers::find(&platform, &id, true).await?;
    Ok(Json(events::events(&platform, &customer.id, wanted, admin.by.at).await?))
}
