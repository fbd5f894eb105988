//! A customer's source addresses.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use tollgate_domain::id::CustomerId;

use crate::api::body::{Asked, Body, Named};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::ips::{self, Wanted, Which};
use crate::api::principal::{Admin, Operator, Viewer};
use crate::customers;
use crate::platform::Platform;

/// `GET /admin/users/{id}/ips`
pub(super) async fn list(
    _: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
) -> Result<Json<Value>, Refused> {
    ips::list(&platform, &customers::find(&platform, &id, true).await?).await
}

/// `POST /admin/users/{id}/ips`
pub(super) async fn add(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let wanted = Wanted::read(&body)?;
    let work = Box::pin(async {
        let customer = customers::find(&platform, &id, false).await?;
        wanted.add(&platform, &admin.by, &customer).await
    });
    key.once(&platform, &admin.by, &body, work).await
}

/// `DELETE /admin/users/{id}/ips?net=`: of deleted customers too.
pub(super) async fn remove(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    Asked(which): Asked<Which>,
) -> Result<Json<Value>, Refused> {
    let customer = customers::find(&platform, &id, true).await?;
    Box::pin(ips::remove(&platform, &admin.by, &customer, &which)).await
}
