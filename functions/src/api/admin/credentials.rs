//! A customer's proxy credentials.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::id::{CustomerId, UserName};

use crate::api::body::{Body, Named};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::principal::{Admin, Operator, Viewer};
use crate::api::views;
use crate::credentials;
use crate::customers;
use crate::outcome::store;
use crate::platform::Platform;

/// `GET /admin/users/{id}/credentials`: without passwords.
pub(super) async fn list(
    _: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
) -> Result<Json<Value>, Refused> {
    customers::find(&platform, &id, true).await?;
    let held = platform.store.credentials(&id).await.map_err(store)?;
    Ok(Json(json!({ "credentials": held.iter().map(views::credential).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct How {
    /// The old password ends now, not in ten minutes.
    #[serde(default)]
    at_once: bool,
}

/// `POST /admin/users/{id}/credentials/{user}/rotate`: the next password, shown here.
pub(super) async fn rotate(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named((id, user)): Named<(CustomerId, UserName)>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let How { at_once } = body.json()?;
    let mut password = None;
    let work = Box::pin(async {
        let shown = credentials::rotate(&platform, &admin.by, &id, &user, at_once).await?;
        password = Some(shown.password.expose_secret().to_owned());
        Ok(Done::new(StatusCode::OK, views::credential(&shown.credential)))
    });
    let mut done = key.once(&platform, &admin.by, &body, work).await?;
    done.show_once("password", password);
    Ok(done)
}
