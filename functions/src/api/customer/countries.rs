//! Countries: what can be asked for, at what price.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tollgate_domain::country::{Country, supplied};

use crate::api::envelope::Refused;
use crate::api::principal::{Caller, ReadAccount};
use crate::outcome::store;
use crate::platform::Platform;

/// `GET /v1/countries`. `available` says that somebody sells there and did not say "out of
/// stock" within the last minute; another country may serve a line all the same.
pub(super) async fn list(
    caller: Caller<ReadAccount>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let mut providers = platform.store.providers().await.map_err(store)?;
    providers.retain(|p| p.active);
    let sold_out = providers.iter().map(|p| platform.store.out_of_stock(&p.id, caller.by.at));
    let sold_out = futures_util::future::try_join_all(sold_out).await.map_err(store)?;
    let row = |country: Country| {
        let sellers = providers.iter().zip(&sold_out).filter(|(_, gone)| !gone.contains(&country));
        let price = sellers.map(|(p, _)| p.price).min_by_key(|price| price.micros).filter(|_| supplied(country));
        json!({ "country": country, "name": country.name(), "available": price.is_some(), "price": price })
    };
    Ok(Json(json!({ "countries": Country::all().map(row).collect::<Vec<_>>() })))
}
