//! The edges' access logs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::api::body::Body;
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::principal::{Admin, Operator};
use crate::platform::Platform;
use crate::rotate_logs::rotate_logs;

/// A body without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// `POST /admin/logs/rotate`
pub(super) async fn rotate(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let Empty {} = body.json()?;
    let work = Box::pin(async {
        Box::pin(rotate_logs(&platform, &admin.by)).await?;
        Ok(Done::new(StatusCode::ACCEPTED, json!({ "requested": true })))
    });
    key.once(&platform, &admin.by, &body, work).await
}
