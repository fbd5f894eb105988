//! A customer's API keys. A key is shown once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::id::CustomerId;
use tollgate_domain::refusal::Code;
use tollgate_store::api_key::{ApiKey, Holder, Scope};

use crate::api::body::{Body, Named, invalid};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::principal::{Admin, Operator, Viewer};
use crate::api::views;
use crate::customers;
use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::NOTHING;

/// What a customer's keys start with, so that scanners of leaked keys can tell them.
const PREFIX: &str = "tg_";
/// Most keys that a customer has at a time, revoked ones not counted.
const MOST_KEYS: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    scopes: Option<Vec<Scope>>,
}

fn holder(id: &CustomerId, scopes: Vec<Scope>) -> Holder {
    Holder::Customer { id: id.clone(), scopes }
}

/// `GET /admin/users/{id}/keys`
pub(super) async fn list(
    _: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
) -> Result<Json<Value>, Refused> {
    customers::find(&platform, &id, true).await?;
    let keys = platform.store.api_keys(&holder(&id, vec![])).await.map_err(store)?;
    Ok(Json(json!({ "keys": keys.iter().map(views::api_key).collect::<Vec<_>>() })))
}

/// `POST /admin/users/{id}/keys`: a key with all scopes, or with those named.
pub(super) async fn create(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let mut scopes = body.json::<Wanted>()?.scopes.unwrap_or_else(|| Scope::ALL.to_vec());
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(invalid("scopes: at least one"));
    }
    let mut secret = None;
    let work = Box::pin(async {
        customers::find(&platform, &id, false).await?;
        let held = platform.store.api_keys(&holder(&id, vec![])).await.map_err(store)?;
        if held.iter().filter(|k| k.revoked_at.is_none()).count() >= MOST_KEYS {
            let detail = format!("a customer has at most {MOST_KEYS} keys: revoke one");
            return Err(Refused::new(Code::Conflict, detail).0);
        }
        let text = new_key()?;
        let row = ApiKey::new(&text, holder(&id, scopes), admin.by.at);
        platform.store.ensure_api_key(&row).await.map_err(store)?;
        let target = format!("customer:{id}");
        let shown = views::api_key(&row);
        admin.by.record(&platform, "key.create", &target, NOTHING, Some(&shown)).await?;
        secret = Some(text);
        Ok(Done::new(StatusCode::CREATED, shown))
    });
    let mut done = key.once(&platform, &admin.by, &body, work).await?;
    done.show_once("apiKey", secret);
    Ok(done)
}

fn new_key() -> Result<String, Refused> {
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|e| {
        tracing::error!(reason = %e, "the system gives no randomness");
        Refused::new(Code::Internal, "no key could be made")
    })?;
    Ok(format!("{PREFIX}{}", hex::encode(bytes)))
}

/// `DELETE /admin/users/{id}/keys/{key}`: ends a key, named by its id. Ending it again is no error.
pub(super) async fn revoke(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named((id, key)): Named<(CustomerId, String)>,
) -> Result<Json<Value>, Refused> {
    let keys = platform.store.api_keys(&holder(&id, vec![])).await.map_err(store)?;
    let none = || Refused::new(Code::NotFound, "this customer has no such key");
    let found = keys.iter().find(|k| k.id() == key).ok_or_else(none)?;
    let ended = platform.store.revoke_api_key(&found.hash, admin.by.at).await.map_err(store)?.ok_or_else(none)?;
    let shown = views::api_key(&ended);
    admin
        .by
        .record(&platform, "key.revoke", &format!("customer:{id}"), Some(&views::api_key(found)), Some(&shown))
        .await?;
    Ok(Json(shown))
}
